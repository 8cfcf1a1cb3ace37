"""RUNNER=benchmark and RUNNER=trtexec, with stand-ins that hold the command against the tools' documentation.

The stand-in for the benchmark tool answers with the class that an image's bytes add up to; so the expected Top-1 is known
without a network.
"""
import json
import os
import platform
import sys

import numpy as np
import pytest
import timm
import torch
from ascend import FAKES
from conftest import ROOT, copy_of, counts, last_line, make, odd_images
from torchvision import transforms as tv
from torchvision.datasets.folder import default_loader

from common import cli
from common.speed import bench

pytestmark = pytest.mark.xdist_group("spnasnet")
TOOL = f"benchmark.{platform.machine()}"
HEAD = f"#!{sys.executable}\nFAKES = {str(FAKES)!r}\nimport json, os, re, sys\nfrom pathlib import Path\nimport numpy as np\n"
BENCHMARK = HEAD + r"""
here = Path(__file__).with_name("calls.json")
here.write_text(json.dumps({"argv": sys.argv[1:], "cwd": os.getcwd()}))
if here.with_name("fail").exists():
    sys.exit(3)
if here.with_name("silent").exists():
    sys.exit(0)
given = dict(a.removeprefix("-").split("=", 1) for a in sys.argv[1:])
assert os.environ["ASCEND_HOME_PATH"]
sys.path.insert(0, FAKES)
import om
batch, device = int(given["batch_size"]), given["device_id"]
assert om.read(given["om_path"])[0]["inputs"] == {"actual_input_1": [batch, 3, 224, 224]}, "the om is of another batch"
assert (given["model_type"], given["output_binary"], given["useDvpp"]) == ("vision", "False", "False")
out = Path(f"result/dumpOutput_device{device}")
out.mkdir(parents=True, exist_ok=True)
for number, line in enumerate(Path(given["input_text_path"]).read_text().splitlines()):
    index, path, width, height = line.split(" ")
    assert int(index) == number and (width, height) == (given["input_width"], given["input_height"]) == ("224", "224")
    image = np.fromfile(path, np.float32)
    assert image.size == 3 * 224 * 224
    logits = np.zeros(1000)
    logits[int(image.view(np.uint32).sum(dtype=np.uint64) % 1000)] = 8
    (out / f"{Path(path).stem}_1.txt").write_text(" ".join(f"{v:.6f}" for v in logits) + " ")
Path(f"result/perf_vision_batchsize_{batch}_device_{device}.txt").write_text(
    "[e2e] throughputRate: 336.39, latency: 148637\n[data read] throughputRate: 357.787, moduleLatency: 2.79496\n"
    "[preprocess] throughputRate: 357.147, moduleLatency: 2.79997\n"
    "[infer] throughputRate: 338.442, Interface throughputRate: 678.142, moduleLatency: 2.21785\n"
    "[post] throughputRate: 338.44, moduleLatency: 2.95473\n")
"""
LOG = """&&&& RUNNING TensorRT.trtexec [TensorRT v8601] # trtexec --onnx=x.onnx
[07/28/2022-16:00:55] [I] === Performance summary ===
[07/28/2022-16:00:55] [I] Throughput: 333.879 qps
[07/28/2022-16:00:55] [I] Latency: min = 9.1 ms, max = 9.2 ms, mean = 9.3 ms, median = 9.4 ms, percentile(99%) = 9.5 ms
[07/28/2022-16:00:55] [I] GPU Compute Time: min = 2.9 ms, max = 3.4 ms, mean = 3.0 ms, median = 2.95 ms, percentile(90%) = \
3.1 ms, percentile(95%) = 3.2 ms, percentile(99%) = 3.3 ms
[07/28/2022-16:00:55] [W] * Throughput may be bound by Enqueue Time
&&&& PASSED TensorRT.trtexec [TensorRT v8601] # trtexec --onnx=x.onnx
"""
TRTEXEC = HEAD + f"""
Path(__file__).with_name("calls.json").write_text(json.dumps(sys.argv[1:]))
assert Path(sys.argv[1].removeprefix("--onnx=")).stat().st_size > 1e6
print({LOG!r})
"""
ASCEND = ("ENGINE=ascend", "RUNNER=benchmark", "SOC=Ascend310P3")


