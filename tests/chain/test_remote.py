"""push, remote and pull against a real sshd on loopback, with the stand-ins of an NPU host on the other side."""
import getpass
import os
import re
import shlex
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
from conftest import counts, last_line, make
from test_ascend_chain import IMAGES, RIGHT, Host

SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
pytestmark = pytest.mark.skipif(not SSHD, reason="no sshd on this machine")


class Other:
    """Another host: an sshd of our own, whose logins find the NPU's stand-ins and a home of their own."""

    def __init__(self, folder, ascend):
        folder.mkdir()
        self.home = folder / "home"
        self.home.mkdir()
        for key in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        env = {k: v for k, v in ascend.env().items() if k.startswith(("PATH", "ASCEND", "FAKE"))}
        login = folder / "login"
        login.write_text("#!/bin/bash\n" + "".join(f"export {k}={shlex.quote(v)}\n" for k, v in env.items())
                         + f'export HOME={shlex.quote(str(self.home))}\ncd "$HOME"\nexec bash -c "$SSH_ORIGINAL_COMMAND"\n')
        login.chmod(0o755)
        key = (folder / "user.pub").read_text()
        (folder / "keys").write_text(f'command="{login}" {key}')
        (folder / "config").write_text(f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile {folder}/pid\n"
                                       f"AuthorizedKeysFile {folder}/keys\nStrictModes no\nUsePAM no\nPermitRootLogin yes\n")
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", exist_ok=True)
        self.process = subprocess.Popen([SSHD, "-D", "-e", "-f", folder / "config"], stderr=open(folder / "log", "w"))
        options = (f"-p {port} -i {folder}/user -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR "
                   "-o IdentitiesOnly=yes")
        self.words = (f"HOST={getpass.getuser()}@127.0.0.1", f"SSH=ssh {options}")
        for _ in range(50):
            if subprocess.run(["ssh", *options.split(), self.words[0][5:], "true"], capture_output=True).returncode == 0:
                return
            time.sleep(0.1)
        raise RuntimeError((folder / "log").read_text())

    def end(self):
        self.process.terminate()
        self.process.wait()


@pytest.fixture
def other(tmp_path, fake_ascend):
    other = Other(tmp_path / "other", fake_ascend)
    yield other
    other.end()


@pytest.fixture
def here(tmp_path, fake_ascend):
    return Host("ShiftViT", tmp_path, fake_ascend)


@pytest.mark.parametrize("rsync", [False, True], ids=["tar", "rsync"])
def test_there_and_back(here, other, rsync, tmp_path, monkeypatch):
    if rsync and not shutil.which("rsync"):
        pytest.skip("no rsync on this machine")
    if not rsync:  # a PATH without it
        monkeypatch.setattr("os.environ", {**os.environ})
        folder = tmp_path / "bin"
        folder.mkdir()
        for place in os.environ["PATH"].split(":"):
            for tool in Path(place).glob("*") if Path(place).is_dir() else ():
                if tool.name != "rsync" and not (folder / tool.name).exists():
                    (folder / tool.name).symlink_to(tool)
        os.environ["PATH"] = str(folder)
    words = (*other.words, *here.words)
    said = make(here.folder, "push", *words)
    sent = int(re.search(r"push: (\d+) files to", said)[1])
    assert sent > IMAGES + 40 and "0 were there already" in said
    there = other.home / "ShiftViT"
    assert (there / "common/cpu/bin/atc").stat().st_mode & 0o100 and not (there / ".venv").exists()
    assert "push: 0 files" in make(here.folder, "push", *words)
    # What an interrupted transfer leaves: files missing, one cut short.
    (there / "build/prep/img_3.bin").unlink()
    os.truncate(there / "build/prep/img_4.bin", 1000)
    assert "push: 2 files" in make(here.folder, "push", *words)

    said = make(here.folder, "remote", "VERB=om infer bench", "BS=4", *words)
    assert (there / "build/demo/shiftvit2-bs4.om").exists() and "fps at batch 4 (ascend" in said
    assert "common.model.export" not in said and "preprocess" not in said
    assert not (here.folder / "build/demo/shiftvit2-bs4.om").exists()
    said = make(here.folder, "pull", *words)
    assert int(re.search(r"pull: (\d+) files", said)[1]) > IMAGES
    # Nothing of Ascend is here; the results are, and are scored.
    said = make(here.folder, "eval", "ENGINE=ascend", "BS=4", "AS_BUILT=1", *here.words)
    assert counts(last_line(said)) == (RIGHT, IMAGES) and "ais_bench" not in said
    assert "pull: 0 files" in make(here.folder, "pull", *words)


def test_what_fails_there_is_told_here(here, other):
    words = (*other.words, *here.words)
    make(here.folder, "push", *words)
    shutil.rmtree(other.home / "ShiftViT/build/prep")
    said = make(here.folder, "remote", "VERB=infer", "BS=4", *words, status=2)
    assert "make ended with status" in said
    assert "No rule to make target 'build/prep/manifest.json'" in said


def test_a_host_that_does_not_answer(here):
    said = make(here.folder, "push", "HOST=nobody@127.0.0.1", "SSH=ssh -p 1 -o BatchMode=yes", *here.words, status=2)
    assert "ssh cannot reach nobody@127.0.0.1" in said
    assert "HOST= is needed" in make(here.folder, "push", status=2)
    assert "is no host" in make(here.folder, "push", "HOST=x -oProxyCommand=y", status=2)
    assert "are required: host" in make(here.folder, "push", "HOST=-oProxyCommand=y", status=2)
