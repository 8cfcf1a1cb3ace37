"""Scaffold a model folder for a network of timm: published.json with its preprocessing, Makefile,
model.py, scripts, READMEs.

    python3 -m tools.new.new resnet resnet18        (make new MODEL=resnet TIMM=resnet18)

The scripts are Twins-SVT-L's, which know nothing of their network but its names; common/ is copied
as for every folder. CONTRIBUTING.md says what a person has to add.
"""
import argparse
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

from common import cli
from common.data import transforms

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = ROOT / "tools/new/template"
TIMM = "https://github.com/huggingface/pytorch-image-models"
SCRIPTS = {  # Twins-SVT-L's script → the docstring of ours
    "preprocess": """ImageNet validation images → .bin files for @name@, as published.json says.

    python3 @files@_preprocess.py --root_path data/imagenet/val --bin_path bin_path/
""",
    "pth2onnx": """@name@ checkpoint → ONNX, dynamic batch, checked against torch.

    python3 @files@_pth2onnx.py --resume @stem@.pth --output @stem@.onnx
""",
    "postprocess": """Top-1 and Top-5 of @name@'s offline model, joined with labels by image name.

    python3 @files@_postprocess.py --pred result/@stem@_bs8 --input_path data/imagenet/val
"""}


def get_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", default="", help="name of the folder and the model")
    parser.add_argument("timm", nargs="?", default="",
                        help="timm's name of the network, with or without the tag of its weights")
    args = parser.parse_args(argv)
    if not re.fullmatch("[A-Za-z][A-Za-z0-9_-]*", args.name):
        parser.error(f"{args.name!r} is no name for a folder: give letters, digits, _ and - "
                     "(make: MODEL=name)")
    if not args.timm:
        parser.error("which network of timm? (make: TIMM=resnet18)")
    return args


def create(name):
    """The network `name` of timm, weights random; Failure that names similar ones."""
    import timm

    if not timm.is_model(name):
        near = timm.list_models(f"{re.split('[_.]', name)[0]}*")[:8]
        todo = f"it has {', '.join(near)} …" if near else "timm.list_models() names them"
        raise cli.Failure(f"timm {timm.__version__} has no network {name}", todo)
    try:
        return timm.create_model(name, pretrained=False)
    except RuntimeError as e:  # a tag that it does not have
        raise cli.Failure(f"timm {timm.__version__} has no network {name} ({e})",
                          "leave out what comes after the point") from None


def describe(name):
    """What timm says of the network `name`: (recipe as in published.json, name of its last layer,
    its pretrained_cfg).

    Failure when the pipeline cannot carry it: it takes 224×224 inputs, 1000 classes, and a linear
    last layer.
    """
    import timm
    import torch

    net = create(name)
    config = timm.data.resolve_data_config({}, model=net)
    size, head = tuple(config["input_size"]), net.get_classifier()
    if size != (3, 224, 224) or net.num_classes != 1000:
        raise cli.Failure(f"{name} takes {'×'.join(map(str, size))} and has {net.num_classes} "
                          "classes", "the pipeline is made for 3×224×224 and 1000")
    known = list(transforms.INTERPOLATION)
    if config["interpolation"] not in known or config["crop_mode"] not in ("center", "squash"):
        raise cli.Failure(f"{name} is evaluated with {config['interpolation']} and crop mode "
                          f"{config['crop_mode']}",
                          f"common/data/transforms.py has {' and '.join(known)}, and a centre crop")
    if not isinstance(head, torch.nn.Linear):
        raise cli.Failure(f"the last layer of {name} is not a linear one",
                          "the demo weights cannot be fitted to it")
    recipe = {"resize": math.floor(224 / config["crop_pct"]), "crop": 224,
              "interpolation": config["interpolation"],
              "keep_aspect": config["crop_mode"] == "center"}
    for key, usual in (("mean", transforms.MEAN), ("std", transforms.STD)):
        if tuple(config[key]) != usual:
            recipe[key] = list(config[key])
    return recipe, next(n for n, m in net.named_modules() if m is head), net.pretrained_cfg


def published(name, timm_name, stem, recipe, config):
    """The content of published.json: what is known, and no figure that nobody has published."""
    import timm

    url, hub = str(config.get("url") or ""), config.get("hf_hub_id")
    known = url.startswith("https://") and url.endswith((".pth", ".pth.tar"))
    weights = {"file": f"{stem}.pth", "urls": [url] if known else [],
               "page": f"https://huggingface.co/{hub}" if hub else TIMM,
               "md5": None, "sha256": None, "size": None}
    return {"model": name,
            "source": f"preprocessing from timm {timm.__version__}, {timm_name}; no published "
                      "figures",
            "preprocessing": recipe, "weights": weights,
            "top1": None, "top5": None, "top1_torch": None,
            "chip": None, "fps": {}, "fps_baseline": None}


def script(kind):
    """Twins-SVT-L's script of this kind under our docstring, its file names ours."""
    text = (ROOT / f"Twins-SVT-L/Twins_{kind}.py").read_text(encoding="utf-8")
    text = text.replace("alt_gvt_large", "@stem@")
    return re.sub(r'\A""".*?"""', lambda _: f'"""{SCRIPTS[kind]}"""', text, flags=re.S)


def readme(name):
    """The skeleton of a README under the headings of the other folders' READMEs."""
    text = (TEMPLATES / name).read_text(encoding="utf-8")
    model = ROOT / "ShiftViT" / name
    headings = re.findall(r"^#{2,} .*", model.read_text(encoding="utf-8"), re.M)
    ours = re.findall(r"^#{2,} .*", text, re.M)
    if len(headings) != len(ours):
        raise cli.Failure(f"{model} has {len(headings)} headings, {TEMPLATES / name} {len(ours)}",
                          "give the template the same ones")
    for old, new in zip(ours, headings):
        text = text.replace(f"{old}\n", f"{new}\n", 1)
    return text


def contents(words):
    """{name of a file: its text} of the new folder; `words` fill @these@ in."""
    files = {name: (TEMPLATES / name).read_text(encoding="utf-8")
             for name in ("Makefile", "model.py")}
    files.update((f"{words['files']}_{kind}.py", script(kind)) for kind in SCRIPTS)
    files.update((name, readme(name)) for name in ("README.md", "README.zh-CN.md"))
    return {name: re.sub(f"@({'|'.join(words)})@", lambda m: words[m[1]], text)
            for name, text in files.items()}


def main():
    args = get_args()
    folder = ROOT / args.name
    if folder.exists():
        raise cli.Failure(f"{folder} exists", "give another MODEL=, or remove it")
    recipe, head, config = describe(args.timm)
    stem, files = (re.sub("[^A-Za-z0-9_]", "_", name) for name in (args.timm, args.name))
    said = str(transforms.Recipe(**recipe))
    words = {"name": args.name, "timm": args.timm, "stem": stem, "files": files, "head": head,
             "recipe": said}
    part = ROOT / f".{args.name}.part"
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir()
        for name, text in contents(words).items():
            (part / name).write_text(text, encoding="utf-8")
        cli.write_json(part / "published.json",
                       published(args.name, args.timm, stem, recipe, config))
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    subprocess.run([sys.executable, ROOT / "tools/sync.py"], check=True)
    print(f"wrote {args.name}/ for timm's {args.timm} ({said}); next: make demo "
          f"MODEL={args.name}, then the steps of CONTRIBUTING.md")


if __name__ == "__main__":
    cli.run(main)
