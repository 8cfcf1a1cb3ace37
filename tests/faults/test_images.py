"""Faults in the images: those that decode to what torchvision makes of them, those that cannot, names, links, permissions."""
import fcntl
import io
import json
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from faults import data
from faults.data import EVAL, LABELS, NAMES, failed, fresh, make, prep, run, worked


def pixels(mode="RGB", size=(90, 70), seed=0):
    """An image of smooth noise in any mode that Pillow writes."""
    rng = np.random.default_rng(seed)
    if mode.startswith("I;16"):
        return Image.fromarray(rng.integers(0, 65536, size[::-1], np.uint16))
    picture = Image.fromarray(rng.integers(0, 256, (8, 9, 4), np.uint8), "RGBA").resize(size, Image.Resampling.BICUBIC)
    return picture if mode == "RGBA" else picture.convert("RGB").convert(mode)


def saved(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def frames(kind, **options):
    return saved(pixels(), kind, save_all=True, append_images=[pixels(seed=1), pixels(seed=2)], **options)


def rotated():
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(pixels(), "JPEG", exif=exif)


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width, height, *more):
    """A PNG that says it is this large and holds next to nothing."""
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) + b"".join(more)
            + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b""))


def jpeg_of_size(width, height):
    """A small JPEG whose header says it is this large."""
    content = bytearray(saved(pixels(), "JPEG"))
    at = content.find(b"\xff\xc0")
    content[at + 5:at + 9] = struct.pack(">HH", height, width)
    return bytes(content)


# ---- images of another kind than their name says, which decode ----

DECODE = {
    "PNG named .JPEG": saved(pixels(), "PNG"),
    "CMYK JPEG": saved(pixels("CMYK"), "JPEG"),
    "grey JPEG": saved(pixels("L"), "JPEG"),
    "progressive JPEG": saved(pixels(), "JPEG", progressive=True),
    "EXIF-rotated JPEG": rotated(),
    "16-bit PNG": saved(pixels("I;16"), "PNG"),
    "palette PNG": saved(pixels("P"), "PNG"),
    "palette PNG with a transparent colour": saved(pixels("P"), "PNG", transparency=3),
    "RGBA PNG": saved(pixels("RGBA"), "PNG"),
    "grey PNG with alpha": saved(pixels("LA"), "PNG"),
    "PNG of one bit a pixel": saved(pixels("1"), "PNG"),
    "animated GIF named .JPEG": frames("GIF"),
    "animated WebP named .JPEG": frames("WEBP", lossless=True),
    "animated PNG named .JPEG": frames("PNG"),
    "TIFF of two pages named .JPEG": frames("TIFF"),
    "BMP named .JPEG": saved(pixels(), "BMP"),
    "image of 1×1": saved(pixels(size=(1, 1)), "PNG"),
    "image of 1×500": saved(pixels(size=(1, 500)), "PNG"),
    "JPEG with a second one behind it": saved(pixels(), "JPEG") + saved(pixels(seed=1), "JPEG"),
    "JPEG with rubbish behind it": saved(pixels(), "JPEG") + b"rubbish" * 99,
}


@pytest.fixture(scope="module")
def decoded(tiny, tmp_path_factory):
    """A folder in which the images of DECODE are preprocessed, by number; squashed, and with their aspect kept."""
    folder = fresh(tiny, tmp_path_factory.mktemp("decode") / "spnasnet")
    for image in (folder / "data/val").iterdir():
        image.unlink()
    os.remove(folder / "data/val_label.txt")
    for i, content in enumerate(DECODE.values()):
        (folder / f"data/val/img_{i}.JPEG").write_bytes(content)
    worked(prep(folder))
    worked(prep(folder, "kept", "--keep-aspect"))
    return folder


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.fault(n, "decoded as torchvision does")) for n in DECODE])
def test_decodes_as_torchvision(decoded, seen, name):
    from torchvision import transforms
    from torchvision.datasets.folder import default_loader

    stem = f"img_{list(DECODE).index(name)}"
    image = default_loader(str(decoded / f"data/val/{stem}.JPEG"))
    for folder, size in (("bins", (256, 256)), ("kept", 256)):
        wanted = transforms.Compose([
            transforms.Resize(size, transforms.InterpolationMode.BILINEAR), transforms.CenterCrop(224), transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))])(image).numpy()
        got = np.fromfile(decoded / folder / f"{stem}.bin", np.float32).reshape(3, 224, 224)
        np.testing.assert_array_equal(got, wanted)
    seen("the same numbers as torchvision")


