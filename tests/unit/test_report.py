"""The report page and the READMEs' measured tables, from recorded figures: whole, true, self-contained, readable."""
import html.parser
import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest
from conftest import ROOT, load, make
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from test_sweep import FROM_BIN, PERF

from common import cli
from tools.report import record

sys.path.insert(0, str(ROOT / "tools"))
import figures  # noqa: E402

from tools.report import charts

MODELS = sorted(p.parent.name for p in ROOT.glob("*/published.json"))
BROWSER = next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "google-chrome"))), None)


def published(folder):
    return json.loads((ROOT / folder / "published.json").read_text())


def speed(folder, batch, fps, *, precision="f32", from_bin=True, **changes):
    perf = {**PERF, "batch": batch, "fps": fps, "precision": precision, "repeats": [0.98 * fps, fps, 1.01 * fps],
            "spread": 0.03, **changes}
    args = record.get_args(["--model", published(folder)["model"], "--results", "x"])
    whole = {**FROM_BIN, "fps": 0.9 * fps, "repeats": [0.88 * fps, 0.9 * fps, 0.91 * fps]}
    return record.make(args, perf, whole if from_bin else None)


def accuracy(engine, good, total=50000, demo=False, **changes):
    by = {"engine": engine, "engine_version": "1.0", "precision": "f32", "batch": 8, "device": "CPU", "cpu": "Some CPU"}
    weights = {"weights": "shiftvit_tiny_light_demo.pth", "weights_sha256": "cd" * 32}
    by.update(weights if engine == "torch" else {"onnx": PERF["onnx"]})
    return {"top1": 100 * good / total, "top5": 99.5, "good": good, "total": total, "demo": demo, "partial": False,
            "subset": False, "dataset": {"recipe": {}}, "produced_by": by,
            "versions": {"python": "3.11.7", "torch": "2.15.0+cu132"},
            "date": "2026-11-20T10:00:00", **changes}


@pytest.fixture
def root(tmp_path):
    """A repository with published figures only."""
    for folder in MODELS:
        (tmp_path / folder).mkdir()
        shutil.copy(ROOT / folder / "published.json", tmp_path / folder)
    return tmp_path


def measure(root):
    """Put figures there: two models timed, one scored in full, one on the demo's images."""
    (root / "results").mkdir()
    record.write(root / "results/host.json", [
        *(speed("ShiftViT", b, f) for b, f in ((1, 24.5), (8, 31.7), (64, 30.25))),
        *(speed("ShiftViT", b, f, precision="int8") for b, f in ((1, 44.5), (8, 61.75))),
        *(speed("ShiftViT", b, f, precision="bf16") for b, f in ((1, 43.5), (8, 60.75))),
        *(speed("ShiftViT", b, f, engine="onnxruntime") for b, f in ((1, 20.5), (64, 22.75))),
        speed("ShiftViT", 4, 28.5, spread=0.44), speed("spnasnet", 8, 412.5, from_bin=False, demo=False)])
    (root / "ShiftViT/build/demo").mkdir(parents=True)
    for name, r in {"online": accuracy("torch", 39700), "eval_bs8_openvino": accuracy("openvino", 39695),
                    "eval_bs8_onnxruntime": accuracy("onnxruntime", 39699),
                    "demo/eval_bs8_openvino": accuracy("openvino", 235, 240, demo=True)}.items():
        (root / f"ShiftViT/build/{name}.json").write_text(json.dumps(r))


def report(monkeypatch, root, *models):
    monkeypatch.setattr(sys, "argv", ["report.py", "--root", str(root), *(models or MODELS)])
    load(ROOT / "tools/report/report.py", "report").main()
    return (root / "report/index.html").read_text()


def test_without_results_it_says_what_to_run(root):
    done = subprocess.run([sys.executable, ROOT / "tools/report/report.py", "--root", root, *MODELS], text=True, capture_output=True)
    assert done.returncode == 1 and done.stdout == "" and not (root / "report").exists()
    assert re.fullmatch(r"error: nothing is measured yet.*make demo or make sweep.*make report\n", done.stderr)


