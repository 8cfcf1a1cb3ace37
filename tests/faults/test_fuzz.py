"""Every reader of text or bytes that others wrote, over text and bytes that nobody meant.

A reader may take what it is given, or refuse it with a Failure (which `cli.run` prints as one
line) or, for a command line, with exit status 2. Any other exception is a bug, and so is a case
that takes longer than SECONDS. FAULT_CASES sets the number of cases for each reader; `make faults`
takes many, and new ones each time.
"""
import argparse
import contextlib
import io
import json
import os
import signal
from collections import Counter

import numpy as np
import onnx
import pytest
import torch
from conftest import ROOT, load
from graphs import save_graph
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from PIL import Image

from common import cli, provenance, toolchain
from common.ascend import atc, chip, errors
from common.cpu import atc as host_atc
from common.cpu import compiler, engine, graph
from common.cpu.ais_bench import __main__ as ais_bench_args
from common.cpu.ais_bench import outputs
from common.data import bins, labels, names, transforms
from common.data.manifest import Manifest, Row
from common.model import checkpoint
from common.score import origin, results
from common.speed import bench

pytestmark = pytest.mark.slow

CASES = int(os.environ.get("FAULT_CASES", 100))
SECONDS = 30
WORDS = st.text(max_size=40)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=12,
)


def mixed(*pieces, most=30):
    """Text put together from what the reader looks for, and anything else."""
    return st.lists(st.sampled_from(pieces) | st.text(max_size=6), max_size=most).map("".join)


def damaged(whole):
    """Bytes: `whole` cut short, with some of it overwritten, left out or put in; or anything."""
    def spoil(edits, end):
        data = bytearray(whole[:end])
        for at, length, new in edits:
            data[at:at + length] = new
        return bytes(data)
    edit = st.tuples(st.integers(0, len(whole)), st.integers(0, 9), st.binary(max_size=9))
    return st.binary(max_size=200) | st.builds(
        spoil, st.lists(edit, max_size=6), st.integers(0, len(whole)) | st.just(None))


def spoilt_json(content):
    """JSON text: `content` (a dict) with some of its values, or all of it, replaced; or damaged as
    bytes."""
    keys = st.dictionaries(st.sampled_from(sorted(content)), JSON, max_size=3)
    changed = keys.map(lambda new: json.dumps({**content, **new}).encode())
    less = st.sets(st.sampled_from(sorted(content)), max_size=3).map(
        lambda gone: json.dumps({k: v for k, v in content.items() if k not in gone}).encode())
    deep = st.sampled_from([b"[" * 100000, b'{"a":' * 100000, b"\xff\xfe[]", b"NaN", b"1" * 5000])
    other = JSON.map(lambda j: json.dumps(j).encode())
    return changed | less | other | damaged(json.dumps(content).encode()) | deep


@contextlib.contextmanager
def promptly():
    """Raise when the block hangs."""
    def stop(*_):
        raise AssertionError(f"still busy after {SECONDS} s")
    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def play(seen):
    """play(strategy, reader): call reader(case) for CASES cases; a Failure is one line, and
    nothing else is raised."""

    def over(strategy, reader):
        ends = Counter()

        @settings(
            max_examples=CASES, deadline=None, database=None,
            derandomize="FAULT_CASES" not in os.environ, suppress_health_check=list(HealthCheck))
        @given(strategy)
        def case(what):
            with promptly(), contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(
                io.StringIO()):
                try:
                    reader(what)
                    ends["read"] += 1
                except cli.Failure as e:
                    assert str(e).strip() and "\n" not in str(e).strip(), "a failure is one line"
                    ends["refused"] += 1
                except SystemExit as e:
                    assert e.code in (0, 2)
                    ends["refused"] += 1
        case()
        seen(f"{sum(ends.values())} cases: {ends['read']} read, {ends['refused']} refused")
    return over


ANY = "read or refused in one line"


@pytest.mark.fault("fuzz: label file", ANY)
def test_labels(play, tmp_path):
    def read(content):
        (tmp_path / "labels").write_bytes(content)
        found = labels.read_labels(tmp_path / "labels")
        assert found and all(name and 0 <= index < 1000 for name, index in found.items())
        for name in found:  # exactly a name and an index
            assert "\t" not in name and len(name.rpartition("/")[2].split()) == 1
        labels.join(found, ["a.JPEG", "x/b.JPEG", "y/b.png"])

    line = mixed(
        "a.JPEG 1\n", "b.JPEG 999\n", "x/b", "a", " ", "\t", "\n", "\r", "\ufeff", "-1", "1000",
        "٣", "²", "9" * 5000, "/", "\\", ".", ",", '"', "n01440764")
    line = line.map(lambda t: t.encode("utf-8", "surrogatepass"))
    play(line | damaged(b"a.JPEG 1\nb.JPEG 2\n"), read)