# ---- images that cannot be read ----

WHOLE = saved(pixels(size=(300, 300)), "JPEG", quality=95)
BAD = {
    "truncated JPEG": WHOLE[:len(WHOLE) // 2],
    "JPEG without its last hundred bytes": WHOLE[:-100],
    "JPEG header alone": WHOLE[:300],
    "image of zero bytes": b"",
    "image of zeros": bytes(5000),
    "image of random bytes": np.random.default_rng(0).bytes(5000),
    "text named .JPEG": b"404: Not Found",
    "web page named .JPEG": b"<!DOCTYPE html><html></html>",
    "PDF named .JPEG": b"%PDF-1.4\n1 0 obj\n<</Type /Catalog>>\nendobj\n",
    "truncated PNG named .JPEG": saved(pixels(), "PNG")[:-500],
    "truncated GIF named .JPEG": saved(pixels(), "GIF")[:400],
    "PNG with a wrong checksum": saved(pixels(), "PNG")[:40] + b"\xff" + saved(pixels(), "PNG")[41:],
    "PNG that says 60000×60000": png(60000, 60000),
    "JPEG that says 65500×65500": jpeg_of_size(65500, 65500),
    "PNG whose text unpacks to 200 MB": png(9, 9, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(200_000_000), 9))),
    "PNG of 0×0": png(0, 0),
    "git-lfs pointer named .JPEG": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
    "broken link": lambda path: path.symlink_to("nowhere.JPEG"),
    "link to itself": lambda path: path.symlink_to(path.name),
    "image that may not be read": lambda path: (path.write_bytes(WHOLE), path.chmod(0)),
}


def damage(folder):
    """Put the images of BAD beside the good ones, and their labels."""
    lines = [f"{name} {label}" for name, label in zip(NAMES, LABELS, strict=True)]
    for i, content in enumerate(BAD.values()):
        path = folder / f"data/val/bad_{i}.JPEG"
        content(path) if callable(content) else path.write_bytes(content)
        lines.append(f"bad_{i}.JPEG 5")
    data.write_labels(folder / "data", lines)
    return folder


@pytest.fixture(scope="module")
def words():
    """Words before a command that take root's right to read anything away, where setpriv is there to do it."""
    import shutil

    return ("setpriv", "--bounding-set", "-dac_override,-dac_read_search") if not os.geteuid() and shutil.which("setpriv") \
        else ()


@pytest.fixture(scope="module")
def damaged(tiny, tmp_path_factory, words):
    """A folder with good and bad images, and the preprocessing that ran on it."""
    folder = damage(fresh(tiny, tmp_path_factory.mktemp("damaged") / "spnasnet"))
    return folder, prep(folder, "bins", "--jobs", "2", wrapper=words)


@pytest.fixture(scope="module")
def good(tiny, tmp_path_factory):
    """The bins of the eight good images, from an undisturbed run."""
    folder = fresh(tiny, tmp_path_factory.mktemp("good") / "spnasnet")
    worked(prep(folder))
    return data.content(folder / "bins", "manifest")


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.fault(n, "exit 1, listed by name, all others written"))
                                  for n in BAD])
