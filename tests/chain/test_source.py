"""common/model/source.py with a repository made on the spot: pinned, patched, redone, interrupted, never elsewhere."""
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from common import cli
from common.model import source

ROOT = Path(__file__).parents[2]
PATCH = """--- a/models/x.py
+++ b/models/x.py
@@ -1,2 +1,2 @@
 first
-second
+{}
--- /dev/null
+++ b/models/new.py
@@ -0,0 +1 @@
+new
"""


def git(folder, *arguments):
    env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    return subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@t", *arguments], cwd=folder, env=env,
                          check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def upstream(tmp_path):
    """A repository of three commits; the middle one is the one to pin."""
    repository = tmp_path / "upstream"
    (repository / "models").mkdir(parents=True)
    git(repository, "init", "-q")
    commits = []
    for second in ("old", "second", "newer"):
        (repository / "models" / "x.py").write_text(f"first\n{second}\n")
        git(repository, "add", "-A")
        git(repository, "commit", "-q", "-m", second)
        commits.append(git(repository, "rev-parse", "HEAD"))
    return repository, commits


@pytest.fixture
def work(tmp_path, monkeypatch):
    """The model folder, inside another repository, as it is for a user."""
    folder = tmp_path / "work"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "a.patch").write_text(PATCH.format("patched"))
    (folder / "y.py").write_text("mine\n")
    monkeypatch.chdir(folder)
    return folder


def run(upstream, *argv, commit=1, dest="SPACH"):
    url, commits = upstream
    source.main(["--url", str(url), "--commit", commits[commit], "--dest", dest, *argv])


def read(name="models/x.py"):
    return Path("SPACH", name).read_text()


def gone(upstream):
    """Offline from here on."""
    upstream[0].rename(upstream[0].with_name("moved"))


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_pinned_commit_and_patch(upstream, work, capsys, scheme):
    run((scheme + str(upstream[0]), upstream[1]), "--patch", "a.patch", "--copy", "deep/er/x.py=y.py")
    assert git(work / "SPACH", "rev-parse", "HEAD") == upstream[1][1]
    assert (read(), read("models/new.py"), read("deep/er/x.py")) == ("first\npatched\n", "new\n", "mine\n")
    assert sorted(p.name for p in work.iterdir()) == [".SPACH.lock", ".git", "SPACH", "a.patch", "y.py"]
    out = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"wrote SPACH: .*upstream at [0-9a-f]{12} \+ a\.patch \+ deep/er/x\.py", out[-1])


def test_second_run_does_nothing(upstream, work, capsys):
    run(upstream, "--patch", "a.patch")
    before = {p: p.stat().st_mtime_ns for p in work.rglob("SPACH/models/*")}
    gone(upstream)
    capsys.readouterr()
    run(upstream, "--patch", "a.patch")
    assert capsys.readouterr().out.startswith("SPACH is in place: ") and len(before) == 2
    assert before == {p: p.stat().st_mtime_ns for p in work.rglob("SPACH/models/*")}


@pytest.mark.parametrize("argv, want", [
    (["--patch", "a.patch"], "again"), ([], "second"), (["--copy", "z.py=y.py"], "second")])
def test_changed_patch_starts_clean_offline_and_keeps_other_files(upstream, work, argv, want):
    run(upstream, "--patch", "a.patch")
    Path("SPACH/weights.pth").write_text("mine")
    Path("a.patch").write_text(PATCH.format("again"))
    gone(upstream)
    run(upstream, *argv)
    assert read() == f"first\n{want}\n" and read("weights.pth") == "mine"
    assert Path("SPACH/models/new.py").exists() == ("a.patch" in argv)
    assert Path("SPACH/z.py").exists() == ("z.py=y.py" in argv)


def test_another_commit(upstream, work):
    run(upstream, "--copy", "z.py=y.py")
    run(upstream, commit=2)
    assert read() == "first\nnewer\n" and git(work / "SPACH", "rev-parse", "HEAD") == upstream[1][2]
    assert not Path("SPACH/z.py").exists()
    git(work / "SPACH", "checkout", "-q", upstream[1][1])  # by the user
    run(upstream, commit=2)
    assert read() == "first\nnewer\n"


def test_edits_are_told_and_not_overwritten(upstream, work, capsys):
    run(upstream, "--patch", "a.patch")
    Path("SPACH/models/x.py").write_text("edited\n")
    run(upstream, "--patch", "a.patch")
    assert capsys.readouterr().out.endswith("; edited since: models/x.py\n")
    with pytest.raises(cli.Failure, match=r"SPACH has to be made anew, and models/x\.py was edited"):
        run(upstream)
    assert read() == "edited\n"


@pytest.mark.parametrize("text, said", [
    (PATCH.format("x").replace("second", "other"), r"bad\.patch does not apply to .*models/x\.py"),
    ("no patch\n", r"bad\.patch does not apply"),
    ("--- a/../out.py\n+++ b/../out.py\n@@ -0,0 +1 @@\n+x\n", r"bad\.patch does not apply .*out\.py")])
