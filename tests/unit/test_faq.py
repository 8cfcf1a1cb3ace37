"""The table of messages in docs/ascend.md: made from the code, in two languages, and true."""
import json
import re

import pytest

from common import cli
from common.ascend import errors
from tools.report import faq


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
    assert text.startswith("# x\n") and text.endswith("rest\n") and "设备内存不足" in text
    assert "&lt;CANN>" in text  # no HTML


def test_what_has_no_chinese_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(errors, "MEANINGS", [*errors.MEANINGS, ("E77777", "a new one", "do", "x")])
    with pytest.raises(cli.Failure, match="no Chinese for a new one"):
        faq.translate()
    monkeypatch.setattr(errors, "MEANINGS", errors.MEANINGS[1:-1])
    with pytest.raises(cli.Failure, match="does not say the device has too little memory"):
        faq.translate()


def test_the_chinese_is_chinese():
    for english, chinese in json.loads(faq.CHINESE.read_text()).items():
        command = english.startswith(("pip install", "python3 -m pip"))
        assert command or re.search("[\u4e00-\u9fff]", chinese), english
