"""Run ais_bench on an Ascend host: rights as its checks demand, a fresh folder, a full count after.

    python3 -m common.ascend.infer --model build/m_bs8.om --input build/prep \\
        --output build/result --output_dirname bs8 --outfmt BIN --batchsize 8 --device 0

The flags are ais_bench's. `--device 0,1,2,3` splits the images over the devices; older releases
always do, newer ones when told to. The chip of the .om and the type of the bins are checked before.
"""
from __future__ import annotations

import argparse
import contextlib
import os
import shutil
from pathlib import Path

from common import cli, provenance
from common.ascend import chip, errors, toolkit
from common.data import manifest


def get_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for flag in ("--model", "--input", "--output", "--output_dirname", "--batchsize"):
        parser.add_argument(flag, required=True)
    parser.add_argument("--dymBatch", help="the batch, of an .om for several")
    parser.add_argument("--outfmt", default="BIN", choices=("BIN", "NPY", "TXT"))
    parser.add_argument("--device", default="0", help="0, or several: 0,1,2,3")
    return parser.parse_args(argv)


def spelling(devices):
    """Return (--output_dirname as this ais_bench spells it, [more options]); its --help tells.

    Failure when ais_bench cannot be used.
    """
    usable, what, todo = toolkit.ais_bench()
    if not usable:
        raise cli.Failure(what, todo)
    said, problem = toolkit.call([toolkit.interpreter(), "-m", "ais_bench", "--help"], 120)
    if problem:
        raise cli.Failure(f"ais_bench does not start: {problem}", errors.explain(problem, 1)[1])
    folder = "--output-dirname" if "--output-dirname" in said else "--output_dirname"
    divide = [word for word in ("--divide_input", "--divide-input") if word in said]
    return folder, [divide[0], "1"] if devices > 1 and divide else []


def check_batch(args, gears):
    """Failure when --dymBatch is none of the batches `gears` that an .om is for (None: one), or is
    missing: the NPU would then compute the largest."""
    if args.dymBatch not in (map(str, gears) if gears else [None]):
        known = f"the batches {', '.join(map(str, gears))}" if gears else "one batch"
        raise cli.Failure(f"{args.model} is for {known}, --dymBatch is {args.dymBatch}",
                          "give one of them" if gears else "omit --dymBatch")


def tidy(*paths):
    """Take the right to write from group and others, as the newer ais_bench demands."""
    for top in map(Path, paths):
        for path in [top, *(top.iterdir() if top.is_dir() else ())]:
            # What is another user's, and links, ais_bench refuses itself.
            with contextlib.suppress(PermissionError):
                if not path.is_symlink() and path.stat().st_mode & 0o022:
                    path.chmod(path.stat().st_mode & 0o7755)


def main():
    args = get_args()
    bins = manifest.Manifest.load(args.input)
    chip.check_om(args.model)
    about = provenance.read(args.model) or {}
    check_batch(args, about.get("gears"))
    inputs = about.get("inputs")
    if inputs:
        bins.check_type(inputs[0]["dtype"], args.model)
    bins.check_bins(args.input)
    results = Path(args.output) / args.output_dirname
    shutil.rmtree(results, ignore_errors=True)
    Path(args.output).mkdir(parents=True, exist_ok=True)
    os.umask(0o027)
    tidy(args.model, args.input, args.output)
    folder, more = spelling(len(args.device.split(",")))
    command = [toolkit.interpreter(), "-m", "ais_bench", "--model", args.model,
               "--input", args.input, "--output", args.output, folder, args.output_dirname,
               "--outfmt", args.outfmt, "--batchsize", args.batchsize, *more]
    command += ["--dymBatch", args.dymBatch] if args.dymBatch else []
    command += ["--device", args.device] if args.device != "0" else []
    print(" ".join(command), flush=True)
    status, text = cli.tee(command)
    if status:
        why, todo = errors.explain(text, status)
        raise cli.Failure(f"ais_bench failed: {why}", todo)
    found = [path for path in results.rglob("*") if path.suffix[1:].upper() == args.outfmt]
    if len(found) != len(bins.files):
        raise cli.Failure(f"ais_bench wrote {len(found)} result files to {results} for "
                          f"{len(bins.files)} bins", "see its messages above, then run it again")
    print(f"wrote {len(found)} files to {results}")


if __name__ == "__main__":
    cli.run(main)
