"""Print the chip's name as atc's --soc_version takes it.

    python3 -m common.ascend.chip                      what this host has: pyACL, else npu-smi
    python3 -m common.ascend.chip 310P3                Ascend310P3: checked and written in full
    python3 -m common.ascend.chip --om x_bs8.om        was an .om made for this host's chip?

A given name needs no NPU.
"""
from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from pathlib import Path

from common import cli, provenance
from common.ascend.toolkit import call, interpreter

# The chips in CANN's lists (hicann/ge, ops-nn: soc_version). Others get a warning, no more.
KNOWN = re.compile(
    r"Ascend(310|310P[1357](Vir0[1248])?|310B[1-4]|610|610Lite|910|910A|910(Pro|Premium)[AB]|"
    r"910B([1-4]C?(-1)?)?|910_93\d\d|950(PR|DT)_[0-9A-Za-z]{3,5}|035[AB]?)")
NAME = re.compile(r"Ascend[0-9][0-9A-Za-z_-]*")
# npu-smi's table shows these families alone; the board's page has the rest (GE, --soc_version.md).
FAMILY = re.compile(r"Ascend(910|950|950PR|950DT)")
SECONDS = 60  # npu-smi takes long where there are many chips


def get_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("soc", nargs="?", default="",
                        help="a chip's name, with or without Ascend; left out: ask the host")
    parser.add_argument("--om", metavar="FILE",
                        help="compare with the chip that this offline model was made for")
    return parser.parse_args(argv)


def check(name):
    """Return `name` in full (310P3 becomes Ascend310P3).

    Usage for what cannot be a chip, and for a doubled prefix (Ascend310310P3), naming what was
    probably meant; a line on stderr for a name of the right form that is not a known chip.
    """
    bare = re.sub("^ascend", "", name.strip(), flags=re.IGNORECASE)
    # Ascend${chip} and Ascend310${chip}, where the variable holds more than its writer thought.
    doubled = re.fullmatch(r"(?:ascend)+(.*)|(\d{3})[A-Za-z]?(\2.*)", bare, re.IGNORECASE)
    if doubled:
        raise cli.Usage(f"SOC={name} has its prefix twice",
                        f"probably SOC=Ascend{doubled[1] or doubled[3]} is meant")
    model, dash, variant = bare.partition("_")
    model = model.upper()
    for word in ("Vir", "Pro", "Premium", "Lite"):
        model = model.replace(word.upper(), word)
    full = f"Ascend{model}{dash}{variant}"
    full = full if KNOWN.fullmatch(full) else f"Ascend{bare}"
    if not NAME.fullmatch(full):
        raise cli.Usage(f"SOC={name} is no chip's name",
                        "write it as in SOC=Ascend310P3; npu-smi info shows it")
    if not KNOWN.fullmatch(full):
        print(f"warning: SOC={full} is not a chip known here; atc decides", file=sys.stderr)
    return full


def from_acl(seconds):
    """Return (name, None) as pyACL gives it, else (None, what went wrong).

    In a process of its own, because a broken CANN would take this one with it.
    """
    code = "import acl; print('soc_name', acl.get_soc_name())"
    out, problem = call([interpreter(), "-c", code], seconds)
    found = re.search(rf"^soc_name ({NAME.pattern})$", out or "", re.MULTILINE)
    return (found[1], None) if found else (None, problem or "it gives no name")


def parse_table(text):
    """Return [(NPU id, chip id or None, name)] from what `npu-smi info` prints.

    Each chip has two rows: id and name, then chip and bus. Widths, columns and the banner differ
    between releases; in the newest the name has a column of its own and the second row no chip id.
    The table of processes below has rows that begin with digits as well.
    """
    table = re.split("Process|No running", text)[0]
    head = re.search(r"^\| *NPU( ID)? ", table, re.MULTILINE)
    if not head:
        return []
    border = r" *\|" if head[1] else ""
    rows = rf"^\| *([0-9]+){border} +(\w[^|\n]*)\|.*\n\| *([0-9]*)"
    found = re.findall(rows, table[head.end():], re.MULTILINE)
    return [(npu, chip or None, "Ascend" + re.sub(r"^Ascend|\s", "", name))
            for npu, name, chip in found]


