"""What each bin of a folder was made from: `.journal` beside the bins, one line for each.

    {"recipe": …, "batch_size": 1, "dtype": "float32", "pillow": "12.0.0", "code": "1f3a…"}
    ["img_1", ["val/img_1.JPEG", size, time of change, time of change of the inode, CRC-32]]

A bin's line is written after the bin has its name, so an interrupted run can go on. An image whose
size and times are the same is taken as unchanged; where they differ, its content decides.
"""
from __future__ import annotations

import gc
import json
import math
import os
import zlib
from pathlib import Path

from common import cli

NAME = ".journal"
MANIFESTS = ("manifest.json", ".manifest.json")
PROBE_BYTES = 20_000_000  # of the bins whose content is checked: 32 with one float image each


def bring_up_to_date(plan, folder, settings, jobs, probe, before_change):
    """Make the bins of `plan` {stem: its images} that are not there, or not of these images.

    Returns what the images of each bin were {stem: sources}, why others are bad {image: why}, and
    how many bins were made. A bin that differs from `probe` {stem: SHA-256} is made again; those of
    no image are deleted. before_change() is called before a bin changes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made_with, made = read(folder)
    sizes = bin_sizes(folder)
    if sizes and not made_with and not any((folder / n).exists() for n in MANIFESTS):
        raise cli.Failure(f"{folder} holds .bin files that are not of this step "
                          f"({cli.some(sorted(sizes), 1)}.bin)",
                          "give another folder, or delete this one")
    item = {"float32": 4, "uint8": 1}[settings["dtype"]]
    size = settings["batch_size"] * math.prod(settings["shape"]) * item
    broken = changed(probe, folder)
    good, todo = {}, {}
    for stem, images in plan.items():
        whole = made_with == settings and sizes.get(stem) == size and stem not in broken
        good[stem] = still(images, made.get(stem, [])) if whole else None
        if not good[stem]:
            todo[stem] = images

    if todo or sizes.keys() - plan.keys():
        before_change()
    for stem in sizes.keys() - plan.keys():
        (folder / f"{stem}.bin").unlink()
    if not todo and good == made:
        return good, {}, 0
    bad = {}
    with start(folder, settings, {s: sources for s, sources in good.items() if sources}) as file:
        for stem, sources, errors in _making(todo, folder, settings, jobs):
            good[stem] = sources
            bad.update(errors)
            if not errors:
                add(file, stem, sources)
    return good, bad, len(todo)


def _making(todo, folder, settings, jobs):
    """bins.write() with a bar; nothing is imported where nothing is to be made."""
    if not todo:
        return
    gc.enable()  # see preprocess.step()
    from common.data import bins, recipe

    made = bins.write(todo, folder, recipe.Recipe(**settings["recipe"]), settings["dtype"],
                      settings["batch_size"], jobs)
    yield from cli.progress(made, "preprocess", len(todo), "bin")


def still(images, sources):
    """`sources` when they describe these images as they are, with the times of today; else None."""
    now = [today(image.path, source) for image, source in zip(images, sources)
           if image.name == source[0]]
    return now if len(now) == len(images) == len(sources) and None not in now else None


def today(path, source):
    """`source` with the times of today when the file `path` is what it describes, else None."""
    now = look(path)
    if now == source[1:4]:
        return source
    try:
        same = zlib.crc32(Path(path).read_bytes()) == source[4]
        return [source[0], *now, source[4]] if same else None
    except OSError:
        return None  # reading it again will say why


def look(path):
    """[size, mtime, ctime] of a file in bytes and ns, or three None when it cannot be seen."""
    try:
        s = os.stat(path)
        return [s.st_size, s.st_mtime_ns, s.st_ctime_ns]
    except OSError:
        return [None, None, None]


def read(folder):
    """(settings, {stem: [[image, size, mtime, ctime, CRC-32], …]}); ({}, {}) without a journal.

    A last line that a kill cut short is left out; a damaged journal counts as none.
    """
    try:
        lines = (Path(folder) / NAME).read_text(encoding="utf-8").split("\n")[:-1]
        settings, *entries = json.loads(f"[{','.join(lines)}]")
        made = {stem: sources for stem, *sources in entries}
        if all(len(source) == 5 for sources in made.values() for source in sources):
            return settings, made
    except (OSError, ValueError, TypeError):
        pass
    return {}, {}


def start(folder, settings, made):
    """Write the journal anew, with what is `made` already; returns it, open for more lines."""
    with cli.whole_file(Path(folder) / NAME) as part, open(part, "w", encoding="utf-8") as f:
        f.write(json.dumps(settings) + "\n")
        for stem, sources in made.items():
            add(f, stem, sources)
    return open(Path(folder) / NAME, "a", encoding="utf-8", buffering=1)


def add(file, stem, sources):
    """Note that the bin `stem` is whole, and what its images were."""
    file.write(json.dumps([stem, *sources]) + "\n")


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
