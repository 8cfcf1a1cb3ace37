"""make om CANN_IMAGE=: how docker and podman are called, and what fails. The whole way is in
chain/test_ascend_chain.py."""
import os
from pathlib import Path

import pytest

from common import cli
from common.ascend import container

IMAGE = "ascendai/cann:9.0.1-310p-ubuntu22.04-py3.11"
FLAGS = ["--framework=5", "--model=build/x.onnx", "--soc_version=Ascend310P3", "--output=build/x"]


@pytest.fixture
def host(tmp_path, monkeypatch):
    """host(*programs): only these are on the PATH; this folder is tmp_path/m."""
    (tmp_path / "m/build").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "m")

    def of(*programs):
        for name in programs:
            (tmp_path / name).touch(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        return tmp_path
    return of


def volumes(line):
    return [
        word.partition("=")[2].partition(":")[0] for word in line if word.startswith("--volume")]


def test_the_call_of_docker(host, monkeypatch):
    here = host("docker", "podman") / "m"
    for name in container.PASSED:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TE_PARALLEL_COMPILER", "1")
    line = container.command(IMAGE, FLAGS)
    assert line == [
        "docker", "run", "--rm", f"--user={os.getuid()}:{os.getgid()}", f"--volume={here}:{here}",
        "--env=HOME=/tmp", "--env=USER=user", "--env=PYTHONDONTWRITEBYTECODE=1",
        f"--env=ASCEND_PROCESS_LOG_PATH={here}/build/ascend-log", "--env=TE_PARALLEL_COMPILER",
        f"--workdir={here}", "--entrypoint=bash", IMAGE, "-c", container.SCRIPT, "atc", *FLAGS]
    assert not any("device" in word for word in line)


def test_podman_where_there_is_no_docker(host):
    host("podman")
    assert container.command(IMAGE, FLAGS)[:5] == [
        "podman", "run", "--rm", "--userns=keep-id", "--security-opt=label=disable"]


def test_neither_is_one_line(host):
    host()
    with pytest.raises(cli.Failure, match="neither is installed — install one"):
        container.command(IMAGE, FLAGS)


def test_it_sees_what_the_flags_name_and_no_more(host):
    """This folder once, also for what is in it; OUT and files of ATC_FLAGS where they are
    outside."""
    top = host("docker")
    flags = [f"--model={top}/out/x.onnx", f"--output={top}/out/x", "--fusion_switch_file=f.cfg",
             f"--op_precision_mode={top}/mine/p.ini", "--debug_dir=build/debug"]
    seen = volumes(container.command(IMAGE, flags))
    assert seen == [f"{top}/m", f"{top}/mine", f"{top}/out"]
    assert volumes(container.command(IMAGE, FLAGS)) == [str(Path.cwd())]


def test_a_wrong_flag_is_told_before_an_image_is_fetched(host):
    host("docker")
    with pytest.raises(cli.Usage, match="--output is missing"):
        container.command(IMAGE, ["--model=x.onnx"])
