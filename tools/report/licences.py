"""Write the licences of the packages that requirements.lock installs, as their metadata names them,
into docs/licences.md and docs/licences.zh-CN.md, between two marks.

    .venv/bin/python -m tools.report.licences        (after make lock, on Linux)

A package that this system does not need is not installed, and so not in the list.
"""
import importlib.metadata
import re
from pathlib import Path

from common import cli

ROOT = Path(__file__).resolve().parents[2]
BEGIN, END = "<!-- licences:begin -->", "<!-- licences:end -->"
PAGES = {"docs/licences.md": ("package", "version", "licence", "not stated"),
         "docs/licences.zh-CN.md": ("软件包", "版本", "许可证", "未注明")}
SHORT = 60  # characters; what is longer is the licence's own text


def licence(about):
    """What a package's metadata says of its licence, None where it says nothing: the expression,
    the one line of the older field, or the classifier."""
    old = (about.get("License") or "").strip()
    kinds = [text for text in about.get_all("Classifier") or [] if text.startswith("License ::")]
    said = about.get("License-Expression") or (old if "\n" not in old and len(old) < SHORT else "")
    return said or (kinds[-1].rpartition(" :: ")[2] if kinds else None)


def rows(lock):
    """[name, version, licence or None] for each package of `lock` that is installed."""
    for name, version in re.findall(r"^(\S+)==(\S+)", lock.read_text(), re.M):
        try:
            about = importlib.metadata.metadata(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if about["Version"] == version:
            yield name, version, licence(about)


def main():
    found = list(rows(ROOT / "requirements.lock"))
    for page, (*heads, unknown) in PAGES.items():
        before, _, rest = (ROOT / page).read_text(encoding="utf-8").partition(BEGIN)
        lines = [heads, ["---"] * 3, *([*row[:2], row[2] or unknown] for row in found)]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        with cli.whole_file(ROOT / page) as part:
            text = f"{before}{BEGIN}\n{table}\n{END}{rest.partition(END)[2]}"
            part.write_text(text, encoding="utf-8")
    print(f"wrote {', '.join(PAGES)}: {len(found)} packages")


if __name__ == "__main__":
    cli.run(main)