@pytest.mark.fault("fuzz: label file, round trip", "what is written is read")
def test_labels_round_trip(play, tmp_path):
    stems = st.text("abcXYZ019_-/", min_size=1, max_size=9).filter(lambda name: name[-1] != "/")

    def read(wanted):
        lines = (f"{stem}.JPEG {index}\n" for stem, index in wanted.items())
        (tmp_path / "labels").write_text("".join(lines))
        assert labels.read_labels(tmp_path / "labels") == wanted
    play(st.dictionaries(stems, st.integers(0, 999), min_size=1, max_size=20), read)


@pytest.mark.fault(
    "fuzz: names of images", "natural order is total; stems of bins are safe and unique")
def test_names(play):
    def order(images):
        ordered = names.in_order(images)
        assert sorted(ordered) == sorted(images) and ordered == names.in_order(images[::-1])
        images = list(dict.fromkeys(images))
        stems = names.stems(images)
        assert len(set(stems)) == len(images) and all(map(names.SAFE.fullmatch, stems))

    pieces = mixed("img", "2", "10", "²", "٣", "_", "/", ".JPEG", "9" * 200, most=5)
    play(st.lists(pieces.filter(names.is_text), max_size=9), order)


@pytest.mark.fault("fuzz: bytes of an image", "an image in RGB, or a reason in one line")
def test_images(play):
    whole = []
    for kind in ("JPEG", "PNG", "GIF", "BMP", "PPM", "TIFF", "WEBP"):
        with io.BytesIO() as f:
            Image.fromarray(np.zeros((9, 8, 3), np.uint8)).save(f, kind)
            whole.append(damaged(f.getvalue()))

    def read(content):
        try:
            assert transforms.load(io.BytesIO(content)).mode == "RGB"
        except transforms.BadImage as e:
            raise cli.Failure(str(e)) from None
    play(st.one_of(whole), read)


@pytest.mark.fault("fuzz: .journal of the bins", "what it says, or nothing")
def test_journal(play, tmp_path):
    entry = [["a", ["a.JPEG", 5, 6, 7, 8]], ["b"]]
    whole = "".join(f"{json.dumps(line)}\n" for line in [{"dtype": "float32"}, *entry]).encode()

    def read(content):
        (tmp_path / ".journal").write_bytes(content)
        settings, made = bins.read(tmp_path)
        assert all(len(source) == 5 for sources in made.values() for source in sources)
    play(damaged(whole) | JSON.map(lambda j: whole + json.dumps(j).encode() + b"\n"), read)


MANIFEST = {
    "images": [["a.JPEG", "a", 0, 1], ["b.JPEG", "b", 0, None]], "files": {"a": 1, "b": 1},
    "dataset": "x", "layout": "flat", "demo": False, "dataset_total": 2, "limit": None, "bad": {},
    "dtype": "float32", "recipe": {"resize": 256}}


@pytest.mark.fault("fuzz: manifest.json", ANY)
def test_manifest(play, tmp_path):
    results_of = tmp_path / "result"
    results_of.mkdir()
    for stem in "ab":
        np.zeros(10, np.float32).tofile(results_of / f"{stem}_0.bin")
    from common.score import metrics

    def read(content):
        (tmp_path / "manifest.json").write_bytes(content)
        manifest = Manifest.load(tmp_path)
        manifest.check_type(manifest.info.get("dtype", "float32"), "x.om")
        score = metrics.evaluate(results_of, manifest, allow_partial=True, classes=10)
        assert score.notes is not None and 0 <= score.counts[0] <= score.total

    rows = st.lists(
        st.lists(JSON | st.sampled_from(["a", "b", 0, 1, -1, 7]), min_size=3, max_size=5),
        max_size=3)
    odd = rows.map(lambda rows: json.dumps({**MANIFEST, "images": rows}).encode())
    good = [Row(*row) for row in MANIFEST["images"]]
    Manifest(good, {"a": 1, "b": 1}, {"bad": {}}).save(tmp_path)
    play(spoilt_json(MANIFEST) | odd | damaged((tmp_path / "manifest.json").read_bytes()), read)


