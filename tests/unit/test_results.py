"""Every form in which the two inference tools write logits, and every run that is not sound."""
import json
import os

import numpy as np
import pytest

from common import cli
from common.data.manifest import Manifest, Row
from common.score import origin, results

C = 10


def single(n=3):
    """A manifest of n one-image files."""
    rows = [Row(f"img_{i}.JPEG", f"img_{i}", 0, i) for i in range(n)]
    return Manifest(rows, {row.file: 1 for row in rows}, {})


def logits(*shape):
    return np.random.default_rng(7).normal(0, 4, shape).astype(np.float32)


def write(path, values, dtype=np.float32):
    """A result file as ais_bench writes it: in TXT a space follows each value, the last too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, values.astype(dtype))
    elif path.suffix == ".txt":
        lines = values.reshape(-1, values.shape[-1])
        path.write_text("".join("".join(f"{v:f} " for v in row) + "\n" for row in lines))
    else:
        values.astype(dtype).tofile(path)


@pytest.mark.parametrize("ending, dtype, k", [("bin", "f4", 0), ("bin", "f2", 1), ("npy", "f2", 0),
                                              ("npy", "f8", 0), ("txt", "f4", 1)])
def test_formats_and_names(tmp_path, ending, dtype, k):
    want = logits(3, C)
    for i in range(3):
        write(tmp_path / f"img_{i}_{k}.{ending}", want[i:i + 1], dtype)
    got = results.read(tmp_path, single(), C)
    as_printed = np.array([[float(f"{v:f}") for v in row] for row in want], "f4")
    rounded = as_printed if ending == "txt" else want.astype(dtype).astype("f4")
    np.testing.assert_array_equal(got.logits, rounded)
    assert got.logits.dtype == np.float32 and (got.missing, got.extra, got.broken) == ([], [], {})


@pytest.mark.parametrize("name, columns", [("0.bin", C), ("0.txt", C), ("1.txt", 4 * C)])
def test_whole_batches_keep_every_row_and_drop_the_padding(tmp_path, name, columns):
    """The old tool's TXT has all in one line."""
    rows = [Row(f"img_{i}.JPEG", f"batch-{i // 4:05d}", i % 4, i) for i in range(5)]
    want = np.round(logits(8, C), 3)
    for i in range(2):
        write(tmp_path / f"batch-0000{i}_{name}", want[4 * i:4 * i + 4].reshape(-1, columns))
    got = results.read(tmp_path, Manifest(rows, {"batch-00000": 4, "batch-00001": 4}, {}), C)
    np.testing.assert_array_equal(got.logits, want[:5])


@pytest.mark.parametrize("first", ["1e0 ", "1.0000000 ", "0.25 "])
@pytest.mark.parametrize("rest", ["1.5 " * 9, "1.5 " * 8 + "1.25", "0.25 " * 8 + "2.75"])
def test_txt_of_another_print(tmp_path, first, rest):
    (tmp_path / "img_0_0.txt").write_text(first + rest)
    want = [float(number) for number in (first + rest).split()]
    np.testing.assert_array_equal(results.read(tmp_path, single(1), C).logits, [want])


@pytest.mark.parametrize("shape", [(C,), (1, C, 1, 1)])
def test_npy_shapes(tmp_path, shape):
    np.save(tmp_path / "img_0_0.npy", logits(*shape))
    got = results.read(tmp_path, single(1), C).logits
    np.testing.assert_array_equal(got, logits(*shape).reshape(1, C))


def test_names_join_not_positions(tmp_path):
    """img_1 and img_1_0 differ by what looks like an output index; a gap shifts nothing."""
    stems = ["img_1", "img_1_0", "img_2"]
    manifest = Manifest([Row(f"{s}.png", s, 0, 0) for s in stems], dict.fromkeys(stems, 1), {})
    want = logits(3, C)
    write(tmp_path / "img_1_0_0.bin", want[1])
    write(tmp_path / "img_2_0.bin", want[2])
    got = results.read(tmp_path, manifest, C)
    assert got.missing == ["img_1.png"] and np.isnan(got.logits[0]).all()
    np.testing.assert_array_equal(got.logits[1:], want[1:])


def test_what_lies_beside_results(tmp_path):
    """The tools' own files are no results; others are named."""
    write(tmp_path / "run" / "img_0_0.bin", logits(C))
    for name in ("run_summary.json", "perf_vision_batchsize_8_device_0.txt",
                 "PureInfer_perf_of_m_in_device_0.txt", "run/.img_1_0.bin",
                 "run/device0_summary.json", "run/pure_infer_data_0.bin"):
        (tmp_path / name).write_text("x")
    for folder in (tmp_path, tmp_path / "run"):
        got = results.read(folder, single(1), C)
        assert got.folder == tmp_path / "run"
        assert (got.missing, got.extra, got.broken) == ([], [], {})
    odd = ["img_0.bin", "img_0_2.bin", "img_9_0.bin", "notes.txt"]
    for name in odd:
        (tmp_path / "run" / name).write_text("x")
    assert results.read(tmp_path, single(1), C).extra == odd


