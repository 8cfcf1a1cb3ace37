"""What atc and ais_bench print when they fail, as users have pasted it, and what we make of it."""
import re

import pytest

from common.ascend import errors

PID = "[PID: 4181215] 2026-06-29-10:30:45.065.270 "
# hw-native-sys/PTOAS#341: memory, which then makes the device fail to open.
MEMORY = f"""[ERROR] aclrtSetDevice(deviceId) failed: 507033 (main.cpp:72)
[ERROR] RecentErrMsg: {PID}Memory_Allocation_Failure(EL0004): Failed to allocate memory.
        Possible Cause: Available memory is insufficient.
        Solution: Close applications not in use.
        TraceBack (most recent call last):
        allocate device memory failed.[FUNC:Init][FILE:memory_pool_manager.cc][LINE:50]
        rtSetDevice execution failed, reason=device retain error[FUNC:FuncErrorReason]
        open device 2 failed, runtime result = 507033.[FUNC:ReportCallError]
[ERROR] load model from file failed, model file is m.om
E19999: Inner Error!
"""
# PTOAS#1037: two lines, of which the second has the reason.
TWO_LINES = f"""[ERROR] RecentErrMsg: EZ9999: Inner Error!
EZ9999{PID}(EZ9999):  The error from device(chipId:0), core id is 18.[FUNC:X]
        TraceBack (most recent call last):
       Kernel task happen error, retCode=0x26, [aicore exception].[FUNC:PreCheckTaskErr]
"""
TBE = """Process ForkServerPoolWorker-4:
Traceback (most recent call last):
  File "/usr/local/lib/python3.10/multiprocessing/connection.py", line 399, in _recv
    raise EOFError
EOFError
E40021: [PID: 9] 2026-03-24-12:14:45.885.234 Failed to compile Op [Conv_0].
"""
FRAME = """E40021: [PID: 9] 2026-03-24-12:14:45.885.234 Failed to compile Op [Conv_0].
        TypeError: cannot pickle 'FrameLocalsProxy' object
"""
NUMPY = """AttributeError: `np.float_` was removed in the NumPy 2.0 release. Use `np.float64`
E19999: Inner Error!
"""
DEVICE = """EE1001: [PID: 7] 2025-11-18-09:33:13.673.818 The argument is invalid.Reason: \
Set visible device failed, invalid device=0, input visible devices:4
[ERROR] open device 0 failed. ret=107001
"""
CONTEXT = """[ERROR] open device 0 failed. ret=507033
EE1001: The argument is invalid.Reason: rtGetDevMsg execute failed, reason=[context pointer null]
"""
LIB = "atc.bin: error while loading shared libraries: {}: cannot open shared object file"


@pytest.mark.parametrize("text, why, todo", [
    (MEMORY, "too little memory .*it said: .*Failed to allocate memory", "npu-smi info"),
    ("[ERROR] rtMalloc failed, size 5\nE19999: Inner Error!", "too little memory", "smaller BS="),
    ("acl malloc failed, ret is 207001\nload model from file failed", "too little memory", "BS="),
    ("ret = 507899\nopen device 0 failed", "the device is lost", "reset"),
    ("execute failed, ret=507018\nload model from file failed", "failed while it computed", "log"),
    (TWO_LINES, r"failed while it computed", "make om"),
    ("[ERROR] open device 0 failed. ret=507033", "driver does not open the device", "HwHiAiUser"),
    (DEVICE, "no such device", "ASCEND_RT_VISIBLE_DEVICES"),
    (CONTEXT, "driver does not open the device", "npu-smi"),
    ("EE1001: The argument is invalid.Reason: set device=8, range is[0, 8)", "device's number",
     "ASCEND_RT_VISIBLE_DEVICES"),
    ("[ERROR] load model from file failed, model file is m.om\nE19999: Inner Error!",
     "another chip or a newer CANN .*load model from file failed, model file is m.om", "make om"),
    ("E19999: Internal Error\nE19999 The opp version of the model does not match the current opp "
     "run package, Model is [6.4], opp run package is [7.0]", "another release .*Model is .6.4",
     "make om"),
    ("E19999: Inner Error!\n        Call X failed[FUNC:Y]", "inside CANN .*said: Call X failed",
     "log"),
    ("EZ9999: [PID: 3] 2025-05-19-15:59:07.739.753 Inner Error!\nEZ9999  The graph is empty",
     "inside CANN .*it said: EZ9999 The graph is empty", "log"),
    (TBE, "host has too little memory", "TE_PARALLEL_COMPILER=1"),
    ("/opt/bin/atc: line 21: 4021 Killed ${PKG_PATH}/bin/atc.bin", "host has too little", "TE_PAR"),
    (FRAME, "too new for this CANN .*FrameLocalsProxy", "3.11 or older up to CANN 8.3.*3.13"),
    (FRAME.split("\n")[0], "could not compile an operator", "numpy"),
    (NUMPY, "numpy is too new", "numpy<2.*below CANN 9.0"),
    ("ModuleNotFoundError: No module named 'pkg_resources'", "pkg_resources", "setuptools<81"),
    ("ModuleNotFoundError: No module named 'decorator'\nE19999: Inner Error!", "lacks a package",
     "attrs decorator"),
    ("ImportError: /conda/lib/libstdc++.so.6: version `GLIBCXX_3.4.29' not found", "libstdc",
     "LD_LIBRARY_PATH"),
    ("ImportError: /lib64/libc.so.6: version `GLIBC_2.34' not found", "C library", "container"),
    (LIB.format("libge_compiler.so"), "runtime alone", "toolkit"),
    (LIB.format("libascend_hal.so"), "driver's library", "devlib"),
    (LIB.format("libascendcl.so"), "libraries are not found", "set_env.sh"),
    ("/opt/atc: line 20: /opt/atc.bin: cannot execute binary file: Exec format error",
     "another processor", "uname -m"),
    ("E10001: Value Ascend310P9 for parameter --soc_version is invalid. Reason: x",
     "does not know the chip", "SOC="),
    ("E10001: Value FORMAT_ALL for parameter --input_format is invalid. Reason: x",
     "a flag has a value .*--input_format", "flag that the message names"),
    ("E16001: The model has no input node.", "no graph", "make onnx"),
    ("E16004: ONNX model has no graph.", "no graph", "make onnx"),
    ("E16005: The model has 2 --domain_version fields, but only one is allowed.",
     "operator domains", "make onnx"),
    ("E16002: No ONNX parser is registered for optype Gelu.", "does not know an operator",
     "opset 11"),
    ("[ERROR] path :prep/a.bin is a soft link, not supported", "refuses links", "themselves"),
    ("[ERROR] arg0 tensorsize: 3072 filesize: 5 not match", "not what the .om takes", "make prep"),
    ("Processing:  40%|##\rProcessing:  50%|##\r[ERROR] write failed\nRuntimeError",
     "said: .ERROR. write", "messages above"),
    ("ValueError: no idea", "it failed .*no idea", "see its messages above"),
])
def test_what_went_wrong(text, why, todo):
    said, remedy = errors.explain(text, 255)
    assert re.search(why, said), said
    assert re.search(todo, remedy), remedy
    assert "\n" not in said and "[PID" not in said


