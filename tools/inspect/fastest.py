"""Which of a model's offline files is the faster on this CPU: note it for ENGINE=auto.

    python3 -m tools.inspect.fastest build/fastest build/spnasnet_100_bs8.blob build/spnasnet_100_bs8.ort       (make fastest)

They run turn about in one process, and the one with the smaller median time wins: measured one after the other, they would
be told apart by what else the machine did meanwhile.
"""
import argparse
import statistics
import time

from common import cli
from common.speed import bench


def get_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", help="file for the name of the faster engine")
    parser.add_argument("models", nargs="+", metavar="MODEL", help="offline models of the same network and batch")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each (default: %(default)s)")
    return parser.parse_args(argv)


def seconds(runs, rounds, settle=0.2, turn=0.3):
    """[median seconds of a call] of functions called turn about, `rounds` times, each time for `turn` seconds at least.

    `settle` seconds pass, and one call goes uncounted, between two: an engine's threads spin for a while after its last
    run, and the caches hold the other's weights.
    """
    times = [[] for _ in runs]
    for _ in cli.progress(range(rounds), "turn about", unit="round"):
        for run, taken in zip(runs, times):
            time.sleep(settle)
            run()
            start, calls = time.perf_counter(), 0
            while time.perf_counter() - start < turn:
                run()
                calls += 1
            taken.append((time.perf_counter() - start) / calls)
    return [statistics.median(taken) for taken in times]


def main():
    args = get_args()
    import numpy as np

    from common.cpu import engine

    models = [engine.load(path) for path in args.models]
    shapes = [[(t.shape, t.dtype) for t in model.inputs] for model in models]
    if any(s != shapes[0] for s in shapes):
        raise cli.Failure(f"{' and '.join(args.models)} take different inputs", "make both with the same settings (make om)")
    rng = np.random.default_rng(0)
    inputs = [rng.integers(0, 100, shape).astype(dtype) for shape, dtype in shapes[0]]
    with bench.alone():
        taken = seconds([lambda model=model: model.run(inputs) for model in models], args.rounds)
    batch = models[0].meta["batch"]
    order = sorted(zip(taken, models), key=lambda pair: pair[0])
    said = ", ".join(f"{model.meta['engine']} {batch / t:.1f} fps" for t, model in order)
    best = order[0][1].meta
    with cli.whole_file(args.out) as part:
        part.write_text(f"{best['engine']}\n{said} at batch {batch}, {best['cpu']}\n", encoding="utf-8")
    print(f"{said}: wrote {args.out}, ENGINE=auto takes {best['engine']} from now on (delete the file to undo)")


if __name__ == "__main__":
    cli.run(main)