def test_the_committed_figures_are_not_this_hosts(root, monkeypatch):
    (root / "results").mkdir()
    record.write(root / "results/reference.json", [speed("ShiftViT", 8, 31.7)])
    with pytest.raises(cli.Failure, match="nothing is measured"):
        report(monkeypatch, root)


class Links(html.parser.HTMLParser):
    """Everything that a browser would fetch, and what it would run."""

    def __init__(self):
        super().__init__()
        self.found, self.scripts = [], 0

    def handle_starttag(self, tag, attrs):
        self.scripts += tag == "script" or any(k.startswith("on") for k, _ in attrs)
        self.found += [v for k, v in attrs if k in ("src", "href", "srcset", "data", "poster", "action") and v]


def test_the_page_is_whole_and_needs_nothing_else(root, monkeypatch):
    measure(root)
    page = report(monkeypatch, root)
    tree = ET.fromstring(page.removeprefix("<!DOCTYPE html>\n"))  # well-formed as XML too
    ids = [e.get("id") for e in tree.iter() if e.get("id")]
    assert len(ids) == len(set(ids)), "two things of one id"
    links = Links()
    links.feed(page)
    assert links.found and not links.scripts and all(v.startswith(("#", "data:")) for v in links.found)
    refers = set(re.findall(r"url\(#([^)]+)\)", page)) | {v[1:] for v in links.found if v.startswith("#")}
    assert refers <= set(ids) and not re.search(r"@import|url\((?!#)", page)
    assert "prefers-color-scheme: dark" in page and "@media print" in page and 'name="viewport"' in page
    assert not re.search(r"#[0-9a-f]{6}", "".join(re.findall(r"<svg.*?</svg>", page, re.S))), "a colour that no theme changes"
    for folder in MODELS:
        assert Image.open(root / f"report/{folder}.png").size[0] > 600


def test_every_figure_is_there(root, monkeypatch):
    measure(root)
    page = report(monkeypatch, root)
    tree = ET.fromstring(page.removeprefix("<!DOCTYPE html>\n"))
    parts = {s.get("id"): s for s in tree.iter("section")}
    assert len(parts) == 5
    for folder in MODELS:
        part = parts[re.sub("[^a-z]", "", folder.lower())]
        labels = " ".join(svg.get("aria-label") for svg in part.iter("{http://www.w3.org/2000/svg}svg"))
        for chip, fps in figures.published_fps(published(folder)).items():
            assert f"{chip} best {charts.best(fps)} {fps}" in labels
            assert f"best {charts.number(max(fps.values()))} at {max(fps, key=fps.get)}" in "".join(part.itertext())
    rows = [[" ".join("".join(c.itertext()).split()) for c in tr] for tr in parts["shiftvit"].iter("tr")]
    rest = ["250.00", "254.00", "269.00", "3%", "862.72"]
    assert ["openvino f32 demo weights", "Some CPU", "8", "best 31.7", "28.5", *rest] in rows
    assert ["openvino int8 demo weights", "Some CPU", "8", "best 61.8", "55.6", *rest] in rows
    noisy = next(r for r in rows if r[2:4] == ["4", "28.5"])
    assert noisy[8] == "44%, noisy"
    assert ["offline model", "openvino 1.0, f32, batch 8", "79.39 %", "99.50 %", "50,000", "-0.010", "reached, 99.98 %",
            "2026-11-20"] in rows
    assert ["ONNX Runtime", "onnxruntime 1.0, f32, batch 8", "79.40 %", "99.50 %", "50,000", "-0.002", "reached, 99.99 %",
            "2026-11-20"] in rows
    demo = next(r for r in rows if r[0] == "offline model demo")
    assert demo[5:7] == ["–", "none: demo"]
    origin = next(r for r in rows if r[0] == "speed: openvino f32 demo weights")
    assert origin[1:] == ["2026.4.1", "Some CPU", "2", "w.pth", "cd" * 6, "ab" * 6, "python 3.11.7 torch 2.15.0 onnx 1.23.2",
                          "2026-11-20"]
    spnasnet = [[" ".join("".join(c.itertext()).split()) for c in tr] for tr in parts["spnasnet"].iter("tr")]
    assert ["openvino f32", "Some CPU", "8", "best 412.5", "–", "250.00", "254.00", "269.00", "3%", "7,196.11"] in spnasnet
    assert "make sweep MODELS=SPACH" in "".join(parts["spach"].itertext())


