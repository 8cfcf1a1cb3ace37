"""Get the authors' repository at a pinned commit, with patches applied to that copy alone.

    python -m common.model.source --url https://github.com/microsoft/SPACH.git \\
        --commit f69157d4e90fff88285766a4eabf51b29d772da3 --dest SPACH --patch shiftvit.patch

Run again, it does nothing when all is in place; another commit or a changed patch starts from a clean checkout. An
interrupted run can be run again.
"""
import argparse
import os
import re
import shutil
import subprocess
from pathlib import Path, PurePosixPath

from common import cli

# The user's configuration holds (proxies, mirrors), but git must not ask, hang, run hooks, or change line ends.
SETTINGS = ["core.autocrlf=false", "core.hooksPath=/dev/null", "core.fsmonitor=false", "advice.detachedHead=false",
            "http.lowSpeedLimit=1000", "http.lowSpeedTime=60", "init.defaultBranch=main"]
ENVIRONMENT = {"GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true", "GIT_SSH_COMMAND": "ssh -oBatchMode=yes",
               "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh", "GIT_LFS_SKIP_SMUDGE": "1", "LC_ALL": "C"}


def get_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True, help="the authors' repository: an address or a folder")
    parser.add_argument("--commit", required=True, help="its commit, all 40 hex digits")
    parser.add_argument("--dest", required=True, type=Path, help="folder to make")
    parser.add_argument("--patch", action="append", default=[], type=Path, help="to apply there, in the order given")
    parser.add_argument("--copy", action="append", default=[], metavar="PATH=FILE", help="copy FILE to PATH in there")
    args = parser.parse_args(argv)
    if not re.fullmatch(r"[0-9a-f]{40}", args.commit):
        raise cli.Usage(f"--commit {args.commit} is not a full commit hash", "give its 40 lower-case hex digits")
    args.copies = []
    for copy in args.copy:
        path, _, file = copy.partition("=")
        if not path or not file or path.startswith("/") or {"..", ".git"} & set(PurePosixPath(path).parts):
            raise cli.Usage(f"--copy {copy} is not PATH=FILE, with PATH inside the folder", "as in models/x.py=y.py")
        args.copies.append((path, Path(file)))
    for file in [*args.patch, *(f for _, f in args.copies)]:
        if not file.is_file():
            raise cli.Usage(f"{file} does not exist", "give a patch or file of this folder")
    return args


def main(argv=None):
    args = get_args(argv)
    dest = Path(os.path.abspath(args.dest))
    wanted = {"commit": args.commit, "patches": [[p.name, cli.sha256(p)] for p in args.patch],
              "copies": [[path, cli.sha256(file)] for path, file in args.copies]}
    dest.parent.mkdir(parents=True, exist_ok=True)
    with cli.lock(dest.with_name(f".{dest.name}.lock")):
        stamp = dest / ".git" / "source.json"
        if stamp.exists():
            done = cli.read_json(stamp, f"delete {args.dest} and run again")
            head = git(dest, "rev-parse", "HEAD")
            edited = git(dest, "diff", "--name-only").splitlines() if done else []
            if done == wanted and head == args.commit:
                print(f"{args.dest} is in place: {said(args)}{'; edited since: ' if edited else ''}{', '.join(edited)}")
                return
            if edited:
                raise cli.Failure(f"{args.dest} has to be made anew, and {', '.join(edited)} was edited there",
                                  "move the folder away, or delete it, and run again")
            cli.write_json(stamp, {})  # until the end, not in place
            fill(dest, args)
            cli.write_json(stamp, wanted)
        elif dest.exists() and any(dest.iterdir()):
            raise cli.Failure(f"{args.dest} exists and was not made by this step", "move it away and run again")
        else:
            part = dest.with_name(f".{dest.name}.part")
            shutil.rmtree(part, ignore_errors=True)  # of a run that was killed
            try:
                part.mkdir()
                git(part, "init", "--quiet", "--template=")
                fill(part, args)
                cli.write_json(part / ".git" / "source.json", wanted)
                part.replace(dest)
            finally:
                shutil.rmtree(part, ignore_errors=True)
    print(f"wrote {args.dest}: {said(args)}")


def said(args):
    """The state of the folder, for people."""
    added = [p.name for p in args.patch] + [path for path, _ in args.copies]
    return " + ".join([f"{args.url} at {args.commit[:12]}", *added])


def fill(repository, args):
    """Bring a repository of ours to the commit with patches and copies; what they change is put into its index.

    So `git diff --cached` shows them, `git diff` shows what the user edits, and the next reset takes back what was
    added. Files that git does not know stay.
    """
    if not has(repository, args.commit):
        fetch(repository, args)
    git(repository, "checkout", "--quiet", "--force", "--detach", args.commit)
    if git(repository, "rev-parse", "HEAD") != args.commit:
        raise cli.Failure(f"{args.url}: got another commit than {args.commit}", "is the address right?")
    for patch in args.patch:
        try:
            git(repository, "apply", "--index", "--whitespace=nowarn", str(patch.absolute()))
        except GitError as e:
            raise cli.Failure(f"{patch} does not apply to {args.url} at {args.commit[:12]}: {e}",
                              "the patch is made for another commit, or damaged") from None
    for path, file in args.copies:
        target = repository / path
        if not target.resolve().is_relative_to(repository.resolve()):
            raise cli.Failure(f"--copy {path} leads out of {args.dest} through a link", "give another path")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
        git(repository, "add", "--force", "--", path)


def fetch(repository, args):
    """Fetch the one commit; where the server only gives branches, all of them."""
    url = str(Path(args.url).absolute()) if Path(args.url).is_dir() else args.url
    git(repository, "config", "remote.origin.url", url)
    git(repository, "config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*")
    print(f"fetching {args.url} at {args.commit[:12]}")
    try:
        try:
            git(repository, "fetch", "--quiet", "--depth=1", "origin", args.commit)
        except GitError as e:
            if not re.search("unadvertised|not our ref|shallow", str(e)):
                raise
            git(repository, "fetch", "--quiet", "--tags", "origin")
            if not has(repository, args.commit):
                raise GitError("it has no such commit") from None
    except GitError as e:
        raise cli.Failure(f"could not fetch {args.commit[:12]} of {args.url} ({e})",
                          "check the network; or put a clone on this machine and give its folder: --url") from None


def has(repository, commit):
    """Whether the commit is in the repository."""
    try:
        return git(repository, "cat-file", "-t", commit) == "commit"
    except GitError:
        return False


class GitError(cli.Failure):
    """git failed; the message is what it said."""


def git(repository, *arguments):
    """Run git in `repository` and return its output; GitError when it fails."""
    kept = ("GIT_SSL", "GIT_PROXY", "GIT_CONFIG_")
    env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_") or k.startswith(kept)} | ENVIRONMENT
    env["GIT_DIR"] = str(repository / ".git")  # else a damaged one would send git to the repository around it
    settings = [part for setting in SETTINGS for part in ("-c", setting)]
    try:
        run = subprocess.run(["git", *settings, *arguments], cwd=repository, env=env, stdin=subprocess.DEVNULL,
                             capture_output=True, text=True, errors="replace")
    except FileNotFoundError:
        raise cli.Failure("git is not installed", "install it (apt install git)") from None
    if run.returncode:
        said = [line for line in run.stderr.splitlines() if line.startswith(("error:", "fatal:", "remote:"))]
        raise GitError("; ".join(said) or f"git {arguments[0]} ended with {run.returncode}")
    return run.stdout.strip()


if __name__ == "__main__":
    cli.run(main)
