"""A stand-in for the binding that ais_bench needs; it does not load when CANN's environment is not."""
import os

if not os.environ.get("ASCEND_HOME_PATH"):
    raise ImportError("libascendcl.so: cannot open shared object file: No such file or directory")
