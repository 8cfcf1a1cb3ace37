"""Run ais_bench on an Ascend host: permissions as its checks demand, a fresh folder, its own spelling, a full count after.

    python3 -m common.ascend.infer --model build/m_bs8.om --input build/prep --output build/result --output_dirname bs8 \
        --outfmt BIN --batchsize 8 --device 0

The flags are ais_bench's. `--device 0,1,2,3` splits the images over the devices; older releases always do, newer ones when
told to. The chip of the .om and the type of the bins are checked before, results against the manifest after.
"""
import argparse
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

from common import cli
from common.ascend import chip as soc
from common.data import dataset

# What ais_bench's messages mean (its path_security_check.py, FAQ.md, and CANN's error codes).
MEANINGS = {
    r"is a soft link": "ais_bench refuses links: copy the files themselves there",
    r"group writ|others? writ|should not be over 0o755": "others may write the file or folder: chmod -R go-w it",
    r"owner|does not belong": "the files belong to another user: chown -R them, or run as that user",
    r"illegal char|invalid char|special char": "ais_bench takes letters, digits and ._-/ in paths: move the folder",
    r"load model from file failed|E19999": "the .om was made for another chip or a newer CANN: run make om on this host",
    r"acl open device|open device .* failed|rtSetDevice": "the device does not open: npu-smi info; driver, firmware, or the "
                                                         "container's --device options",
    r"filesize:.*not match|needsize": "the bins are not what the .om takes: make prep and make om with the same settings",
    r"GLIBCXX|libstdc\+\+": "conda's libstdc++ is too old for CANN: put the system's first on LD_LIBRARY_PATH",
}


def get_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for flag in ("--model", "--input", "--output", "--output_dirname", "--batchsize"):
        parser.add_argument(flag, required=True)
    parser.add_argument("--outfmt", default="BIN", choices=("BIN", "NPY", "TXT"))
    parser.add_argument("--device", default="0", help="0, or several: 0,1,2,3")
    parser.add_argument("--soc", default="", help="the chip, where it cannot be found out")
    return parser.parse_args(argv)


def interpreter():
    """The python3 that has ais_bench."""
    return os.environ.get("ASCEND_PYTHON") or "python3"


def spelling(devices):
    """Return ({flag: as this ais_bench spells it}, [more options]); its --help tells. Failure when it does not start."""
    done = subprocess.run([interpreter(), "-m", "ais_bench", "--help"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True)
    if done.returncode:
        raise cli.Failure(f"ais_bench does not start: {last(done.stdout)}", "bash common/ascend_env.sh says what it lacks")
    names = {name: name if f"--{name}" in done.stdout or f"--{name.replace('_', '-')}" not in done.stdout
             else name.replace("_", "-") for name in ("output_dirname",)}
    divide = next((w for w in ("--divide_input", "--divide-input") if w in done.stdout), None)
    return names, [divide, "1"] if devices > 1 and divide else []


def last(text):
    """The last line that says something."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "nothing printed")


def tidy(*paths):
    """Take group's and others' right to write away, as ais_bench demands; Failure for links and foreign files."""
    for top in map(Path, paths):
        for path in [top, *(top.iterdir() if top.is_dir() else ())]:
            if path.is_symlink():
                raise cli.Failure(f"{path} is a link, which ais_bench refuses", "put the file itself there")
            mode = stat.S_IMODE(path.stat().st_mode)
            if mode & 0o022:
                try:
                    path.chmod(mode & ~0o022)
                except PermissionError:
                    raise cli.Failure(f"{path} belongs to another user and others may write it, which ais_bench refuses",
                                      "chown it, or run as its owner") from None


def main():
    args = get_args()
    manifest = dataset.Manifest.load(args.input)
    sidecar = Path(f"{args.model}.json")
    inputs = cli.read_json(sidecar, "make om").get("inputs") if sidecar.exists() else None
    if inputs:
        manifest.check_type(inputs[0]["dtype"], args.model)
    manifest.check_bins(args.input)
    soc.check_om(args.model, args.soc)
    run = Path(args.output) / args.output_dirname
    shutil.rmtree(run, ignore_errors=True)
    Path(args.output).mkdir(parents=True, exist_ok=True)
    os.umask(0o027)
    tidy(args.model, args.input, args.output)
    names, more = spelling(len(args.device.split(",")))
    command = [interpreter(), "-m", "ais_bench", "--model", args.model, "--input", args.input, "--output", args.output,
               f"--{names['output_dirname']}", args.output_dirname, "--outfmt", args.outfmt, "--batchsize", args.batchsize,
               *(["--device", args.device] if args.device != "0" else []), *more]
    print(" ".join(command), flush=True)
    status, text = cli.tee(command)
    if status:
        meaning = next((m for pattern, m in MEANINGS.items() if re.search(pattern, text)), "see its messages above")
        raise cli.Failure(f"ais_bench ended with status {status} ({last(text)})", meaning)
    found = {p.name for p in run.rglob("*") if p.suffix[1:].upper() == args.outfmt}
    if len(found) != len(manifest.files):
        raise cli.Failure(f"ais_bench wrote {len(found)} result files to {run} for {len(manifest.files)} bins",
                          "see its messages above, then run it again")
    print(f"wrote {len(found)} files to {run}")


if __name__ == "__main__":
    cli.run(main)
