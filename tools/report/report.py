"""One page of what is published and what was measured: report/index.html, which needs nothing else, and a PNG a model.

    python3 tools/report/report.py ShiftViT SPACH        (make report)

With nothing measured there is no page.
"""
import argparse
import datetime
import sys
from pathlib import Path

from tools.report import figures

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from common import cli  # noqa: E402


def get_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="model folders")
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository (default: this one)")
    parser.add_argument("--out", type=Path, help="folder of the page (default: report/ in the repository)")
    parser.add_argument("--build", default="build", help="folder in the model folders that make writes to (default: build)")
    return parser.parse_args(argv)


def main():
    args = get_args()
    out = args.out or args.root / "report"
    models = []
    for folder in args.models:
        published = cli.read_json(args.root / folder / "published.json", "restore the file")
        models.append((folder, published, figures.speeds(args.root, folder, args.build, published["model"]),
                       figures.accuracies(args.root / folder, args.build)))
    if not any(records or results for _, _, records, results in models):
        raise cli.Failure("nothing is measured yet, so there is nothing to show",
                          "run make demo or make sweep (BATCHES=\"1 8\" for a short one), and then make report")
    try:
        from tools.report import charts, page
    except ImportError as e:
        raise cli.Failure(f"the charts cannot be drawn ({e})", "pip install -r requirements.txt") from None
    text, panels = page.page(models, datetime.date.today().isoformat())
    panels = {folder: shown for folder, shown in panels.items() if shown}
    for folder, shown in panels.items():
        with cli.whole_file(out / f"{folder}.png") as part:
            charts.png(shown, part)
    with cli.whole_file(out / "index.html") as part:
        part.write_text(text, encoding="utf-8")
    print(f"wrote {out / 'index.html'} and {len(panels)} PNGs: {sum(len(m[2]) for m in models)} records of speed, "
          f"{sum(len(m[3]) for m in models)} of accuracy")


if __name__ == "__main__":
    cli.run(main)
