"""What the READMEs tell people to type works, in this order, on a model folder alone; and prints what they say."""
import os
import re
import shlex
import subprocess

import pytest
from conftest import ROOT, copy_of

READMES = sorted(p for p in ROOT.glob("*/README.md") if (p.parent / "model.py").exists())
BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^ *```$", re.M | re.S)


def blocks(text):
    """(language, content) of the fenced blocks, indentation taken off."""
    for indent, language, content in BLOCK.findall(text):
        yield language, "".join(line.removeprefix(indent) for line in content.splitlines(True))


def shape(line):
    """A line with its figures masked: they depend on the machine."""
    return re.sub(r"\d+(\.\d+)?(e[+-]?\d+)?", "#", line).strip()


def run_blocks(text, folder):
    """Run the bash blocks of a README in one shell; each must print the lines of the text block behind it, in order."""
    marker = "--- end of block ---"
    todo = list(blocks(text))
    script = "\n".join(f"{content}\necho {shlex.quote(marker)}" for language, content in todo if language == "bash")
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MAKE") and k not in ("MFLAGS", "PYTHONPATH")}
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=folder, env=clean, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    printed = iter(done.stdout.split(marker + "\n"))
    said = ""
    for language, content in todo:
        if language == "bash":
            said = next(printed)
        elif language == "text":
            lines = iter([shape(line) for line in said.splitlines()])
            for wanted in content.splitlines():
                assert wanted.strip() in ("", "…") or shape(wanted) in lines, f"not printed: {wanted}\n{said}"
    return done.stdout


@pytest.mark.parametrize("readme", READMES, ids=lambda p: p.parent.name)
def test_steps_by_hand(readme, tmp_path):
    folder = copy_of(readme.parent.name, tmp_path)
    said = run_blocks(readme.read_text(), folder)
    good, total = re.findall(r"^top1=\S+ top5=\S+ good=(\d+) total=(\d+)", said, re.M)[-1]
    assert int(total) >= 32 and int(good) >= 0.9 * int(total)


def test_the_top_readme_names_commands_that_exist():
    text = (ROOT / "README.md").read_text()
    targets = set(re.findall(r"^([a-z][a-z-]*):.*## ", (ROOT / "Makefile").read_text(), re.M))
    targets |= set(re.findall(r"^([a-z][a-z-]*):.*## ", (ROOT / "common/model.mk").read_text(), re.M))
    for language, content in blocks(text):
        if language in ("bash", "sh"):
            for verb in re.findall(r"^make (?:-C \S+ )?([a-z-]+)", content, re.M):
                assert verb in targets, verb


def headings(path):
    return re.findall(r"^(#{2,} .*)", path.read_text(), re.M)


@pytest.mark.parametrize("readme", READMES, ids=lambda p: p.parent.name)
def test_same_outline_everywhere(readme):
    assert headings(readme) == headings(ROOT / "ShiftViT/README.md")


@pytest.mark.parametrize("readme", READMES, ids=lambda p: p.parent.name)
def test_flags_in_the_readme_exist(readme):
    """Every flag that the parameter table names is one of its script's."""
    table = readme.read_text().split("### Parameters")[1].split("###")[0]
    script = None
    for row in re.findall(r"^\| (.*?) \| (.*?) \|", table, re.M):
        name = re.search(r"`(\w+\.py)`", row[0])
        script = name[1] if name else script
        for flag in re.findall(r"`(--?[\w-]+)`", row[1]):
            assert f'"{flag}"' in (readme.parent / script).read_text(), f"{script} has no {flag}"
