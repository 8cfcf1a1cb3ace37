"""What belongs to what: the one place that knows, by SHA-256, which file was made from which.

Everything that the chain makes has a record beside it, X.json for X (a JSON file is its own
record). Under "made" it has the arguments of the program that made X, X's own hash, and the hash of
each file that X was made from. The record is written last: what has none is unfinished.

Make only makes what is missing. What was made otherwise than it would be made now is deleted first,
with all that follows:

    python3 -m common.provenance build/m.onnx '-c w.pth -o build/m.onnx' build/m.blob '--model=…'

and whatever prints a figure calls check() before. Only Python's own library is needed.
"""
import hashlib
import os
import shlex
import shutil
import sys
from pathlib import Path

from common import cli


def record_path(artefact):
    """Path of the record of an artefact."""
    return Path(artefact if str(artefact).endswith(".json") else f"{artefact}.json")


def seen(path):
    """What a file or folder holds now: {"sha256", "stat"}; of a folder, over the names and contents
    of all its files."""
    path = Path(path)
    if not path.is_dir():
        return {"sha256": cli.sha256(path), "stat": _stat(path)}
    digest = hashlib.sha256()
    for name in _names(path):
        digest.update(f"{name}\0{cli.sha256(path / name)}\n".encode())
    return {"sha256": digest.hexdigest(), "stat": _stat(path)}


def fits(path, before):
    """Whether a file or folder holds what it did when seen() gave `before`.

    Its content is read only where size, times or inode changed. The time of change (ctime) cannot
    be set back, so an older file that is moved in place is noticed.
    """
    return before["stat"] == _stat(path) or before["sha256"] == seen(path)["sha256"]


def _names(folder):
    found = []
    for where, _, names in os.walk(folder, followlinks=True):
        inside = os.path.relpath(where, folder)
        inside = "" if inside == "." else f"{inside}/"
        found += [inside + name for name in names if not name.startswith(".")]
    return sorted(found)


def _stat(path):
    if not os.path.isdir(path):
        s = os.stat(path)
        return [s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns]
    digest = hashlib.sha256()
    for name in _names(path):
        digest.update(f"{name} {_stat(f'{path}/{name}')}\n".encode())
    return digest.hexdigest()


def made(artefact, inputs, arguments=None):
    """The "made" of a record: `inputs` are files and folders; `arguments` are those of this program
    unless they are given.

    For a JSON artefact, put it into its content; record() does the rest for others.
    """
    itself = {} if str(artefact).endswith(".json") else seen(artefact)
    arguments = sys.argv[1:] if arguments is None else arguments
    paths = [os.path.normpath(p) if os.path.isabs(p) else os.path.relpath(p) for p in inputs]
    return {**itself, "arguments": list(map(str, arguments)), "from": {p: seen(p) for p in paths}}


def record(artefact, inputs, arguments=None, /, **facts):
    """Write the record of `artefact`: `facts`, then what it was made from (see made())."""
    cli.write_json(record_path(artefact), {**facts, "made": made(artefact, inputs, arguments)})


def read(artefact):
    """The record of an artefact, None when it has none; Failure when it is damaged."""
    path = record_path(artefact)
    todo = "delete it and run the same command again"
    return cli.read_json(path, todo) if path.exists() else None


def misfit(artefact, arguments=None):
    """Why `artefact` is not what its record says, or would be made otherwise; None when it fits.

    `arguments`: those it would be made with here, where that matters. An input that is not at hand
    any more is not looked at.
    """
    try:
        content = read(artefact) or {}
        about = content["made"]
        if not Path(artefact).exists():
            return "is not there"
        if arguments is not None and about["arguments"] != arguments:
            return "was made with other settings"
        if arguments is not None and _elsewhere(content):
            return "was timed on another host"
        if "sha256" in about and not fits(artefact, about):
            return f"is not the one that {record_path(artefact)} describes"
        other = [path for path, before in about["from"].items()
                 if os.path.exists(path) and not fits(path, before)]
        return f"was made from another {other[0]}" if other else None
    except (KeyError, TypeError, AttributeError, cli.Failure):
        return f"has no record ({record_path(artefact)})"


def _elsewhere(content):
    """Whether a record's content is a timing of another CPU, or of other cores of it."""
    host = content.get("host") or (content.get("produced_by") or {}).get("host")
    if not host:
        return False
    from common.speed import measure

    return not measure.same_host(host, {"cpu": measure.cpu_name(), "cores": cli.cores()})


def check(artefact, todo):
    """Walk from `artefact` back to all that it was made from and is at hand; Failure with
    `todo` at the first misfit.

    Returns {path: SHA-256} of the whole chain as recorded, what is not at hand included.
    """
    wrong = misfit(artefact)
    if wrong:
        raise cli.Failure(f"{artefact} {wrong}", todo)
    chain = {}
    for path, before in read(artefact)["made"]["from"].items():
        chain[path] = before["sha256"]
        if os.path.exists(path) and record_path(path) != Path(path) and record_path(path).exists():
            chain.update(check(path, todo))
    return chain


def delete_stale(links):
    """Delete each artefact that make has to make again, and say why: one that does not fit its
    record, and one that was made from such an artefact, or from one that is missing.

    links: [(artefact, arguments)], each after those that it is made from, named as in the records
    (paths from here, or absolute).
    """
    remade = set()
    for folder in {Path(artefact).parent for artefact, _ in links}:
        cli.remove_leftovers(folder)
    for artefact, arguments in links:
        path = Path(artefact)
        there = path.exists() or record_path(artefact).exists()
        wrong = misfit(artefact, arguments) or _made_from_one_of(artefact, remade)
        if not wrong:
            continue
        remade.add(artefact)
        if there:
            print(f"again: {artefact} {wrong}", file=sys.stderr)
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            record_path(artefact).unlink(missing_ok=True)


def _made_from_one_of(artefact, remade):
    lost = [path for path in read(artefact)["made"]["from"] if path in remade]
    return f"was made from {lost[0]}, which is made again" if lost else None


def main():
    words = sys.argv[1:]
    if not words or len(words) % 2 or words[0] in ("-h", "--help"):
        print(__doc__)
        sys.exit(0 if words[:1] in (["-h"], ["--help"]) else 2)
    artefacts, arguments = map(os.path.normpath, words[::2]), map(shlex.split, words[1::2])
    delete_stale(list(zip(artefacts, arguments)))


if __name__ == "__main__":
    cli.run(main)