def test_patch_that_does_not_apply(upstream, work, text, said):
    Path("bad.patch").write_text(text)
    with pytest.raises(cli.Failure, match=said):
        run(upstream, "--patch", "a.patch", "--patch", "bad.patch")
    assert not Path("SPACH").exists() and not Path(".SPACH.part").exists() and not Path("out.py").exists()
    run(upstream, "--patch", "a.patch")
    with pytest.raises(cli.Failure, match=said):
        run(upstream, "--patch", "bad.patch")
    run(upstream, "--patch", "a.patch")
    assert read() == "first\npatched\n"


def test_offline(upstream, work):
    gone(upstream)
    with pytest.raises(cli.Failure, match=r"could not fetch [0-9a-f]{12} of .*upstream .* — check the network"):
        run(upstream)
    with pytest.raises(cli.Failure, match="could not fetch"):
        run(("http://127.0.0.1:9/none.git", upstream[1]))
    with pytest.raises(cli.Failure, match="could not fetch"):
        run(("ext::sh -c touch% ran", upstream[1]))
    assert not Path("SPACH").exists() and not Path("ran").exists()


def test_commit_that_is_not_there(upstream, work):
    with pytest.raises(cli.Failure, match="could not fetch 000000000000 .*no such commit"):
        run((upstream[0], ["0" * 40]), commit=0)


def test_server_that_gives_branches_only(upstream, work, monkeypatch):
    """Old protocol: a commit inside a branch is not given by its hash."""
    monkeypatch.setattr(source, "SETTINGS", [*source.SETTINGS, "protocol.version=0"])
    run(upstream, "--patch", "a.patch")
    assert read() == "first\npatched\n"


def test_killed_and_run_again(upstream, work, tmp_path):
    (tmp_path / "bin").mkdir()
    slow = tmp_path / "bin" / "git"
    slow.write_text('#!/bin/sh\ncase "$*" in *checkout*) touch "$PWD/reached"; exec sleep 60;; esac\n'
                    f'PATH="{os.environ["PATH"]}" exec git "$@"\n')
    slow.chmod(0o755)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{slow.parent}:{os.environ['PATH']}"}
    command = ["common.model.source", "--url", str(upstream[0]), "--commit", upstream[1][1], "--dest", "SPACH"]
    child = subprocess.Popen([sys.executable, "-m", *command], env=env, start_new_session=True)
    for _ in range(1000):
        if Path(".SPACH.part/reached").exists():
            break
        time.sleep(0.01)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    assert Path(".SPACH.part/reached").exists() and not Path("SPACH").exists()
    run(upstream)
    assert read() == "first\nsecond\n" and not Path(".SPACH.part").exists() and not Path("SPACH/reached").exists()


def test_killed_while_it_was_made_anew(upstream, work, monkeypatch):
    run(upstream, "--patch", "a.patch")
    with monkeypatch.context() as m, pytest.raises(RuntimeError):
        m.setattr(source.shutil, "copyfile", lambda *_: (_ for _ in ()).throw(RuntimeError))
        run(upstream, "--copy", "z.py=y.py")
    run(upstream, "--patch", "a.patch")
    assert read() == "first\npatched\n"


def test_a_folder_of_someone_else(upstream, work):
    Path("SPACH").mkdir()
    Path("SPACH/mine").write_text("x")
    with pytest.raises(cli.Failure, match="SPACH exists and was not made by this step — move it away"):
        run(upstream)
    Path("SPACH/mine").unlink()
    run(upstream)  # an empty one may be filled
    assert read() == "first\nsecond\n"


def test_git_never_works_on_the_repository_around(upstream, work, monkeypatch):
    (work / "a.txt").write_text("1")
    git(work, "add", "a.txt")
    git(work, "commit", "-q", "-m", "1")
    around = git(work, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(work / ".git"))  # as in a hook
    run(upstream)
    (work / "SPACH" / ".git" / "HEAD").unlink()
    with pytest.raises(cli.Failure, match="not a git repository"):
        run(upstream, "--patch", "a.patch")
    assert git(work, "rev-parse", "HEAD") == around and (work / "a.txt").exists()


@pytest.mark.parametrize("argv", [["--copy", "../x.py=y.py"], ["--copy", "/x.py=y.py"], ["--copy", ".git/config=y.py"],
                                  ["--copy", "x.py"], ["--copy", "x.py=none.py"], ["--patch", "none.patch"]])
def test_wrong_calls(upstream, work, argv):
    with pytest.raises(cli.Usage):
        run(upstream, *argv)
    with pytest.raises(cli.Usage, match="not a full commit"):
        run((upstream[0], ["f69157d"]), commit=0)


def test_copy_through_a_link(upstream, work, tmp_path):
    (upstream[0] / "out").symlink_to(tmp_path)
    git(upstream[0], "add", "out")
    git(upstream[0], "commit", "-q", "-m", "link")
    with pytest.raises(cli.Failure, match="leads out of SPACH"):
        run((upstream[0], [git(upstream[0], "rev-parse", "HEAD")]), "--copy", "out/x.py=y.py", commit=0)
    assert not (tmp_path / "x.py").exists()


def test_git_is_not_installed(upstream, work, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(cli.Failure, match="git is not installed"):
        run(upstream)
