"""Fetch a model's official checkpoint and check it; an interrupted download goes on where it ended.

    python3 -m common.model.weights --dest weights

takes file name, addresses (tried in order), size and hashes from "weights" in published.json. A
file that is there already is checked, not fetched. Where none of the addresses gives it, the
"second" sources of published.json are tried: files of their own names, some at the Hugging Face Hub
(HF_ENDPOINT= names a mirror of it).
"""
import argparse
import re
import shutil
from pathlib import Path

from common import cli, provenance
from common.model.download import Refused, fetch


def get_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--published", default="published.json", help="(default: %(default)s)")
    parser.add_argument("--dest", default="weights", help="folder (default: %(default)s)")
    return parser.parse_args(argv)


def main():
    args = get_args()
    first = cli.read_json(args.published, "run this in a model folder").get("weights") or {}
    entries = [first, *first.get("second", [])]
    for entry in entries:
        if not re.fullmatch(r"\w[\w.-]*", entry.get("file") or "", re.ASCII):
            raise cli.Failure(f"{args.published}: weights.file is {entry.get('file')!r}, not a "
                              "plain file name", "restore that file")
    target = Path(args.dest) / first["file"]
    if target.exists():
        check_there(target, first)
        print(f"{target} is there already, {checked_by(first)}")
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    reasons = []
    for entry in entries:
        path = Path(args.dest) / entry["file"]
        if path.exists() or get(entry, path, reasons):
            return tell(entry, path, first)
    raise cli.Failure(
        f"could not fetch {target.name} ({'; '.join(reasons) or 'it has no direct address'})",
        f"get it by hand from {first.get('page') or 'its authors'} and put it at {target}")


def get(entry, path, reasons):
    """Whether one of an entry's addresses gave its file, which then is at `path` with its record;
    otherwise why not is added to `reasons`."""
    addresses = [*(entry.get("urls") or []), *filter(None, [entry.get("hub")])]
    for address in addresses:
        print(f"fetching {address}")
        try:
            by_hub = address == entry.get("hub")
            got, known = from_hub(address, path) if by_hub else (fetch(address, path), {})
            published = {key: value for key, value in entry.items() if value}
            wrong = problem(got, {**known, **published})
            if wrong:
                got.unlink()
                shutil.rmtree(hub_folder(path), ignore_errors=True)
                raise Refused(f"what it sent {wrong}")
            got.replace(path)
        except Refused as e:
            reasons.append(f"{address}: {e}")
        else:
            shutil.rmtree(hub_folder(path), ignore_errors=True)
            note = entry.get("note")
            provenance.record(path, [], source=address, **({"note": note} if note else {}))
            return True
    return False


def from_hub(name, target):
    """Download model.safetensors of a repository of the Hugging Face Hub → (path, {"sha256"}: what
    the hub says of it); Refused when it does not give the file."""
    try:
        from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

        about = get_hf_file_metadata(hf_hub_url(name, "model.safetensors"))
        path = hf_hub_download(name, "model.safetensors", revision=about.commit_hash,
                               local_dir=hub_folder(target))
    except Exception as e:  # its own classes, and those of two libraries below it
        raise Refused(cli.short(" ".join(str(e).split()), 120)) from None
    return Path(path), {"sha256": about.etag} if len(about.etag or "") == 64 else {}


def hub_folder(target):
    """Where the hub's library puts its file, and what it needs to go on after an interruption."""
    return target.with_name(f".{target.name}.hub")


def tell(entry, path, first):
    """The last line: what was fetched, what it was checked against, and how to use it."""
    check_there(path, entry)
    if entry is first:
        print(f"wrote {path}, {checked_by(entry)}")
        return
    if entry.get("note"):
        print(f"note: {entry['note']}")
    print(f"{path} is there, {checked_by(entry)}, in place of {first['file']}: say WEIGHTS={path}")


def check_there(target, entry):
    """Failure when the file is not the published one, or not the one that was fetched."""
    wrong = problem(target, entry)
    if not wrong and provenance.record_path(target).exists():
        wrong = provenance.misfit(target)
    if wrong:
        raise cli.Failure(f"{target} {wrong}", "delete it (and its .json) and run this again, or "
                          "use it as it is: WEIGHTS=<file>")


def problem(path, entry):
    """What is wrong with a checkpoint file, for a sentence that begins with it; None: nothing.

    It is checked against size, sha256 (or the digits that it begins with) and md5 of `entry` where
    they are published.
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
            got = cli.digest(path, kind)
            if not got.startswith(entry[kind].lower()):
                return f"has {kind} {got}, not {entry[kind]}"
    return None


def checked_by(entry):
    """What the file was checked against, for people."""
    kinds = [kind for kind in ("sha256", "md5", "size") if entry.get(kind)]
    if kinds:
        return f"{', '.join(kinds)} as published"
    if entry.get("hub"):
        return "sha256 as the hub says"
    return "not checked (nobody publishes a hash; its own is recorded, and compared from now on)"


if __name__ == "__main__":
    cli.run(main)
