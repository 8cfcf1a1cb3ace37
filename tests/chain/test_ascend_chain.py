"""om, infer, eval and bench on a host with an NPU, as the stand-ins of tests/fake_ascend play it.

The networks are tiny ones with the models' input and output names: what is tested is how the tools are called and how their
files are read. `make AS_BUILT=1` takes bins and ONNX as they lie there.
"""
import json
import os
import re

import numpy as np
import onnx
import onnxruntime
import pytest
from conftest import copy_of, counts, last_line, make
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

# What the ModelZoo page of each model has for atc (line of the page in shared order: its step "ATC"), besides --model and
# --output; and for ais_bench's two uses. {bs} is the batch.
PAGE = {
    # ShiftViT.md, 3.3 step 2; 5.2 step 2; 5.4
    "ShiftViT": dict(onnx="shiftvit2", om="shiftvit2-bs{bs}", input="input",
                     atc={"--framework": "5", "--input_format": "NCHW", "--input_shape": "input:{bs},3,224,224",
                          "--log": "error", "--soc_version": "Ascend310P3"},
                     infer={}, bench={"--loop": "100"}),
    # SPACH.md, 模型推理 1.4; 2.2; 4
    "SPACH": dict(onnx="spach_ms_conv_s", om="spach_ms_conv_s_bs{bs}", input="input",
                  atc={"--framework": "5", "--input_format": "NCHW", "--input_shape": "input:{bs},3,224,224", "--log": "error",
                       "--optypelist_for_implmode": "Gelu", "--op_select_implmode": "high_performance",
                       "--output_type": "FP16", "--fusion_switch_file": "fusion_switch.cfg", "--soc_version": "Ascend310P3"},
                  infer={"--outfmt": "TXT", "--batchsize": "{bs}"}, bench={"--loop": "50"}),
    # Convmixer.md, 模型转换 2 step 2 (its fixed batch and doubled chip prefix mended); 推理验证 1; 2
    "Convmixer": dict(onnx="convmixer_1536_20", om="convmixer_1536_20_{bs}", input="image",
                      atc={"--framework": "5", "--input_format": "NCHW", "--input_shape": "image:{bs},3,224,224",
                           "--op_select_implmode": "high_performance", "--optypelist_for_implmode": "Gelu",
                           "--soc_version": "Ascend310P3"},
                      infer={"--batchsize": "{bs}"}, bench={"--loop": "100"}),
    # Twins-SVT-L.md, 模型推理 1.3.3; 2.2; 4
    "Twins-SVT-L": dict(onnx="alt_gvt_large", om="alt_gvt_large_bs{bs}", input="input",
                        atc={"--framework": "5", "--input_format": "NCHW", "--input_shape": "input:{bs},3,224,224",
                             "--log": "error", "--soc_version": "Ascend310P3"},
                        infer={"--outfmt": "TXT", "--batchsize": "{bs}"}, bench={"--loop": "20"}),
    # spnasnet.md, 3.2; its page runs the benchmark tool, which tests/test_runners.py has
    "spnasnet": dict(onnx="spnasnet_100", om="spnasnet_100_bs{bs}", input="actual_input_1",
                     atc={"--framework": "5", "--input_format": "NCHW", "--input_shape": "actual_input_1:{bs},3,224,224",
                          "--log": "info", "--soc_version": "Ascend310P3"}, infer={}, bench={}),
}
IMAGES, RIGHT = 11, 8


def flags(argv):
    """{flag: value} of a recorded command line, in either spelling."""
    words, found = list(argv), {}
    while words:
        name, equals, value = words.pop(0).partition("=")
        found[name] = value if equals else words.pop(0)
    return found


