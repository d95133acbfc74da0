"""The same two trained networks, made from the same arrays in every format (used by the importer tests).

Frameworks are imported by the function that needs them, so that a test skips where its framework is absent.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.mlp import MLP, Dense

MLP_SIZES = (20, 16, 12, 5)
LENET_SHAPE = (1, 12, 12)
# Shapes (channels, height, width) of the values of LeNet's two convolutions.
LENET_MAPS = ((4, 12, 12), (6, 4, 4))
EPSILON = 1e-3

Arrays = dict[str, np.ndarray]


def mlp_arrays(seed: int = 0, sizes: tuple[int, ...] = MLP_SIZES) -> Arrays:
    """Return W0, b0, ...; W as (n_out, n_in) float32."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for i, (n_in, n_out) in enumerate(zip(sizes, sizes[1:], strict=False)):
        arrays[f"W{i}"] = (rng.standard_normal((n_out, n_in)) / np.sqrt(n_in)).astype(np.float32)
        arrays[f"b{i}"] = (rng.standard_normal(n_out) / 5).astype(np.float32)
    return arrays


def expected_mlp(arrays: Arrays) -> MLP:
    """Return the network of W0, b0, ... written down by hand."""
    n = len(arrays) // 2
    return MLP(tuple(Dense(arrays[f"W{i}"], arrays[f"b{i}"], "relu" if i < n - 1 else "identity") for i in range(n)))


def lenet_arrays(seed: int = 1) -> Arrays:
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


def expected_lenet(a: Arrays, x: np.ndarray) -> list[np.ndarray]:
    """Return the values after each of LeNet's layers for x (n, 1, 12, 12), flattened; plain loops in float64."""

    def convolve(v: np.ndarray, w: np.ndarray, b: np.ndarray, pad: int) -> np.ndarray:
        v = np.pad(v.astype(np.float64), ((0, 0), (0, 0), (pad, pad), (pad, pad)))
        rows, columns = v.shape[2] - 2, v.shape[3] - 2
        out = np.zeros((len(v), len(w), rows, columns))
        for i in range(rows):
            for j in range(columns):
                out[:, :, i, j] = np.einsum("ncij,ocij->no", v[:, :, i : i + 3, j : j + 3], w.astype(np.float64)) + b
        return out

    def pool(v: np.ndarray) -> np.ndarray:
        return (v[:, :, 0::2, 0::2] + v[:, :, 1::2, 0::2] + v[:, :, 0::2, 1::2] + v[:, :, 1::2, 1::2]) / 4

    def channel(name: str) -> np.ndarray:
        return a[name].astype(np.float64)[:, None, None]

    z = convolve(x, a["conv1.w"], a["conv1.b"], 1)
    z = (z - channel("bn.mean")) / np.sqrt(channel("bn.var") + EPSILON) * channel("bn.gamma") + channel("bn.beta")
    first = np.maximum(z, 0)
    second = np.maximum(convolve(pool(first), a["conv2.w"], a["conv2.b"], 0), 0)
    flat = pool(second).reshape(len(x), -1)
    third = np.maximum(flat @ a["fc1.w"].T + a["fc1.b"], 0)
    return [v.reshape(len(x), -1) for v in (first, second, third, third @ a["fc2.w"].T + a["fc2.b"])]


# -- ONNX -------------------------------------------------------------------------------------------


def onnx_model(nodes, arrays, in_shape, opset=17, batch="batch", out="y", ir_version=8) -> Any:
    """Return a ModelProto of the nodes with arrays as initialisers; one input x, one output."""
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, *in_shape])],
        [helper.make_tensor_value_info(out, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(a), name) for name, a in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)


def onnx_mlp(arrays: Arrays, matmul: bool = False, opset: int = 17) -> Any:
    from onnx import helper

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


