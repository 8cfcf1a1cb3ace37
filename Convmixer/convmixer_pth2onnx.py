"""ConvMixer-1536/20 checkpoint → ONNX, opset 11, `image` → `class`, dynamic batch.

    python3 convmixer_pth2onnx.py --source convmixer_1536_20_ks9_p7.pth.tar \\
        --target convmixer_1536_20.onnx

The graph is checked against torch before the file gets its name.
"""
import argparse

from common import cli


def get_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default="convmixer_1536_20_ks9_p7.pth.tar",
                        help="PyTorch weights (default: %(default)s)")
    parser.add_argument("--target", default="convmixer_1536_20.onnx",
                        help="ONNX file to write (default: %(default)s)")
    parser.add_argument("--source-train-device", choices=("gpu", "npu"), default="gpu",
                        help="as ModelZoo has it; either kind of checkpoint is recognised")
    parser.add_argument("--opset-version", type=int, choices=range(11, 18), metavar="11…17",
                        help="ONNX operator set (default: OPSET of model.py)")
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

    export.run(model, args.source, args.target, args.opset_version, args.net,
               args.ema)


if __name__ == "__main__":
    cli.run(main)
