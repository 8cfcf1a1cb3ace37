"""spnasnet_100 checkpoint → ONNX, opset 11, `actual_input_1` → `class`, dynamic batch.

    python3 pthtar2onnx.py model_best.pth.tar spnasnet_100.onnx

The graph is checked against torch before the file gets its name.
"""
import argparse

from common import cli


def get_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", metavar="IN", help="PyTorch weights (.pth.tar or .pth)")
    parser.add_argument("output", metavar="OUT", help="ONNX file to write")
    parser.add_argument("-v", "--opset-version", type=int, choices=range(11, 18),
                        metavar="11…17", help="ONNX operator set (default: OPSET of model.py)")
    parser.add_argument("--net", choices=("bundled", "upstream"), default="bundled",
                        help="bundled, which is timm's own; there is no other")
    parser.add_argument("--no-ema", dest="ema", action="store_false",
                        help="of a checkpoint that holds both, the raw weights, not the averaged")
    return parser.parse_args(argv)


def main():
    args = get_args()
    # Imported after the arguments: torch takes seconds, and --help needs none of it.
    import model
    from common.model import export

    export.run(model, args.input, args.output, args.opset_version, args.net,
               args.ema)


if __name__ == "__main__":
    cli.run(main)
