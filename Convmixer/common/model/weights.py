"""Fetch a model's official checkpoint, resumably, and check it.

    python -m common.model.weights --published published.json --dest weights/

Takes file name, addresses (tried in order), size and hashes from "weights" in published.json. An interrupted download
goes on where it stopped; a file that is there already is checked, not fetched. `<file>.sha256` is written beside it, in
the format of sha256sum -c.
"""
import argparse
import hashlib
import http.client
import json
import re
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from common import cli

ATTEMPTS, PAUSE, TIMEOUT = 4, 1.0, 30  # tries an address; seconds before the second, doubling; seconds without a byte


class Refused(Exception):
    """An address that will not give the file, however often it is asked."""


class Interrupted(Exception):
    """A transfer that ended early or has to begin anew; asking again may help."""


NETWORK = (Interrupted, urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)


def get_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--published", default="published.json", help="the model's own (default: %(default)s)")
    parser.add_argument("--dest", default="weights", help="folder for the checkpoint (default: %(default)s)")
    return parser.parse_args(argv)


def main(argv=None):
    args = get_args(argv)
    entry = cli.read_json(args.published, "run this in the model's folder").get("weights") or {}
    name = entry.get("file") or ""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name):
        raise cli.Failure(f"{args.published}: weights.file is {name!r}, not a plain file name", "mend that file")
    target = Path(args.dest) / name
    target.parent.mkdir(parents=True, exist_ok=True)
    with cli.lock(target.with_name(f".{name}.lock")):
        there = target.exists()
        if not there:
            try:
                fetch(target, entry)
            except OSError as e:  # a full disk is reported without a name
                e.filename = e.filename or str(target)
                raise
        elif wrong := check(target, entry, recorded(target)):
            raise cli.Failure(f"{target} {wrong}", "delete it and run again, or use it as it is: WEIGHTS=<file>")
        print(f"{f'{target} is there already' if there else f'wrote {target}'}, sha256 {record(target)}, {held(entry)}")


def fetch(target, entry):
    """Download `target` from entry["urls"], tried in turn; Failure with the reason for each, and the way by hand."""
    part, reasons = target.with_name(target.name + ".part"), []
    for url in entry.get("urls") or []:
        if urllib.parse.urlsplit(url).scheme not in ("http", "https", "file"):
            reasons.append(f"{url}: not http, https or file")
            continue
        print(f"fetching {url}")
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(PAUSE * 2 ** (attempt - 1))
            try:
                whole = download(url, part)
                if wrong := check(part, entry):
                    part.unlink()
                    # A part that an earlier run left may have been spoilt; a whole transfer is what the address gives.
                    raise (Refused if whole else Interrupted)(f"what it sent {wrong}")
                part.replace(target)
                meta_of(part).unlink()
                return
            except Refused as e:
                reasons.append(f"{url}: {e}")
                break
            except NETWORK as e:
                reason = f"{url}: {getattr(e, 'reason', None) or str(e) or type(e).__name__}"
        else:
            reasons.append(reason)
    said = "; ".join(reasons) or "it has no direct address"
    raise cli.Failure(f"could not fetch {target.name} ({said})",
                      f"get it by hand from {entry.get('page') or 'its authors'} and put it at {target}")