@pytest.mark.fault("fuzz: manifest.json, round trip", "what is written is read")
def test_manifest_round_trip(play, tmp_path):
    row = st.tuples(
        st.text("abc_-0", min_size=1, max_size=8), st.integers(0, 7),
        st.none() | st.integers(0, 999))

    def read(content):
        rows = [Row(f"{stem}.JPEG", stem, at, label) for stem, at, label in content]
        manifest = Manifest(rows, {r.file: 8 for r in rows}, {"demo": False})
        manifest.save(tmp_path)
        assert Manifest.load(tmp_path) == manifest
    play(st.lists(row, max_size=8), read)


def npy(array):
    with io.BytesIO() as f:
        np.save(f, array)
        return f.getvalue()


@pytest.mark.parametrize("kind, whole", [
    ("bin", np.arange(10, dtype=np.float32).tobytes()), ("npy", npy(np.zeros((1, 10), np.float32))),
    ("txt", b"1.5 " * 10 + b"\n")])
@pytest.mark.fault(
    "fuzz: result file BIN, NPY, TXT", "read whole, or named as broken or missing; never shortened")
def test_results(play, tmp_path, kind, whole):
    manifest = Manifest([Row(f"{stem}.JPEG", stem, 0, 1) for stem in "ab"], {"a": 1, "b": 1}, {})
    (tmp_path / f"a_0.{kind}").write_bytes(whole)

    def read(content):
        (tmp_path / f"b_0.{kind}").write_bytes(content)
        found = results.read(tmp_path, manifest, 10)
        assert found.logits.shape == (2, 10) and not found.missing and not found.extra
        whole_rows = np.isfinite(found.logits).all(1)
        assert np.isnan(found.logits[~whole_rows]).all()
        assert len(found.broken) == (~whole_rows).sum()
        assert all("\n" not in why for why in found.broken.values())

    numbers = st.lists(
        st.sampled_from(["0 ", "1e39 ", "nan ", "inf ", "1_0 ", "٣ ", "\n", "0x1 ", "-", "\0"]),
        max_size=20)
    play(damaged(whole) | numbers.map(lambda t: "".join(t).encode()), read)


@pytest.mark.parametrize("outfmt", ["BIN", "NPY", "TXT"])
@pytest.mark.fault(
    "fuzz: result files, round trip",
    "what the stand-in writes is read back: BIN, NPY exactly, TXT to 1e-6")
def test_results_round_trip(play, tmp_path, outfmt):
    values = st.lists(st.floats(-1e6, 1e6, width=32), min_size=20, max_size=20)
    manifest = Manifest([Row(f"{stem}.JPEG", stem, 0, 1) for stem in "ab"], {"a": 1, "b": 1}, {})
    atol = 1e-6 if outfmt == "TXT" else 0

    def read(numbers):
        wanted = np.float32(numbers).reshape(2, 10)
        for stem, row in zip("ab", wanted, strict=True):
            outputs.write(tmp_path / f"{stem}_0.{outfmt.lower()}", row[None], outfmt)
        found = results.read(tmp_path, manifest, 10)
        assert not found.broken
        np.testing.assert_allclose(found.logits, wanted, rtol=1e-6, atol=atol)
    play(values, read)


