"""Fetch a model's official checkpoint and check it; an interrupted download goes on where it ended.

    python3 -m common.model.weights --dest weights

takes file name, addresses (tried in order), size and hashes from "weights" in published.json. A
file that is there already is checked, not fetched.
"""
import argparse
import hashlib
import http.client
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from common import cli, provenance

ATTEMPTS, PAUSE, TIMEOUT = 4, 1.0, 30  # of an address; seconds, doubling; seconds without a byte
LATER = {408, 425, 429, 500, 502, 503, 504}  # what a server says that may be asked again


class Refused(Exception):
    """An address that will not give the file, however often it is asked."""


class OnlyHttps(urllib.request.HTTPRedirectHandler):
    """Follows redirects to https only."""

    def redirect_request(self, request, fp, code, msg, headers, newurl):
        require_https(newurl)
        return super().redirect_request(request, fp, code, msg, headers, newurl)


def require_https(url):
    """Refused for an address that is not encrypted; this machine itself may be asked by http."""
    parts = urllib.parse.urlsplit(url)
    local = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1", "localhost")
    if parts.scheme != "https" and not local:
        raise Refused(f"{url} is not https")


def get_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--published", default="published.json", help="(default: %(default)s)")
    parser.add_argument("--dest", default="weights", help="folder (default: %(default)s)")
    return parser.parse_args(argv)


def main():
    args = get_args()
    entry = cli.read_json(args.published, "run this in a model folder").get("weights") or {}
    name = entry.get("file") or ""
    if not re.fullmatch(r"\w[\w.-]*", name, re.ASCII):
        raise cli.Failure(f"{args.published}: weights.file is {name!r}, not a plain file name",
                          "restore that file")
    target = Path(args.dest) / name
    if target.exists():
        check_there(target, entry)
        print(f"{target} is there already, {held(entry)}")
    else:
        fetch(target, entry)
        provenance.record(target, [])
        print(f"wrote {target}, {held(entry)}")


def check_there(target, entry):
    """Failure when the file is not the published one, or not the one that was fetched."""
    wrong = problem(target, entry)
    if not wrong and provenance.record_path(target).exists():
        wrong = provenance.misfit(target)
    if wrong:
        raise cli.Failure(f"{target} {wrong}", "delete it (and its .json) and run this again, or "
                          "use it as it is: WEIGHTS=<file>")


def fetch(target, entry):
    """Download `target` from entry["urls"], tried in turn; Failure with the reason for each."""
    target.parent.mkdir(parents=True, exist_ok=True)
    reasons = []
    for url in entry.get("urls") or []:
        print(f"fetching {url}")
        try:
            return from_address(url, target, entry)
        except Refused as e:
            reasons.append(f"{url}: {e}")
    raise cli.Failure(
        f"could not fetch {target.name} ({'; '.join(reasons) or 'it has no direct address'})",
        f"get it by hand from {entry.get('page') or 'its authors'} and put it at {target}")


def from_address(url, target, entry):
    """Download from one address, again where that may help; Refused when it gives no sound file."""
    for attempt in range(ATTEMPTS):
        time.sleep(PAUSE * 2 ** attempt / 2 if attempt else 0)
        try:
            part = download(url, target)
        except urllib.error.HTTPError as e:
            reason = f"HTTP {e.code} {e.reason}"
            if e.code not in LATER:
                break
        except (http.client.HTTPException, OSError) as e:
            if getattr(e, "filename", None):  # not the network: rights, or no such folder
                raise
            reason = getattr(e, "reason", None) or str(e) or type(e).__name__
        else:
            wrong = problem(part, entry)
            if not wrong:
                part.replace(target)
                return
            part.unlink()
            raise Refused(f"what it sent {wrong}")
    raise Refused(reason)


def download(url, target):
    """Fetch `url` into a hidden file, after what an earlier run got of it; the path of that file.

    The file is named by address, size and what the server calls this version, so that bytes of two
    versions are never joined.
    """
    with ask(url) as answer:
        size = int(answer.headers.get("Content-Length") or 0)
        version = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or "W/"
        mark = hashlib.sha256(f"{url} {version} {size}".encode()).hexdigest()[:12]
        part = target.with_name(f".{target.name}.{mark}.part")
        have = part.stat().st_size if part.exists() else 0
        if version.startswith("W/") or have > size:  # W/: other bytes may be called the same
            have = 0
        if not have:
            save(answer, part, "wb", size)
    if 0 < have < size:
        with ask(url, {"Range": f"bytes={have}-", "If-Range": version}) as answer:
            rest = f"bytes {have}-{size - 1}/{size}"
            if answer.status == 206 and answer.headers.get("Content-Range") != rest:
                part.unlink()
                raise http.client.HTTPException("it sent another range than was asked for")
            save(answer, part, "ab" if answer.status == 206 else "wb", size)
    if size and part.stat().st_size != size:
        raise http.client.HTTPException(f"it ended after {part.stat().st_size} of {size} bytes")
    return part


def ask(url, headers=()):
    """Open `url`, over https however it is redirected."""
    require_https(url)
    request = urllib.request.Request(url, headers=dict(headers))
    return urllib.request.build_opener(OnlyHttps).open(request, timeout=TIMEOUT)


def save(answer, part, mode, size):
    """Write an answer to the file `part`; `mode` is wb or ab, `size` that of the whole file."""
    with open(part, mode) as f:
        left = max(size - f.tell(), 0)
        blocks = iter(lambda: answer.read(1_000_000), b"")
        for block in cli.progress(blocks, part.name[1:], -(-left // 1_000_000) or None, "MB"):
            f.write(block)


def problem(path, entry):
    """What is wrong with a checkpoint file, for a sentence that begins with it; None: nothing.

    It is held against size, sha256 and md5 of `entry` where they are published.
    """
    with open(path, "rb") as f:
        head = f.read(512).lstrip()
    if not head:
        return "is empty"
    if head.startswith((b"<", b"\xef\xbb\xbf<")):
        return "is a web page, not a checkpoint"
    if entry.get("size") and path.stat().st_size != entry["size"]:
        return f"has {path.stat().st_size} bytes, not the published {entry['size']}"
    for kind in ("sha256", "md5"):
        if entry.get(kind):
            with open(path, "rb") as f:
                got = hashlib.file_digest(f, kind).hexdigest()
            if got != entry[kind].lower():
                return f"has {kind} {got}, not {entry[kind]}"
    return None


def held(entry):
    """What the file was held against, for people."""
    kinds = [kind for kind in ("sha256", "md5", "size") if entry.get(kind)]
    return f"{', '.join(kinds)} as published" if kinds else "of which no hash is published"


if __name__ == "__main__":
    cli.run(main)
