"""om, infer, eval and bench on a host with an NPU, as the stand-ins in tests/fake_ascend are."""
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
import tiny
from ascend import FAKES, FakeAscend
from conftest import ROOT, make

from common import cli
from common.ascend import amct
from common.score import verdict

# What ModelZoo's page of each model has for atc, besides --model and --output, and for ais_bench's
# two uses. {bs} is the batch.
ATC = {"--framework": "5", "--input_format": "NCHW", "--input_shape": "input:{bs},3,224,224",
       "--log": "error", "--soc_version": "auto"}
GELU = {"--optypelist_for_implmode": "Gelu", "--op_select_implmode": "high_performance"}
PAGE = {
    # ShiftViT.md, 3.3 step 2; 5.2 step 2; 5.4
    "ShiftViT": ("shiftvit2", "shiftvit2-bs{bs}", ATC, "BIN", "100"),
    # SPACH.md, 1.4; 2.2; 4
    "SPACH": ("spach_ms_conv_s", "spach_ms_conv_s_bs{bs}",
              {**ATC, **GELU, "--output_type": "FP16", "--fusion_switch_file": "fusion_switch.cfg"},
              "TXT", "50"),
    # Convmixer.md, 2 step 2 (its fixed batch and doubled chip prefix corrected); 1; 2
    "Convmixer": ("convmixer_1536_20", "convmixer_1536_20_{bs}",
                  {**{k: v for k, v in ATC.items() if k != "--log"}, **GELU,
                   "--input_shape": "image:{bs},3,224,224"}, "BIN", "100"),
    # Twins-SVT-L.md, 1.3.3; 2.2; 4
    "Twins-SVT-L": ("alt_gvt_large", "alt_gvt_large_bs{bs}", ATC, "TXT", "20"),
    # spnasnet.md, 3.2
    "spnasnet": ("spnasnet_100", "spnasnet_100_bs{bs}",
                 {**ATC, "--log": "info", "--input_shape": "actual_input_1:{bs},3,224,224"},
                 "TXT", "500"),
}


def flags(words):
    """{flag: value} of a command line, in either spelling."""
    words, found = list(words), {}
    while words:
        name, equals, value = words.pop(0).partition("=")
        if name.startswith("--"):
            found[name] = value if equals else words.pop(0)
    return found


def recipe(said, module):
    """The words after `module` of the one line of `make -n` that has it."""
    line, = [row for row in said.replace("\\\n", " ").splitlines() if f" -m {module} --" in row]
    return shlex.split(line.partition(f" -m {module} ")[2])


@pytest.mark.parametrize("model", PAGE)
@pytest.mark.parametrize("bs", [1, 64])
def test_commands_are_the_page_s(model, bs, tmp_path):
    onnx, om, atc, outfmt, loops = PAGE[model]
    out = tmp_path / "out"
    words = ("om", "infer", "bench", "ENGINE=ascend", "WEIGHTS=demo", "PYTHON=/x")
    said = make(ROOT / model, "-n", *words, f"BS={bs}", f"OUT={out}")
    om = f"{out}/demo/{om.format(bs=bs)}"
    wanted = {name: value.format(bs=bs) for name, value in atc.items()}
    assert flags(recipe(said, "common.ascend.atc")) == {
        **wanted, "--model": f"{out}/demo/{onnx}.onnx", "--output": om}
    assert flags(recipe(said, "common.ascend.infer")) == {
        "--model": f"{om}.om", "--input": f"{out}/demo/prep", "--output": f"{out}/demo/result",
        "--output_dirname": f"bs{bs}_ascend", "--outfmt": outfmt, "--batchsize": str(bs)}
    bench = recipe(said, "common.speed.bench")
    assert flags(bench[bench.index("--"):][1:]) == {
        "--model": f"{om}.om", "--loop": loops}  # --batchsize would scale the figure alone


def test_seconds_in_place_of_the_page_s_loops(tmp_path):
    words = ["bench", "ENGINE=ascend", "WEIGHTS=demo", "PYTHON=/x", f"OUT={tmp_path}/out"]
    said = recipe(make(ROOT / "ShiftViT", "-n", *words, "SECONDS=7"), "common.speed.bench")
    assert said[said.index("--seconds") + 1] == "7" and "--loop" not in said