def test_devices_that_split_the_files(tmp_path):
    want = logits(3, C)
    for i, d in enumerate(["device0_0", "device0_0", "device1"]):
        write(tmp_path / "out" / d / f"img_{i}_0.bin", want[i])
    for folder in (tmp_path, tmp_path / "out"):
        np.testing.assert_array_equal(results.read(folder, single(), C).logits, want)
    assert results.read(tmp_path / "out/device0_0", single(), C).missing == ["img_2.JPEG"]


def test_the_same_stem_twice(tmp_path):
    for d in ("device0_0", "device1_1"):
        write(tmp_path / d / "img_0_0.bin", logits(C))
    np.testing.assert_array_equal(results.read(tmp_path, single(1), C).logits[0], logits(C))
    write(tmp_path / "device1_1" / "img_0_1.bin", logits(C) + 1)
    said = r"device0_0/img_0_0.bin and .*device1_1/img_0_1.bin are both results of img_0, .* differ"
    with pytest.raises(cli.Failure, match=said):
        results.read(tmp_path, single(1), C)


class Touch:
    """Unpickling it runs a command that leaves a file."""

    def __reduce__(self):
        return os.system, ("touch ran",)


def pickled_npy(path):
    np.save(path, np.array([Touch()], object), allow_pickle=True)


def huge_npy(path):
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999,), }"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode())


@pytest.mark.parametrize("name, content, why", [
    ("img_0_0.bin", b"", "is empty"), ("img_0_0.txt", b"\n \n", "is empty"),
    ("img_0_0.bin", b"\0" * (C * 4 - 1), f"is {C * 4 - 1} bytes"),
    ("img_0_0.bin", b"\0" * (C * 8), f"is {C * 8} bytes"),
    ("img_0_0.txt", b"1 " * (C - 1), f"{C - 1} numbers"),
    ("img_0_0.txt", b"1\n" * C, f"has {C} lines"),
    ("img_0_0.txt", b"1 " * (C - 1) + b"1_0", "could not convert"),
    ("img_0_0.txt", b"1.25 " * (C - 1) + b"1.2", "ends inside a number"),
    ("img_0_0.txt", b"1 " * (C - 1) + b"1e999", "infinity"),
    ("img_0_0.bin", np.full(C, np.nan, "f4").tobytes(), "NaN"),
    ("img_0_0.npy", b"\x93NUMPY\x01\x00junk", ""),
    ("img_0_0.npy", lambda path: np.save(path, np.arange(C)), "not a float"),
    ("img_0_0.npy", pickled_npy, "allow_pickle"), ("img_0_0.npy", huge_npy, ""),
    ("img_0_0.npy", lambda path: np.save(path, np.full((1, C), 1e300)), "infinity"),
    ("img_0_0.npy", lambda path: np.save(path, np.zeros((2, C // 2), "f4")), "shape")])
def test_broken_files(tmp_path, monkeypatch, name, content, why):
    monkeypatch.chdir(tmp_path)
    if callable(content):
        content(tmp_path / name)
    else:
        (tmp_path / name).write_bytes(content)
    write(tmp_path / name.replace("img_0", "img_1"), logits(1, C))
    got = results.read(tmp_path, single(2), C)
    assert list(got.broken) == [name] and why in got.broken[name]
    assert np.isnan(got.logits[0]).all() and np.isfinite(got.logits[1]).all() and got.missing == []
    assert not (tmp_path / "ran").exists()


def test_half_a_float32_file_is_not_taken_for_float16(tmp_path):
    for i in range(3):
        write(tmp_path / f"img_{i}_0.bin", np.arange(C) / 4)  # halves are finite as float16
    os.truncate(tmp_path / "img_1_0.bin", C * 2)
    got = results.read(tmp_path, single(), C)
    assert got.broken == {"img_1_0.bin": "is float16 bin where most files are float32 bin"}
    assert np.isnan(got.logits[1]).all() and np.isfinite(got.logits[[0, 2]]).all()


def test_which_run(tmp_path):
    with pytest.raises(cli.Failure, match="does not exist"):
        results.read(tmp_path / "nowhere", single(1), C)
    with pytest.raises(cli.Failure, match="holds no result files"):
        results.read(tmp_path, single(1), C)
    for run in ("2022_08_09-20_37_12", "2022_08_10-09_00_00"):
        write(tmp_path / run / "img_0_0.bin", logits(C))
    said = "holds 2 runs: .*2022_08_09-20_37_12, .*2022_08_10-09_00_00"
    with pytest.raises(cli.Failure, match=said):
        results.read(tmp_path, single(1), C)


def test_manifest_through_the_summary(tmp_path):
    run, prep = tmp_path / "out" / "run", tmp_path / "prep"
    run.mkdir(parents=True)
    prep.mkdir()
    text = json.dumps({"filesinfo": {"0": {"infiles": [str(prep / "img_0.bin")], "outfiles": []}}})
    # Several devices leave theirs inside.
    for path in (tmp_path / "out/run_summary.json", run / "device0_summary.json"):
        assert origin.manifest_of(origin.summary(run)) is None
        path.write_text(text)
        assert origin.manifest_of(origin.summary(run)) is None
        (prep / "manifest.json").write_text("{}")
        assert origin.manifest_of(origin.summary(run)) == prep / "manifest.json"
        (prep / "manifest.json").unlink()
        path.unlink()
