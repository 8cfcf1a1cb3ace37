"""Scaffold a model folder for a network of timm: published.json with its preprocessing, Makefile,
model.py, scripts, READMEs.

    python3 -m tools.new.new resnet resnet18        (make new MODEL=resnet TIMM=resnet18)
    python3 -m tools.new.new pets resnet18 --classes 37     (… CLASSES=37 INPUT_SIZE=384)

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
from common.published import IMAGENET

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


# Folders of ours, and what make could take for something else.
OURS = {"build", "report", "results", "tools", "common", "benchmarks", "docs", "tests", "weights",
        "data"}


def get_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", default="", help="name of the folder and the model")
    parser.add_argument("timm", nargs="?", default="",
                        help="timm's name of the network, with or without the tag of its weights")
    parser.add_argument("--classes", type=int, metavar="N",
                        help="logits, for a network that was trained on your own classes "
                             "(make: CLASSES=37; default: the network's)")
    parser.add_argument("--input-size", type=int, metavar="PIXELS",
                        help="side of the square input (make: INPUT_SIZE=384; default: timm's)")
    args = parser.parse_args(argv)
    if not re.fullmatch("[A-Za-z][A-Za-z0-9_-]*", args.name):
        parser.error(f"{args.name!r} is no name for a folder: give letters, digits, _ and - "
                     "(make: MODEL=name)")
    if args.name.lower() in OURS:
        parser.error(f"{args.name} is a folder of this repository's own: give another MODEL=")
    if not args.timm:
        parser.error("which network of timm? (make: TIMM=resnet18)")
    if min(args.classes or 2, args.input_size or 2) < 2:
        parser.error("CLASSES= and INPUT_SIZE= are 2 or more")
    args.timm = re.sub("^(hf-hub:)?timm/", "", args.timm)
    return args


def create(name, options):
    """The network `name` of timm, weights random; Failure that names similar ones."""
    import timm

    if not timm.is_model(name):
        if ":" in name or "/" in name:
            raise cli.Failure(f"{name} is not one of timm's own networks",
                              "give the name that timm.list_models() has, and its file as WEIGHTS=")
        near = timm.list_models(f"{re.split('[_.]', name.lower())[0]}*")[:8]
        todo = f"it has {', '.join(near)} …" if near else "timm.list_models() names them"
        raise cli.Failure(f"timm {timm.__version__} has no network {name}", todo)
    try:
        return timm.create_model(name, pretrained=False, **options)
    except RuntimeError as e:  # a tag that it does not have
        raise cli.Failure(f"timm {timm.__version__} has no network {name} ({e})",
                          "leave out what comes after the point") from None


def resized(name, classes, size):
    """(network, options of timm.create_model() that give it `classes` and `size`, or what it has
    where they are None)."""
    options = {"num_classes": classes} if classes else {}
    net = create(name, options)
    if size in (None, net.pretrained_cfg["input_size"][-1]):
        return net, options
    try:  # networks with positions for each patch are built for a size, others take any
        with_size = {**options, "img_size": size}
        return create(name, with_size), with_size
    except (TypeError, AssertionError):
        return net, options


def describe(name, classes=None, size=None):
    """What timm says of the network `name`: (recipe as in published.json, name of its last layer,
    its number of classes, options for timm.create_model(), its pretrained_cfg).

    Failure when the pipeline cannot carry it: it takes square RGB images and a linear last layer.
    """
    import timm
    import torch

    net, options = resized(name, classes, size)
    config = timm.data.resolve_data_config({}, model=net)
    channels, height, width = config["input_size"]
    side, head = size or height, net.get_classifier()
    if channels != 3 or height != width:
        raise cli.Failure(f"{name} takes {channels}×{height}×{width}",
                          "the pipeline takes square RGB images")
    known = list(transforms.INTERPOLATION)
    if config["interpolation"] not in known or config["crop_mode"] not in ("center", "squash"):
        raise cli.Failure(f"{name} is evaluated with {config['interpolation']} and crop mode "
                          f"{config['crop_mode']}",
                          f"common/data/transforms.py has {' and '.join(known)}, and a centre crop")
    if not isinstance(head, torch.nn.Linear):
        what = "has several last layers" if isinstance(head, (tuple, list)) else (
            "has a last layer that is not a linear one")
        raise cli.Failure(f"{name} {what}", "the demo weights cannot be fitted to it")
    try:
        with torch.no_grad():
            net.eval()(torch.zeros(1, 3, side, side))
    except (RuntimeError, AssertionError) as e:
        raise cli.Failure(f"{name} does not take images of {side} pixels "
                          f"({cli.short(str(e).split(chr(10))[0])})", "leave out INPUT_SIZE=") \
            from None
    recipe = {"resize": math.floor(side / config["crop_pct"]), "crop": side,
              "interpolation": config["interpolation"],
              "keep_aspect": config["crop_mode"] == "center"}
    for key, usual in (("mean", transforms.MEAN), ("std", transforms.STD)):
        if tuple(config[key]) != usual:
            recipe[key] = list(config[key])
    layer = next(n for n, m in net.named_modules() if m is head)
    return recipe, layer, net.num_classes, options, net.pretrained_cfg


def published(name, timm_name, stem, recipe, classes, config):
    """The content of published.json: what is known, and no figure that nobody has published."""
    import timm

    if classes != config.get("num_classes"):
        config = {}  # the weights that timm knows are of other classes
    url, hub = str(config.get("url") or ""), config.get("hf_hub_id")
    known = url.startswith("https://") and url.endswith((".pth", ".pth.tar"))
    weights = {"file": f"{stem}.pth", "urls": [url] if known else [],
               "page": f"https://huggingface.co/{hub}" if hub else TIMM,
               "md5": None, "sha256": None, "size": None}
    if hub:
        weights["second"] = [{"file": f"{stem}.safetensors", "hub": hub}]
    return {"model": name,
            "source": f"preprocessing from timm {timm.__version__}, {timm_name}; no published "
                      "figures",
            **({"classes": classes} if classes != IMAGENET else {}),
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
    files["model.py"] = files["model.py"].replace("=False)", f"=False{words['options']})")
    files.update((name, readme(name)) for name in ("README.md", "README.zh-CN.md"))
    return {name: re.sub(f"@({'|'.join(words)})@", lambda m: words[m[1]], text)
            for name, text in files.items()}


def main():
    args = get_args()
    folder = ROOT / args.name
    if folder.exists():
        raise cli.Failure(f"{folder} exists", "give another MODEL=, or remove it")
    recipe, head, classes, options, config = describe(args.timm, args.classes, args.input_size)
    stem, files = (re.sub("[^A-Za-z0-9_]", "_", name) for name in (args.timm, args.name))
    said = str(transforms.Recipe(**recipe))
    words = {"name": args.name, "timm": args.timm, "stem": stem, "files": files, "head": head,
             "recipe": said, "side": str(recipe["crop"]), "classes": str(classes),
             "options": "".join(f", {key}={value}" for key, value in options.items())}
    part = ROOT / f".{args.name}.part"
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir()
        for name, text in contents(words).items():
            (part / name).write_text(text, encoding="utf-8")
        cli.write_json(part / "published.json",
                       published(args.name, args.timm, stem, recipe, classes, config))
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    subprocess.run([sys.executable, ROOT / "tools/sync.py"], check=True)
    print(f"wrote {args.name}/ for timm's {args.timm} ({said}); next: make demo "
          f"MODEL={args.name}, then the steps of CONTRIBUTING.md")


if __name__ == "__main__":
    cli.run(main)
