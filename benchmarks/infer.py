"""The offline model's speed on this CPU against its peers, from one checkpoint, in f32 throughout, and against the ALU's limit.

    python3 -m benchmarks.infer                                   five models at batch 1 and 8, about a quarter of an hour
    python3 -m benchmarks.infer --models ShiftViT --batches 1 --rounds 3

ours: what `make om` built with the engine that `make fastest` has found to be the faster one here, run as ais_bench's
stand-in runs it. torch: eager. compiled: torch.compile. ort and ov: the plain
export with an open batch, in ONNX Runtime and OpenVINO as they come; ov static: the same with the batch fixed. ShiftViT's
plain export is the authors' way to shift, assigning to slices. The peak is measured in the same rounds by peak.c.
"""
import argparse
import contextlib
import importlib.util
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import measure
from common import cli
from common.cpu import which

ROOT = Path(__file__).resolve().parent.parent
MODELS = ("spnasnet", "ShiftViT", "SPACH", "Twins-SVT-L", "Convmixer")
SHARE = {"ShiftViT": 75, "SPACH": 78, "Twins-SVT-L": 76, "Convmixer": 78, "spnasnet": 62}  # % of the peak, at batch 8
PEERS = ("torch", "compiled", "ort", "ov", "ov static")


def get_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", nargs="*", default=PEERS, choices=PEERS)
    parser.add_argument("--json", help="file for the result")
    return parser.parse_args(argv)


def network(folder):
    """The torch module of a model folder with the demo's weights, and its model.py."""
    import torch

    from common.model import checkpoint

    spec = importlib.util.spec_from_file_location("model", ROOT / folder / "model.py")
    model = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(model)
    net, _ = checkpoint.network(model, next((ROOT / folder / "build/demo").glob("*_demo.pth")))
    torch.set_grad_enabled(False)
    return net, model


def assign_to_slices(block, x):
    """ShiftViT's shift in the authors' form, which exports as ScatterND; float32 (N, C, H, W) → the same shape."""
    import torch

    g, out = block.group, torch.zeros_like(x)
    out[:, :g, :, :-1] = x[:, :g, :, 1:]
    out[:, g:2 * g, :, 1:] = x[:, g:2 * g, :, :-1]
    out[:, 2 * g:3 * g, :-1] = x[:, 2 * g:3 * g, 1:]
    out[:, 3 * g:4 * g, 1:] = x[:, 3 * g:4 * g, :-1]
    out[:, 4 * g:] = x[:, 4 * g:]
    return out


