"""The command line of ais_bench 0.0.2."""
import argparse
from pathlib import Path

from common import cli

# Accepted at these values only: what they choose is not there without an NPU, or with shapes that are fixed.
ELSEWHERE = {"dymBatch": "0", "dymHW": None, "dymDims": None, "dymShape": None, "dymShape_range": None,
             "outputSize": None, "auto_set_dymshape_mode": False, "auto_set_dymdims_mode": False, "profiler": False,
             "dump": False, "acl_json_path": None, "run_mode": "array"}


def boolean(text):
    """Return the truth that `text` spells; booleans take a value, as in `--debug 1`."""
    if text.lower() in ("yes", "true", "t", "y", "1"):
        return True
    if text.lower() in ("no", "false", "f", "n", "0"):
        return False
    raise argparse.ArgumentTypeError("give 1 or 0")


def at_least(low):
    """Return an argparse type: a whole number not below `low`."""
    def number(text):
        if not text.isdecimal() or int(text) < low:
            raise argparse.ArgumentTypeError(f"give a whole number, {low} or more")
        return int(text)
    return number


def get_args(argv=None, description=None):
    """Parse; unambiguous prefixes of flags are taken, as the original does. Usage for what the stand-in has not."""
    p = argparse.ArgumentParser("ais_bench", description=description,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", "-m", required=True, help=".blob or .ort; for x.om the one beside it is taken")
    p.add_argument("--input", "-i", help="folder of .bin/.npy, or files with commas between; none: pure inference")
    p.add_argument("--output", "-o", help="parent folder of the results; without it nothing is saved")
    p.add_argument("--output_dirname", help="folder in --output for the results; without it the date and time")
    p.add_argument("--outfmt", choices=("BIN", "NPY", "TXT"), default="BIN", help="format of the result files")
    p.add_argument("--loop", "-l", type=at_least(1), default=1, help="executions on each batch")
    p.add_argument("--warmup_count", type=at_least(0), default=1, help="executions before the clock starts")
    p.add_argument("--batchsize", type=at_least(1), help="only scales the throughput; without it the model's batch")
    p.add_argument("--pure_data_type", choices=("zero", "random"), default="zero", help="input of pure inference")
    p.add_argument("--output_batchsize_axis", type=int, default=0, help="0")
    p.add_argument("--device", "-d", default="0", help="one number, accepted and without effect: there is one CPU")
    p.add_argument("--display_all_summary", type=boolean, default=False, help="1: times of reading and writing too")
    p.add_argument("--debug", type=boolean, default=False, help="1: describe the model, show tracebacks")
    for name, default in ELSEWHERE.items():
        p.add_argument(f"--{name}", type=boolean if default is False else str, default=default,
                       help="not on the CPU stand-in")
    args = p.parse_args(argv)
    for name, default in ELSEWHERE.items():
        if getattr(args, name) != default:
            raise cli.Usage(f"--{name} is not on the CPU stand-in", "leave it away, or run on an Ascend host")
    if args.output_batchsize_axis != 0:
        raise cli.Usage("--output_batchsize_axis is 0 on the CPU stand-in", "leave it away, or run on an Ascend host")
    if not (args.device.isdecimal() and int(args.device[:9]) <= 255):
        raise cli.Usage(f"--device {args.device}: the CPU stand-in has one device", "give one of 0…255")
    folder = Path(args.output_dirname or "results")
    if args.output_dirname is not None and not args.output:
        raise cli.Usage("error bad parameters --output_dirname", "it needs --output, its parent folder")
    if folder.is_absolute() or ".." in folder.parts or folder == Path():
        raise cli.Usage(f"--output_dirname {folder} is no folder in --output", "give a name without .. or leading /")
    return args
