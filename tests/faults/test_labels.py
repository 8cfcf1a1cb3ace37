"""Faults in the labels: what val_label.txt may and may not be, for the preprocessing and for the scoring."""
import json
import os

import numpy as np
import pytest

from faults import data
from faults.data import LABELS, LINE, NAMES, failed, fresh, prep, score, worked

GOOD = [f"{name} {label}" for name, label in zip(NAMES, LABELS, strict=True)]


@pytest.fixture(scope="module")
def bins(tiny, tmp_path_factory):
    """What an undisturbed preprocessing writes: {name: bytes}, and the label that its manifest has for each image."""
    folder = fresh(tiny, tmp_path_factory.mktemp("bins") / "spnasnet")
    worked(prep(folder))
    return data.content(folder / "bins", "manifest"), labels_of(folder)


def labels_of(folder):
    return {row[0]: row[3] for row in json.loads((folder / "bins/manifest.json").read_text())["images"]}


def edited(number, line):
    return [*GOOD[:number], line, *GOOD[number + 1:]]


@pytest.mark.parametrize("lines, ending", [
    pytest.param(GOOD, "\r\n", marks=pytest.mark.fault("labels with CRLF", "read as without"), id="crlf"),
    pytest.param(["\ufeff" + GOOD[0], *GOOD[1:]], "\n", marks=pytest.mark.fault("labels with a BOM", "read as without"),
                 id="bom"),
    pytest.param([g.replace(" ", "\t") for g in GOOD], "\n",
                 marks=pytest.mark.fault("labels with tabs", "read as with spaces"), id="tabs"),
    pytest.param(["\n".join(GOOD)], "", marks=pytest.mark.fault("labels without a last newline", "all lines read"), id="cut"),
    pytest.param([f"\n  {g} \t" for g in GOOD], "\n",
                 marks=pytest.mark.fault("labels with blank lines and spaces around", "read as without"), id="blanks"),
    pytest.param(GOOD + GOOD[2:4], "\n", marks=pytest.mark.fault("label lines twice that agree", "counted once"), id="twice"),
    pytest.param(GOOD[::-1], "\n", marks=pytest.mark.fault("label lines in another order", "joined by name"), id="reversed"),
    pytest.param([f"../../val/{g}" for g in GOOD], "\n",
                 marks=pytest.mark.fault("label names with ../", "taken for the name alone"), id="dots"),
])
def test_labels_as_people_write_them(tiny, bins, tmp_path, seen, lines, ending):
    folder = fresh(tiny, tmp_path / "spnasnet")
    data.write_labels(folder / "data", lines, ending)
    done = prep(folder)
    seen(done)
    worked(done)
    assert (data.content(folder / "bins", "manifest"), labels_of(folder)) == bins


def damaged(name, content, *said, status="exit 1 before a bin is written, the file named"):
    content = "".join(f"{line}\n" for line in content).encode() if isinstance(content, list) else content
    return pytest.param(content, said, marks=pytest.mark.fault(name, status), id=name.replace(" ", "-"))


@pytest.mark.parametrize("content, said", [
    damaged("label lines missing", GOOD[:-2], "2 images without a label in data/val_label.txt: .*00000007.JPEG"),
    damaged("label lines of no image", [*GOOD, "other.JPEG 5"], "1 labels in data/val_label.txt without an image: other"),
    damaged("label of ../../etc/passwd", [*GOOD, "../../etc/passwd 5"], "without an image: passwd"),
    damaged("label lines that disagree", [*GOOD, f"{NAMES[1]} 7"], "val_label.txt:9: .*00000002 is labelled 7 here and 190 in "
            "line 2"),
    damaged("label 5.0", edited(2, f"{NAMES[2]} 5.0"), "val_label.txt:3: .* is not `<file name> <class index>`"),
    damaged("label that is a synset", edited(2, f"{NAMES[2]} n01440764"), "val_label.txt:3: "),
    damaged("label 1000", edited(7, f"{NAMES[7]} 1000"), "val_label.txt:8: .*from 0 to 999"),
    damaged("label -1", edited(0, f"{NAMES[0]} -1"), "val_label.txt:1: .*from 0 to 999"),
    damaged("label in other digits", edited(0, f"{NAMES[0]} ٣"), "val_label.txt:1: "),
    damaged("label line without a label", edited(3, NAMES[3]), "val_label.txt:4: "),
    damaged("labels with commas", [g.replace(" ", ",") for g in GOOD], "val_label.txt:1: "),
    damaged("labels before the names", [" ".join(g.split()[::-1]) for g in GOOD], "val_label.txt:1: "),
    damaged("labels without names", [str(label) for label in LABELS], "val_label.txt:1: "),
    damaged("label file empty", b"", "val_label.txt is empty"),
    damaged("label file of blank lines", b"\n \r\n\t\n", "val_label.txt is empty"),
    damaged("label file of random bytes", np.random.default_rng(0).bytes(4096), "val_label.txt is not text"),
    damaged("label file in UTF-16", "\n".join(GOOD).encode("utf-16"), "val_label.txt is not text"),
    damaged("label file of zero bytes", b"\0" * 1_000_000, "val_label.txt:1: "),
    damaged("label file in one endless line", b"x" * 1_000_000 + b" 5 5", "val_label.txt"),
])
def test_labels_that_are_refused(tiny, bins, tmp_path, seen, content, said):
    folder = fresh(tiny, tmp_path / "spnasnet")
    (folder / "data/val_label.txt").write_bytes(content)
    done = prep(folder)
    seen(done)
    failed(done, *said)
    assert not (folder / "bins").exists()
    data.write_labels(folder / "data")
    worked(prep(folder))
    assert (data.content(folder / "bins", "manifest"), labels_of(folder)) == bins