@pytest.fixture(scope="module")
def spnasnet(tmp_path_factory):
    """An spnasnet folder in a path with a space, with weights and images of which a third is labelled wrongly; and a
    folder of tools."""
    base = tmp_path_factory.mktemp("a copied folder")
    folder = copy_of("spnasnet", base)
    paths, _ = odd_images(base / "data")
    (base / "data/images").rename(base / "data/val")
    recipe = tv.Compose([tv.Resize((256, 256)), tv.CenterCrop(224), tv.ToTensor(),
                         tv.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))])
    with open(base / "data/val_label.txt", "w") as f:
        for i, path in enumerate(paths):
            image = recipe(default_loader(str(base / "data/val" / path.name))).numpy()
            label = int(image.view(np.uint32).sum(dtype=np.uint64) % 1000)
            f.write(f"{path.name} {label if i % 3 else (label + 1) % 1000}\n")
    torch.manual_seed(0)
    (folder / "weights").mkdir()
    torch.save({"state_dict": timm.create_model("spnasnet_100").state_dict()}, folder / "weights/model_best.pth.tar")
    (base / "tools").mkdir()
    for name, content in ((TOOL, BENCHMARK), ("trtexec", TRTEXEC)):
        (base / "tools" / name).write_text(content)
        (base / "tools" / name).chmod(0o755)
    return folder


@pytest.fixture
def tools(spnasnet, fake_ascend, monkeypatch):
    """A host with an NPU, these tools on its PATH."""
    folder = spnasnet.parent / "tools"
    env = fake_ascend.env()
    for name in os.environ.keys() - env.keys():
        monkeypatch.delenv(name)
    for name, value in {**env, "PATH": f"{folder}:{env['PATH']}"}.items():
        monkeypatch.setenv(name, value)
    yield folder
    for name in ("fail", "silent"):
        (folder / name).unlink(missing_ok=True)


def test_benchmark_gives_top1_and_throughput(spnasnet, tools):
    data = f"DATA={spnasnet.parent}/data"
    for batch in (4, 64):
        said = make(spnasnet, "eval", *ASCEND, data, f"BS={batch}")
        assert counts(last_line(said)) == (14, 21)
        calls = json.loads((tools / "calls.json").read_text())
        scratch = f"build/result/bs{batch}_ascend_benchmark_run"
        assert calls["cwd"] == str(spnasnet / scratch)
        assert calls["argv"] == [
            "-model_type=vision", "-device_id=0", f"-batch_size={batch}",
            f"-om_path={spnasnet}/build/spnasnet_100_bs{batch}.om", "-input_text_path=spnasnet_100_val.info",
            "-input_width=224", "-input_height=224", "-output_binary=False", "-useDvpp=False"]
        lines = (spnasnet / scratch / "spnasnet_100_val.info").read_text().splitlines()
        assert lines[0] == "0 ../../prep/ILSVRC2012_val_00000001.bin 224 224" and len(lines) == 21
        assert len(list((spnasnet / f"build/result/bs{batch}_ascend_benchmark").glob("*_1.txt"))) == 21
        table = json.loads((spnasnet / f"build/result_bs{batch}_ascend_benchmark.json").read_text())["value"]
        assert {"key": "Top1 accuracy", "value": "66.67%"} in table
    assert "eval: nothing to do" in make(spnasnet, "eval", *ASCEND, data, "BS=64")
    said = make(spnasnet, "bench", *ASCEND, data, "BS=4")
    assert TOOL not in said.replace("benchmark --batch", "") and "678.1 fps at batch 4 (ascend" in last_line(said)
    perf = json.loads((spnasnet / "build/perf_bs4_ascend_benchmark.json").read_text())
    assert (perf["fps"], perf["chips"], perf["batch"], perf["runner"]) == (678.142, 1, 4, "benchmark")


