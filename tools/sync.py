"""Write each model folder's copy of common/ and requirements.txt, or check that the copies are true.

    python3 tools/sync.py            (make sync)
    python3 tools/sync.py --check    (make check-sync)

A model folder must work on its own wherever it is copied to; so it carries these files, and nobody edits them there.
"""
import argparse
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def get_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; name what differs and exit 1")
    return parser.parse_args(argv)


def models(root=ROOT):
    """Folders of the models, by name."""
    return sorted(p.parent for p in root.glob("*/model.py"))


def cache(path, root):
    """Whether a tool left this file: bytecode, a linter's notes."""
    return any(part == "__pycache__" or part.startswith(".") for part in path.relative_to(root).parts)


def sources(root):
    """{relative path: file} of everything that a model folder carries a copy of."""
    files = {p.relative_to(root): p for p in sorted((root / "common").rglob("*")) if p.is_file() and not cache(p, root)}
    return files | {Path("requirements.txt"): root / "requirements.txt"}


def differences(root=ROOT):
    """Yield (copy, its source or None when it should not be there)."""
    wanted = sources(root)
    for model in models(root):
        for name, source in wanted.items():
            copy = model / name
            if not copy.is_file() or copy.read_bytes() != source.read_bytes() or (
                    copy.stat().st_mode ^ source.stat().st_mode) & 0o100:
                yield copy, source
        for copy in sorted((model / "common").rglob("*")):
            if copy.is_file() and not cache(copy, root) and copy.relative_to(model) not in wanted:
                yield copy, None


def main(root=ROOT):
    args = get_args()
    found = list(differences(root))
    if args.check:
        for copy, source in found:
            what = f"differs from {source.relative_to(root)}" if source else "has no source in common/"
            print(f"error: {copy.relative_to(root)} {what} — edit common/ only, then run: make sync", file=sys.stderr)
        if found:
            sys.exit(1)
    for copy, source in [] if args.check else found:
        if source:
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, copy)
        else:
            copy.unlink()
    print(f"{len(models(root))} model folders, {len(sources(root))} files each: "
          + ("copies are true" if args.check or not found else f"{len(found)} written"))


if __name__ == "__main__":
    main()