def tiny(path, name):
    """An ONNX that tells images by their mean colour: name (n, 3, 224, 224) → output (n, 1000)."""
    weight = np.random.default_rng(0).normal(size=(3, 1000)).astype(np.float32)
    nodes = [helper.make_node("GlobalAveragePool", [name], ["g"]), helper.make_node("Flatten", ["g"], ["f"]),
             helper.make_node("Gemm", ["f", "w"], ["output"])]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3, 224, 224])],
                              [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["n", 1000])],
                              [numpy_helper.from_array(weight, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
    helper.set_model_props(model, {"model": "tiny", "demo": "true"})
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)


class Host:
    """A model folder on an NPU host, its bins and ONNX there already."""

    def __init__(self, model, folder, ascend):
        self.page, self.ascend, self.folder = PAGE[model], ascend, copy_of(model, folder)
        os.chmod(folder, 0o755)
        data = folder / "data/val"
        data.mkdir(parents=True)
        rng = np.random.default_rng(1)
        for i in range(IMAGES):
            Image.new("RGB", (230, 240), tuple(int(v) for v in rng.integers(0, 256, 3))).save(data / f"img_{i}.JPEG")
        self.words = ["WEIGHTS=demo", f"DATA={folder}/data"]
        tiny(self.folder / f"build/demo/{self.page['onnx']}.onnx", self.page["input"])
        (folder / "data/val_label.txt").write_text("".join(f"img_{i}.JPEG 0\n" for i in range(IMAGES)))
        make(self.folder, "prep", *self.words)
        session = onnxruntime.InferenceSession(self.folder / f"build/demo/{self.page['onnx']}.onnx")
        lines = []
        for i in range(IMAGES):
            image = np.fromfile(self.folder / f"build/prep/img_{i}.bin", np.float32).reshape(1, 3, 224, 224)
            best = int(session.run(None, {self.page["input"]: image})[0].argmax())
            lines.append(f"img_{i}.JPEG {best if i < RIGHT else (best + 1) % 1000}\n")
        (folder / "data/val_label.txt").write_text("".join(lines))
        make(self.folder, "prep", *self.words)

    def make(self, *words, status=0, **switches):
        return make(self.folder, *words, *self.words, "AS_BUILT=1", status=status, env=self.ascend.env(**switches))


@pytest.fixture
def host(request, tmp_path, fake_ascend):
    return Host(getattr(request, "param", "ShiftViT"), tmp_path, fake_ascend)


@pytest.mark.parametrize("host", PAGE, indirect=True)
def test_commands_are_the_pages_and_the_count_is_right(host, request):
    for bs in (1, 4, 8, 16, 32, 64):
        verbs = ("om", "infer", "eval", "bench") if bs in (4, 64) else ("om",)
        said = host.make(*verbs, f"BS={bs}")
        assert "wrote build/demo/" in said and ".blob" not in said

        def filled(expected, bs=bs):
            return {k: v.format(bs=bs) for k, v in expected.items()}

        atc = flags(host.ascend.calls("atc")[-1]["argv"])
        assert atc.pop("--model") == f"{host.page['onnx']}.onnx" and atc.pop("--output") == host.page["om"].format(bs=bs)
        assert atc == filled(host.page["atc"])
        if len(verbs) == 1:
            continue
        calls = [flags(c["argv"]) for c in host.ascend.calls("ais_bench") if "--help" not in c["argv"]]
        infer, bench = calls[-2:]
        om = f"build/demo/{host.page['om'].format(bs=bs)}.om"
        assert infer.pop("--model") == bench.pop("--model") == om
        assert infer.pop("--input") == "build/prep" and infer.pop("--output") == "build/demo/result"
        # Ours, where the page leaves ais_bench to choose a folder by the time of day.
        assert infer.pop("--output_dirname") == f"bs{bs}_ascend"
        assert filled(host.page["infer"]).items() <= infer.items() and set(infer) <= {"--outfmt", "--batchsize"}
        assert filled(host.page["bench"]).items() <= bench.items() and set(bench) == {"--loop", "--batchsize"}

        result = json.loads((host.folder / f"build/demo/eval_bs{bs}_ascend.json").read_text())
        assert (result["good"], result["total"]) == (RIGHT, IMAGES)
        made_by = result["produced_by"]
        assert (made_by["engine"], made_by["soc"], made_by["batch"]) == ("ascend", "Ascend310P3", bs)
        perf = json.loads((host.folder / f"build/demo/perf_bs{bs}_ascend.json").read_text())
        assert perf["device"] == "NPU" and perf["fps"] > 0
    litter = {p.name for p in host.folder.rglob("*")} & {"kernel_meta", "fusion_result.json", "check_result.json"}
    assert not litter and "nothing to do" in host.make("om", f"BS={bs}")


@pytest.mark.parametrize("release", ["oldest", "old", "new", "dashed"])
@pytest.mark.parametrize("devices", ["0", "0,1,2"])
def test_every_release_and_several_devices(host, release, devices):
    said = host.make("eval", "bench", "BS=4", f"DEVICE={devices}", FAKE_AIS_BENCH=release, FAKE_DEVICES=4)
    assert f"good={RIGHT} total={IMAGES}" in said
    call = next(c["argv"] for c in host.ascend.calls("ais_bench") if "--input" in c["argv"])
    assert ("--output-dirname" in call) == (release == "dashed")
    split = [w for w in call if w.startswith("--divide")]
    assert bool(split) == (release in ("new", "dashed") and devices != "0")
    perf = json.loads((host.folder / "build/demo/perf_bs4_ascend.json").read_text())
    if devices != "0":
        each = [float(v) for v in re.findall(r"device_\d throughput:([\d.]+)", said)]
        assert len(each) >= 3 and perf["fps"] == pytest.approx(sum(each[-3:]), rel=0.01)


FP16 = "ATC_FLAGS=--output_type=FP16"


@pytest.mark.parametrize("words", [("OUTFMT=BIN",), ("OUTFMT=NPY",), ("OUTFMT=TXT",), ("OUTFMT=BIN", FP16),
                                   ("OUTFMT=NPY", FP16)], ids=" ".join)
def test_formats(host, words):
    (host.folder / "Makefile").write_text((host.folder / "Makefile").read_text().replace("OUTFMT := BIN", f"{words[0]}"))
    assert counts(last_line(host.make("eval", "BS=4", *words[1:]))) == (RIGHT, IMAGES)


@pytest.mark.parametrize("verb, switches, said", [
    ("om", {"FAKE_ATC": "nofile"}, "no build/demo/shiftvit2-bs4.om"), ("om", {"FAKE_ATC": "E10016"}, "E10016"),
    ("om", {"FAKE_ATC": "E16002"}, "make onnx OPSET=11"), ("om", {"FAKE_ATC": "EZ3002"}, "EZ3002"),
    ("om", {"FAKE_ATC": "killed"}, "shiftvit2-bs4.om"), ("infer", {"FAKE_AIS_DROP": "3"}, "10 result files"),
    ("infer", {"FAKE_AIS_KILL": "1"}, "ais_bench ended with status"),
    ("infer", {"FAKE_ASCEND_SOC": "Ascend310"}, "another chip")])
def test_what_fails_says_what_to_do_and_the_next_run_recovers(host, verb, switches, said):
    if verb == "infer":
        host.make("om", "BS=4")
    failed = host.make(verb, "BS=4", status=2, **switches)
    line = next(line for line in failed.splitlines() if line.startswith("error: "))
    assert said in failed and " — " in line and not re.search('File ".*/common/', failed)
    done = host.folder / ("build/demo/shiftvit2-bs4.om" if verb == "om" else "build/demo/result/bs4_ascend.done")
    assert not done.exists()
    assert counts(last_line(host.make("eval", "BS=4"))) == (RIGHT, IMAGES)


def test_an_om_of_another_chip_is_refused(host):
    host.make("om", "BS=4")
    table = host.ascend.table.read_text()
    host.ascend.table.write_text(table.replace("310P3", "310B4"))
    said = host.make("infer", "BS=4", status=2)
    assert "was made for Ascend310P3, this host has Ascend310B4" in said
    host.ascend.table.write_text(table)
    host.make("infer", "BS=4")


def test_rights_are_set_before_ais_bench_looks(host):
    for path in (host.folder / "build/prep").iterdir():
        path.chmod(0o664)
    (host.folder / "build/prep").chmod(0o777)
    assert counts(last_line(host.make("eval", "BS=4", FAKE_AIS_BENCH="new"))) == (RIGHT, IMAGES)
    (host.folder / "build/prep/img_1.bin").rename(host.folder / "img_1.bin")
    (host.folder / "build/prep/img_1.bin").symlink_to(host.folder / "img_1.bin")
    (host.folder / "build/demo/result/bs4_ascend.done").unlink()
    assert "img_1.bin is a link, which ais_bench refuses" in host.make("infer", "BS=4", status=2)


def test_a_refusal_that_still_comes_is_explained(host):
    (host.folder / "build").rename(host.folder / "bu+ild")
    said = host.make("infer", "BS=4", "OUT=bu+ild", FAKE_AIS_BENCH="new", status=2)
    assert "illegal char" in said and "ais_bench takes letters, digits and ._-/ in paths" in said
    assert counts(last_line(host.make("eval", "BS=4", "OUT=bu+ild"))) == (RIGHT, IMAGES)


def test_a_toolkit_that_does_not_load_is_no_reason_for_the_cpu(host):
    (host.ascend.root / "ascend-toolkit/set_env.sh").write_text("true\n")
    said = host.make("om", "BS=4", status=2)
    assert "CANN is installed" in said and "ENGINE=openvino" in said and not list(host.folder.glob("build/demo/*.blob"))


def test_no_chip_and_two_kinds(host):
    table = host.ascend.table.read_text()
    host.ascend.table.write_text("")
    assert "SOC=Ascend310P3" in host.make("om", "BS=4", status=2)
    host.ascend.table.write_text(table.replace("310P3", "310B4", 1))
    said = host.make("om", "BS=4", status=2)
    assert "Ascend310B4" in said and "Ascend310P3" in said and "SOC=" in said
    host.make("om", "BS=4", "SOC=Ascend310P3")


def test_an_om_made_elsewhere_needs_no_atc(host):
    host.make("om", "BS=4")
    for end in (".om", ".om.json"):
        (host.folder / f"build/demo/shiftvit2-bs4{end}").rename(host.folder / f"made_elsewhere{end}")
    import shutil

    shutil.rmtree(host.ascend.root)
    host.ascend.toolkit("nnrt", atc=False)
    calls = len(host.ascend.calls("atc"))
    assert counts(last_line(host.make("eval", "BS=4", "OM=made_elsewhere.om"))) == (RIGHT, IMAGES)
    (host.folder / "made_elsewhere.om.json").unlink()
    assert counts(last_line(host.make("eval", "BS=4", "OM=made_elsewhere.om", "SOC=Ascend310P3"))) == (RIGHT, IMAGES)
    assert len(host.ascend.calls("atc")) == calls
    assert "there is no atc" in host.make("om", "BS=8", status=2) or "atc cannot be called" in host.make("om", "BS=8", status=2)
    assert "OM=nowhere.om does not exist" in host.make("infer", "OM=nowhere.om", status=2)


@pytest.mark.parametrize("release", ["old", "new", "dashed"])
def test_from_bin_on_an_npu(host, release):
    """The same clock on every release: bins under a second name, because links are refused; rows of the images there are."""
    said = host.make("om", "bench-bins", "BS=4", FAKE_AIS_BENCH=release)
    assert re.search(r"^\d[\d.]* fps at batch 4 \(ascend, .*, from \.bin to result files, 8 images in ", said, re.M)
    call = flags(next(c["argv"] for c in reversed(host.ascend.calls("ais_bench")) if "--input" in c["argv"]))
    assert call["--batchsize"] == "4" and "--output_dirname" not in call and "frombin_" in call["--input"]
    assert not list(host.folder.glob("build/**/frombin_*/")) and len(list((host.folder / "build/prep").glob("*.bin"))) == IMAGES