@pytest.mark.fault("fuzz: the tool's summary.json", "its manifest, or none")
def test_summary(play, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/a_0.bin").write_bytes(b"x")

    def read(content):
        (tmp_path / "run_summary.json").write_bytes(content)
        assert origin.manifest_of(origin.summary(tmp_path / "run")) is None

    filesinfo = {"0": {"infiles": ["/nowhere/a.bin"], "outfiles": []}}
    play(spoilt_json({"filesinfo": filesinfo, "throughput": 1.0}), read)


@pytest.mark.fault(
    "fuzz: names of bins (.info list)", "one line a bin that the tool splits as meant, or refused")
def test_info(play, tmp_path, monkeypatch):
    get_info = load(ROOT / "spnasnet/get_info.py", "get_info")
    folder = tmp_path / "bins"
    folder.mkdir()

    def write(names):
        for old in folder.iterdir():
            old.unlink()
        for name in names:
            (folder / f"{name}.bin").touch()
        monkeypatch.setattr(
            "sys.argv", ["get_info.py", "bin", str(folder), str(tmp_path / "info"), "224", "224"])
        get_info.main()
        written = (tmp_path / "info").read_text(encoding="utf-8")
        lines = [line.split(" ") for line in written.splitlines()]
        assert [line[0] for line in lines] == [str(i) for i in range(len(names))]
        assert sorted(line[1] for line in lines) == sorted(f"{folder}/{n}.bin" for n in names)

    def of_a_file(name):
        short = len(name.encode("utf-8", "surrogatepass")) < 200
        return name and name[0] != "." and not set("/\0") & set(name) and short

    name = mixed("img", "2", "10", "_", " ", "²", "\n", "é", most=4).filter(of_a_file)
    play(st.sets(name.filter(lambda n: n.isprintable() or "\n" in n), max_size=5), write)


@pytest.mark.fault("fuzz: npu-smi info", "chips with a number and a name, or none")
def test_npu_smi(play):
    from ascend import DUO

    def read(text):
        for npu, number, name in chip.parse_table(text):
            assert npu.isdigit() and name.startswith("Ascend")
            assert number is None or isinstance(number, str)

    cells = mixed(
        "| NPU ID", "| NPU     Name  |", "| 2   310P3  |", "| 0  0 |", "|\n", "\n", "| 910B3 |",
        "| NPU ID | Name |\n+--+\n|\n| 0 |\n| 1 |\n", "| Process id |", "|", "+--+\n")
    play(cells | damaged(DUO.encode()).map(lambda b: b.decode("utf-8", "replace")), read)


@pytest.mark.fault("fuzz: SOC=", "a chip's name, or exit 2")
def test_soc(play):
    def read(text):
        name = chip.check(text)
        assert chip.NAME.fullmatch(name) and chip.check(name) == name
    pieces = mixed("Ascend", "ascend", "310", "P3", "910", "B4-1", "_9391", "950PR", most=4)
    play(pieces | WORDS, read)


FLAGS = [
    "--framework=5", "--model=x.onnx", "--output=x", "--output", "--model",
    "--input_shape=input:8,3,224,224", "--framework", "--input_shape=", "--input_format=NCHW",
    "--output_type=FP16", "--log=error", "--dynamic_batch_size=1,2", "-h", "--", "=", "--=", "5",
    "--input_shape", "--soc_version=auto", "--output=.", "--output=/"]


@pytest.mark.parametrize("parser", [atc.get_args, host_atc.get_args], ids=["atc", "CPU stand-in"])
@pytest.mark.fault("fuzz: atc's command line", "taken, or exit 2")
def test_atc_arguments(play, parser):
    play(st.lists(st.sampled_from(FLAGS) | WORDS, max_size=8), parser)


@pytest.mark.fault("fuzz: --input_shape", "names and whole numbers, or exit 2")
def test_shapes(play):
    def read(text):
        for dims in toolchain.parse_shapes(text).values():
            assert dims and all(d is None or d >= 0 for d in dims)
        host_atc.find_batch(text, "input", [None, 3, 224, 224], "x.onnx")
    pieces = "input", ":", ",", ";", "8", "3,224,224", "-1", "1~8", " ", "٣", "9" * 5000
    play(mixed(*pieces, most=9), read)


@pytest.mark.fault("fuzz: --input_shape, round trip", "what is written is read")
def test_shapes_round_trip(play):
    names = st.text("abc:_.0", min_size=1, max_size=8)
    dims = st.lists(st.integers(0, 10**6), min_size=1, max_size=5)

    def read(shapes):
        text = ";".join(f"{n}:{','.join(map(str, d))}" for n, d in shapes.items())
        assert toolchain.parse_shapes(text) == shapes
    play(st.dictionaries(names, dims, max_size=4), read)


@pytest.mark.fault("fuzz: ais_bench's command line", "taken, or exit 2")
def test_ais_bench_arguments(play):
    flags = [
        "--model", "x.om", "-m", "--input", "prep", "--output", "out", "--output_dirname", "..",
        ".", "/x", "a/b", "--outfmt", "BIN", "TXT", "--loop", "0", "-1", "9" * 5000, "²",
        "--batchsize", "8", "--device", "0", "0,1", "--dymBatch", "-h"]
    play(st.lists(st.sampled_from(flags) | WORDS, max_size=9), ais_bench_args.get_args)


def tiny_onnx():
    node = helper.make_node(
        "Gemm", ["input", "w"], ["class"], name="/head/Gemm", transB=1, alpha=1.0)
    then = helper.make_graph([helper.make_node("Relu", ["class"], ["out"])], "inner", [], [])
    node.attribute.append(helper.make_attribute("body", then))
    model = helper.make_model(helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("class", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor("w", TensorProto.FLOAT, [3, 4], [0.5] * 12)]),
        opset_imports=[helper.make_opsetid("", 11)])
    onnx.helper.set_model_props(model, {"demo": "false", "model": "tiny"})
    entry = model.graph.node[0].metadata_props.add()
    entry.key, entry.value = "pkg.torch.onnx.name_scopes", "['', 'head', 'x']"
    return model.SerializeToString()


