"""Note a call of a stand-in: one line of JSON in the file $FAKE_ASCEND_LOG."""
import json
import os
import sys


def call(tool, argv=None):
    if os.environ.get("FAKE_ASCEND_LOG"):
        with open(os.environ["FAKE_ASCEND_LOG"], "a") as f:
            f.write(json.dumps({"tool": tool, "argv": sys.argv[1:] if argv is None else argv, "cwd": os.getcwd()}) + "\n")