@pytest.mark.fault("label file is a folder", "exit 1, the file named")
def test_a_folder_in_its_place(tiny, tmp_path, seen):
    folder = fresh(tiny, tmp_path / "spnasnet")
    os.remove(folder / "data/val_label.txt")
    (folder / "data/val_label.txt").mkdir()
    done = prep(folder)
    seen(done)
    failed(done, "data/val_label.txt")


@pytest.mark.fault("label file absent at the scoring", "exit 1, the file named")
def test_no_label_file(built, tmp_path, seen):
    folder = fresh(built, tmp_path / "spnasnet")
    done = score(folder, "--manifest", "build/prep", result=data.RESULT, labels="nowhere/val_label.txt")
    seen(done)
    failed(done, "label file nowhere/val_label.txt does not exist", "<file name> <class index>")
    assert not (folder / "table.json").exists()


@pytest.mark.fault("label file gone, make eval", "exit 1, what to put where; back: the same result")
def test_label_file_gone(built, tmp_path, seen):
    folder = fresh(built, tmp_path / "spnasnet")
    (folder / "data/val_label.txt").rename(folder / "elsewhere.txt")
    done = data.make(folder, "eval")
    seen(done)
    failed(done, "the images in data have no labels", "label file", status=2)
    (folder / "elsewhere.txt").rename(folder / "data/val_label.txt")
    assert worked(data.make(folder, "eval")).strip().endswith(LINE)
    assert data.content(folder / data.RESULT) == data.content(built / data.RESULT)


@pytest.mark.parametrize("content, said", [
    damaged("scored with labels missing", GOOD[:-2], "2 images without a label: ILSVRC2012_val_00000007.JPEG",
            status="exit 1, the images named"),
    damaged("scored with labels of more images", [*GOOD, "more.JPEG 3"], "1 images without a result: more",
            status="exit 1, the images named"),
    damaged("scored with labels changed since the preprocessing", edited(1, f"{NAMES[1]} 7"), "00000002.JPEG \\(7, not 190\\)",
            status="exit 1, both labels named"),
    damaged("scored with labels that disagree", [*GOOD, f"{NAMES[1]} 7"], "val_label.txt:9: ",
            status="exit 1, both lines named"),
    damaged("scored with random bytes for labels", np.random.default_rng(0).bytes(4096), "labels.txt is not text",
            status="exit 1, the file named"),
])
def test_labels_that_do_not_fit_the_results(built, tmp_path, seen, content, said):
    folder = fresh(built, tmp_path / "spnasnet")
    (folder / "val_labels.txt").write_bytes(content)
    said = [pattern.replace("val_label.txt", "val_labels.txt") for pattern in said]
    done = score(folder, "--manifest", "build/prep", result=data.RESULT, labels="val_labels.txt")
    seen(done)
    failed(done, *said)
    assert not (folder / "table.json").exists()


@pytest.mark.fault("labels missing, --allow-partial", "exit 0, every output says how many are missing")
def test_labels_missing_and_allowed(built, tmp_path, seen):
    folder = fresh(built, tmp_path / "spnasnet")
    data.write_labels(folder / "data", GOOD[:6])
    done = score(folder, "--manifest", "build/prep", "--json", "r.json", "--allow-partial", result=data.RESULT)
    seen(done)
    text = worked(done)
    assert text.strip().endswith("good=3 total=6 missing=2 partial") and "2 of 8 images are not scored" in text
    result = json.loads((folder / "r.json").read_text())
    assert result["missing_images"] == NAMES[6:] and result["partial"]
    assert "2 of 8 images" in (folder / "table.json").read_text()


@pytest.mark.fault("labels in the devkit's order, full set", "exit 0, a note names the other order")
def test_labels_in_another_order(tiny, tmp_path, seen):
    """5000 images whose results are right in one order of the classes and whose labels are in another."""
    folder = fresh(tiny, tmp_path / "spnasnet")
    (folder / "bins").mkdir()
    (folder / "result").mkdir()
    rng, labels = np.random.default_rng(0), np.arange(5000) % 1000
    other = rng.permutation(1000)
    images = []
    for part in range(10):
        logits = rng.standard_normal((500, 1000), np.float32)
        rows = np.arange(500)
        logits[rows, labels[500 * part + rows]] = 20
        logits.tofile(folder / f"result/batch-{part:05d}_0.bin")
        images += [[f"img_{500 * part + i}.JPEG", f"batch-{part:05d}", int(i), None] for i in rows]
    manifest = {"files": {f"batch-{part:05d}": 500 for part in range(10)}, "images": images}
    (folder / "bins/manifest.json").write_text(json.dumps(manifest))
    for name, order in (("right.txt", np.arange(1000)), ("devkit.txt", other)):
        (folder / name).write_text("".join(f"img_{i}.JPEG {order[label]}\n" for i, label in enumerate(labels)))
    right = worked(score(folder, "--manifest", "bins", labels="right.txt"))
    assert right.strip().endswith("top1=100.00% top5=100.00% good=5000 total=5000") and "another order" not in right
    done = score(folder, "--manifest", "bins", labels="devkit.txt")
    text = worked(done)
    note = next((line for line in text.splitlines() if "another order" in line), "no note")
    seen(f"exit {done.returncode}: {note}")
    assert note.startswith("note: Top-1 below 1 %: the labels are probably in another order")
    assert "another order" in (folder / "table.json").read_text()
