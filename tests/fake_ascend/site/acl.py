"""A stand-in for pyACL: $FAKE_ACL is the chip, or crash, or none (a driver that is not there)."""
import os

if "FAKE_ACL" not in os.environ:
    raise ImportError("libascendcl.so: cannot open shared object file: No such file or directory")


def get_soc_name():
    if os.environ["FAKE_ACL"] == "crash":
        os.abort()
    return None if os.environ["FAKE_ACL"] == "none" else os.environ["FAKE_ACL"]