def test_cannot_be_read(damaged, good, seen, words, name):
    folder, done = damaged
    if name == "image that may not be read" and not words and not os.geteuid():
        pytest.skip("root may read anything, and setpriv is not here to take that away")
    path = f"data/val/bad_{list(BAD).index(name)}.JPEG"
    lines = [line for line in done.stdout.splitlines() if line.startswith(f"bad image: {path}: ")]
    seen(f"exit {done.returncode}: {lines[0] if lines else 'not listed'}")
    assert len(lines) == 1 and len(lines[0]) > len(f"bad image: {path}: ") + 3
    failed(done, f"{len(BAD)} of {len(BAD) + 8} images could not be read, listed above", "--allow-partial")
    assert data.content(folder / "bins") == good  # no manifest, no bin of a bad image, every other bin whole
    data.no_leftovers(folder / "bins")


@pytest.mark.fault("bad images mended, run again", "the bytes of an undisturbed run")
def test_mended(damaged, good, tmp_path, seen):
    folder = fresh(damaged[0], tmp_path / "spnasnet", "data", "bins", "common", "published.json",
                   "preprocess_spnasnet_100_pytorch.py")
    for path in (folder / "data/val").glob("bad_*"):
        path.unlink()
    data.write_labels(folder / "data")
    done = prep(folder)
    seen(done)
    worked(done)
    assert data.content(folder / "bins", "manifest") == good and (folder / "bins/manifest.json").exists()


@pytest.mark.fault("bad images, ALLOW_PARTIAL=1", "exit 0, every later output says how many are missing")
def test_allowed(tiny, tmp_path, seen):
    folder = fresh(tiny, tmp_path / "spnasnet")
    for name in NAMES[:2]:
        os.truncate(folder / "data/val" / name, 2000)
    failed(make(folder, "eval"), "2 of 8 images could not be read", "ALLOW_PARTIAL=1", status=2)
    assert not list(folder.glob("build/eval*")) and not (folder / "build/prep/manifest.json").exists()
    done = make(folder, "eval", "online", "ALLOW_PARTIAL=1")
    seen(done)
    said = worked(done)
    assert "wrote 6 bins of 6 images, 2 missing (partial)" in said
    assert said.count("total=6 missing=2 partial") == 2 and said.count("note: partial: 2 of 8 images are not scored") == 2
    for name in (EVAL, "build/online.json"):
        result = json.loads((folder / name).read_text())
        assert (result["missing"], result["partial"], result["missing_images"]) == (2, True, NAMES[:2])
    assert "2 of 8 images" in (folder / "build/result_bs4_openvino.json").read_text()
    assert sorted(json.loads((folder / "build/prep/manifest.json").read_text())["bad"]) == NAMES[:2]
    # Without the permission, the same folder fails again: a partial run never becomes a full one by itself.
    failed(make(folder, "eval"), "2 of 8 images could not be read", status=2)


@pytest.mark.fault("all images bad, --allow-partial", "exit 1 at the scoring at the latest: nothing to score")
def test_none_left(tiny, tmp_path, seen):
    folder = fresh(tiny, tmp_path / "spnasnet")
    for name in NAMES:
        (folder / "data/val" / name).write_bytes(b"")
    done = prep(folder, "bins", "--allow-partial")
    seen(done)
    failed(done, "none of the 8 images could be read")
    assert f"bad image: data/val/{NAMES[0]}: is no image" in done.stdout
    assert not (folder / "bins/manifest.json").exists()


@pytest.mark.fault("strip of 1×30000 with its aspect kept", "exit 1, listed, no gigabytes taken")
def test_strip(tiny, tmp_path, good, seen):
    folder = fresh(tiny, tmp_path / "spnasnet")
    Image.new("L", (1, 30000)).save(folder / "data/val" / NAMES[0], "PNG")
    limited = ("bash", "-c", 'ulimit -v 3000000; exec "$0" "$@"')
    done = prep(folder, "bins", "--keep-aspect", "--jobs", "1", wrapper=limited)
    seen(next((line for line in done.stdout.splitlines() if "bad image" in line), f"exit {done.returncode}"))
    failed(done, "1 of 8 images could not be read")
    assert f"bad image: data/val/{NAMES[0]}: is 1×30000 pixels" in done.stdout
    worked(prep(folder, "squashed"))  # squashed it is an image like others


