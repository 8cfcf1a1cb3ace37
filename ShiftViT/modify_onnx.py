"""Break the fusion of ShiftViT's last normalisation, which loses accuracy in float16 on Ascend.

    python3 modify_onnx.py -i shiftvit/shiftvit1.onnx -o shiftvit/shiftvit2.onnx

A Pow(x, 1) goes before the Mul of Mul → Add → GlobalAveragePool → Flatten → Gemm, so that atc's GroupNormFusionPass no longer
sees its pattern there. The numbers stay as they are. A graph without the pattern is an error; one that has the Pow
already is written unchanged.
"""
import argparse

import numpy as np

from common import cli

PATTERN = ("Gemm", "Flatten", "GlobalAveragePool", "Add", "Mul")


def get_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    # ModelZoo's page says --input-onnx-path, its script --input-onnx.
    parser.add_argument("-i", "--input-onnx-path", "--input-onnx", required=True, help="ONNX file to read")
    parser.add_argument("-o", "--output-onnx-path", "--output-onnx", required=True, help="ONNX file to write")
    return parser.parse_args(argv)


def last_norm(graph):
    """Return (Mul node, index of its data input) of the last norm's scale, or None when the pattern is not there."""
    made_by = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        chain = [node]
        while chain[-1].op_type == PATTERN[len(chain) - 1] and len(chain) < len(PATTERN):
            # The data input is the one that a node makes; the other of Mul and Add is a constant.
            before = [made_by[name] for name in chain[-1].input if name in made_by]
            if len(before) != 1:
                break
            chain.append(before[0])
        if tuple(n.op_type for n in chain) == PATTERN:
            data = [i for i, name in enumerate(chain[-1].input) if name in made_by]
            if len(data) == 1:
                return chain[-1], data[0]
    return None


def modify(model):
    """Insert the Pow into `model` (in place); False when it is there already. Failure when the pattern is not found."""
    from onnx import helper, numpy_helper

    found = last_norm(model.graph)
    if found is None:
        raise cli.Failure(f"pattern {' → '.join(reversed(PATTERN))} not found", "give the ONNX file that "
                          "shiftvit_pytorch2onnx.py wrote")
    mul, index = found
    source = mul.input[index]
    if any(node.op_type == "Pow" and source in node.output for node in model.graph.node):
        return False
    model.graph.initializer.append(numpy_helper.from_array(np.ones(1, np.float32), "Pow_ini"))
    pow_node = helper.make_node("Pow", [source, "Pow_ini"], ["Pow_new_output"], name="Pow_new")
    model.graph.node.insert(list(model.graph.node).index(mul), pow_node)
    mul.input[index] = "Pow_new_output"
    return True


def main():
    args = get_args()
    import onnx  # not at the top: --help needs none of it

    try:
        model = onnx.load(args.input_onnx_path)
    except FileNotFoundError:
        raise cli.Failure(f"{args.input_onnx_path} does not exist", "export it with shiftvit_pytorch2onnx.py") from None
    except Exception as e:  # protobuf's DecodeError, whose module differs between releases
        raise cli.Failure(f"{args.input_onnx_path} is not an ONNX file ({e})", "export it again") from None
    changed = modify(model)
    onnx.checker.check_model(model)
    with cli.whole_file(args.output_onnx_path) as part:
        onnx.save(model, part)
    print(f"wrote {args.output_onnx_path} ({'Pow before the last norm' if changed else 'had its Pow already'})")


if __name__ == "__main__":
    cli.run(main)
