"""Records of timings, the report page and the READMEs' tables: whole, true, escaped, readable."""
import csv
import html.parser
import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import matplotlib.text
import pytest
import tiny
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from common import cli, provenance
from tools.report import charts, figures, readme, record, tables
from tools.report import page as page_parts
from tools.report import report as page_of

MODELS = sorted(p.parent.name for p in ROOT.glob("*/published.json"))
BROWSERS = ("chromium-headless-shell", "chromium", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
EVIL = "<script>alert('1')</script>&\"$x_{"
ONNX = {"sha256": "ab" * 32, "weights": "w.pth", "weights_sha256": "cd" * 32, "torch": "2.15.0",
        "onnx": "1.23.2", "opset": 11}
HOST = {"cpu": "Some CPU", "cores": 2, "system": "Linux x86_64", "python": "3.11.7"}
PERF = {"engine": "openvino", "engine_version": "2026.4.1", "device": "CPU", "precision": "f32",
        "batch": 8, "demo": True, "onnx": ONNX, "fps": 31.5, "repeats": [31, 31.5, 32],
        "spread": 1 / 31.5, "others": 0.01, "runner": "ais_bench", "host": HOST,
        "ms": {"min": 250, "max": 270, "mean": 255, "median": 254, "p99": 269},
        "date": "2026-11-20T10:00:00+00:00"}
FROM_BIN = {"fps": 29.5, "repeats": [29, 29.5, 30], "spread": 1 / 29.5, "others": 0.02,
            "images": 160, "seconds": [5.3, 5.4, 5.5]}


def run(monkeypatch, module, *words):
    monkeypatch.setattr(sys, "argv", ["x", *map(str, words)])
    module.main()


# ---- records ----

def write_timing(folder, batch, fps, from_bin=None, **changes):
    """perf_….json, and frombin_….json beside it, as the two timings leave them."""
    made = provenance.made("x.json", [], [])
    perf = {**PERF, "batch": batch, "fps": fps, "made": made, **changes}
    cli.write_json(folder / f"perf_bs{batch}.json", perf)
    if from_bin:
        content = {"host": perf["host"], **FROM_BIN, "fps": from_bin, "made": made}
        cli.write_json(folder / f"frombin_bs{batch}.json", content)
    return folder / f"perf_bs{batch}.json"


def test_a_new_figure_takes_the_place_of_its_setting(tmp_path, monkeypatch, capsys):
    words = ("--model", "M", "--results", tmp_path / "results")
    files = [write_timing(tmp_path, 1, 20, 18), write_timing(tmp_path, 8, 31.5)]
    run(monkeypatch, record, *words, *files)
    said = capsys.readouterr().out
    assert "M: openvino 2026.4.1, f32, Some CPU, 2 threads, Linux x86_64, demo weights" in said
    assert "from .bin: not timed" in said  # of batch 8
    run(monkeypatch, record, *words, write_timing(tmp_path, 8, 33, 29.5))
    run(monkeypatch, record, *words, write_timing(tmp_path, 8, 60, precision="int8"))
    path = record.path_in(tmp_path / "results")
    found = {(r["batch"], r["precision"]): r for r in record.read(path)}
    assert {key: r["compute_only"]["fps"] for key, r in found.items()} == {
        (1, "f32"): 20, (8, "f32"): 33, (8, "int8"): 60}
    assert found[8, "f32"]["from_bin"]["fps"] == 29.5
    assert found[8, "f32"]["weights"] == {"file": "w.pth", "sha256": "cd" * 32}
    with open(path.with_suffix(".csv")) as f:
        rows = list(csv.DictReader(f))
    assert [row["fps_from_bin"] for row in rows] == ["18", "29.5", "29.5"]
    assert rows[0]["ms_p99"] == "269"


def test_from_bin_of_another_host_is_not_kept(tmp_path, monkeypatch, capsys):
    """perf_….json alone was taken again, on one core."""
    file = write_timing(tmp_path, 8, 33, 29.5)
    perf = json.loads(file.read_text())
    perf["host"]["cores"] = 1
    cli.write_json(file, perf)
    run(monkeypatch, record, "--model", "M", "--results", tmp_path / "results", file)
    assert "from .bin: not timed" in capsys.readouterr().out


def test_a_stale_timing_is_not_kept(tmp_path, monkeypatch):
    (tmp_path / "m.blob").write_text("m")
    file = write_timing(tmp_path, 8, 31.5)
    cli.write_json(file, {**PERF, "made": provenance.made(file, [tmp_path / "m.blob"], [])})
    (tmp_path / "m.blob").write_text("another")
    with pytest.raises(cli.Failure, match="was made from another .*m.blob — make bench"):
        run(monkeypatch, record, "--model", "M", "--results", tmp_path / "results", file)
    assert not (tmp_path / "results").exists()


def other_machine(r):
    return {**r, "threads": 32, "hardware": {**r["hardware"], "cores": 64}}


def test_machines_and_releases_keep_apart():
    """Neither takes the other's place, and each has a best of its own; a host's name is no key."""
    r = record.make("M", "float32", PERF, None)
    faster = {"compute_only": {**r["compute_only"], "fps": 99.0}}
    others = [other_machine({**r, **faster}), {**r, **faster, "engine_version": "2027.0"}]
    assert len({record.setting(each) for each in (r, *others)}) == 3
    again = {**r, "date": "2027-01-01", "hardware": {**r["hardware"], "host": "a-container"}}
    assert record.setting(again) == record.setting(r)
    shown = tables.speed_table([r, *others], {"fps": {}, "chip": None})
    texts = [cell.text for row in shown.rows for cell in row]
    assert "best 31.5" in texts and texts.count("best 99.0") == 2
    assert "Some CPU, 32 threads of 64 cores, Linux x86_64" in texts
    assert len(page_parts.lines_of([r, *others])) == 2
    kinds = {"README.md": readme.of_all, "ShiftViT/README.md": readme.of_model}
    for table in kinds.values():
        text = table([r, *others], readme.WORDS["README.md"])
        assert "32 threads of 64 cores" in text and "31.5" in text and "2027.0" in text


def test_what_fell_is_named(tmp_path, monkeypatch, capsys):
    words = ("--model", "M", "--results", tmp_path / "results")
    for fps, said in ((31.5, ""), (31.2, "none fell by more than noise"),
                      (25, "1 fell by more than noise\n  batch 8 compute only 31.2 → 25.0 (-20%, "
                           "noise 3%)\n")):
        run(monkeypatch, record, *words, write_timing(tmp_path, 8, fps))
        shown = capsys.readouterr().out
        assert f"beside the figures kept before: {said}" in shown if said else "beside" not in shown


def damaged(**changes):
    return json.dumps([{**record.make("M", "float32", PERF, None), **changes}])


@pytest.mark.parametrize("content, said", [
    ("{}", "a dict"), ("[1]", r"\[0\] is no object"), ('[{"model": "x"}]', "has no batch"),
    ("[", "not JSON"), ("null", "a NoneType"), (damaged(batch="8"), r"\[0\].batch is no integer"),
    (damaged(batch=True), r"\[0\].batch is no integer"),
    (damaged(hardware={"name": "x"}), r"\[0\].hardware has no cpu")])
def test_damaged_records_are_refused(tmp_path, content, said):
    (tmp_path / "r.json").write_text(content)
    with pytest.raises(cli.Failure, match=f"r.json .*{said}"):
        record.read(tmp_path / "r.json")


@pytest.mark.parametrize("perf, said", [
    ({"device": "NPU"}, ("ascend", None, "NPU", None)),  # an .om without its record
    ({"device": "NPU", "soc": "Ascend310P3"}, ("ascend", None, "Ascend310P3", None)),
    ({"device": "NPU", "soc": "Ascend310P3", "devices": 4},
     ("ascend", None, "4 × Ascend310P3", None)),
    ({"device": "GPU", "engine": "onnxruntime", "provider": "cuda"},
     ("onnxruntime", None, "GPU by cuda", None)),
    ({"device": "GPU", "engine": "onnxruntime", "gpu": "Some GPU"},
     ("onnxruntime", None, "Some GPU", None)),
    ({"device": "CPU", "engine": "openvino"}, ("openvino", None, "Some CPU", 2))])
def test_what_a_figure_was_taken_on(perf, said):
    few = ("batch", "fps", "repeats", "spread", "runner", "host", "date")
    r = record.make("M", "float32", {**{k: PERF[k] for k in few}, **perf}, None)
    assert (r["engine"], r["precision"], r["hardware"]["name"], r["threads"]) == said
    record.show([r])


@pytest.mark.parametrize("inputs, told", [
    ([{"name": "x", "shape": [8, 3, 2, 2], "dtype": "uint8"}], "uint8"), ([], "float32")])
def test_the_input_is_that_of_the_model_which_was_timed(tmp_path, inputs, told):
    file = write_timing(tmp_path, 8, 31.5, inputs=inputs)
    args = record.get_args(["--model", "M", "--results", "r", "--input", "float32", str(file)])
    assert record.of_file(args, file)["input"] == told


# ---- the page ----

def published(folder):
    return json.loads((ROOT / folder / "published.json").read_text())


def speed(folder, batch, fps, *, from_bin=True, **changes):
    perf = {**PERF, "batch": batch, "fps": fps, "repeats": [0.98 * fps, fps, 1.01 * fps],
            "spread": 0.03, **changes}
    whole = {**FROM_BIN, "fps": 0.9 * fps, "repeats": [0.88 * fps, 0.9 * fps, 0.91 * fps]}
    return record.make(published(folder)["model"], "float32", perf, whole if from_bin else None)


VERDICT = {"result": "passed", "words": "passed, +0.10 points"}
DEMO = "not decided: demo"


def accuracy(engine, good, total=50000, demo=False, **changes):
    by = {"engine": engine, "engine_version": "1.0", "precision": "f32", "batch": 8,
          "device": "CPU", "cpu": "Some CPU", "host": HOST, "onnx": ONNX}
    if engine == "torch":
        by.update(weights="build/w.pth", weights_sha256="cd" * 32, onnx=None)
    return {
        "top1": 100 * good / total, "top5": 99.5, "good": good, "total": total, "demo": demo,
        "partial": False, "subset": False, "dataset": {"recipe": {}}, "produced_by": by,
        "verdict": VERDICT, "date": "2026-11-20T10:00:00", **changes}


@pytest.fixture
def root(tmp_path):
    """A repository with published figures only."""
    for folder in MODELS:
        (tmp_path / folder).mkdir()
        shutil.copy(ROOT / folder / "published.json", tmp_path / folder)
    (tmp_path / "results").mkdir()
    return tmp_path


def measure(root):
    """Put figures there: two models timed, one scored in full, and on the demo's images."""
    record.write(root / "results/host.json", [
        *(speed("ShiftViT", b, f) for b, f in ((1, 24.5), (8, 31.7), (64, 30.25))),
        *(speed("ShiftViT", b, f, precision="int8") for b, f in ((1, 44.5), (8, 61.75))),
        *(speed("ShiftViT", b, f, engine="onnxruntime") for b, f in ((1, 20.5), (64, 22.75))),
        speed("ShiftViT", 4, 28.5, spread=0.44),
        speed("spnasnet", 8, 412.5, from_bin=False, demo=False)])
    (root / "ShiftViT/build/demo").mkdir(parents=True)
    for name, r in {"online": accuracy("torch", 39700),
                    "eval_bs8_openvino": accuracy("openvino", 39695),
                    "eval_bs8_onnxruntime": accuracy("onnxruntime", 39699),
                    "demo/eval_bs8_openvino": accuracy(
                        "openvino", 235, 240, demo=True,
                        verdict={"result": None, "words": "none: demo"})}.items():
        made = provenance.made("x.json", [], [])
        cli.write_json(root / f"ShiftViT/build/{name}.json", {**r, "made": made})


def report(monkeypatch, root, *models):
    run(monkeypatch, page_of, "--root", root, *(models or MODELS))
    return (root / "report/index.html").read_text()


def cells(section):
    """Rows of all tables in a part of the page, as texts."""
    return [[" ".join("".join(c.itertext()).split()) for c in tr] for tr in section.iter("tr")]


def parsed(page):
    return ET.fromstring(page.removeprefix("<!DOCTYPE html>\n"))  # well-formed as XML too


def test_with_nothing_measured_it_says_what_to_run(root, monkeypatch):
    """The committed figures, which the READMEs show, are not this host's."""
    record.write(root / "results/reference.json", [speed("ShiftViT", 8, 31.7)])
    with pytest.raises(cli.Failure, match="nothing is measured yet.*make demo or make sweep"):
        report(monkeypatch, root)
    assert not (root / "report").exists()


class Links(html.parser.HTMLParser):
    """Everything that a browser would fetch, and what it would run."""

    def __init__(self):
        super().__init__()
        self.found, self.scripts = [], 0

    def handle_starttag(self, tag, attrs):
        self.scripts += tag == "script" or any(k.startswith("on") for k, _ in attrs)
        fetched = ("src", "href", "srcset", "data", "poster", "action")
        self.found += [v for k, v in attrs if k in fetched and v]


def test_the_page_is_whole_and_needs_nothing_else(root, monkeypatch):
    measure(root)
    page = report(monkeypatch, root)
    ids = [e.get("id") for e in parsed(page).iter() if e.get("id")]
    assert len(ids) == len(set(ids)), "two things of one id"
    links = Links()
    links.feed(page)
    assert links.found and not links.scripts
    assert all(v.startswith(("#", "data:")) for v in links.found)
    refers = set(re.findall(r"url\(#([^)]+)\)", page))
    refers |= {v[1:] for v in links.found if v.startswith("#")}
    assert refers <= set(ids) and not re.search(r"@import|url\((?!#)", page)
    drawn = "".join(re.findall(r"<svg.*?</svg>", page, re.S))
    assert not re.search(r"#[0-9a-f]{6}", drawn), "a colour that no theme changes"
    for folder in MODELS:
        assert Image.open(root / f"report/{folder}.png").size[0] > 600


def test_every_figure_is_there(root, monkeypatch):
    measure(root)
    parts = {s.get("id"): s for s in parsed(report(monkeypatch, root)).iter("section")}
    assert len(parts) == len(MODELS)
    for folder in MODELS:
        part = parts[re.sub("[^a-z]", "", folder.lower())]
        svgs = part.iter("{http://www.w3.org/2000/svg}svg")
        labels = " ".join(svg.get("aria-label") for svg in svgs)
        for chip, fps in figures.published_fps(published(folder)).items():
            assert f"{chip} best {charts.best(fps)} {fps}" in labels
    rows = cells(parts["shiftvit"])
    rest = ["250.00", "254.00", "269.00", "3%", "862.72"]
    cpu, made = "Some CPU, 2 threads, Linux x86_64", "openvino 2026.4.1"
    assert [f"{made} f32 demo weights", cpu, "8", "best 31.7", "28.5", *rest] in rows
    assert [f"{made} int8 demo weights", cpu, "8", "best 61.8", "55.6", *rest] in rows
    assert next(r for r in rows if r[2:4] == ["4", "28.5"])[8] == "44%, noisy"
    assert ["offline model", "openvino 1.0, f32, batch 8", "79.39 %", "99.50 %", "50,000",
            "-0.010", "yes, +0.10 points", "2026-11-20"] in rows
    assert next(r for r in rows if r[0] == "offline model demo")[5:7] == ["–", DEMO]
    assert next(r for r in rows if r[0] == f"speed: {made} f32 demo")[1:] == [
        "2026.4.1", "Some CPU", "2", "w.pth", "cd" * 6, "ab" * 6,
        "python 3.11.7 torch 2.15.0 onnx 1.23.2", "2026-11-20"]
    assert next(r for r in rows if r[0] == "accuracy: offline model")[7] == (
        "python 3.11.7 torch 2.15.0 onnx 1.23.2")
    assert [f"{made} f32", cpu, "8", "best 412.5", "–", "250.00", "254.00", "269.00", "3%",
            "7,196.11"] in cells(parts["spnasnet"])
    assert "make sweep MODELS=SPACH" in "".join(parts["spach"].itertext())


def test_hosts_side_by_side(root, monkeypatch):
    """A setting is a row; a host that is not asked for is not shown; of one setting the newest."""
    measure(root)
    r = speed("ShiftViT", 8, 31.7)
    old = speed("ShiftViT", 8, 77.5, date="2020-01-01")
    record.write(root / "a.json", [r])
    record.write(root / "b.json", [other_machine(speed("ShiftViT", 8, 123.4)), old])
    run(monkeypatch, page_of, "--root", root, "--from", root / "a.json", root / "b.json",
        "--build", "none", "ShiftViT")
    page = (root / "report/index.html").read_text()
    rows = cells(parsed(page))
    assert ["engine, precision", "batch", "Some CPU, 2 threads, Linux x86_64",
            "Some CPU, 32 threads of 64 cores, Linux x86_64"] in rows
    assert ["openvino 2026.4.1 f32 demo weights", "8", "31.7", "123.4"] in rows
    assert "61.8" not in page and "77.5" not in page
    with pytest.raises(cli.Failure, match="there is no .*gone.json"):
        run(monkeypatch, page_of, "--root", root, "ShiftViT", "--from", root / "gone.json")


def everywhere(value, text):
    """`value` with every text in it replaced by `text`; keys stay."""
    if isinstance(value, dict):
        return {k: everywhere(v, text) for k, v in value.items()}
    return text if isinstance(value, str) else value


def test_every_field_is_escaped(root, monkeypatch):
    """Whatever texts a record and a result hold, dates and hashes too: the page shows them."""
    r = {**everywhere(speed("ShiftViT", 8, 31.7), EVIL), "model": published("ShiftViT")["model"]}
    record.write(root / "results/host.json", [r])
    (root / "ShiftViT/build").mkdir()
    for name, engine in (("online", "torch"), ("eval_bs8", "openvino")):
        result = everywhere(accuracy(engine, 39700), EVIL)
        (root / f"ShiftViT/build/{name}.json").write_text(json.dumps(result))
    source = everywhere(published("SPACH"), EVIL)
    (root / "SPACH/published.json").write_text(json.dumps(source))
    page = report(monkeypatch, root, "ShiftViT", "SPACH")
    assert "<script" not in page and "$x_{" in page
    assert "".join(parsed(page).itertext()).count("alert('1')") > 10


def test_markup_in_a_name_stays_text(root, monkeypatch):
    """A model called <b>x</b>, in the page, its charts and the READMEs."""
    name = "<b>x</b>"
    source = {**published("ShiftViT"), "model": name, "chip": name}
    cli.write_json(root / "ShiftViT/published.json", source)
    r = {**speed("ShiftViT", 8, 31.7), "model": name, "weights": {"file": name, "sha256": name}}
    record.write(root / "results/host.json", [r])
    page = report(monkeypatch, root, "ShiftViT")
    assert name not in page and page.count("&lt;b&gt;x&lt;/b&gt;") > 4
    (root / "README.md").write_text(MARKS)
    run(monkeypatch, readme, "--root", root, "--from", root / "results/host.json")
    text = (root / "README.md").read_text()
    assert "| &lt;b>x&lt;/b> |" in text


def test_the_overview_leads_to_the_models_and_marks_noise(root, monkeypatch):
    record.write(root / "results/host.json", [speed("ShiftViT", 4, 28.5, spread=0.44)])
    page = parsed(report(monkeypatch, root, "ShiftViT"))
    row = cells(page.find("body/div"))[1]
    assert "44%, noisy" in row and page.find("body/div//a").get("href") == "#shiftvit"
    assert "Latency of a batch: Some CPU" in "".join(page.itertext()).replace("\n", " ")


FAILED = {"result": "failed", "words": "failed, -2 points"}


@pytest.mark.parametrize("results, said", [
    ([("torch", None)], "not scored"), ([("ONNX Runtime", VERDICT)], "yes, +0.10 points"),
    ([("offline model", VERDICT), ("ONNX Runtime", FAILED)], "no, -2 points"),
    ([("offline model", VERDICT), ("offline model", FAILED)], "no, -2 points")])
def test_the_overview_shows_a_verdict_of_any_engine_and_first_one_that_failed(results, said):
    scored = [(kind, accuracy("x", 39700, verdict=told)) for kind, told in results]
    model = "ShiftViT", published("ShiftViT"), [], scored, []
    assert page_parts.overview([model]).rows[0][-1].text == said


def test_figures_of_the_demo_are_shown_unless_a_file_of_their_chain_changed(
        root, monkeypatch, capsys):
    """The ONNX is two steps behind the timing and the score."""
    build = root / "ShiftViT/build/demo"
    build.mkdir(parents=True)
    monkeypatch.chdir(root / "ShiftViT")
    onnx, model = Path("build/demo/m.onnx"), Path("build/demo/m.blob")
    for path, inputs in ((onnx, []), (model, [onnx])):
        path.write_text("m")
        provenance.record(path, inputs)
    made = provenance.made("x.json", [model], [])
    score = accuracy("openvino", 235, 240, demo=True, verdict={"result": None, "words": "none: x"})
    cli.write_json(build / "perf_bs8_openvino.json", {**PERF, "fps": 23.4, "made": made})
    cli.write_json(build / "eval_bs8_openvino.json", {**score, "made": made})
    rows = cells(parsed(report(monkeypatch, root, "ShiftViT")))
    assert next(r for r in rows if "best 23.4" in r)[0] == "openvino 2026.4.1 f32 demo weights"
    assert any("openvino 1.0, f32, batch 8" in r for r in rows)
    onnx.write_text("another")
    with pytest.raises(cli.Failure, match="nothing is measured yet"):
        report(monkeypatch, root, "ShiftViT")
    said = capsys.readouterr().out
    assert "it is left out; make demo makes it again" in said
    assert "it is left out; make eval makes it again" in said


def test_a_profile_is_boxes_as_wide_as_their_share(root, monkeypatch):
    build = root / "out/ShiftViT"
    build.mkdir(parents=True)
    monkeypatch.chdir(root / "ShiftViT")
    (build / "m.blob").write_text("m")
    names = [("layers.0.fc1", "Conv", "matrix", 0.5),
             ("before layers.0.act", "Gelu", "vector", 0.25), ("head", "Conv", "matrix", 0.25)]
    rows = [{"name": "x", "module": module, "type": each, "kind": kind, "share": share, "ms": 1}
            for module, each, kind, share in names]
    made = provenance.made("x.json", [build / "m.blob"], [])
    cli.write_json(build / "profile_bs8_openvino.json", {
        "engine": "openvino", "precision": "f32", "batch": 8, "ms": 4.0, "operators": rows,
        "made": made})
    words = ("ShiftViT", "--build", f"{root}/out/{{}}")  # make report OUT=/…/out
    page = report(monkeypatch, root, *words)
    boxes = [(e.get("title"), e.get("style")) for e in parsed(page).iter("div")
             if e.get("class") == "flame"]
    assert boxes == [
        ("the network 100.0%", "flex: 1000.00"), ("layers 75.0%", "flex: 750.00"),
        ("0 75.0%", "flex: 750.00"), ("fc1 50.0%", "flex: 500.00"),
        ("Conv 50.0%, matrix", "flex: 500.00"), ("act 25.0%", "flex: 250.00"),
        ("Gelu 25.0%, vector", "flex: 250.00"), ("head 25.0%", "flex: 250.00"),
        ("Conv 25.0%, matrix", "flex: 250.00")]
    (build / "m.blob").write_text("another")
    with pytest.raises(cli.Failure, match="nothing is measured yet"):
        report(monkeypatch, root, *words)


def test_a_file_that_is_no_record_is_not_to_be_deleted(root, monkeypatch):
    other = root / "other.json"
    other.write_text("[1]")
    with pytest.raises(cli.Failure, match="holds no records.*FROM= takes files of results/"):
        run(monkeypatch, page_of, "--root", root, "--from", other, "--", "ShiftViT")


@pytest.mark.filterwarnings("error")  # matplotlib warns of a character that it cannot draw
def test_a_chart_in_another_script_is_drawn_or_spelled(tmp_path):
    charts.png([("测量：某机器", [charts.Line("ShiftViT 猫", {1: 2.0}, 0)])], tmp_path / "a.png")


def test_texts_of_charts_are_readable_and_inside():
    """A phone shows 360 points of a chart 366 pixels wide."""
    lines = page_parts.curves("openvino 2026.4.1 f32, uint8, demo", 0, [speed("ShiftViT", 64, 9e3)])
    panel = "Measured: A CPU of a long name, 128 threads of 256 cores, Linux x86_64", lines
    drawn = charts.figure([panel])
    sizes = [text.get_fontsize() for text in drawn.findobj(matplotlib.text.Text)
             if text.get_text()]
    assert min(sizes) >= 11
    box = drawn.get_tightbbox()
    assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= charts.SIZE[0] and box.y1 <= charts.SIZE[1]


@pytest.mark.parametrize("batches, named", [
    ((8,), charts.BATCHES), ((1, 256), (1, 4, 16, 64, 256)), ((1, 6, 1024), (1, 4, 16, 64, 1024))])
def test_no_batch_is_outside_its_chart(batches, named):
    drawn = charts.figure([("t", [charts.Line("l", dict.fromkeys(batches, 2.0), 0)])])
    axes = drawn.axes[0]
    assert tuple(axes.get_xticks()) == named
    assert axes.get_xlim()[0] < min(batches) and max(batches) < axes.get_xlim()[1]


@pytest.mark.parametrize("told, words", [
    (VERDICT, ("yes, +0.10 points", "good")),
    ({"result": "failed", "words": "failed, -2 points"}, ("no, -2 points", "bad")),
    ({"result": None, "words": "none: demo"}, (DEMO, "")),
    (None, ("not decided: make eval again", ""))])
def test_verdicts_are_those_of_the_scoring(told, words):
    assert figures.verdict(accuracy("openvino", 39400, verdict=told)) == words


def test_the_difference_is_to_torch_with_the_same_weights_and_images():
    torch, ours = accuracy("torch", 40000), accuracy("openvino", 39900)
    assert figures.to_torch(ours, [("torch", torch)]) == pytest.approx(-0.2)
    other = {**torch, "produced_by": {**torch["produced_by"], "weights_sha256": "00" * 32}}
    for pairs in ([], [("torch", other)], [("torch", {**torch, "total": 49999})],
                  [("offline model", torch)]):
        assert figures.to_torch(ours, pairs) is None


@pytest.mark.parametrize("key, mine, theirs, joins", [
    ("weights_key", "ema", "model", False), ("weights_key", "", "model", False),
    ("net", "bundled", "upstream", False), ("net", "bundled", "bundled", True),
    ("net", None, "upstream", True)])
def test_the_difference_is_to_torch_with_the_same_key_and_network(key, mine, theirs, joins):
    torch, ours = accuracy("torch", 40000), accuracy("openvino", 39900)
    torch["produced_by"][key] = theirs
    ours["produced_by"]["onnx"] = {**ONNX, key: mine}
    assert (figures.to_torch(ours, [("torch", torch)]) is not None) == joins


def test_charts_ignore_what_the_user_draws_with(tmp_path):
    """MPLBACKEND and matplotlibrc are of other programs: text.usetex would call LaTeX."""
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nfigure.dpi: 7\n")
    code = ("from tools.report import charts; import sys; line = [charts.Line('l', {1: 2.0}, 0)]; "
            "charts.png([('t', line)], sys.argv[1]); print(charts.svg('t', line, 'x'))")
    drawn = []
    for env in ({"MPLBACKEND": "nonsense", "MATPLOTLIBRC": str(tmp_path)}, {}):
        done = tiny.run(ROOT, "-c", code, tmp_path / "a.png", env=env)
        drawn.append((tiny.worked(done), (tmp_path / "a.png").read_bytes()))
    assert drawn[0] == drawn[1]


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0.05, 0.3)), min_size=1, max_size=8))
def test_labels_keep_apart(labels):
    places, heights = zip(*labels, strict=True)
    moved = charts.apart(places, heights)
    order = sorted(range(len(places)), key=places.__getitem__)
    pairs = list(zip(order, order[1:], strict=False))
    for i, j in pairs:
        assert moved[j] - moved[i] > (heights[i] + heights[j]) / 2 - 1e-9
    if all(places[j] - places[i] > (heights[i] + heights[j]) / 2 for i, j in pairs):
        assert moved == pytest.approx(places)


