"""What the READMEs tell people to type works, on a model folder alone, and prints what they say;
every line of make has verbs and settings that exist; the Chinese pages tell the same."""
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter

import pytest
import tiny
from conftest import ROOT, copy_of, make

READMES = sorted(p.with_name("README.md") for p in ROOT.glob("*/model.py"))
CHINESE = "README.zh-CN.md"
DOCS = sorted(p for p in ROOT.glob("docs/*.md") if ".zh-CN" not in p.name)
TWO = [ROOT / "README.md", *READMES, *DOCS]  # those that exist in both languages
PAGES = [*sorted(set(ROOT.glob("*.md")) - {ROOT / CHINESE}), *READMES, *DOCS]
BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^ *```$", re.M | re.S)
MARK = "--- end of block ---"


def name(page):
    return page.parent.name if page.name == "README.md" else page.stem


def chinese(page):
    return page.with_name(f"{page.stem}.zh-CN.md")


def blocks(text):
    """(language, content) of the fenced blocks, indentation taken off."""
    for indent, language, content in BLOCK.findall(text):
        lines = content.splitlines(True)
        yield language, "".join(line.removeprefix(indent) for line in lines)


def prose(page):
    return BLOCK.sub("", page.read_text())


# ---- the steps by hand ----
def shape(line):
    """A line with its figures masked: they depend on the machine."""
    return re.sub(r"\d+(\.\d+)?(e[+-]?\d+)?", "#", line).strip()


def run_blocks(text, folder, env=None):
    """Run the bash blocks of a page in one shell; each must print the lines of the text block
    after it, in order."""
    todo = list(blocks(text))
    commands = [content for language, content in todo if language == "bash"]
    script = "\n".join(f"{content}\necho {shlex.quote(MARK)}" for content in commands)
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=folder, text=True,
                          env=tiny.environment(**(env or {"PYTHONPATH": None})),
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    printed, said = iter(done.stdout.split(MARK + "\n")), ""
    for language, content in todo:
        if language == "bash":
            said = next(printed)
        elif language == "text":
            lines = iter([shape(line) for line in said.splitlines()])
            for wanted in content.splitlines():
                there = wanted.strip() in ("", "…") or shape(wanted) in lines
                assert there, f"not printed: {wanted}\n{said}"
    return done.stdout


@pytest.mark.parametrize("readme", [
    pytest.param(p, id=name(p), marks=[] if name(p) == "spnasnet" else pytest.mark.slow)
    for p in READMES])
def test_steps_by_hand(readme, tmp_path):
    said = run_blocks(readme.read_text(), copy_of(name(readme), tmp_path))
    assert "could not be checked" not in said  # every figure has its chain
    good, total = re.findall(r"^top1=\S+ top5=\S+ good=(\d+) total=(\d+)", said, re.M)[-1]
    assert int(total) >= 32 and int(good) >= 0.9 * int(total)


# ---- lines of make ----
def make_lines(text):
    """(heading, words after make) of every call of make in the sh and bash blocks. An … is the
    settings of the block's first call."""
    for block in BLOCK.finditer(text):
        heading = ([""] + re.findall(r"^##+ .*", text[:block.start()], re.M))[-1]
        first = []
        content = block[3] if block[2] in ("sh", "bash") else ""
        for line in re.sub(r"\\\n|(?<=&&)\n", " ", content).splitlines():
            words = shlex.split(line, comments=True)
            if words and "make " in words[-1]:  # ssh HOST '… make …', bash -c '… make …'
                words = shlex.split(words[-1])
            if "make" not in words:
                continue
            words = words[words.index("make") + 1:]
            if "…" in words:
                given = {word.partition("=")[0] for word in words}
                words.remove("…")
                words += [word for word in first if word.partition("=")[0] not in given]
            first = first or [word for word in words if "=" in word]
            yield heading, words


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the repository where nothing is built, with weights at hand in every folder; beside
    it images, an .om, and a bin/ with trtexec and the benchmark tool."""
    top = tmp_path_factory.mktemp("checkout") / "top"
    left_out = shutil.ignore_patterns(
        ".*", "build", "weights", "tests", "report", "results", "__pycache__")
    shutil.copytree(ROOT, top, ignore=left_out)
    (top / ".venv").symlink_to(sys.prefix)
    for published in top.glob("*/published.json"):
        file = json.loads(published.read_text())["weights"]["file"]
        (published.parent / "weights").mkdir()
        (published.parent / "weights" / file).touch()
    for folder in ("bin", "imagenet"):
        (top.parent / folder).mkdir()
    (top.parent / "made-elsewhere.om").touch()
    for tool in (f"benchmark.{platform.machine()}", "trtexec"):
        (top.parent / "bin" / tool).touch(0o755)
    return top


def dry_run(top, folder, about, words, ascend):
    """Let make say what it would do: an unknown verb, an unknown setting and a refused value are
    errors. Where page or heading (`about`) are about an Ascend host there is one."""
    place = str(top.parent)
    words = [re.sub(r"=(/(data|shared)/[\w-]+|imagenet$)", f"={place}/imagenet", word)
             for word in words]
    words = [f"OM={place}/made-elsewhere.om" if w.startswith("OM=") else w for w in words]
    there = re.search("ascend", " ".join([about, *words]), re.I)
    env = ascend.env() if there else {"PATH": os.environ["PATH"]}
    make(folder, "-n", *words, env={**env, "PATH": f"{env['PATH']}:{place}/bin"})
    if "new" in words:
        new, = (word[6:] for word in words if word.startswith("MODEL="))
        shutil.copytree(top / "ShiftViT", top / new)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_lines_of_make_would_run(page, checkout, fake_ascend):
    folder = checkout / name(page) if page in READMES else checkout
    for heading, words in make_lines(page.read_text()):
        dry_run(checkout, folder, f"{page.stem} {heading}", words, fake_ascend)
    for language, content in blocks(page.read_text()):
        if language in ("sh", "bash"):
            done = subprocess.run(["bash", "-n"], input=content, text=True, capture_output=True)
            assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("line", [
    "make evall", "make eval BATCH=8", "make -C ShiftViT eval BS=7", "make -C Nowhere om",
    "make -C SPACH infer DEVICE=0,1", "ssh user@npu 'make -C SPACH infr'",
    "docker run image make demo MODELS=Nope"])
def test_a_line_that_would_not_run_is_seen(line, checkout, fake_ascend):
    (_, words), = make_lines(f"```sh\n{line}   # wrong\n```")
    with pytest.raises(AssertionError):
        dry_run(checkout, checkout, "", words, fake_ascend)


