"""What the messages of atc and ais_bench mean and what to do about them, each with its source.

    why, todo = errors.explain(text, status, "atc")

Sources: GE is hicann/ge at ffdcbc9, its codes docs/en/user_guides/error_codes; ACL is CANN's table
of return codes, "aclError"; AB is ais_bench's own checks and FAQ (Ascend/tools, sync-ait);
the rest are public threads.
"""
from __future__ import annotations

import os
import re
import signal
from pathlib import Path

SUCCESS = "ATC run success"  # GE, api/atc/main_impl.cc
LOG = "CANN's log says more: ATC_FLAGS=--log=info, ASCEND_SLOG_PRINT_TO_STDOUT=1"
EXPORT = "export the ONNX at opset 11 (make onnx OPSET=11)"
DEVICES = "DEVICE= counts from 0 within ASCEND_RT_VISIBLE_DEVICES, where that is set"
MAKE_OM = "compile it on this host (make om)"
LESS_MEMORY = "TE_PARALLEL_COMPILER=1 in the environment makes atc take less; end other programs"
INSTALL = ("install it: pip install mindstudio-probe && msprobe install_deps -m offline, or msit "
           "install benchmark (PyPI's ais-bench-benchmark is another tool)")


def codes(numbers):
    """A pattern for return codes that takes no part of a larger number, a time or a file's name."""
    return rf"(?<![\w./-])({numbers})(?!\w|\.\d)"


# (pattern, meaning, what to do, source). The first that is found anywhere in the text counts:
# what broke the host first, what it broke after it, and codes that say nothing last.
MEANINGS = [
    ("EL0004|rtMalloc|" + codes("207001|207018|245000|245002"), "the device has too little memory",
     "npu-smi info shows what uses it: end that, or take a smaller BS=", "ACL"),
    (r"ForkServerPoolWorker[\s\S]*?(EOFError|BrokenPipe)|MemoryError|std::bad_alloc|"
     r"Cannot allocate memory|line \d+: +\d+ Killed",
     "the host has too little memory", LESS_MEMORY, "Ascend/pytorch#79; GE, env_vars"),
    ("No space left on device|ENOSPC", "the disk is full", "make room, run it again", "errno"),
    ("E39009|device is lost|" + codes("507899|507010|507053|507054|507901"), "the device is lost",
     "npu-smi info; reset it (npu-smi set -t reset), or restart the host", "ACL"),
    ("[Ii]nvalid device|visible device|" + codes("107001"), "there is no such device", DEVICES,
     "ACL; MindSpore FAQ, EE1001; vllm-ascend#10227"),
    ("aic(ore|pu) (error )?(exception|timeout)|"
     + codes("50701[1-8]|50703[456]|50704[2-5]|50704[89]|507050"), "the device failed while it "
     "computed", "run it again; then make om on this host, and look at CANN's log", "ACL"),
    (r"libascend_hal\.so", "the driver's library is not found", "install the driver; without an "
     "NPU add <CANN>/<arch>-linux/devlib to LD_LIBRARY_PATH", "GE, environment_setup.md"),
    ("[Oo]pen device.*fail|rtSetDevice|" + codes("507033|500004|207004|207006"),
     "the driver does not open the device",
     "npu-smi info; driver, firmware, group HwHiAiUser, the container's --device", "ACL; AB FAQ"),
    # Runtime's «argument is invalid»; it follows other errors too, so it comes after them.
    ("EE1001", "CANN's runtime refuses an argument, most often the device's number", DEVICES,
     "MindSpore FAQ, EE1001"),
    # What the host's processor, libraries and Python are.
    ("[Ee]xec format error|cannot execute binary file", "this CANN is for another processor",
     "install the one for the processor that uname -m shows", "execve(2)"),
    ("GLIBCXX_|CXXABI_", "a libstdc++ that is too old comes before the system's (conda's?)",
     "export LD_LIBRARY_PATH=/usr/lib/$(uname -m)-linux-gnu:$LD_LIBRARY_PATH", "AB FAQ"),
    (r"`GLIBC_\d", "this system's C library is older than the tool's",
     "use wheels and a CANN for this system, or a container with CANN", "ld.so(8)"),
    (r"libge_compiler\.so", "this CANN is the runtime alone (nnrt)",
     "install the toolkit and source its set_env.sh", "MindSpore FAQ"),
    (r"libascendcl\.so|libacl_\w+\.so", "CANN's libraries are not found",
     "source the toolkit's set_env.sh first", "AB setup.py"),
    ("FrameLocalsProxy", "the python3 on the PATH is too new for this CANN",
     "use Python 3.11 or older up to CANN 8.3, 3.13 or older from 8.5", "PEP 667; CANN 8.3, 8.5"),
    (r"np\.float_|compiled using NumPy 1|numpy\.core\.multiarray failed", "numpy is too new for "
     "this CANN", "pip install 'numpy<2' (below CANN 9.0)", "vllm-ascend#1875"),
    ("No module named '?pkg_resources", "setuptools has no pkg_resources any more",
     "pip install 'setuptools<81'", "setuptools 81"),
    ("No module named '?(ais_bench|aclruntime)", "this python3 has no ais_bench for .om files",
     INSTALL, "AB"),
    ("ModuleNotFoundError|No module named", "the python3 that CANN calls lacks a package",
     "python3 -m pip install attrs decorator 'numpy<2' sympy cffi pyyaml pathlib2 psutil protobuf "
     "scipy requests absl-py", "CANN, installation guide"),
    ("E40021", "CANN's Python could not compile an operator", "are Python (≤ 3.11 up to CANN 8.3, "
     "≤ 3.13 from 8.5) and numpy (< 2 below 9.0) too new? " + LOG, "GE, te_fusion_error_code.h"),
    # atc: the ONNX, the flags, the files.
    ("unknown command line flag", "this atc has no such flag", "omit it (ATC_FLAGS=)", "GE, atc"),
    ("E1600[145]", "the ONNX has no graph, no input or output, or operator domains that differ",
     EXPORT, "GE E16001, E16004, E16005"),
    ("E16002|E19010|No parser is registered", "this CANN does not know an operator of the ONNX",
     "make check-ops names it; " + EXPORT, "GE E16002; mmagic#1056"),
    ("EZ3002|EZ3003", "this CANN has no kernel for an operator",
     "is the chip right (SOC=)? is its operator package installed (ops, before CANN 8.5 kernels)?",
     "GE, engine_place.cc; Ascend/samples#11"),
    ("E20001", "an operator does not suit the chip", EXPORT, "qwen-ascend-llm#11"),
    ("E10016", "--input_shape names an input that the ONNX does not have",
     "write its name as it is in the ONNX", "GE E10016"),
    ("E10002|E1001[123]|E10049", "--input_shape does not fit the ONNX",
     'write it as in "input:8,3,224,224"', "GE E10002"),
    ("E10004|E10054", "a flag is empty", "is a variable unset? are quotes missing?", "GE E10054"),
    ("E10001.*soc_version", "this atc does not know the chip",
     "is SOC= right (npu-smi info)? is the chip's operator package installed?", "GE E10001"),
    ("E1000[13579]|E10010|E1005[5-8]",
     "a flag has a value that this atc does not take, alone or beside the others",
     "correct the flag that the message names (ATC_FLAGS=)", "GE E10001, E10056"),
    ("E10041|E1300[01356]", "a file cannot be read",
     "export the ONNX again (make onnx), and check the files that ATC_FLAGS= names", "GE E13001"),
    ("E13004", "a file cannot be written", "look at its folder's rights and room", "GE E13004"),
    ("E10501|E13010", "CANN's operators are not found",
     "source set_env.sh; is the chip's operator package installed?", "GE E10501"),
    # ais_bench: what it refuses.
    ("is a soft link", "ais_bench refuses links", "put the files themselves there", "AB"),
    ("group writ|others? writ|should not be over 0o755", "others may write it", "chmod -R go-w it",
     "AB"),
    ("isn't path:.*owner|belong to file", "the files belong to another user",
     "chown -R them, or run as that user", "AB"),
    ("illegal char|invalid char", "a path may contain only A-Za-z0-9._-/", "move the folder", "AB"),
    ("filesize:.*not match|needsize", "the bins are not what the .om takes",
     "make prep and make om with the same settings", "AB"),
    ("opp version of the model|os/cpu type of the model",
     "the .om was made by another release of CANN", MAKE_OM, "GE, model_helper.cc"),
    ("load model from file failed|" + codes("54500[1-5]"),
     "the .om was made for another chip or a newer CANN", MAKE_OM, "AB FAQ; ACL"),
    ("E19999|EZ9999|EZ9010", "an error inside CANN", LOG, "GE E19999"),
]
CODE = re.compile(r"\bE[A-Z0-9]\d{4}\b")
# Process and time before a message, and the first of two lines, which names no reason.
NOISE = re.compile(r"\[PID: ?\d+\]|\d{4}-\d\d-\d\d-[\d:.]+|\[(FUNC|FILE|LINE):[^]]*\]")
BARE = re.compile(r"(.*\s)?E[A-Z0-9]\d{4}\W*(Inner|Internal|Unknown)[ _][Ee]rror\W*|\W*")


