"""Small ONNX files for the tests of what compiles and runs them."""
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from common.model import facts

SHAPE = (3, 4, 4)


def save_graph(path, nodes, inputs, outputs, weights=(), **about):
    """Write an ONNX of float32 `inputs` and `outputs`, {name: shape}, and `weights`, {name: array};
    `about` are the facts in its metadata."""
    sides = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
              for name, shape in side.items()] for side in (inputs, outputs)]
    constants = [numpy_helper.from_array(array, name) for name, array in dict(weights).items()]
    graph = helper.make_graph(nodes, Path(path).stem, *sides, constants)
    opset = helper.make_opsetid("", 12)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
    facts.write(model, about)
    onnx.save(model, path)


def make_onnx(path, classes=5, batch="n", shape=SHAPE, seed=0, output_batch="n", scale=1.0,
              **about):
    """Write Flatten → Gemm; return (weight, bias), so that numpy can compute what it gives."""
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((int(np.prod(shape)), classes), dtype=np.float32)
    weight *= np.float32(scale)
    bias = rng.standard_normal(classes, dtype=np.float32)
    nodes = [helper.make_node("Flatten", ["input"], ["flat"]),
             helper.make_node("Gemm", ["flat", "w", "b"], ["output"])]
    save_graph(path, nodes, {"input": [batch, *shape]}, {"output": [output_batch, classes]},
               {"w": weight, "b": bias}, **about)
    return weight, bias


def logits(images, weights):
    """What the network of make_onnx() gives for float32 images."""
    return images.reshape(len(images), -1).astype(np.float64) @ weights[0] + weights[1]


def images(count, seed=1, shape=SHAPE):
    """Random float32 images."""
    return np.random.default_rng(seed).standard_normal((count, *shape), dtype=np.float32)