@pytest.mark.parametrize("result, words", [
    (accuracy("openvino", 39400), ("reached, 99.24 %", "good")), (accuracy("openvino", 39303), ("reached, 99.00 %", "good")),
    (accuracy("openvino", 39302), ("missed, 98.99 %", "bad")), (accuracy("openvino", 100, demo=True), ("none: demo", "")),
    (accuracy("openvino", 3970, 5000), ("none: not the full set", "")),
    (accuracy("openvino", 39700, subset=True), ("none: not the full set", "")),
    (accuracy("openvino", 39700, partial=True), ("none: not the full set", ""))])
def test_verdicts(result, words):
    """79.4 % is published; 99 % of it are 39,303 of 50,000 images."""
    assert figures.verdict(result, published("ShiftViT")) == words


def test_the_difference_is_to_torch_with_the_same_weights_and_images():
    torch, ours = accuracy("torch", 40000), accuracy("openvino", 39900)
    assert figures.to_torch(ours, [("torch", torch)]) == pytest.approx(-0.2)
    other = {**torch, "produced_by": {**torch["produced_by"], "weights_sha256": "00" * 32}}
    for pairs in ([], [("torch", other)], [("torch", {**torch, "total": 49999})], [("offline model", torch)]):
        assert figures.to_torch(ours, pairs) is None


def test_names_are_text(root, monkeypatch):
    (root / "results").mkdir()
    r = speed("ShiftViT", 8, 31.7)
    r["weights"]["file"] = r["hardware"]["name"] = "<script>alert(1)</script>&\"'"
    record.write(root / "results/host.json", [r])
    page = report(monkeypatch, root, "ShiftViT")
    assert "<script" not in page and "&lt;script&gt;alert(1)" in page
    ET.fromstring(page.removeprefix("<!DOCTYPE html>\n"))


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0.05, 0.3)), min_size=1, max_size=8))
def test_labels_keep_apart(labels):
    places, heights = zip(*labels, strict=True)
    moved = charts.apart(places, heights)
    order = sorted(range(len(places)), key=places.__getitem__)
    for i, j in zip(order, order[1:], strict=False):
        assert moved[j] - moved[i] > (heights[i] + heights[j]) / 2 - 1e-9
    if all(places[j] - places[i] > (heights[i] + heights[j]) / 2 for i, j in zip(order, order[1:], strict=False)):
        assert moved == pytest.approx(places)


PROBE = """<script>
addEventListener("load", () => document.body.dataset.probe = JSON.stringify({
  width: document.documentElement.scrollWidth, view: innerWidth, dark: matchMedia("(prefers-color-scheme: dark)").matches,
  paper: getComputedStyle(document.body).backgroundColor, ink: getComputedStyle(document.querySelector("svg text")).fill,
  outside: [...document.querySelectorAll("svg text")].filter(t => { const a = t.getBoundingClientRect(),
    b = t.closest("svg").getBoundingClientRect(); return a.left < b.left - 1 || a.right > b.right + 1; }).length,
  cut: [...document.querySelectorAll(".wide")].filter(box => box.scrollWidth > box.clientWidth).length,
  fetched: performance.getEntriesByType("resource").map(r => r.name).filter(n => !n.startsWith("data:"))}));
</script></head>"""


