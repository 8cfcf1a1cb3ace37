"""Faults in the bins, and in what the inference tool wrote."""
import json
import os
import pickle
import shutil

import numpy as np
import pytest

from faults import data
from faults.data import BLOB, EVAL, LINE, NAMES, RESULT, failed, fresh, make, run, score, worked

STEM = NAMES[2][:-5]
TXT = f"{STEM}_0.txt"


def text(values):
    """A result as ais_bench writes it."""
    return "".join(f"{v:f} " for v in values) + "\n"


def numbers(path):
    return np.array(path.read_text().split(), np.float32)


def bad(name, harm, *said, expected="exit 1, the file named, no result.json"):
    return pytest.param(harm, said, marks=pytest.mark.fault(name, expected), id=name.replace(" ", "-"))


def edit(change):
    """A harm that writes change(numbers) into one result."""
    return lambda folder: (folder / TXT).write_text(text(change(numbers(folder / TXT).astype(float))))


def as_words(change):
    """A harm that changes one result's text."""
    return lambda folder: (folder / TXT).write_text(change((folder / TXT).read_text()))


def binary(content, ending="bin"):
    """A harm that makes one result a .bin or .npy with other content, and all others sound ones of that kind."""
    def harm(folder):
        for path in folder.glob("*.txt"):
            values = numbers(path)
            path.unlink()
            values = content(values) if path.name == TXT else values
            if isinstance(values, bytes):
                path.with_suffix(f".{ending}").write_bytes(values)
            elif ending == "npy":
                np.save(path.with_suffix(".npy"), values, allow_pickle=True)
            else:
                values.tofile(path.with_suffix(".bin"))
    return harm


def put(index, value):
    def change(values):
        values = values.copy()
        values[index] = value
        return values
    return change


class Touch:
    """Unpickling it runs a command that leaves a file."""

    def __reduce__(self):
        return os.system, ("touch ran",)


def in_its_place(folder):
    os.remove(folder / TXT)
    (folder / TXT).mkdir()


def two_outputs(folder):
    (folder / f"{STEM}_1.txt").write_text(text(np.arange(1000)))


def two_formats(folder):
    (numbers(folder / TXT) + 1).tofile(folder / f"{STEM}_0.bin")


def two_runs(folder):
    for name in ("2022_08_09-20_37_12", "2022_08_10-08_00_00"):
        shutil.copytree(folder, folder.parent / "runs" / name)
    shutil.rmtree(folder)
    (folder.parent / "runs").rename(folder)


def other_dataset(folder):
    for path in folder.iterdir():
        path.rename(folder / path.name.replace("ILSVRC2012_val", "flower"))


def devices(folder):
    """As from two devices that each ran all files, with another model on the second."""
    for name in ("device0", "device1"):
        (folder / name).mkdir()
        for path in folder.glob("*.txt"):
            values = numbers(path)
            (folder / name / path.name).write_text(text(values if name == "device0" else values[::-1]))
    for path in folder.glob("*.txt"):
        path.unlink()


