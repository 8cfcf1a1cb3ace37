"""Print the chip's name as atc's --soc_version takes it.

    python3 -m common.ascend.chip                      what this host has: pyACL says, else npu-smi
    python3 -m common.ascend.chip 310P3                Ascend310P3: a given name is checked and written in full
    python3 -m common.ascend.chip --om x_bs8.om        check that an offline model was made for this host's chip

A given name needs no NPU.
"""
import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

from common import cli

# The chips in CANN's platform configuration; another name gets a warning, no more.
KNOWN = re.compile(r"Ascend(310|310P[1357]|310B[1-4]|610|610Lite|910|910A|910B|910(Pro|Premium)[AB]|910B[1-4]C?(-1)?|"
                   r"910_93\d\d|950(PR|DT)(_\d+)?|035[AB]?)")
NAME = re.compile(r"Ascend[0-9][0-9A-Za-z_-]*")
# Of these npu-smi's table shows the family alone; the rest is on the board's page (CANN, atc, --soc_version: A3 and 950).
FAMILY = re.compile(r"Ascend(910|950(PR|DT)?)")
SECONDS = 60  # npu-smi takes long where there are many chips, and for ever where the driver is broken


def get_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("soc", nargs="?", default="", help="a chip's name, with or without Ascend; none: ask the host")
    parser.add_argument("--om", metavar="FILE", help="compare with the chip that this offline model was made for")
    return parser.parse_args(argv)


def check(name):
    """Return `name` in full (310P3 becomes Ascend310P3).

    Usage for what cannot be a chip, and for a doubled prefix (Ascend310310P3, AscendAscend310P3), naming what was
    probably meant; a line on stderr for a name of the right form that is not a known chip.
    """
    bare = re.sub("^ascend", "", name.strip(), flags=re.IGNORECASE)
    # Ascend${chip} and Ascend310${chip}, where the variable holds more than its writer thought.
    doubled = re.fullmatch(r"(?:ascend)+(.*)|(\d{3})[A-Za-z]?(\2.*)", bare, re.IGNORECASE)
    if doubled:
        raise cli.Usage(f"SOC={name} has its prefix twice", f"probably SOC=Ascend{doubled[1] or doubled[3]} is meant")
    full = f"Ascend{bare.upper() if KNOWN.fullmatch(f'Ascend{bare.upper()}') else bare}"
    if not NAME.fullmatch(full):
        raise cli.Usage(f"SOC={name} is no chip's name", "write it as in SOC=Ascend310P3; npu-smi info shows it")
    if not KNOWN.fullmatch(full):
        print(f"warning: SOC={full} is not a chip known here; atc has the last word", file=sys.stderr)
    return full


def call(command):
    """Return (stdout, None) of a command that ends well, else (None, what went wrong)."""
    try:
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL,
                              timeout=SECONDS, encoding="utf-8", errors="replace")
    except OSError as e:
        return None, f"{command[0]}: {e.strerror}"
    except subprocess.TimeoutExpired:
        return None, f"no answer in {SECONDS} s"
    if done.returncode == 0:
        return done.stdout, None
    said = [line.strip() for line in f"{done.stdout}\n{done.stderr}".splitlines() if line.strip()]
    return None, said[-1][:120] if said else f"it ended with status {done.returncode}"


def from_acl():
    """Return (name, None) as pyACL gives it, else (None, what went wrong).

    In a process of its own, because a broken CANN would take this one with it.
    """
    problem = None
    for python in dict.fromkeys((sys.executable, "python3")):
        out, problem = call([python, "-c", "import acl; print('soc_name', acl.get_soc_name())"])
        found = re.search(r"^soc_name (\S+)", out or "", re.MULTILINE)
        if found and NAME.fullmatch(found[1]):
            return found[1], None
    return None, problem or "it gives no name"


