"""A stand-in for docker and podman: records its call and runs it here, in the clean environment of
an image that has the toolkit $FAKE_IMAGE; FAKE_DOCKER is a status that it fails with.
"""
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import record  # noqa: E402

words = sys.argv[1:]
record.call(Path(os.environ["FAKE_DOCKER_NAME"]).name)
if os.environ.get("FAKE_DOCKER"):
    print("docker: Cannot connect to the Docker daemon", file=sys.stderr)
    sys.exit(int(os.environ["FAKE_DOCKER"]))
assert words[:2] == ["run", "--rm"], words
image = next(i for i, word in enumerate(words[2:], 2) if not word.startswith("--"))
flags = [word.partition("=")[::2] for word in words[2:image]]
home = os.environ["FAKE_IMAGE"]
kept = {"PATH", "FAKE_ASCEND_LOG", "FAKE_ATC"}
env = {name: value for name, value in os.environ.items() if name in kept}
env.update(ASCEND_TOOLKIT_HOME=home, PATH=f"{home}/bin:{env['PATH']}")
for name, value in flags:
    if name == "--env":
        key, equals, text = value.partition("=")
        env[key] = text if equals else os.environ[key]
given = dict(flags)
sys.exit(subprocess.run([given["--entrypoint"], *words[image + 1:]], cwd=given["--workdir"],
                        env=env).returncode)
