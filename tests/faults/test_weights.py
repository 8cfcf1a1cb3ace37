"""Faults in the checkpoint: what is refused, and that a sound one gives the same ONNX after it."""
import io
import os
import pickle
import zipfile

import pytest
import tiny
import torch

from common import cli
from common.model import checkpoint

NAN = torch.full((1000,), float("nan"))
INF = torch.cat([torch.zeros(999), torch.tensor([float("inf")])])


def saved(content, **options):
    out = io.BytesIO()
    torch.save(content, out, **options)
    return out.getvalue()


def changed(**change):
    """A checkpoint of the stand-in network with some tensors changed."""
    return saved(tiny.state_dict(**change))


def packed(*large):
    """A checkpoint whose records `large` unpack to 200 MB of zeros each, from some hundred kB."""
    out = io.BytesIO()
    source = zipfile.ZipFile(io.BytesIO(changed()))
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        for record in source.infolist():
            if record.filename.endswith(large):
                with target.open(record.filename, "w") as f:
                    for _ in range(200):
                        f.write(bytes(1_000_000))
            else:
                target.writestr(record, source.read(record))
    return out.getvalue()


def other_zip():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as target:
        target.writestr("readme.txt", "the weights are in the other file")
    return out.getvalue()


def flipped():
    """A checkpoint with one bit of one weight flipped."""
    content = bytearray(changed(**{"4_bias": torch.ones(1000)}))
    content[content.find(b"\0\0\x80\x3f" * 99) + 43] ^= 0x40
    return bytes(content)


class Touch:
    """Unpickling it runs a command that leaves a file."""

    def __reduce__(self):
        return os.system, ("touch ran",)


def with_code():
    """What a training script leaves when it saves all it has."""
    return saved({"state_dict": tiny.state_dict(), "hook": Touch()})


def repeated():
    return changed(**{"4_bias": torch.zeros(1).half().expand(10 ** 10)})


def of_10_classes():
    return changed(**{"4_weight": torch.zeros(10, 196), "4_bias": torch.zeros(10)})


def bad(name, content, *said):
    mark = pytest.mark.fault(name, "exit 1, the file named, no .onnx")
    return pytest.param(content, said, marks=mark, id=name.replace(" ", "-").replace(":", ""))


@pytest.mark.parametrize("content, said", [
    bad("checkpoint truncated to half", lambda: changed()[:400_000], "is damaged"),
    bad("checkpoint without its last byte", lambda: changed()[:-1], "is damaged"),
    bad("checkpoint of the old format truncated",
        lambda: saved(tiny.state_dict(), _use_new_zipfile_serialization=False)[:-9], "is damaged"),
    bad("checkpoint empty", lambda: b"", "is damaged"),
    bad("checkpoint of zero bytes", lambda: bytes(100_000)),
    bad("checkpoint with one bit flipped", flipped, "the checksum of .* is wrong", "fetch it"),
    bad("web page as .pth", lambda: b"\n<!DOCTYPE html><html>404</html>", "is a web page"),
    bad("JSON error as .pth", lambda: b'{"error": "quota exceeded"}'),
    bad("git-lfs pointer as .pth",
        lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
    bad("zip bomb: a tensor", lambda: packed("data/0"), "records are packed"),
    bad("zip bomb: the pickle", lambda: packed("data.pkl"), "records are packed"),
    bad("any other zip as .pth", other_zip, "is damaged or no checkpoint"),
    bad("tensor that repeats one number to 40 GB", repeated, "no state_dict of plain tensors"),
    bad("pickle that runs a command", with_code, "read as data only", "posix.system|nt.system"),
    bad("plain pickle that runs a command", lambda: pickle.dumps(Touch(), protocol=2),
        "read as data only"),
    bad("whole module instead of its tensors", lambda: saved(torch.nn.Linear(2, 2)),
        "read as data only", "Linear"),
    bad("checkpoint of another model",
        lambda: saved({"patch_embed.proj.weight": torch.zeros(96, 3, 4, 4)}),
        "8 missing: 0.weight.*1 unexpected: patch_embed.proj.weight",
        "checkpoint of another model"),
    bad("checkpoint of 10 classes", of_10_classes,
        r"2 of another shape: 4.weight \(10, 196\) instead of \(1000, 196\)"),
    bad("infinity in a weight", lambda: changed(**{"4_bias": INF}), "infinite values in 4.bias"),
    bad("NaN in a half-precision weight", lambda: changed(**{"4_bias": NAN.half()}),
        "NaN or infinite values in 4.bias"),
    bad("complex weight", lambda: changed(**{"4_bias": torch.zeros(1000, dtype=torch.complex64)}),
        "1 of another type: 4.bias torch.complex64"),
    bad("sparse weight", lambda: changed(**{"4_bias": torch.zeros(1000).to_sparse()}),
        "of plain tensors"),
    bad("quantized weight", lambda: changed(**{"4_bias": torch.quantize_per_tensor(
        torch.zeros(1000), 1.0, 0, torch.qint8)}), "of plain tensors"),
    bad("weight without numbers (meta)",
        lambda: changed(**{"4_bias": torch.zeros(1000, device="meta")}), "of plain tensors"),
    bad("checkpoint keyed by numbers", lambda: saved({0: torch.zeros(1)}), "of plain tensors"),
    bad("checkpoint with no tensors", lambda: saved({"state_dict": {}, "epoch": 3}),
        "no state_dict of plain tensors"),
    bad("a list of tensors", lambda: saved([torch.zeros(1)]), "no state_dict of plain tensors"),
    bad("optimizer saved without the model", lambda: saved({"optimizer": {"state": {}}}),
        "no state_dict"),
])
@pytest.mark.filterwarnings("ignore")
def test_refused(tmp_path, monkeypatch, seen, content, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.pth").write_bytes(content())
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 32, 32), torch.nn.BatchNorm2d(4), torch.nn.ReLU(),
        torch.nn.Flatten(), torch.nn.Linear(196, 1000))
    with pytest.raises(cli.Failure) as e:
        checkpoint.load_into(net, checkpoint.load("bad.pth")[0], "bad.pth")
    seen(f"exit 1: error: {e.value}")
    for pattern in ("bad.pth", *said):
        e.match(pattern)
    assert not (tmp_path / "ran").exists()


@pytest.mark.fault("checkpoint that may not be read", "exit 1, the file named")
def test_not_readable(built, seen, as_owner):
    (built / "tiny.pth").chmod(0)
    done = tiny.run(built, "pthtar2onnx.py", "tiny.pth", "x.onnx", wrapper=as_owner)
    seen(done)
    tiny.failed(done, "Permission denied: tiny.pth")


@pytest.mark.parametrize("name, said", [
    pytest.param("nowhere.pth", "checkpoint nowhere.pth does not exist", id="absent",
                 marks=pytest.mark.fault("checkpoint absent", "exit 1, `make weights` named")),
    pytest.param("folder", "folder is a folder, not a checkpoint", id="folder",
                 marks=pytest.mark.fault("checkpoint is a folder", "exit 1, said so")),
])
def test_no_file(tmp_path, monkeypatch, seen, name, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(cli.Failure, match=f"{said}.*WEIGHTS=") as e:
        checkpoint.load(name)
    seen(f"exit 1: error: {e.value}")
