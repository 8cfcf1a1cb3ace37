"""Images that int8's value ranges are taken from: PRECISION=int8, CALIB=folder."""
import json

from common import cli
from common.cpu import graph
from common.data import dataset, transforms

MOST = 300  # images, spread evenly over the folder; NNCF's own default


def samples(onnx_path, model, metadata, folder, aipp=None):
    """Return ([one input an image], what is recorded of them) for the ONNX `model` with this `metadata`.

    An input is float32 (1, 3, H, W) by the preprocessing that the ONNX names, or uint8 (1, H, W, 3) with `aipp`. Failure
    without a folder of images, without that metadata, and when the graph's batch is fixed.
    """
    if not folder:
        raise cli.Failure("PRECISION=int8 needs images to calibrate with",
                          "give training images: CALIB=/path/to/images (atc: HOST_CALIB=)")
    if "preprocessing" not in metadata:
        raise cli.Failure(f"{onnx_path} does not say how its images are prepared", "export it again (make onnx)")
    if any(dims[0] is not None for dims in graph.inputs(model).values()):
        raise cli.Failure(f"{onnx_path}: int8 needs an open batch", "export it with a dynamic batch")
    recipe = transforms.Recipe(**json.loads(metadata["preprocessing"]))
    found = dataset.find(folder)
    chosen = found.subset(MOST).images
    inputs = []
    for image in cli.progress(chosen, "calibration images", unit="image"):
        try:
            picture = transforms.load(image.path)
        except transforms.UNREADABLE as e:
            raise cli.Failure(f"{image.path} cannot be read ({e})", "take it out of CALIB's folder") from None
        inputs.append((recipe.pixels(picture) if aipp else recipe(picture))[None])
    return inputs, {"folder": str(folder), "images": len(chosen), "of": len(found.images), "demo": found.demo}
