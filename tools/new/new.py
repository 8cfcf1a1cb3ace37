"""Scaffold a model folder for a network of timm: published.json with its preprocessing, Makefile, model.py, scripts, READMEs.

    python3 tools/new/new.py resnet resnet18        (make new MODEL=resnet TIMM=resnet18)

The scripts are Twins-SVT-L's, which know nothing of their network but its names; common/ is copied as for every folder. What
a person has to add stands in CONTRIBUTING.md.
"""
import argparse
import json
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from common import cli  # noqa: E402  common/ has to be on sys.path first
from common.data import transforms  # noqa: E402  common/ has to be on sys.path first

TEMPLATES = ROOT / "tools/new/template"
TIMM = "https://github.com/huggingface/pytorch-image-models"
SCRIPTS = {  # Twins-SVT-L's script → what is said on top of ours
    "preprocess": ("ImageNet validation images → .bin files for @name@, as published.json says.",
                   "--root_path data/imagenet/val --bin_path bin_path/"),
    "pth2onnx": ("@name@ checkpoint → ONNX, input `input` → output `output`, dynamic batch, checked against torch.",
                 "--resume @stem@.pth --output @stem@.onnx"),
    "postprocess": ("Top-1 and Top-5 of @name@'s offline model, joined with the labels by image name.",
                    "--pred result/@stem@_bs8 --input_path data/imagenet/val"),
}


def get_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="name of the folder and the model")
    parser.add_argument("timm", help="timm's name of the network, with or without the tag of its weights")
    args = parser.parse_args(argv)
    if not re.fullmatch("[A-Za-z][A-Za-z0-9_-]*", args.name):
        parser.error(f"{args.name!r} is no name for a folder: give letters, digits, _ and - (make: MODEL=name)")
    if not args.timm:
        parser.error("which network of timm? (make: TIMM=resnet18)")
    return args


def describe(name):
    """What timm says of the network `name`: (recipe as in published.json, name of its last layer, its pretrained_cfg).

    Failure when the pipeline cannot carry it: 224×224 inputs, 1000 classes and a linear last layer are needed.
    """
    import timm
    import torch

    if not timm.is_model(name):
        near = timm.list_models(f"{re.split('[_.]', name)[0]}*")[:8]
        raise cli.Failure(f"timm {timm.__version__} has no network {name}", f"it has {', '.join(near)} …" if near else
                          "timm.list_models() names them")
    try:
        net = timm.create_model(name, pretrained=False)
    except RuntimeError as e:  # a tag that it has not
        raise cli.Failure(f"timm {timm.__version__} has no network {name} ({e})", "leave away what stands behind the point"
                          ) from None
    config = timm.data.resolve_data_config({}, model=net)
    if tuple(config["input_size"]) != (3, 224, 224) or net.num_classes != 1000:
        raise cli.Failure(f"{name} takes {'×'.join(map(str, config['input_size']))} and knows {net.num_classes} classes",
                          "the pipeline is made for 3×224×224 and 1000")
    if config["interpolation"] not in transforms.INTERPOLATION or config["crop_mode"] not in ("center", "squash"):
        raise cli.Failure(f"{name} is evaluated with {config['interpolation']} and crop mode {config['crop_mode']}",
                          f"common/data/transforms.py has {' and '.join(transforms.INTERPOLATION)}, and a centre crop")
    head = next((n for n, m in net.named_modules() if m is net.get_classifier()), None)
    if not isinstance(net.get_classifier(), torch.nn.Linear):
        raise cli.Failure(f"the last layer of {name} is not a linear one", "the demo weights cannot be fitted to it")
    recipe = {"resize": math.floor(224 / config["crop_pct"]), "crop": 224, "interpolation": config["interpolation"],
              "keep_aspect": config["crop_mode"] == "center"}
    for key, usual in (("mean", transforms.MEAN), ("std", transforms.STD)):
        if tuple(config[key]) != usual:
            recipe[key] = list(config[key])
    return recipe, head, net.pretrained_cfg


def published(name, timm_name, stem, recipe, config):
    """The content of published.json: what is known, and no figure that nobody has published."""
    import timm

    urls = [config["url"]] if str(config.get("url") or "").endswith((".pth", ".pth.tar")) else []
    page = f"https://huggingface.co/{config['hf_hub_id']}" if config.get("hf_hub_id") else TIMM
    return {"model": name, "source": f"preprocessing from timm {timm.__version__}, {timm_name}; no published figures",
            "preprocessing": recipe,
            "weights": {"file": f"{stem}.pth", "urls": urls, "page": page, "md5": None, "sha256": None, "size": None},
            "top1": None, "top5": None, "top1_torch": None, "chip": None, "fps": {}, "fps_baseline": None}


def script(kind, fill):
    """Twins-SVT-L's script of this kind with our names, and its own words on top."""
    text = (ROOT / f"Twins-SVT-L/Twins_{kind}.py").read_text(encoding="utf-8")
    what, words = SCRIPTS[kind]
    text = re.sub(r'\A""".*?"""', lambda _: f'"""{what}\n\n    python3 @files@_{kind}.py {words}\n"""', text, flags=re.S)
    text = re.sub(r'help="our module, or .*?\(default', 'help="bundled, which is timm\'s; there is no other (default', text)
    return fill(text)


def readme(name, fill):
    """The skeleton of a README under the headings of the other folders' READMEs."""
    text = fill((TEMPLATES / name).read_text(encoding="utf-8"))
    model = ROOT / "ShiftViT" / name
    headings = re.findall(r"^#{2,} .*", model.read_text(encoding="utf-8"), re.M) if model.exists() else []
    ours = re.findall(r"^#{2,} .*", text, re.M)
    if headings and len(headings) != len(ours):
        raise cli.Failure(f"{model} has {len(headings)} headings, {TEMPLATES / name} {len(ours)}", "mend the template")
    for old, new in zip(ours, headings):
        text = text.replace(f"{old}\n", f"{new}\n", 1)
    return text


def main():
    args = get_args()
    folder = ROOT / args.name
    if folder.exists():
        raise cli.Failure(f"{folder} exists", "give another MODEL=, or remove it")
    recipe, head, config = describe(args.timm)
    stem = re.sub("[^A-Za-z0-9_]", "_", args.timm)
    words = {"name": args.name, "timm": args.timm, "stem": stem, "files": re.sub("[^A-Za-z0-9_]", "_", args.name),
             "head": head, "recipe": str(transforms.Recipe(**recipe))}

    def fill(text):
        return re.sub("@(name|timm|stem|files|head|recipe)@", lambda m: words[m[1]], text)

    part = ROOT / f".{args.name}.part"
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir()
        for name in ("Makefile", "model.py"):
            (part / name).write_text(fill((TEMPLATES / name).read_text(encoding="utf-8")), encoding="utf-8")
        for kind in SCRIPTS:
            (part / f"{words['files']}_{kind}.py").write_text(script(kind, fill), encoding="utf-8")
        for name in ("README.md", "README.zh-CN.md"):
            (part / name).write_text(readme(name, fill), encoding="utf-8")
        content = published(args.name, args.timm, stem, recipe, config)
        (part / "published.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    subprocess.run([sys.executable, ROOT / "tools/sync.py"], check=True)
    print(f"wrote {args.name}/ for timm's {args.timm} ({words['recipe']}); next: make demo MODEL={args.name}, then the steps "
          "of CONTRIBUTING.md")


if __name__ == "__main__":
    cli.run(main)
