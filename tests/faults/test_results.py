"""Faults in the results of the inference, on the real commands."""

import pytest
import tiny

TXT = f"{tiny.RESULT}/{tiny.NAMES[2][:-5]}_0.txt"


@pytest.mark.fault("a result edited, after make eval", "make eval infers again")
def test_a_result_that_changed(built, seen):
    before = tiny.content(built / tiny.RESULT)
    (built / TXT).write_text("0.000000 " * 999 + "9.000000 \n")
    done = tiny.make(built, "eval")
    seen(done)
    assert tiny.last_line(done) == tiny.LINE
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
