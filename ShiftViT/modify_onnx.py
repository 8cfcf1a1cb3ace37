"""Break the fusion of ShiftViT's last normalisation, which loses accuracy in float16 on Ascend.

    python3 modify_onnx.py -i shiftvit/shiftvit1.onnx -o shiftvit/shiftvit2.onnx \\
        -c shiftvit/shiftvit_tiny_light.pth

A Pow(x, 1) goes before the Mul of Mul → Add → GlobalAveragePool → Flatten → Gemm, so that atc's
GroupNormFusionPass no longer finds its pattern there. The numbers stay as they are; with -c that is
checked against torch before the file gets its name. A graph without the pattern is an error; one
that has the Pow already is written unchanged.
"""
import argparse

import numpy as np

from common import cli, provenance

PATTERN = ("Gemm", "Flatten", "GlobalAveragePool", "Add", "Mul")


def get_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    # ModelZoo's page says --input-onnx-path, its script --input-onnx.
    parser.add_argument("-i", "--input-onnx-path", "--input-onnx", required=True,
                        help="ONNX file to read")
    parser.add_argument("-o", "--output-onnx-path", "--output-onnx", required=True,
                        help="ONNX file to write")
    parser.add_argument("-c", "--checkpoint-path", "--ckpt-path",
                        help="PyTorch weights that the result is compared with")
    return parser.parse_args(argv)


def before(node, made_by):
    """The node that makes the data input of `node`, and which input that is; (None, None) unless
    exactly one input is made by a node: the other of Mul and Add is a constant."""
    data = [i for i, name in enumerate(node.input) if name in made_by]
    return (made_by[node.input[data[0]]], data[0]) if len(data) == 1 else (None, None)


def last_norm(graph):
    """Return (Mul node, index of its data input) of the last norm's scale; None without it."""
    made_by = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        for wanted in PATTERN[:-1]:
            if node is None or node.op_type != wanted:
                break
            node = before(node, made_by)[0]
        else:
            if node is not None and node.op_type == PATTERN[-1] and before(node, made_by)[0]:
                return node, before(node, made_by)[1]
    return None


def modify(model):
    """Insert the Pow into `model` (in place); False when it is there; Failure without the norm."""
    from onnx import helper, numpy_helper

    found = last_norm(model.graph)
    if found is None:
        raise cli.Failure(f"pattern {' → '.join(reversed(PATTERN))} not found",
                          "give the ONNX file that shiftvit_pytorch2onnx.py wrote")
    mul, index = found
    source = mul.input[index]
    if any(node.op_type == "Pow" and source in node.output for node in model.graph.node):
        return False
    model.graph.initializer.append(numpy_helper.from_array(np.ones(1, np.float32), "Pow_ini"))
    power = helper.make_node("Pow", [source, "Pow_ini"], ["Pow_new_output"], name="Pow_new")
    model.graph.node.insert(list(model.graph.node).index(mul), power)
    mul.input[index] = "Pow_new_output"
    return True


def read(path):
    """The ONNX in `path`; Failure when it is absent or no ONNX."""
    import onnx

    try:
        return onnx.load(path)
    except FileNotFoundError:
        raise cli.Failure(f"{path} does not exist",
                          "export it with shiftvit_pytorch2onnx.py") from None
    except Exception as e:  # protobuf's DecodeError, whose module differs between releases
        raise cli.Failure(f"{path} is not an ONNX file ({e})", "export it again") from None


def compare(onnx_file, weights, about):
    """Hold the graph against torch, as the export does; `about`: the facts of the
    ONNX. Returns the files that this depends on."""
    import model
    from common.model import checkpoint, export

    ema = about.get("weights_key") not in checkpoint.RAW
    module, _ = checkpoint.network(model, weights, about.get("net", "bundled"), ema)
    images, wanted = export.reference(module, model.RECIPE.crop)
    export.check(onnx_file, model, images, wanted, lambda: module)
    return [weights, *export.code(model, module)]


def main():
    args = get_args()
    import onnx  # --help does without it

    from common.model import facts

    graph = read(args.input_onnx_path)
    about = facts.read(graph)
    changed = modify(graph)
    onnx.checker.check_model(graph)
    inputs = [args.input_onnx_path, facts.code_path(__file__)]
    with cli.whole_file(args.output_onnx_path) as part:
        onnx.save(graph, part)
        if args.checkpoint_path:
            inputs += compare(part, args.checkpoint_path, about)
    provenance.record(args.output_onnx_path, inputs, **about)
    what = "Pow before the last norm" if changed else "had its Pow already"
    print(f"wrote {args.output_onnx_path} ({what})")


if __name__ == "__main__":
    cli.run(main)