def from_board(npu_smi, npu, chip, seconds):
    """Return <Chip Name>_<NPU Name>, or None when the board's page does not say both."""
    which = ["-i", npu] + (["-c", chip] if chip else [])
    out, _ = call([npu_smi, "info", "-t", "board", *which], seconds)
    said = dict(re.findall(r"^\s*(Chip Name|NPU Name)\s*:\s*(\S+)\s*$", out or "", re.MULTILINE))
    name = f"{said.get('Chip Name')}_{said.get('NPU Name')}"
    return name if re.fullmatch(r"Ascend\w+_\d\w*", name) else None


def from_npu_smi(seconds):
    """Return (name, None) as npu-smi gives it, else (None, what went wrong).

    Failure when there are chips of two kinds.
    """
    places = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/local/bin:/usr/sbin"
    npu_smi = shutil.which("npu-smi", path=places)
    if not npu_smi:
        return None, "not installed"
    out, problem = call([npu_smi, "info"], seconds)
    if out is None:
        return None, problem
    first = {name: (npu, chip) for npu, chip, name in reversed(parse_table(out))}
    if not first:
        said = cli.short(" ".join(re.sub(r"[|+=-]+", " ", out).split()) or "nothing")
        return None, f"no chip in what it prints ({said})"
    kinds = set()
    for name, place in first.items():
        known = KNOWN.fullmatch(name) and not FAMILY.fullmatch(name)
        kinds.add(name if known else from_board(npu_smi, *place, seconds) or name)
    if len(kinds) > 1:
        raise cli.Failure(f"npu-smi shows chips of {len(kinds)} kinds: {', '.join(sorted(kinds))}",
                          f"say which one DEVICE= is, as in SOC={min(kinds)}")
    name = kinds.pop()
    if FAMILY.fullmatch(name):
        return None, f"it shows {name}, which is a family of chips"
    return (name, None) if NAME.fullmatch(name) else (None, f"it shows {name!r}, no chip's name")


def find(given="", seconds=SECONDS):
    """Return (name in full, where it is from): `given`, else what pyACL says, else npu-smi.

    Failure says what was seen.
    """
    if given not in ("", "auto"):
        return check(given), "SOC"
    seen = []
    for where, ask in (("pyACL", from_acl), ("npu-smi", from_npu_smi)):
        name, problem = ask(seconds)
        if name:
            return check(name), where
        seen.append(f"{where}: {problem}")
    raise cli.Failure(f"no Ascend chip found ({'; '.join(seen)})",
                      "say for which chip to compile, as in SOC=Ascend310P3")


def runs_on(made_for, here):
    """Whether an .om for `made_for` runs on `here`: the same chip, or a virtual part of it."""
    return here == made_for or re.sub(r"Vir\w+$", "", here) == made_for


def check_om(om, given=""):
    """Failure when an offline model was made for another chip, or is not what its record says.

    Silent about an .om without a record, and on a host that does not tell its chip: the runtime
    finds out by itself.
    """
    if not Path(om).is_file():
        raise cli.Failure(f"{om} does not exist", "run make om, or say OM= where it is")
    about = provenance.read(om)
    if about is None:
        return
    wrong = provenance.misfit(om)
    if wrong:
        raise cli.Failure(f"{om} {wrong}", "run make om again, or copy it again with its .json")
    try:
        here, _ = find(given)
    except cli.Failure as e:
        print(f"warning: {om} is for {about.get('soc')}; {e}", file=sys.stderr)
        return
    if about.get("soc") and not runs_on(about["soc"], here):
        raise cli.Failure(f"{om} was made for {about['soc']}, this host has {here}",
                          f"compile it for this one: make om SOC={here}")


def main():
    args = get_args()
    if args.om:
        check_om(args.om, args.soc)
    else:
        print(find(args.soc)[0])


if __name__ == "__main__":
    cli.run(main)
