"""The fast way through preprocessing: torchvision's own bits, Pillow's own refusals, and the same
bins without it."""
import argparse
import io
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_transforms import RECIPES, modes, picture, reference

from common.data import bins, dataset, preprocess, transforms
from common.data import fast_jpeg as fast

pytest.importorskip("numba")
cv2 = pytest.importorskip("cv2")


@pytest.fixture(scope="module")
def tools():
    tools = fast.compiled()
    assert tools
    return tools


def jpeg(image, **options):
    out = io.BytesIO()
    image.save(out, "JPEG", **options)
    return out.getvalue()


def sampled(image, factor, restarts=0):
    """A JPEG with a subsampling that Pillow cannot write."""
    options = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor, cv2.IMWRITE_JPEG_RST_INTERVAL, restarts]
    return cv2.imencode(".jpg", np.asarray(image), options)[1].tobytes()


def outcome(function, *args):
    """What comes of a call: (array, None) or (None, (type, message) of its exception)."""
    try:
        return function(*args), None
    except Exception as e:
        return None, (type(e), str(e))


def both(path, recipe, tools, dtype=np.float32):
    """Outcomes of the fast way and of the definition for one file."""
    shape = (recipe.crop, recipe.crop, 3) if dtype == np.uint8 else (3, recipe.crop, recipe.crop)

    def ours():
        out = np.full(shape, 77, dtype)
        bins.fill(path.read_bytes(), recipe, out, tools)
        return out

    def definition():
        image = transforms.load(path)
        return recipe.pixels(image) if dtype == np.uint8 else recipe(image)

    return outcome(ours), outcome(definition)


def same(path, recipe, tools):
    """Assert that both ways end alike, in bits or in error; return whether the file is an image."""
    (ours, failed), (wanted, refused) = both(path, recipe, tools)
    assert failed == refused
    if not refused:
        assert ours.dtype == wanted.dtype
        np.testing.assert_array_equal(ours, wanted)
    return not refused


@settings(max_examples=40, deadline=None)
@given(width=st.integers(1, 700), height=st.integers(1, 700), quality=st.integers(20, 100),
       recipe=st.sampled_from(RECIPES), smaller=st.sampled_from([1, 8]),
       kind=st.sampled_from([0, 1, 2, "411", "440", "restarts"]))
def test_any_jpeg_has_torchvisions_bits(width, height, quality, recipe, kind, smaller):
    image = picture(width // smaller + 1, height // smaller + 1, width)
    if kind in ("411", "440"):
        content = sampled(image, getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{kind}"), width % 7)
    else:
        restarts = {"restart_marker_blocks": 1 + width % 9}
        more = restarts if kind == "restarts" else {"subsampling": kind}
        content = jpeg(image, quality=quality, **more)
    wanted = reference(recipe)(Image.open(io.BytesIO(content)).convert("RGB")).numpy()
    out = np.full((3, recipe.crop, recipe.crop), 77, np.float32)
    assert fast.from_bytes(content, recipe, out, fast.compiled())
    np.testing.assert_array_equal(out, wanted)
    pixels = np.full((recipe.crop, recipe.crop, 3), 77, np.uint8)
    assert fast.from_bytes(content, recipe, pixels, fast.compiled())
    np.testing.assert_array_equal(transforms.normalize(pixels), wanted)


def test_extreme_shapes(tmp_path, tools):
    # the limits of Pillow 13's two orders of passes, then others
    for size in [(257, 514), (257, 515), (300, 344), (300, 345), (375, 500), (1, 1), (3000, 40),
                 (40, 3000), (224, 224), (256, 256), (257, 256), (2000, 1500), (1, 300)]:
        (tmp_path / "x.JPEG").write_bytes(jpeg(picture(*size)))
        for recipe in RECIPES:
            assert same(tmp_path / "x.JPEG", recipe, tools)


@pytest.mark.parametrize("name, content", list(modes()), ids=[name for name, _ in modes()])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_other_kinds_of_files_take_pillow(tmp_path, tools, name, content, dtype):
    path = tmp_path / "x.JPEG"
    path.write_bytes(content)
    for recipe in RECIPES:
        (ours, failed), (wanted, refused) = both(path, recipe, tools, dtype)
        assert failed is refused is None
        np.testing.assert_array_equal(ours, wanted)
    out = np.full((3, 224, 224), 77, np.float32)
    quick = fast.from_bytes(content, transforms.Recipe(), out, tools)
    assert quick == (name in ("jpeg", "4:4:4 jpeg", "rotated by EXIF"))
    assert quick or (out == 77).all()


@pytest.mark.parametrize("ids, adobe", [
    (b"\1\2\3", None), (b"RGB", None), (b"\7\x08\x09", None), (b"\1\2\3", 0), (b"\1\2\3", 1),
    (b"RGB", 1), (b"\1\2\3", 2), (b"\1\2\3", "short")])
def test_how_a_jpeg_says_its_colours(tmp_path, tools, ids, adobe):
    """By Adobe's segment or by component numbers, where there is no JFIF segment."""
    content = jpeg(picture(300, 260), subsampling=0)
    assert content[2:4] == b"\xff\xe0"
    segment = {None: b"", "short": b"\xff\xee\0\x08Adobe\0"}.get(adobe)
    if segment is None:
        segment = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0" + bytes([adobe])
    content = bytearray(content[:2] + segment + content[20:])
    frame, scan = content.index(b"\xff\xc0") + 10, content.index(b"\xff\xda") + 5
    for i, number in enumerate(ids):
        content[frame + 3 * i], content[scan + 2 * i] = number, number
    (tmp_path / "x.JPEG").write_bytes(content)
    for recipe in RECIPES:
        same(tmp_path / "x.JPEG", recipe, tools)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 2}])