@pytest.mark.parametrize("harm, said", [
    bad("result missing", lambda d: (d / TXT).unlink(), f"1 images without a result: {NAMES[2]}"),
    bad("results missing, all", lambda d: [p.unlink() for p in d.iterdir()], "holds no result files", "make infer"),
    bad("result folder absent", shutil.rmtree, "does not exist", "make infer"),
    bad("result of no image", lambda d: shutil.copy(d / TXT, d / "other_0.txt"), "1 result files of no image: other_0.txt"),
    bad("result copied by a file manager", lambda d: shutil.copy(d / TXT, d / f"{STEM}_0 (copy).txt"),
        r"1 result files of no image: .*\(copy\).txt"),
    bad("result empty", lambda d: (d / TXT).write_bytes(b""), f"{TXT} \\(is empty\\)"),
    bad("result with NaN", edit(put(7, np.nan)), f"{TXT} \\(holds NaN"),
    bad("result with infinity", edit(put(7, np.inf)), f"{TXT} \\(holds NaN or infinity"),
    bad("result with 1e999", as_words(lambda t: "1e999 " + t.split(" ", 1)[1]), f"{TXT} \\(holds NaN or infinity"),
    bad("result of 999 classes", edit(lambda v: v[:-1]), f"{TXT} \\(has 1 lines, 999 numbers"),
    bad("result of 1001 classes", edit(lambda v: [0, *v]), f"{TXT} \\(has 1 lines, 1001 numbers"),
    bad("result of two rows", as_words(lambda t: t + t), f"{TXT} \\(has 2 lines"),
    bad("result truncated between numbers", as_words(lambda t: t[:t.index(" ", 5000)]), f"{TXT} \\(has 1 lines, "),
    bad("result truncated in its last number", as_words(lambda t: t[:-6]), f"{TXT} \\(ends inside a number"),
    bad("result with a broken number", as_words(lambda t: "0.12.3 " + t.split(" ", 1)[1]), f"{TXT} \\(could not convert"),
    bad("result with decimal commas", as_words(lambda t: t.replace(".", ",")), f"{TXT} \\(could not convert"),
    bad("result with 1_000", as_words(lambda t: "1_000 " + t.split(" ", 1)[1]), f"{TXT} \\(could not convert"),
    bad("result that is a log", as_words(lambda t: "[INFO] acl init success\n"), f"{TXT} \\("),
    bad("result of random bytes", lambda d: (d / TXT).write_bytes(np.random.default_rng(0).bytes(4000)), f"{TXT} \\("),
    bad("folder in a result's place", in_its_place, f"1 images without a result: {NAMES[2]}"),
    bad("bin cut to half", binary(lambda v: v.tobytes()[:2000]),
        f"{STEM}_0.bin \\((is float16 bin where most files are float32 bin|holds NaN or infinity \\(read as float16)"),
    bad("bin one byte short", binary(lambda v: v.tobytes()[:-1]), f"{STEM}_0.bin \\(is 3999 bytes"),
    bad("bin of float64", binary(lambda v: v.astype("f8")), f"{STEM}_0.bin \\(is 8000 bytes"),
    bad("bin of float16 among float32", binary(lambda v: v.astype("f2")), f"{STEM}_0.bin \\(is float16 bin where most"),
    bad("npy of integers", binary(lambda v: v.astype("i4"), "npy"), f"{STEM}_0.npy \\(is of type int32"),
    bad("npy of another shape", binary(lambda v: v.reshape(2, 500), "npy"), f"{STEM}_0.npy \\(has shape \\(2, 500\\)"),
    bad("npy truncated", binary(lambda v: b"\x93NUMPY\x01\x00v\x00{'descr'", "npy"), f"{STEM}_0.npy \\("),
    bad("npy with a pickle that runs a command", binary(lambda v: np.array([Touch()], object), "npy"), f"{STEM}_0.npy \\("),
    bad("npy that is a bare pickle", binary(lambda v: pickle.dumps(Touch()), "npy"), f"{STEM}_0.npy \\("),
    bad("two outputs of the model", two_outputs, f"{STEM}_[01].txt and .* are both results of {STEM}, and differ"),
    bad("results of two formats mixed", two_formats, f"are both results of {STEM}, and differ"),
    bad("two runs in a folder", two_runs, "holds 2 runs: .*2022_08_09.*2022_08_10", "folder of the one to score"),
    bad("two devices that disagree", devices, "are both results of .*, and differ"),
    bad("results of another dataset", other_dataset,
        "nothing to score; 8 images without a result: .*8 result files of no image"),
    bad("inputs given for results", lambda d: (shutil.rmtree(d), shutil.copytree(d.parents[1] / "prep", d)),
        "holds the inputs of the inference, not its results"),
])
def test_results(built, tmp_path, seen, harm, said):
    folder = fresh(built, tmp_path / "spnasnet")
    harm(folder / RESULT)
    done = score(folder, "--manifest", "build/prep", "--json", "r.json", result=RESULT)
    seen(done)
    failed(done, RESULT, *said)
    assert "top1=" not in done.stdout and not (folder / "r.json").exists() and not (folder / "table.json").exists()
    assert not (folder / "ran").exists()


@pytest.mark.fault("result file that may not be read", "exit 1, the file named")
def test_not_readable(built, tmp_path, seen, as_owner):
    folder = fresh(built, tmp_path / "spnasnet")
    (folder / RESULT / TXT).chmod(0)
    done = run(folder, "vision_metric_ImageNet.py", RESULT, "data/val_label.txt", ".", "table.json", wrapper=as_owner)
    seen(done)
    failed(done, f"Permission denied: .*{TXT}")


@pytest.mark.fault("results lost after `make infer`, make eval", "exit 1 with a remedy that works: the same result")
def test_lost(built, tmp_path, seen):
    folder = fresh(built, tmp_path / "spnasnet")
    os.remove(folder / EVAL)
    (folder / RESULT / TXT).unlink()
    done = make(folder, "eval")
    seen(done)
    failed(done, "1 images without a result", f"delete {RESULT} and infer again \\(make infer\\)", status=2)
    assert not (folder / EVAL).exists()
    shutil.rmtree(folder / RESULT)
    assert worked(make(folder, "eval")).strip().endswith(LINE)
    assert data.content(folder / RESULT) == data.content(built / RESULT)


