"""The network as its authors have it, from the clone that `make source` makes (NET=upstream)."""
import importlib.util
import sys
import warnings
from pathlib import Path

from common import cli


def load(path):
    """Import the file `path`, found by its place: nothing has to be on sys.path.

    A package is named by its `__init__.py`. Failure when the clone is absent or does not import.
    """
    path = Path(path)
    if not path.is_file():
        raise cli.Failure(f"{path} does not exist",
                          "clone the authors' repository beside model.py: make source")
    name = f"upstream_{path.parent.name if path.stem == '__init__' else path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # relative imports inside a package look their parent up here
    try:
        with warnings.catch_warnings():
            # timm announces its moved modules (timm.models.layers → timm.layers): of no use here.
            warnings.simplefilter("ignore", FutureWarning)
            spec.loader.exec_module(module)
    except ImportError as e:
        raise cli.Failure(f"{path} does not import ({e})",
                          "install what is missing, or clone it again: make source") from None
    return module
