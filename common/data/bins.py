"""Images into bins, in threads: Pillow, OpenCV, zlib and file writes release Python's lock."""
from __future__ import annotations

import contextlib
import io
import os
import shutil
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from common.data import journal, transforms

try:
    from common.data import fast_jpeg
except ImportError:  # it only makes the same bytes sooner
    fast_jpeg = None

AT_ONCE = 2000  # bins that wait for a thread: memory for 50,000 would be 60 MB


def fill(content, recipe, out, tools=None):
    """Fill `out`, float32 (3, crop, crop) or uint8 (crop, crop, 3), from the bytes of an image.

    tools: what fast_jpeg.compiled() returned; None takes the way through Pillow. Raises BadImage.
    """
    if tools and fast_jpeg.from_bytes(content, recipe, out, tools):
        return
    image = transforms.load(io.BytesIO(content))
    out[:] = recipe.pixels(image) if out.dtype == np.uint8 else recipe(image)


def write(todo, folder, recipe, dtype, batch_size, jobs):
    """Make the bins `todo` {stem: its Images}; what is left over of the last one is zeros.

    Yields (stem, [[image, size, mtime, ctime, CRC-32], …], {bad image: why}) as they are done. A
    bin gets its name when it is whole; without any good image it gets none.
    """
    shape = (recipe.crop, recipe.crop, 3) if dtype == "uint8" else (3, recipe.crop, recipe.crop)
    images = sum(map(len, todo.values()))
    tools = fast_jpeg.compiled() if fast_jpeg and images >= fast_jpeg.WORTH else None
    part = Path(folder) / ".part"  # ais_bench takes every *.bin of a folder, hidden ones as well
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()

    def work(item):
        stem, images = item
        rows, sources, bad = np.zeros((batch_size, *shape), dtype), [], {}
        for row, image in zip(rows, images):
            try:
                seen = journal.look(image.path)
                content = Path(image.path).read_bytes()
                fill(content, recipe, row, tools)
                sources.append([image.name, *seen, zlib.crc32(content)])
            except (transforms.BadImage, OSError, MemoryError) as e:
                bad[image.name] = transforms.why(e)
        target = Path(folder) / f"{stem}.bin"
        if sources:
            _write(rows, part / stem, target)
        else:
            target.unlink(missing_ok=True)
        return stem, sources, bad

    items = list(todo.items())
    with ThreadPoolExecutor(jobs) as pool:
        for start in range(0, len(items), AT_ONCE):
            # closing() takes what still waits away when Ctrl-C ends this
            with contextlib.closing(pool.map(work, items[start:start + AT_ONCE])) as done:
                yield from done
    part.rmdir()


def _write(rows, part, target):
    try:
        part.write_bytes(rows)
        os.replace(part, target)
    except OSError as e:
        e.filename = str(target)  # a full disk is reported without a name
        raise