@pytest.mark.fault("results of a longer, earlier run in the folder, make eval", "inferred into a fresh folder: the same result")
def test_earlier_run(built, tmp_path, seen):
    folder = fresh(built, tmp_path / "spnasnet")
    os.remove(folder / f"{RESULT}.done")  # as of a run that was interrupted
    (folder / RESULT / "ILSVRC2012_val_00000009_0.txt").write_text(text(np.zeros(1000)))
    (folder / RESULT / TXT).write_text(text(np.zeros(1000)))
    done = make(folder, "eval")
    seen(done)
    assert worked(done).strip().endswith(LINE)
    assert data.content(folder / RESULT) == data.content(built / RESULT)


@pytest.mark.fault("result missing, ALLOW_PARTIAL=1", "exit 0, every output says how many are missing")
def test_partial(built, tmp_path, seen):
    folder = fresh(built, tmp_path / "spnasnet")
    (folder / RESULT / TXT).unlink()
    done = score(folder, "--manifest", "build/prep", "--json", "r.json", "--allow-partial", result=RESULT)
    seen(done)
    said = worked(done)
    assert said.strip().endswith("total=7 missing=1 partial") and "note: partial: 1 of 8 images are not scored" in said
    result = json.loads((folder / "r.json").read_text())
    assert result["partial"] and result["missing_images"] == [NAMES[2]] and "1 of 8" in (folder / "table.json").read_text()


# ---- what the inference reads ----

def infer(folder):
    return run(folder, "-m", "ais_bench", "--model", BLOB, "--input", "build/prep", "--output", "out",
               "--output_dirname", "run", "--outfmt", "TXT", env={"PYTHONPATH": "common/cpu"})


@pytest.mark.parametrize("harm, said", [
    bad("bin of an image lost", lambda d: (d / f"{STEM}.bin").unlink(), f"1 bins missing: {STEM}.bin",
        expected="exit 1 before anything is computed, with a remedy that works"),
    bad("bin of an image truncated", lambda d: os.truncate(d / f"{STEM}.bin", 1000), f"{STEM}.bin \\(1000 bytes, not 602112\\)",
        expected="exit 1 before anything is computed, with a remedy that works"),
    bad("bins all truncated alike", lambda d: [os.truncate(p, 301056) for p in d.glob("*.bin")], "8 bins of another size",
        expected="exit 1 before anything is computed, with a remedy that works"),
])
def test_bins(built, tmp_path, seen, harm, said):
    folder = fresh(built, tmp_path / "spnasnet")
    harm(folder / "build/prep")
    done = infer(folder)
    seen(done)
    failed(done, *said, "delete build/prep/manifest.json and run .*make prep")
    assert not (folder / "out").exists()
    failed(run(folder, "-m", "common.speed.online", "--weights", "tiny.pth", "--bins", "build/prep", "--json", "o.json"), *said)
    os.remove(folder / "build/prep/manifest.json")
    worked(make(folder, "prep"))
    assert data.content(folder / "build/prep", "manifest") == data.content(built / "build/prep", "manifest")


@pytest.mark.parametrize("harm, said", [
    bad("manifest lost, scored through it", os.remove, "manifest.json does not exist|build/prep", expected="exit 1, named"),
    bad("manifest truncated", lambda p: os.truncate(p, 300), "manifest.json is not JSON", expected="exit 1, named"),
    bad("manifest that is a list", lambda p: p.write_text("[]"), "manifest.json", expected="exit 1, named"),
    bad("manifest without its images", lambda p: p.write_text('{"files": {}}'), "manifest.json is no manifest",
        expected="exit 1, named"),
    bad("manifest whose rows are no rows", lambda p: p.write_text('{"files": {"a": 1}, "images": [["a.JPEG", "a", 5, 1]]}'),
        "manifest.json is no manifest", expected="exit 1, named"),
])
def test_manifest(built, tmp_path, seen, harm, said):
    folder = fresh(built, tmp_path / "spnasnet")
    harm(folder / "build/prep/manifest.json")
    done = score(folder, "--manifest", "build/prep/manifest.json", result=RESULT)
    seen(done)
    failed(done, *said, "make prep")


@pytest.mark.fault("output folder of the inference not empty", "exit 1, the folder named, nothing overwritten")
def test_output_not_empty(built, tmp_path, seen):
    folder = fresh(built, tmp_path / "spnasnet")
    (folder / "out/run").mkdir(parents=True)
    (folder / "out/run/mine.txt").write_text("x")
    done = infer(folder)
    seen(done)
    failed(done, "out/run is not empty")
    assert [p.name for p in (folder / "out").rglob("*")] == ["run", "mine.txt"]
