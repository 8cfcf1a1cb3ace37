"""What CANN's tools and their stand-ins both take: --input_shape and the AIPP configuration.

    python3 -m common.toolchain --out build/aipp.cfg          for the model of this folder

writes what atc's --insert_op_conf takes: the offline model then takes bytes, a quarter of the disk
and of the copy to the NPU, and normalises them itself, from the constants that the transforms use:

    out = (byte - min_chn) · var_reci_chn    with min_chn = 255·mean, var_reci_chn = 1/(255·std)

(CANN, atc, AIPP, normalization_config). An NPU holds both in float16. Their rounding alone shifts
the normalised input by up to 1.1e-3; with float16 after each step it is 2.8e-3. The CPU stand-in
computes in float32.
"""
from __future__ import annotations

import argparse
import re
from pathlib import Path

from common import cli, provenance
from common.data import recipe

# Largest error of what a CPU computes in a precision, of the scale of the outputs. Engines that
# compute in float32 stay below 1e-5, bfloat16 gives 1e-2. What float16 and int8 cost is for the
# accuracy to say, here only a broken graph is caught.
TOLERANCE = {"f32": 1e-3, "bf16": 5e-2, "fp16": 0.5, "int8": 0.5}
DIMENSION = r"-?\d{1,9}(~\d{1,9})?"
FIXED = {
    "aipp_mode": "static",
    "input_format": "RGB888_U8",
    "csc_switch": "false",
    "rbuv_swap_switch": "false",
    "crop": "false",
}
OPTIONAL = {"csc_switch", "rbuv_swap_switch", "crop"}  # false where they are absent
SIZE = ("src_image_size_h", "src_image_size_w")
MIN = ("min_chn_0", "min_chn_1", "min_chn_2")
RECIPROCAL = ("var_reci_chn_0", "var_reci_chn_1", "var_reci_chn_2")
WRITE_ONE = "python3 -m common.toolchain --out writes one that both toolchains take"


def on_npu(model, record):
    """Whether the offline model at the path `model`, with its record ({} without one), is an
    NPU's."""
    return record.get("engine") == "ascend" or str(model).endswith(".om")


def parse_shapes(text):
    """--input_shape "name:n,c,h,w;other:n,m" → {name: [dims]}; an open dimension (-1, 1~8) is None.

    Usage when it is no such text.
    """
    shapes = {}
    for part in filter(None, (p.strip() for p in text.split(";"))):
        name, _, dims = part.rpartition(":")
        words = [d.strip() for d in dims.split(",")]
        if not name or not all(re.fullmatch(DIMENSION, d) for d in words):
            raise cli.Usage(f"--input_shape={text} is not 'name:n,c,h,w' (E10002)",
                            "quote it, and check its variables")
        shapes[name] = [int(d) if d.isdecimal() else None for d in words]
    return shapes


def parse_gears(text):
    """--dynamic_batch_size "1,4,8" → [1, 4, 8]; Usage when it is no list of 2 to 100 batches."""
    words = [word.strip() for word in text.split(",")]
    good = all(word.isdecimal() and int(word) for word in words) and len(set(words)) == len(words)
    if not good or not 2 <= len(words) <= 100:
        raise cli.Usage(f"--dynamic_batch_size={text} is no list of 2 to 100 batches (E10001)",
                        'write it as "1,4,8"')
    return sorted(map(int, words))


def aipp_text(images):
    """The AIPP configuration for bytes of images that a recipe.Recipe crops."""
    values = {**FIXED, **dict.fromkeys(SIZE, images.crop)}
    for name, mean in zip(MIN, images.mean):
        values[name] = f"{255 * mean:.6f}"
    for name, std in zip(RECIPROCAL, images.std):
        values[name] = f"{1 / (255 * std):.10f}"
    lines = "".join(f"    {name}: {value}\n" for name, value in values.items())
    return "aipp_op {\n" + lines + "}\n"


def read_aipp(path):
    """Read a configuration as aipp_text() writes it.

    Returns {"size": (height, width), "min": [3 floats], "reciprocal": [3 floats]}. Failure for one
    that asks for more than is computed here (crops, colour conversion, padding, several inputs).
    """
    if not Path(path).is_file():
        raise cli.Failure(f"{path} does not exist", WRITE_ONE)
    text = Path(path).read_text(encoding="utf-8", errors="replace")
    found = re.findall(r"(\w+)\s*:\s*([\w.+-]+)", text)
    values = dict(found)
    known = {*FIXED, *SIZE, *MIN, *RECIPROCAL}
    odd = [name for name in values if name not in known]
    odd += [name for name, value in FIXED.items() if values.get(name, value) != value]
    odd += sorted(known - OPTIONAL - set(values))
    if odd or len(found) != len(values):
        raise cli.Failure(f"{path} asks for more than the CPU stand-in computes, or too little "
                          f"({', '.join(odd) or 'a field is there twice'})", WRITE_ONE)
    try:
        return {"size": tuple(int(values[name]) for name in SIZE),
                "min": [float(values[name]) for name in MIN],
                "reciprocal": [float(values[name]) for name in RECIPROCAL]}
    except ValueError as e:
        raise cli.Failure(f"{path}: {cli.short(str(e))}", WRITE_ONE) from None


def normalise(images, conf):
    """uint8 (N, H, W, 3) → float32 (N, 3, H, W) as AIPP does it; `conf` is of read_aipp()."""
    import numpy as np

    centred = images.astype(np.float32) - np.float32(conf["min"])
    scaled = centred * np.float32(conf["reciprocal"])
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


def get_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, help="AIPP configuration to write")
    return parser.parse_args(argv)


def main():
    args = get_args()
    with cli.whole_file(args.out) as part:
        part.write_text(aipp_text(recipe.published(Path())), encoding="utf-8")
    code = ["common/toolchain.py", "common/data/recipe.py"]
    provenance.record(args.out, ["published.json", *code])
    print(f"wrote {args.out}")


if __name__ == "__main__":
    cli.run(main)
