"""Faults in the checkpoint: what an export refuses, what it takes as it is meant, and what a download may bring."""
import argparse
import io
import json
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch

from faults import data
from faults.data import failed, fresh, run, state_dict, worked


def export(folder, weights="bad.pth"):
    return run(folder, "pthtar2onnx.py", weights, "x.onnx")


def saved(content, **options):
    out = io.BytesIO()
    torch.save(content, out, **options)
    return out.getvalue()


def packed(*large):
    """A checkpoint whose records `large` unpack to 200 MB of zeros each, from a file of some hundred kB."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(saved(state_dict()))) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
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
    """A checkpoint with one bit of one weight turned over."""
    content = bytearray(saved(state_dict(**{"4_bias": torch.ones(1000)})))
    content[content.find(b"\0\0\x80\x3f" * 99) + 43] ^= 0x40
    return bytes(content)


class Touch:
    """Unpickling it runs a command that leaves a file."""

    def __reduce__(self):
        return os.system, ("touch ran",)


def trained():
    """What a training script leaves when it saves all it has, with code among it."""
    return saved({"state_dict": state_dict(), "hook": Touch()})


NAN = torch.full((1000,), float("nan"))
INF = torch.cat([torch.zeros(999), torch.tensor([float("inf")])])


def bad(name, content, *said):
    return pytest.param(content, said, marks=pytest.mark.fault(name, "exit 1, the file named, no .onnx"),
                        id=name.replace(" ", "-").replace(":", ""))


@pytest.mark.parametrize("content, said", [
    bad("checkpoint truncated to half", lambda: saved(state_dict())[:400_000], "bad.pth is damaged"),
    bad("checkpoint without its last byte", lambda: saved(state_dict())[:-1], "bad.pth is damaged"),
    bad("checkpoint of the old format truncated", lambda: saved(state_dict(), _use_new_zipfile_serialization=False)[:-9],
        "bad.pth is damaged"),
    bad("checkpoint empty", lambda: b"", "bad.pth is damaged"),
    bad("checkpoint of zero bytes", lambda: bytes(100_000), "bad.pth"),
    bad("checkpoint with one bit flipped", flipped, "the checksum of .* is wrong", "fetch it again"),
    bad("web page as .pth", lambda: b"<!DOCTYPE html><html>404 Not Found</html>", "is a web page"),
    bad("JSON error as .pth", lambda: b'{"error": "quota exceeded"}', "bad.pth"),
    bad("git-lfs pointer as .pth", lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "bad.pth"),
    bad("zip bomb: a tensor", lambda: packed("data/0"), "records are packed"),
    bad("zip bomb: the pickle", lambda: packed("data.pkl"), "records are packed"),
    bad("any other zip as .pth", other_zip, "bad.pth is damaged or no checkpoint"),
    bad("tensor that repeats one number to 40 GB",
        lambda: saved(state_dict(**{"4_bias": torch.zeros(1).half().expand(10 ** 10)})), "no state_dict of plain tensors"),
    bad("pickle that runs a command", trained, "read as data only", "posix.system|nt.system"),
    bad("plain pickle that runs a command", lambda: pickle.dumps(Touch(), protocol=2), "read as data only"),
    bad("whole module instead of its tensors", lambda: saved(torch.nn.Linear(2, 2)), "read as data only", "Linear"),
    bad("checkpoint of another model", lambda: saved({"patch_embed.proj.weight": torch.zeros(96, 3, 4, 4)}),
        "9 missing: .*1 unexpected: patch_embed.proj.weight", "checkpoint of another model"),
    bad("checkpoint of 10 classes", lambda: saved(state_dict(**{"4_weight": torch.zeros(10, 196), "4_bias": torch.zeros(10)})),
        r"2 of another shape: 4.weight \(10, 196\) instead of \(1000, 196\)"),
    bad("checkpoint with a tensor missing", lambda: saved(state_dict(**{"1_running_mean": None})), "1 missing: 1.running_mean"),
    bad("checkpoint with a tensor too many", lambda: saved(state_dict(**{"9_weight": torch.zeros(1)})),
        "1 unexpected: 9.weight"),
    bad("NaN in a weight", lambda: saved(state_dict(**{"4_bias": NAN})), "NaN or infinite values in 4.bias"),
    bad("infinity in a weight", lambda: saved(state_dict(**{"4_bias": INF})), "NaN or infinite values in 4.bias"),
    bad("infinity in a half-precision weight", lambda: saved(state_dict(**{"4_bias": INF.half()})),
        "infinite values in 4.bias"),
    bad("weight of bytes", lambda: saved(state_dict(**{"4_bias": torch.zeros(1000, dtype=torch.int8)})),
        "1 of another type: 4.bias torch.int8"),
    bad("complex weight", lambda: saved(state_dict(**{"4_bias": torch.zeros(1000, dtype=torch.complex64)})),
        "1 of another type: 4.bias torch.complex64"),
    bad("sparse weight", lambda: saved(state_dict(**{"4_bias": torch.zeros(1000).to_sparse()})), "of plain tensors"),
    bad("weight without numbers (meta)", lambda: saved(state_dict(**{"4_bias": torch.zeros(1000, device="meta")})),
        "of plain tensors"),
    bad("checkpoint keyed by numbers", lambda: saved({0: torch.zeros(1)}), "no state_dict of plain tensors"),
    bad("checkpoint with no tensors", lambda: saved({"state_dict": {}, "epoch": 3}), "no state_dict of plain tensors"),
    bad("optimizer saved without the model", lambda: saved({"optimizer": {"state": {}}, "epoch": 3}), "no state_dict"),
])
def test_refused(tiny, tmp_path, seen, content, said):
    folder = fresh(tiny, tmp_path / "spnasnet", *NEEDED)
    (folder / "bad.pth").write_bytes(content())
    done = export(folder)
    seen(done)
    failed(done, "bad.pth", *said)
    assert not (folder / "x.onnx").exists() and not (folder / "ran").exists()
    data.no_leftovers(folder)


NEEDED = ("pthtar2onnx.py", "model.py", "published.json", "common")


@pytest.fixture(scope="module")
def undisturbed(tiny, tmp_path_factory):
    """The bytes of the .onnx of the sound checkpoint, called bad.pth so that the file's own record is the same."""
    folder = fresh(tiny, tmp_path_factory.mktemp("undisturbed") / "spnasnet", *NEEDED)
    torch.save(state_dict(), folder / "bad.pth")
    worked(export(folder))
    return (folder / "x.onnx").read_bytes()


