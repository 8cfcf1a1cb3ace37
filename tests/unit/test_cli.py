"""Errors for people; files that are whole or absent."""
import os
import subprocess
import sys
import time

import pytest
from conftest import ROOT

from common import cli


def ended(code, **env):
    """Run main() with `code` as its body; the finished process."""
    text = f"from common import cli\ndef main():\n    {code}\ncli.run(main)\n"
    return subprocess.run([sys.executable, "-c", text], cwd=ROOT, text=True, capture_output=True,
                          env={**os.environ, "DEBUG": "0", **env})


@pytest.mark.parametrize("code, status, said", [
    ("pass", 0, ""),
    ("raise cli.Failure('a.bin\\nis cut', 'run make')", 1, "error: a.bin is cut — run make\n"),
    ("raise cli.Usage('--bs 0')", 2, "error: --bs 0\n"),
    ("open('/nowhere/x')", 1, "error: No such file or directory: /nowhere/x — solve that and run "
                              "the same command again\n"),
    ("raise KeyboardInterrupt", 130, "error: interrupted — run the same command again to go on\n"),
    ("import no_such_package", 1, f"error: the Python package no_such_package is not installed for "
                                  f"{sys.executable} — install requirements.txt there, or leave "
                                  "out PYTHON=: then make sets up .venv\n")])
def test_one_line_and_a_status(code, status, said):
    done = ended(code)
    assert (done.returncode, done.stderr) == (status, said)


def test_progress_in_a_file_is_whole_lines(monkeypatch, capsys):
    """And nothing where it is done before a line is due."""
    assert list(cli.progress(range(3), "what")) == [0, 1, 2]
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(cli, "EVERY", 1e-9)
    list(cli.progress(range(3), "what"))
    said = capsys.readouterr().err
    assert "\r" not in said and all(line.startswith("what: ") for line in said.splitlines())
    assert len(said.splitlines()) >= 3


def test_debug_shows_where():
    assert "Traceback" in ended("raise cli.Failure('x')", DEBUG="1").stderr


def test_a_bug_of_ours_is_no_expected_mistake():
    assert "ZeroDivisionError" in ended("1 / 0").stderr


def test_nobody_reads_the_output():
    done = subprocess.run(f"{sys.executable} -c 'from common import cli\n"
                          "cli.run(lambda: print(\"x\\n\" * 100000))' | head -1; "
                          "exit ${PIPESTATUS[0]}", shell=True, executable="/bin/bash", cwd=ROOT,
                          text=True, capture_output=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_a_file_gets_its_name_when_it_is_whole(tmp_path):
    path = tmp_path / "new/x.json"
    with cli.whole_file(path) as part:
        part.write_text("half")
        assert not path.exists() and part.suffix == ".json"
    assert path.read_text() == "half"
    with pytest.raises(ValueError), cli.whole_file(path) as part:
        part.write_text("other")
        raise ValueError
    assert [p.name for p in path.parent.iterdir()] == ["x.json"] and path.read_text() == "half"


def test_two_at_once_do_not_share_a_part(tmp_path):
    with cli.whole_file(tmp_path / "x") as one, cli.whole_file(tmp_path / "x") as other:
        assert one != other
        one.write_text("1"), other.write_text("2")
    assert (tmp_path / "x").read_text() == "1"


def test_only_old_leftovers_are_removed(tmp_path):
    for name in (".1.part.x", ".2.part.x", "x"):
        (tmp_path / name).touch()
    old = time.time() - 25 * 3600
    os.utime(tmp_path / ".1.part.x", (old, old))
    os.utime(tmp_path / "x", (old, old))
    cli.remove_leftovers(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".2.part.x", "x"]


@pytest.mark.parametrize("text, said", [
    (None, "does not exist"), ("{", "is not JSON"), ("[" * 100000, "is not JSON"),
    ("\ud800", "is not JSON"), ("[]", "holds something else")])
def test_json_of_others(tmp_path, text, said):
    if text is not None:
        (tmp_path / "x").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(cli.Failure, match=f"x {said}.* — fix it"):
        cli.read_json(tmp_path / "x", "fix it")


def test_names_of_others_stay_on_one_line():
    assert cli.some(["a", "b\n", "c", "d"], 3) == "a, 'b\\n', c and 1 more"
    assert len(cli.some(["x" * 5000])) < 300


def test_a_package_that_is_not_installed_is_one_line():
    """As with any server's own python3; -S leaves installed packages out."""
    done = subprocess.run([sys.executable, "-S", "-m", "common.data.demo", "images", "--out", "x"],
                          cwd=ROOT, capture_output=True, text=True)
    said, = done.stderr.splitlines()
    assert done.returncode == 1 and "is not installed for" in said and "requirements.txt" in said


@pytest.mark.parametrize(
    "quota, expected",
    [
        ("max 100000", 64), ("150000 100000", 2), ("20000 100000", 1), ("6400000 100000", 64),
        (None, 64)],
)
def test_cores_are_those_of_the_container(tmp_path, monkeypatch, quota, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    monkeypatch.setattr(cli, "QUOTA", tmp_path / "cpu.max")
    if quota:
        (tmp_path / "cpu.max").write_text(quota)
    assert cli.cores() == expected
