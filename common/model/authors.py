"""Import a network from its authors' repository, which `make source` clones beside a model's scripts (NET=upstream)."""
import importlib.util
import sys
import warnings
from pathlib import Path

from common import cli


def load(path):
    """Return the module in the file `path`, found by its place, so that nothing has to be on sys.path.

    A package is named by its `__init__.py`. Failure when the clone is absent or does not import.
    """
    path = Path(path)
    if not path.is_file():
        raise cli.Failure(f"{path} does not exist", "clone the authors' repository beside model.py with: make source")
    name = f"upstream_{path.parent.name if path.stem == '__init__' else path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    # Relative imports inside a package look their parent up here.
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    try:
        with warnings.catch_warnings():
            # timm announces its moved modules (timm.models.layers → timm.layers): true, and of no use to the reader.
            warnings.simplefilter("ignore", FutureWarning)
            spec.loader.exec_module(module)
    except ImportError as e:
        raise cli.Failure(f"{path} does not import ({e})", "install what it misses, or clone it afresh: make source"
                          ) from None
    return module
