"""Run common.ascend.atc in an image of CANN's: no CANN and no NPU are needed on this host.

    python3 -m common.ascend.container ascendai/cann:9.0.1-310p-ubuntu22.04-py3.11 \\
        --framework=5 --model=build/x.onnx --output=build/x_bs8 --soc_version=Ascend310P3

(make om CANN_IMAGE=…) By docker, or by podman where there is no docker. The container sees this
folder, that of --output and those of the files that flags name, under their names here: the .om and
its record are those that atc leaves on a host with CANN. It runs as this user, and CANN's log goes
to ascend-log beside the .om.
"""
from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from common import cli
from common.ascend import atc

# The vendor's images have CANN's environment; a login shell would lose it. atc without a driver
# takes the stub of its library from devlib.
SCRIPT = """
for file in /usr/local/Ascend/{cann,ascend-toolkit}/set_env.sh; do
  if ! command -v atc >/dev/null && [ -f $file ]; then source $file; fi
done
devlib=$ASCEND_TOOLKIT_HOME/$(uname -m)-linux/devlib
export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$devlib
exec python3 -m common.ascend.atc "$@"
"""
PASSED = ("DEBUG", "TE_PARALLEL_COMPILER", "ASCEND_SLOG_PRINT_TO_STDOUT")


def engine():
    """[program, the flags that make it run as this user]; Failure when there is none."""
    if shutil.which("docker"):
        return ["docker", f"--user={os.getuid()}:{os.getgid()}"]
    if shutil.which("podman"):  # its root is this user already; SELinux would hide the folders
        return ["podman", "--userns=keep-id", "--security-opt=label=disable"]
    raise cli.Failure("CANN_IMAGE= needs docker or podman, and neither is installed",
                      "install one, or leave out CANN_IMAGE= where CANN is loaded")


def folders(flags):
    """The folders that the container has to see, without those inside another."""
    found = [Path.cwd()]
    found += [Path(value).absolute().parent for name, value in flags
              if name in atc.READS or name == "output"]
    found += [Path(value).absolute() for name, value in flags if name in atc.KEEPS]
    return sorted(path for path in set(found) if not set(path.parents) & set(found))


def command(image, words):
    """The command line that runs common.ascend.atc with `words` in `image`."""
    flags = atc.get_args(words)
    program, *as_user = engine()
    log = Path(dict(flags)["output"]).absolute().with_name("ascend-log")
    seen = [f"--volume={path}:{path}" for path in folders(flags)]
    told = {"HOME": "/tmp", "USER": "user", "PYTHONDONTWRITEBYTECODE": "1",
            "ASCEND_PROCESS_LOG_PATH": log}
    environment = [f"--env={name}={value}" for name, value in told.items()]
    environment += [f"--env={name}" for name in PASSED if name in os.environ]
    return [program, "run", "--rm", *as_user, *seen, *environment, f"--workdir={Path.cwd()}",
            "--entrypoint=bash", image, "-c", SCRIPT, "atc", *words]


def main():
    words = sys.argv[1:]
    if not words or words[0].startswith("-"):
        print(__doc__)
        sys.exit(0 if words[:1] in (["-h"], ["--help"]) else 2)
    image, *words = words
    line = command(image, words)
    status = subprocess.run(line, stdin=subprocess.DEVNULL).returncode
    if status in (125, 126, 127):  # of docker and podman themselves; atc.py ends with 1 or 2
        raise cli.Failure(f"{line[0]} could not run {image} (status {status})", "its message is "
                          "above: is it running, may you use it, is the image's name right?")
    if status < 0 or status > 128:
        raise cli.Failure(f"{line[0]} was ended by a signal (status {status})",
                          "was memory short? TE_PARALLEL_COMPILER=1 in the environment takes less")
    sys.exit(status)


if __name__ == "__main__":
    cli.run(main)