# A browser's window has a least width of its own; a frame has the width that it is given.
FRAME = """<!DOCTYPE html><html><body style="margin:0">
<script>addEventListener("message", e => document.body.dataset.probe = e.data);</script>
<iframe src="page.html" style="border:0;width:{width}px;height:900px"></iframe></body></html>"""
PROBE = """<script>
addEventListener("load", () => parent.postMessage(JSON.stringify({
  width: document.documentElement.scrollWidth, view: innerWidth,
  dark: matchMedia("(prefers-color-scheme: dark)").matches,
  paper: getComputedStyle(document.body).backgroundColor,
  ink: getComputedStyle(document.querySelector("svg text")).fill,
  outside: [...document.querySelectorAll("svg text")].filter(t => {
    const a = t.getBoundingClientRect(), b = t.closest("svg").getBoundingClientRect();
    return a.left < b.left - 1 || a.right > b.right + 1; }).length,
  tall: [...document.querySelectorAll(".demo")].filter(d => d.offsetHeight > 40).length,
  cut: [...document.querySelectorAll(".wide")].filter(b => b.scrollWidth > b.clientWidth).length,
  fetched: performance.getEntriesByType("resource").map(r => r.name)
    .filter(n => !n.startsWith("data:"))}), "*"));
</script></head>"""