@pytest.mark.parametrize("page", [*PAGES, *map(chinese, TWO)],
                         ids=lambda p: str(p.relative_to(ROOT)))
def test_what_running_text_names_exists(page):
    """Verbs, settings, and files of the repository."""
    files = ("Makefile", "common/settings.mk", "common/plan.mk", "common/pipeline.mk",
             "tools/verbs.mk", "spnasnet/benchmark.mk")
    text = "".join((ROOT / file).read_text() for file in files)
    verbs = set(re.findall(r"^([a-z][a-z-]*):.*## ", text, re.M))
    settings = set(re.findall(r"^([A-Z_]+) :=", text, re.M))
    settings |= {"KILLS", "CASES", "TE_PARALLEL_COMPILER"}
    for span in re.findall(r"`([^`\n]+)`", prose(page)):
        verb = re.match(r"make (?:-[nj]\d* |-C \S+ )*([a-z][a-z-]+)", span)
        assert verb is None or verb[1] in verbs, span
        setting = re.match(r"(?:make .* )?([A-Z_]+)=", span)
        assert setting is None or setting[1] in settings, span
        path = re.fullmatch(r"(?:common|tests|tools|docs)/[\w./-]*", span)
        assert path is None or any((base / span).exists() for base in (ROOT, page.parent)), span


@pytest.mark.parametrize("page", ["reliability.md", "reliability.zh-CN.md"])
def test_tests_that_the_table_names_exist(page):
    code = "".join(path.read_text() for path in ROOT.glob("tests/*/test_*.py"))
    cells = "".join(re.findall(r"\|([^|\n]*)\|$", (ROOT / "docs" / page).read_text(), re.M))
    names = re.findall(r"\w*[a-z]_\w+", re.sub(r"`[^`]*`", "", cells))
    assert len(names) > 50 and [name for name in names if name not in code] == []


# ---- two hosts ----
def repository(tmp_path, model, weights):
    """A repository whose only model is the small network, its weights at hand; its data apart."""
    top = tiny.repository(tmp_path / "top", model)
    (top / model / "weights").mkdir()
    (top / model / "tiny.pth").rename(top / model / "weights" / weights)
    (top / model / "data").rename(tmp_path / "imagenet")
    return top


def moved(text, fake_ascend, images):
    """A page of docs/ with its paths of an NPU host replaced by those of this one."""
    for old, new in ("/usr/local/Ascend", fake_ascend.root), ("/data/imagenet", images):
        assert old in text
        text = text.replace(old, str(new))
    return text