@pytest.mark.fault("image vanishes between listing and reading", "exit 1, said to be gone; back: the same bytes")
def test_vanishes(tiny, tmp_path, good, seen):
    folder = fresh(tiny, tmp_path / "spnasnet")
    (folder / "bins").mkdir()
    victim = folder / "data/val" / NAMES[3]
    with open(folder / "bins/.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = subprocess.Popen([sys.executable, "preprocess_spnasnet_100_pytorch.py", "data", "bins"], cwd=folder,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert "waiting for another run" in process.stderr.readline()  # the folder is listed by now
        content = victim.read_bytes()
        victim.unlink()
        fcntl.flock(lock, fcntl.LOCK_UN)
    out, err = process.communicate(timeout=60)
    done = subprocess.CompletedProcess(process.args, process.returncode, out, err)
    seen(next((line for line in out.splitlines() if "bad image" in line), f"exit {done.returncode}"))
    failed(done, "1 of 8 images could not be read")
    assert f"bad image: data/val/{NAMES[3]}: is gone" in out and not (folder / "bins/manifest.json").exists()
    victim.write_bytes(content)
    worked(prep(folder))
    assert data.content(folder / "bins", "manifest") == good


# ---- names, folders, links ----

def rename(name):
    return lambda val: (val / NAMES[0]).rename(val / name)


def class_folders(val, *odd):
    """Move the images into two class folders; then do what `odd` says."""
    for i, name in enumerate(NAMES):
        folder = val / ("n01440764" if i < 4 else "n01443537")
        folder.mkdir(exist_ok=True)
        (val / name).rename(folder / name)
    os.remove(val.parent / "val_label.txt")
    for act in odd:
        act(val)


def shape(name, harm, *said, expected="exit 1 before a bin is written, named"):
    return pytest.param(harm, said, marks=pytest.mark.fault(name, expected), id=name.replace(" ", "-"))


NAMED = "names with characters other than"


@pytest.mark.parametrize("harm, said", [
    shape("name with a space", rename("a b.JPEG"), NAMED, "'a b.JPEG'"),
    shape("name with dots", rename("a.b.JPEG"), NAMED, "'a.b.JPEG'"),
    shape("name in another script", rename("图像.JPEG"), NAMED, "'图像.JPEG'"),
    shape("name with a line break", rename("a\nb.JPEG"), NAMED, r"'a\\nb.JPEG'"),
    shape("name with an escape sequence", rename("a\x1b[31mb.JPEG"), NAMED, r"'a\\x1b\[31mb.JPEG'"),
    shape("name with a quote and a command", rename("a';touch ran;'.JPEG"), NAMED, "touch ran"),
    shape("name that is no text", lambda val: os.rename(val / NAMES[0], os.fsencode(val) + b"/a\xff.JPEG"), NAMED, "udcff"),
    shape("same name with two endings", lambda val: (val / f"{NAMES[0][:-5]}.png").write_bytes(WHOLE), "names used twice",
          f"{NAMES[0]} and {NAMES[0][:-5]}.png|{NAMES[0][:-5]}.png and"),
    shape("same name in two class folders", lambda val: class_folders(val, lambda v: (v / "n01443537" / NAMES[0]).write_bytes(
        WHOLE)), "names used twice", f"n01440764/{NAMES[0]} and n01443537/{NAMES[0]}"),
    shape("folder named x.JPEG", lambda val: (val / "x.JPEG").mkdir(), "holds images .* and folders \\(x.JPEG"),
    shape("folder inside a class folder", lambda val: class_folders(val, lambda v: (v / "n01440764/more").mkdir()),
          "folders inside a class folder: n01440764/more"),
    shape("link in a circle among class folders", lambda val: class_folders(
        val, lambda v: (v / "n01440764/loop").symlink_to("..")), "folders inside a class folder: n01440764/loop"),
    shape("class folder that may not be listed", lambda val: class_folders(val, lambda v: (v / "n01440764").chmod(0)),
          "Permission denied: .*n01440764"),
    shape("pipe named x.JPEG", lambda val: os.mkfifo(val / "x.JPEG"), "not a file, but a pipe or device: .*x.JPEG"),
    shape("link to a device", lambda val: (val / "x.JPEG").symlink_to("/dev/zero"), "a pipe or device: .*x.JPEG"),
    shape("folder without images", lambda val: [p.unlink() for p in val.iterdir()], "no images in data/val"),
    shape("class folders without images", lambda val: class_folders(val, lambda v: [p.unlink() for p in v.glob("*/*")]),
          "hold no images"),
])
def test_folders(tiny, tmp_path, seen, words, harm, said):
    folder = fresh(tiny, tmp_path / "spnasnet")
    harm(folder / "data/val")
    done = prep(folder, wrapper=words, timeout=60)
    seen(done)
    failed(done, *said)
    assert not (folder / "bins").exists() and not (folder / "ran").exists()


@pytest.mark.parametrize("src, status, said", [
    pytest.param("nowhere", 1, "image folder nowhere does not exist", id="absent",
                 marks=pytest.mark.fault("image folder absent", "exit 1, what DATA= is")),
    pytest.param("tiny.pth", 1, "image folder tiny.pth does not exist|is no folder", id="file",
                 marks=pytest.mark.fault("file given for the image folder", "exit 1, what DATA= is")),
])
def test_no_folder(tiny, tmp_path, seen, src, status, said):
    folder = fresh(tiny, tmp_path / "spnasnet")
    done = run(folder, "preprocess_spnasnet_100_pytorch.py", src, "bins")
    seen(done)
    failed(done, said, "DATA=", status=status)
    assert not (folder / "bins").exists()


@pytest.mark.fault("name with a leading dash", "taken like others, to the score")
def test_leading_dash(tiny, tmp_path, seen):
    folder = fresh(tiny, tmp_path / "spnasnet")
    for name in NAMES:
        (folder / "data/val" / name).rename(folder / f"data/val/-{name}")
    data.write_labels(folder / "data", [f"-{name} {label}" for name, label in zip(NAMES, LABELS, strict=True)])
    done = make(folder, "eval")
    seen(done)
    assert worked(done).strip().endswith(data.LINE)


@pytest.mark.fault("foreign .bin files in the output folder", "exit 1, named, not touched")
def test_foreign_bins(tiny, tmp_path, seen):
    folder = fresh(tiny, tmp_path / "spnasnet")
    (folder / "bins").mkdir()
    (folder / "bins/mine.bin").write_bytes(b"mine")
    done = prep(folder)
    seen(done)
    failed(done, "bins holds .bin files that are not of this step \\(mine.bin\\)")
    assert (folder / "bins/mine.bin").read_bytes() == b"mine"


@pytest.mark.fault("bad images among many, by the quick way", "listed by name as by the plain way, the other bins equal")
def test_the_quick_way(tiny, tmp_path, good, seen):
    """From some hundred images on, ordinary JPEGs are decoded by another library; what it accepts must not differ."""
    folder = fresh(tiny, tmp_path / "spnasnet")
    os.remove(folder / "data/val_label.txt")
    for i, content in enumerate(BAD.values()):
        if not callable(content):
            (folder / f"data/val/bad_{i}.JPEG").write_bytes(content)
    bad = sum(not callable(content) for content in BAD.values())
    for i in range(640):
        os.link(folder / "data/val" / NAMES[i % 8], folder / f"data/val/img_{i}.JPEG")
    done = prep(folder)
    seen(done)
    failed(done, f"{bad} of {648 + bad} images could not be read")
    assert all(f"bad image: data/val/bad_{i}.JPEG: " in done.stdout for i, c in enumerate(BAD.values()) if not callable(c))
    bins = data.content(folder / "bins")
    assert len(bins) == 648 and all(bins[f"{name[:-5]}.bin"] == good[f"{name[:-5]}.bin"] for name in NAMES)
    assert all(bins[f"img_{i}.bin"] == good[f"{NAMES[i % 8][:-5]}.bin"] for i in range(640))