@pytest.mark.skipif(not BROWSER, reason="no Chromium here (apt-get install chromium)")
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 390])
def test_in_a_browser(root, monkeypatch, tmp_path, width, dark):
    """No error on the console, nothing fetched, no sideways scrolling, its theme, all text of a
    chart inside its chart."""
    measure(root)
    page = report(monkeypatch, root).replace("</head>", PROBE)
    (tmp_path / "page.html").write_text(page)
    (tmp_path / "frame.html").write_text(FRAME.format(width=width))
    done = subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
         f"--user-data-dir={tmp_path}/profile", "--window-size=1400,1000",
         f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--enable-logging=stderr",
         "--virtual-time-budget=2000", "--dump-dom", (tmp_path / "frame.html").as_uri()],
        capture_output=True, text=True, timeout=120)
    assert "CONSOLE" not in done.stderr
    seen = json.loads(html.unescape(re.search(r'data-probe="([^"]*)"', done.stdout)[1]))
    assert width < 1280 or seen["cut"] == 0, "a table does not fit"
    assert seen["view"] == width and seen["width"] <= width
    assert seen["tall"] == 0, "a mark is drawn out over the lines beside it"
    assert seen["fetched"] == [] and seen["outside"] == 0 and seen["dark"] == dark
    light = ("rgb(255, 255, 255)", "rgb(27, 31, 36)")
    night = ("rgb(20, 24, 29)", "rgb(230, 234, 238)")
    assert (seen["paper"], seen["ink"]) == (night if dark else light)


