"""make profile: operators with torch's modules, their kinds and times; msprof's tables."""
import json
import sys

import numpy as np
import pytest
import tiny
from conftest import ROOT
from graphs import save_graph
from matplotlib.axes import Axes
from onnx import helper

from common import cli
from common.cpu import compiler
from tools.inspect import cpu_profile, npu_profile, profile
from tools.report import operators

# The columns that are read, and one more; as the vendor's manual of msprof names them.
SUMMARY = """Device_id,Op Name,OP Type,Task Start Time(us),Task Duration(us)
0,blocks/fc1/MatMul,MatMulV2,30.0,200
0,stem/Conv,Conv2D,10.0,100
0,stem/Conv,Conv2D,110.0,140
0,blocks/fc1/MatMul,MatMulV2,130.0,220
"""
STATISTIC = """Device_id,OP Type,Core Type,Count,Total Time(us),Ratio(%)
0,MatMulV2,AI_CORE,2,420,63.6
0,Conv2D,AI_CORE,2,240,36.4
"""
LOG = ("[INFO] NPU_compute_time (ms): min = 0.3, max = 0.4, mean = 0.33, median = 0.33, "
       "percentile(99%) = 0.4\\n[INFO] throughput 1000*batchsize.mean(8)/NPU_compute_time.mean"
       "(0.33): 24242.4")


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cpu_profile, "SECONDS", 0.2)


def network(**about):
    """Two convolutions and a MatMul with names as torch's export gives them."""
    rng = np.random.default_rng(0)
    weights = {"w": rng.normal(size=(16, 3, 3, 3)).astype(np.float32),
               "v": rng.normal(size=(16, 16, 3, 3)).astype(np.float32),
               "fc": rng.normal(size=(1024, 5)).astype(np.float32)}
    same = {"kernel_shape": [3, 3], "pads": [1] * 4}
    steps = [("/stem/Conv", "w", same), ("/blocks/blocks.0/fc1/Conv", "v", same),
             ("/Flatten", None, {}), ("/head/MatMul", "fc", {})]
    nodes, last = [], "input"
    for name, weight, more in steps:
        inputs, last = [last, weight] if weight else [last], f"{name}_output_0"
        kind = name.rpartition("/")[2]
        nodes.append(helper.make_node(kind, inputs, [last], name=name, **more))
    nodes[-1].output[0] = "output"
    save_graph("net.onnx", nodes, {"input": ["n", 3, 8, 8]}, {"output": ["n", 5]}, weights, **about)


@pytest.mark.parametrize("name, output", [("openvino", "net.blob"), ("onnxruntime", "net.ort")])
def test_operators_of_both_engines(monkeypatch, capsys, name, output):
    network()
    compiler.compile_onnx("net.onnx", 4, name, output)
    monkeypatch.setattr(sys, "argv", ["profile", "--model", output, "--batch", "4",
                                      "--json", "profile.json"])
    monkeypatch.setattr(profile.measure.Others, "share", lambda _: 0.4)
    profile.main()
    said, content = capsys.readouterr().out, json.loads(open("profile.json").read())
    found = {(row["module"], row["kind"]) for row in content["operators"]}
    assert {("stem", "matrix"), ("blocks.0.fc1", "matrix")} <= found
    assert sum(row["share"] for row in content["operators"]) == pytest.approx(1)
    assert sum(content["kinds"].values()) == pytest.approx(1)
    assert "other programs took 40% of the CPUs" in said
    assert "blocks.0.fc1" in said and f"{content['ratio']:.3f}" in said
    assert open("profile.png", "rb").read(4) == b"\x89PNG"
    assert content["made"]["from"]  # it belongs to this model


