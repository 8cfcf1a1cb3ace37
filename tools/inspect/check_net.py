"""Compare the bundled network with the authors' own, which `make source` has cloned: the same
parameters, the same outputs. Run from a model's folder:

    python3 -m tools.inspect.check_net        (make check-net)
"""
import argparse
import sys
import zlib

from common import cli

TOLERANCE = 1e-5  # on logits of about 1


def seeded(network):
    """A state_dict for `network`, each tensor drawn from a generator that its name seeds, so
    that their order does not matter.

    Weights have a gain a little above 1 and norms are near 1 and 0: logits are of order 1, and
    the input and every tensor matter to them.
    """
    import torch

    drawn = {}
    for name, tensor in network.state_dict().items():
        if not tensor.is_floating_point():
            drawn[name] = tensor.clone()  # BatchNorm's counters
            continue
        seed = torch.Generator().manual_seed(zlib.crc32(name.encode()))
        noise = torch.randn(tensor.shape, generator=seed)
        if name.endswith("running_var"):
            drawn[name] = 0.8 + 0.2 * noise.abs()
        elif tensor.ndim == 1:
            drawn[name] = 0.1 * noise + float(name.endswith("weight"))
        else:
            drawn[name] = noise * (1.1 / tensor[0].numel()) ** 0.5
    return drawn


def images(count=2):
    """Random input, float32 (count, 3, 224, 224); the same every time."""
    import torch

    return torch.randn((count, 3, 224, 224), generator=torch.Generator().manual_seed(0))


def layout(network):
    """Names and shapes of all tensors."""
    return {f"{name} {tuple(tensor.shape)}" for name, tensor in network.state_dict().items()}


def main():
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    import torch

    sys.path.insert(0, "")  # the folder's model.py
    import model

    ours, theirs = model.build(), model.build("upstream")
    odd = layout(ours) ^ layout(theirs)
    if odd:
        raise cli.Failure(f"model.py and the authors' network differ in {len(odd)} tensors: "
                          f"{cli.some(sorted(odd), 6)}", "is the clone at the pinned commit?")
    weights, logits = seeded(theirs), []
    for network in (ours, theirs):
        network.load_state_dict(weights, strict=True)
        with torch.inference_mode():
            logits.append(network(images()))
    error = float((logits[0] - logits[1]).abs().max())
    if not error <= TOLERANCE:
        raise cli.Failure(f"model.py and the authors' network differ by {error:.1e}, over "
                          f"{TOLERANCE:g}", "fix model.py, or the patch of the clone")
    print(f"{model.NAME}: {len(weights)} tensors alike, max abs difference {error:.1e} at batch "
          f"{len(logits[0])}, logits up to {float(logits[1].abs().max()):.1f}")


if __name__ == "__main__":
    cli.run(main)
