"""ShiftViT-T/light checkpoint → ONNX, opset 12, `input` → `output`, dynamic batch.

    python3 shiftvit_pytorch2onnx.py -c shiftvit/shiftvit_tiny_light.pth -o shiftvit/shiftvit1.onnx

The graph is checked against torch before the file gets its name.
"""
import argparse

from common import cli


def get_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    # ModelZoo's page says --checkpoint-path, its script --ckpt-path.
    parser.add_argument("-c", "--checkpoint-path", "--ckpt-path", required=True,
                        help="PyTorch weights")
    parser.add_argument("-o", "--onnx-path", required=True, help="ONNX file to write")
    parser.add_argument("-v", "--opset-version", type=int, choices=range(11, 18),
                        metavar="11…17", help="ONNX operator set (default: OPSET of model.py)")
    parser.add_argument("--net", choices=("bundled", "upstream"), default="bundled",
                        help="our network code, or the authors' that `make source` clones "
                             "(default: %(default)s)")
    parser.add_argument("--no-ema", dest="ema", action="store_false",
                        help="of a checkpoint that holds both, the raw weights, not the averaged")
    return parser.parse_args(argv)


def main():
    args = get_args()
    # Imported after the arguments: torch takes seconds, and --help needs none of it.
    import model
    from common.model import export

    export.run(model, args.checkpoint_path, args.onnx_path, args.opset_version, args.net,
               args.ema)


if __name__ == "__main__":
    cli.run(main)