@pytest.mark.fault("checkpoint fetched again after it was truncated", "the bytes of an undisturbed export")
def test_mended(tiny, tmp_path, undisturbed, seen):
    folder = fresh(tiny, tmp_path / "spnasnet", *NEEDED)
    (folder / "bad.pth").write_bytes(saved(state_dict())[:400_000])
    failed(export(folder), "bad.pth is damaged")
    torch.save(state_dict(), folder / "bad.pth")
    done = export(folder)
    seen(done)
    worked(done)
    assert (folder / "x.onnx").read_bytes() == undisturbed


@pytest.mark.parametrize("change", [
    pytest.param(lambda t: {k: v.half() if v.is_floating_point() else v for k, v in t.items()}, id="half",
                 marks=pytest.mark.fault("half-precision checkpoint", "exported in float32")),
    pytest.param(lambda t: {f"module.{k}": v for k, v in t.items()}, id="module",
                 marks=pytest.mark.fault("checkpoint saved from DataParallel", "exported as without")),
    pytest.param(lambda t: {"epoch": 9, "state_dict": t, "args": argparse.Namespace(lr=0.1)}, id="wrapped",
                 marks=pytest.mark.fault("checkpoint with training arguments beside it", "exported as without")),
])
def test_taken_as_meant(tiny, tmp_path, seen, change):
    import onnx
    from onnx import numpy_helper

    folder = fresh(tiny, tmp_path / "spnasnet", *NEEDED)
    # Halves are exact here, so that the export must give these very numbers back.
    tensors = {k: v.half().float() if v.is_floating_point() else v for k, v in state_dict().items()}
    torch.save(change(tensors), folder / "bad.pth")
    done = export(folder)
    seen(done)
    worked(done)
    weights = [numpy_helper.to_array(w) for w in onnx.load(folder / "x.onnx").graph.initializer]
    assert {w.dtype for w in weights} <= {np.dtype("float32"), np.dtype("int64")}
    assert any(w.shape == (1000, 196) and (w == tensors["4.weight"].numpy()).all() for w in weights)


@pytest.mark.parametrize("words, said", [
    pytest.param("nowhere.pth", "checkpoint nowhere.pth does not exist", id="absent",
                 marks=pytest.mark.fault("checkpoint absent", "exit 1, the file and `make weights` named")),
    pytest.param("data", "data is a folder, not a checkpoint", id="folder",
                 marks=pytest.mark.fault("checkpoint is a folder", "exit 1, said so")),
])
def test_no_file(tiny, tmp_path, seen, words, said):
    folder = fresh(tiny, tmp_path / "spnasnet")
    done = data.make(folder, "onnx", f"WEIGHTS={words}")
    seen(done)
    failed(done, said, "WEIGHTS=", status=2)
    assert not list(folder.glob("build/*.onnx"))


@pytest.mark.fault("checkpoint gone after the .onnx was made", "exit 1, nothing else touched; back: the same bytes")
def test_gone_after_the_export(built, tmp_path, seen):
    folder = fresh(built, tmp_path / "spnasnet")
    (folder / "tiny.pth").rename(folder / "elsewhere.pth")
    done = data.make(folder, "eval")
    seen(done)
    failed(done, "checkpoint tiny.pth does not exist", status=2)
    assert data.content(folder / "build", "onnx.cfg") == data.content(built / "build", "onnx.cfg")
    (folder / "elsewhere.pth").rename(folder / "tiny.pth")
    assert worked(data.make(folder, "eval")).strip().endswith(data.LINE)
    assert (folder / "build/spnasnet_100.onnx").read_bytes() == (built / "build/spnasnet_100.onnx").read_bytes()