ONNX = tiny_onnx()


@pytest.mark.fault("fuzz: .onnx", ANY)
def test_onnx(play, tmp_path):
    def read(content):
        (tmp_path / "x.onnx").write_bytes(content)
        graph.fix_batch(graph.read(tmp_path / "x.onnx"), 2, tmp_path / "x.onnx")
    nested = st.integers(1, 3000).map(nest)
    long = st.sampled_from(
        [b"\xff" * 10**6, ONNX + b"\x80" * 10**6, b"\x3a" + b"\xff" * 9 + b"\x7f"])
    play(damaged(ONNX) | nested | long, read)


def nest(depth):
    """A graph whose only node holds a graph whose only node holds …"""
    def field(number, content):
        size, length = len(content), b""
        while size > 127:
            length, size = length + bytes([size & 127 | 128]), size >> 7
        return bytes([number << 3 | 2]) + length + bytes([size]) + content
    content = field(1, field(4, b"Relu"))
    for _ in range(depth):
        content = field(1, field(4, b"If") + field(5, field(1, b"then") + field(6, content)))
    return field(7, content)


@pytest.mark.fault("fuzz: sidecar of an .om", ANY)
def test_om(play, tmp_path, fake_ascend, monkeypatch):
    om = tmp_path / "x.om"
    om.write_bytes(b"model")
    monkeypatch.setattr(chip, "find", lambda given="": ("Ascend310P3", "test"))

    def read(content):
        (tmp_path / "x.om.json").write_bytes(content)
        chip.check_om(om)
    made = provenance.made(om, [], ["--model=x.onnx"])
    play(spoilt_json({"soc": "Ascend310P3", "inputs": [], "batch": 8, "made": made}), read)


@pytest.mark.fault("fuzz: offline model of the CPU and its sidecar", ANY)
def test_offline_model(play, tmp_path):
    relu = helper.make_node("Relu", ["input"], ["class"])
    save_graph(tmp_path / "x.onnx", [relu], {"input": ["n", 4]}, {"class": ["n", 4]})
    compiler.compile_onnx(tmp_path / "x.onnx", 2, "onnxruntime", tmp_path / "x.ort")
    whole = (tmp_path / "x.ort").read_bytes()
    meta = json.loads((tmp_path / "x.ort.json").read_text())

    def read(case):
        content, described = case
        (tmp_path / "x.ort").write_bytes(content)
        (tmp_path / "x.ort.json").write_bytes(described)
        model = engine.load(tmp_path / "x.ort")
        assert content == whole and model.meta["batch"] and isinstance(model.meta["demo"], bool)
    spoilt = st.tuples(damaged(whole), st.just(json.dumps(meta).encode()))
    play(spoilt | st.tuples(st.just(whole), spoilt_json(meta)), read)


@pytest.mark.fault("fuzz: what atc prints", "one line with cause and remedy")
def test_atc_errors(play):
    def read(case):
        status, log = case
        why, todo = errors.explain(log, status, "atc")
        assert why and todo and "\n" not in why
    log = mixed("E10016", "E19999", "EZ9999: Inner Error!\n", "EZ3003: ", "ATC run success",
                "No space left on device", "\n", "\r", " ", "0x1b[31m")
    play(st.tuples(st.integers(-64, 255), log), read)


OTHERS = load(ROOT / "spnasnet/benchmark.py", "benchmark_of_spnasnet")


@pytest.mark.parametrize("parser", [
    bench.parse, lambda log: OTHERS.parse_benchmark(log, 8, 1),
    lambda log: OTHERS.parse_trtexec(log, 8)], ids=["ais_bench", "benchmark", "trtexec"])
