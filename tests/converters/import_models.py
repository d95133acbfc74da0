"""The same two trained networks, made from the same arrays in every format (used by the importer tests)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

MLP_SIZES = (20, 16, 12, 5)
LENET_SHAPE = (1, 12, 12)


def mlp_arrays(seed: int = 0, sizes: tuple[int, ...] = MLP_SIZES) -> dict[str, np.ndarray]:
    """Return W0, b0, ...; W as (n_out, n_in) float32."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for i, (n_in, n_out) in enumerate(zip(sizes, sizes[1:], strict=False)):
        arrays[f"W{i}"] = (rng.standard_normal((n_out, n_in)) / np.sqrt(n_in)).astype(np.float32)
        arrays[f"b{i}"] = (rng.standard_normal(n_out) / 5).astype(np.float32)
    return arrays


def lenet_arrays(seed: int = 1) -> dict[str, np.ndarray]:
    """Return conv(1->4, 3x3, pad 1), batch norm, ReLU, pool 2, conv(4->6, 3x3), ReLU, pool 2, fc 24->10, ReLU, fc 10->5."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int, fan: int) -> np.ndarray:
        return (rng.standard_normal(shape) / np.sqrt(fan)).astype(np.float32)

    return {
        "conv1.w": normal(4, 1, 3, 3, fan=9),
        "conv1.b": normal(4, fan=25),
        "bn.gamma": (1 + rng.random(4)).astype(np.float32),
        "bn.beta": normal(4, fan=9),
        "bn.mean": normal(4, fan=9),
        "bn.var": (0.5 + rng.random(4)).astype(np.float32),
        "conv2.w": normal(6, 4, 3, 3, fan=36),
        "conv2.b": normal(6, fan=25),
        "fc1.w": normal(10, 24, fan=24),
        "fc1.b": normal(10, fan=25),
        "fc2.w": normal(5, 10, fan=10),
        "fc2.b": normal(5, fan=25),
    }


def onnx_model(nodes, arrays, in_shape, opset=17, batch="batch", out="y", ir_version=8) -> onnx.ModelProto:
    """Return a ModelProto of the nodes with arrays as initialisers; one input x, one output."""
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, *in_shape])],
        [helper.make_tensor_value_info(out, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(a), name) for name, a in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)


def onnx_mlp(arrays: dict[str, np.ndarray], matmul: bool = False, opset: int = 17) -> onnx.ModelProto:
    nodes, h, held = [], "x", {}
    n = len(arrays) // 2
    for i in range(n):
        z = "y" if i == n - 1 else f"z{i}"
        held[f"b{i}"] = arrays[f"b{i}"]
        if matmul:
            held[f"W{i}"] = np.ascontiguousarray(arrays[f"W{i}"].T)
            nodes.append(helper.make_node("MatMul", [h, f"W{i}"], [f"m{i}"], name=f"matmul{i}"))
            nodes.append(helper.make_node("Add", [f"m{i}", f"b{i}"], [z], name=f"add{i}"))
        else:
            held[f"W{i}"] = arrays[f"W{i}"]
            nodes.append(helper.make_node("Gemm", [h, f"W{i}", f"b{i}"], [z], name=f"fc{i}", transB=1))
        if i < n - 1:
            nodes.append(helper.make_node("Relu", [z], [f"h{i}"], name=f"relu{i}"))
            h = f"h{i}"
    return onnx_model(nodes, held, (len(arrays["W0"][0]),), opset)


def onnx_lenet(a: dict[str, np.ndarray], opset: int = 17) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Conv", ["x", "conv1.w", "conv1.b"], ["c1"], name="conv1", pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c1", "bn.gamma", "bn.beta", "bn.mean", "bn.var"], ["n1"], epsilon=1e-3),
        helper.make_node("Relu", ["n1"], ["h1"]),
        helper.make_node("AveragePool", ["h1"], ["p1"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["p1", "conv2.w", "conv2.b"], ["c2"], name="conv2"),
        helper.make_node("Relu", ["c2"], ["h2"]),
        helper.make_node("AveragePool", ["h2"], ["p2"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p2"], ["f"]),
        helper.make_node("Gemm", ["f", "fc1.w", "fc1.b"], ["z3"], name="fc1", transB=1),
        helper.make_node("Relu", ["z3"], ["h3"]),
        helper.make_node("Gemm", ["h3", "fc2.w", "fc2.b"], ["y"], name="fc2", transB=1),
    ]
    return onnx_model(nodes, a, LENET_SHAPE, opset)


def saved(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path
