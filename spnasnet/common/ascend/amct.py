"""int8 for an NPU, ModelZoo's way: CANN's amct_onnx quantises it, with a few hundred images.

    python3 -m common.ascend.amct --model=build/x.onnx --output=build/x_int8.onnx \\
        --calibration=train --bins=build/prep

amct_onnx writes two files: one with AscendQuant and AscendDequant, for atc, and one that computes
the same in float32 on any host. That one is run on the validation bins beside the ONNX itself;
where it loses more than a point of Top-1, the file for atc does not get its name.
"""
from __future__ import annotations

import argparse
import importlib.util
import shutil
import tempfile
from pathlib import Path

import numpy as np

from common import cli, provenance
from common.ascend import atc, errors, toolkit
from common.data import calibration, manifest, transforms
from common.score import against_onnx, metrics, verdict

BATCH = 16  # images in a run, of calibration too: amct_onnx takes a file for each run
MOST = 1000  # validation images that the two are compared on
FAKE, DEPLOY = "q_fake_quant_model.onnx", "q_deploy_model.onnx"  # its names for --save_path q


def get_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="the ONNX of make onnx")
    parser.add_argument("--output", required=True, help="the quantised ONNX, for atc")
    parser.add_argument("--calibration", required=True, metavar="DIR", help="training images")
    parser.add_argument("--bins", required=True, metavar="DIR",
                        help="bins of the validation images, with their labels")
    return parser.parse_args(argv)


def find_amct():
    """Path of amct_onnx; Failure that says what to install where it is not there."""
    found = shutil.which("amct_onnx")
    if found:
        return found
    other = importlib.util.find_spec("msmodelslim")
    said = (" (msmodelslim, which is there, has no command for an ONNX: its own Python calls "
            "write one that atc takes, see docs/ascend.md)" if other else "")
    raise cli.Failure(f"amct_onnx is not on the PATH{said}", "install amct_onnx from CANN's AMCT "
                      "package (Ascend-cann-amct), or estimate int8 on a CPU: ENGINE=openvino")


def write_batches(images, folder):
    """Write float32 (N, 3, H, W) as amct_onnx reads them, a .bin for each whole batch, in the
    order of their names; returns (images in a batch, batches). What is left over is not used."""
    size = min(BATCH, len(images))
    count = len(images) // size
    folder.mkdir()
    for i in range(count):
        batch = np.stack(images[i * size:(i + 1) * size])
        batch.astype(np.float32).tofile(folder / f"batch_{i:04d}.bin")
    return size, count


def quantise(model, name, images, scratch):
    """Run amct_onnx in the folder `scratch`; returns its command. Failure when it fails or does not
    write both files. It uses a single batch unless --batch_num says how many."""
    amct = find_amct()
    shutil.copyfile(model, scratch / "model.onnx")
    size, count = write_batches(images, scratch / "bins")
    shape = ",".join(map(str, images[0].shape))
    command = ["amct_onnx", "calibration", "--model", "model.onnx", "--save_path", "./q",
               "--input_shape", f"{name}:{size},{shape}", "--data_dir", "bins",
               "--data_types", "float32", "--batch_num", str(count)]
    status, log = atc.run([amct, *command[1:]], scratch)
    lacking = [file for file in (FAKE, DEPLOY) if not (scratch / file).is_file()]
    if status or lacking:
        why, todo = errors.explain(log, status, "amct_onnx")
        raise cli.Failure(f"amct_onnx made no {cli.some(lacking or [DEPLOY])}: {why}", todo)
    return command


def session(path):
    """An onnxruntime.InferenceSession. amct_onnx's Python package, where it is there, has the
    operators that its own files may use."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if importlib.util.find_spec("amct_onnx"):
        from amct_onnx import AMCT_SO as options
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as e:  # of many types, which have no base of their own
        why = cli.short(" ".join(str(e).split()))
        raise cli.Failure(f"ONNX Runtime does not take {path.name}: {why}",
                          "use the Python that amct_onnx is installed in: PYTHON=") from None


def answers(path, images):
    """The logits of float32 images (N, 3, H, W), computed BATCH at a time: float32 (N, classes)."""
    network = session(path)
    name, found = network.get_inputs()[0].name, []
    for start in cli.progress(range(0, len(images), BATCH), path.name, unit="batch"):
        batch = np.stack(images[start:start + BATCH])
        short = BATCH - len(batch)
        padded = np.concatenate([batch, np.repeat(batch[-1:], short, 0)])
        found.append(network.run(None, {name: padded})[0][:len(batch)].reshape(len(batch), -1))
    return np.concatenate(found).astype(np.float32)


def score(logits, labels):
    """The metrics.Score of logits (N, classes) with labels int (N,)."""
    best, values = metrics.best(logits)
    place = metrics.places(best, labels)
    return metrics.Score(metrics.within(place), len(labels), place=place, best=best, logits=values)


def gate(onnx, fake, bins):
    """What the fake-quantised ONNX loses beside the ONNX itself on up to MOST labelled images of
    `bins`, as the record has it, printed. Failure above a point (score/verdict.py)."""
    known = manifest.Manifest.load(bins)
    rows = [row for row in known.rows if row.label is not None]
    if not rows:
        raise cli.Failure(f"the images of {bins} have no labels, so int8 cannot be scored",
                          "give images with labels: DATA=")
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(MOST, len(rows))).astype(int))
    rows = [rows[i] for i in chosen]
    images = [against_onnx.read_bin(bins, row, known.info) for row in rows]
    labels = np.array([row.label for row in rows])
    lower, f32 = (score(answers(path, images), labels) for path in (fake, onnx))
    verdict.compare(lower, f32, "int8")
    print(f"amct_onnx's fake-quantised ONNX: {lower.findings[-1]}")
    return lower.against


def main():
    args = get_args()
    onnx = Path(args.model)
    about = atc.facts_of_onnx(onnx)  # its "file" and "sha256" stay those of the ONNX itself
    if "preprocessing" not in about:
        raise cli.Failure(f"{onnx} does not say how its images are prepared", "make onnx")
    recipe = transforms.Recipe(**about["preprocessing"])
    images, said = calibration.read(args.calibration, recipe)
    if said.get("note"):
        print(f"note: {said['note']}")
    with tempfile.TemporaryDirectory(prefix="amct-") as folder:
        scratch = Path(folder)
        command = quantise(onnx, about["input"], images, scratch)
        lost = gate(onnx, scratch / FAKE, args.bins)
        with cli.whole_file(args.output) as part:
            shutil.move(str(scratch / DEPLOY), str(part))
    inputs = [onnx, args.calibration, Path(args.bins, manifest.NAME)]
    facts = {**about, "quantised": {**said, "against_f32": lost, "command": command,
                                    "cann": toolkit.release(*filter(None, [toolkit.loaded()]))}}
    provenance.record(args.output, inputs, **facts)
    print(f"wrote {args.output} ({said['images']} calibration images, "
          f"{Path(args.output).stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    cli.run(main)