# ---- the READMEs' tables ----

MARKS = "# x\n\n<!-- measured:begin -->\nold\n<!-- measured:end -->\nafter\n"


def write_readmes(root):
    for name in ("README.md", "README.zh-CN.md", "ShiftViT/README.md", "SPACH/README.md"):
        (root / name).write_text(MARKS)
    (root / "spnasnet/README.md").write_text("no marks\n")


def test_measured_tables(root, monkeypatch):
    measure(root)
    write_readmes(root)
    run(monkeypatch, readme, "--root", root, "--from", root / "results/host.json")
    text = (root / "ShiftViT/README.md").read_text()
    start = MARKS[:MARKS.index("old")]
    assert text.startswith(f"{start}Measured on Some CPU, 2 threads, 2026-11-20, demo weights")
    assert "| openvino 2026.4.1, int8 | 8 | 61.8 | 55.6 | 254.00 | 269.00 | 3% |\n" in text
    assert "| openvino 2026.4.1, f32 | 4 | 28.5 | 25.7 | 254.00 | 269.00 | 44%, noisy |\n" in text
    assert text.endswith("end -->\nafter\n")
    top = (root / "README.md").read_text()
    assert ("| ShiftViT-T/light | openvino 2026.4.1, int8, demo weights | 61.8 at 8 | 55.6 | 3% |\n"
            in top)
    assert "演示权重" in (root / "README.zh-CN.md").read_text()
    assert (root / "SPACH/README.md").read_text() == MARKS.replace("old\n", "")
    assert (root / "spnasnet/README.md").read_text() == "no marks\n"


