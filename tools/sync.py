"""Write each model folder's copy of common/ and of what to install, or check that they are true.

    python3 tools/sync.py            (make sync)
    python3 tools/sync.py --check    (make check-sync)

A model folder must work on its own wherever it is copied to; so it carries these files, and nobody
edits them there. Needs nothing but Python.
"""
import argparse
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def get_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true",
                        help="change nothing; name what differs and exit 1")
    return parser.parse_args(argv)


def models(root=ROOT):
    """Folders of the models, by name."""
    return sorted(p.parent for p in root.glob("*/model.py"))


def files_in(folder):
    """Relative paths of the files in `folder`, without what tools leave: bytecode, notes."""
    found = [p.relative_to(folder) for p in sorted(folder.rglob("*")) if p.is_file()]
    return [p for p in found if not any(x == "__pycache__" or x[0] == "." for x in p.parts)]


def sources(root):
    """{relative path: file} of everything that a model folder carries a copy of."""
    files = {Path("common") / p: root / "common" / p for p in files_in(root / "common")}
    install = ("requirements.txt", "requirements.lock")  # alone, it shall get the same packages
    return {**files, **{Path(name): root / name for name in install}}


def same(copy, source):
    """Whether `copy` has the content of `source`, and may be run as it may."""
    if not copy.is_file() or copy.read_bytes() != source.read_bytes():
        return False
    return copy.stat().st_mode & 0o100 == source.stat().st_mode & 0o100


def differences(root=ROOT):
    """[(copy, its source, or None when it should not be there)]."""
    wanted, found = sources(root), []
    for model in models(root):
        found += [(model / name, source) for name, source in wanted.items()
                  if not same(model / name, source)]
        found += [(model / "common" / name, None) for name in files_in(model / "common")
                  if Path("common") / name not in wanted]
    return found


def main(root=ROOT):
    args = get_args()
    found = differences(root)
    for copy, source in found:
        if args.check:
            what = f"differs from {source.relative_to(root)}" if source else "has no source"
            print(f"error: {copy.relative_to(root)} {what} — edit common/ only, then make sync",
                  file=sys.stderr)
        elif source:
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, copy)
        else:
            copy.unlink()
    if args.check and found:
        sys.exit(1)
    print(f"{len(models(root))} model folders, {len(sources(root))} files each: "
          + (f"{len(found)} written" if found else "copies are true"))


if __name__ == "__main__":
    main()
