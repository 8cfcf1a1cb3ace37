"""The offline model's speed on this CPU beside its peers, from one checkpoint, in f32 throughout,
and beside the ALU's limit.

    python3 -m benchmarks.infer                            five models at batch 1 and 8
    python3 -m benchmarks.infer --models ShiftViT --batches 1 --rounds 3

ours: what `make om` builds with the model's CPU engine, run as ais_bench's stand-in runs it;
other engine: the same with the engine that it does not take. The peers are those of peers.py. Which
ONNX ort and ov get is in the table: torch's plain export, its batch open; for ShiftViT with the
authors' way to shift, assigning to slices, and in rows of their own our ONNX. The peak is measured
in the same rounds by peak.c.
"""
import argparse
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import measure, peers
from benchmarks.peers import OURS, PLAIN, SLICES
from common import cli
from common.cpu.host import ENDINGS

ROOT = Path(__file__).resolve().parent.parent
MODELS = ("spnasnet", "ShiftViT", "SPACH", "Twins-SVT-L", "Convmixer")
# % of the peak that is wanted at batch 8.
SHARE = {"ShiftViT": 75, "SPACH": 78, "Twins-SVT-L": 76, "Convmixer": 78, "spnasnet": 62}
PEERS = peers.TORCH + peers.ENGINES
OTHER = "other engine"
EXPORTS = {"ShiftViT": (SLICES, OURS)}
TURN = 0.33  # seconds that a turn lasts at least


def get_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", nargs="*", default=PEERS, choices=PEERS)
    parser.add_argument("--json", help="file for the result")
    return parser.parse_args(argv)


# ---- the sides ----

def engine_of(folder):
    """The CPU engine that a model's Makefile names."""
    lines = (ROOT / folder / "Makefile").read_text(encoding="utf-8").splitlines()
    return next(line.split(":=")[1].strip() for line in lines if line.startswith("ENGINE_CPU"))


def offline(folder, batch, engine):
    """The file of the offline model for `batch` by `engine`, built by make."""
    subprocess.run(["make", "--no-print-directory", "-C", str(ROOT / folder), "om", "WEIGHTS=demo",
                    f"BS={batch}", f"ENGINE={engine}", f"PYTHON={sys.executable}"],
                   check=True, stdout=subprocess.DEVNULL)
    ending = ENDINGS[engine]
    return next((ROOT / folder / "build/demo").glob(f"*[_s]{batch}{ending}"))


def sides(folder, batch, export, wanted, temp):
    """({side: function that computes one batch}, title of our engine, GMAC per image)."""
    import numpy as np
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from common.cpu import engine as engines

    own = engine_of(folder)
    ours = engines.load(offline(folder, batch, own))
    other = engines.load(offline(folder, batch, next(e for e in ENDINGS if e != own)))
    net, model = peers.network(folder)
    x = np.random.default_rng(0).standard_normal((batch, 3, 224, 224), dtype=np.float32)
    with FlopCounterMode(display=False) as counter:
        net(torch.from_numpy(x[:1]))
    file = peers.onnx_for(folder, export, net, model, temp)
    found = {"ours": lambda: ours.run([x])[0], OTHER: lambda: other.run([x])[0],
             **peers.torch_sides(net, x, wanted), **peers.engine_sides(file, x, wanted)}
    return found, ours.title.split()[0], counter.get_total_flops() / 2e9


def check(found):
    """All sides compute the same, or the ratio of their times says nothing. A side that fails is
    left out, and told."""
    import numpy as np

    wanted = found["ours"]()
    for name in [n for n in found if n != "ours"]:
        try:
            error = float(np.abs(found[name]() - wanted).max() / np.abs(wanted).max())
        except Exception as e:  # an engine's own errors
            print(f"  {name} fails: {' '.join(str(e).split())[:160]}")
            del found[name]
            continue
        # SPACH's results are float16: 5e-4 of rounding.
        assert error < 1e-3, f"{name} differs by {error:.1e}"


# ---- the clock ----

def peak(program):
    """Gop/s in f32 with as many threads as this process may use, now."""
    done = subprocess.run([program, str(cli.cores())], check=True, capture_output=True, text=True)
    return float(done.stdout)