def test_rows_of_different_settings_differ_in_their_labels():
    """Official weights, the demo's, bytes, a model for several batches: each has a row."""
    r = speed("ShiftViT", 8, 31.7, demo=False)
    others = [{**r, "demo": True}, {**r, "input": "uint8"}, {**r, "runner": "ais_bench --dymBatch"}]
    for words in readme.WORDS.values():
        for kind in (readme.of_all, readme.of_model):
            _, _, *rows = kind([r, *others], words).splitlines()
            assert len(rows) == len({tuple(row.split(" | ")[:2]) for row in rows}) == 4
        assert "demo" not in readme.intro([r, *others], {**words, "demo": "demo"})
    _, _, first, *_ = kind([r, *others], readme.WORDS["README.md"]).splitlines()
    assert first.startswith("| openvino 2026.4.1, f32 | 8 |")


def test_a_stale_table_is_named_and_renewed(root, monkeypatch):
    measure(root)
    write_readmes(root)
    run(monkeypatch, readme, "--root", root, "--from", root / "results/host.json")
    run(monkeypatch, readme, "--root", root, "--check")
    path = root / "ShiftViT/README.md"
    text = path.read_text()
    path.write_text(text.replace("61.8", "62.8"))
    with pytest.raises(cli.Failure, match="tables of ShiftViT/README.md are not"):
        run(monkeypatch, readme, "--root", root, "--check")
    assert "62.8" in path.read_text()
    run(monkeypatch, readme, "--root", root)
    assert path.read_text() == text
    path.write_text("<!-- measured:end -->\n<!-- measured:begin -->\n")
    with pytest.raises(cli.Failure, match="has not one"):
        run(monkeypatch, readme, "--root", root)


def test_our_readmes_show_the_recorded_figures(monkeypatch):
    run(monkeypatch, readme, "--check")
    for folder in (".", *MODELS):
        assert "<!-- measured:begin -->" in (ROOT / folder / "README.md").read_text()
