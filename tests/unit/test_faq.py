"""The table of messages in docs/ascend.md: made from the code, in two languages, and true."""
import json
import re

import pytest

from common import cli
from common.ascend import errors
from tools.report import faq


@pytest.mark.parametrize("pattern, found", [
    (r"EL0004|rtMalloc", ["EL0004", "rtMalloc"]),
    (errors.codes(r"50701[1-3]", "507050"), ["507011", "507012", "507013", "507050"]),
    (r"aic(ore|pu) (error )?timeout", ["aicore timeout", "aicpu timeout"]),
    (r"[Oo]pen device.*fail", ["open device … fail"]), (r"X[\s\S]*?(A|B)", ["X … A", "X … B"]),
    (r"line \d+: +\d+ Killed", ["line 2: 2 Killed"]), (r"lib\w+\.so", ["libx.so"]),
    (r"No module '?x|is (not|no)", ["No module x", "is not", "is no"])])
def test_samples_are_found_by_their_pattern(pattern, found):
    assert faq.samples(pattern) == found
    assert all(re.search(pattern, text) for text in found)


def test_runs_of_numbers_are_short():
    names = ["E10011", "E10012", "E10013", "E10049", "507011", "507012", "no room"]
    assert list(faq.shorten(names)) == [
        "`E10011` … `E10013`", "`E10049`", "`507011`", "`507012`", "`no room`"]


def test_every_message_means_what_its_row_says():
    """Each text of the page, given to the code as atc's output, gets its row's cause and fix."""
    rows = list(faq.rows(str))
    assert [row[1] for row in rows] == [row[1] for row in errors.MEANINGS]
    for found, meaning, todo in rows:
        for more, text in re.findall(r"`` (.+?) ``|`([^`]+)`", found.replace("\\|", "|")):
            text = text or more
            why, fix = errors.explain(text, 1, "atc")
            assert why.startswith(meaning) and fix == todo, text


def test_the_pages_are_the_code_s(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["faq", "--check"])
    faq.main()
    assert "all are those of the code" in capsys.readouterr().out


def pages(root):
    (root / "docs").mkdir()
    for page in faq.PAGES:
        (root / page).write_text(f"# x\n\n{faq.BEGIN}\n| old |\n{faq.END}\n\nrest\n")


def run(monkeypatch, root, *words):
    monkeypatch.setattr("sys.argv", ["faq", "--root", str(root), *words])
    faq.main()


def test_a_stale_table_is_named_and_renewed(tmp_path, monkeypatch, capsys):
    pages(tmp_path)
    with pytest.raises(cli.Failure, match=r"docs/ascend.md and docs/ascend.zh-CN.md.*make readme"):
        run(monkeypatch, tmp_path, "--check")
    run(monkeypatch, tmp_path)
    run(monkeypatch, tmp_path, "--check")
    text = (tmp_path / "docs/ascend.zh-CN.md").read_text()
    assert text.startswith("# x\n") and text.endswith("rest\n") and "设备剩余内存不足" in text
    assert "&lt;CANN>" in text  # no HTML


def test_what_has_no_chinese_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(errors, "MEANINGS", [*errors.MEANINGS, ("E77777", "a new one", "do", "x")])
    with pytest.raises(cli.Failure, match="no Chinese for a new one"):
        faq.translate()
    monkeypatch.setattr(errors, "MEANINGS", errors.MEANINGS[1:-1])
    with pytest.raises(cli.Failure, match="does not say the device has too little memory"):
        faq.translate()


def test_marks_must_be_there(tmp_path, monkeypatch):
    pages(tmp_path)
    (tmp_path / "docs/ascend.md").write_text("# x\n")
    with pytest.raises(cli.Failure, match="fix the marks"):
        run(monkeypatch, tmp_path)


def test_the_chinese_is_chinese():
    for english, chinese in json.loads(faq.CHINESE.read_text()).items():
        command = english.startswith(("pip install", "python3 -m pip"))
        assert command or re.search("[\u4e00-\u9fff]", chinese), english
