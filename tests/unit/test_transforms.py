"""Every element of our transforms equals torchvision's, for all image modes that ImageNet has and
for odd sizes; and files that are no images."""
import contextlib
import io
import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision import transforms as tv
from torchvision.datasets.folder import default_loader

from common import cli
from common.data import transforms

SIZES = [(1, 1), (1, 7), (3, 50), (50, 3), (3000, 40), (40, 3000), (223, 223), (224, 224),
         (224, 300), (256, 256), (256, 257), (257, 256), (255, 333), (500, 375), (375, 500),
         (641, 480), (233, 233), (234, 999)]
RECIPES = [transforms.Recipe(256, 224, "bicubic"), transforms.Recipe(256, 224, "bilinear"),
           transforms.Recipe(233, 224, "bicubic"),
           transforms.Recipe(256, 224, "bilinear", keep_aspect=False)]


def reference(recipe):
    """The documented torchvision recipe."""
    mode = tv.InterpolationMode(recipe.interpolation)
    size = recipe.resize if recipe.keep_aspect else (recipe.resize, recipe.resize)
    return tv.Compose([tv.Resize(size, mode), tv.CenterCrop(recipe.crop), tv.ToTensor(),
                       tv.Normalize(recipe.mean, recipe.std)])


def picture(width, height, seed=0):
    """Smooth shapes plus noise, so that rounding in the resize matters."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    base = np.stack([x * 255 / max(width - 1, 1), y * 255 / max(height - 1, 1), (x + y) % 256], -1)
    return Image.fromarray(np.clip(base + rng.normal(0, 40, base.shape), 0, 255).astype(np.uint8))


def same(path, recipe):
    ours = recipe(transforms.load(path))
    theirs = reference(recipe)(default_loader(str(path))).numpy()
    assert ours.dtype == theirs.dtype == np.float32 and ours.flags.c_contiguous
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_sizes(tmp_path, recipe):
    for width, height in SIZES:
        picture(width, height).save(tmp_path / "x.png")
        same(tmp_path / "x.png", recipe)


def modes():
    """(name, file bytes) of each kind of file that is found under the name *.JPEG in the wild."""
    image = picture(301, 222, 3)

    def save(im, format, **options):
        out = io.BytesIO()
        im.save(out, format, **options)
        return out.getvalue()

    exif = Image.Exif()
    exif[0x0112] = 6  # on its side: ImageFolder's loader does not turn it, so we do not
    rgba = image.convert("RGBA")
    rgba.putalpha(image.convert("L"))
    deep = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    yield "jpeg", save(image, "JPEG", quality=90)
    yield "progressive jpeg", save(image, "JPEG", progressive=True)
    yield "4:4:4 jpeg", save(image, "JPEG", subsampling=0)
    yield "grey jpeg", save(image.convert("L"), "JPEG")
    yield "CMYK jpeg", save(image.convert("CMYK"), "JPEG")
    yield "rotated by EXIF", save(image, "JPEG", exif=exif.tobytes())
    yield "palette", save(image.convert("P"), "PNG")
    yield "palette, transparent", save(image.convert("P"), "PNG", transparency=3)
    yield "RGBA", save(rgba, "PNG")
    yield "grey with alpha", save(rgba.convert("LA"), "PNG")
    yield "16 bits", save(deep, "PNG")
    yield "1 bit", save(image.convert("1"), "PNG")
    yield "animated", save(image, "GIF", save_all=True, append_images=[picture(301, 222, 4)])
    yield "bmp", save(image, "BMP")
    yield "webp", save(image, "WEBP")


@settings(max_examples=25, deadline=None)
@given(width=st.integers(1, 700), height=st.integers(1, 700), recipe=st.sampled_from(RECIPES))
def test_any_size(width, height, recipe):
    image = picture(width, height)
    np.testing.assert_array_equal(recipe(image), reference(recipe)(image).numpy())


def test_crop_of_a_smaller_image_is_padded():
    recipe = transforms.Recipe(101, 224, "bilinear")
    for size in [(101, 101), (130, 101), (101, 303), (102, 101)]:
        image = picture(*size)
        np.testing.assert_array_equal(recipe(image), reference(recipe)(image).numpy())


# ---- files that are not what their names say ----

def postscript(tmp_path):
    """A file that tells when Ghostscript runs it."""
    return (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"
            b"(" + bytes(tmp_path / "ran") + b") (w) file closefile showpage\n%%EOF\n")


@pytest.mark.parametrize("name", ["x.jpg", "x.eps"])
def test_postscript_never_starts_ghostscript(tmp_path, monkeypatch, name):
    from PIL import EpsImagePlugin

    started = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *args, **more: started.append(args))
    (tmp_path / name).write_bytes(postscript(tmp_path))
    with pytest.raises(transforms.BadImage, match="is no image"):
        transforms.load(tmp_path / name)
    with contextlib.suppress(Exception), Image.open(tmp_path / name) as image:
        image.load()
    assert len(started) == 1  # by Pillow's own way, which we do not take


@pytest.mark.parametrize("error, said", [
    (FileNotFoundError(2, "No such file", "/x"), "is gone"),
    (PermissionError(13, "Permission denied", "/a/x"), "Permission denied"),
    (OSError("image file is truncated (3 bytes)"), r"image file is truncated \(3 bytes\)"),
    (RuntimeError("a\nb"), r"cannot be decoded \(RuntimeError: a b\)"),
    (KeyError(5), "KeyError: 5"), (struct.error(), "error: "), (MemoryError(), "MemoryError"),
    (IndexError(), "IndexError"), (SyntaxError("broken PNG file"), "broken PNG file")])
def test_whatever_a_decoder_raises_is_one_line(monkeypatch, error, said):
    def raises(*_, **__):
        raise error
    monkeypatch.setattr(Image, "open", raises)
    with pytest.raises(transforms.BadImage, match=said) as e:
        transforms.load("x.jpg")
    assert "\n" not in str(e.value)


def test_published_recipe(tmp_path):
    recipe = {"resize": 9, "crop": 8, "interpolation": "bilinear", "keep_aspect": False}
    (tmp_path / "published.json").write_text(json.dumps({"model": "x", "preprocessing": recipe}))
    assert transforms.published(tmp_path) == transforms.Recipe(9, 8, "bilinear", False)
    grey = {**recipe, "mean": [0.5]}
    (tmp_path / "published.json").write_text(json.dumps({
        "model": "x", "preprocessing": recipe, "grey": grey}))
    for key, said in (("preprocessing_timm", "preprocessing_timm"), ("model", "model"),
                      ("grey", 'grey" .*three values each: images are RGB')):
        with pytest.raises(cli.Failure, match=f'published.json has no sound "{said}'):
            transforms.published(tmp_path, key)