def download(url, part):
    """Fetch `url` into `part`, from where an earlier run of the same file stopped. Returns whether it got the whole.

    Raises Refused when asking again is of no use, one of NETWORK when it may be.
    """
    with open(part, "ab") as f:
        have, known = f.tell(), read_meta(part)
        # Bytes are joined only when the server can say that they are of the same file.
        validator = known.get("etag") or known.get("modified")
        resume = 0 < have <= known.get("size", 0) and known["url"] == url and validator
        if resume and have == known["size"]:
            return False
        headers = {"Range": f"bytes={have}-", "If-Range": validator} if resume else {}
        try:
            response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
        except urllib.error.HTTPError as e:
            if e.code == 416:  # the file on the server is shorter now
                f.truncate(0)
            elif e.code < 500 and e.code not in (408, 425, 429):
                raise Refused(f"HTTP {e.code} {e.reason}") from None
            raise Interrupted(f"HTTP {e.code} {e.reason}") from None
        except urllib.error.URLError as e:
            if url.startswith("file:"):
                raise Refused(e.reason) from None
            raise
        with response:
            if url.startswith("https:") and not response.url.startswith("https:"):
                raise Refused(f"leads to {response.url}, which is not encrypted")
            now = {"url": url, "modified": response.headers.get("Last-Modified")}
            if (etag := response.headers.get("ETag")) and not etag.startswith("W/"):  # weak: the bytes may differ
                now["etag"] = etag
            resume = resume and response.status == 206
            if resume:
                span = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range") or "")
                if not span or int(span[1]) != have or now | {"size": int(span[2])} != known:
                    f.truncate(0)
                    raise Interrupted("the file on the server has changed")
            else:
                have = 0
                f.truncate(0)
                length = response.headers.get("Content-Length") or ""
                known = now | {"size": int(length)} if length.isdigit() else now
                cli.write_json(meta_of(part), known)
            bar = cli.progress(None, part.stem, total=known.get("size"), unit="B")
            bar.unit_scale, bar.initial, bar.n = True, have, have
            with bar:
                while chunk := response.read(1 << 18):
                    f.write(chunk)
                    bar.update(len(chunk))
        f.flush()
        if f.tell() != known.get("size", f.tell()):
            raise Interrupted(f"the connection ended after {f.tell()} of {known['size']} bytes")
    return not resume


def check(path, entry, sha256=None):
    """What is wrong with the file at `path`, for a sentence that begins with it; None when it is sound.

    It is held against size, sha256 and md5 of `entry` where published, else against the hash `sha256` when given.
    """
    with open(path, "rb") as f:
        head = f.read(512).lstrip()
    if not head:
        return "is empty"
    if head.startswith((b"<", b"\xef\xbb\xbf<")):
        return "is a web page, not a checkpoint"
    if entry.get("size") and path.stat().st_size != entry["size"]:
        return f"has {path.stat().st_size} bytes, not the published {entry['size']}"
    for kind, want in (("sha256", entry.get("sha256") or sha256), ("md5", entry.get("md5"))):
        if want:
            with open(path, "rb") as f:
                got = hashlib.file_digest(f, lambda kind=kind: hashlib.new(kind, usedforsecurity=False)).hexdigest()
            if got != want.lower():
                return f"has {kind} {got}, not {want}"
    return None


def recorded(target):
    """The sha256 in `<file>.sha256`, None when there is none."""
    try:
        return target.with_name(target.name + ".sha256").read_text().split()[0]
    except (FileNotFoundError, IndexError):
        return None


def record(target):
    """Write `<file>.sha256` if it is not there, and return the hash."""
    sha256 = cli.sha256(target)
    if recorded(target) != sha256:
        with cli.whole_file(target.with_name(target.name + ".sha256")) as part:
            part.write_text(f"{sha256}  {target.name}\n")
    return sha256


def held(entry):
    """What the file was held against, for people."""
    kinds = [k for k in ("sha256", "md5", "size") if entry.get(k)]
    return f"{', '.join(kinds)} as published" if kinds else "which its authors do not publish"


def meta_of(part):
    return part.with_name(part.name + ".json")


def read_meta(part):
    """What the server said of the file that `part` is the beginning of; {} when that is not known."""
    try:
        known = json.loads(meta_of(part).read_text())
        return known if isinstance(known["url"], str) and type(known.get("size", 0)) is int else {}
    except (FileNotFoundError, ValueError, LookupError, TypeError, RecursionError):
        return {}


if __name__ == "__main__":
    cli.run(main)