@pytest.mark.skipif(not BROWSER, reason="no Chromium here (apt-get install chromium)")
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 390])
def test_in_a_browser(root, monkeypatch, tmp_path, width, dark):
    """No error on the console, nothing fetched, no sideways scrolling, its theme, all chart text inside its chart."""
    measure(root)
    page = report(monkeypatch, root)
    probed = tmp_path / "probed.html"
    probed.write_text(page.replace("</head>", PROBE))
    done = subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={tmp_path}/profile",
         f"--blink-settings=preferredColorScheme={0 if dark else 1}", f"--window-size={width},900", "--enable-logging=stderr",
         "--virtual-time-budget=2000", f"--screenshot={tmp_path}/page.png", "--dump-dom", probed.as_uri()],
        capture_output=True, text=True, timeout=120)
    assert "CONSOLE" not in done.stderr
    seen = json.loads(html.unescape(re.search(r'data-probe="([^"]*)"', done.stdout)[1]))
    assert width < 1280 or seen["cut"] == 0, "a table does not fit"
    assert seen["view"] == width and seen["width"] <= width and seen["fetched"] == [] and seen["outside"] == 0
    light, ink = ("rgb(20, 24, 29)", "rgb(230, 234, 238)") if dark else ("rgb(255, 255, 255)", "rgb(27, 31, 36)")
    assert seen["dark"] == dark and seen["paper"] == light and seen["ink"] == ink
    assert Image.open(tmp_path / "page.png").convert("RGB").getpixel((2, 2)) == tuple(map(int, re.findall(r"\d+", light)))


# ---- the READMEs' tables ----

def readme(monkeypatch, capsys, root, *words):
    monkeypatch.setattr(sys, "argv", ["readme.py", "--root", str(root), *map(str, words)])
    load(ROOT / "tools/report/readme.py", "readme").main()
    return capsys.readouterr().out


def test_measured_tables(root, monkeypatch, capsys):
    measure(root)
    marks = "# x\n\n<!-- measured:begin -->\nold\n<!-- measured:end -->\nafter\n"
    for path in (root / "README.md", root / "README.zh-CN.md", root / "ShiftViT/README.md", root / "SPACH/README.md"):
        path.write_text(marks)
    (root / "spnasnet/README.md").write_text("no marks\n")
    assert "wrote README.md, README.zh-CN.md, SPACH/README.md, ShiftViT/README.md" in readme(
        monkeypatch, capsys, root, "--from", root / "results/host.json")
    text = (root / "ShiftViT/README.md").read_text()
    assert text.startswith("# x\n\n<!-- measured:begin -->\nMeasured on Some CPU, 2 threads, 2026-11-20, demo weights")
    assert "| openvino 2026.4.1, int8 | 8 | 61.8 | 55.6 | 254.00 | 269.00 | 3% |\n" in text
    assert text.endswith("end -->\nafter\n")
    assert "| openvino 2026.4.1, f32 | 4 | 28.5 | 25.7 | 254.00 | 269.00 | 44%, noisy |\n" in text
    top = (root / "README.md").read_text()
    assert "| ShiftViT-T/light | openvino 2026.4.1, int8 | 61.8 at 8 | 55.6 | 3% |\n" in top and "| spnasnet_100 |" in top
    assert "演示权重" in (root / "README.zh-CN.md").read_text()
    assert (root / "SPACH/README.md").read_text() == marks.replace("old\n", "")
    assert (root / "spnasnet/README.md").read_text() == "no marks\n"
    assert "command" not in (root / "results/reference.json").read_text()
    assert "all are those of the recorded results" in readme(monkeypatch, capsys, root, "--check")

    (root / "ShiftViT/README.md").write_text(text.replace("61.8", "62.8"))
    with pytest.raises(cli.Failure, match="measured tables of ShiftViT/README.md are not"):
        readme(monkeypatch, capsys, root, "--check")
    assert "62.8" in (root / "ShiftViT/README.md").read_text()
    readme(monkeypatch, capsys, root)
    assert (root / "ShiftViT/README.md").read_text() == text
    (root / "ShiftViT/README.md").write_text("<!-- measured:end -->\n<!-- measured:begin -->\n")
    with pytest.raises(cli.Failure, match="has not one"):
        readme(monkeypatch, capsys, root)


def test_our_readmes_show_the_recorded_figures():
    assert "6 READMEs" in make(ROOT, "check-readme", f"PYTHON={sys.executable}") or (ROOT / "README.zh-CN.md").exists()
    for folder in (".", *MODELS):
        assert "<!-- measured:begin -->" in (ROOT / folder / "README.md").read_text()
