"""RUNNER=benchmark and RUNNER=trtexec, with stand-ins that hold the command against the tools'
documentation. The stand-in for the benchmark tool computes what is in the stand-in's .om."""
import json
import platform
import sys
from types import SimpleNamespace

import pytest
import tiny
from ascend import FAKES, FakeAscend
from conftest import ROOT, make

TOOL = f"benchmark.{platform.machine()}"
HEAD = f"#!{sys.executable}\nimport json, os, sys\nfrom pathlib import Path\n"
BENCHMARK = HEAD + f"sys.path.insert(0, {str(FAKES)!r})\n" + r"""
import numpy as np, om, onnxruntime
here = Path(__file__).with_name("calls.json")
here.write_text(json.dumps({"argv": sys.argv[1:], "cwd": os.getcwd()}))
if here.with_name("fail").exists():
    sys.exit(3)
if here.with_name("silent").exists():
    sys.exit(0)
given = dict(a.removeprefix("-").split("=", 1) for a in sys.argv[1:])
assert os.environ["ASCEND_HOME_PATH"]
about, content = om.read(given["om_path"])
batch, device = int(given["batch_size"]), given["device_id"]
assert about["inputs"] == {"actual_input_1": [batch, 3, 224, 224]}, "the om is of another batch"
assert given["model_type"] == "vision"
assert given["output_binary"] == given["useDvpp"] == "False"
session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
out = Path(f"result/dumpOutput_device{device}")
out.mkdir(parents=True, exist_ok=True)
for number, line in enumerate(Path(given["input_text_path"]).read_text().splitlines()):
    index, path, width, height = line.split(" ")
    assert int(index) == number and (width, height) == ("224", "224")
    image = np.fromfile(path, np.float32).reshape(1, 3, 224, 224)
    logits = session.run(None, {"actual_input_1": image})[0][0]
    (out / f"{Path(path).stem}_1.txt").write_text(" ".join(f"{v:.6f}" for v in logits) + " ")
Path(f"result/perf_vision_batchsize_{batch}_device_{device}.txt").write_text(
    "[e2e] throughputRate: 336.39, latency: 148637\n"
    "[infer] throughputRate: 338.442, Interface throughputRate: 678.142, moduleLatency: 2.21785\n")
"""
TRTEXEC = HEAD + r"""
Path(__file__).with_name("calls.json").write_text(json.dumps(sys.argv[1:]))
print("&&&& RUNNING TensorRT.trtexec [TensorRT v8601] # trtexec --onnx=x.onnx")
print("[07/28/2022-16:00:55] [I] Throughput: 333.879 qps")
print("[07/28/2022-16:00:55] [I] GPU Compute Time: min = 2.9 ms, max = 3.4 ms, mean = 3.0 ms, "
      "median = 2.95 ms, percentile(90%) = 3.1 ms, percentile(99%) = 3.3 ms")
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    """The small network on an NPU host with these tools on its PATH; .make() as in make."""
    base = tmp_path_factory.mktemp("host")
    folder, fake = tiny.make_folder(base), FakeAscend(base / "ascend")
    (base / "tools").symlink_to(ROOT / "tools")  # as in the repository: its verbs join the others
    for name, content in ((TOOL, BENCHMARK), ("trtexec", TRTEXEC)):
        (fake.bin / name).write_text(content)
        (fake.bin / name).chmod(0o755)

    def run(*words, status=0, runner="benchmark"):
        done = tiny.make(folder, *words, f"RUNNER={runner}", "ENGINE=ascend",
                         f"PYTHON={sys.executable}", env=fake.env())
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    def calls():
        return json.loads((fake.bin / "calls.json").read_text())

    return SimpleNamespace(folder=folder, bin=fake.bin, make=run, calls=calls,
                           build=folder / "build", table=fake.table)


def test_benchmark_gives_top1_and_throughput(host):
    assert tiny.LINE in host.make("eval", "bench")
    scratch = "build/result/bs4_ascend_benchmark_run"
    assert host.calls()["cwd"] == str(host.folder / scratch)
    assert host.calls()["argv"] == [
        "-model_type=vision", "-device_id=0", "-batch_size=4",
        f"-om_path={host.folder}/build/spnasnet_100_bs4.om",
        "-input_text_path=spnasnet_100_val.info", "-input_width=224",
        "-input_height=224", "-output_binary=False", "-useDvpp=False"]
    lines = (host.folder / scratch / "spnasnet_100_val.info").read_text().splitlines()
    assert lines[0] == "0 ../../prep/ILSVRC2012_val_00000001.bin 224 224" and len(lines) == 8
    assert len(list((host.build / "result/bs4_ascend_benchmark").glob("*_1.txt"))) == 8
    perf = json.loads((host.build / "perf_bs4_ascend_benchmark.json").read_text())
    assert (perf["fps"], perf["chips"], perf["batch"]) == (678.142, 1, 4)
    (host.bin / "calls.json").unlink()
    assert tiny.LINE in host.make("eval") and not (host.bin / "calls.json").exists()
    # A log of an earlier run is not read again: the tool runs where the figure is not there.
    (host.build / "perf_bs4_ascend_benchmark.json").unlink()
    assert "678.1 fps" in host.make("bench") and (host.bin / "calls.json").exists()
    # Results of other images are not taken for these.
    assert "good=" in host.make("eval", "LIMIT=5") and "total=5" in host.make("eval", "LIMIT=5")


@pytest.mark.parametrize("flag, message, bs", [
    ("fail", "Error 3", 8), ("silent", f"error: {TOOL} wrote no build/result/bs16_", 16)])
def test_a_run_that_fails_is_no_result(host, flag, message, bs):
    (host.bin / flag).touch()
    try:
        assert message in host.make("infer", f"BS={bs}", status=2)
    finally:
        (host.bin / flag).unlink()
    assert not (host.build / f"result/bs{bs}_ascend_benchmark.json").exists()
    assert tiny.LINE in host.make("eval", f"BS={bs}")


def test_the_tool_may_be_in_the_folder(host):
    (host.bin / TOOL).rename(host.folder / TOOL)
    try:
        said = host.make("infer", "-n", "BS=16", "OUT=other", "DEVICE=2")
        said = said.replace(" \\\n  ", " ")
        assert f'"$here/{TOOL}" -model_type=vision -device_id=2' in said
        (host.folder / TOOL).chmod(0o644)
        assert f"{TOOL} is not installed" in host.make("infer", "-n", "BS=16", status=2)
    finally:
        (host.folder / TOOL).chmod(0o755)
        (host.folder / TOOL).rename(host.bin / TOOL)


@pytest.mark.parametrize("words, message", [
    (("infer", "ENGINE=ascend", "RUNNER=benchmark"), f"{TOOL} is not installed: put it here or on"),
    (("infer", "ENGINE=openvino", "RUNNER=benchmark"), "runs .om files on an NPU: load CANN"),
    (("infer", "ENGINE=ascend", "RUNNER=benchmark", "DEVICE=0,1"), "runs on one device"),
    (("infer", "ENGINE=ascend", "RUNNER=benchmark", "INPUT=uint8"), "INPUT=float32 only"),
    (("bench", "RUNNER=trtexec"), "trtexec is not installed: it comes with TensorRT"),
    (("eval", "RUNNER=trtexec"), "RUNNER=trtexec measures speed alone: make bench RUNNER=trtexec"),
    (("demo", "RUNNER=benchmark"), "the demo runs with ais_bench"),
    (("infer", "RUNNER=msame"), "RUNNER=msame: choose one of ais_bench benchmark trtexec"),
    (("infer", "RUNNER="), "RUNNER=: choose one of ais_bench benchmark trtexec")])
def test_a_runner_that_cannot_be_used(words, message):
    assert message in make(ROOT / "spnasnet", "-n", *words, "PYTHON=/x", "WEIGHTS=demo", status=2)


def test_the_others_have_one_runner():
    for folder in ("ShiftViT", "SPACH"):
        said = make(ROOT / folder, "-n", "bench", "RUNNER=trtexec", status=2)
        assert "unknown variable RUNNER" in said
    words = ("-n", "bench", "WEIGHTS=demo", "PYTHON=/x", "OUT=new")
    said = make(ROOT / "ShiftViT", *words, env={"RUNNER": "trtexec", "bench_with": "x"})
    assert "common.speed.bench" in said and "trtexec" not in said


def test_trtexec(host):
    said = host.make("bench", "BS=8", runner="trtexec")
    assert host.calls() == ["--onnx=build/spnasnet_100.onnx", "--fp16",
                            "--shapes=actual_input_1:8x3x224x224"]
    assert "2671.0 fps at batch 8 (tensorrt, fp16, GPU, compute only, " in said
    perf, = [json.loads(p.read_text()) for p in host.build.glob("perf_bs8_*trtexec.json")]
    assert perf["fps"] == pytest.approx(2671.032) and perf["ms"]["median"] == 2.95
    assert (perf["engine"], perf["engine_version"], perf["qps"]) == ("tensorrt", "8601", 333.879)
    assert "--device=1" in host.make("bench", "-n", "BS=1", "DEVICE=1", runner="trtexec")
