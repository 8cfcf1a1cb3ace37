"""A stand-in for the binding that ais_bench needs; it does not load where CANN is not loaded."""
import os

if not os.environ.get("ASCEND_HOME_PATH"):
    raise ImportError("libascendcl.so: cannot open shared object file: No such file or directory")
