"""A JPEG straight into a row of a .bin: what transforms.py says, equal in every bit, 2.6 times as
fast for the five models' images (benchmarks/prep.py).

    >>> row, tools = np.empty((3, 224, 224), np.float32), compiled()
    >>> from_bytes(open("ILSVRC2012_val_00000001.JPEG", "rb").read(), recipe, row, tools)
    True

An ordinary JPEG (whole, baseline, three components, one scan) is decoded by OpenCV. Then only what
the crop keeps is resampled, with the fixed-point arithmetic of Pillow's Resample.c: horizontally,
rounded to 8 bits, then vertically (from Pillow 13 on the other way round where the height shrinks
by more than twice as many pixels as the width). Every other file goes through transforms.py, and so
do all where OpenCV or numba are missing or do not give Pillow's bits. Without this file the bins
are the same, and take longer.
"""
import collections
import functools
import io
import math

import numpy as np
from PIL import Image

from common.data import transforms

BITS = 22  # of a coefficient's fraction: PRECISION_BITS in Resample.c
WORTH = 600  # fewer images are done sooner than numba is imported (about half a second)
Tools = collections.namedtuple("Tools", "baseline coefficients blend look_up tall_by_rows")


def from_bytes(content, recipe, out, tools):
    """Fill `out`, float32 (3, crop, crop) or uint8 (crop, crop, 3) in C order, from the bytes of a
    JPEG and return True; or return False when the file is one for transforms.py."""
    import cv2

    if content[:2] != b"\xff\xd8":
        return False
    data = np.frombuffer(content, np.uint8)
    width, height = size = tools.baseline(data)
    if not width or not height or width * height > (Image.MAX_IMAGE_PIXELS or math.inf):
        return False
    try:
        new_width, new_height = transforms.resized(size, recipe)
        if min(new_width, new_height) < recipe.crop:
            return False
        # Pillow reads the header as well, so that nothing is accepted here that it does not take
        # for a JPEG in RGB.
        with transforms.open_image(io.BytesIO(content)) as image:
            if (image.format, image.mode, image.size) != ("JPEG", "RGB", size):
                return False
        image = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    except Exception:  # transforms.load will say what is wrong with it
        return False
    if image is None or image.shape != (height, width, 3):
        return False

    crop, bicubic = recipe.crop, recipe.interpolation == "bicubic"
    left, taps_x = _taps(tools, width, new_width, crop, bicubic)
    top, taps_y = _taps(tools, height, new_height, crop, bicubic)
    first, last = top[0], min(top[-1] + taps_y.shape[1], height)
    start, stop = left[0], min(left[-1] + taps_x.shape[1], width)
    part = image[first:last, start:stop]
    left, top = left - start, top - first
    pixels = out if out.dtype == np.uint8 else np.empty((crop, crop, 3), np.uint8)
    # Each pass is a weighted sum of whole lines, which vectorises: of rows, or of columns laid
    # down as rows.
    if tools.tall_by_rows and height - new_height > max(0, 2 * (width - new_width)):
        low = _pass(tools, np.ascontiguousarray(part), top, taps_y)
        cv2.transpose(_pass(tools, cv2.transpose(low), left, taps_x), pixels)
    else:
        narrow = _pass(tools, cv2.transpose(part), left, taps_x)
        _pass(tools, cv2.transpose(narrow), top, taps_y, pixels)
    if pixels is not out:
        tools.look_up(pixels, transforms.table(tuple(recipe.mean), tuple(recipe.std)), out)
    return True


def _pass(tools, lines, starts, weights, out=None):
    """Resample uint8 (N, other side, 3) along its first axis."""
    out = np.empty((len(starts), *lines.shape[1:]), np.uint8) if out is None else out
    tools.blend(lines.reshape(len(lines), -1), starts, weights, out.reshape(len(out), -1))
    return out


@functools.lru_cache(maxsize=256)  # most of ImageNet's images have one of a few sizes
def _taps(tools, length, resized, crop, bicubic):
    """Coefficients of the `crop` middle pixels of `length` pixels resized to `resized`."""
    return tools.coefficients(length, resized, round((resized - crop) / 2), crop, bicubic)


def baseline(data):
    """A JPEG's (width, height), or (0, 0) unless it is one for the fast way. data: uint8 (bytes,).

    That is: 8-bit baseline, three components in a single scan, and nothing but whole segments, that
    scan and the end of image marker. Of a truncated file, which is an error for Pillow, OpenCV
    would make a grey area.
    """
    end, at, width, height = len(data), 2, 0, 0
    if end < 4 or data[0] != 0xFF or data[1] != 0xD8:
        return 0, 0
    while True:
        if at + 4 > end or data[at] != 0xFF:
            return 0, 0
        marker = data[at + 1]
        body, at = at + 4, at + 2 + 256 * data[at + 2] + data[at + 3]
        if at < body or at > end:
            return 0, 0
        if marker == 0xDA:
            break
        if marker == 0xC0:
            if width or at - body < 6 or data[body] != 8 or data[body + 5] != 3:
                return 0, 0
            height = 256 * data[body + 1] + data[body + 2]
            width = 256 * data[body + 3] + data[body + 4]
        elif not (marker in (0xC4, 0xDB, 0xDD, 0xFE) or 0xE0 <= marker <= 0xEF):
            return 0, 0
    if at == body or data[body] != 3:
        return 0, 0
    rest, markers = data[at:], 0
    for i in range(len(rest) - 1):  # without a branch, so that it is vector instructions
        after = rest[i + 1]
        markers += (rest[i] == 0xFF) & (after != 0) & ((after < 0xD0) | (after > 0xD7))
    whole = markers == 1 and data[end - 2] == 0xFF and data[end - 1] == 0xD9
    return (width, height) if whole else (0, 0)