@pytest.mark.parametrize("more", [[], ["INPUT=uint8"]])
def test_one_om_for_several_batches(more, tmp_path):
    """As GE's --dynamic_batch_size.md has it; AIPP that is static goes with it."""
    words = ["om", "ENGINE=ascend", "WEIGHTS=demo", "PYTHON=/x", f"OUT={tmp_path}/out", *more]
    said = make(ROOT / "ShiftViT", "-n", *words, "BS=dynamic", "BATCHES=16 1 8 4")
    got = flags(recipe(said, "common.ascend.atc"))
    assert (got["--input_shape"], got["--dynamic_batch_size"]) == ("input:-1,3,224,224", "1,4,8,16")
    kind = "_uint8" if more else ""
    assert got["--output"] == f"{tmp_path}/out/demo/shiftvit2-bsdynamic{kind}"
    assert ("--insert_op_conf" in got) == bool(more)
    after = said.split("next: ")[1]
    assert " infer BS=16 " in after and "dynamic" not in after


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    """The small network on an NPU host; .make(*verbs and settings, **switches of the stand-ins)."""
    base = tmp_path_factory.mktemp("host")
    os.chmod(base, 0o755)
    folder, fake = tiny.make_folder(base), FakeAscend(base / "ascend")

    def run(*words, status=0, loaded=True, **switches):
        done = tiny.make(folder, *words, "ENGINE=auto", f"PYTHON={sys.executable}",
                         env=fake.env(loaded, **switches))
        assert done.returncode == status, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    return SimpleNamespace(folder=folder, fake=fake, make=run, build=folder / "build")


def test_the_whole_way(host):
    said = host.make("eval", "bench")
    assert tiny.LINE in said and ".blob" not in said
    result = json.loads((host.build / "eval_bs4_ascend.json").read_text())
    made_by = result["produced_by"]
    assert (made_by["engine"], made_by["soc"], made_by["batch"]) == ("ascend", "Ascend310P3", 4)
    perf = json.loads((host.build / "perf_bs4_ascend.json").read_text())
    assert perf["device"] == "NPU" and perf["fps"] > 0
    litter = {p.name for p in host.folder.rglob("*")}
    assert not litter & {"kernel_meta", "fusion_result.json", "check_result.json"}
    before = host.fake.log.read_text()
    assert tiny.LINE in host.make("eval", "bench") and host.fake.log.read_text() == before


@pytest.mark.parametrize("release, devices, spelt, split, folders", [
    ("oldest", "0", "--output_dirname", [], []),
    ("old", "0,1,2", "--output_dirname", [], ["device0", "device1", "device2"]),
    ("new", "0,1,2", "--output_dirname", ["--divide_input"],
     ["device0_0", "device1_1", "device2_2"]),
    ("dashed", "0,1", "--output-dirname", ["--divide-input"], ["device0_0", "device1_1"])])
def test_every_release_and_several_devices(host, release, devices, spelt, split, folders):
    shutil.rmtree(host.build / "result", ignore_errors=True)
    assert tiny.LINE in host.make("eval", f"DEVICE={devices}", FAKE_AIS_BENCH=release)
    argv = host.fake.calls("ais_bench")[-1]["argv"]
    assert spelt in argv and [word for word in argv if word.startswith("--divide")] == split
    results = host.build / "result/bs4_ascend"
    assert sorted(path.name for path in results.iterdir() if path.is_dir()) == folders


@pytest.mark.parametrize("outfmt, kind", [("BIN", "FP16"), ("NPY", "FP16"), ("BIN", "FP32")])
def test_formats(host, outfmt, kind):
    makefile = host.folder / "Makefile"
    before = makefile.read_text()
    makefile.write_text(before.replace("OUTFMT := TXT", f"OUTFMT := {outfmt}"))
    assert tiny.LINE in host.make("eval", f"ATC_FLAGS=--output_type={kind}")
    makefile.write_text(before)


