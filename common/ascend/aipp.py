"""AIPP: normalisation inside the offline model, so that bins hold bytes (a quarter of the disk and of the copy to the NPU).

    python3 -m common.ascend.aipp --out build/aipp.cfg          for the model of this folder

writes what atc's --insert_op_conf takes, from the constants that the transforms use: out = (byte - min_chn) · var_reci_chn
with min_chn = 255·mean and var_reci_chn = 1/(255·std) (CANN, atc, AIPP, normalization_config). On the NPU both are float16,
so inputs shift by up to 1e-3; the CPU stand-in computes in float32.
"""
import argparse
import re
from pathlib import Path

import numpy as np

from common import cli
from common.data import transforms

FIXED = {"aipp_mode": "static", "input_format": "RGB888_U8", "csc_switch": "false", "rbuv_swap_switch": "false"}


def get_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, help="file to write")
    return parser.parse_args(argv)


def text(recipe):
    """The configuration for images of bytes as `recipe` crops them."""
    values = {**FIXED, "src_image_size_w": recipe.crop, "src_image_size_h": recipe.crop, "crop": "false"}
    for i, (mean, std) in enumerate(zip(recipe.mean, recipe.std)):
        values[f"min_chn_{i}"] = f"{255 * mean:.6f}"
        values[f"var_reci_chn_{i}"] = f"{1 / (255 * std):.10f}"
    return "aipp_op {\n" + "".join(f"    {name}: {value}\n" for name, value in values.items()) + "}\n"


def read(path):
    """Return {"size": (height, width), "min": [3 floats], "reciprocal": [3 floats]} of a configuration as text() writes it.

    Failure for one that asks for more than the CPU stand-in computes (crops, colour conversion, padding, several inputs).
    """
    try:
        found = re.findall(r"(\w+)\s*:\s*([\w.+-]+)", Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise cli.Failure(f"{path} does not exist", "python3 -m common.ascend.aipp --out writes it") from None
    except UnicodeDecodeError:
        raise cli.Failure(f"{path} is not text", "python3 -m common.ascend.aipp --out writes it") from None
    values = dict(found)
    known = set(FIXED) | {"src_image_size_w", "src_image_size_h", "crop"} | {
        f"{n}_chn_{i}" for n in ("min", "var_reci") for i in range(3)}
    odd = [n for n in values if n not in known] + [n for n, v in {**FIXED, "crop": "false"}.items() if values.get(n, v) != v]
    odd += sorted(known - {"crop", "csc_switch", "rbuv_swap_switch"} - set(values))
    if odd or len(found) != len(values):
        raise cli.Failure(f"{path} asks for more than the CPU stand-in computes, or too little ({', '.join(odd) or 'see it'})",
                          "python3 -m common.ascend.aipp --out writes one that both take")
    try:
        return {"size": (int(values["src_image_size_h"]), int(values["src_image_size_w"])),
                "min": [float(values[f"min_chn_{i}"]) for i in range(3)],
                "reciprocal": [float(values[f"var_reci_chn_{i}"]) for i in range(3)]}
    except ValueError as e:
        raise cli.Failure(f"{path}: {str(e)[:100]}", "python3 -m common.ascend.aipp --out writes numbers there") from None


def normalise(images, conf):
    """uint8 (N, H, W, 3) → float32 (N, 3, H, W), as the operator does it."""
    images = (images.astype(np.float32) - np.float32(conf["min"])) * np.float32(conf["reciprocal"])
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def main():
    args = get_args()
    with cli.whole_file(args.out) as part:
        part.write_text(text(transforms.published(Path.cwd())), encoding="utf-8")
    print(f"wrote {args.out}")


if __name__ == "__main__":
    cli.run(main)
