"""What the READMEs tell people to type works, in this order, on a model folder alone, and prints what they say; the Chinese
ones tell the same."""
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
import test_remote
import test_runners
from conftest import ROOT, copy_of, make

READMES = sorted(p for p in ROOT.glob("*/README.md") if (p.parent / "model.py").exists())
CHINESE = "README.zh-CN.md"
PAGES = [*sorted(p for p in ROOT.glob("*.md") if p.name != CHINESE), *READMES, *sorted(ROOT.glob("docs/*.md"))]
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


def targets():
    """The verbs of the repository's Makefile and of a model folder's."""
    text = (ROOT / "Makefile").read_text() + (ROOT / "common/model.mk").read_text()
    return set(re.findall(r"^([a-z][a-z-]*):.*## ", text, re.M))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_verbs_in_running_text_exist(page):
    for span in re.findall(r"`(make .*?)`", BLOCK.sub("", page.read_text())):
        verb = re.match(r"make (?:-\S+ (?:[A-Z]\S+ )?)*([a-z-]+)", span)
        assert verb is None or verb[1] in targets(), span


def make_lines(text, languages):
    """(heading, words behind make, comment) of every call of make in the blocks of these languages. An … stands for the
    variables of the block's first call."""
    for block in BLOCK.finditer(text):
        if block[2] in languages:
            heading = ([""] + re.findall(r"^##+ .*", text[:block.start()], re.M))[-1]
            first = []
            for line in block[3].replace("\\\n", " ").splitlines():
                command, _, comment = line.partition(" # ")
                words = shlex.split(command)
                if "make" in words:
                    words = words[words.index("make") + 1:]
                    if "…" in words:
                        given = {word.partition("=")[0] for word in words}
                        words = [w for w in words if w != "…"] + [w for w in first if w.partition("=")[0] not in given]
                    first = first or [word for word in words if "=" in word]
                    yield heading, words, comment


def copy_of_all(top):
    """A copy of the repository without tests and what was made in it, with our environment."""
    left = shutil.ignore_patterns(".*", "build", "weights", "tests", "report", "results", "__pycache__")
    shutil.copytree(ROOT, top, ignore=left)
    (top / ".venv").symlink_to(sys.prefix)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the repository where `prep` and `onnx` have been made, beside it a bin/ with trtexec and the benchmark tool."""
    top = tmp_path_factory.mktemp("checkout") / "top"
    copy_of_all(top)
    for readme in READMES:
        folder = top / readme.parent.name
        name = re.search(r"^ONNX *:?= *(\S+)", (folder / "Makefile").read_text(), re.M)[1]
        for file in (folder / "build/prep/manifest.json", folder / f"build/{name}.onnx"):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
    (top.parent / "bin").mkdir()
    for tool in (f"benchmark.{platform.machine()}", "trtexec"):
        (top.parent / "bin" / tool).touch(0o755)
    return top


def dry_run(top, folder, heading, words, comment, ascend):
    """Let make say what it would do: an unknown verb, an unknown variable and a refused value end it. Where the line is about
    an Ascend host there is one; and there are weights, unless the line is about the demo."""
    for published in top.glob("*/published.json"):
        weights = published.parent / "weights" / json.loads(published.read_text())["weights"]["file"]
        weights.parent.mkdir(exist_ok=True)
        weights.unlink(missing_ok=True) if "demo" in comment else weights.touch()
    om = top / "made-elsewhere.om"
    om.touch()
    words = [f"OM={om}" if word.startswith("OM=") else word for word in words]
    for word in words:
        if word.startswith("VERB="):
            assert set(word[5:].split()) <= targets(), word
    env = ascend.env() if re.search("ascend", " ".join([heading, *words]), re.I) else {"PATH": os.environ["PATH"]}
    make(folder, "-n", *words, env={**env, "PATH": f"{env['PATH']}:{top.parent}/bin"})
    if "new" in words:
        name, = (word[6:] for word in words if word.startswith("MODEL="))
        shutil.copytree(top / "ShiftViT", top / name)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_that_are_not_run_would_run(page, checkout, fake_ascend):
    """Also of the pages whose lines are not run here but in other tests (test_new, test_scale_out)."""
    by_hand = page in READMES  # test_steps_by_hand runs the bash blocks of these
    folder = checkout / page.parent.name if by_hand else checkout
    text = page.read_text()
    for heading, words, comment in make_lines(text, ("sh",) if by_hand else ("sh", "bash")):
        dry_run(checkout, folder, heading, words, comment, fake_ascend)
    for language, content in blocks(text):
        if language in ("sh", "bash"):
            done = subprocess.run(["bash", "-n"], input=content, text=True, capture_output=True)
            assert done.returncode == 0, done.stderr


def small(words, page):
    """What these words of a README's line become, so that they end soon: few runs, and two models where all five are meant."""
    verbs = set(words) & targets()
    more = ["BATCHES=1", "LOOP=2", "REPEATS=1"] if "sweep" in verbs else ["LOOP=2"] if verbs & {"bench", "remote"} else []
    more += ["MODELS=ShiftViT spnasnet"] if words[:1] == ["eval"] and page == "README.md" else []
    # The pages' readers have a data set; where a line does not name it, the weights would be refused without it.
    return words + more + (["DATA=/data/imagenet"] if verbs & {"sweep", "predict", "bench"} else [])


