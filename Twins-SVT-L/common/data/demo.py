"""Demo inputs, for whoever has not got ImageNet and the official weights yet. Run from a model's folder:

    python3 -m common.data.demo images --out build/demo/data
    python3 -m common.data.demo weights --data build/demo/data --out build/demo/weights.pth

`images` draws ten classes in pairs that a mistake in the chain would mix up: pairs that differ in red and blue only
(channel order), in brightness (normalisation), in stripes a third apart (aspect, scale), and around the square that the
centre crop keeps every image shows its partner's pattern (squash, missing or misplaced crop). `weights` takes the
model's network with seeded random weights and fits the last layer to the demo's training images in closed form. The
accuracy that follows says that the chain works; it says nothing about the model.
"""
import argparse
import io
import os
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from common import cli
from common.data import dataset, transforms

SEED = 2022
# Class index among ImageNet's 1000 → what the images show. Neighbours (0 and 1, 2 and 3, …) are partners.
CLASSES = {7: "red", 613: "blue", 130: "orange", 864: "azure", 340: "columns 10", 555: "columns 15",
           211: "rows 10", 963: "rows 15", 407: "bright", 779: "dark"}
TINTS = {"red": (0.62, 0.40, 0.30), "blue": (0.30, 0.40, 0.62), "orange": (0.85, 0.55, 0.25),
         "azure": (0.25, 0.55, 0.85), "bright": (0.62, 0.62, 0.62), "dark": (0.36, 0.36, 0.36)}
GREY = ("columns", "rows", "bright", "dark")  # classes that stay apart without colour
VAL, TRAIN = 240, 120
RIDGE = 1e-3  # of the mean squared length of a feature vector
CORE = 0.9  # side of the square with the class's own pattern, in short sides; a crop of 224 from 256 sees 0.875


def get_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    images = verbs.add_parser("images", help="draw the demo's images, in both layouts")
    images.add_argument("--out", type=Path, required=True, help="folder to make: val/, train/, flat/, DEMO.txt")
    weights = verbs.add_parser("weights", help="make a checkpoint for the model of this folder")
    weights.add_argument("--data", type=Path, required=True, help="folder that `images` made")
    weights.add_argument("--out", type=Path, required=True, help="checkpoint to write")
    return parser.parse_args(argv)


def pattern(kind, x, y, rng):
    """Paint `kind` at the coordinates x, y (H, W; short sides from the centre) → float64 (H, W, 3) in 0..1."""
    name, _, cycles = kind.partition(" ")
    phase = rng.uniform(0, 2 * np.pi, 4)
    contrast = rng.uniform(0.8, 1)
    if cycles:
        tilt = rng.uniform(-0.05, 0.05)
        along = x + tilt * y if name == "columns" else y + tilt * x
        wave = np.tanh(2 * np.sin(2 * np.pi * float(cycles) * along + phase[0]))
        return np.repeat((0.45 + 0.25 * contrast * wave)[..., None], 3, axis=2)
    tint = np.array(TINTS[name]) + rng.uniform(-0.02, 0.02)
    if name in ("orange", "azure"):
        # Discs of the tint on grey.
        discs = np.tanh(6 * (np.sin(2 * np.pi * 3 * x + phase[0]) * np.sin(2 * np.pi * 3 * y + phase[1])))
        return 0.5 + (tint - 0.5) * (0.5 + 0.5 * contrast * discs)[..., None]
    # Clouds of the tint.
    clouds = np.sin(2 * np.pi * (2 * x + y) + phase[0]) + np.sin(2 * np.pi * (2 * y - x) + phase[1])
    return tint + 0.06 * contrast * clouds[..., None]


def draw(kind, partner, size, rng, grain=0.012):
    """An image of `size` (width, height): `kind` in the central square, `partner` around it → uint8 (H, W, 3)."""
    width, height = size
    short = min(size)
    x = ((np.arange(width) + 0.5 - width / 2) / short)[None, :].repeat(height, 0)
    y = ((np.arange(height) + 0.5 - height / 2) / short)[:, None].repeat(width, 1)
    core = (np.maximum(abs(x), abs(y)) < CORE / 2)[..., None]
    # Round bright and dark squares the frame is the extreme, so that a missing crop swaps their mean brightness.
    frame = {"bright": 1, "dark": 0}.get(partner)
    picture = np.where(core, pattern(kind, x, y, rng), pattern(partner, x, y, rng) if frame is None else frame)
    picture = picture + grain * rng.standard_normal((height, width, 1), np.float32)
    return (picture.clip(0, 1) * 255).round().astype(np.uint8)


