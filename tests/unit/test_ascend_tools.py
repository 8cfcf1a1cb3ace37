"""The chip, atc and ais_bench's wrapper, with stand-ins for what an Ascend host has."""
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ascend import DUO, FAKES, rights
from conftest import ROOT
from graphs import save_graph
from onnx import helper

from common import cli, provenance
from common.ascend import chip, infer, toolkit


def run(module, *words, cwd, env, status=0):
    """Run a module of common/ascend; return what it printed."""
    env = {**env, "PYTHONPATH": f"{ROOT}:{env.get('PYTHONPATH', '')}"}
    done = subprocess.run(
        [sys.executable, "-m", f"common.ascend.{module}", *words], cwd=cwd, env=env, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    assert done.returncode == status, done.stdout
    assert "Traceback" not in done.stdout
    return done.stdout


def error(text):
    line = text.strip().splitlines()[-1]
    assert line.startswith("error: ") and " — " in line
    return line


def build(path, record=True):
    """Write an ONNX, 8x8 images → 3 logits, and what an export would say of it."""
    nodes = [helper.make_node("GlobalAveragePool", ["input"], ["g"]),
             helper.make_node("Flatten", ["g"], ["output"])]
    save_graph(path, nodes, {"input": ["n", 3, 8, 8]}, {"output": ["n", 3]})
    if record:
        provenance.record(path, [], [], weights="w.pth", demo=True, input="input", output="output",
                          classes=3)


# ---- the chip ----

@pytest.mark.parametrize("given, full", [
    ("310", "Ascend310"), ("310p3", "Ascend310P3"), ("ascend310B4", "Ascend310B4"),
    ("310P3vir04", "Ascend310P3Vir04"), ("910proa", "Ascend910ProA"), ("910B4-1", "Ascend910B4-1"),
    ("Ascend910_9392", "Ascend910_9392"), ("Ascend950PR_9579", "Ascend950PR_9579"),
    ("950dt_95A1", "Ascend950DT_95A1"), ("Ascend950PR_958a", "Ascend950PR_958a")])
def test_names_of_chips(given, full, capsys):
    assert chip.check(given) == full
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("given, said", [
    ("Ascend310310P3", "SOC=Ascend310P3 is meant"),
    ("AscendAscend310P3", "SOC=Ascend310P3 is meant"),
    ("Ascend310P310P3", "SOC=Ascend310P3 is meant"), ("Ascend910910_9392", "SOC=Ascend910_9392"),
    ("Ascend", "no chip's name"), ("310P3;reboot", "no chip's name"), ("../310", "no chip's name")])
def test_what_is_no_chip_is_refused(given, said):
    with pytest.raises(cli.Usage, match=said):
        chip.check(given)


def test_an_unknown_chip_is_taken_with_a_warning(capsys):
    assert chip.check("Ascend1020x") == "Ascend1020x"
    assert "warning: SOC=Ascend1020x" in capsys.readouterr().err


LINE = "+-------------------------+-------------+-----------------------------------------------+\n"
PROCESSES = f"""{LINE}| NPU     Chip            | Process id  | Process name             | Process memory(MB) |
{LINE}| 910     0               | 31000       | python3                  | 310                |
{LINE}"""
HEADER = f"""{LINE}| NPU   Name              | Health      | Power(W)    Temp(C)     Hugepages-Usage(page) |
| Chip  Phy-ID            | Bus-Id      | AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)   |
{LINE}"""
A3 = f"""| npu-smi 24.1.rc3.7               Version: 24.1.rc3.7                                 |
{HEADER}| 0     Ascend910         | OK          | 178.8       36                0    / 0        |
| 0     0                 | 0000:9D:00.0| 0           0    / 0          3397 / 65536    |
{LINE}| 0     Ascend910         | OK          | -           36                0    / 0        |
| 1     1                 | 0000:9F:00.0| 0           0    / 0          3186 / 65536    |
{PROCESSES}"""
NEWEST = """+-------------------------------------------------------------------------------------------+
| npu-smi 25.7.rc1                                 Version: 25.7.rc1                        |
+--------+------------------+---------------+-----------------------------------------------+
| NPU ID | Name             | Health        | Power(W)    Temp(C)     Hugepages-Usage(page) |
|        |                  | Bus-Id        | NPU Util(%) Memory-Usage(MB)  HBM-Usage(MB)   |
+========+==================+===============+===============================================+
| 0      | Ascend950PR      | Alarm         | 205.7       71                0     / 0       |
|        |                  | 0000:71:00.0  | 100         0    / 0          90633 / 114688  |
+========+==================+===============+===============================================+
| NPU ID                    | Process id    | Process name       | Process memory(MB)       |
+---------------------------+---------------+--------------------+--------------------------+
| 1                         | 310000        | python3            | 310                      |
"""
BOARD = "\tNPU ID      : 0\n\tNPU Name    : {}\n\tChip ID     : 0\n\tChip Name   : {}\n"


def table(*rows, end=PROCESSES):
    """A table with a pair of rows for each (NPU id, name, chip)."""
    pairs = [
        f"| {npu:<5} {name:<19} | OK          | 12.8        45                0    / 0    |\n"
        f"| {number:<5} {number:<19} | NA          | 0           621 / 8192                |\n{LINE}"
        for npu, name, number in rows
    ]
    return HEADER + "".join(pairs) + end


@pytest.mark.parametrize("text, chips", [
    (DUO, [("2", "0", "Ascend310P3"), ("2", "1", "Ascend310P3")]),
    (A3, [("0", "0", "Ascend910"), ("0", "1", "Ascend910")]),
    (NEWEST, [("0", None, "Ascend950PR")]),
    (table(("4", "310", "0"), ("4", "310", "1")),
     [("4", "0", "Ascend310"), ("4", "1", "Ascend310")]),
    (table(("2144", "310P3", "0"), ("32800", "310P3", "0"), end=""),
     [("2144", "0", "Ascend310P3"), ("32800", "0", "Ascend310P3")]),
    (table(("0", "910B3", "0"), end=f"| No running processes found in NPU 0   |\n{LINE}"),
     [("0", "0", "Ascend910B3")]),
    (table(("0", "Ascend 910B4", "0")), [("0", "0", "Ascend910B4")]),
    (table(("0", "Kirin", "0")), [("0", "0", "AscendKirin")]),
    ("| NPU ID | Name |\n|\n| 0 |\n| 1 |\n", []),
    (HEADER + PROCESSES, []), ("", []), ("dcmi module initialize failed. ret is -8005", [])])
def test_tables_of_npu_smi(text, chips):
    assert chip.parse_table(text) == chips


def ask(fake, monkeypatch, text=None, board=None, **env):
    if text is not None:
        fake.table.write_text(text)
    if board:
        Path(f"{fake.table}.board").write_text(board)
    fake.enter(monkeypatch, **env)
    return chip.find(seconds=20)


@pytest.mark.parametrize("acl, answer", [
    ("Ascend310B4", ("Ascend310B4", "pyACL")), ("none", ("Ascend310P3", "npu-smi")),
    ("crash", ("Ascend310P3", "npu-smi")), (None, ("Ascend310P3", "npu-smi"))])
def test_pyacl_is_asked_before_npu_smi(fake_ascend, monkeypatch, acl, answer):
    assert ask(fake_ascend, monkeypatch, **({"FAKE_ACL": acl} if acl else {})) == answer
    assert bool(fake_ascend.calls("npu-smi")) == (answer[1] == "npu-smi")


@pytest.mark.parametrize("text, board, name, which", [
    (A3, BOARD.format("9392", "Ascend910"), "Ascend910_9392", ["-c", "0"]),
    (NEWEST, BOARD.format("958a", "Ascend950PR"), "Ascend950PR_958a", []),
    (table(("0", "1020", "0")), BOARD.format("77", "Ascend1020"), "Ascend1020_77", ["-c", "0"])])
def test_the_board_completes_a_family(fake_ascend, monkeypatch, text, board, name, which):
    assert ask(fake_ascend, monkeypatch, text, board) == (name, "npu-smi")
    calls = [call["argv"] for call in fake_ascend.calls("npu-smi")]
    assert calls == [["info"], ["info", "-t", "board", "-i", "0", *which]]


@pytest.mark.parametrize("text, said", [
    (A3, "it shows Ascend910, which is a family"),
    (HEADER + PROCESSES, r"no chip in what it prints .NPU Name"),
    (table(("0", "Kirin", "0")), "it shows 'AscendKirin', no chip's name"),
    (None, "dcmi module initialize failed. ret is -8005 .status 255"),
    (table(("0", "310P3", "0"), ("1", "310", "0")), "2 kinds: Ascend310, Ascend310P3 — ")])
def test_no_chip_says_what_was_seen(fake_ascend, monkeypatch, text, said):
    if text is None:
        fake_ascend.table.unlink()
    with pytest.raises(cli.Failure, match=rf"{said}.*SOC=Ascend310"):
        ask(fake_ascend, monkeypatch, text)


def test_a_hanging_npu_smi_is_killed(fake_ascend):
    start = time.monotonic()
    said = toolkit.call(["bash", "-c", "sleep 300 & wait"], 0.5)
    assert said == (None, "no answer in 0.5 s, killed") and time.monotonic() - start < 20


@pytest.mark.parametrize("made_for, here, runs", [
    ("Ascend310P3", "Ascend310P3", True), ("Ascend310P3", "Ascend310P3Vir01", True),
    ("Ascend310P3", "Ascend310P3Vir08", True), ("Ascend310P1", "Ascend310P3Vir01", False),
    ("Ascend310P3Vir01", "Ascend310P3", False), ("Ascend910B3", "Ascend910B4", False)])
def test_what_runs_where(made_for, here, runs):
    assert chip.runs_on(made_for, here) == runs


# ---- the toolkit ----

@pytest.mark.parametrize("name, text, release", [
    ("x86_64-linux/ascend_toolkit_install.info", "package_name=x\nversion=8.0.RC3\n", "8.0.RC3"),
    ("version.cfg", "runtime_running_version=[7.6:8.0.0]\ntoolkit_running_version=[1.84:6.0.1]\n",
     "6.0.1"),
    ("compiler/version.info", "Version=1.82.22.2.220\nversion_dir=5.1.RC2\n", "1.82.22.2.220"),
    ("nothing", "", "unknown")])
def test_the_toolkit_s_release_is_found(tmp_path, name, text, release):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    assert toolkit.release(tmp_path / "bin", tmp_path) == release


@pytest.mark.parametrize("where", [
    "home/Ascend/ascend-toolkit", "home/Ascend/cann-8.5.0", "home/Ascend/nnrt", "conda/Ascend/cann",
    "env/lib/python3.11/site-packages/ascend/cann-9.0.0",
    "home/.local/lib/python3.8/site-packages/ascend/cann-9.0.0",
    "env/lib/python3/dist-packages/ascend/cann-9.0.0"])
def test_where_cann_is_looked_for(tmp_path, monkeypatch, where):
    (tmp_path / where).mkdir(parents=True)
    (tmp_path / where / "set_env.sh").touch()
    for name, value in {"HOME": "home", "CONDA_PREFIX": "conda", "PATH": "env/bin"}.items():
        monkeypatch.setenv(name, str(tmp_path / value))
    assert toolkit.installed() == [str(tmp_path / where / "set_env.sh")]


def site(folder, kind):
    """A python's packages: what an ais_bench without its parts looks like."""
    if kind == "llm":
        return FAKES / "llm"
    if kind == "broken":
        (folder / "ais_bench/infer").mkdir(parents=True)
        (folder / "ais_bench/infer/__init__.py").touch()
        broken = "raise ImportError(\"version `GLIBCXX_3.4.29' not found\")"
        (folder / "aclruntime.py").write_text(broken)
    return folder if kind else FAKES / "site"


@pytest.mark.parametrize("kind, usable, what, todo", [
    ("", True, "python3", ""),
    ("none", False, "No module named 'aclruntime'", "msprobe install_deps -m offline"),
    ("llm", False, "No module named 'aclruntime'", "PyPI's ais-bench-benchmark is another tool"),
    ("broken", False, "version `GLIBCXX_3.4.29' not found", "LD_LIBRARY_PATH")])
def test_what_ais_bench_lacks(fake_ascend, tmp_path, monkeypatch, kind, usable, what, todo):
    fake_ascend.enter(monkeypatch, site=site(tmp_path / "site", kind))
    good, said, remedy = toolkit.ais_bench()
    assert good == usable and what in said and todo in remedy
    if not usable:
        with pytest.raises(cli.Failure, match=re.escape(what)):
            infer.spelling(1)


# ---- atc ----

SWITCH = '{"Switch": {"GraphFusion": {"GroupNormFusionPass": "off"}}}'
PAGE = ("--framework=5 --model=x.onnx --output=build/x_bs8 --input_format=NCHW "
        "--input_shape=input:8,3,8,8 --log=error --soc_version=Ascend310P3").split()


def compile_it(fake, folder, *more, status=0, flags=PAGE, **env):
    if not (folder / "x.onnx").exists():
        build(folder / "x.onnx")
    return run("atc", *flags, *more, cwd=folder, env=fake.env(**env), status=status)


def left(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("name", ["plain", "with a space"])
def test_atc_gets_the_page_s_command_and_the_om_its_record(fake_ascend, tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    (folder / "fusion_switch.cfg").write_text(SWITCH)
    more = ["--optypelist_for_implmode=Gelu", "--op_select_implmode=high_performance",
            "--output_type=FP16", "--fusion_switch_file=fusion_switch.cfg"]
    said = compile_it(fake_ascend, folder, *more)
    last = said.splitlines()[-1]
    assert last.startswith("wrote build/x_bs8.om (CANN 7.0.0, Ascend310P3, fp16, batch 8, ")
    call, = fake_ascend.calls("atc")
    assert sorted(call["argv"]) == sorted(w.replace("build/", "") for w in PAGE + more)
    assert not Path(call["cwd"]).exists()
    assert left(folder) == ["build/x_bs8.om", "build/x_bs8.om.json", "fusion_switch.cfg",
                            "x.onnx", "x.onnx.json"]
    assert rights(folder / "build/x_bs8.om") == 0o640
    about = json.loads((folder / "build/x_bs8.om.json").read_text())
    made = about.pop("made")
    assert about == {
        "engine": "ascend", "engine_version": "7.0.0", "cann": "7.0.0", "device": "NPU",
        "soc": "Ascend310P3", "batch": 8, "precision": "fp16",
        "inputs": [{"name": "input", "shape": [8, 3, 8, 8], "dtype": "float32"}],
        "outputs": [{"name": "output", "shape": [8, 3], "dtype": "float16"}],
        "onnx": {"file": "x.onnx", "sha256": cli.sha256(folder / "x.onnx"), "demo": True,
                 "weights": "w.pth", "input": "input", "output": "output", "classes": 3},
        "demo": True, "gears": None,
            "command": ["atc", *call["argv"]]}
    assert made["sha256"] == cli.sha256(folder / "build/x_bs8.om")
    assert made["arguments"] == PAGE + more
    assert set(made["from"]) == {"x.onnx", "fusion_switch.cfg"}


@pytest.mark.parametrize("asked, soc", [
    ("auto", "Ascend310P3"), ("", "Ascend310P3"), ("310B4", "Ascend310B4")])
def test_atc_asks_for_the_chip(fake_ascend, tmp_path, asked, soc):
    said = compile_it(fake_ascend, tmp_path, flags=[*PAGE[:-1], f"--soc_version={asked}"])
    assert f"soc_version {soc} (from {'SOC' if asked == '310B4' else 'npu-smi'})" in said
    assert f"--soc_version={soc}" in fake_ascend.calls("atc")[0]["argv"]


@pytest.mark.parametrize("flags, status, said", [
    ([*PAGE[:-1], "--soc_version=Ascend310310P3"], 2, "SOC=Ascend310P3 is meant"),
    ([*PAGE, "--input_shape=8,3,8,8"], 2, "E10002"),
    ([*PAGE, "--input_shape=input:8", "--insert_op_conf=x"], 2, "name:N,C,H,W"), (PAGE[:1], 2, "--model is missing"),
    ([*PAGE, "--log="], 2, "--log is missing or empty"),
    ([*PAGE, "--output=build/x.om"], 2, "has an ending"),
    ([*PAGE, "model.onnx"], 2, "model.onnx is no flag"),
    ([*PAGE, "--model=y.onnx"], 1, "y.onnx does not exist"),
    ([*PAGE, "--insert_op_conf=aipp.cfg"], 1, "--insert_op_conf: aipp.cfg does not exist")])
def test_a_wrong_call_ends_before_atc_starts(fake_ascend, tmp_path, flags, status, said):
    assert said in error(compile_it(fake_ascend, tmp_path, flags=flags, status=status))
    assert fake_ascend.calls("atc") == [] and left(tmp_path / "build") == []


@pytest.mark.parametrize("mode, said", [
    ("nofile", "it says success, but there is no file"),
    ("silent", "it does not say that it succeeded"),
    ("killed", "killed .status 137.*TE_PARALLEL_COMPILER=1"),
    ("E10016", "--input_shape names an input"),
    ("E16002", r"does not know an operator.*optype GroupNorm\..*OPSET=11"),
    ("E19999", "an error inside CANN.*CANN's log: .*/plog-.*log")])
def test_a_failed_atc_says_what_to_do_and_leaves_nothing(fake_ascend, tmp_path, mode, said):
    """No file, and no compiler either: TBE's outlive a killed atc."""
    (tmp_path / "build").mkdir()
    (tmp_path / "build/x_bs8.om").write_text("of an earlier run")
    assert re.search(said, error(compile_it(fake_ascend, tmp_path, status=1, FAKE_ATC=mode)))
    assert left(tmp_path / "build") == ["x_bs8.om"]
    assert (tmp_path / "build/x_bs8.om").read_text() == "of an earlier run"
    for call in fake_ascend.calls("compiler"):
        about = Path(f"/proc/{call['argv'][0]}/stat")
        assert not about.exists() or about.read_text().split()[2] == "Z"


def start(fake, folder, seconds):
    """A compilation that takes its time, in a process of its own."""
    env = {**fake.env(FAKE_ATC="slow", FAKE_ATC_SECONDS=seconds), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-m", "common.ascend.atc", *PAGE], cwd=folder,
                            env=env, stdout=subprocess.DEVNULL)


def test_two_at_once_have_a_folder_each(fake_ascend, tmp_path):
    """Both write one .om; neither takes the other's files away, and what is left is whole."""
    build(tmp_path / "x.onnx")
    both = [start(fake_ascend, tmp_path, 2) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert len({call["cwd"] for call in fake_ascend.calls("atc")}) == 2
    assert left(tmp_path / "build") == ["x_bs8.om", "x_bs8.om.json"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_run_leaves_no_half_file_and_the_next_recovers(fake_ascend, tmp_path, number):
    build(tmp_path / "x.onnx")
    process = start(fake_ascend, tmp_path, 20)
    while not fake_ascend.calls("atc"):
        time.sleep(0.05)
    process.send_signal(number)
    process.wait(timeout=30)
    assert left(tmp_path / "build") == []
    compile_it(fake_ascend, tmp_path)
    assert left(tmp_path / "build") == ["x_bs8.om", "x_bs8.om.json"]


@pytest.mark.parametrize("own", [False, True])
def test_a_later_atc_gets_a_file_for_the_flags_that_it_has_no_more(fake_ascend, tmp_path, own):
    more = ["--optypelist_for_implmode=Gelu,Mul", "--op_select_implmode=high_performance"]
    (tmp_path / "own.ini").touch()
    words = [*more, *(["--op_precision_mode=own.ini"] if own else [])]
    said = compile_it(fake_ascend, tmp_path, *words, FAKE_ATC="later")
    argv, file = fake_ascend.calls("atc")[0]["argv"], "own.ini" if own else "x_bs8.ini"
    assert [w for w in argv if "mode" in w and "model" not in w] == [f"--op_precision_mode={file}"]
    made = json.loads((tmp_path / "build/x_bs8.om.json").read_text())["made"]
    assert made["arguments"] == PAGE + words
    if not own:
        assert "no --op_select_implmode; build/x_bs8.ini says the same" in said
        ini = (tmp_path / "build/x_bs8.ini").read_text()
        assert ini == "[ByOpType]\nGelu=high_performance\nMul=high_performance\n"
        assert set(made["from"]) == {"x.onnx", "build/x_bs8.ini"}


def test_atc_has_to_be_cann_s(fake_ascend, tmp_path):
    build(tmp_path / "x.onnx")
    env = {**fake_ascend.env(loaded=False), "PATH": f"{ROOT}/common/cpu/bin:/usr/bin:/bin"}
    said = error(run("atc", *PAGE, cwd=tmp_path, env=env, status=1))
    assert f"not on the PATH — source {fake_ascend.root}/ascend-toolkit/set_env.sh first" in said


@pytest.mark.parametrize("text", [
    "\x7fELF of another processor", '#!/bin/bash\nexec "$(dirname $0)/atc.elf" "$@"\n'])
def test_an_atc_of_another_architecture_is_one_line(fake_ascend, tmp_path, text):
    folder = fake_ascend.root / "ascend-toolkit/latest/bin"
    for name, content in (("atc", text), ("atc.elf", "\x7fELF of another processor")):
        (folder / name).write_text(content)
        (folder / name).chmod(0o755)
    said = error(compile_it(fake_ascend, tmp_path, status=1))
    assert "this CANN is for another processor (status 126" in said


def test_names_flags_and_aipp(fake_ascend, tmp_path):
    """A file named after the host; the user's flags come through; AIPP makes the input bytes."""
    (tmp_path / "aipp.cfg").write_text("aipp_op {\n    aipp_mode: static\n}\n")
    compile_it(fake_ascend, tmp_path, "--log", "info", "--precision_mode=must_keep_origin_dtype",
               "--debug_dir=dbg", "--insert_op_conf=aipp.cfg", FAKE_ATC="linux")
    argv = fake_ascend.calls("atc")[0]["argv"]
    assert {"--log=info", "--insert_op_conf=aipp.cfg", f"--debug_dir={tmp_path}/dbg"} <= set(argv)
    about = json.loads((tmp_path / "build/x_bs8.om.json").read_text())
    assert about["precision"] == "must_keep_origin_dtype"
    assert about["inputs"] == [{"name": "input", "shape": [8, 8, 8, 3], "dtype": "uint8"}]
    said = compile_it(fake_ascend, tmp_path, "--no_such_flag=1", status=1)
    assert "this atc has no such flag" in error(said) and "no_such_flag" in error(said)


def test_an_onnx_without_a_record_or_with_another_s(fake_ascend, tmp_path):
    build(tmp_path / "x.onnx", record=False)
    assert "note: x.onnx has no record" in compile_it(fake_ascend, tmp_path)
    about = json.loads((tmp_path / "build/x_bs8.om.json").read_text())
    assert about["onnx"] == {"file": "x.onnx", "sha256": cli.sha256(tmp_path / "x.onnx")}
    made = {"sha256": "0", "stat": [], "from": {}, "arguments": []}
    cli.write_json(tmp_path / "x.onnx.json", {"made": made})
    said = error(compile_it(fake_ascend, tmp_path, status=1))
    assert "x.onnx is not the one that x.onnx.json describes" in said


def test_an_om_for_another_chip_is_refused(fake_ascend, tmp_path):
    compile_it(fake_ascend, tmp_path)

    def ask(status=0, **env):
        return run("chip", "--om", "build/x_bs8.om", cwd=tmp_path, env=fake_ascend.env(**env),
                   status=status)
    assert ask() == ask(FAKE_ACL="Ascend310P3Vir02") == ""
    said = error(ask(1, FAKE_ACL="Ascend310"))
    assert "was made for Ascend310P3, this host has Ascend310 — " in said
    assert "make om SOC=Ascend310" in said
    fake_ascend.table.unlink()
    assert "warning: build/x_bs8.om is for Ascend310P3; no Ascend chip" in ask()
    with open(tmp_path / "build/x_bs8.om", "ab") as f:
        f.write(b"x")
    assert "is not the one that build/x_bs8.om.json describes" in error(ask(1))
    (tmp_path / "build/x_bs8.om.json").unlink()
    assert ask() == ""


# ---- the stand-in for ais_bench, on which the tests of the whole chain rely ----

def test_a_link_to_nothing_is_left_to_ais_bench(tmp_path):
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nothing")
    infer.tidy(tmp_path)


@pytest.mark.parametrize("spoil, said", [
    (lambda f: (f / "a.bin").chmod(0o660), "prep/a.bin is group writable"),
    (lambda f: (f / "b.bin").symlink_to(f / "a.bin"), "is a soft link"),
    (lambda f: (f / "a b.bin").touch(), "contains illegal char")])
def test_refusals_of_the_newer_release(fake_ascend, tmp_path, spoil, said):
    compile_it(fake_ascend, tmp_path)
    prep = tmp_path / "prep"
    prep.mkdir(mode=0o750)
    (prep / "a.bin").write_bytes(bytes(3 * 8 * 8 * 4))
    (prep / "a.bin").chmod(0o640)

    def bench():
        return subprocess.run(
            [sys.executable, "-m", "ais_bench", "--model", "build/x_bs8.om", "--input", "prep",
             "--output", "out", "--output_dirname", "r"], cwd=tmp_path, text=True,
            env=fake_ascend.env(FAKE_AIS_BENCH="new"), stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT)
    assert bench().returncode == 0
    assert rights(tmp_path / "out") == 0o750 and rights(tmp_path / "out/r/a_0.bin") == 0o640
    spoil(prep)
    refused = bench()
    assert refused.returncode == 1 and said in refused.stdout