class Reader:
    """A copy of the repository, and what a page's reader has besides: a data set, a photograph, a server with the official
    checkpoints, another host with an NPU. The images and weights are the demo's, and nothing says so."""

    def __init__(self, folder, ascend):
        self.top, self.ascend, self.other = folder / "top", ascend, None
        copy_of_all(self.top)
        self.script("ShiftViT", "images", "--out", folder / "made")
        for image in sorted((folder / "made/val").glob("*/*.JPEG"))[::12]:
            (folder / "imagenet/val" / image.parent.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(image, folder / "imagenet/val" / image.parent.name)
        for place in (self.top, *(readme.parent.name for readme in READMES)):
            shutil.copy(image, self.top / place / "photo.jpg")
        for tool, content in ((test_runners.TOOL, test_runners.BENCHMARK), ("trtexec", test_runners.TRTEXEC)):
            (ascend.bin / tool).write_text(content)
            (ascend.bin / tool).chmod(0o755)
        self.folder, self.served = folder, set()

    def script(self, model, *words):
        subprocess.run([sys.executable, "-m", "common.data.demo", *map(str, words)], cwd=self.top / model, check=True)

    def serve(self, model):
        """Put a checkpoint where the model's published.json says that the official one is."""
        if model not in self.served:
            self.served.add(model)
            path = self.top / model / "published.json"
            published = json.loads(path.read_text())
            weights = self.folder / "served" / published["weights"]["file"]
            self.script(model, "weights", "--data", self.folder / "made", "--out", weights)
            published["weights"].update(urls=[weights.as_uri()], md5=None)
            path.write_text(json.dumps(published))

    def run(self, page, heading, words):
        """Run a line of make with the page's words; what it printed."""
        named = re.findall(r"[\w-]+", " ".join([page, *words]))
        models = [name for name in named if (self.top / name / "published.json").exists()]
        for model in models:
            self.serve(model)
            if page == "README.md" and "weights" not in words and not (self.top / model / "weights").exists():
                make(self.top / model, "weights")  # the page has this line for one model
        om, built = self.folder / "made-elsewhere.om", self.top / models[0] / "build" if models else None
        if any(word.startswith("OM=") for word in words):
            for ending in ("", ".json"):
                shutil.copy(next(built.glob(f"*bs8.om{ending}")), f"{om}{ending}")
        if "HOST=user@npu" in words:
            self.other = self.other or test_remote.Other(self.folder / "other", self.ascend)
            words = [*(word for word in words if word != "HOST=user@npu"), *self.other.words]
        words = [f"OM={om}" if word.startswith("OM=") else word.replace("/data/imagenet", f"{self.folder}/imagenet")
                 for word in words]
        env = self.ascend.env() if re.search("ascend|trtexec", " ".join([heading, *words]), re.I) else None
        return make(self.top / page.partition("README")[0], *words, env=env)

    def end(self):
        if self.other:
            self.other.end()


@pytest.fixture
def reader(tmp_path, fake_ascend):
    reader = Reader(tmp_path, fake_ascend)
    yield reader
    reader.end()


LONG = pytest.mark.offline
SECTIONS = [("README.md", "## With your own data and weights", ()), ("README.md", "## On an Ascend host", LONG),
            *((f"{model}/README.md", "### With make", () if model == "spnasnet" else LONG)
              for model in (readme.parent.name for readme in READMES))]


@pytest.mark.parametrize("page, about", [pytest.param(page, about, marks=marks) for page, about, marks in SECTIONS])
def test_lines_of_make_run(page, about, reader):
    """Every line to its end, with the words of the page: Ascend's on the stand-ins, `push` and the like over sshd."""
    ran = set()
    for heading, words, _ in make_lines((ROOT / page).read_text(), ("sh", "bash")):
        verbs = set(words) & targets()
        if heading != about or verbs & {"push", "remote", "pull"} and not test_remote.SSHD:
            continue
        said = reader.run(page, heading, small(words, page))
        if "eval" in verbs:
            assert int(re.findall(r"^top1=.* good=(\d+) total=20$", said, re.M)[-1]) >= 18 or "RUNNER=benchmark" in words, said
        ran |= verbs
    assert {"eval", "bench"} <= ran


def test_no_section_is_left_out():
    """Two commands: CI, and test_pipeline's demo."""
    found = {(str(page.relative_to(ROOT)), heading) for page in (ROOT / "README.md", *READMES)
             for heading, words, _ in make_lines(page.read_text(), ("sh",) if page in READMES else ("sh", "bash"))}
    assert found == {(page, about) for page, about, _ in SECTIONS} | {("README.md", "## Two commands")}


@pytest.mark.parametrize("line", ["make evall", "make eval BATCH=8", "make -C ShiftViT eval BS=7", "make -C Nowhere om",
                                  "make -C SPACH infer DEVICE=0,1", "make -C SPACH remote HOST=user@npu VERB=infr",
                                  "docker run image make demo MODELS=Nope"])
def test_a_command_that_would_not_run_is_seen(line, checkout, fake_ascend):
    (_, words, comment), = make_lines(f"```sh\n{line}   # wrong\n```", ("sh",))
    with pytest.raises(AssertionError):
        dry_run(checkout, checkout, "", words, comment, fake_ascend)


def headings(path):
    return re.findall(r"^(#{2,} .*)", path.read_text(), re.M)


@pytest.mark.parametrize("readme", READMES, ids=lambda p: p.parent.name)
def test_same_outline_everywhere(readme):
    assert headings(readme) == headings(ROOT / "ShiftViT/README.md")
    assert headings(readme.with_name(CHINESE)) == headings(ROOT / "ShiftViT" / CHINESE)


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


def in_both(text):
    """What a README has in either language: levels of headings, code without its comments, link targets, tables as lists of
    (numbers, code spans) a row."""
    prose = BLOCK.sub("", text)
    code = []
    for language, content in blocks(text):
        if language == "sh":
            content = re.sub(r"\s+# .*", "", content)
        elif content.startswith("Makefile  "):  # the map: names, then words
            content = re.sub(r"(?<=\S)  +\S.*", "", content)
        code.append((language, content.splitlines()))
    links = sorted(re.sub(r"/?README(\.zh-CN)?\.md$", "", target) for target in re.findall(r"\]\(([^)\s]+)\)", prose))
    tables = [[(re.findall(r"\d+(?:\.\d+)?", row), Counter(re.findall(r"`[^`]+`", row)), row.count("|"))
               for row in table.splitlines()] for table in re.findall(r"(?:^\|.*\n)+", prose, re.M)]
    return re.findall(r"^#+(?= )", prose, re.M), code, links, tables


@pytest.mark.parametrize("readme", [ROOT / "README.md", *READMES], ids=lambda p: p.parent.name)
def test_chinese_and_english_tell_the_same(readme):
    english, chinese = readme.read_text(), readme.with_name(CHINESE).read_text()
    assert f"({CHINESE})" in english.split("## ")[0] and "(README.md)" in chinese.split("## ")[0]
    levels, code, links, tables = in_both(english)
    theirs = in_both(chinese)
    assert (levels, code, links) == theirs[:3]
    assert len(tables) == len(theirs[3])
    for ours, other in zip(tables, theirs[3], strict=True):
        assert [(numbers, columns) for numbers, _, columns in ours] == [(numbers, columns) for numbers, _, columns in other]
        for (_, spans, _), (_, more, _) in zip(ours, other, strict=True):
            assert spans <= more  # Chinese names a file where English says "the manifest"
    # Every paragraph was translated.
    for paragraph in re.split(r"\n{2,}", re.sub(r"`[^`\n]*`|\[.*?\]\(.*?\)|<!--.*?-->", "", BLOCK.sub("", chinese))):
        words = re.findall(r"[A-Za-z]{2,}", paragraph)
        assert len(words) < 12 or re.search("[\u4e00-\u9fff]", paragraph), paragraph


@pytest.mark.parametrize("page", [*PAGES, *(p.with_name(CHINESE) for p in [ROOT / "README.md", *READMES])],
                         ids=lambda p: str(p.relative_to(ROOT)))
def test_linked_files_exist(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", BLOCK.sub("", page.read_text())):
        if "://" not in target and not target.startswith("#"):
            assert (page.parent / target.split("#")[0]).exists(), target
