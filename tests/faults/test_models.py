"""Faults in the ONNX file, the offline model and the sidecar beside it."""
import json
import os
import shutil

import numpy as np
import pytest

from faults import data
from faults.data import BLOB, LINE, RESULT, failed, fresh, make, run, score, worked

ONNX = "build/spnasnet_100.onnx"
SIDECAR = f"{BLOB}.json"


def atc(folder, model, *more, name="actual_input_1"):
    """The stand-in's atc, as `make om` calls it."""
    return run(folder, "-m", "common.cpu.atc", "--framework=5", f"--model={model}", "--output=build/other",
               f"--input_shape={name}:4,3,224,224", *more)


def infer(folder, model=BLOB):
    """The stand-in's ais_bench, as `make infer` calls it, into a folder of its own."""
    return run(folder, "-m", "ais_bench", "--model", model, "--input", "build/prep", "--output", "out",
               "--output_dirname", "run", "--outfmt", "TXT", "--batchsize", "4", env={"PYTHONPATH": "common/cpu"})


def sidecar(folder, **change):
    """Change entries of the offline model's sidecar; None takes one away."""
    known = {**json.loads((folder / SIDECAR).read_text()), **change}
    (folder / SIDECAR).write_text(json.dumps({key: value for key, value in known.items() if value is not None}))


