"""The demo's pictures: ten classes in pairs that a mistake in the chain would mix up.

Pairs differ in red and blue only (channel order), in brightness (normalisation), in stripes a third
apart (aspect, scale); and around the square that the centre crop keeps every picture shows its
partner's pattern (squash, missing or misplaced crop).
"""
import io

import numpy as np
from PIL import Image

TINTS = {"red": (0.62, 0.40, 0.30), "blue": (0.30, 0.40, 0.62), "orange": (0.85, 0.55, 0.25),
         "azure": (0.25, 0.55, 0.85), "bright": (0.62, 0.62, 0.62), "dark": (0.36, 0.36, 0.36)}
GREY = ("columns", "rows", "bright", "dark")  # classes that stay apart without colour
# Side of the square with the class's own pattern, in short sides; the centre crop of 224 from 256
# sees 0.875.
CORE = 0.9


def pattern(kind, x, y, rng):
    """Paint `kind` at the coordinates x, y (H, W; short sides from the centre) → float64 (H, W, 3)
    in 0..1."""
    name, _, cycles = kind.partition(" ")
    phase = rng.uniform(0, 2 * np.pi, 4)
    contrast = rng.uniform(0.8, 1)
    if cycles:
        tilt = rng.uniform(-0.05, 0.05)
        along = x + tilt * y if name == "columns" else y + tilt * x
        wave = np.tanh(2 * np.sin(2 * np.pi * float(cycles) * along + phase[0]))
        return np.repeat((0.45 + 0.25 * contrast * wave)[..., None], 3, axis=2)
    tint = np.array(TINTS[name]) + rng.uniform(-0.02, 0.02)
    if name in ("orange", "azure"):
        # Discs of the tint on grey.
        waves = np.sin(2 * np.pi * 3 * x + phase[0]) * np.sin(2 * np.pi * 3 * y + phase[1])
        discs = np.tanh(6 * waves)
        return 0.5 + (tint - 0.5) * (0.5 + 0.5 * contrast * discs)[..., None]
    # Clouds of the tint.
    clouds = np.sin(2 * np.pi * (2 * x + y) + phase[0]) + np.sin(2 * np.pi * (2 * y - x) + phase[1])
    return tint + 0.06 * contrast * clouds[..., None]


def draw(kind, partner, size, rng, grain=0.012):
    """An image of `size` (width, height): `kind` in the central square, `partner` around it →
    uint8 (H, W, 3)."""
    width, height = size
    short = min(size)
    x = ((np.arange(width) + 0.5 - width / 2) / short)[None, :].repeat(height, 0)
    y = ((np.arange(height) + 0.5 - height / 2) / short)[:, None].repeat(width, 1)
    core = (np.maximum(abs(x), abs(y)) < CORE / 2)[..., None]
    # Around bright and dark squares the frame is the extreme, so that a missing crop swaps their
    # mean brightness.
    inside, frame = pattern(kind, x, y, rng), {"bright": 1, "dark": 0}.get(partner)
    picture = np.where(core, inside, pattern(partner, x, y, rng) if frame is None else frame)
    picture = picture + grain * rng.standard_normal((height, width, 1), np.float32)
    return (picture.clip(0, 1) * 255).round().astype(np.uint8)


def size_of(kind, rng):
    """A size in pixels (width, height). Stripes are 3:2, so that a squash turns 10 cycles into 15
    in all of them."""
    short = int(rng.integers(180, 360))
    if kind.startswith(("columns", "rows")):
        size = (short * 3 // 2, short)
        return size if kind.startswith("columns") else size[::-1]
    if kind in ("bright", "dark"):
        short = int(rng.choice([224, 256, short, short]))
        return short, short
    size = (int(short * rng.uniform(1, 1.6)), short)
    return size if rng.random() < 0.6 else size[::-1]


def encode(kind, partner, number, rng):
    """Bytes of an image file. One in eight has a mode or a container that ImageNet also has in
    places."""
    odd = number % 32
    size = size_of(kind, rng)
    png = odd in (19, 27)
    if png:
        size = tuple(s * 180 // min(size) for s in size)
    picture = Image.fromarray(draw(kind, partner, size, rng, grain=0 if png else 0.012))
    out = io.BytesIO()
    if odd == 19:
        picture.save(out, "PNG")
    elif odd == 27:
        picture.quantize(64).save(out, "PNG")
    elif odd == 3:
        picture.convert("CMYK").save(out, "JPEG", quality=90)
    elif odd == 11:
        exif = Image.Exif()
        exif[0x0112] = 6  # "rotate me": torchvision's loader and ImageNet's authors do not
        picture.save(out, "JPEG", quality=80, exif=exif)
    elif number % 4 == 1 and kind.startswith(GREY):
        picture.convert("L").save(out, "JPEG", quality=80)
    else:
        picture.save(out, "JPEG", quality=80)
    return out.getvalue()
