"""The peer of benchmarks.e2e: Top-1 as timm's validate.py finds it, torch eager over a DataLoader.
Run in a model folder:

    PYTHONPATH=.:.. python3 -m benchmarks.validate --data /path/to/imagenet --weights w.pth

Nothing of ours is in it but the network of model.py, the list of images and labels, and the
numbers of the recipe.
"""
import argparse

from common.data import dataset


class Images:
    """Images with their labels, under timm's evaluation transform."""

    def __init__(self, images, recipe):
        import timm.data

        self.images = images
        # timm resizes to floor(crop / crop_pct); half a pixel keeps that from being one short.
        self.transform = timm.data.create_transform(
            (3, recipe.crop, recipe.crop), interpolation=recipe.interpolation, mean=recipe.mean,
            std=recipe.std, crop_pct=recipe.crop / (recipe.resize + 0.5),
            crop_mode="center" if recipe.keep_aspect else "squash")

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        from torchvision.datasets.folder import default_loader

        return self.transform(default_loader(self.images[index].path)), self.images[index].label


def get_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder that holds val/")
    parser.add_argument("--weights", required=True, help="checkpoint")
    parser.add_argument("--batch-size", type=int, default=32, help="(default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2,
                        help="processes that decode and resize (default: %(default)s)")
    return parser.parse_args(argv)


def network(weights):
    """The network of model.py with the checkpoint `weights`, as a user of torch loads it."""
    import torch

    import model

    content = torch.load(weights, weights_only=True)
    tensors = content.get("state_dict", content.get("model", content))
    tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    net = model.build()
    net.load_state_dict(model.convert(tensors) if hasattr(model, "convert") else tensors)
    return net, model.RECIPE


def main():
    args = get_args()
    import torch
    from torch.utils.data import DataLoader

    net, recipe = network(args.weights)
    images = Images(dataset.find(args.data).images, recipe)
    good = 0
    with torch.inference_mode():
        for batch, labels in DataLoader(images, args.batch_size, num_workers=args.workers):
            good += int((net(batch).argmax(1) == labels).sum())
    print(f"good={good} total={len(images)}")


if __name__ == "__main__":
    main()