@pytest.mark.fault("fuzz: what the timing tools print", "figures, or refused")
def test_bench(play, parser):
    def read(log):
        json.dumps(parser(log))

    pieces = [
        "[INFO] throughput 1000*batchsize.mean(8)/NPU_compute_time.mean(2.5): 3200.0", "\n",
        "[INFO] NPU_compute_time (ms): min = 1.0, max = 2, mean = 1.5, median = ",
        "1.5, percentile(99%) = 2", "Interface throughputRate: ", "] Throughput: ", "12 qps",
        "GPU Compute Time: min = 1 ms", "1.2.3", "12.5", "-", "nan"]
    play(mixed(*pieces, most=12), read)


@pytest.mark.fault("fuzz: AIPP configuration", ANY)
def test_aipp(play, tmp_path):
    whole = toolchain.aipp_text(transforms.Recipe(resize=256, crop=224, interpolation="bicubic"))

    def read(content):
        (tmp_path / "aipp.cfg").write_bytes(content)
        toolchain.read_aipp(tmp_path / "aipp.cfg")

    odd = st.sampled_from(["x", "1.2.3", "-", "--5", "1e", ".", "9" * 5000])
    swapped = st.builds(lambda word, new: whole.replace(word, new, 1).encode(),
                        st.sampled_from(whole.split()), odd)
    play(damaged(whole.encode()) | swapped, read)


def saved(content):
    with io.BytesIO() as f:
        torch.save(content, f)
        return f.getvalue()


TENSORS = {"w": torch.zeros(2, 3), "b": torch.zeros(2)}


@pytest.mark.fault("fuzz: bytes of a checkpoint", ANY)
def test_checkpoint_bytes(play, tmp_path):
    def read(content):
        (tmp_path / "x.pth").write_bytes(content)
        state_dict, _ = checkpoint.load(tmp_path / "x.pth")
        net = torch.nn.ParameterDict({"w": torch.ones(2, 3), "b": torch.ones(2)})
        checkpoint.load_into(net, state_dict, "x.pth")

    with io.BytesIO() as f:
        torch.save(TENSORS, f, _use_new_zipfile_serialization=False)
        legacy = f.getvalue()
    play(damaged(saved({"state_dict": TENSORS})) | damaged(legacy), read)


@pytest.mark.fault("fuzz: what a checkpoint holds", ANY)
def test_checkpoint_content(play, tmp_path):
    tensor = st.sampled_from(
        [
            torch.zeros(2, 3), torch.zeros(2), torch.full((2,), torch.nan), torch.zeros(0),
            torch.zeros(2, dtype=torch.int64), torch.zeros(2, 3).to_sparse(),
            torch.zeros(2, dtype=torch.complex64), torch.zeros(2).half(),
            torch.zeros(2, dtype=torch.bool), torch.nn.Parameter(torch.zeros(2))]
    )
    leaf = (
        tensor
        | st.none()
        | st.integers()
        | st.text(max_size=5)
        | st.builds(argparse.Namespace, lr=st.floats())
    )
    key = st.integers() | st.sampled_from(
        ["state_dict", "model", "model_state_dict", "module.w", "w", "b", "module.b", "demo"])
    content = st.recursive(
        leaf, lambda inner: st.dictionaries(key, inner, max_size=4) | st.lists(inner, max_size=2),
        max_leaves=8)
    both = st.fixed_dictionaries({"w": tensor, "b": tensor})

    def read(whole):
        torch.save(whole, tmp_path / "x.pth")
        state_dict, facts = checkpoint.load(tmp_path / "x.pth")
        assert isinstance(facts["demo"], bool) and all(isinstance(k, str) for k in state_dict)
        net = torch.nn.ParameterDict({"w": torch.ones(2, 3), "b": torch.ones(2)})
        checkpoint.load_into(net, state_dict, "x.pth")
        assert all(torch.isfinite(v).all() for v in net.state_dict().values())
    play(content | both, read)


@pytest.mark.fault("fuzz: bytes that a tool prints", "shown and kept, whatever they are")
def test_tee(play):
    def read(text):
        status, log = cli.tee(["printf", "%b", "".join(f"\\{b:03o}" for b in text)])
        plain = text.isascii() and b"\r" not in text
        assert status == 0 and (log == text.decode("ascii") if plain else log or not text)

    play(st.binary(max_size=30).map(lambda b: b.replace(b"\0", b"")), read)
