"""Peak memory of the export and of the compilation of Twins-SVT-L, the largest model here (400 MB
of ONNX).

    python3 -m benchmarks.memory --json build/benchmarks/memory.json

What is measured is the largest resident set of any process of the step, make and what it starts;
demo weights, batch 8.
"""
import argparse
import os
import subprocess
import sys
from pathlib import Path

from benchmarks import measure

MODEL = Path(__file__).resolve().parent.parent / "Twins-SVT-L"
LIMIT = 3  # GB
STEPS = {"onnx": "checkpoint → ONNX, checked against torch",
         "om": "ONNX → offline model, checked against the ONNX"}


def get_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="build/memory",
                        help="OUT= of the steps, in the model's folder (default: %(default)s)")
    parser.add_argument("--json", metavar="FILE", help="write the figures there")
    return parser.parse_args(argv)


def peak(command):
    """Run a command; return the peak in bytes of the largest of its processes."""
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main():
    args = get_args()
    measure.outside_make()
    make = ["make", "--no-print-directory", "-C", str(MODEL), f"OUT={args.out}",
            f"PYTHON={sys.executable}", "WEIGHTS=demo"]
    subprocess.run([*make, f"{args.out}/demo/alt_gvt_large_demo.pth"], check=True)
    for made in (MODEL / args.out / "demo").glob("alt_gvt_large*"):
        if ".pth" not in made.name:
            made.unlink()  # or there would be nothing to do
    peaks = {step: peak([*make, step]) for step in STEPS}
    size = (MODEL / args.out / "demo/alt_gvt_large.onnx").stat().st_size / 1e6
    rows = [[f"make {step}", what, f"{peaks[step] / 1e9:.2f}"] for step, what in STEPS.items()]
    targets = [(f"make {step} of Twins-SVT-L: {LIMIT} GB over its peak",
                LIMIT * 1e9 / peaks[step], 1) for step in STEPS]
    measure.finish(args, "Memory of export and compilation", ["step", "", "peak, GB"], rows,
                   targets, [f"Twins-SVT-L's ONNX has {size:.0f} MB."])


if __name__ == "__main__":
    main()
