"""Work on another host over ssh: send this model folder and what it has built, run make there, bring the results back.

    make push HOST=user@npu                             this folder, build/ and weights/ included
    make remote HOST=user@npu VERB="om infer bench" BS=8
    make pull HOST=user@npu                             offline models, results and figures, for `make eval ENGINE=ascend`

Needs ssh here, and sshd, make, python3 and tar there; rsync is used when both sides have it. What arrived whole is not
sent again, so an interrupted transfer is just started again. Files keep their times, so make there knows what is done.
"""
import argparse
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from common import cli

# The other host makes its own environment; locks and unfinished files mean nothing there.
LEFT_OUT = (".venv", ".venv.lock", "__pycache__", ".lock", ".part", "by-hand")
RESULTS = ("result", "results", "*.om", "*.om.json", "om_om.cfg", "perf_*_ascend.json", "perf_*_ascend.cfg",
           "frombin_*_ascend.json")


def get_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("push", "run", "pull"))
    parser.add_argument("host", help="user@host, or a name of ~/.ssh/config")
    parser.add_argument("--dir", help="folder there (default: this folder's name, in the home directory)")
    parser.add_argument("--out", default="build", help="folder that holds what was made (default: %(default)s)")
    parser.add_argument("--ssh", default="ssh", help="ssh command with options, e.g. 'ssh -p 2222' (default: %(default)s)")
    parser.epilog = "for run: -- and make's verbs and variables"
    words = list(sys.argv[1:] if argv is None else argv)
    cut = words.index("--") if "--" in words else len(words)
    args = parser.parse_args(words[:cut])
    args.make = words[cut + 1:]
    args.dir = args.dir or Path.cwd().name
    if not re.fullmatch(r"[\w@.:\[\]-]+", args.host) or args.host.startswith("-"):
        parser.error(f"{args.host!r} is no host; give user@host")
    # ais_bench refuses other characters in paths; so they cannot be of use there.
    if not re.fullmatch(r"[\w./~-]+", args.dir) or args.dir.startswith("-"):
        parser.error(f"{args.dir!r} is no folder for the other host; letters, digits and ./_- only")
    return args


def ssh(args, command, **options):
    """Run a shell command on the other host; Failure when ssh or the command fails."""
    done = subprocess.run([*shlex.split(args.ssh), args.host, command], **options)
    if done.returncode == 255:
        raise cli.Failure(f"ssh cannot reach {args.host}, see its message above", f"try: {args.ssh} {args.host} true")
    return done


def wanted(path):
    """Whether a path inside the folder is sent."""
    return not any(part in LEFT_OUT or part.endswith((".lock", ".part")) for part in path.parts)


def local_files(root, patterns=None):
    """{relative path: (size, whole seconds of change)} of the files to transfer."""
    found = {}
    for path in (p for pattern in patterns or ["*"] for top in root.glob(pattern)
                 for p in ([top] if top.is_file() else top.rglob("*"))):
        relative = path.relative_to(root)
        if wanted(relative) and path.is_file() and not path.is_symlink():
            found[str(relative)] = (path.stat().st_size, int(path.stat().st_mtime))
    return found


def remote_files(args, folder, patterns=("*",)):
    """The same of `folder` on the other host; empty when it is not there."""
    names = " ".join(patterns)  # expanded there; ours, no user's text
    command = (f"cd {folder} 2>/dev/null || exit 0; for f in {names}; do [ -e \"$f\" ] && "
               f"find \"$f\" -type f -printf '%p\\t%s\\t%T@\\n'; done; true")
    lines = ssh(args, command, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    rows = (line.split("\t") for line in lines)
    return {name: (int(size), int(float(time))) for name, size, time in rows if wanted(Path(name))}


def both_have_rsync(args):
    """Whether rsync can be used."""
    return bool(shutil.which("rsync")) and ssh(args, "command -v rsync", stdout=subprocess.DEVNULL).returncode == 0


def stream(source, sink, names):
    """Pipe tar's archive of `names` from the command `source` to `sink`; names go to the packing tar's standard input."""
    packer = subprocess.Popen(source, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    unpacker = subprocess.Popen(sink, stdin=packer.stdout)
    packer.stdout.close()
    packer.stdin.write("".join(f"{name}\0" for name in names).encode())
    packer.stdin.close()
    if unpacker.wait() or packer.wait():
        raise cli.Failure("the transfer broke off", "start it again: what arrived whole is not sent again")


def transfer(args, source, target, names, here_to_there):
    """Copy the files `names` from folder `source` to `target`, times and modes kept, group and others without write."""
    connect = [*shlex.split(args.ssh), args.host]
    if both_have_rsync(args):
        ends = [f"{source}/", f"{args.host}:{target}/"] if here_to_there else [f"{args.host}:{source}/", f"{target}/"]
        done = subprocess.run(["rsync", "-tp", "--chmod=go-w", "--partial", "--from0", "--files-from=-", "--info=progress2",
                               "-e", args.ssh, *ends], input="".join(f"{n}\0" for n in names).encode())
        if done.returncode:
            raise cli.Failure("the transfer broke off", "start it again: it goes on where it stopped")
        return
    pack = ["tar", "-C", str(source), "--null", "-T", "-", "-cf", "-"]
    unpack = ["tar", "-C", str(target), "--mode=go-w", "-xpf", "-"]
    if here_to_there:
        stream([*pack[:6], "--mode=go-w", *pack[6:]], [*connect, shlex.join(["tar", "-C", str(target), "-xpf", "-"])], names)
    else:
        stream([*connect, shlex.join(pack)], [u for u in unpack if not u.startswith("--mode")], names)


def push(args):
    """Send the folder; returns how many files went and how many were there already."""
    if ssh(args, f"mkdir -p {args.dir} && chmod go-w {args.dir} && command -v tar make >/dev/null").returncode:
        raise cli.Failure(f"{args.host} lacks tar or make, or {args.dir} cannot be made there", "install them, or give --dir")
    here, there = local_files(Path()), remote_files(args, args.dir)
    names = sorted(n for n, what in here.items() if there.get(n) != what)
    if names:
        transfer(args, ".", args.dir, names, True)
    print(f"push: {len(names)} files to {args.host}:{args.dir}, {len(here) - len(names)} were there already")


def pull(args):
    """Bring offline models, results and figures back."""
    count = 0
    for sub in (args.out, f"{args.out}/demo"):
        there = remote_files(args, f"{args.dir}/{sub}", RESULTS)
        Path(sub).mkdir(parents=True, exist_ok=True)
        here = local_files(Path(sub), RESULTS)
        names = sorted(n for n, what in there.items() if here.get(n) != what)
        if names:
            transfer(args, f"{args.dir}/{sub}", sub, names, False)
        count += len(names)
    print(f"pull: {count} files from {args.host}:{args.dir}")


def main():
    args = get_args()
    if args.verb == "run":
        command = f"cd {args.dir} && make --no-print-directory {shlex.join(args.make)}"
        status = ssh(args, command).returncode
        if status:
            raise cli.Failure(f"make ended with status {status} on {args.host}, see above", "mend that there, run it again")
    else:
        {"push": push, "pull": pull}[args.verb](args)


if __name__ == "__main__":
    cli.run(main)
