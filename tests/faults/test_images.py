"""Faults in the images, on the real commands: those that cannot be read, odd names, files and
folders that do not belong there. What changes after `make eval` is in chain/test_pipeline.py."""
import io
import os
import shutil
import struct
import zlib

import numpy as np
import pytest
import tiny
from PIL import Image

from common.data.manifest import Manifest


@pytest.fixture
def folder(built):
    """The stand-in, with nothing built."""
    shutil.rmtree(built / "build")
    return built


# ---- images that cannot be read ----

def saved(kind, size=(90, 70), **options):
    coarse = np.random.default_rng(0).integers(0, 256, (8, 9, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(out, kind, **options)
    return out.getvalue()


def chunk(kind, content):
    check = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + check


def png(width, height, *more):
    """A PNG that says it is this large and holds next to nothing."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + body


def jpeg_of_size(width, height):
    """A small JPEG whose header says it is this large."""
    content = bytearray(saved("JPEG"))
    at = content.find(b"\xff\xc0")
    content[at + 5:at + 9] = struct.pack(">HH", height, width)
    return bytes(content)


WHOLE = saved("JPEG", (300, 300), quality=95)
TEXT_BOMB = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(200_000_000), 9))
BAD = {
    "truncated JPEG": WHOLE[:len(WHOLE) // 2], "JPEG without its last hundred bytes": WHOLE[:-100],
    "JPEG header alone": WHOLE[:300], "image of zero bytes": b"", "image of zeros": bytes(5000),
    "image of random bytes": np.random.default_rng(0).bytes(5000),
    "web page named .JPEG": b"<!DOCTYPE html><html></html>",
    "PostScript named .JPEG": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n",
    "PDF named .JPEG": b"%PDF-1.4\n1 0 obj\n<</Type /Catalog>>\nendobj\n",
    "truncated PNG named .JPEG": saved("PNG")[:-500],
    "truncated GIF named .JPEG": saved("GIF")[:400],
    "DDS that Pillow does not know": b"DDS " + struct.pack("<30I", 124, 1, *[0] * 28),
    "PNG with a wrong checksum": saved("PNG")[:40] + b"\xff" + saved("PNG")[41:],
    "PNG that says 60000×60000": png(60000, 60000),
    "JPEG that says 65500×65500": jpeg_of_size(65500, 65500),
    "PNG whose text unpacks to 200 MB": png(9, 9, TEXT_BOMB), "PNG of 0×0": png(0, 0),
    "git-lfs pointer named .JPEG": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
    "broken link": lambda path: path.symlink_to("nowhere.JPEG"),
    "link to itself": lambda path: path.symlink_to(path.name),
    "image that may not be read": lambda path: (path.write_bytes(WHOLE), path.chmod(0))}


@pytest.fixture(
    scope="module", params=[0, pytest.param(640, marks=pytest.mark.slow)],
    ids=["by Pillow", "the quick way"])
def damaged(whole, tmp_path_factory, request):
    """Good and bad images, and the step that ran on them; of 600 and more, ordinary JPEGs are
    decoded by another library, which must not take more or fewer."""
    folder = tiny.fresh(whole, tmp_path_factory.mktemp("damaged") / "spnasnet")
    lines = [f"{name} {label}" for name, label in zip(tiny.NAMES, tiny.LABELS)]
    for i, content in enumerate(BAD.values()):
        path = folder / f"data/val/bad_{i}.JPEG"
        content(path) if callable(content) else path.write_bytes(content)
        lines.append(f"{path.name} 5")
    for i in range(request.param):
        os.link(folder / "data/val" / tiny.NAMES[i % 8], folder / f"data/val/img_{i}.JPEG")
        lines.append(f"img_{i}.JPEG 5")
    tiny.write_labels(folder / "data", lines)
    owner = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")
    words = owner if not os.geteuid() and shutil.which("setpriv") else ()
    return folder, tiny.prep(folder, "bins", "--jobs", "2", wrapper=words), request.param


@pytest.mark.parametrize("name", [
    pytest.param(n, marks=pytest.mark.fault(n, "exit 1, listed by name, all others written"))
    for n in BAD])
def test_cannot_be_read(damaged, seen, name):
    folder, done, _ = damaged
    if "may not be read" in name and not os.geteuid() and not shutil.which("setpriv"):
        pytest.skip("root may read anything, and setpriv is not here to take that away")
    start = f"bad image: bad_{list(BAD).index(name)}.JPEG: "
    lines = [line for line in done.stdout.splitlines() if line.startswith(start)]
    seen(f"exit {done.returncode}: {lines}")
    assert len(lines) == 1 and len(lines[0]) > len(start) + 3 and "<_io" not in lines[0]


def test_the_others_are_written(damaged, whole):
    folder, done, more = damaged
    count = len(BAD) + 8 + more
    tiny.failed(done, f"{len(BAD)} of {count} images could not be read, listed above",
                "--allow-partial")
    good = {p.name: p.read_bytes() for p in (whole / tiny.PREP).glob("*.bin")}
    bins = {p.name: p.read_bytes() for p in (folder / "bins").glob("[!.]*")}
    assert {n: bins[n] for n in good} == good and len(bins) == 8 + more  # and no manifest.json
    for i in range(more):
        assert bins[f"img_{i}.bin"] == good[f"{tiny.NAMES[i % 8][:-5]}.bin"]


@pytest.mark.fault("bad images, ALLOW_PARTIAL=1", "every later output says how many are missing")
def test_allowed(folder, seen):
    for name in tiny.NAMES[:2]:
        os.truncate(folder / "data/val" / name, 2000)
    done = tiny.make(folder, "eval")
    tiny.failed(done, "2 of 8 images could not be read", "ALLOW_PARTIAL=1", status=2)
    assert not list(folder.glob("build/eval*"))
    assert not (folder / "build/prep/manifest.json").exists()
    done = tiny.make(folder, "eval", "ALLOW_PARTIAL=1")
    seen(done)
    said = tiny.worked(done)
    assert "wrote 6 bins of 6 images, 2 missing (partial)" in said
    assert "total=6 missing=2 partial" in said and "partial: 2 of 8 images" in said
    assert sorted(Manifest.load(folder / tiny.PREP).info["bad"]) == tiny.NAMES[:2]


@pytest.mark.fault("strip of 1×30000 with its aspect kept", "exit 1, listed, no gigabytes taken")
def test_strip(folder, seen):
    Image.new("L", (1, 30000)).save(folder / "data/val" / tiny.NAMES[0], "PNG")
    limited = ("bash", "-c", 'ulimit -v 3000000; exec "$0" "$@"')
    done = tiny.prep(folder, "bins", "--keep-aspect", "--jobs", "1", wrapper=limited)
    seen(done)
    tiny.failed(done, "1 of 8 images could not be read")
    assert f"bad image: {tiny.NAMES[0]}: is 1×30000 pixels" in done.stdout
    tiny.worked(tiny.prep(folder, "squashed"))  # squashed it is an image like others


# ---- names, folders, links, all the way to the score ----

SYNSETS = (tiny.ROOT / "common/imagenet_synsets.txt").read_text().split()
# Blanks, dots and one name in two class folders, as in ImageNet-A and -R; what shells and ais_bench
# would trip over; another name for a JPEG.
ODD = ["0.001_digital clock _ 0.86.jpg", "art_0.jpg", "art_0.jpg", "图';touch ran;'.JPEG",
       "-1.JPEG", "é b.JPEG", "x" * 240 + ".JPEG", "0.jfif"]


@pytest.mark.slow
@pytest.mark.fault("names as in ImageNet-A and -R, and worse", "the same score")
def test_names_to_the_score(folder, seen):
    for name, image, label in zip(ODD, tiny.NAMES, tiny.LABELS):
        (folder / "data/val" / SYNSETS[label]).mkdir()
        (folder / "data/val" / image).rename(folder / "data/val" / SYNSETS[label] / name)
    (folder / "data/val_label.txt").unlink()
    done = tiny.make(folder, "eval")
    seen(done)
    assert tiny.last_line(done) == tiny.LINE and not (folder / "ran").exists()


def classes(val):
    """Move the images into folders of their classes."""
    for image, label in zip(tiny.NAMES, tiny.LABELS):
        (val / SYNSETS[label]).mkdir(exist_ok=True)
        (val / image).rename(val / SYNSETS[label] / image)
    (val.parent / "val_label.txt").unlink()


@pytest.mark.fault("class folder that may not be listed", "exit 1 before a bin is written, named")
def test_folders(folder, as_owner, seen):
    classes(folder / "data/val")
    (folder / "data/val" / SYNSETS[25]).chmod(0)
    done = tiny.prep(folder, wrapper=as_owner, timeout=60)
    seen(done)
    tiny.failed(done, f"Permission denied: .*{SYNSETS[25]}")
    assert not (folder / "bins").exists()