SSH = """\
#!/bin/sh
# Another host: commands run in its home, whatever -l and host were given; the images are not there.
while [ "$1" = -l ]; do shift 2; done
shift
mv {images} {images}.away
cd {home} && HOME={home} bash -c "$*"
status=$?
mv {images}.away {images}
exit $status
"""


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("rsync"), reason="rsync is not installed")
def test_two_hosts(tmp_path, fake_ascend):
    """The lines of docs/ascend.md, in order, with the small network and a stand-in for ssh."""
    top = repository(tmp_path, "SPACH", "model_best.pth.tar")
    here = top / "SPACH"
    other = tmp_path / "other"
    other.mkdir()
    fake_ascend.script(fake_ascend.bin / "python3")
    ssh = SSH.format(home=other, images=tmp_path / "imagenet")
    (fake_ascend.bin / "ssh").write_text(ssh)
    (fake_ascend.bin / "ssh").chmod(0o755)
    text = (ROOT / "docs/ascend.md").read_text()
    lines, = (block for _, block in blocks(text) if "HOST=" in block)
    lines = moved(lines, fake_ascend, tmp_path / "imagenet")
    done = subprocess.run(["bash", "-exuo", "pipefail", "-c", lines], cwd=top, text=True,
                          env=tiny.environment(**fake_ascend.env(loaded=False, HOME=here)),
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    assert tiny.LINE in done.stdout
    assert list(here.glob("build/*.om")) and list(other.glob("SPACH/build/prep/*.bin"))


# ---- the two languages, flags, links ----
def headings(path):
    return re.findall(r"^(#{2,} .*)", path.read_text(), re.M)


@pytest.mark.parametrize("readme", READMES, ids=name)
def test_same_outline_everywhere(readme):
    assert headings(readme) == headings(ROOT / "ShiftViT/README.md")
    assert headings(readme.with_name(CHINESE)) == headings(ROOT / "ShiftViT" / CHINESE)


@pytest.mark.parametrize("readme", READMES, ids=name)
def test_flags_in_the_readme_exist(readme):
    """Every flag that the parameter table names is one of its script's or of all such scripts."""
    table = readme.read_text().split("### Parameters")[1].split("###")[0]
    shared = (ROOT / "common/score/script.py").read_text()
    script = None
    for cells in re.findall(r"^\| (.*?) \| (.*?) \|", table, re.M):
        named = re.search(r"`(\w+\.py)`", cells[0])
        script = named[1] if named else script
        for flag in re.findall(r"`(--?[\w-]+)`", cells[1]):
            assert f'"{flag}"' in (readme.parent / script).read_text() + shared, (script, flag)


def flags_of(program, text):
    """The flags that the commands of a page give a program."""
    lines = [line.strip() for language, block in blocks(text) if language in ("sh", "bash")
             for line in block.replace("\\\n", " ").splitlines()]
    mine = [line for line in lines if re.match(rf"(\./|python3 -m )?{program}[ .]", line)]
    return set(re.findall(r"(?<= )--?[A-Za-z]\w+", " ".join(mine))) - {"-m"}


@pytest.mark.parametrize("readme", READMES, ids=name)
def test_each_flag_of_a_program_is_explained(readme):
    """ModelZoo's pages say what each flag means; so do ours, of the commands that they have."""
    text = readme.read_text()
    table = text.split("### Flags of atc and ais_bench")[1].split("###")[0]
    told, program = {}, None
    for cells in re.findall(r"^\| (.*?) ?\| `(--?\w+)` \|", table, re.M):
        program = cells[0].strip("`") or program
        told.setdefault(program, set()).add(cells[1])
    assert {"atc", "ais_bench"} <= set(told)
    assert told == {program: flags_of(program, text) for program in told}
    assert "benchmark" in told or not flags_of("benchmark", text)


def in_both(text):
    """What a page has in either language: levels of headings, code without its comments, link
    targets, and tables as (numbers, code spans, columns) per row."""
    running = BLOCK.sub("", text)
    code = [(language, re.sub(r"\s+# .*|(?<=\S)  +\S.*", "", content))
            for language, content in blocks(text)]
    targets = re.findall(r"\]\(([^)\s]+)\)", running)
    of_language = r"(/?README)?(\.zh-CN)?\.md(#.*)?$|(?<=hiascend\.com/).*|(?<=#).*"
    links = sorted(re.sub(of_language, "", target) for target in targets)
    tables = [[(sorted(re.findall(r"\d+(?:\.\d+)?", row)), Counter(re.findall(r"`[^`]+`", row)),
                row.count("|")) for row in table.splitlines()]
              for table in re.findall(r"(?:^\|.*\n)+", running, re.M)]
    return re.findall(r"^#+(?= )", running, re.M), code, links, tables


@pytest.mark.parametrize("readme", TWO, ids=name)
def test_chinese_and_english_tell_the_same(readme):
    english, other = readme.read_text(), chinese(readme).read_text()
    assert f"({chinese(readme).name})" in english.split("## ")[0]
    assert f"({readme.name})" in other.split("## ")[0]
    ours, theirs = in_both(english), in_both(other)
    assert ours[:3] == theirs[:3] and len(ours[3]) == len(theirs[3])
    for one, same_table in zip(ours[3], theirs[3], strict=True):
        for (numbers, spans, columns), (same, more, there) in zip(one, same_table, strict=True):
            assert (numbers, columns) == (same, there)
            assert spans <= more  # Chinese names a file where English says "the manifest"
    # Every paragraph was translated.
    plain = re.sub(r"`[^`\n]*`|\[.*?\]\(.*?\)|<!--.*?-->", "", BLOCK.sub("", other))
    for paragraph in re.split(r"\n{2,}", plain):
        words = re.findall(r"[A-Za-z]{2,}", paragraph)
        assert len(words) < 12 or re.search("[\u4e00-\u9fff]", paragraph), paragraph


@pytest.mark.parametrize("page", [*PAGES, *map(chinese, TWO)],
                         ids=lambda p: str(p.relative_to(ROOT)))
def test_linked_files_exist(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if "://" not in target and not target.startswith("#"):
            assert (page.parent / target.split("#")[0]).exists(), target