def test_a_310_card_has_four_chips(spnasnet, tools):
    said = make(spnasnet, "bench", "ENGINE=ascend", "RUNNER=benchmark", "SOC=Ascend310", f"DATA={spnasnet.parent}/data", "BS=1",
                "DEVICE=2")
    assert "2712.6 fps at batch 1" in last_line(said)  # 678.142 × 4 = 2712.568, as the page has it
    assert json.loads((spnasnet / "build/spnasnet_100_bs1.om.json").read_text())["soc"] == "Ascend310"
    assert "-device_id=2" in json.loads((tools / "calls.json").read_text())["argv"]


def test_results_of_an_earlier_run_are_not_counted(spnasnet, tools):
    data = f"DATA={spnasnet.parent}/data"
    make(spnasnet, "infer", *ASCEND, data, "BS=8")
    said = make(spnasnet, "eval", *ASCEND, data, "BS=8", "LIMIT=7")
    assert counts(last_line(said))[1] == 7 and "subset of 7 of 21 images" in said


@pytest.mark.parametrize("flag, message", [("fail", "Error 3"), ("silent", f"error: {TOOL} wrote no build/result/bs16_")])
def test_a_run_that_fails_is_no_result(spnasnet, tools, flag, message):
    (tools / flag).touch()
    (spnasnet / "build/result/bs16_ascend_benchmark.done").unlink(missing_ok=True)
    assert message in make(spnasnet, "infer", *ASCEND, f"DATA={spnasnet.parent}/data", "BS=16", status=2)
    assert not (spnasnet / "build/result/bs16_ascend_benchmark.done").exists()
    (tools / flag).unlink()
    assert counts(last_line(make(spnasnet, "eval", *ASCEND, f"DATA={spnasnet.parent}/data", "BS=16"))) == (14, 21)


def test_the_tool_may_lie_in_the_folder(spnasnet, tools, monkeypatch):
    (tools / TOOL).rename(spnasnet / TOOL)
    try:
        data = f"DATA={spnasnet.parent}/data"
        assert counts(last_line(make(spnasnet, "eval", *ASCEND, data, "BS=32"))) == (14, 21)
        assert f'&& "$OLDPWD/{TOOL}" -model_type=vision' in make(spnasnet, "-n", "infer", *ASCEND, data, "BS=1", "OUT=other")
        (spnasnet / TOOL).chmod(0o644)
        assert f"{TOOL} is not installed" in make(spnasnet, "infer", *ASCEND, data, "BS=1", status=2)
    finally:
        (spnasnet / TOOL).chmod(0o755)
        (spnasnet / TOOL).rename(tools / TOOL)


@pytest.mark.parametrize("words, message", [
    (("infer", "ENGINE=ascend", "RUNNER=benchmark", "SOC=Ascend310"), f"{TOOL} is not installed — put it here or on the PATH"),
    (("infer", "ENGINE=openvino", "RUNNER=benchmark"), "runs .om files on an NPU — say ENGINE=ascend"),
    (("infer", *ASCEND, "DEVICE=0,1"), "runs on one device"),
    (("eval", *ASCEND, "BINS=batch"), "takes one image a file"),
    (("bench", "RUNNER=trtexec"), "trtexec is not installed — it comes with TensorRT"),
    (("eval", "RUNNER=trtexec"), "RUNNER=trtexec measures speed alone — say make bench RUNNER=trtexec"),
    (("demo", "RUNNER=benchmark"), "the demo runs with ais_bench"),
    (("infer", "RUNNER=msame"), "RUNNER=msame: choose one of ais_bench benchmark trtexec"),
    (("infer", "RUNNER="), "RUNNER=: choose one of ais_bench benchmark trtexec")])
def test_a_runner_that_cannot_be_used(words, message):
    assert message in make(ROOT / "spnasnet", "-n", *words, "PYTHON=/x", status=2)