@pytest.mark.parametrize("verb, switches, said", [
    ("om", {"FAKE_ATC": "EZ3002"}, "no kernel for an operator"),
    ("infer", {"FAKE_AIS_DROP": "3"}, "wrote 7 result files to build/result/bs4_ascend for 8 bins"),
    ("infer", {"FAKE_AIS_KILL": "1"}, "killed (status -9)"),
    ("infer", {"FAKE_ASCEND_SOC": "Ascend310"}, "another chip or a newer CANN"),
    ("bench", {"FAKE_ASCEND_SOC": "Ascend310"}, "another chip or a newer CANN"),
    ("infer", {"FAKE_DEVICES": "0"}, "the driver does not open the device")])
def test_what_fails_says_what_to_do_and_leaves_nothing(host, verb, switches, said):
    gone = host.build / {"om": "spnasnet_100_bs4.om", "infer": "result/bs4_ascend.json",
                         "bench": "perf_bs4_ascend.json"}[verb]
    gone.unlink(missing_ok=True)
    failed = host.make(verb, status=2, **switches)
    line, = [line for line in failed.splitlines() if line.startswith("error: ")]
    assert said in line and " — " in line and not gone.exists()


def test_rights_are_set_before_ais_bench_looks(host):
    host.make("prep")
    for path in (host.build / "prep").glob("*.bin"):
        path.chmod(0o664)
    (host.build / "prep").chmod(0o777)
    shutil.rmtree(host.build / "result", ignore_errors=True)
    assert tiny.LINE in host.make("eval", FAKE_AIS_BENCH="new")


def test_an_om_of_another_chip_is_refused_and_compiled_again(host):
    host.make("om")
    table = host.fake.table.read_text()
    shutil.rmtree(host.build / "result", ignore_errors=True)
    host.fake.table.write_text(table.replace("310P3", "310B4"))
    try:
        said = host.make("infer", status=2)
        assert "was made for Ascend310P3, this host has Ascend310B4" in said
        todo = re.search("make om (SOC=Ascend310B4)", said)[1]
        assert tiny.LINE in host.make("eval", todo, FAKE_ASCEND_SOC="Ascend310B4")
    finally:
        host.fake.table.write_text(table)


def test_cann_that_is_not_loaded_is_no_reason_for_the_cpu(host):
    said = host.make("om", "BS=8", status=2, loaded=False)
    assert f"source {host.fake.root}/ascend-toolkit/set_env.sh first" in said
    assert not list(host.build.glob("*.blob"))
    # The same file that doctor names, and doctor says so where make refuses.
    said = host.make("doctor", status=2, loaded=False)
    assert f"not loaded — source {host.fake.root}/ascend-toolkit/set_env.sh" in said


def test_an_om_for_several_batches_is_used_where_it_is_there(host):
    om = host.build / "spnasnet_100_bsdynamic.om"
    host.make("om", "BS=dynamic", "BATCHES=1 4 8")
    try:
        compiled = len(host.fake.calls("atc"))
        for batch in (1, 4, 8):
            assert tiny.LINE in host.make("eval", "bench", f"BS={batch}")
            for call in host.fake.calls("ais_bench")[-2:]:
                assert call["argv"][call["argv"].index("--dymBatch") + 1] == str(batch)
            perf = json.loads((host.build / f"perf_bs{batch}_ascend.json").read_text())
            assert (perf["batch"], perf["runner"]) == (batch, "ais_bench --dymBatch")
        assert len(host.fake.calls("atc")) == compiled
        assert tiny.LINE in host.make("eval", "BS=16")  # none of its batches: an om of its own
        assert len(host.fake.calls("atc")) == compiled + 1
        assert "--dymBatch" not in host.fake.calls("ais_bench")[-1]["argv"]
        said = host.make("infer", "BS=16", f"OM={om}", status=2)
        assert f"OM={om} is for the batches 1 4 8: say BS=" in said
        said = host.make("infer", "BS=dynamic", status=2)
        assert "BS=dynamic is for om; then say one of its batches" in said
        words = ["--model", om, "--input", "build/prep", "--output", "build/x",
                 "--output_dirname", "y", "--batchsize", "16"]
        for more, known in ((["--dymBatch", "16"], "16"), ([], "None")):
            done = tiny.run(host.folder, "-m", "common.ascend.infer", *words, *more,
                            env=host.fake.env())
            tiny.failed(done, f"is for the batches 1, 4, 8, --dymBatch is {known}")
    finally:
        om.unlink()