def onnx_file(path, name="actual_input_1", batch="n", weight=1.0, op="Relu", metadata=None):
    """Write a network of two operators: `op`, then the mean over each of a thousand pieces."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    w = rng.standard_normal((196, 1000), dtype=np.float32) * np.float32(weight)
    nodes = [helper.make_node(op, ["x"], ["y"]), helper.make_node("AveragePool", ["y"], ["z"], kernel_shape=[16, 16],
                                                                  strides=[16, 16]),
             helper.make_node("Slice", ["z", "from", "to", "axis"], ["s"]), helper.make_node("Flatten", ["s"], ["f"]),
             helper.make_node("MatMul", ["f", "w"], ["class"])]
    nodes[0].input[0] = name
    ints = [numpy_helper.from_array(np.array([v]), k) for k, v in (("from", 0), ("to", 1), ("axis", 1))]
    graph = helper.make_graph(nodes, "other", [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, 3, 224, 224])],
                              [helper.make_tensor_value_info("class", TensorProto.FLOAT, [batch, 1000])],
                              [numpy_helper.from_array(w, "w"), *ints])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
    helper.set_model_props(model, metadata or {})
    return model if path is None else onnx.save(model, path)


# ---- the ONNX file ----

@pytest.mark.parametrize("harm, said", [
    pytest.param(lambda path: os.truncate(path, path.stat().st_size // 2), "is not an ONNX model", id="half",
                 marks=pytest.mark.fault(".onnx truncated", "exit 1, no offline model; deleted: the same result")),
    pytest.param(lambda path: path.write_bytes(b""), "is not an ONNX model", id="empty",
                 marks=pytest.mark.fault(".onnx empty", "exit 1, no offline model; deleted: the same result")),
    pytest.param(lambda path: path.write_bytes(b"<html>403</html>"), "is not an ONNX model", id="page",
                 marks=pytest.mark.fault("web page as .onnx", "exit 1, no offline model; deleted: the same result")),
])
def test_damaged_onnx(built, tmp_path, seen, harm, said):
    folder = fresh(built, tmp_path / "spnasnet")
    os.remove(folder / BLOB)
    harm(folder / ONNX)
    done = make(folder, "eval")
    seen(done)
    line = failed(done, ONNX, said, status=2)
    assert "delete it and run make onnx" in line  # make onnx alone sees a file that is up to date
    assert not (folder / BLOB).exists()
    data.no_leftovers(folder / "build")
    os.remove(folder / ONNX)
    assert worked(make(folder, "eval")).strip().endswith(LINE)
    for name in (ONNX, RESULT):
        path = folder / name
        assert data.content(path) == data.content(built / name) if path.is_dir() else \
            path.read_bytes() == (built / name).read_bytes()


@pytest.mark.parametrize("content, more, said", [
    pytest.param({"name": "input"}, (), "input 'actual_input_1' of --input_shape is not in other.onnx.*input:n,3,224,224",
                 id="names", marks=pytest.mark.fault(".onnx of another model", "exit 1, its inputs named")),
    pytest.param({"batch": 1}, (), "--input_shape actual_input_1:4,3,224,224 does not fit other.onnx", id="batch",
                 marks=pytest.mark.fault(".onnx with a fixed batch of 1", "exit 1, its inputs named")),
    pytest.param({"weight": float("nan")}, (), "error of nan", id="nan",
                 marks=pytest.mark.fault(".onnx with NaN weights", "exit 1, no offline model")),
    pytest.param({"op": "Frobnicate"}, (), "cannot compile other.onnx for batch 4", id="op",
                 marks=pytest.mark.fault(".onnx with an operator that nobody knows", "exit 1, the operator named")),
    pytest.param({}, ("--insert_op_conf=no.cfg",), "no.cfg", id="aipp",
                 marks=pytest.mark.fault("AIPP configuration absent", "exit 1, the file named")),
])
def test_foreign_onnx(tiny, tmp_path, seen, content, more, said):
    folder = fresh(tiny, tmp_path / "spnasnet", "common")
    onnx_file(folder / "other.onnx", **content)
    done = atc(folder, "other.onnx", *more)
    seen(done)
    failed(done, said)
    assert not list(folder.glob("build/*"))


@pytest.mark.fault(".onnx is a folder", "exit 1, the name said")
def test_onnx_is_a_folder(tiny, tmp_path, seen):
    folder = fresh(tiny, tmp_path / "spnasnet", "common")
    (folder / "other.onnx").mkdir()
    done = atc(folder, "other.onnx")
    seen(done)
    failed(done, "other.onnx")


@pytest.mark.fault(".onnx whose weights lie in another file, which is absent", "exit 1, that file named")
def test_external_weights_absent(tiny, tmp_path, seen):
    import onnx

    folder = fresh(tiny, tmp_path / "spnasnet", "common")
    onnx.save(onnx_file(None), folder / "other.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    os.remove(folder / "weights.bin")
    done = atc(folder, "other.onnx")
    seen(done)
    failed(done, "weights.bin")


# ---- the offline model and its sidecar ----

def cut(path):
    os.truncate(path, path.stat().st_size - 100)


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("harm, said", [
    pytest.param(lambda folder: cut(folder / BLOB), "bs4.blob is damaged", id="truncated",
                 marks=pytest.mark.fault("offline model truncated", "exit 1; deleted: the same result")),
    pytest.param(lambda folder: flip(folder / BLOB), "bs4.blob is damaged", id="flipped",
                 marks=pytest.mark.fault("offline model with a flipped bit", "exit 1; deleted: the same result")),
    pytest.param(lambda folder: (folder / BLOB).write_bytes(b""), "bs4.blob is damaged", id="empty",
                 marks=pytest.mark.fault("offline model empty", "exit 1; deleted: the same result")),
    pytest.param(lambda folder: (folder / SIDECAR).write_text('{"engine": '), "blob.json is not JSON", id="sidecar cut",
                 marks=pytest.mark.fault("sidecar truncated", "exit 1; deleted: the same result")),
    pytest.param(lambda folder: (folder / SIDECAR).write_text("[1, 2]"), "blob.json", id="sidecar list",
                 marks=pytest.mark.fault("sidecar that is a list", "exit 1; deleted: the same result")),
    pytest.param(lambda folder: (folder / SIDECAR).write_text("{}"), "blob.json", id="sidecar of nothing",
                 marks=pytest.mark.fault("sidecar that says nothing", "exit 1; deleted: the same result")),
    pytest.param(lambda folder: sidecar(folder, cpu_kind=None), "blob.json", id="sidecar without cpu",
                 marks=pytest.mark.fault("sidecar without the CPU", "exit 1; deleted: the same result")),
    pytest.param(lambda folder: sidecar(folder, engine="onnxruntime"), "blob", id="sidecar of another engine",
                 marks=pytest.mark.fault("sidecar that names another engine", "exit 1; deleted: the same result")),
    pytest.param(lambda folder: sidecar(folder, batch=1), "blob.json.*batch", id="sidecar of another batch",
                 marks=pytest.mark.fault("sidecar that names another batch", "exit 1; deleted: the same result")),
    pytest.param(lambda folder: sidecar(folder, engine_version="2020.1"), "was compiled by OpenVINO 2020.1", id="version",
                 marks=pytest.mark.fault("offline model of another engine release", "exit 1; deleted: the same result")),
    pytest.param(lambda folder: sidecar(folder, cpu_kind="x86_64 sse"), "on a CPU with x86_64 sse", id="cpu",
                 marks=pytest.mark.fault("offline model of another CPU", "exit 1; deleted: the same result")),
])
def test_damaged_model(built, tmp_path, seen, harm, said):
    folder = fresh(built, tmp_path / "spnasnet")
    harm(folder)
    done = infer(folder)
    seen(done)
    failed(done, said, "delete it and run `make om`")
    assert not (folder / "out").exists()
    os.remove(folder / BLOB)
    worked(make(folder, "om"))
    worked(infer(folder))
    assert data.content(folder / "out/run") == data.content(built / RESULT)


@pytest.mark.fault("sidecar lost, make eval", "the offline model is made again")
def test_sidecar_lost(built, tmp_path, seen):
    folder = fresh(built, tmp_path / "spnasnet")
    os.remove(folder / SIDECAR)
    failed(infer(folder), "blob.json does not exist", "delete it and run `make om`")
    done = make(folder, "eval")
    seen(done)
    assert worked(done).strip().endswith(LINE) and (folder / SIDECAR).exists()
    assert "eval: nothing to do" in worked(make(folder, "eval"))


@pytest.mark.parametrize("was", [
    pytest.param(lambda text: text.replace("openvino==", "openvino==1"), id="engine",
                 marks=pytest.mark.fault("engine upgraded since, make eval", "the offline model is made again")),
    pytest.param(lambda text: text.replace("avx", "old"), id="cpu",
                 marks=pytest.mark.fault("folder moved to another CPU, make eval", "the offline model is made again")),
])
def test_another_engine_or_cpu(built, tmp_path, seen, was):
    folder = fresh(built, tmp_path / "spnasnet")
    stamp = folder / "build/om_blob.cfg"
    if was(stamp.read_text()) == stamp.read_text():
        pytest.skip("this CPU has no AVX to be told from one without")
    stamp.write_text(was(stamp.read_text()))
    sidecar(folder, engine_version="2020.1", cpu_kind="x86_64 sse")
    done = make(folder, "eval")
    seen(done)
    assert worked(done).strip().endswith(LINE)
    assert json.loads((folder / SIDECAR).read_text())["engine_version"] != "2020.1"
    assert data.content(folder / RESULT) == data.content(built / RESULT)


@pytest.mark.fault("offline model is a folder", "exit 1, the name said")
def test_model_is_a_folder(built, tmp_path, seen):
    folder = fresh(built, tmp_path / "spnasnet")
    os.remove(folder / BLOB)
    (folder / BLOB).mkdir()
    done = infer(folder)
    seen(done)
    failed(done, "spnasnet_100_bs4.blob")


@pytest.fixture(scope="module")
def others(built, tmp_path_factory):
    """Beside the one for batch 4, an offline model for batch 1 and one that takes bytes."""
    folder = fresh(built, tmp_path_factory.mktemp("others") / "spnasnet")
    worked(make(folder, "om", "BS=1"))
    worked(make(folder, "om", "INPUT=uint8"))
    return folder


def swap(folder, other):
    """Put another offline model in the place of the one for batch 4, as a person who renames files does."""
    for ending in (".blob", ".blob.json"):
        shutil.copy2(folder / f"build/{other}{ending}", folder / f"build/spnasnet_100_bs4{ending}")
        os.utime(folder / f"build/spnasnet_100_bs4{ending}")


@pytest.mark.fault("offline model of another batch under this name, make bench", "exit 1, both batches named; no figure")
def test_another_batch(others, tmp_path, seen):
    folder = fresh(others, tmp_path / "spnasnet")
    swap(folder, "spnasnet_100_bs1")
    done = make(folder, "bench", "LOOP=3")
    seen(done)
    failed(done, "is for batch 1 .*, and was timed as one for 4", status=2)
    assert not list(folder.glob("build/perf*.json"))


@pytest.mark.fault("offline model of another input type under this name", "exit 1, both types named")
def test_another_type(others, tmp_path, seen):
    folder = fresh(others, tmp_path / "spnasnet")
    swap(folder, "spnasnet_100_bs4_uint8")
    done = make(folder, "eval")
    seen(done)
    failed(done, "the bins hold float32, .*bs4.blob takes uint8", "same INPUT=", status=2)
    assert not (folder / f"{RESULT}.done").exists() or not list((folder / RESULT).glob("*"))


@pytest.mark.fault("OM= that does not exist", "exit 2, the file named")
def test_no_om(built, tmp_path, seen):
    folder = fresh(built, tmp_path / "spnasnet")
    done = make(folder, "eval", "OM=nowhere.om")
    seen(done)
    failed(done, "OM=nowhere.om does not exist", status=2)


@pytest.mark.fault("an .om where there is no NPU", "exit 1, what to do")
def test_an_om_without_npu(built, tmp_path, seen):
    folder = fresh(built, tmp_path / "spnasnet")
    (folder / "build/x.om").write_bytes(b"IMOD")
    done = infer(folder, "build/x.om")
    seen(done)
    failed(done, "build/x.om is for an NPU")


# ---- what the sidecar says, at the scoring ----

@pytest.mark.parametrize("content, said", [
    pytest.param(None, "p.json does not exist", id="absent",
                 marks=pytest.mark.fault("provenance absent", "exit 1, the file named")),
    pytest.param("{", "p.json is not JSON", id="cut",
                 marks=pytest.mark.fault("provenance truncated", "exit 1, the file named")),
    pytest.param("[]", "p.json", id="list", marks=pytest.mark.fault("provenance that is a list", "exit 1, the file named")),
    pytest.param('{"onnx": "x.onnx"}', "p.json", id="text",
                 marks=pytest.mark.fault("provenance whose onnx is a text", "exit 1, the file named")),
    pytest.param('{"onnx": {"metadata": {"preprocessing": "{"}}}', "p.json", id="recipe",
                 marks=pytest.mark.fault("provenance with a damaged recipe", "exit 1, the file named")),
])
def test_damaged_provenance(built, tmp_path, seen, content, said):
    folder = fresh(built, tmp_path / "spnasnet")
    if content is not None:
        (folder / "p.json").write_text(content)
    done = score(folder, "--manifest", "build/prep", "--provenance", "p.json", "--json", "r.json", result=RESULT)
    seen(done)
    failed(done, said)
    assert not (folder / "r.json").exists() and not (folder / "table.json").exists()


@pytest.mark.fault("provenance of another model than made the results", "exit 1, both named; no result.json")
def test_provenance_of_another_model(others, tmp_path, seen):
    folder = fresh(others, tmp_path / "spnasnet")
    other = json.loads((folder / SIDECAR).read_text())
    other["onnx"] = {**other["onnx"], "file": "other.onnx", "sha256": "0" * 64}
    (folder / "p.json").write_text(json.dumps(other))
    done = score(folder, "--manifest", "build/prep", "--provenance", "p.json", "--json", "r.json", result=RESULT)
    seen(done)
    failed(done, "p.json", "other.onnx", "spnasnet_100.onnx")
    assert not (folder / "r.json").exists()


@pytest.mark.fault("model for another preprocessing than the bins had", "exit 0, a note wherever the figures are")
def test_another_recipe(built, tmp_path, seen):
    folder = fresh(built, tmp_path / "spnasnet")
    known = json.loads((folder / SIDECAR).read_text())
    recipe = json.loads(known["onnx"]["metadata"]["preprocessing"])
    known["onnx"]["metadata"]["preprocessing"] = json.dumps({**recipe, "keep_aspect": True})
    (folder / "p.json").write_text(json.dumps(known))
    done = score(folder, "--manifest", "build/prep", "--provenance", "p.json", "--json", "r.json", result=RESULT)
    note = next((line for line in worked(done).splitlines() if line.startswith("note: the images were preprocessed")), "none")
    seen(f"exit 0: {note}")
    assert '"keep_aspect": true' in note and "preprocessed" in (folder / "table.json").read_text()
    assert any("preprocessed" in note for note in json.loads((folder / "r.json").read_text())["notes"])
