"""What a model folder carries: the steps of the chain in rooms, and what they share."""
import os
import sys


def _say_which_package(kind, error, trace):
    """One line in place of a traceback where a package is not installed, as for any server's own
    python3; here, because scripts import their packages before anything of ours runs."""
    if not issubclass(kind, ModuleNotFoundError) or os.environ.get("DEBUG", "0") not in ("", "0"):
        return sys.__excepthook__(kind, error, trace)
    print(f"error: the Python package {error.name} is not installed for {sys.executable} — install "
          "requirements.txt there, or leave out PYTHON=: then make sets up .venv", file=sys.stderr)


sys.excepthook = _say_which_package
