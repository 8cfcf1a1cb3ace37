"""The offline model's speed on this CPU beside its peers, from one checkpoint, in f32 throughout,
and beside the ALU's limit.

    python3 -m benchmarks.infer                            five models at batch 1 and 8
    python3 -m benchmarks.infer --models ShiftViT --batches 1 --rounds 3

ours: what `make om` builds with the model's CPU engine, run as ais_bench's stand-in runs it;
other engine: the same with the engine that it does not take. torch: eager. compiled:
torch.compile. ort and ov: an ONNX with an open batch, in ONNX Runtime and OpenVINO as they come; ov
static: the same with the batch fixed. Which ONNX these get is in the table: torch's plain export;
for ShiftViT with the authors' way to shift, assigning to slices, and in rows of their own our ONNX.
The peak is measured in the same rounds by peak.c.
"""
import argparse
import contextlib
import importlib.util
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

from benchmarks import measure
from common import cli
from common.cpu.engine import ENDINGS
from common.speed.table import engine_of

ROOT = Path(__file__).resolve().parent.parent
MODELS = ("spnasnet", "ShiftViT", "SPACH", "Twins-SVT-L", "Convmixer")
# % of the peak that is wanted at batch 8.
SHARE = {"ShiftViT": 75, "SPACH": 78, "Twins-SVT-L": 76, "Convmixer": 78, "spnasnet": 62}
PEERS = ("torch", "compiled", "ort", "ov", "ov static")
OTHER = "other engine"
PLAIN, SLICES, OURS = "torch's plain export", "torch's, with the authors' slices", "ours"
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

def network(folder):
    """The torch module of a model folder with the demo's weights, and its model.py."""
    import torch

    from common.model import checkpoint

    spec = importlib.util.spec_from_file_location("model", ROOT / folder / "model.py")
    model = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(model)
    weights, = (ROOT / folder / "build/demo").glob("*_demo.pth")
    net, _ = checkpoint.network(model, weights)
    torch.set_grad_enabled(False)
    return net, model


def assign_to_slices(block, x):
    """ShiftViT's shift in the authors' form, which exports as ScatterND; float32 (N, C, H, W) →
    the same shape."""
    import torch

    g, out = block.group, torch.zeros_like(x)
    out[:, :g, :, :-1] = x[:, :g, :, 1:]
    out[:, g:2 * g, :, 1:] = x[:, g:2 * g, :, :-1]
    out[:, 2 * g:3 * g, :-1] = x[:, 2 * g:3 * g, 1:]
    out[:, 3 * g:4 * g, 1:] = x[:, 3 * g:4 * g, :-1]
    out[:, 4 * g:] = x[:, 4 * g:]
    return out


def plain_export(net, model, path):
    """Export with an open batch as torch's documentation shows it: nothing is simplified."""
    import torch

    axes = {model.INPUT: {0: "batch"}, model.OUTPUT: {0: "batch"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, torch.zeros(2, 3, 224, 224), str(path), opset_version=model.OPSET,
                          dynamo=False, input_names=[model.INPUT], output_names=[model.OUTPUT],
                          dynamic_axes=axes)


def onnx_for(folder, export, net, model, temp):
    """The ONNX file that the peers get."""
    for module in net.modules():
        if export == SLICES and hasattr(module, "shift"):
            module.shift = assign_to_slices.__get__(module)
    if export == OURS:
        name = {"ShiftViT": "shiftvit2"}.get(folder, model.STEM)
        return ROOT / folder / f"build/demo/{name}.onnx"
    plain_export(net, model, temp / "peer.onnx")
    return temp / "peer.onnx"


def torch_sides(net, x, peers):
    """{peer: function} of torch itself."""
    import torch

    for module in net.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = True  # what timm gives its users; it is off for the export alone
    tensor, found = torch.from_numpy(x), {}
    if "torch" in peers:
        found["torch"] = lambda: net(tensor).numpy()
    if "compiled" in peers:
        compiled = torch.compile(net)
        found["compiled"] = lambda: compiled(tensor).numpy()
    return found


def engine_sides(file, x, peers):
    """{peer: function} of the two engines as they come, on the ONNX `file`."""
    import onnxruntime
    import openvino

    found = {}
    if "ort" in peers:
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        found["ort"] = lambda: session.run(None, {name: x})[0]
    hint = {"INFERENCE_PRECISION_HINT": "f32"}  # else it is bf16, where the CPU has that
    for peer in {"ov", "ov static"} & set(peers):
        core = openvino.Core()
        graph = core.read_model(str(file))
        if peer == "ov static":
            graph.reshape(x.shape)
        request = core.compile_model(graph, "CPU", hint).create_infer_request()
        found[peer] = lambda request=request: request.infer([x])[0]
    return found


def offline(folder, batch, engine):
    """The offline model for `batch` by `engine`, built by make."""
    from common.cpu import engine as engines

    subprocess.run(["make", "--no-print-directory", "-C", str(ROOT / folder), "om", "WEIGHTS=demo",
                    f"BS={batch}", f"ENGINE={engine}", f"PYTHON={sys.executable}"],
                   check=True, stdout=subprocess.DEVNULL)
    ending = ENDINGS[engine]
    return engines.load(next((ROOT / folder / "build/demo").glob(f"*[_s]{batch}{ending}")))


def sides(folder, batch, export, peers, temp):
    """({side: function that computes one batch}, title of our engine, GMAC per image)."""
    import numpy as np
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    own = engine_of(ROOT / folder, "auto")
    ours = offline(folder, batch, own)
    other = offline(folder, batch, next(e for e in ENDINGS if e != own))
    net, model = network(folder)
    x = np.random.default_rng(0).standard_normal((batch, 3, 224, 224), dtype=np.float32)
    with FlopCounterMode(display=False) as counter:
        net(torch.from_numpy(x[:1]))
    file = onnx_for(folder, export, net, model, temp)
    found = {"ours": lambda: ours.run([x])[0], OTHER: lambda: other.run([x])[0],
             **torch_sides(net, x, peers), **engine_sides(file, x, peers)}
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
    peers = {name: ratio[0] for name, ratio in ratios.items() if name != OTHER}
    if not peers:
        return
    label = f"{folder}, batch {batch}" + (", peers on our ONNX" if export == OURS else "")
    best = min(peers, key=peers.get)
    yield f"{label}: the best peer's ({best}) time over ours, noise {noise:.0%}", peers[best], 1
    if "torch" in peers and export != OURS:
        yield f"{label}: torch's time over ours", peers["torch"], 1.5
    if export == SLICES:
        for name, wanted in (("ov static", 1.35), ("ov", 1.7)):
            if name in peers:
                claim = f"{label}: time of {name} on the authors' slices over ours"
                yield claim, peers[name], wanted


def one(folder, batch, export, args, temp, program):
    """Measure one model at one batch size; its row and targets."""
    peers = [p for p in args.peers if export != OURS or p not in ("torch", "compiled")]
    found, engine, gmac = sides(folder, batch, export, peers, temp)
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