def test_models_whose_page_has_one_runner():
    assert "RUNNER=trtexec: choose one of ais_bench" in make(ROOT / "ShiftViT", "-n", "bench", "RUNNER=trtexec", status=2)
    assert "RUNNER=benchmark: choose one of ais_bench.  Stop" in make(ROOT, "-n", "infer", "MODELS=SPACH", "RUNNER=benchmark",
                                                                      "PYTHON=/x", status=2)
    # and the environment has no say
    leak = {"RUNNERS": "benchmark", "RUNNER": "trtexec", "ATC_LOG": "debug", "ATC_FLAGS": "--x", "SOURCE": "--x"}
    assert make(ROOT / "ShiftViT", "-n", "bench", "PYTHON=/x", env=leak) == make(ROOT / "ShiftViT", "-n", "bench", "PYTHON=/x")


def test_trtexec(spnasnet, tools):
    said = make(spnasnet, "bench", "RUNNER=trtexec", "BS=8")
    assert json.loads((tools / "calls.json").read_text()) == ["--onnx=build/spnasnet_100.onnx", "--fp16",
                                                              "--shapes=actual_input_1:8x3x224x224"]
    assert last_line(said) == "2671.0 fps at batch 8 (tensorrt, fp16, GPU, compute only, spread 2.9…3.4 ms)"
    perf = json.loads((spnasnet / "build/perf_bs8_trtexec.json").read_text())
    assert perf["fps"] == pytest.approx(2671.032) and perf["ms"]["median"] == 2.95 and perf["ms"]["p99"] == 3.3
    assert (perf["engine"], perf["engine_version"], perf["qps"]) == ("tensorrt", "8601", 333.879)
    assert "bench: nothing to do" in make(spnasnet, "bench", "RUNNER=trtexec", "BS=8")
    said = make(spnasnet, "-n", "sweep", "RUNNER=trtexec")
    assert said.count("trtexec --onnx=build/spnasnet_100.onnx") == 6 and "--framework" not in said
    assert "--device=1" in make(spnasnet, "-n", "bench", "RUNNER=trtexec", "BS=1", "DEVICE=1")


def test_logs():
    """TensorRT 7 wrote throughput in lower case and no line with all times; what is no log is named."""
    old = bench.parse_trtexec("[12/01/2021-10:00:00] [I] throughput: 35.9231 qps\n[I] walltime: 3 s\n", 64)
    assert old["fps"] == pytest.approx(2299.0784) and "ms" not in old
    for parse, name in ((lambda: bench.parse_trtexec("&&&& FAILED TensorRT.trtexec", 1), "trtexec's log"),
                        (lambda: bench.parse_benchmark("[e2e] throughputRate: 1", 1, 4), "benchmark tool's file")):
        with pytest.raises(cli.Failure, match=name):
            parse()


def test_table_without_times(tmp_path, capsys):
    from common.speed import table

    for batch, more in ((1, {}), (4, {"ms": dict.fromkeys(("min", "max", "median", "p99", "mean"), 2.0)})):
        (tmp_path / f"{batch}.json").write_text(json.dumps({"fps": 10.0 * batch, "batch": batch, "device": "NPU", **more}))
    table.throughput([tmp_path / "1.json", tmp_path / "4.json"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[3].split() == ["1", "10.0", "-", "-", "-"] and lines[4].split()[-1] == "best"


@pytest.mark.parametrize("soc, given, fps", [("Ascend310", (), 400), ("Ascend310P3", (), 100), ("Ascend310B4", (), 100),
                                             ("Ascend310P3", ("--chips", "4"), 400)])
def test_chips_of_the_card(tmp_path, monkeypatch, soc, given, fps):
    """What the offline model was made for says it, or the command does."""
    cli.write_json(tmp_path / "m.om.json", {"engine": "ascend", "precision": "fp16", "soc": soc})
    (tmp_path / "perf.txt").write_text("[infer] throughputRate: 50.0, Interface throughputRate: 100.0, moduleLatency: 2\n")
    monkeypatch.setattr(sys, "argv", ["bench", "--json", str(tmp_path / "r.json"), "--provenance", str(tmp_path / "m.om.json"),
                                      "--runner", "benchmark", "--batch", "4", "--log", str(tmp_path / "perf.txt"), *given])
    bench.main()
    assert json.loads((tmp_path / "r.json").read_text())["fps"] == fps