def test_an_om_made_elsewhere_needs_neither_atc_nor_weights(host):
    host.make("om")
    elsewhere = host.folder / "elsewhere.om"
    for end in ("", ".json"):
        shutil.copy(f"{host.build}/spnasnet_100_bs4.om{end}", f"{elsewhere}{end}")
    shutil.rmtree(host.build)
    compiled = len(host.fake.calls("atc"))
    words = ("eval", "OM=elsewhere.om", "WEIGHTS=")
    host.fake.toolkit("nnrt", atc=False)
    assert tiny.LINE in host.make(*words, kind="nnrt")
    (host.folder / "elsewhere.om.json").unlink()
    assert tiny.LINE in host.make(*words, kind="nnrt")
    said = host.make("bench", "BS=8", *words[1:], status=2)
    assert "elsewhere.om is for batch 4, not for 8 — BS=4" in said
    assert len(host.fake.calls("atc")) == compiled
    assert "OM=nowhere.om does not exist" in host.make("infer", "OM=nowhere.om", status=2)


# ---- CANN in a container: make om CANN_IMAGE= ----
IMAGE = "ascendai/cann:9.0.1-310p-ubuntu22.04-py3.11"


def in_container(fake, **more):
    """The environment of a host without CANN, with docker and an image that has the toolkit."""
    fake.script(fake.bin / "docker", FAKES / "docker.py")
    return fake.env(loaded=False, HOME=fake.home.parent, FAKE_DOCKER_NAME="docker",
                    FAKE_IMAGE=fake.root / "ascend-toolkit/latest", **more)


def test_om_in_a_container_is_the_om_of_a_host(tmp_path, fake_ascend):
    """The same command line of atc, the same record, and one that a host with CANN takes as its
    own."""
    folder = tiny.make_folder(tmp_path)
    words = ("om", "ENGINE=auto", "SOC=Ascend310P3", f"PYTHON={sys.executable}")
    tiny.worked(tiny.make(folder, *words, env=fake_ascend.env()))
    om = folder / "build/spnasnet_100_bs4.om"
    outside = json.loads((folder / "build/spnasnet_100_bs4.om.json").read_text())
    om.unlink()
    said = tiny.worked(
        tiny.make(folder, *words, f"CANN_IMAGE={IMAGE}", env=in_container(fake_ascend)))
    assert "wrote build/spnasnet_100_bs4.om (CANN 7.0.0, Ascend310P3" in said
    inside = json.loads((folder / "build/spnasnet_100_bs4.om.json").read_text())
    for record in (outside, inside):
        record["made"].pop("stat")
    assert inside == outside
    call, = fake_ascend.calls("docker")
    assert call["argv"][:2] == ["run", "--rm"] and IMAGE in call["argv"]
    first, second = fake_ascend.calls("atc")
    assert first["argv"] == second["argv"]
    assert "is up to date" in tiny.worked(tiny.make(folder, *words, env=fake_ascend.env()))


def test_what_fails_in_a_container(tmp_path, fake_ascend):
    folder = tiny.make_folder(tmp_path)
    for soc, engine, switches, said in (
            ("auto", "auto", {},
             "CANN_IMAGE= has no NPU that could be asked for the chip: say SOC="),
            ("Ascend310P3", "openvino", {}, "CANN_IMAGE= is for an .om: leave out ENGINE=openvino"),
            ("Ascend310P3", "auto", {"FAKE_DOCKER": "125"},
             f"docker could not run {IMAGE} .status 125. — .*is it running"),
            ("Ascend310P3", "auto", {"FAKE_DOCKER": "137"},
             "was ended by a signal .status 137. — was memory short"),
            ("Ascend310P3", "auto", {"FAKE_ATC": "EZ3002"},
             "atc made no build/spnasnet_100_bs4.om: this CANN has no kernel")):
        done = tiny.make(folder, "om", f"SOC={soc}", f"ENGINE={engine}", f"CANN_IMAGE={IMAGE}",
                         f"PYTHON={sys.executable}", env=in_container(fake_ascend, **switches))
        tiny.failed(done, said, status=2)
        assert not list(folder.glob("build/*.om*"))


