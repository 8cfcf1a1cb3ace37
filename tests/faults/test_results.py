"""Faults in the results of the inference, on the real commands."""
import os
import shutil

import numpy as np
import pytest
import tiny

STEM = tiny.NAMES[2][:-5]
TXT = f"{tiny.RESULT}/{STEM}_0.txt"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The stand-in after `make eval`."""
    folder = tiny.make_folder(tmp_path_factory.mktemp("results"))
    assert tiny.last_line(tiny.make(folder, "eval")) == tiny.LINE
    return folder


@pytest.fixture
def built(whole, tmp_path):
    """A copy of that for one test."""
    return tiny.fresh(whole, tmp_path / "spnasnet")


def by_hand(folder, *words, **options):
    """The scoring step without the record, so that the reader of results has the word."""
    (folder / f"{tiny.RESULT}.json").unlink()
    return tiny.run(folder, "vision_metric_ImageNet.py", tiny.RESULT, "data/val_label.txt", ".",
                    "table.json", "--manifest", "build/prep", "--json", "r.json", *words, **options)


def other_answer(folder):
    (folder / TXT).write_text("0.000000 " * 999 + "9.000000 \n")


@pytest.mark.parametrize("harm", [
    pytest.param(harm, id=name, marks=pytest.mark.fault(
        f"{name}, after make eval", "make eval infers again, the score by hand is refused"))
    for name, harm in {
        "a result edited": other_answer,
        "all results lost": lambda d: shutil.rmtree(d / tiny.RESULT),
    }.items()])
def test_results_that_changed(built, seen, harm):
    before = tiny.content(built / tiny.RESULT)
    harm(built)
    (built / tiny.EVAL).unlink()
    done = tiny.score(built, "--manifest", "build/prep", "--json", "r.json", result=tiny.RESULT)
    seen(done)
    tiny.failed(done, tiny.RESULT, "make infer")
    assert "top1=" not in done.stdout
    assert not (built / "r.json").exists() and not (built / "table.json").exists()
    assert tiny.last_line(tiny.make(built, "eval")) == tiny.LINE
    assert tiny.content(built / tiny.RESULT) == before


@pytest.mark.fault("result file that may not be read", "exit 1, the file named")
def test_not_readable(built, seen, as_owner):
    (built / TXT).chmod(0)
    done = by_hand(built, wrapper=as_owner)
    seen(done)
    tiny.failed(done, f"Permission denied: .*{STEM}_0.txt")


class Touch:
    """Unpickling it runs a command that leaves a file."""

    def __reduce__(self):
        return os.system, ("touch ran",)


@pytest.mark.fault("npy with a pickle that runs a command", "exit 1, the file named, nothing run")
def test_a_pickle_is_not_run(built, seen):
    for path in (built / tiny.RESULT).glob("*.txt"):
        np.save(path.with_suffix(".npy"), np.array(path.read_text().split(), np.float32))
        path.unlink()
    np.save((built / TXT).with_suffix(".npy"), np.array([Touch()], object), allow_pickle=True)
    done = by_hand(built)
    seen(done)
    tiny.failed(done, f"1 broken result files: {STEM}_0.npy")
    assert not (built / "ran").exists() and not (built / "r.json").exists()


@pytest.mark.fault("all results zero", "exit 1 at the end of infer: not what the ONNX says")
def test_a_model_that_answers_the_same_is_not_done(built, seen):
    zeros = "0.000000 " * 1000 + "\n"
    for path in (built / tiny.RESULT).glob("*.txt"):
        path.write_text(zeros)
    done = tiny.run(built, "-m", "common.score.against_onnx", "--result", tiny.RESULT,
                    "--model", tiny.BLOB, "--bins", "build/prep", "--onnx", tiny.ONNX)
    seen(done)
    tiny.failed(done, f"computes .* otherwise than {tiny.ONNX}")
