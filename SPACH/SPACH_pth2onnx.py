"""SPACH-Conv-MS-S checkpoint → ONNX, opset 11, `input` → `output`, dynamic batch.

    python3 SPACH_pth2onnx.py --input-path spach_ms_conv_s.pth --output-path spach_ms_conv_s.onnx

The graph is checked against torch before the file gets its name.
"""
import argparse

from common import cli


def get_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    # ModelZoo's page explains --pth_file and --onnx_file, its script has the others.
    parser.add_argument("--input-path", "--pth_file", default="spach_ms_conv_s.pth",
                        help="PyTorch weights (default: %(default)s)")
    parser.add_argument("--output-path", "--onnx_file", default="spach_ms_conv_s.onnx",
                        help="ONNX file to write (default: %(default)s)")
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

    export.run(model, args.input_path, args.output_path, args.opset_version, args.net,
               args.ema)


if __name__ == "__main__":
    cli.run(main)
