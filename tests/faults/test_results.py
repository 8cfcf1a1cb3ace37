"""Faults in the results of the inference, on the real commands."""
import shutil

import pytest
import tiny

TXT = f"{tiny.RESULT}/{tiny.NAMES[2][:-5]}_0.txt"


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
    """Without the record, so that the reader of results has the word."""
    (built / f"{tiny.RESULT}.json").unlink()
    (built / TXT).chmod(0)
    done = tiny.run(built, "vision_metric_ImageNet.py", tiny.RESULT, "data/val_label.txt", ".",
                    "table.json", "--manifest", "build/prep", wrapper=as_owner)
    seen(done)
    tiny.failed(done, f"Permission denied: .*{TXT}")