def onnx_lenet(a: Arrays, opset: int = 17) -> Any:
    from onnx import helper

    norm = ["c1", "bn.gamma", "bn.beta", "bn.mean", "bn.var"]
    nodes = [
        helper.make_node("Conv", ["x", "conv1.w", "conv1.b"], ["c1"], name="conv1", pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", norm, ["n1"], epsilon=EPSILON),
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


def saved(model: Any, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


# -- PyTorch ----------------------------------------------------------------------------------------


def torch_mlp(arrays: Arrays, functional: bool = False) -> Any:
    """Return the MLP as an nn.Sequential, or as a module that calls functions."""
    torch = pytest.importorskip("torch")
    n = len(arrays) // 2
    layers = []
    for i in range(n):
        layer = torch.nn.Linear(*arrays[f"W{i}"].shape[::-1])
        _fill(torch, layer, weight=arrays[f"W{i}"], bias=arrays[f"b{i}"])
        layers += [layer] if functional or i == n - 1 else [layer, torch.nn.ReLU()]
    if not functional:
        return torch.nn.Sequential(*layers).eval()

    class Functional(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.ModuleList(layers)

        def forward(self, x: Any) -> Any:
            for layer in self.layers[:-1]:
                x = torch.nn.functional.relu(layer(x))
            return self.layers[-1](x)

    return Functional().eval()


def torch_lenet(a: Arrays) -> Any:
    torch = pytest.importorskip("torch")
    nn = torch.nn
    conv1, norm, conv2 = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4, eps=EPSILON), nn.Conv2d(4, 6, 3)
    fc1, fc2 = nn.Linear(24, 10), nn.Linear(10, 5)
    for layer, name in ((conv1, "conv1"), (conv2, "conv2"), (fc1, "fc1"), (fc2, "fc2")):
        _fill(torch, layer, weight=a[f"{name}.w"], bias=a[f"{name}.b"])
    _fill(torch, norm, weight=a["bn.gamma"], bias=a["bn.beta"], running_mean=a["bn.mean"], running_var=a["bn.var"])

    class LeNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.norm, self.conv2, self.fc1, self.fc2 = conv1, norm, conv2, fc1, fc2

        def forward(self, x: Any) -> Any:
            x = nn.functional.avg_pool2d(torch.relu(self.norm(self.conv1(x))), 2)
            x = nn.functional.avg_pool2d(self.conv2(x).relu(), 2)
            return self.fc2(nn.functional.relu(self.fc1(x.view(x.shape[0], -1))))

    return LeNet().eval()


def _fill(torch: Any, layer: Any, **values: np.ndarray) -> None:
    with torch.no_grad():
        for name, value in values.items():
            getattr(layer, name).copy_(torch.from_numpy(value))


# -- Keras ------------------------------------------------------------------------------------------


def import_keras() -> Any:
    """Return Keras on the back end of PyTorch, or skip."""
    pytest.importorskip("torch")
    os.environ.setdefault("KERAS_BACKEND", "torch")
    return pytest.importorskip("keras")


def keras_mlp(arrays: Arrays) -> Any:
    keras = import_keras()
    n = len(arrays) // 2
    layers = [keras.layers.Dense(len(arrays[f"b{i}"]), activation="relu" if i < n - 1 else None) for i in range(n)]
    model = keras.Sequential([keras.Input((arrays["W0"].shape[1],)), *layers])
    for i, layer in enumerate(layers):
        layer.set_weights([arrays[f"W{i}"].T, arrays[f"b{i}"]])
    return model


def keras_lenet(a: Arrays, channels_first: bool = False) -> Any:
    """Return LeNet as Keras holds it: channels last, and the dense kernel in that order."""
    keras = import_keras()
    k = keras.layers
    form = {"data_format": "channels_first"} if channels_first else {}
    x = keras.Input(LENET_SHAPE if channels_first else (*LENET_SHAPE[1:], LENET_SHAPE[0]))
    conv1, conv2 = k.Conv2D(4, 3, padding="same", **form), k.Conv2D(6, 3, activation="relu", **form)
    norm, fc1, fc2 = k.BatchNormalization(axis=1 if channels_first else -1, epsilon=EPSILON), k.Dense(10), k.Dense(5)
    h = k.AveragePooling2D(2, **form)(keras.ops.relu(norm(conv1(x))))
    h = k.Flatten()(k.AveragePooling2D(2, **form)(conv2(h)))
    model = keras.Model(x, fc2(k.ReLU()(fc1(h))))
    for layer, name in ((conv1, "conv1"), (conv2, "conv2")):
        layer.set_weights([a[f"{name}.w"].transpose(2, 3, 1, 0), a[f"{name}.b"]])
    norm.set_weights([a[f"bn.{name}"] for name in ("gamma", "beta", "mean", "var")])
    dense = a["fc1.w"].reshape(10, 6, 2, 2)
    dense = dense if channels_first else dense.transpose(0, 2, 3, 1)
    fc1.set_weights([dense.reshape(10, 24).T, a["fc1.b"]])
    fc2.set_weights([a["fc2.w"].T, a["fc2.b"]])
    return model


# -- scikit-learn -----------------------------------------------------------------------------------


def sklearn_mlp(arrays: Arrays, regressor: bool = False) -> Any:
    """Return a fitted estimator whose weights have then been replaced by ours."""
    pytest.importorskip("sklearn")
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    rng = np.random.default_rng(5)
    n = len(arrays) // 2
    x, n_out = rng.standard_normal((30, arrays["W0"].shape[1])), len(arrays[f"b{n - 1}"])
    hidden = tuple(len(arrays[f"b{i}"]) for i in range(n - 1))
    if regressor:
        estimator = MLPRegressor(hidden_layer_sizes=hidden, max_iter=1, solver="sgd").partial_fit(x, rng.standard_normal((30, n_out)))
    else:
        estimator = MLPClassifier(hidden, max_iter=1, solver="sgd").partial_fit(x, np.arange(30) % n_out, classes=np.arange(n_out))
    estimator.coefs_ = [arrays[f"W{i}"].T.astype(np.float64) for i in range(n)]
    estimator.intercepts_ = [arrays[f"b{i}"].astype(np.float64) for i in range(n)]
    return estimator
