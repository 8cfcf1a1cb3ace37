"""Images into bins, and which bins are up to date.

`.journal` beside the bins begins with the settings; then a line for each bin says what it is of:

    ["img_1", ["val/img_1.JPEG", size, time of change, time of change of the inode, CRC-32]]

A bin's line is written after the bin has its name, so an interrupted run can go on. An image whose
size and times are the same is taken as unchanged; where they differ, its content decides. numpy
and Pillow are only imported to make a bin.
"""
from __future__ import annotations

import contextlib
import io
import json
import math
import os
import shutil
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common import cli

JOURNAL = ".journal"
AT_ONCE = 2000  # bins that wait for a thread: memory for 50,000 would be 60 MB
PROBE_BYTES = 20_000_000  # of the bins whose content is checked: 32 with one float image each


def bring_up_to_date(plan, folder, settings, jobs, old):
    """Make the bins of `plan` {stem: its images} that are not there, or not of these images.

    Returns what the images of each bin were {stem: sources}, why others are bad {image: why}, and
    how many bins were made. `old` is the folder's Manifest, or None: a bin of other content than it
    knows is made again. manifest.json is deleted before a bin changes; so are bins of no image.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made_with, made = read(folder)
    sizes = bin_sizes(folder)
    if sizes and not made_with and not old:
        raise cli.Failure(f"{folder} holds .bin files that are not of this step "
                          f"({cli.some(sorted(sizes), 1)}.bin)",
                          "give another folder, or delete this one")
    size = settings["batch_size"] * row_bytes(settings)
    broken = changed(old.info.get("probe", {}), folder) if old else []
    good, todo = {}, {}
    for stem, images in plan.items():
        whole = made_with == settings and sizes.get(stem) == size and stem not in broken
        good[stem] = still(images, made.get(stem, [])) if whole else None
        if not good[stem]:
            todo[stem] = images
    gone = sizes.keys() - plan.keys()
    if not todo and not gone and good == made:
        return good, {}, 0

    if todo or gone:
        (folder / "manifest.json").unlink(missing_ok=True)
    for stem in gone:
        (folder / f"{stem}.bin").unlink()
    with cli.whole_file(folder / JOURNAL) as part, open(part, "w", encoding="utf-8") as f:
        f.write(json.dumps(settings) + "\n")
        f.writelines(_line(stem, sources) for stem, sources in good.items() if sources)
    bad = {}
    with open(folder / JOURNAL, "a", encoding="utf-8", buffering=1) as journal:
        done = write(todo, folder, settings, jobs)
        bar = cli.progress(done, "preprocess", len(todo), "bin") if todo else ()
        for stem, sources, errors in bar:
            good[stem] = sources
            bad.update(errors)
            if not errors:
                journal.write(_line(stem, sources))
    return good, bad, len(todo)


def _line(stem, sources):
    return json.dumps([stem, *sources]) + "\n"


def write(todo, folder, settings, jobs):
    """Make the bins `todo` {stem: its Images}; what is left over of the last one is zeros.

    Yields (stem, [[image, size, mtime, ctime, CRC-32], …], {bad image: why}) as they are done. A
    bin gets its name when it is whole; without any good image it gets none.
    """
    import numpy as np

    from common.data import recipe, transforms

    how = recipe.Recipe(**settings["recipe"])
    tools = _tools(sum(map(len, todo.values())))
    part = folder / ".part"  # ais_bench takes every *.bin of a folder, hidden ones as well
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()

    def work(item):
        stem, images = item
        rows = np.zeros((settings["batch_size"], *settings["shape"]), settings["dtype"])
        sources, bad = [], {}
        for row, image in zip(rows, images):
            try:
                seen = look(image.path)
                content = Path(image.path).read_bytes()
                fill(content, how, row, tools)
                sources.append([image.name, *seen, zlib.crc32(content)])
            except (transforms.BadImage, OSError, MemoryError) as e:
                bad[image.name] = transforms.why(e)
        target = folder / f"{stem}.bin"
        if sources:
            try:
                (part / stem).write_bytes(rows)
                os.replace(part / stem, target)
            except OSError as e:
                e.filename = str(target)  # a full disk is reported without a name
                raise
        else:
            target.unlink(missing_ok=True)
        return stem, sources, bad

    items = list(todo.items())
    with ThreadPoolExecutor(jobs) as pool:
        for start in range(0, len(items), AT_ONCE):
            # closing() cancels what still waits when Ctrl-C ends this
            with contextlib.closing(pool.map(work, items[start:start + AT_ONCE])) as done:
                yield from done
    part.rmdir()


def _tools(images):
    """What fast_jpeg needs; None where it is not there, or not worth its import."""
    try:
        from common.data import fast_jpeg
    except ImportError:
        return None
    return fast_jpeg.compiled() if images >= fast_jpeg.WORTH else None


def fill(content, recipe, out, tools=None):
    """Fill `out`, float32 (3, crop, crop) or uint8 (crop, crop, 3), from the bytes of an image.

    tools: what fast_jpeg.compiled() returned; None takes the way through Pillow. Raises BadImage.
    """
    from common.data import transforms

    if tools:
        from common.data import fast_jpeg

        if fast_jpeg.from_bytes(content, recipe, out, tools):
            return
    image = transforms.load(io.BytesIO(content))
    out[:] = recipe.pixels(image) if out.dtype == "uint8" else recipe(image)


def still(images, sources):
    """`sources` when they describe these images as they are, with their times of now; else None."""
    if [image.name for image in images] != [source[0] for source in sources]:
        return None
    now = []
    for image, (name, *before, crc) in zip(images, sources):
        try:
            seen = look(image.path)
            if seen != before and zlib.crc32(Path(image.path).read_bytes()) != crc:
                return None
        except OSError:
            return None  # reading it again will say why
        now.append([name, *seen, crc])
    return now


def look(path):
    """[size, mtime, ctime] of a file in bytes and ns."""
    s = os.stat(path)
    return [s.st_size, s.st_mtime_ns, s.st_ctime_ns]


def read(folder):
    """(settings, {stem: [[image, size, mtime, ctime, CRC-32], …]}); ({}, {}) without a journal.

    A last line that a kill cut short is left out; a damaged journal counts as none.
    """
    try:
        lines = (Path(folder) / JOURNAL).read_text(encoding="utf-8").split("\n")[:-1]
        settings, *entries = json.loads(f"[{','.join(lines)}]")
        made = {stem: sources for stem, *sources in entries}
        if all(len(source) == 5 for sources in made.values() for source in sources):
            return settings, made
    except (OSError, ValueError, TypeError):
        pass
    return {}, {}


def row_bytes(info):
    """Bytes of one image in a bin of these settings; 0 when they do not say it."""
    itemsize = {"float32": 4, "uint8": 1}.get(info.get("dtype"), 0)
    return math.prod(info.get("shape") or [0]) * itemsize


def bin_sizes(folder):
    """{stem: bytes} of the .bin files in a folder."""
    with os.scandir(folder) as entries:
        return {e.name[:-4]: e.stat().st_size for e in entries
                if e.name.endswith(".bin") and e.is_file()}


def probe(stems, size, folder):
    """{stem: SHA-256} of at most 32 of the bins `stems`, spread evenly; `size`: bytes of one."""
    count = min(len(stems), 32, max(1, PROBE_BYTES // size))
    chosen = [stems[i * len(stems) // count] for i in range(count)]
    return {stem: cli.sha256(f"{folder}/{stem}.bin") for stem in chosen}


def changed(probe, folder):
    """Those of probe() whose bins are there and have other content now."""
    there = [stem for stem in probe if os.path.exists(f"{folder}/{stem}.bin")]
    return [stem for stem in there if cli.sha256(f"{folder}/{stem}.bin") != probe[stem]]