def quote(text, at=None):
    """The line that gives the reason: the one at position `at`, else the first with a code, else
    the last with [ERROR], else the last."""
    lines = [" ".join(NOISE.sub("", line).split()) for line in text.split("\n")]
    coded = [i for i, line in enumerate(lines) if CODE.search(line)]
    others = [i for i, line in enumerate(lines) if "[ERROR]" in line] or [
        i for i, line in enumerate(lines) if re.search(r"\w", line)]
    if not coded + others:
        return "nothing"
    first = text.count("\n", 0, at) if at is not None else (coded or others[-1:])[0]
    said = [line for line in lines[first:first + 3] if not BARE.fullmatch(line)]
    return (said or [lines[first]])[0][:200]


def explain(text, status, program="ais_bench"):
    """Return (why, todo) for a `program` that failed with `status` after it printed `text`."""
    text = text.replace("\r", "\n")  # a bar of progress is written over itself
    # The signal that ended it: its own status is negative, that of the shell around it 128 + n.
    number = -status if status < 0 else status - 128
    if number == signal.SIGKILL:
        todo = LESS_MEMORY if program == "atc" else "end other programs, or take a smaller BS="
        return f"it was killed (status {status}), as the system does for lack of memory", todo
    for pattern, meaning, todo, _ in MEANINGS:
        found = re.search(pattern, text)
        if found:
            return f"{meaning} (status {status}; it said: {quote(text, found.start())})", todo
    why = "it failed"
    if number in set(signal.Signals):
        why = f"signal {number} ended it"
    elif status == 0 and program == "atc":
        why = "it says success, but there is no file" if SUCCESS in text else (
            "it does not say that it succeeded")
    todo = LOG if program == "atc" else "see its messages above"
    return f"{why} (status {status}; it said: {quote(text)})", todo


def plog(since):
    """Return the newest log that CANN wrote after `since` (seconds since 1970), or the folder."""
    root = Path(os.environ.get("ASCEND_PROCESS_LOG_PATH") or Path.home() / "ascend/log")
    logs = [(path.stat().st_mtime, path) for path in root.glob("**/plog-*.log")]
    newest = max(logs, default=(0, root))
    return newest[1] if newest[0] >= since else root
