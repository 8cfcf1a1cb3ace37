"""The whole chain on a real ImageNet network and real photographs, both out of the registry.

    make real
    python3 -m tools.real.real --out build/real

EfficientNet-Lite0 gets a model folder by tools/new in a copy of this repository, answers for
twelve photographs (answers.png), and is scored on 288 seeded crops of them in every precision that
this CPU has. The last table holds each beside torch. What make printed is in real.log.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from common import cli
from common.speed.table import marked, table
from tools.real import crops, fetch

ROOT = Path(__file__).resolve().parents[2]
MODEL = "Lite0"
TIMM = "tf_efficientnet_lite0"
GIVEN = ("DATA=../data", f"WEIGHTS=../{TIMM}.pth")
# Row of the table → settings of make, and how its results are called.
RUNS = {
    "OpenVINO f32": (("ENGINE=openvino",), "openvino"),
    "ONNX Runtime f32": (("ENGINE=onnxruntime",), "onnxruntime"),
    "OpenVINO f32, bytes in": (("ENGINE=openvino", "INPUT=uint8"), "openvino_uint8"),
    "OpenVINO bf16": (("ENGINE=openvino", "PRECISION=bf16"), "openvino_bf16"),
    "OpenVINO int8": (("ENGINE=openvino", "PRECISION=int8", "CALIB=../data/calib"),
                      "openvino_int8"),
    "float16, estimated": (("PRECISION=fp16",), "onnxruntime_fp16"),
}


def get_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/real"),
                        help="folder for all of it (default: %(default)s)")
    return parser.parse_args(argv)


def copy_repository(out):
    """What a new model folder needs of this repository, in `out`; the environment is this one."""
    left = shutil.ignore_patterns("__pycache__")
    for name in ("common", "tools"):
        shutil.rmtree(out / name, ignore_errors=True)
        shutil.copytree(ROOT / name, out / name, ignore=left)
    for name in ("requirements.txt", "requirements.lock",
                 *map(str, ROOT.glob("Twins-SVT-L/Twins_*.py")),
                 *map(str, ROOT.glob("ShiftViT/README*.md"))):
        target = out / os.path.relpath(ROOT / name, ROOT)
        target.parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, target)


def make(out, *words):
    """Run make in the model folder; what it printed also goes into real.log. (status, text)"""
    command = ["make", "--no-print-directory", "-C", str(out / MODEL), *words, *GIVEN,
               f"PYTHON={sys.executable}"]
    env = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(command, env=env, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    with open(out / "real.log", "a", encoding="utf-8") as log:
        log.write(f"$ make {' '.join(words)}\n{done.stdout}\n")
    return done.returncode, done.stdout


def must(out, *words):
    """make(), and Failure with its last error when it fails; what it printed."""
    status, text = make(out, *words)
    if status:
        raise cli.Failure(f"make {' '.join(words)}: {reason(text)}", f"look into {out}/real.log")
    return text


def reason(text):
    """The error that a failed make printed."""
    lines = [line for line in text.splitlines() if line.startswith("error: ") or "***" in line]
    return lines[0].replace("error: ", "") if lines else "it failed"


def predictions(out):
    """Let make predict answer for the photographs that show a class; a line for each."""
    names = [Path(name).name for name, label in fetch.PHOTOGRAPHS.items() if label is not None]
    images = " ".join(f"../photographs/{name}" for name in names)
    said = must(out, "predict", f"IMAGE={images}", "PNG=../answers.png", "ENGINE=openvino")
    first = re.findall(r"^(\S+)\n +1 +([\d.]+%) +([^,\n(]+)", said, re.MULTILINE)
    return [f"  {Path(image).name:20} {share:>7}  {name.strip()}" for image, share, name in first]


def answers(out, run):
    """{image: Top-1 class} of a run of the offline model."""
    from common.data.manifest import Manifest
    from common.score import results

    build = out / MODEL / "build"
    manifest = Manifest.load(build / ("prep_uint8" if run.endswith("uint8") else "prep"))
    logits = results.read(build / "result" / f"bs8_{run}", manifest, 1000).logits
    return {row.image: int(best) for row, best in zip(manifest.rows, logits.argmax(1))}


def row(out, name, settings, run, torch):
    """The cells of one run; a run that the CPU has not, or that is refused, says why instead."""
    estimated = run.endswith("fp16")  # says nothing of speed
    status, text = make(out, "eval", *([] if estimated else ["bench"]), *settings)
    if status and not (out / MODEL / f"build/result/bs8_{run}.json").exists():
        return [name, *"----", cli.short(reason(text), 60)]
    ours = answers(out, run)
    same = sum(ours[image] == answer for image, answer in torch["answers"].items())
    if status:
        return [name, "-", "-", f"{same} of {len(ours)}", "-", cli.short(reason(text), 60)]
    score = read(out, f"eval_bs8_{run}.json")
    fps = "-" if estimated else marked(read(out, f"perf_bs8_{run}.json"))
    return [name, f"{score['top1']:.2f}%", f"{score['top5']:.2f}%", f"{same} of {len(ours)}",
            fps, "float16 as an NPU rounds, on this CPU" if estimated else ""]


def read(out, name):
    """A JSON of the model folder's build/."""
    return cli.read_json(out / MODEL / "build" / name, "run make real again")


def main():
    args = get_args()
    out = args.out.resolve()
    (out / "real.log").unlink(missing_ok=True)
    sys.argv = ["fetch", "--out", str(out)]
    fetch.main()
    if not (out / "data").exists():
        sys.argv = ["crops", "--photographs", str(out / "photographs"), "--out", str(out / "data")]
        crops.main()
    copy_repository(out)
    shutil.rmtree(out / MODEL, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "tools.new.new", MODEL, TIMM], cwd=out, check=True,
                   stdout=subprocess.DEVNULL)
    print(f"real: {TIMM} has a model folder, {os.path.relpath(out / MODEL)}")

    for line in predictions(out):
        print(line)
    print(f"wrote {os.path.relpath(out / 'answers.png')}")

    must(out, "online", "ENGINE=openvino")
    torch = read(out, "online.json")
    rows = [["torch f32", f"{torch['top1']:.2f}%", f"{torch['top5']:.2f}%",
             f"{torch['total']} of {torch['total']}", f"{torch['produced_by']['fps']:.0f}", ""]]
    for name, (settings, run) in RUNS.items():
        print(f"real: {name} …", flush=True)
        rows.append(row(out, name, settings, run, torch))
    print(f"\n{torch['total']} crops of twelve photographs, labelled as a person sees them; "
          "batch 8, this CPU.")
    table(["", "Top-1", "Top-5", "same answer as torch", "images/s", ""], rows)
    print(f"real: what make printed is in {os.path.relpath(out / 'real.log')}")


if __name__ == "__main__":
    cli.run(main)
