"""Write the tables of messages in docs/ascend.md and docs/ascend.zh-CN.md, between two marks, from
what the code makes of them (MEANINGS of common/ascend/errors.py).

    python3 -m tools.report.faq                  (make readme)
    python3 -m tools.report.faq --check          (make check-readme) change nothing, fail where a
                                                 table is not what the code says

The Chinese of each meaning and each remedy is in faq.zh-CN.json. A meaning that is new or was
reworded has none: the tool names it.
"""
import argparse
import re
from pathlib import Path

from common import cli
from common.ascend import errors

ROOT = Path(__file__).resolve().parents[2]
CHINESE = Path(__file__).with_name("faq.zh-CN.json")
BEGIN, END = "<!-- messages:begin -->", "<!-- messages:end -->"
PAGES = {"docs/ascend.md": ("the message holds (regular expression)", "cause", "fix"),
         "docs/ascend.zh-CN.md": ("信息中含有（正则表达式）", "原因", "处理方法")}


def get_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true",
                        help="change nothing; name what is stale and exit 1")
    parser.add_argument("--root", type=Path, default=ROOT,
                        help="the repository (default: this one)")
    return parser.parse_args(argv)


def rows(words):
    """[what the message holds, cause, fix] for each meaning, its texts by way of `words`. What it
    holds is the regular expression of the code, without what codes() puts around numbers."""
    before, after = errors.codes("…").split("…")
    for pattern, meaning, todo, _ in errors.MEANINGS:
        shown = pattern.replace(before, "").replace(after, "").replace("|", "\\|")
        mark = "``" if "`" in shown else "`"
        yield [f"{mark}{shown}{mark}", words(meaning), words(todo)]


def plain(text):
    """`text` for a cell of a table, no part of it read as Markdown or HTML."""
    return re.sub(r"([|*$])", r"\\\1", text).replace("<", "&lt;")


def translate():
    """A function from English to Chinese; Failure for what has no Chinese, and for what is left."""
    known = cli.read_json(CHINESE, "restore the file")
    wanted = [text for row in errors.MEANINGS for text in row[1:3]]
    missing = [text for text in wanted if text not in known]
    if missing:
        raise cli.Failure(f"{CHINESE.name} has no Chinese for {cli.some(missing, 2)}", "add it")
    left = [text for text in known if text not in wanted]
    if left:
        raise cli.Failure(f"{CHINESE.name}: the code does not say {cli.some(left, 2)}", "delete it")
    return lambda text: plain(known[text])


def renewed(text, head, words, page):
    """The page's `text` with its table renewed."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise cli.Failure(f"{page} has not one {BEGIN} followed by one {END}", "fix the marks")
    lines = "".join(f"| {' | '.join(cells)} |\n" for cells in [head, ["---"] * 3, *rows(words)])
    return f"{text[:text.index(BEGIN)]}{BEGIN}\n{lines}{text[text.index(END):]}"


def main():
    args = get_args()
    stale = []
    for (page, head), words in zip(PAGES.items(), (plain, translate())):
        old = (args.root / page).read_text(encoding="utf-8")
        new = renewed(old, head, words, page)
        if new != old:
            stale.append(page)
            if not args.check:
                with cli.whole_file(args.root / page) as part:
                    part.write_text(new, encoding="utf-8")
    if args.check and stale:
        raise cli.Failure(f"{' and '.join(stale)}: the messages are not the code's", "make readme")
    print(f"{len(PAGES)} pages with {len(errors.MEANINGS)} meanings of messages: "
          + (f"wrote {', '.join(stale)}" if stale else "all are those of the code"))


if __name__ == "__main__":
    cli.run(main)