@pytest.mark.fault("checkpoint replaced after the .onnx was made", "all that depends on it is made again")
def test_replaced_after_the_export(built, tmp_path, seen):
    folder = fresh(built, tmp_path / "spnasnet")
    torch.save(state_dict(**{"4_bias": torch.arange(1000) / 100}), folder / "tiny.pth")
    done = data.make(folder, "eval")
    seen(done)
    assert worked(done).strip().endswith("good=0 total=8")  # class 999 it is, for all of them
    made_by = json.loads((folder / data.EVAL).read_text())["produced_by"]["onnx"]["metadata"]
    assert made_by["weights_sha256"] != json.loads((built / data.EVAL).read_text())["produced_by"]["onnx"]["metadata"][
        "weights_sha256"]


@pytest.mark.fault("checkpoint that may not be read", "exit 1, the file named")
def test_not_readable(tiny, tmp_path, seen, as_owner):
    folder = fresh(tiny, tmp_path / "spnasnet", *NEEDED)
    (folder / "bad.pth").write_bytes(saved(state_dict()))
    (folder / "bad.pth").chmod(0)
    done = run(folder, "pthtar2onnx.py", "bad.pth", "x.onnx", wrapper=as_owner)
    seen(done)
    failed(done, "Permission denied: bad.pth")


# ---- what `make weights` fetches and finds ----

@pytest.fixture
def fetch(tiny, tmp_path):
    """fetch(content of the address, published entry) runs `make weights`' own command; .folder is where."""
    folder = fresh(tiny, tmp_path / "spnasnet", "published.json", "common")

    def call(content, **entry):
        source = tmp_path / "there.pth"
        source.unlink(missing_ok=True)
        if content is not None:
            source.write_bytes(content)
        known = {"file": "net.pth", "urls": [source.as_uri()], "page": "https://example.org/page", **entry}
        (folder / "published.json").write_text(json.dumps({"weights": known}))
        return run(folder, "-m", "common.model.weights")
    call.folder = folder
    return call


SOUND = b"sound weights" * 1000


@pytest.mark.parametrize("content, entry, said", [
    pytest.param(SOUND[:-1] + b"?", {"md5": "0" * 32}, "has md5 .*, not 0000", id="md5",
                 marks=pytest.mark.fault("download with another MD5", "exit 1, both hashes named, no file")),
    pytest.param(SOUND[:-1] + b"?", {"sha256": "0" * 64}, "has sha256 .*, not 0000", id="sha256",
                 marks=pytest.mark.fault("download with another SHA-256", "exit 1, both hashes named, no file")),
    pytest.param(SOUND[:-1], {"size": len(SOUND)}, "has 12999 bytes, not the published 13000", id="short",
                 marks=pytest.mark.fault("download that is too short", "exit 1, both sizes named, no file")),
    pytest.param(b"\n <html>Virus scan warning</html>", {}, "is a web page", id="page",
                 marks=pytest.mark.fault("download that is a web page", "exit 1, said so, no file")),
    pytest.param(b"", {}, "is empty", id="empty",
                 marks=pytest.mark.fault("download that is empty", "exit 1, said so, no file")),
    pytest.param(None, {}, "by hand from https://example.org/page and put it at weights/net.pth", id="gone",
                 marks=pytest.mark.fault("address that has nothing", "exit 1, the way by hand")),
])
def test_downloads(fetch, seen, content, entry, said):
    done = fetch(content, **entry)
    seen(done)
    failed(done, "net.pth", said)
    assert not [p.name for p in (fetch.folder / "weights").iterdir() if not p.name.startswith((".", "net.pth.part"))]
    worked(fetch(SOUND))
    assert (fetch.folder / "weights/net.pth").read_bytes() == SOUND


@pytest.mark.fault("fetched file changed since", "exit 1, both hashes, never replaced by itself")
def test_changed_since(fetch, seen):
    worked(fetch(SOUND))
    (fetch.folder / "weights/net.pth").write_bytes(SOUND[:-1] + b"?")
    done = fetch(SOUND)
    seen(done)
    failed(done, "weights/net.pth has sha256 .*, not ", "delete it and run again")
    (fetch.folder / "weights/net.pth").unlink()
    worked(fetch(SOUND))
    assert (fetch.folder / "weights/net.pth").read_bytes() == SOUND


@pytest.mark.fault("folder in the checkpoint's place", "exit 1, the name said")
def test_folder_in_its_place(fetch, seen):
    (fetch.folder / "weights/net.pth").mkdir(parents=True)
    done = fetch(SOUND)
    seen(done)
    failed(done, "weights/net.pth")
