"""What only a forge runs: its files are sound, and their commands work here where they can."""
import json
import re
import subprocess

import pytest
import tiny
import yaml
from ascend import FAKES
from conftest import ROOT
from test_install import locked

WORKFLOWS = ROOT / ".github/workflows"


def load(path):
    return yaml.safe_load((ROOT / path).read_text())


def steps(workflow, job):
    """(job, the shell lines of its steps) of a workflow."""
    found = load(WORKFLOWS / f"{workflow}.yml")["jobs"][job]
    return found, [step["run"] for step in found["steps"] if "run" in step]


def test_ci_is_the_readme_s_test_command():
    job, lines = steps("ci", "test")
    assert lines == [".ci/run"] and "make test" in (ROOT / ".ci/run").read_text()
    runs = [(run["os"], run["python"]) for run in job["strategy"]["matrix"]["include"]]
    assert {python for _, python in runs} == {"3.11", "3.13"}
    assert any(system.endswith("-arm") for system, _ in runs)


def test_atc_has_every_model_and_the_images_of_the_page():
    job, _ = steps("atc", "om")
    matrix = job["strategy"]["matrix"]
    assert sorted(matrix["model"]) == sorted(path.parent.name for path in ROOT.glob("*/model.py"))
    assert matrix["opset"] == [11, 17]
    page = (ROOT / "docs/ascend.md").read_text()
    assert len(matrix["cann"]) == 3 and all(
        f"ascendai/cann:{tag}`" in page for tag in matrix["cann"])


@pytest.mark.slow
def test_atc_s_commands_and_what_it_keeps(tmp_path, fake_ascend):
    """The step that compiles, on the small network with a stand-in for docker; then each path that
    is uploaded is there."""
    job, lines = steps("atc", "om")
    top = tiny.repository(tmp_path / "top", "spnasnet")
    fake_ascend.script(fake_ascend.bin / "docker", FAKES / "docker.py")
    env = fake_ascend.env(loaded=False, FAKE_DOCKER_NAME="docker", MODEL="spnasnet", OPSET="17",
                          FAKE_IMAGE=fake_ascend.root / "ascend-toolkit/latest",
                          CANN=job["strategy"]["matrix"]["cann"][-1])
    assert set(job["env"]) == {"MODEL", "OPSET", "CANN"}
    build, = [line for line in lines if "CANN_IMAGE" in line]
    done = subprocess.run(["bash", "-eo", "pipefail", "-c", build], cwd=top, text=True,
                          env=tiny.environment(**env), capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ascendai/cann:9.0.1-310p-ubuntu22.04-py3.11" in fake_ascend.calls("docker")[0]["argv"]
    upload = job["steps"][-1]["with"]
    for pattern in upload["path"].splitlines():
        pattern = pattern.replace("${{ matrix.model }}", "spnasnet")
        assert list(top.glob(pattern.rstrip("/"))), pattern
    assert set(re.findall(r"matrix\.(\w+)", upload["name"])) == set(job["strategy"]["matrix"])


def test_pre_commit_runs_what_test_begins_with():
    repo, = load(".pre-commit-config.yaml")["repos"]
    hooks = {hook["id"]: hook["entry"] for hook in repo["hooks"]}
    makefile = (ROOT / "Makefile").read_text()
    assert hooks.pop("ruff") == ".venv/bin/python -m ruff check ."
    for name, entry in hooks.items():
        assert entry == f"make {name}" and re.search(rf"^{name}:", makefile, re.M)


def test_images_and_citation():
    for name in ("Dockerfile", "Dockerfile.ascend"):
        assert len((ROOT / name).read_text().splitlines()) <= 10
    hashed = "--require-hashes --only-binary :all: -r requirements.lock"
    assert hashed in (ROOT / "Dockerfile").read_text()
    where = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())
    assert where["postCreateCommand"] == "make setup"
    cited = load("CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= set(cited)
    assert cited["license"] == "Apache-2.0"
    assert f"# {cited['title']}\n" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("page", ["docs/licences.md", "docs/licences.zh-CN.md"])
def test_the_list_of_licences_is_the_lock(page):
    row = r"^\| ([a-z0-9-]+) \| (\d\S*) \| (\S.*) \|$"
    table = re.findall(row, (ROOT / page).read_text(), re.M)
    told = {f"{name}=={version}" for name, version, _ in table}
    pins = set(locked(ROOT / "requirements.lock"))
    assert told <= pins
    # Another version for a newer Python, and what only other systems install, have no row.
    assert {pin.split("==")[0] for pin in pins - told} <= {"contourpy", "scipy", "httpx2-jsfetch"}
