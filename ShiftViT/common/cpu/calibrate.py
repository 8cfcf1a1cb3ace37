"""Images that int8's value ranges are taken from: PRECISION=int8, CALIB=folder."""
from common import cli
from common.cpu import graph
from common.data import dataset, transforms

MOST = 300  # images, spread evenly over the folder; NNCF's own default
# All of the folder is hashed for the record, and looked at again by every make.
LARGEST = 10_000


def samples(onnx_path, model, about, folder, aipp=None):
    """Return ([one input for each image], what is recorded of them) for an ONNX.

    `about` are the ONNX's facts. An input is float32 (1, 3, H, W) by the preprocessing that they
    name, or uint8 (1, H, W, 3) with `aipp`. Failure without a folder of readable images, without
    that preprocessing, and when the graph's batch is fixed.
    """
    if not folder:
        raise cli.Failure("PRECISION=int8 needs images to calibrate with",
                          "give training images: CALIB=/path/to/images (atc: HOST_CALIB=)")
    if "preprocessing" not in about:
        raise cli.Failure(f"{onnx_path} does not say how its images are prepared",
                          "export it again (make onnx)")
    if not graph.is_open(model):
        raise cli.Failure(f"{onnx_path}: int8 needs an open batch",
                          "export it with a dynamic batch")
    recipe = transforms.Recipe(**about["preprocessing"])
    prepare = recipe.pixels if aipp else recipe
    found = dataset.find(folder, labelled=False)
    if len(found.images) > LARGEST:
        raise cli.Failure(f"CALIB={folder} holds {len(found.images)} images",
                          f"copy some into a folder of their own; {MOST} are enough")
    chosen = found.subset(MOST).images
    inputs, bad = [], []
    for image in cli.progress(chosen, "calibration images", unit="image"):
        try:
            inputs.append(prepare(transforms.load(image.path))[None])
        except transforms.BadImage as e:
            bad.append(f"{image.path} {e}")
    if bad:
        raise cli.Failure(f"{len(bad)} images cannot be read: {cli.some(bad)}",
                          "take them out of CALIB's folder")
    about = {"folder": str(folder), "images": len(chosen), "of": len(found.images)}
    return inputs, {**about, "demo": found.demo}