# ---- int8 by amct_onnx ----

@pytest.fixture
def int8(host):
    """host.make() in int8, calibrated with the eight images."""
    def run(*words, **more):
        return host.make(*words, "PRECISION=int8", "CALIB=data/val", **more)

    yield run
    for path in host.build.glob("spnasnet_100_int8.onnx*"):
        path.unlink()


def test_int8_on_an_npu_is_amct_s_and_is_held_against_its_f32(host, int8):
    said = int8("eval", "bench")
    call = host.fake.calls("amct_onnx")[-1]["argv"]
    assert flags(call[1:]) == {
        "--model": "model.onnx", "--save_path": "./q", "--data_dir": "bins",
        "--input_shape": "actual_input_1:8,3,224,224", "--data_types": "float32",
        "--batch_num": "1"}
    assert "no verdict below 200 images" in said and "int8 is calibrated with 8 images only" in said
    given = [flags(call["argv"]) for call in host.fake.calls("atc")]
    given, = [each for each in given if each["--output"].endswith("_int8")]
    assert given["--model"] == "spnasnet_100_int8.onnx"
    score = json.loads((host.build / "eval_bs4_ascend_int8.json").read_text())
    assert score["produced_by"]["precision"] == "int8" and score["against_f32"]["images"] == 8
    record = json.loads((host.build / "spnasnet_100_bs4_int8.om.json").read_text())
    plain = json.loads((host.build / "spnasnet_100_bs4.om.json").read_text())
    assert record["onnx"]["sha256"] == plain["onnx"]["sha256"]
    assert record["onnx"]["quantised"]["against_f32"]["images"] == 8
    before = host.fake.log.read_text()
    int8("eval", "bench")
    assert host.fake.log.read_text() == before  # nothing is made again


def test_operators_of_amct_are_known(host, int8):
    int8("onnx")
    done = subprocess.run([sys.executable, "-m", "tools.inspect.check_ops",
                           host.build / "spnasnet_100_int8.onnx"], cwd=ROOT, text=True,
                          capture_output=True)
    assert done.returncode == 0 and "all in CANN's table" in done.stdout, done.stderr


def test_an_int8_that_loses_a_point_gets_no_name(host, int8, monkeypatch):
    int8("onnx")
    output = host.build / "spnasnet_100_int8.onnx"
    output.unlink()
    monkeypatch.chdir(host.folder)
    monkeypatch.setattr(verdict, "ENOUGH", 8)
    monkeypatch.setattr(sys, "argv", ["amct", "--model=build/spnasnet_100.onnx",
                                      f"--output={output}", "--calibration=data/val",
                                      "--bins=build/prep"])
    host.fake.enter(monkeypatch, FAKE_AMCT="worse")
    with pytest.raises(cli.Failure, match="int8 loses .* points of Top-1, over 1"):
        amct.main()
    assert not output.exists()
    monkeypatch.setenv("FAKE_AMCT", "ok")
    amct.main()
    assert output.exists()


@pytest.mark.parametrize("mode, said", [
    ("nofile", "no layer can be quantized"), ("old", "--batch_num")])
def test_amct_that_fails_is_quoted(host, int8, mode, said):
    failed = int8("om", status=2, FAKE_AMCT=mode)
    line, = [line for line in failed.splitlines() if line.startswith("error: ")]
    assert said in line and " — " in line
    assert not (host.build / "spnasnet_100_int8.onnx").exists()


def test_without_amct_onnx_it_says_what_to_install(host, int8):
    tool = host.fake.root / "ascend-toolkit/latest/bin/amct_onnx"
    text = tool.read_text()
    tool.unlink()
    failed = int8("onnx", status=2)
    host.fake.script(tool, FAKES / "amct_onnx.py")
    assert tool.read_text() == text
    assert "amct_onnx is not on the PATH — install amct_onnx from CANN's AMCT package" in failed