def plain_export(net, model, path, batch=None):
    """Export as torch's documentation shows it: nothing simplified; batch None leaves it open."""
    import warnings

    import torch

    axes = None if batch else {model.INPUT: {0: "batch"}, model.OUTPUT: {0: "batch"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, torch.zeros(batch or 2, 3, 224, 224), str(path), opset_version=model.OPSET, dynamo=False,
                          input_names=[model.INPUT], output_names=[model.OUTPUT], dynamic_axes=axes)
    return path


def sides(folder, batch, peers, temp):
    """Return ({side: function that computes one batch}, what ours computes, GMAC an image)."""
    import numpy as np
    import onnxruntime
    import openvino
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from common.cpu import engine

    net, model = network(folder)
    x = np.random.default_rng(0).standard_normal((batch, 3, 224, 224), dtype=np.float32)
    tensor = torch.from_numpy(x)
    with FlopCounterMode(display=False) as counter:
        net(tensor[:1])
    gmac = counter.get_total_flops() / 2e9
    ending = which.ENDINGS[(ROOT / folder / "build/fastest").read_text().split()[0]]
    ours = engine.load(next((ROOT / folder / "build/demo").glob(f"*[_s]{batch}{ending}")))
    found = {"ours": lambda: ours.run([x])[0]}
    if folder == "ShiftViT":
        for module in net.modules():
            if hasattr(module, "shift"):
                module.shift = assign_to_slices.__get__(module)
    if {"ort", "ov"} & set(peers):
        opened = plain_export(net, model, temp / "open.onnx")
    if "ov static" in peers:
        plain_export(net, model, temp / "fixed.onnx", batch)
    for module in net.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = True  # what timm gives its users; it is off for the export alone
    if "torch" in peers:
        found["torch"] = lambda: net(tensor).numpy()
    if "compiled" in peers:
        compiled = torch.compile(net)
        found["compiled"] = lambda: compiled(tensor).numpy()
    if "ort" in peers:
        session = onnxruntime.InferenceSession(str(opened), providers=["CPUExecutionProvider"])
        found["ort"] = lambda: session.run(None, {model.INPUT: x})[0]
    hint = {"INFERENCE_PRECISION_HINT": "f32"}  # OpenVINO's own choice would be bf16, where the CPU has it
    for name, file in (("ov", "open"), ("ov static", "fixed")):
        if name in peers:
            plain = openvino.Core().compile_model(str(temp / f"{file}.onnx"), "CPU", hint).create_infer_request()
            found[name] = lambda plain=plain: plain.infer([x])[0]
    return found, ours, gmac


def check(found):
    """All sides compute the same, or the ratio of their times says nothing. A side that fails is left out, and told."""
    import numpy as np

    wanted = found["ours"]()
    for name in [n for n in found if n != "ours"]:
        try:
            error = float(np.abs(found[name]() - wanted).max() / np.abs(wanted).max())
        except Exception as e:
            print(f"  {name} fails: {' '.join(str(e).split())[:160]}")
            del found[name]
            continue
        assert error < 1e-3, f"{name} differs by {error:.1e}"  # SPACH's results are float16: 5e-4 of rounding


def peak(program):
    """Gop/s in f32 with as many threads as this process may use, now."""
    return float(subprocess.run([program, str(cli.cores())], check=True, capture_output=True, text=True).stdout)


def build_peak(folder):
    """Build peak.c; None where there is no C compiler."""
    program = str(folder / "peak")
    with contextlib.suppress(FileNotFoundError):
        if not subprocess.run(["cc", "-O2", "-march=native", "-ffp-contract=fast", "-pthread", str(ROOT / "benchmarks/peak.c"),
                               "-o", program]).returncode:
            return program
    return None


def one(folder, batch, args, temp, program):
    """Measure one model at one batch size; return its row and targets."""
    make = ["make", "--no-print-directory", "-C", str(ROOT / folder), "WEIGHTS=demo", f"PYTHON={sys.executable}"]
    if batch == args.batches[0]:
        subprocess.run([*make, "fastest", "BS=8"], check=True, stdout=subprocess.DEVNULL)
        print(f"{folder}: {(ROOT / folder / 'build/fastest').read_text().splitlines()[1]}", flush=True)
    subprocess.run([*make, "om", f"BS={batch}"], check=True, stdout=subprocess.DEVNULL)
    found, ours, gmac = sides(folder, batch, args.peers, temp)
    check(found)
    peaks, last = [], {}

    def settle(name):
        """Threads of the side before go on spinning for a while; then one untimed run, for the caches."""
        time.sleep(0.2)
        if name == "ours" and program:
            peaks.append(peak(program))
        if last.get(name, 0) < 1:
            start = time.perf_counter()
            found[name]()
            last[name] = time.perf_counter() - start

    # A turn lasts a third of a second at least.
    def turn(function):
        start = time.perf_counter()
        function()
        runs = max(1, round(0.33 / (time.perf_counter() - start)))
        return runs, lambda: [function() for _ in range(runs)]

    turns = {name: turn(function) for name, function in found.items()}
    times = measure.interleave({name: t[1] for name, t in turns.items()}, args.rounds, before=settle)
    times = {name: [t / turns[name][0] / batch for t in ts] for name, ts in times.items()}
    fps = {name: 1 / statistics.median(ts) for name, ts in times.items()}
    row, targets = [folder, str(batch), f"{fps['ours']:.2f} ({ours.title.split()[0]})"], []
    ratios = {name: measure.ratio(times, name, "ours") for name in found if name != "ours"}
    row += [measure.shown(ratios[name]) if name in ratios else "-" for name in PEERS]
    if peaks:
        # Round by round, as all else: the clock moves.
        pairs = zip(times["ours"], peaks[-args.rounds:], strict=True)
        share = statistics.median(100 * 2 * gmac / seconds / limit for seconds, limit in pairs)
        row.append(f"{share:.0f} % of {statistics.median(peaks):.0f}")
        if batch == 8:
            targets.append((f"{folder}, batch 8: % of the f32 peak", share, SHARE[folder]))
    if ratios:
        best = min(ratios, key=lambda name: ratios[name][0])
        # "At least as fast" allows for what two turns of the same thing differ by, and for 5 % at most.
        noise = statistics.median(abs(a - b) / b for a, b in zip(times["ours"], times["ours"][1:]))
        targets.append((f"{folder}, batch {batch}: ours over the best peer ({best}), noise {100 * noise:.0f} %",
                        ratios[best][0], round(1 - min(noise, 0.05), 3)))
    if "torch" in ratios:
        targets.append((f"{folder}, batch {batch}: ours over torch", ratios["torch"][0], 1.5))
    if folder == "ShiftViT":
        targets += [(f"ShiftViT, batch {batch}: ours over plain OpenVINO, {what}", ratios[name][0], wanted)
                    for name, what, wanted in (("ov static", "static", 1.35), ("ov", "open batch", 1.7)) if name in ratios]
    return row, targets


def main():
    args = get_args()
    measure.outside_make()
    rows, targets = [], []
    with tempfile.TemporaryDirectory() as temp:
        program = build_peak(Path(temp))
        for folder in args.models:
            for batch in args.batches:
                row, more = one(folder, batch, args, Path(temp), program)
                print(f"  {' '.join(row)}", flush=True)
                rows.append(row)
                targets += more
    head = ["model", "batch", "ours, images/s", *(f"ours / {p}" for p in PEERS), "share of peak, Gop/s"]
    notes = [] if program else ["No C compiler here, so the peak was not measured."]
    measure.finish(args, "Inference in f32", head, rows, targets, notes)


if __name__ == "__main__":
    main()