def build_peak(folder):
    """Build peak.c; None where there is no C compiler."""
    program = str(folder / "peak")
    command = ["cc", "-O2", "-march=native", "-ffp-contract=fast", "-pthread",
               str(ROOT / "benchmarks/peak.c"), "-o", program]
    with contextlib.suppress(FileNotFoundError):
        if not subprocess.run(command).returncode:
            return program
    return None


def turns(found):
    """{side: (how often it runs in a turn, function of a turn)}."""
    def several(function, runs):
        return lambda: [function() for _ in range(runs)]

    result = {}
    for name, function in found.items():
        start = time.perf_counter()
        function()
        runs = max(1, round(TURN / (time.perf_counter() - start)))
        result[name] = runs, several(function, runs)
    return result


def timed(found, batch, rounds, program):
    """({side: [seconds per image]}, [Gop/s of the peak, measured before each turn of ours])."""
    peaks, last = [], {}

    def settle(name):
        """Threads of the side before spin for a while; then one untimed run, for the caches."""
        time.sleep(0.2)
        if name == "ours" and program:
            peaks.append(peak(program))
        if last.get(name, 0) < 1:
            start = time.perf_counter()
            found[name]()
            last[name] = time.perf_counter() - start

    plan = turns(found)
    times = measure.interleave({name: turn for name, (_, turn) in plan.items()}, rounds,
                               before=settle)
    times = {name: [t / plan[name][0] / batch for t in ts] for name, ts in times.items()}
    return times, peaks[-rounds:]


def targets_of(folder, batch, export, ratios, noise):
    """Claims about one row: at least as fast as the best peer, with what two turns of one side
    differ by; 1.5 times torch; for ShiftViT more."""
    theirs = {name: ratio[0] for name, ratio in ratios.items() if name != OTHER}
    if not theirs:
        return
    label = f"{folder}, batch {batch}" + (", peers on our ONNX" if export == OURS else "")
    best = min(theirs, key=theirs.get)
    yield f"{label}: the best peer's ({best}) time over ours, noise {noise:.0%}", theirs[best], 1
    if "torch" in theirs and export != OURS:
        yield f"{label}: torch's time over ours", theirs["torch"], 1.5
    if export == SLICES:
        for name, wanted in (("ov static", 1.35), ("ov", 1.7)):
            if name in theirs:
                claim = f"{label}: time of {name} on the authors' slices over ours"
                yield claim, theirs[name], wanted


def one(folder, batch, export, args, temp, program):
    """Measure one model at one batch size; its row and targets."""
    wanted = [p for p in args.peers if export != OURS or p not in peers.TORCH]
    found, engine, gmac = sides(folder, batch, export, wanted, temp)
    check(found)
    times, peaks = timed(found, batch, args.rounds, program)
    ratios = {name: measure.ratio(times, name, "ours") for name in found if name != "ours"}
    row = [folder, str(batch), f"{measure.per_second(times['ours'], 1):.2f} ({engine})"]
    row += [measure.shown(ratios[name]) if name in ratios else "-" for name in (*PEERS, OTHER)]
    row.append(export)
    targets = list(targets_of(folder, batch, export, ratios, measure.noise(times["ours"])))
    share = "-"
    if peaks:
        # Round by round, as all else: the clock of the CPU moves.
        pairs = zip(times["ours"], peaks, strict=True)
        percent = statistics.median(100 * 2 * gmac / taken / limit for taken, limit in pairs)
        share = f"{percent:.0f} % of {statistics.median(peaks):.0f}"
        if batch == 8 and export != OURS:
            targets.append((f"{folder}, batch 8: % of the f32 peak", percent, SHARE[folder]))
    return [*row, share], targets


def main():
    args = get_args()
    measure.outside_make()
    rows, targets = [], []
    with tempfile.TemporaryDirectory() as temp:
        program = build_peak(Path(temp))
        for folder in args.models:
            for export in EXPORTS.get(folder, (PLAIN,)):
                for batch in args.batches:
                    row, more = one(folder, batch, export, args, Path(temp), program)
                    print(f"  {' '.join(row)}", flush=True)
                    rows.append(row)
                    targets += more
    head = ["model", "batch", "ours, images/s", *(f"{p} / ours" for p in (*PEERS, OTHER)),
            "ONNX of ort and ov", "share of peak, Gop/s"]
    notes = ["Ratios are times: above 1 ours is faster."]
    notes += [] if program else ["No C compiler here, so the peak was not measured."]
    measure.finish(args, "Inference in f32", head, rows, targets, notes)


if __name__ == "__main__":
    main()