def coefficients(length, resized, first, count, bicubic):
    """Which pixels, and how much of each, make up resized pixels first … first + count - 1.

    Resample.c's precompute_coeffs and normalize_coeffs_8bpc, in the same order of operations.
    Returns the first pixel of each, int64 (count,), and the weights, int32 (count, taps) in units
    of 2**-22, filled up with zeros to whole fours.
    """
    scale = length / resized
    wide = max(scale, 1.0)
    support = (2.0 if bicubic else 1.0) * wide
    taps = int(math.ceil(support)) * 2 + 1
    starts = np.zeros(count, np.int64)
    weights = np.zeros((count, (taps + 3) // 4 * 4), np.int32)
    row = np.zeros(taps)
    for i in range(count):
        center = (first + i + 0.5) * scale
        start = max(int(center - support + 0.5), 0)
        n = min(int(center + support + 0.5), length) - start
        total = 0.0
        for j in range(n):
            x = abs((j + start - center + 0.5) * (1.0 / wide))
            if not bicubic:
                row[j] = 1.0 - x if x < 1.0 else 0.0
            elif x < 1.0:
                row[j] = (1.5 * x - 2.5) * x * x + 1.0
            else:
                row[j] = (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5 if x < 2.0 else 0.0
            total += row[j]
        for j in range(n):
            weight = row[j] / total if total != 0.0 else row[j]
            weights[i, j] = int(weight * (1 << BITS) + (-0.5 if weight < 0.0 else 0.5))
        starts[i] = start
    return starts, weights


def blend(lines, starts, weights, out):
    """out[i] = the sum of weights[i, t] · lines[starts[i] + t] over t, rounded and clipped to 8
    bits; four t at a time.

    lines: uint8 (N, width); out: uint8 (len(starts), width).
    """
    last = len(lines) - 1
    total = np.empty(lines.shape[1], np.int32)
    for i in range(len(starts)):
        total[:] = 1 << (BITS - 1)
        for t in range(0, weights.shape[1], 4):
            at = starts[i] + t  # beyond the last line the weights are zeros
            a, b = lines[min(at, last)], lines[min(at + 1, last)]
            c, d = lines[min(at + 2, last)], lines[min(at + 3, last)]
            wa, wb = weights[i, t], weights[i, t + 1]
            wc, wd = weights[i, t + 2], weights[i, t + 3]
            for j in range(len(total)):
                total[j] += wa * a[j] + wb * b[j] + wc * c[j] + wd * d[j]
        row = out[i]
        for j in range(len(total)):
            row[j] = min(max(total[j] >> BITS, 0), 255)


def look_up(pixels, table, out):
    """transforms.normalize: out[c, y, x] = table[c, pixels[y, x, c]]."""
    for y in range(len(pixels)):
        row = pixels[y]
        for c in range(3):
            values, target = table[c], out[c, y]
            for x in range(len(target)):
                target[x] = values[row[x, c]]


@functools.lru_cache(maxsize=None)
def compiled():
    """The four functions above as machine code, or None where that cannot be had or does not give
    Pillow's own bits.

    The first call takes half a second, or some seconds where numba's cache is empty.
    """
    try:
        import cv2
        import numba
    except ImportError:
        return None
    cv2.setNumThreads(1)  # the caller has a thread for each core already
    for cache in (True, False):
        try:
            functions = [numba.njit(f, nogil=True, cache=cache)
                         for f in (baseline, coefficients, blend, look_up)]
            # Pillow 13 resamples tall images by rows first, older ones never do.
            both = [Tools(*functions, tall_by_rows) for tall_by_rows in (True, False)]
            return next(filter(_agrees, both), None)
        except Exception:  # the cache cannot be written, or is damaged: once more without
            continue
    return None


def _agrees(tools):
    """Whether the fast way gives Pillow's bits here, with these builds of both: tried on small
    pictures."""
    rng = np.random.default_rng(0)
    for size, subsampling in (((70, 90), 0), ((70, 90), 1), ((90, 70), 2), ((200, 60), 0)):
        file = io.BytesIO()
        image = Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8))
        image.save(file, "JPEG", subsampling=subsampling, quality=90)
        image = Image.open(file).convert("RGB")
        for interpolation in transforms.INTERPOLATION:
            recipe = transforms.Recipe(40, 40, interpolation, keep_aspect=False)  # no crop
            for wanted in (recipe(image), recipe.pixels(image)):
                out = np.empty_like(wanted)
                done = from_bytes(file.getvalue(), recipe, out, tools)
                if not done or not np.array_equal(out, wanted):
                    return False
    return True
