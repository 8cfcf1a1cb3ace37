"""Twins-SVT-L checkpoint → ONNX, opset 11, `input` → `output`, dynamic batch.

    python3 Twins_pth2onnx.py --resume alt_gvt_large.pth --output alt_gvt_large.onnx

The graph is checked against torch before the file gets its name.
"""
import argparse

from common import cli


def get_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resume", default="alt_gvt_large.pth",
                        help="PyTorch weights (default: %(default)s)")
    parser.add_argument("--output", default="alt_gvt_large.onnx",
                        help="ONNX file to write (default: %(default)s)")
    # ModelZoo's; dropout is off in a network that infers.
    parser.add_argument("--drop", type=float, default=0.0, metavar="PCT",
                        help="dropout rate, without effect here (default: %(default)s)")
    parser.add_argument("--drop-path", type=float, default=0.1, metavar="PCT",
                        help="drop path rate, without effect here (default: %(default)s)")
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

    export.run(model, args.resume, args.output, args.opset_version, args.net,
               args.ema)


if __name__ == "__main__":
    cli.run(main)