@pytest.mark.parametrize("demo, end", [(True, ", demo weights"), (False, "")])
def test_demo_weights_are_said_and_drawn(monkeypatch, capsys, demo, end):
    network(demo=demo)
    compiler.compile_onnx("net.onnx", 4, "openvino", "net.blob")
    monkeypatch.setattr(sys, "argv", ["profile", "--model", "net.blob", "--batch", "4",
                                      "--json", "profile.json"])
    drawn = []
    monkeypatch.setattr(Axes, "set_title", lambda _, text: drawn.append(text))
    profile.main()
    assert drawn == [f"openvino f32, batch 4{end}"]
    assert f"\n{drawn[0]}, the heaviest" in capsys.readouterr().out
    content = json.loads(open("profile.json").read())
    assert operators.title(content).startswith(f"{drawn[0]}: ")


@pytest.mark.parametrize("operator, kind", [
    ("Convolution", "matrix"), ("ConvTranspose", "matrix"), ("Conv2D", "matrix"),
    ("FusedMatMul", "matrix"), ("Convert", "memory"), ("TransData", "memory"),
    ("VariadicSplit", "memory"), ("Gelu", "vector"), ("LayerNormV3", "vector")])
def test_kinds(operator, kind):
    assert profile.kind(operator) == kind


def tables(folder, summary=SUMMARY, statistic=STATISTIC):
    folder.mkdir(parents=True)
    (folder / "op_summary_20261126.csv").write_text(summary)
    (folder / "op_statistic_20261126.csv").write_text(statistic)


@pytest.mark.parametrize("folder", ["mindstudio_profiler_output", "device_0/summary"])
def test_tables_of_msprof(tmp_path, folder):
    tables(tmp_path / "PROF_1" / folder)
    assert npu_profile.read(tmp_path) == [("stem/Conv", "Conv2D", pytest.approx(0.12)),
                                          ("blocks/fc1/MatMul", "MatMulV2", pytest.approx(0.21))]


@pytest.mark.parametrize("summary, statistic, said", [
    (SUMMARY.replace("Duration", "Length"), STATISTIC, "cannot be read"),
    (SUMMARY[:SUMMARY.index("0,blocks/fc1/MatMul,MatMulV2,130")], STATISTIC, "has 440 us and"),
    ("", STATISTIC, "cannot be read|has 0 us")])
def test_tables_that_do_not_fit(tmp_path, summary, statistic, said):
    tables(tmp_path / "PROF_1/summary", summary, statistic)
    with pytest.raises(cli.Failure, match=said):
        npu_profile.read(tmp_path)
    with pytest.raises(cli.Failure, match="msprof wrote no op_summary"):
        npu_profile.read(tmp_path / "nothing")


def test_msprof_runs_around_ais_bench(tmp_path, monkeypatch):
    """A stand-in of msprof that writes the tables and runs the command behind its flag."""
    tables(tmp_path / "recorded/mindstudio_profiler_output")
    program = tmp_path / "bin/msprof"
    program.parent.mkdir()
    program.write_text('#!/bin/bash\nset -e\nout=${1#--output=}; shift; echo "$@" > called\n'
                       f'cp -r {tmp_path}/recorded "$out/PROF_1"; exec "$@"\n')
    program.chmod(0o755)
    command = [sys.executable, "-c", f"print('{LOG}')"]
    with pytest.raises(cli.Failure, match="msprof is not there"):
        npu_profile.timed("x.om", 8, command)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    with pytest.raises(cli.Failure, match="x.om is for batch 8, not for 4"):
        npu_profile.timed("x.om", 4, command)
    _, times, ms = npu_profile.timed("x.om", 8, command)
    assert ms == 0.33 and sum(took for *_, took in times) == pytest.approx(ms)
    assert "-c print" in (tmp_path / "called").read_text()


def test_a_host_without_torch(tmp_path):
    """As an NPU host, which gets its table and no picture."""
    code = ("import sys; sys.modules.update(torch=None, onnx=None, matplotlib=None)\n"
            "from tools.inspect import npu_profile, profile\n"
            "assert profile.module('/blocks/blocks.0/fc1/Conv') == 'blocks.0.fc1'\n"
            "try: profile.draw({'operators': []}, 'x.png')\n"
            "except ModuleNotFoundError: print('no picture')\n")
    assert tiny.run(ROOT, "-c", code).stdout == "no picture\n"
