"""One page of what is published and what was measured: report/index.html, which needs nothing
else, and a PNG per model.

    python3 -m tools.report.report ShiftViT SPACH        (make report)

With nothing measured there is no page.
"""
import argparse
import datetime
from pathlib import Path

from common import cli
from tools.report import figures

ROOT = Path(__file__).resolve().parents[2]


def get_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="model folders")
    parser.add_argument("--root", type=Path, default=ROOT,
                        help="the repository (default: this one)")
    parser.add_argument("--out", type=Path,
                        help="folder of the page (default: report/ in the repository)")
    parser.add_argument("--build", default="build", help="folder in the model folders that make "
                        "writes to, {} for the model folder's name (default: %(default)s)")
    parser.add_argument("--from", dest="files", type=Path, nargs="+", default=[], metavar="JSON",
                        help="records of these hosts side by side (default: those in results/)")
    return parser.parse_args(argv)


def main():
    args = get_args()
    out = args.out or args.root / "report"
    gone = [path for path in args.files if not path.exists()]
    if gone:
        raise cli.Failure(f"there is no {cli.some(gone)}", figures.FROM)
    models = []
    for folder in args.models:
        published = cli.read_json(args.root / folder / "published.json", "restore the file")
        build, place = args.build.replace("{}", folder), args.root / folder
        models.append((folder, published,
                       figures.speeds(args.root, folder, build, published["model"], args.files),
                       figures.accuracies(place, build), figures.profiles(place, build)))
    if not any(any(found) for _, _, *found in models):
        raise cli.Failure("nothing is measured yet, so there is nothing to show",
                          "make demo or make sweep (BATCHES=\"1 8\" for a short one), then "
                          "make report")
    try:
        from tools.report import charts, page
    except ImportError as e:
        raise cli.Failure(f"the charts cannot be drawn ({e})",
                          "pip install -r requirements.txt") from None
    text, panels = page.page(models, datetime.date.today().isoformat())
    for folder, shown in panels.items():
        with cli.whole_file(out / f"{folder}.png") as part:
            charts.png(shown, part)
    with cli.whole_file(out / "index.html") as part:
        part.write_text(text, encoding="utf-8")
    print(f"wrote {out / 'index.html'} and {len(panels)} PNGs: "
          f"{sum(len(m[2]) for m in models)} records of speed, "
          f"{sum(len(m[3]) for m in models)} of accuracy, "
          f"{sum(len(m[4]) for m in models)} profiles")


if __name__ == "__main__":
    cli.run(main)
