"""How long one batch takes: until the clock says so (--seconds), not for a number of runs."""
import time

from common import cli
from common.cpu.ais_bench.outputs import info

# It is warm when this many runs in a row differ by no more than this share of the fastest.
LAST, AGREE = 5, 0.05


def milliseconds(model, array):
    """(time of one run of an engine.Model on `array`, its outputs)."""
    start = time.perf_counter()
    results = model.run([array])
    return 1000 * (time.perf_counter() - start), results


def agree(times):
    """Whether the last LAST of `times` differ by little."""
    last = times[-LAST:]
    return len(last) == LAST and max(last) - min(last) <= AGREE * min(last)


def until(end):
    """Yield numbers, one at least, until the clock is at `end`."""
    count = 0
    while not count or time.perf_counter() < end:
        yield count
        count += 1


def for_seconds(model, array, seconds):
    """Milliseconds of each run within so many seconds, one run at least. Before, it is warmed up
    until the last runs agree, for as many seconds at most."""
    times = []
    for _ in until(time.perf_counter() + seconds):
        times.append(milliseconds(model, array)[0])
        if agree(times):
            break
    info(f"warm up {len(times)} done")
    runs = max(1, round(1000 * seconds / times[-1]))
    end = time.perf_counter() + seconds
    return [milliseconds(model, array)[0]
            for _ in cli.progress(until(end), "timing", runs, "run")]