def size_of(kind, rng):
    """A size in pixels (width, height). Stripes are 3:2, so that a squash turns 10 cycles into 15 in all of them."""
    short = int(rng.integers(180, 360))
    if kind.startswith(("columns", "rows")):
        size = (short * 3 // 2, short)
        return size if kind.startswith("columns") else size[::-1]
    if kind in ("bright", "dark"):
        short = int(rng.choice([224, 256, short, short]))
        return short, short
    size = (int(short * rng.uniform(1, 1.6)), short)
    return size if rng.random() < 0.6 else size[::-1]


def encode(kind, partner, number, rng):
    """Bytes of an image file. One in eight has a mode or a container that ImageNet also has in places."""
    odd = number % 32
    size = size_of(kind, rng)
    png = odd in (19, 27)
    if png:
        size = tuple(s * 180 // min(size) for s in size)
    picture = Image.fromarray(draw(kind, partner, size, rng, grain=0 if png else 0.012))
    out = io.BytesIO()
    if odd == 19:
        picture.save(out, "PNG")
    elif odd == 27:
        picture.quantize(64).save(out, "PNG")
    elif odd == 3:
        picture.convert("CMYK").save(out, "JPEG", quality=90)
    elif odd == 11:
        exif = Image.Exif()
        exif[0x0112] = 6  # "rotate me": torchvision's loader and ImageNet's authors do not
        picture.save(out, "JPEG", quality=80, exif=exif)
    elif number % 4 == 1 and kind.startswith(GREY):
        picture.convert("L").save(out, "JPEG", quality=80)
    else:
        picture.save(out, "JPEG", quality=80)
    return out.getvalue()


def make_images(out):
    """Draw both splits in both layouts under `out`, whole or not at all."""
    if out.exists() and not (out / "DEMO.txt").exists():
        raise cli.Failure(f"{out} exists and holds no demo images", "give another --out, or remove it")
    part = out.with_name(f".{os.getpid()}.{out.name}")
    synsets = dataset.SYNSETS.read_text().split()
    indices, kinds = list(CLASSES), list(CLASSES.values())
    try:
        for flat in (part, part / "flat"):
            flat.mkdir(parents=True)
            (flat / "DEMO.txt").write_text("Generated by common/data/demo.py; accuracy on these says nothing of a model.\n")
        (part / "flat/val").mkdir()
        labels = []
        for split, count in (("val", VAL), ("train", TRAIN)):
            order = np.random.default_rng([SEED, len(split)]).permutation(np.arange(count) % len(kinds))
            for i, which in enumerate(cli.progress(order, f"drawing {split}", unit="image"), 1):
                which = int(which)
                content = encode(kinds[which], kinds[which ^ 1], i, np.random.default_rng([SEED, len(split), i]))
                name = f"demo_{split}_{i:08d}.JPEG"
                places = [part / split / synsets[indices[which]]]
                if split == "val":
                    places.append(part / "flat/val")
                    labels.append(f"{name} {indices[which]}\n")
                for place in places:
                    place.mkdir(parents=True, exist_ok=True)
                    (place / name).write_bytes(content)
        (part / "flat/val_label.txt").write_text("".join(labels))
        if out.exists():
            shutil.rmtree(out)
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    print(f"wrote {out}: {VAL} validation and {TRAIN} training images of {len(CLASSES)} classes, in both layouts")


def keep_signal(net, images):
    """Re-initialise a network with BatchNorm, whose usual random weights let nothing but noise through to its head.

    Depthwise kernels: identity plus noise; pointwise ones: orthogonal; others: noise of unit gain. Whatever stands
    before an activation has bias 1, which keeps most of the signal out of the rectified side: the convolution where it
    has a bias (ConvMixer: convolution, GELU, BatchNorm), else the BatchNorm (spnasnet: convolution, BatchNorm, ReLU).
    BatchNorm's statistics are those of `images`, float32 (N, 3, H, W).
    """
    from torch import nn

    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    for m in convolutions:
        if m.groups > 1:
            side = m.kernel_size[0]
            m.weight.normal_(0, 0.5 / side)
            m.weight[:, :, side // 2, side // 2] += 1
        elif m.kernel_size == (1, 1):
            nn.init.orthogonal_(m.weight)
        else:
            m.weight.normal_(0, m.weight[0].numel() ** -0.5)
        if m.bias is not None:
            m.bias.fill_(1)
    for m in norms:
        m.momentum = None  # the mean over all batches seen since the reset
        m.reset_running_stats()
        m.bias.fill_(0 if convolutions[0].bias is not None else 1)
    net.train()
    net(images)
    net.eval()


def features(net, head, images, what):
    """What reaches the layer `head` for float32 images (N, 3, H, W) → float64 (N, width)."""
    import torch

    got = []
    hook = head.register_forward_hook(lambda module, inputs, output: got.append(inputs[0].double()))
    for batch in cli.progress(images.split(10), what, unit="batch"):
        net(batch)
    hook.remove()
    return torch.cat(got)


def fit(x, labels):
    """Ridge regression onto one-hot targets, in its dual form (few images, many features).

    x: float64 (N, width); labels: int64 (N,), class indices. Returns weight (1000, width) and bias (1000,).
    """
    import torch

    mean = x.mean(0)
    centred = x - mean
    gram = centred @ centred.T
    ridge = RIDGE * gram.diagonal().mean() * torch.eye(len(x), dtype=x.dtype)
    # Targets 18 and -2: logits far enough apart for float16, and far above the 990 classes that have no image.
    targets = torch.where(labels[:, None] == torch.tensor(list(CLASSES)), 18.0, -2.0).double()
    rows = (centred.T @ torch.linalg.solve(gram + ridge, targets - targets.mean(0))).T
    weight = torch.zeros(dataset.CLASSES, x.shape[1], dtype=x.dtype)
    bias = torch.full((dataset.CLASSES,), -30.0, dtype=x.dtype)
    weight[list(CLASSES)] = rows
    bias[list(CLASSES)] = targets.mean(0) - rows @ mean
    return weight, bias


def make_weights(data, out):
    """Write a demo checkpoint for the model of the folder that this runs in."""
    import torch

    import model

    def load(split, count):
        """`count` images of each class → float32 (N, 3, H, W), int64 (N,)."""
        found = dataset.find(data / split)
        if not found.demo:
            raise cli.Failure(f"{data} holds no demo images", "make them with: python3 -m common.data.demo images --out …")
        chosen = [[i for i in found.images if i.label == label][:count] for label in CLASSES]
        chosen = [images[k] for k in range(count) for images in chosen]
        return (torch.from_numpy(np.stack([model.RECIPE(transforms.load(i.path)) for i in chosen])),
                torch.tensor([i.label for i in chosen]))

    count = getattr(model, "DEMO_IMAGES", 6)
    (train, labels), (val, val_labels) = load("train", count), load("val", max(1, count // 3))
    torch.manual_seed(SEED)
    with torch.no_grad():
        net = model.build()
        head = net.get_submodule(model.HEAD)
        for m in net.modules():
            # Scales and shifts as trained networks have them; those of a fresh one, 1 and 0, would be folded away.
            if isinstance(m, (torch.nn.GroupNorm, torch.nn.LayerNorm)):
                m.weight.uniform_(0.8, 1.2)
                m.bias.normal_(0, 0.1)
        if any(isinstance(m, torch.nn.BatchNorm2d) for m in net.modules()):
            keep_signal(net, train[:len(CLASSES)])
        x = features(net, head, train, "features of the training images")
        weight, bias = fit(x, labels)
        head.weight.copy_(weight)
        head.bias.copy_(bias)
        seen = (x @ weight.T + bias).argmax(1)
        unseen = (features(net, head, val, "checking") @ weight.T + bias).argmax(1)
    content = getattr(model, "official", lambda state_dict: {"state_dict": state_dict})(net.state_dict())
    with cli.whole_file(out) as part, open(part, "wb") as f:
        # To an open file: given a name, torch writes that (here temporary) name into the archive.
        torch.save({**content, "demo": True}, f)
    scores = [f"{100 * float((a == b).double().mean()):.1f}% of {len(b)} {what}"
              for a, b, what in ((seen, labels, "training images"), (unseen, val_labels, "validation images"))]
    print(f"wrote {out}: demo weights for {model.NAME}, Top-1 {' and '.join(scores)}")


def main():
    args = get_args()
    if args.verb == "images":
        make_images(args.out)
    else:
        make_weights(args.data, args.out)


if __name__ == "__main__":
    cli.run(main)
