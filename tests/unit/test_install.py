"""The environment: what the lock holds, and what an installation that fails says. Nothing here
needs the network: the package is a wheel made on the spot."""
import hashlib
import re
import shutil
import sys
import zipfile

import pytest
from conftest import ROOT, copy_of, last_line, make

from common import cli, install

LOCKS = {"requirements.txt": "requirements.lock", "requirements-dev.txt": "requirements-dev.lock"}


def locked(path):
    """{name==version: [hashes]} of a lock file."""
    found = {}
    for entry in path.read_text().replace("\\\n", " ").splitlines():
        pin, *hashes = re.split(r" +--hash=", entry.strip())
        found[pin.partition(" ;")[0]] = hashes
    return found


@pytest.mark.parametrize("pins, lock", LOCKS.items())
def test_the_lock_has_every_pin_and_nothing_without_a_hash(pins, lock):
    lines = [line for line in (ROOT / pins).read_text().splitlines() if "==" in line]
    there = locked(ROOT / lock)
    assert set(lines) <= set(there)
    for pin, hashes in there.items():
        assert re.fullmatch(r"[a-z0-9-]+==[\w.]+", pin), pin
        assert hashes and all(re.fullmatch("sha256:[0-9a-f]{64}", text) for text in hashes), pin
    assert not re.search("://|index|/|#", (ROOT / lock).read_text())  # no host, no path


def test_both_locks_agree():
    ours, dev = (dict(pin.split("==") for pin in locked(ROOT / lock)) for lock in LOCKS.values())
    assert all(ours[name] == dev[name] for name in ours.keys() & dev.keys())


# ---- what pip and uv print, and what it means ----
@pytest.mark.parametrize("log, said, todo", [
    ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
     "the disk is full", "make room"),
    ("error: Failed to download `tiny==1.0`\n  cause: Hash mismatch for `tiny==1.0`\n",
     "what came for tiny==1.0 is another file", "another mirror"),
    ("error: In `--require-hashes` mode, all requirements must have a hash, but none were provided "
     "for: tiny==1.0", "no version and hash of tiny==1.0", "make lock"),
    ("ERROR: In --require-hashes mode, all requirements must have their versions pinned with ==. "
     "These do not:\n    tiny from file:///w/tiny.whl", "no version and hash of tiny", "make lock"),
    ("WARNING: Retrying … after connection broken by 'NewConnectionError(…)'\n"
     "ERROR: No matching distribution found for tiny==1.0",
     "no package index could be reached", "PIP_INDEX"),
    ("error: Failed to fetch: http://x/tiny/\n  cause: error sending request for url",
     "no package index could be reached", "UV_DEFAULT_INDEX"),
    ("SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]",
     "certificate of the package index", "PIP_CERT"),
    ("ERROR: Could not find a version that satisfies the requirement numpy==2.4.6 (from versions: "
     "1.26.0)\nERROR: No matching distribution found for numpy==2.4.6",
     "no build of numpy==2.4.6 for Python 3", "3.11 to 3.14"),
    ("  cause: Because openvino==2026.4.1 has no wheels with a matching platform tag",
     "no build of openvino==2026.4.1", "glibc"),
    ("error: something new\nhint: none", "error: something new", "run the same command again")])
def test_what_the_messages_mean(log, said, todo):
    why, what = install.explain(log, 1)
    assert said in why and todo in what


def test_an_installer_that_was_killed():
    assert "lack of memory" in install.explain("", -9)[0]


def test_a_python_that_is_too_old(tmp_path, monkeypatch):
    monkeypatch.setattr(install, "OLDEST", (99, 0))
    with pytest.raises(cli.Failure, match="packages need 3.11 to 3.14 — .*python3.12 -m venv"):
        install.create(tmp_path / "venv")


def test_a_python_without_venv(tmp_path, monkeypatch):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho ensurepip is not available; exit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(cli.Failure, match="it has no venv — install it .*python3-venv"):
        install.create(tmp_path / "venv")


# ---- make setup ----
def wheel(folder):
    """Write a wheel of a package tiny 1.0; return its lock."""
    folder.mkdir()
    path, info = folder / "tiny-1.0-py3-none-any.whl", "tiny-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("tiny.py", "")
        z.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        z.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n"
                   "Tag: py3-none-any\n")
        z.writestr(f"{info}/RECORD", "")
    return f"tiny==1.0 \\\n    --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


def test_setup_of_a_folder_alone(tmp_path):
    """Offline: a wrong hash is refused in one line and leaves no .ready; then it is installed."""
    folder = copy_of("ShiftViT", tmp_path)
    (folder / ".venv").unlink()
    lock = wheel(tmp_path / "wheels")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python3").symlink_to(sys.executable)
    env = {"PIP_CONFIG_FILE": "/dev/null", "PIP_NO_INDEX": "1",
           "PIP_FIND_LINKS": f"{tmp_path}/wheels", "PATH": f"{tmp_path}/bin:/usr/bin:/bin"}

    def setup(text, status=0):
        (folder / "requirements.lock").write_text(text)
        return make(folder, "setup", status=status, env=env)
    said = setup(re.sub("[0-9a-f]{64}", "0" * 64, lock), status=2)
    line, = [row for row in said.splitlines() if row.startswith("error: ")]
    assert "requirements.lock: what came for tiny==1.0 is another file" in line and " — " in line
    assert not (folder / ".venv/.ready").exists()
    assert last_line(setup(lock)) == "setup: .venv/bin/python is ready"
    assert list(folder.glob(".venv/lib/python3*/site-packages/tiny.py"))
    assert make(folder, "setup", env=env).count("\n") == 1  # there is nothing to do

    # uv comes first where it is; what it cannot do, pip is asked.
    shutil.rmtree(next(folder.glob(".venv/lib/python3*/site-packages/tiny-1.0.dist-info")))
    uv = tmp_path / "bin/uv"
    uv.write_text(f'#!/bin/sh\necho "$*" > {tmp_path}/called; echo dns error; exit 2\n')
    uv.chmod(0o755)
    said = setup(lock)
    assert "note: uv: no package index could be reached, or it lacks these packages; pip is tried" in said
    assert "--require-hashes --only-binary :all: -r requirements.lock" in (
        (tmp_path / "called").read_text())
    assert list(folder.glob(".venv/lib/python3*/site-packages/tiny-1.0.dist-info"))

    # A wrong hash is final: pip is not asked.
    uv.write_text("#!/bin/sh\necho 'Hash mismatch for `tiny==1.0`'; exit 1\n")
    said = setup(lock + "\n", status=2)
    assert "error: uv could not install requirements.lock: what came for tiny==1.0" in said
    assert "pip:" not in said
