"""The chip, atc, the operator check and the toolkit's environment, with stand-ins for what an Ascend host has."""
import ast
import glob
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from ascend import DUO, FAKES, rights
from onnx import TensorProto, helper, numpy_helper

from common import cli
from common.ascend import atc
from common.ascend import chip as soc
from common.ascend import errors as atc_errors
from tools.inspect import check_ops, onnx_file

ROOT = Path(__file__).resolve().parents[2]
MODULES = ("soc", "atc", "atc_errors", "check_ops", "onnx_file")


def run(module, *words, cwd, env, status=0):
    """Run one of our modules; return what it printed."""
    env = {**env, "PYTHONPATH": f"{ROOT}:{env.get('PYTHONPATH', '')}"}
    done = subprocess.run([sys.executable, "-m", f"common.{module}", *words], cwd=cwd, env=env, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    assert done.returncode == status, done.stdout
    assert "Traceback" not in done.stdout.replace("        TraceBack (most recent call last):", "")
    return done.stdout


def error(text):
    line = text.strip().splitlines()[-1]
    assert line.startswith("error: ") and " — " in line
    return line


def build(path, nodes=None, opset=11, inputs=("input",), **metadata):
    """Write an ONNX: by default 8x8 images → 5 logits, seeded."""
    rng = np.random.default_rng(0)
    weights = [numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name)
               for name, shape in (("w", (4, 3, 3, 3)), ("fc", (4, 5)))]
    nodes = nodes or [helper.make_node("Conv", [inputs[0], "w"], ["c"], name="/stem/Conv", kernel_shape=[3, 3]),
                      helper.make_node("Relu", ["c"], ["r"], name="/act/Relu"),
                      helper.make_node("GlobalAveragePool", ["r"], ["g"]),
                      helper.make_node("Flatten", ["g"], ["f"]),
                      helper.make_node("MatMul", ["f", "fc"], ["output"])]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "g", [value(name, TensorProto.FLOAT, ["n", 3, 8, 8]) for name in inputs],
                              [value("output", TensorProto.FLOAT, ["n", 5])], weights)
    imports = opset if isinstance(opset, list) else [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    helper.set_model_props(model, metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


def node(op, name="", domain="", **attributes):
    return helper.make_node(op, ["input"], ["output"], name=name, domain=domain, **attributes)


# ---- the chip ----

@pytest.mark.parametrize("given, full", [
    ("310", "Ascend310"), ("310P3", "Ascend310P3"), ("310p3", "Ascend310P3"), ("Ascend310P3", "Ascend310P3"),
    ("ascend310B4", "Ascend310B4"), ("Ascend910ProA", "Ascend910ProA"), ("910B4-1", "Ascend910B4-1"),
    ("Ascend910_9392", "Ascend910_9392"), ("Ascend950PR_9579", "Ascend950PR_9579")])
def test_names_of_chips(given, full, capsys):
    assert soc.check(given) == full
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("given, meant", [
    ("Ascend310310P3", "Ascend310P3"), ("AscendAscend310P3", "Ascend310P3"), ("310310", "Ascend310"),
    ("Ascend310P310P3", "Ascend310P3"), ("Ascend910910_9392", "Ascend910_9392")])
def test_a_doubled_prefix_is_refused(given, meant):
    with pytest.raises(cli.Usage, match=rf"SOC={meant} is meant"):
        soc.check(given)


@pytest.mark.parametrize("given", ["Ascend", "P3", "310P3;reboot", "Ascend 310P3", "../310"])
def test_what_is_no_chip_is_refused(given):
    with pytest.raises(cli.Usage, match="is no chip's name"):
        soc.check(given)


def test_an_unknown_chip_is_taken_with_a_warning(capsys):
    assert soc.check("Ascend1020X") == "Ascend1020X"
    assert "warning: SOC=Ascend1020X" in capsys.readouterr().err


LINE = "+---------------------------+---------------+----------------------------------------------------+\n"
PROCESSES = f"""{LINE}| NPU     Chip              | Process id    | Process name             | Process memory(MB)      |
{LINE}| 910     0                 | 31000         | python3                  | 310                     |
{LINE}"""
HEADER = f"""{LINE}| NPU   Name                | Health        | Power(W)    Temp(C)           Hugepages-Usage(page)|
| Chip  Phy-ID              | Bus-Id        | AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)        |
{LINE}"""
A3 = f"""| npu-smi 24.1.rc3.7               Version: 24.1.rc3.7                                           |
{HEADER}| 0     Ascend910           | OK            | 178.8       36                0    / 0             |
| 0     0                   | 0000:9D:00.0  | 0           0    / 0          3397 / 65536         |
{LINE}| 0     Ascend910           | OK            | -           36                0    / 0             |
| 1     1                   | 0000:9F:00.0  | 0           0    / 0          3186 / 65536         |
{LINE}| 1     Ascend910           | OK            | 185.4       36                0    / 0             |
| 0     2                   | 0000:99:00.0  | 0           0    / 0          3414 / 65536         |
{PROCESSES}"""
NEWEST = """+-------------------------------------------------------------------------------------------------+
| npu-smi 25.7.rc1                                 Version: 25.7.rc1                              |
+--------+------------------+---------------+-----------------------------------------------------+
| NPU ID | Name             | Health        | Power(W)    Temp(C)           Hugepages-Usage(page) |
|        |                  | Bus-Id        | NPU Util(%) Memory-Usage(MB)  HBM-Usage(MB)         |
+========+==================+===============+=====================================================+
| 0      | Ascend950PR      | Alarm         | 205.7       71                0     / 0             |
|        |                  | 0000:71:00.0  | 100         0    / 0          90633 / 114688        |
+========+==================+===============+=====================================================+
| 1      | Ascend950PR      | OK            | 207.7       60                0     / 0             |
|        |                  | NA            | 100         0    / 0          30492 / 114688        |
+========+==================+===============+=====================================================+
| NPU ID                    | Process id    | Process name       | Process memory(MB)             |
+---------------------------+---------------+--------------------+--------------------------------+
| 1                         | 310000        | python3            | 310                            |
"""
BOARD = """\tNPU ID                         : 0
\tNPU Name                       : {}
\tChip ID                        : 0
\tChip Name                      : {}
"""


def table(*rows, end=PROCESSES):
    """A table with a pair of rows for each (NPU id, name, health, chip, bus)."""
    pairs = [f"| {npu:<5} {name:<19} | {health:<13} | 12.8        45                0    / 0             |\n"
             f"| {chip:<5} {chip:<19} | {bus:<13} | 0           621 / 8192                              |\n{LINE}"
             for npu, name, health, chip, bus in rows]
    return HEADER + "".join(pairs) + end


@pytest.mark.parametrize("text, chips", [
    (DUO, [("2", "0", "Ascend310P3"), ("2", "1", "Ascend310P3")]),
    (A3, [("0", "0", "Ascend910"), ("0", "1", "Ascend910"), ("1", "0", "Ascend910")]),
    (NEWEST, [("0", None, "Ascend950PR"), ("1", None, "Ascend950PR")]),
    (table(*[("4", "310", "OK", str(c), f"0000:0{c}:00.0") for c in range(4)]),
     [("4", str(c), "Ascend310") for c in range(4)]),
    (table(("2144", "310P3", "OK", "0", "0000:86:00.0"), ("32800", "310P3", "Warning", "0", "0000:AF:00.0"), end=""),
     [("2144", "0", "Ascend310P3"), ("32800", "0", "Ascend310P3")]),
    (table(("0", "310B4", "Alarm", "0", "NA"), end=""), [("0", "0", "Ascend310B4")]),
    (table(("0", "910B3", "OK", "0", "0000:C1:00.0"), end=f"| No running processes found in NPU 0   |\n{LINE}"),
     [("0", "0", "Ascend910B3")]),
    (table(("0", "Ascend 910B4", "OK", "0", "0000:C1:00.0")), [("0", "0", "Ascend910B4")]),
    (table(("0", "310P3", "OK", "0", "NA")).replace("   ", "       "), [("0", "0", "Ascend310P3")]),
    (HEADER + PROCESSES, []), ("", []), ("dcmi module initialize failed. ret is -8005", [])])
def test_tables_of_npu_smi(text, chips):
    assert soc.parse_table(text) == chips


def ask(fake, monkeypatch, text=None, board=None, **env):
    if text is not None:
        fake.table.write_text(text)
    if board:
        Path(f"{fake.table}.board").write_text(board)
    for name, value in fake.env(loaded=True, **env).items():
        monkeypatch.setenv(name, value)
    return soc.find()


@pytest.mark.parametrize("acl, answer", [("Ascend310B4", ("Ascend310B4", "pyACL")), ("none", ("Ascend310P3", "npu-smi")),
                                         ("crash", ("Ascend310P3", "npu-smi")), (None, ("Ascend310P3", "npu-smi"))])
def test_pyacl_is_asked_before_npu_smi(fake_ascend, monkeypatch, acl, answer):
    assert ask(fake_ascend, monkeypatch, **({"FAKE_ACL": acl} if acl else {})) == answer
    assert bool(fake_ascend.calls("npu-smi")) == (answer[1] == "npu-smi")


@pytest.mark.parametrize("text, board, name, chip", [
    (A3, BOARD.format("9392", "Ascend910"), "Ascend910_9392", ["-c", "0"]),
    (NEWEST, BOARD.format("9579", "Ascend950PR"), "Ascend950PR_9579", [])])
def test_the_board_completes_a_family(fake_ascend, monkeypatch, text, board, name, chip):
    assert ask(fake_ascend, monkeypatch, text, board) == (name, "npu-smi")
    assert [call["argv"] for call in fake_ascend.calls("npu-smi")] == [["info"], ["info", "-t", "board", "-i", "0", *chip]]


@pytest.mark.parametrize("text, said", [
    (A3, "it shows Ascend910, which is a family"),
    (HEADER + PROCESSES, "no chip in its table"),
    (None, "dcmi module initialize failed")])
def test_no_chip_lists_what_was_seen(fake_ascend, monkeypatch, text, said):
    if text is None:
        fake_ascend.table.unlink()
    with pytest.raises(cli.Failure, match=rf"pyACL: .*npu-smi: {said}.*SOC=Ascend310P3"):
        ask(fake_ascend, monkeypatch, text)


def test_two_kinds_of_chips_are_named(fake_ascend, monkeypatch):
    with pytest.raises(cli.Failure, match="2 kinds: Ascend310, Ascend310P3 — .* SOC=Ascend310"):
        ask(fake_ascend, monkeypatch, table(("0", "310P3", "OK", "0", "NA"), ("1", "310", "OK", "0", "NA")))


def test_a_host_without_anything(fake_ascend, tmp_path):
    env = {**fake_ascend.env(), "PATH": "/usr/bin:/bin"}
    assert "npu-smi: not installed" in error(run("soc", cwd=tmp_path, env=env, status=1))
    assert run("soc", "310P3", cwd=tmp_path, env=env) == "Ascend310P3\n"
    assert "twice" in error(run("soc", "Ascend310310P3", cwd=tmp_path, env=env, status=2))


# ---- reading an ONNX without the onnx package ----

def test_onnx_file_agrees_with_the_onnx_package(tmp_path):
    branch = helper.make_graph([helper.make_node("Neg", ["input"], ["b"], name="inner")], "b", [],
                               [helper.make_tensor_value_info("b", TensorProto.FLOAT, None)])
    nodes = [helper.make_node("Constant", [], ["shape"], value=numpy_helper.from_array(np.array([0, 3, 2, 4, 8]))),
             helper.make_node("Reshape", ["input", "shape"], ["r"]),
             helper.make_node("Transpose", ["r"], ["t"], perm=[0, 4, 3, 2, 1]),
             helper.make_node("ReduceMean", ["t"], ["m"], axes=[-1, -2, 3], keepdims=0, name="/norm/ReduceMean"),
             helper.make_node("If", ["flag"], ["output"], then_branch=branch, else_branch=branch)]
    path = build(tmp_path / "x.onnx", nodes, opset=13, demo="true", model="Größe")
    ours, theirs = onnx_file.read(path), onnx.load(path)
    assert ours.opsets == [("", 13)] and ours.metadata == {"demo": "true", "model": "Größe"}
    assert ours.inputs == {"input": onnx_file.Tensor((None, 3, 8, 8), "float32")}
    assert ours.outputs == {"output": onnx_file.Tensor((None, 5), "float32")}
    assert ours.weights == {w.name: tuple(w.dims) for w in theirs.graph.initializer}
    outer = [n for n in ours.nodes if n.name != "inner"]
    assert len(ours.nodes) == len(outer) + 2
    for a, b in zip(outer, theirs.graph.node, strict=True):
        assert (a.op, a.domain, a.name, a.inputs, a.outputs) == (
            b.op_type, b.domain, b.name, tuple(b.input), tuple(b.output))
        for attribute in b.attribute:
            value = helper.get_attribute_value(attribute)
            if isinstance(value, (int, list)):
                assert a.attributes.get(attribute.name, 0) == value
    assert outer[0].attributes["value"] == [5] and outer[3].layer == "norm"
    assert check_ops.ranks(ours)["t"] == 5


def test_a_damaged_onnx_is_refused(tmp_path):
    whole = build(tmp_path / "x.onnx").read_bytes()
    for size in range(0, len(whole) - 1, 7):
        (tmp_path / "cut.onnx").write_bytes(whole[:size])
        try:
            onnx_file.read(tmp_path / "cut.onnx")
        except cli.Failure as e:
            assert "cut.onnx is not an ONNX model" in str(e)
    for content in (b"", b"\x00" * 100, b"not an ONNX\n" * 100, whole[:200]):
        (tmp_path / "cut.onnx").write_bytes(content)
        with pytest.raises(cli.Failure, match="is not an ONNX model"):
            onnx_file.read(tmp_path / "cut.onnx")
    with pytest.raises(cli.Failure, match="does not exist"):
        onnx_file.read(tmp_path / "none.onnx")


# ---- the operator check ----

def test_the_table_speaks_of_onnx_operators():
    assert set(check_ops.OPSETS) <= {s.name for s in onnx.defs.get_all_schemas_with_history() if not s.domain}
    assert {"Gelu", "GroupNormalization"}.isdisjoint(check_ops.OPSETS)
    assert check_ops.OPSETS["LayerNormalization"] == [(17, 18)]


def problems(path):
    return " ".join(f"{what} — {todo}" for what, todo in check_ops.check(onnx_file.read(path))[0])


def test_what_cann_takes_passes(tmp_path, fake_ascend):
    path = build(tmp_path / "x.onnx")
    said = run("check_ops", str(path), cwd=tmp_path, env=fake_ascend.env())
    assert said == "check-ops: 5 operators, 5 nodes, opset 11: all in CANN's table\n"
    assert "note: x.onnx: opset 12 is outside what CANN 5 and 6" in run(
        "check_ops", build(tmp_path / "x.onnx", opset=12).name, cwd=tmp_path, env=fake_ascend.env())


def test_operators_of_opset_20_are_named_with_their_layer(tmp_path, fake_ascend):
    scoped = node("GroupNormalization", "node_7", num_groups=1)
    entry = scoped.metadata_props.add()
    entry.key, entry.value = "pkg.torch.onnx.name_scopes", "['', 'stages.0', 'stages.0.norm1', 'group_norm']"
    nodes = [node("Gelu", "/stages.0/mlp/act/Gelu"), node("Gelu", "/stages.1/mlp/act/Gelu"), scoped]
    said = run("check_ops", str(build(tmp_path / "x.onnx", nodes, opset=20)), cwd=tmp_path, env=fake_ascend.env(), status=1)
    assert "Gelu, 2 nodes, the first '/stages.0/mlp/act/Gelu', layer stages.0/mlp/act, is not in CANN's table" in said
    assert "GroupNormalization, 1 nodes, the first 'node_7', layer stages.0.norm1," in said
    assert "opset 20 is none of 8 to 18" in said and "OPSET=11" in error(said)


@pytest.mark.parametrize("nodes, opset, said", [
    ([node("LayerNormalization", "/norm/LN")], 16, "at opset 16 .only at 17 to 18."),
    ([node("HardSwish")], 13, "the first that writes 'output', is not in CANN's table at opset 13 .only at 14 to 18"),
    ([node("Relu")], [helper.make_opsetid("com.microsoft", 1)], "states 0 opsets of the domain ai.onnx"),
    ([node("Relu")], [helper.make_opsetid("", 11), helper.make_opsetid("ai.onnx", 12)], "states 2 opsets"),
    ([node("Fused", domain="com.microsoft")], [helper.make_opsetid("", 11)], "of the domain com.microsoft, such as Fused"),
    ([node("AveragePool", kernel_shape=[256, 1], strides=[1, 1])], 11, "AveragePool .* kernel .256, 1."),
    ([node("MaxPool", kernel_shape=[2, 2], strides=[64, 2])], 11, "strides .64, 2."),
    ([node("Gemm", "l")] * 2 + [node("Loop", "l")], 11, "Loop, 1 nodes, the first 'l', is not .* .at no opset")])
def test_what_cann_does_not_take_is_named(tmp_path, nodes, opset, said):
    assert re.search(said, problems(build(tmp_path / "x.onnx", nodes, opset)))


def test_slices_of_many_dimensions_are_noted(tmp_path):
    def sliced(*shape):
        nodes = [helper.make_node("Constant", [], ["s"], value=numpy_helper.from_array(np.array(shape))),
                 helper.make_node("Reshape", ["input", "s"], ["r"]), helper.make_node("Relu", ["r"], ["q"]),
                 helper.make_node("Slice", ["q", "w", "w"], ["output"], name="/attn/Slice")]
        return check_ops.check(onnx_file.read(build(tmp_path / "x.onnx", nodes)))
    assert sliced(0, 3, 2, 4, 8) == ([], ["1 Slice of tensors with more than 4 dimensions, the first '/attn/Slice', layer "
                                          "attn: CANN 5 has refused such (E20001 StridedSliceD)"], 11)
    assert sliced(0, 3, 8, 8) == ([], [], 11)


# ---- atc ----

PAGE = ("--framework=5 --model=x.onnx --output=build/x_bs8 --input_format=NCHW --input_shape=input:8,3,8,8 --log=error "
        "--soc_version=Ascend310P3").split()


def compile_it(fake, folder, *more, status=0, flags=PAGE, **env):
    if not (folder / "x.onnx").exists():
        build(folder / "x.onnx", demo="true", weights="w.pth")
    return run("atc", *flags, *more, cwd=folder, env=fake.env(loaded=True, **env), status=status)


def left(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("name", ["plain", "with a space"])
def test_atc_gets_the_page_s_command(fake_ascend, tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    (folder / "fusion_switch.cfg").write_text('{"Switch": {"GraphFusion": {"GroupNormFusionPass": "off"}}}')
    more = ["--optypelist_for_implmode=Gelu", "--op_select_implmode=high_performance", "--output_type=FP16",
            "--fusion_switch_file=fusion_switch.cfg"]
    said = compile_it(fake_ascend, folder, *more)
    assert said.splitlines()[-1].startswith("wrote build/x_bs8.om (CANN 7.0.0, Ascend310P3, fp16, batch 8, ")
    call, = fake_ascend.calls("atc")
    assert call["argv"] == [w.replace("build/", "") for w in PAGE + more]
    assert not Path(call["cwd"]).exists()
    assert left(folder) == ["build/x_bs8.om", "build/x_bs8.om.json", "fusion_switch.cfg", "x.onnx"]
    assert rights(folder / "build/x_bs8.om") == 0o640
    about = json.loads((folder / "build/x_bs8.om.json").read_text())
    assert about == {"engine": "ascend", "engine_version": "7.0.0", "device": "NPU", "soc": "Ascend310P3", "batch": 8,
                     "precision": "fp16", "inputs": [{"name": "input", "shape": [8, 3, 8, 8], "dtype": "float32"}],
                     "outputs": [{"name": "output", "shape": [8, 5], "dtype": "float16"}],
                     "onnx": {"file": "x.onnx", "sha256": cli.sha256(folder / "x.onnx"),
                              "metadata": {"demo": "true", "weights": "w.pth"}},
                     "command": ["atc", *call["argv"]], "demo": True, "size": (folder / "build/x_bs8.om").stat().st_size,
                     "sha256": cli.sha256(folder / "build/x_bs8.om")}


@pytest.mark.parametrize("asked, chip", [("auto", "Ascend310P3"), ("", "Ascend310P3"), ("310B4", "Ascend310B4")])
def test_atc_asks_for_the_chip(fake_ascend, tmp_path, asked, chip):
    said = compile_it(fake_ascend, tmp_path, flags=[*PAGE[:-1], f"--soc_version={asked}"])
    assert f"soc_version {chip} (from {'SOC' if asked == '310B4' else 'npu-smi'})" in said
    assert f"--soc_version={chip}" in fake_ascend.calls("atc")[0]["argv"]


@pytest.mark.parametrize("flags, status, said", [
    ([*PAGE[:-1], "--soc_version=Ascend310310P3"], 2, "SOC=Ascend310P3 is meant"),
    ([*PAGE[:-1], "--soc_version=Ascend"], 2, "is no chip's name"),
    ([*PAGE, "--input_shape=actual_input_1:8,3,8,8"], 1, r"'actual_input_1' .*E10016.* its inputs: \"input:n,3,8,8\""),
    ([*PAGE, "--input_shape=input:8,3,224,224"], 1, r"does not fit x.onnx \(E10049\)"),
    ([*PAGE, "--input_shape=input:8,3,8"], 1, r"does not fit x.onnx \(E10049\)"),
    ([*PAGE, "--input_shape=8,3,8,8"], 2, "E10002"),
    ([w for w in PAGE if "input_shape" not in w], 1, "leaves the shape of 'input' open"),
    ([*PAGE, "--log="], 2, "--log is empty"),
    ([*PAGE, "--output=build/x.om"], 2, "has an ending"),
    ([*PAGE, "--model=y.onnx"], 1, "y.onnx does not exist"),
    ([*PAGE, "--insert_op_conf=aipp.cfg"], 1, "--insert_op_conf: aipp.cfg does not exist"),
    (PAGE[:1], 2, "--model is missing")])
def test_a_wrong_call_ends_before_atc_starts(fake_ascend, tmp_path, flags, status, said):
    assert re.search(said, error(compile_it(fake_ascend, tmp_path, flags=flags, status=status)))
    assert fake_ascend.calls("atc") == [] and left(tmp_path / "build") == []


@pytest.mark.parametrize("mode, said", [
    ("nofile", "it says success, but there is no file"),
    ("silent", "it does not say that it succeeded"),
    ("killed", "signal 9 ended it.*TE_PARALLEL_COMPILER=1"),
    ("E10016", "E10016: --input_shape names an input"),
    ("E16002", r"E16002: this release of CANN lacks operators.*optype GroupNorm\..*check_ops.*OPSET=11"),
    ("E19010", "E19010: this release of CANN lacks operators"),
    ("EZ3002", r"EZ3002: there is no kernel.*Optype \[GroupNorm\].*SOC="),
    ("E19999", "E19999: an error inside CANN.*Inner Error.*CANN's log: .*/plog-.*log"),
    ("module", "lacks a package.*python3 -m pip install attrs"),
    ("hal", "libascend_hal.*devlib")])
def test_a_failed_atc_says_what_to_do_and_leaves_nothing(fake_ascend, tmp_path, mode, said):
    build_folder = tmp_path / "build"
    build_folder.mkdir()
    (build_folder / "x_bs8.om").write_text("of an earlier run")
    start = time.monotonic()
    assert re.search(said, error(compile_it(fake_ascend, tmp_path, status=1, FAKE_ATC=mode)))
    assert time.monotonic() - start < 40, "a compiler that outlives atc must not be waited for"
    assert [p.name for p in build_folder.iterdir()] == ["x_bs8.om"]
    assert (build_folder / "x_bs8.om").read_text() == "of an earlier run"
    if mode == "killed":
        assert "wrote build/x_bs8.om" in compile_it(fake_ascend, tmp_path)


def test_a_file_named_after_the_host_gets_its_name(fake_ascend, tmp_path):
    compile_it(fake_ascend, tmp_path, FAKE_ATC="linux")
    assert left(tmp_path / "build") == ["x_bs8.om", "x_bs8.om.json"]


def test_the_user_s_flags_reach_atc_and_come_last(fake_ascend, tmp_path):
    compile_it(fake_ascend, tmp_path, "--log", "info", "--precision_mode=must_keep_origin_dtype", "--debug_dir=dbg")
    argv = fake_ascend.calls("atc")[0]["argv"]
    assert argv[-3:] == ["--log=info", "--precision_mode=must_keep_origin_dtype", f"--debug_dir={tmp_path}/dbg"]
    assert json.loads((tmp_path / "build/x_bs8.om.json").read_text())["precision"] == "must_keep_origin_dtype"
    said = compile_it(fake_ascend, tmp_path, "--no_such_flag=1", status=1)
    assert "this release of atc lacks a flag" in error(said) and "no_such_flag" in error(said)


def test_aipp_makes_the_input_bytes(fake_ascend, tmp_path):
    (tmp_path / "aipp.cfg").write_text("aipp_op {\n    aipp_mode: static\n}\n")
    compile_it(fake_ascend, tmp_path, "--insert_op_conf=aipp.cfg", "--enable_small_channel=1")
    about = json.loads((tmp_path / "build/x_bs8.om.json").read_text())
    assert about["inputs"] == [{"name": "input", "shape": [8, 8, 8, 3], "dtype": "uint8"}]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_run_leaves_no_half_file_and_the_next_recovers(fake_ascend, tmp_path, number):
    build(tmp_path / "x.onnx")
    env = {**fake_ascend.env(loaded=True, FAKE_ATC="slow"), "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-m", "common.ascend.atc", *PAGE], cwd=tmp_path, env=env, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    while "..\n" not in process.stdout.readline():
        if fake_ascend.calls("atc"):
            break
    process.send_signal(number)
    process.wait(timeout=30)
    process.stdout.close()
    assert not (tmp_path / "build/x_bs8.om").exists() and not (tmp_path / "build/x_bs8.om.json").exists()
    compile_it(fake_ascend, tmp_path)
    assert left(tmp_path / "build") == ["x_bs8.om", "x_bs8.om.json"]


def test_atc_has_to_be_cann_s(fake_ascend, tmp_path):
    build(tmp_path / "x.onnx")
    env = {**fake_ascend.env(), "PATH": f"{ROOT}/common/cpu/bin:/usr/bin:/bin"}
    assert "CANN's atc is not on PATH" in error(run("atc", *PAGE, cwd=tmp_path, env=env, status=1))


@pytest.mark.parametrize("name, text, release", [
    ("x86_64-linux/ascend_toolkit_install.info", "package_name=Ascend-cann-toolkit\nversion=8.0.RC3\nos=linux\n", "8.0.RC3"),
    ("version.cfg", "# version: 1.0\nruntime_running_version=[7.6:8.0.0]\ntoolkit_running_version=[1.84.15:6.0.1]\n", "6.0.1"),
    ("compiler/version.info", "Version=1.82.22.2.220\nversion_dir=5.1.RC2\n", "1.82.22.2.220"),
    ("nothing", "", "unknown")])
def test_the_toolkit_s_release_is_found(tmp_path, monkeypatch, name, text, release):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    for variable in ("ASCEND_TOOLKIT_HOME", "ASCEND_HOME_PATH"):
        monkeypatch.delenv(variable, raising=False)
    assert atc.version(tmp_path / "bin/atc") == release
    monkeypatch.setenv("ASCEND_HOME_PATH", str(tmp_path))
    assert atc.version("/usr/bin/atc") == release


def test_an_om_for_another_chip_is_refused(fake_ascend, tmp_path):
    compile_it(fake_ascend, tmp_path)
    env = fake_ascend.env(loaded=True)
    assert run("soc", "--om", "build/x_bs8.om", cwd=tmp_path, env=env) == ""
    said = error(run("soc", "--om", "build/x_bs8.om", cwd=tmp_path, env={**env, "FAKE_ACL": "Ascend310"}, status=1))
    assert "build/x_bs8.om was made for Ascend310P3, this host has Ascend310 — compile it here (make om)" in said
    fake_ascend.table.unlink()
    assert "warning: build/x_bs8.om is for Ascend310P3; no Ascend chip" in run(
        "soc", "--om", "build/x_bs8.om", cwd=tmp_path, env=env)
    with open(tmp_path / "build/x_bs8.om", "ab") as f:
        f.write(b"x")
    said = error(run("soc", "--om", "build/x_bs8.om", cwd=tmp_path, env=env, status=1))
    assert "is not the file that build/x_bs8.om.json describes" in said
    (tmp_path / "build/x_bs8.om.json").unlink()
    assert run("soc", "--om", "build/x_bs8.om", cwd=tmp_path, env=env) == ""


def test_every_hint_says_what_to_do():
    for pattern, meaning, todo in atc_errors.HINTS:
        re.compile(pattern)
        assert meaning and todo and not todo.endswith(".")


# ---- the toolkit's environment ----

def bash(script, cwd, env, status=0):
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=cwd, env=env, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=60)
    assert done.returncode == status, done.stdout
    return done.stdout.strip()


ENV = f"'{ROOT}/common/ascend_env.sh'"


def test_the_toolkit_is_found_and_loaded_once(fake_ascend, tmp_path):
    set_env = fake_ascend.root / "ascend-toolkit/set_env.sh"
    set_env.write_text(set_env.read_text().replace("false", "echo loaded >> loads; false"))
    script = f". {ENV} atc; . {ENV} infer; . {ENV} atc; command -v atc; echo $-; echo ${{NOT_SET}}; echo never"
    said = bash(script, tmp_path, fake_ascend.env(), status=1).splitlines()
    assert said[0] == str(fake_ascend.root / "ascend-toolkit/latest/bin/atc")
    assert {"e", "u"} <= set(said[1]) and "NOT_SET: unbound variable" in said[2]
    assert (tmp_path / "loads").read_text() == "loaded\n"
    bash(f". {ENV} atc; . {ENV} infer", tmp_path, fake_ascend.env(loaded=True))
    assert (tmp_path / "loads").read_text() == "loaded\n", "what is usable already is not loaded again"


def host(fake, kind, tmp_path):
    """A host with `kind` alone; return its environment."""
    fake.root.rename(tmp_path / "elsewhere")
    if kind == "llm":
        fake.toolkit(site=FAKES / "llm")
    elif kind == "nnrt, no aclruntime":
        fake.toolkit("nnrt", atc=False, site=tmp_path / "site")
        (tmp_path / "site/ais_bench/infer").mkdir(parents=True)
        (tmp_path / "site/ais_bench/infer/__init__.py").touch()
    elif kind:
        name, _, rest = kind.partition(", ")
        fake.toolkit(name, atc=name != "nnrt", site=FAKES / {"": "site", "llm": "llm", "nothing": "no"}[rest])
    return fake.env()


@pytest.mark.parametrize("kind, word", [
    ("cann", "ascend"), ("ascend-toolkit", "ascend"), ("nnrt", "ascend-infer"), ("llm", "ascend"), ("", "none"),
    ("nnrt, llm", "neither atc nor ais_bench is usable: the ais_bench of this python3 is another tool"),
    ("nnrt, nothing", "this python3 has no ais_bench"),
    ("nnrt, no aclruntime", "aclruntime does not load")])
def test_one_word_for_what_the_host_can_do(fake_ascend, tmp_path, kind, word):
    usable = " " not in word
    said = bash(f"bash {ENV}", tmp_path, host(fake_ascend, kind, tmp_path), status=0 if usable else 1)
    assert said == word if usable else word in error(said) and "ENGINE=openvino" in said


@pytest.mark.parametrize("kind, need, said", [
    ("nnrt", "atc", "atc cannot be called after sourcing .*/nnrt/set_env.sh"), ("", "atc", "there is no atc, and no set_env"),
    ("llm", "infer", "the ais_bench of this python3 is another tool"), ("", "infer", "this python3 has no ais_bench"),
    ("nnrt, no aclruntime", "infer", "aclruntime does not load")])
def test_what_cannot_be_loaded_ends_the_recipe(fake_ascend, tmp_path, kind, need, said):
    text = bash(f". {ENV} {need}; echo never", tmp_path, host(fake_ascend, kind, tmp_path), status=1)
    assert re.search(said, error(text)) and "never" not in text


def test_the_cpu_stand_ins_are_not_taken_for_cann(fake_ascend, tmp_path):
    env = host(fake_ascend, "", tmp_path)
    assert bash(f". '{ROOT}/common/cpu/set_env.sh'; bash {ENV}", tmp_path, env) == "none"


def test_without_a_driver_its_library_s_stub_is_found(fake_ascend, tmp_path):
    stub = fake_ascend.root / "ascend-toolkit/latest/x86_64-linux/devlib"
    stub.mkdir()
    said = bash(f". {ENV} atc; echo $LD_LIBRARY_PATH", tmp_path, fake_ascend.env())
    assert said.endswith(f":{stub}") or os.path.exists("/dev/davinci_manager")


# ---- the stand-in for ais_bench, on which the tests of the whole chain rely ----

@pytest.fixture
def om(fake_ascend, tmp_path):
    """A function: compile for batch 4, write n images, run ais_bench; return what it printed."""
    build(tmp_path / "x.onnx")
    flags = [w.replace("8,3,8,8", "4,3,8,8").replace("bs8", "bs4") for w in PAGE]
    images = np.random.default_rng(1).normal(size=(10, 3, 8, 8)).astype(np.float32)
    (tmp_path / "prep").mkdir(mode=0o750)
    for i, image in enumerate(images):
        image.tofile(tmp_path / f"prep/img_{i}.bin")
        (tmp_path / f"prep/img_{i}.bin").chmod(0o640)
    session = onnxruntime.InferenceSession(tmp_path / "x.onnx", providers=["CPUExecutionProvider"])

    def bench(*words, status=0, flags=flags, atc=(), **env):
        compile_it(fake_ascend, tmp_path, *atc, flags=flags)
        done = subprocess.run([sys.executable, "-m", "ais_bench", "--model", "build/x_bs4.om", *words], cwd=tmp_path, text=True,
                              env=fake_ascend.env(loaded=True, **env), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert done.returncode == status, done.stdout
        return done.stdout

    bench.folder, bench.images, bench.logits = tmp_path, images, session.run(None, {"input": images})[0]
    return bench


RUN = "--input prep --output out --output_dirname r".split()


@pytest.mark.parametrize("outfmt, kind, dtype, tolerance", [
    ("BIN", "FP32", np.float32, 1e-5), ("BIN", "FP16", np.float16, 5e-3), ("NPY", "FP16", np.float16, 5e-3),
    ("TXT", "FP32", np.float32, 2e-6), ("TXT", "FP16", np.float32, 5e-3)])
def test_result_files(om, outfmt, kind, dtype, tolerance):
    said = om(*RUN, "--outfmt", outfmt, atc=[f"--output_type={kind}"])
    assert "filesperbatch:4 runcount:3" in said
    assert left(om.folder / "out") == sorted([f"r/img_{i}_0.{outfmt.lower()}" for i in range(10)] + ["r_summary.json"])
    for i, row in enumerate(om.logits):
        path = om.folder / f"out/r/img_{i}_0.{outfmt.lower()}"
        if outfmt == "TXT":
            assert re.fullmatch(r"(-?\d+\.\d{6} ){5}\n", path.read_text())
        got = np.load(path) if outfmt == "NPY" else np.loadtxt(path) if outfmt == "TXT" else np.fromfile(path, dtype)
        assert got.size == 5 and (outfmt == "TXT" or got.dtype == dtype)
        np.testing.assert_allclose(got.reshape(5), row, atol=tolerance * np.abs(om.logits).max())


@pytest.mark.parametrize("release, dirs, counts, more", [
    ("old", ["device0", "device2", "device3"], [4, 4, 2], []),
    ("new", ["device0_0", "device2_1", "device3_2"], [10, 10, 10], []),
    ("new", ["device0_0", "device2_1", "device3_2"], [4, 3, 3], ["--divide_input", "1"])])
def test_layouts_of_several_devices(om, release, dirs, counts, more):
    said = om(*RUN, "--device", "0,2,3", *more, FAKE_AIS_BENCH=release)
    assert sorted(p.name for p in (om.folder / "out/r").iterdir() if p.is_dir()) == dirs
    assert [len(list((om.folder / "out/r" / d).iterdir())) for d in dirs] == counts
    parts = [json.loads((om.folder / f"out/r/{d}_summary.json").read_text())["throughput"] for d in dirs]
    assert float(re.search(r"summary throughput:(\S+)", said)[1]) == pytest.approx(sum(parts))
    got = {p.stem: np.fromfile(p, np.float32) for d in dirs for p in (om.folder / "out/r" / d).iterdir()}
    np.testing.assert_allclose([got[f"img_{i}_0"] for i in range(10)], om.logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("release, spelt", [("oldest", "batchsize(4)"), ("old", "batchsize.mean(4)"),
                                            ("new", "batchsize.mean(4)")])
def test_spellings_of_the_throughput(om, release, spelt):
    said = om("--loop", "3", "--batchsize", "4", FAKE_AIS_BENCH=release)
    assert f"[INFO] throughput 1000*{spelt}/NPU_compute_time.mean(" in said
    from common.speed import bench
    assert bench.parse(said)["batch"] == 4
    assert not (om.folder / "out").exists()


@pytest.mark.parametrize("spoil, said, status", [
    (lambda f: (f / "prep/img_3.bin").chmod(0o660), "prep/img_3.bin is group writable", 1),
    (lambda f: (f / "prep").chmod(0o777), "prep is group writable", 2),
    (lambda f: (f / "prep/img_x.bin").symlink_to(f / "prep/img_3.bin"), "is a soft link, not supported", 1),
    (lambda f: (f / "prep/img x.bin").touch(), "contains illegal char", 1)])
def test_refusals_of_the_newer_release(om, spoil, said, status):
    om(*RUN, FAKE_AIS_BENCH="new")
    assert rights(om.folder / "out") == 0o750 and rights(om.folder / "out/r/img_0_0.bin") == 0o640
    spoil(om.folder)
    assert said in om(*RUN, FAKE_AIS_BENCH="new", status=status)


def test_other_failures(om):
    assert "load model from file failed" in om(*RUN, FAKE_ASCEND_SOC="Ascend310", status=1)
    om(*RUN, FAKE_AIS_DROP=4)
    assert not (om.folder / "out/r/img_4_0.bin").exists()
    om(*RUN, FAKE_AIS_KILL=1, status=-signal.SIGKILL)
    assert "unrecognized arguments: --output_dirname" in om(*RUN, FAKE_AIS_BENCH="dashed", status=2)
    (om.folder / "prep/img_0.bin").write_bytes(b"12345")
    assert "arg0 tensorsize: 3072 filesize: 5 not match" in om(*RUN, status=1)


def test_bytes_through_aipp_give_the_floats_result(om):
    mean, scale = (123.675, 116.28, 103.53), (0.01712475, 0.017507, 0.01742919)
    settings = ["aipp_mode: static", "input_format: RGB888_U8", "csc_switch: false", "src_image_size_w: 8",
                "src_image_size_h: 8"] + [f"min_chn_{c}: {mean[c]}" for c in range(3)] + [
                    f"var_reci_chn_{c}: {scale[c]}  # 1/(255*std)" for c in range(3)]
    (om.folder / "aipp.cfg").write_text("aipp_op {\n" + "\n".join(settings) + "\n}\n")
    images = np.random.default_rng(2).integers(0, 256, (10, 8, 8, 3), np.uint8)
    for i, image in enumerate(images):
        image.tofile(om.folder / f"prep/img_{i}.bin")
    om(*RUN, atc=["--insert_op_conf=aipp.cfg", "--enable_small_channel=1"])
    floats = ((images - np.array(mean)) * np.array(scale)).transpose(0, 3, 1, 2).astype(np.float32)
    session = onnxruntime.InferenceSession(om.folder / "x.onnx", providers=["CPUExecutionProvider"])
    got = [np.fromfile(om.folder / f"out/r/img_{i}_0.bin", np.float32) for i in range(10)]
    np.testing.assert_allclose(got, session.run(None, {"input": floats})[0], atol=2e-2)


# ---- Python 3.8 ----

@pytest.mark.parametrize("module", MODULES)
def test_modules_are_python_3_8(module):
    text = (ROOT / f"common/{module}.py").read_text()
    ast.parse(text, feature_version=(3, 8))
    assert not re.search(r"removeprefix|removesuffix|strict=|file_digest|\bzip\(|functools.cache\b", text)


def pythons():
    """Return the other Pythons of this machine, one a version; one that pyenv only pretends to have does not start."""
    for version in ("3.8", "3.12"):
        paths = glob.glob(os.path.expanduser(f"~/.pyenv/versions/{version}.*/bin/python3")) + [shutil.which(f"python{version}")]
        yield from [p for p in paths if p and subprocess.run([p, "-c", ""], stderr=subprocess.DEVNULL).returncode == 0][:1]


@pytest.mark.parametrize("python", list(pythons()))
def test_another_python_without_packages(fake_ascend, tmp_path, python):
    build(tmp_path / "x.onnx", demo="true")
    (tmp_path / "tqdm.py").write_text("tqdm = None\n")  # which the models need anyhow
    env = {**fake_ascend.env(loaded=True), "PYTHONPATH": f"{ROOT}:{tmp_path}"}
    for words, last in ((["check_ops", "x.onnx"], "check-ops: 5 operators"), (["atc", *PAGE], "wrote build/x_bs8.om"),
                        (["soc", "--om", "build/x_bs8.om"], ""), (["soc"], "Ascend310P3")):
        done = subprocess.run([python, "-m", f"common.{words[0]}", *words[1:]], cwd=tmp_path, env=env, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
        assert done.returncode == 0, done.stdout
        assert done.stdout.strip().rpartition("\n")[2].startswith(last)
