"""What atc's messages mean and what to do about them.

The codes are those of CANN (hicann/ge at ffdcbc9, docs/en/user_guides/error_codes); what EZ3002, EZ3003, E19010 and missing
Python packages mean was found out by users (Ascend/samples#5 and #11, open-mmlab/mmagic#1056 and #1068).
"""
import os
import re
from pathlib import Path

from common import cli

SUCCESS = "ATC run success"
EXPORT = "python3 -m tools.inspect.check_ops on the ONNX names them; export it at opset 11 (make onnx OPSET=11)"
LOG = "ATC_FLAGS=--log=info makes CANN's log say more"
# Pattern, meaning, what to do; the first that is found counts, so texts come before codes and E19999 is the last.
HINTS = [
    (r"libascend_hal\.so", "the driver's library is not found",
     "on a host without an NPU add <CANN>/<arch>-linux/devlib to LD_LIBRARY_PATH, else check that the driver is installed"),
    (r"ModuleNotFoundError|No module named", "the python3 that CANN calls lacks a package", "python3 -m pip install attrs "
     "decorator 'numpy<2' sympy cffi pyyaml pathlib2 psutil protobuf scipy requests absl-py"),
    (r"No space left on device", "the disk is full", "make room and run the same command again"),
    (r"unknown command line flag", "this release of atc lacks a flag", "leave it away from ATC_FLAGS="),
    (r"E16002|No parser is registered for Op", "this release of CANN lacks operators of the ONNX", EXPORT),
    (r"EZ3002|EZ3003", "there is no kernel for an operator", "is the chip right (SOC=)? is its operator package (ops, "
     "before CANN 8.5 kernels) installed?"),
    (r"E20001", "an operator does not suit the chip", EXPORT),
    (r"E10016", "--input_shape names an input that the ONNX has not", "write its name as in the ONNX"),
    (r"E10002|E10011|E10012|E10013|E10049", "--input_shape does not fit the ONNX", "write it as in input:8,3,224,224"),
    (r"E10004|E10054", "a flag is empty", "is a variable unset, or are quotes missing?"),
    (r"E1000[13579]|E10010", "a flag has no valid value", "is the chip right (SOC=)? are ATC_FLAGS=?"),
    (r"E1005[567]", "flags do not go together", "look at ATC_FLAGS="),
    (r"E10041|E1300[0136]|E1600[145]", "a file cannot be read", "export the ONNX again (make onnx)"),
    (r"E10501|E13010", "CANN's operators are not found", "is its set_env.sh sourced, and its operator package installed?"),
    (r"E13004", "a file cannot be written", "look at the rights and the room of its folder"),
    (r"E19010|E19999|EZ9999|EZ9010", "an error inside CANN", LOG),
]


def plog(since):
    """Return the newest log that CANN wrote after `since` (seconds since 1970), or else the folder of its logs."""
    root = Path(os.environ.get("ASCEND_PROCESS_LOG_PATH") or Path.home() / "ascend/log")
    logs = [(p.stat().st_mtime, p) for p in root.glob("**/plog-*.log")]
    newest = max(logs, default=(0, root))
    return newest[1] if newest[0] >= since else root


def explain(output, status, log, since):
    """Return the Failure for an atc that ended with `status`, printed `log`, was started at `since`, and made no file."""
    code = re.search(r"\bE[A-Z0-9]\d{4}\b", log)
    lines = [line.strip() for line in log.splitlines() if re.search(r"\w", line)] or ["nothing"]
    said = next((line for line in lines if code and code[0] in line), lines[-1])
    if status < 0:
        why, todo = f"signal {-status} ended it", "is there too little memory? TE_PARALLEL_COMPILER=1 takes less"
    elif status == 0 and SUCCESS in log:
        why, todo = "it says success, but there is no file", LOG
    else:
        why, todo = next(((meaning, todo) for pattern, meaning, todo in HINTS if re.search(pattern, log)),
                         ("it does not say that it succeeded", LOG))
        why = f"{code[0]}: {why}" if code else why
    return cli.Failure(f"atc made no {output}: {why} (status {status}; it said: {said[:200]})",
                       f"{todo} (CANN's log: {plog(since)})")
