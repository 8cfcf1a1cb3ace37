"""A stand-in for ais_bench's Python interface, as far as tools/scale/scale_stages.py uses it: the numbers from ONNX Runtime.

Opening and each call are noted as record.py does, with what Ray says is this process's NPU.
"""
import os
import sys
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
import record  # noqa: E402

from ais_bench.infer import cli  # noqa: E402


class InferSession:
    def __init__(self, device_id, model_path, acl_json_path=None, debug=False, loop=1):
        self.model = cli.Session(model_path, device_id)
        self.note("InferSession", device_id=device_id, model=model_path)

    @staticmethod
    def note(tool, **more):
        record.call(tool, [{**more, "visible": os.environ.get("ASCEND_RT_VISIBLE_DEVICES"), "pid": os.getpid()}])

    def get_inputs(self):
        return [SimpleNamespace(name=self.model.name, shape=list(self.model.shape), realsize=self.model.size)]

    def infer(self, feeds, mode="static", custom_sizes=100000):
        assert mode == "static" and all(f.flags["C_CONTIGUOUS"] for f in feeds)
        self.note("infer", shapes=[list(f.shape) for f in feeds], dtypes=[f.dtype.name for f in feeds])
        return self.model.run(feeds[0].tobytes())
