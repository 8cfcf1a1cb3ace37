"""Images per second of an offline model for this CPU when several batches are computed at once.

    python3 -m common.cpu.several --model build/m_bs8.blob --batch 8 --seconds 5

How many at once, and how the cores are shared among them, is the engine's own choice. First each
of them computes batches of its own, all at the same time; the figure counts when their results
are those of one batch at a time. The last line is `several at once: {"fps": …}`, as JSON.
"""
import argparse
import json
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from common import cli, toolchain
from common.cpu import engine, verify
from common.cpu.ais_bench.timing import until
from common.speed.bench import median

REPEATS = 3
ATTEMPTS = 3  # one of OpenVINO's streams computed otherwise (1e-2) in one of some twenty imports


def get_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help=".blob or .ort")
    parser.add_argument("--batch", type=int, help="of a model for several, which")
    parser.add_argument("--seconds", type=float, default=5,
                        help="time to compute for, all repeats together (default: %(default)s)")
    return parser.parse_args(argv)


def difference(model, runs, pool):
    """The largest difference of results computed by all of `runs` at once from those of
    model.run, relative to the outputs' scale. Each gets two batches, no two of them alike.
    Failure above what the precision may cost in rounding."""
    first = verify.random(model.inputs[0])
    batches = [np.roll(first, turn + 1, axis=-1) for turn in range(2 * len(runs))]
    wanted = [[np.array(output) for output in model.run([batch])] for batch in batches]
    found = []
    for turn in range(2):  # a run is for one caller at a time
        mine = batches[turn * len(runs):(turn + 1) * len(runs)]
        found += pool.map(lambda run, batch: [np.array(o) for o in run([batch])], runs, mine)
    errors = [verify.error(result, want) for ours, theirs in zip(found, wanted)
              for result, want in zip(ours, theirs)]
    worst = float(np.max(errors))  # NaN where one is
    limit = toolchain.TOLERANCE["bf16" if model.precision == "bf16" else "f32"]
    if not worst <= limit:
        raise cli.Failure(f"several batches at once give other results: {worst:.1e} of their scale "
                          f"({limit:.0e} is allowed)", "only the figure of one at a time counts")
    return worst


def sound(path, model):
    """(functions that compute at once, their difference()), loaded again where they are wrong."""
    for left in reversed(range(ATTEMPTS)):
        runs = engine.several(path, model.meta)
        try:
            with ThreadPoolExecutor(len(runs)) as pool:
                return runs, difference(model, runs, pool)
        except cli.Failure as e:
            if not left:
                raise
            print(f"note: {e}; loaded again")


def rate(runs, pool, array, seconds):
    """Batches per second of all `runs` together within so many seconds; each does one at least."""
    begin = time.perf_counter()

    def work(run):
        count = 0
        for _ in until(begin + seconds):
            run([array])
            count += 1
        return count / (time.perf_counter() - begin)

    return sum(pool.map(work, runs))


def main():
    args = get_args()
    model = engine.load(args.model, batch=args.batch)
    runs, worst = sound(args.model, model)
    with ThreadPoolExecutor(len(runs)) as pool:
        array, batch = np.zeros(model.inputs[0].shape, model.inputs[0].dtype), model.meta["batch"]
        fps = [batch * rate(runs, pool, array, args.seconds / REPEATS)
               for _ in cli.progress(range(REPEATS), "several at once")]
    result = {**median([{"fps": each} for each in fps]), "requests": len(runs),
              "difference": worst}
    print(f"several at once: {json.dumps(result)}")


if __name__ == "__main__":
    cli.run(main)