@pytest.mark.parametrize("name", [
    "wrote img_207001.bin", "result/ILSVRC2012_val_00507018_0.bin", "507033.25 images/s",
    "[PID: 1207001]", "sha256 e507899", "took 207001.5 ms"])
def test_numbers_that_are_no_codes(name):
    assert errors.explain(f"{name}\nValueError: x", 1)[0].startswith("it failed")


@pytest.mark.parametrize("text, status, program, why, todo", [
    # The vendor's atc is a shell script around atc.bin: 137 and not -9 when the kernel kills it.
    ("...", 137, "atc", "killed .status 137.*memory", "TE_PARALLEL_COMPILER=1"),
    (MEMORY, -9, "ais_bench", "killed .status -9.*memory", "smaller BS="),
    ("...", 139, "atc", "signal 11 ended it", "log"),
    ("...", -11, "ais_bench", "signal 11 ended it", "messages above"),
    ("ATC run failed", 255, "atc", "^it failed .status 255", "log"),
    ("ATC start working now", 0, "atc", "does not say that it succeeded", "log"),
    ("ATC run success, welcome", 0, "atc", "says success, but there is no file", "log"),
    ("", 1, "ais_bench", "it said: nothing", "messages above")])
def test_how_it_ended(text, status, program, why, todo):
    said, remedy = errors.explain(text, status, program)
    assert re.search(why, said), said
    assert todo in remedy
    assert "does not say" not in said or status == 0


CODES = """E10001 E10002 E10003 E10004 E10005 E10007 E10009 E10010 E10011 E10012 E10013 E10016 E10041
    E10049 E10054 E10055 E10056 E10057 E10058 E10501 E13000 E13001 E13003 E13004 E13005 E13006
    E13010 E16001 E16002 E16004 E16005 E19010 E19999 E20001 E39009 E40021 EE1001 EL0004 EZ3002
    EZ3003 EZ9010 EZ9999 107001 207001 207004 207006 207018 245000 245002 500004 507010 507011
    507018 507033 507034 507036 507042 507045 507048 507049 507050 507053 507054 507899 507901
    545001 545005 GLIBCXX_3.4 CXXABI_1.3 libge_compiler.so libascend_hal.so libascendcl.so
    FrameLocalsProxy np.float_ ENOSPC MemoryError std::bad_alloc"""


def test_every_code_has_a_meaning_and_every_meaning_is_whole():
    unknown = [c for c in CODES.split() if errors.explain(f"x {c} y", 1)[0].startswith("it failed")]
    assert unknown == []
    for pattern, meaning, todo, source in errors.MEANINGS:
        assert re.compile(pattern) and meaning and source and todo and not todo.endswith(".")
    assert "ais-bench-benchmark is another tool" in errors.INSTALL
    assert "msprobe install_deps -m offline" in errors.INSTALL