def test_a_file_cut_anywhere_is_refused_as_pillow_refuses_it(tmp_path, tools, options):
    content = jpeg(picture(60, 50), quality=60, **options)
    path, recipe = tmp_path / "x.JPEG", transforms.Recipe(16, 8)
    for length in range(0, len(content) + 1):
        path.write_bytes(content[:length])
        assert same(path, recipe, tools) == (length == len(content))
    path.write_bytes(content + b"something behind")
    assert same(path, recipe, tools)


def test_damage_ends_as_it_does_with_pillow(tmp_path, tools):
    """Flipped, lost and inserted bytes and markers, in headers and in the middle of the picture."""
    rng, path, recipe = np.random.default_rng(0), tmp_path / "x.JPEG", transforms.Recipe(16, 8)
    images = quick = 0
    files = [jpeg(picture(70, 50), quality=75, subsampling=s, restart_marker_blocks=r)
             for s, r in [(0, 0), (1, 3), (2, 0)]]
    files.append(jpeg(picture(400, 300), quality=97))  # more than Pillow's decoder gets at a time
    assert len(files[-1]) > 65536
    for n in range(600):
        content = bytearray(files[n % 4])
        body = content.index(b"\xff\xda") + 14
        for _ in range(rng.integers(1, 5)):
            at = int(rng.integers(0 if n % 3 == 0 else body, max(body + 1, len(content) - 2)))
            change = rng.integers(4)
            if change == 0:
                content[at:at + 1] = bytes([rng.integers(256)])
            elif change == 1:
                del content[at:at + int(rng.integers(1, 200))]
            elif change == 2:
                content[at:at] = rng.integers(0, 255, rng.integers(1, 40), np.uint8).tobytes()
            else:
                markers = [0, 0xC4, 0xD0, 0xD3, 0xD7, 0xD9, 0xDA, 0xFF]
                content[at:at + 2] = bytes([0xFF, rng.choice(markers)])
        content += b"\xff\xd9" * (n % 2)
        path.write_bytes(content)
        images += same(path, recipe, tools)
        quick += fast.from_bytes(bytes(content), recipe, np.empty((3, 8, 8), np.float32), tools)
    assert images > 200 and quick > 150 and images < 600  # each outcome was met


def test_absurd_sizes(tmp_path, tools, monkeypatch):
    for length in (40_000, 60_000):
        (tmp_path / "x.JPEG").write_bytes(jpeg(picture(1, length)))
        assert same(tmp_path / "x.JPEG", RECIPES[3], tools)  # squashed
        content = (tmp_path / "x.JPEG").read_bytes()
        for damaged in (content, content[:-5]):
            (tmp_path / "x.JPEG").write_bytes(damaged)
            recipe = transforms.Recipe(8192, 224)
            (_, failed), (_, refused) = both(tmp_path / "x.JPEG", recipe, tools)
            assert failed == refused is not None
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    (_, failed), (_, refused) = both(tmp_path / "x.JPEG", RECIPES[0], tools)
    assert failed == refused and "DecompressionBombError" in failed[1]


@pytest.mark.parametrize("missing", ["numba", "cv2"])
def test_nothing_of_it_is_needed(monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    assert fast.compiled.__wrapped__() is None


def test_the_file_may_be_deleted(monkeypatch):
    monkeypatch.delattr("common.data.fast_jpeg")
    monkeypatch.setitem(sys.modules, "common.data.fast_jpeg", None)
    assert bins._tools(9999) is None


@pytest.mark.parametrize("which", ["imdecode", "transpose", "IMREAD_COLOR_RGB"])
def test_another_build_that_differs_is_not_used(monkeypatch, which):
    """As an OpenCV with another libjpeg would: one bit in one pixel is enough."""
    right = getattr(cv2, which)

    def differs(*args):
        out = right(*args)
        out[-1, -1, -1] ^= 16
        return out

    if which == "IMREAD_COLOR_RGB":
        monkeypatch.delattr(cv2, which)
    else:
        monkeypatch.setattr(cv2, which, differs)
    assert fast.compiled.__wrapped__() is None


def test_a_cache_that_cannot_be_written(monkeypatch):
    """numba then compiles anew, which takes some seconds."""
    import numba

    tried, right = [], numba.njit

    def njit(function, nogil, cache):
        tried.append(cache)
        if cache:
            raise RuntimeError("no locator available")
        return right(function, nogil=nogil, cache=True)  # which is sooner here

    monkeypatch.setattr(numba, "njit", njit)
    assert fast.compiled.__wrapped__() and tried == [True, False, False, False, False]


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize("batch", [1, 4])
def test_without_this_file_the_bins_are_the_same(tmp_path, monkeypatch, dtype, batch):
    val = tmp_path / "data/val"
    val.mkdir(parents=True)
    for i, (_, content) in enumerate(modes()):
        (val / f"img_{i}.JPEG").write_bytes(content)
    (val / "img_99.JPEG").write_bytes((val / "img_0.JPEG").read_bytes()[:-9])
    lines = (f"{path.name} 1\n" for path in val.iterdir())
    (tmp_path / "data/val_label.txt").write_text("".join(lines))
    args = argparse.Namespace(jobs=2, limit=None, allow_partial=True, input=dtype)
    made = []
    for worth in (0, 99):
        monkeypatch.setattr(fast, "WORTH", worth)
        folder = tmp_path / str(len(made))
        manifest = preprocess.run(dataset.find(tmp_path / "data"), folder, RECIPES[0], args, batch)
        assert len(manifest.info["bad"]) == 1
        made.append({p.name: p.read_bytes() for p in folder.iterdir() if p.name != ".journal"})
    assert made[0] == made[1] and len(made[0]) > 4
