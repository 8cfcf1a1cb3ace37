"""A stand-in for npu-smi: `info` prints the file $FAKE_NPU_SMI, `info -t board` that file with
.board added to its name.

Without the file, it fails as on a host whose driver is broken, all of it on stdout.
FAKE_NPU_SMI=hang: it hangs, as where the driver is stuck, and its child holds its output open.
"""

import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import record  # noqa: E402

record.call("npu-smi")
table = Path(os.environ["FAKE_NPU_SMI"])
if table.name == "hang":
    subprocess.run(["sleep", "300"])
if sys.argv[1:] == ["info"] and table.is_file():
    print(table.read_text(), end="")
elif sys.argv[1:4] == ["info", "-t", "board"] and Path(f"{table}.board").is_file():
    print(Path(f"{table}.board").read_text(), end="")
else:
    print("dcmi module initialize failed. ret is -8005")
    sys.exit(255)