def parse_table(text):
    """Return [(NPU id, chip id or None, name)] from what `npu-smi info` prints.

    Each chip has two rows: id and name, then chip and bus. Widths, columns and the banner differ between releases, and in
    the newest the name has a column of its own and the second row no chip id. The table of processes below has rows that
    begin with digits as well.
    """
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")]
            for line in text.splitlines() if line.strip().startswith("|")]
    first = next((i for i, row in enumerate(rows) if row[0].startswith("NPU")), len(rows))
    last = next((i for i, row in enumerate(rows) if i > first and re.search("Process|No running", " ".join(row))), len(rows))
    chips = []
    for i in range(first + 2, last - 1, 2):
        if rows[first][0] == "NPU ID":
            npu, chip, name = rows[i][0], None, "".join(rows[i][1:2])
        else:
            npu, _, name = rows[i][0].partition(" ")
            chip = rows[i + 1][0].split(" ")[0]
        name = re.sub("^Ascend", "", "".join(name.split()))
        if re.fullmatch(r"\d+", npu) and re.fullmatch(r"\d{3}[\w-]*", name):
            chips.append((npu, chip, f"Ascend{name}"))
    return chips


def from_board(npu_smi, npu, chip):
    """Return <Chip Name>_<NPU Name>, or None when the board's page does not say both."""
    out, _ = call([npu_smi, "info", "-t", "board", "-i", npu] + (["-c", chip] if chip else []))
    said = dict(re.findall(r"^\s*(Chip Name|NPU Name)\s*:\s*(\S+)\s*$", out or "", re.MULTILINE))
    name = f"{said.get('Chip Name')}_{said.get('NPU Name')}"
    return name if re.fullmatch(r"Ascend\w+_\d\w*", name) else None


def from_npu_smi():
    """Return (name, None) as npu-smi gives it, else (None, what went wrong). Failure when there are chips of two kinds."""
    npu_smi = shutil.which("npu-smi") or shutil.which("npu-smi", path="/usr/local/sbin:/usr/local/bin:/usr/sbin")
    if not npu_smi:
        return None, "not installed"
    out, problem = call([npu_smi, "info"])
    if out is None:
        return None, problem
    chips = parse_table(out)
    if not chips:
        return None, f"no chip in its table: {' '.join(out.split())[:120]}"
    first = {name: (npu, chip) for npu, chip, name in reversed(chips)}
    kinds = {FAMILY.fullmatch(name) and from_board(npu_smi, *first[name]) or name for name in first}
    if len(kinds) > 1:
        raise cli.Failure(f"npu-smi shows chips of {len(kinds)} kinds: {', '.join(sorted(kinds))}",
                          f"say which one DEVICE= is, as in SOC={min(kinds)}")
    name = min(kinds)
    return (None, f"it shows {name}, which is a family of chips") if FAMILY.fullmatch(name) else (name, None)


def find(given=""):
    """Return (name in full, where it is from): `given`, else what pyACL says, else npu-smi; Failure says what was seen."""
    if given:
        return check(given), "SOC"
    seen = []
    for where, ask in (("pyACL", from_acl), ("npu-smi", from_npu_smi)):
        name, problem = ask()
        if name:
            return name, where
        seen.append(f"{where}: {problem}")
    raise cli.Failure(f"no Ascend chip found ({'; '.join(seen)})",
                      "say for which chip to compile, as in SOC=Ascend310P3")


def check_om(om, given=""):
    """Failure when the offline model `om` was made for another chip than this host's, or is not what its sidecar says.

    Silent about an .om without a sidecar, and on a host that does not tell its chip: the runtime finds out by itself.
    """
    om, sidecar = Path(om), Path(f"{om}.json")
    if not om.is_file():
        raise cli.Failure(f"{om} does not exist", "run make om, or say OM= where it is")
    if not sidecar.is_file():
        return
    made = cli.read_json(sidecar, "run make om again")
    if made.get("size") != om.stat().st_size or made.get("sha256") != cli.sha256(om):
        raise cli.Failure(f"{om} is not the file that {sidecar} describes", "run make om again, or copy both again")
    try:
        here, _ = find(given)
    except cli.Failure as e:
        print(f"warning: {om} is for {made.get('soc')}; {e}", file=sys.stderr)
        return
    if made.get("soc") != here:
        raise cli.Failure(f"{om} was made for {made.get('soc')}, this host has {here}",
                          f"compile it here (make om), or elsewhere with SOC={here}")


def main():
    args = get_args()
    if args.om:
        check_om(args.om, args.soc)
    else:
        print(find(args.soc)[0])


if __name__ == "__main__":
    cli.run(main)
