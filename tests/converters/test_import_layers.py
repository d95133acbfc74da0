"""Each operation of each format, compared with the framework itself by the importer's own check, and with a second look at the result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import import_models as models
import numpy as np
import pytest

import converters
from converters.importers import LoadOptions
from converters.mlp import MLP

RNG = np.random.default_rng(11)


def normal(*shape: int) -> np.ndarray:
    return (RNG.standard_normal(shape) / 2).astype(np.float32)


def judged(mlp: MLP, unseen: int = 0) -> MLP:
    """Return the network after asserting that every layer of it was compared with its source, but for ``unseen`` ones."""
    found = mlp.info["verification"]
    assert found["samples"] >= 16
    assert len(found["largest_difference"]) == len(mlp.layers) - unseen, found
    return mlp


# -- ONNX -------------------------------------------------------------------------------------------

onnx = pytest.importorskip("onnx")
helper = onnx.helper
node = helper.make_node

IMAGE = (2, 6, 6)
# name -> (shape of a sample, nodes between x and y, weights, widths of the loaded network)
ONNX: dict[str, tuple[tuple[int, ...], list[Any], dict[str, np.ndarray], tuple[int, ...]]] = {
    "Clip with inputs": (
        (4,),
        [
            node("Gemm", ["x", "w", "b"], ["z"], transB=1),
            node("Clip", ["z", "lo", "hi"], ["h"]),
            node("MatMul", ["h", "v"], ["y"]),
        ],
        {"w": normal(5, 4), "b": normal(5), "v": normal(5, 3), "lo": np.float32(0), "hi": np.float32(0.5)},
        (4, 5, 3),
    ),
    "Clip without an upper limit": (
        (4,),
        [node("Gemm", ["x", "w"], ["z"]), node("Clip", ["z", "lo"], ["y"])],
        {"w": normal(4, 5), "lo": np.float32(0)},
        (4, 5),
    ),
    "Gemm with alpha and beta": (
        (4,),
        [node("Gemm", ["x", "w", "b"], ["y"], alpha=0.5, beta=2.0)],
        {"w": normal(4, 3), "b": normal(1, 3)},
        (4, 3),
    ),
    "Conv with groups, strides and dilations": (
        IMAGE,
        [
            node("Conv", ["x", "w"], ["c"], group=2, strides=[2, 1], dilations=[1, 2], pads=[1, 0, 0, 1]),
            node("Relu", ["c"], ["h"]),
            node("Flatten", ["h"], ["f"]),
            node("Gemm", ["f", "v"], ["y"]),
        ],
        {"w": normal(4, 1, 3, 2), "v": normal(4 * 3 * 5, 3)},
        (72, 60, 3),
    ),
    "Conv with auto_pad": (
        IMAGE,
        [node("Conv", ["x", "w"], ["c"], auto_pad="SAME_LOWER", strides=[2, 2]), node("Relu", ["c"], ["y"])],
        {"w": normal(3, 2, 4, 3)},
        (72, 27),
    ),
    "Conv over one axis": ((2, 7), [node("Conv", ["x", "w", "b"], ["y"])], {"w": normal(3, 2, 3), "b": normal(3)}, (14, 15)),
    "AveragePool with padding": (
        IMAGE,
        [
            node("AveragePool", ["x"], ["p"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
            node("Flatten", ["p"], ["f"]),
            node("Gemm", ["f", "v"], ["y"]),
        ],
        {"v": normal(18, 3)},
        (72, 3),
    ),
    "AveragePool that counts its padding": (
        IMAGE,
        [node("AveragePool", ["x"], ["y"], kernel_shape=[2, 2], pads=[1, 0, 1, 0], count_include_pad=1)],
        {},
        (72, 2 * 7 * 5),
    ),
    "GlobalAveragePool": (
        IMAGE,
        [
            node("Conv", ["x", "w"], ["c"]),
            node("Relu", ["c"], ["h"]),
            node("GlobalAveragePool", ["h"], ["p"]),
            node("Flatten", ["p"], ["f"]),
            node("Gemm", ["f", "v"], ["y"]),
        ],
        {"w": normal(3, 2, 3, 3), "v": normal(3, 4)},
        (72, 48, 4),
    ),
    "Reshape and Transpose": (
        (2, 3, 4),
        [
            node("Transpose", ["x"], ["t"], perm=[0, 2, 3, 1]),
            node("Reshape", ["t", "shape"], ["r"]),
            node("Gemm", ["r", "v"], ["y"]),
        ],
        {"shape": np.array([0, -1]), "v": normal(24, 3)},
        (24, 3),
    ),
    "residual": (
        (4,),
        [
            node("Gemm", ["x", "w"], ["z"]),
            node("Relu", ["z"], ["h"]),
            node("Gemm", ["h", "v"], ["u"]),
            node("Add", ["u", "x"], ["s"]),
            node("Relu", ["s"], ["r"]),
            node("Gemm", ["r", "w"], ["y"]),
        ],
        {"w": normal(4, 4), "v": normal(4, 4)},
        (4, 4, 4, 4),
    ),
    "Dropout, Identity, Cast, Softmax": (
        (4,),
        [
            node("Dropout", ["x"], ["d"]),
            node("Identity", ["d"], ["i"]),
            node("Cast", ["i"], ["c"], to=1),
            node("Gemm", ["c", "w"], ["z"]),
            node("Softmax", ["z"], ["y"], axis=1),
        ],
        {"w": normal(4, 3)},
        (4, 3),
    ),
    "LogSoftmax": ((4,), [node("Gemm", ["x", "w"], ["z"]), node("LogSoftmax", ["z"], ["y"], axis=1)], {"w": normal(4, 3)}, (4, 3)),
    "input scaling": (
        IMAGE,
        [
            node("Sub", ["x", "mean"], ["a"]),
            node("Div", ["a", "deviation"], ["b"]),
            node("Mul", ["b", "half"], ["c"]),
            node("Conv", ["c", "w"], ["z"], pads=[1, 1, 1, 1]),
            node("Relu", ["z"], ["y"]),
        ],
        {
            "mean": np.array([0.4, 0.5], np.float32).reshape(1, 2, 1, 1),
            "deviation": np.array([0.2, 0.3], np.float32).reshape(2, 1, 1),
            "half": np.float32(0.5),
            "w": normal(3, 2, 3, 3),
        },
        (72, 108),
    ),
    "Relu of Relu": (
        (4,),
        [
            node("Gemm", ["x", "w"], ["z"]),
            node("Relu", ["z"], ["h"]),
            node("Clip", ["h", "lo", "hi"], ["i"]),
            node("Gemm", ["i", "w"], ["y"]),
        ],
        {"w": normal(4, 4), "lo": np.float32(0), "hi": np.float32(6)},
        (4, 4, 4),
    ),
    "MatMul over positions": ((3, 4), [node("MatMul", ["x", "w"], ["y"])], {"w": normal(4, 2)}, (12, 6)),
    "ReduceMean": (
        (3, 4),
        [node("ReduceMean", ["x", "axes"], ["m"], keepdims=0), node("Gemm", ["m", "w"], ["y"])],
        {"axes": np.array([1]), "w": normal(4, 2)},
        (12, 2),
    ),
    "Concat of branches": (
        (4,),
        [
            node("Gemm", ["x", "w"], ["a"]),
            node("Relu", ["a"], ["ra"]),
            node("Gemm", ["x", "v"], ["b"]),
            node("Relu", ["b"], ["rb"]),
            node("Concat", ["ra", "rb"], ["c"], axis=1),
            node("Gemm", ["c", "u"], ["y"]),
        ],
        {"w": normal(4, 3), "v": normal(4, 2), "u": normal(5, 2)},
        (4, 3, 2, 2),
    ),
    "Pad, Squeeze, Unsqueeze": (
        (1, 5),
        [
            node("Pad", ["x", "pads"], ["p"]),
            node("Unsqueeze", ["p", "two"], ["u"]),
            node("Squeeze", ["u", "axes"], ["s"]),
            node("Gemm", ["s", "w"], ["y"]),
        ],
        {"pads": np.array([0, 0, 1, 0, 0, 2]), "two": np.array([2]), "axes": np.array([1, 2]), "w": normal(8, 3)},
        (5, 3),
    ),
    "Constant nodes": (
        (4,),
        [
            node("Constant", [], ["w"], value=onnx.numpy_helper.from_array(normal(4, 3))),
            node("Constant", [], ["b"], value_floats=[0.25, -0.5, 1.0]),
            node("MatMul", ["x", "w"], ["m"]),
            node("Add", ["m", "b"], ["y"]),
        ],
        {},
        (4, 3),
    ),
    "shape computed from the batch": (
        (2, 3),
        [
            node("Shape", ["x"], ["s"]),
            node("Gather", ["s", "zero"], ["n"], axis=0),
            node("Unsqueeze", ["n", "axes"], ["m"]),
            node("Concat", ["m", "rest"], ["t"], axis=0),
            node("Reshape", ["x", "t"], ["r"]),
            node("Gemm", ["r", "w"], ["y"]),
        ],
        {"zero": np.array(0), "axes": np.array([0]), "rest": np.array([6]), "w": normal(6, 2)},
        (6, 2),
    ),
}


@pytest.mark.parametrize("name", ONNX)
def test_onnx_operation(name: str) -> None:
    shape, nodes, weights, sizes = ONNX[name]
    mlp = judged(converters.load(models.onnx_model(nodes, weights, shape, opset=18)))
    assert mlp.sizes == sizes
    assert mlp.layers[-1].activation == ("relu" if nodes[-1].op_type in ("Relu", "Clip") else "identity")
    assert mlp.info["verification"]["judge"].startswith("onnxruntime")


def test_onnx_attributes_of_older_operator_sets() -> None:
    clip = [node("Gemm", ["x", "w", "b"], ["z"]), node("Clip", ["z"], ["y"], min=0.0, max=6.0)]
    mlp = judged(converters.load(models.onnx_model(clip, {"w": normal(4, 3), "b": normal(3)}, (4,), opset=9)))
    assert mlp.layers[-1].ceiling == 6
    axes = [node("Squeeze", ["x"], ["s"], axes=[1]), node("Gemm", ["s", "w", "b"], ["y"])]
    judged(converters.load(models.onnx_model(axes, {"w": normal(4, 3), "b": normal(3)}, (1, 4), opset=10)))


@pytest.mark.parametrize("ir_version", [3, 99])
def test_onnx_file_format_version_is_no_obstacle(ir_version: int) -> None:
    judged(converters.load(models.onnx_model([node("Gemm", ["x", "w"], ["y"])], {"w": normal(4, 3)}, (4,), ir_version=ir_version)))


def test_onnx_fixed_batch() -> None:
    model = models.onnx_model([node("Reshape", ["x", "s"], ["r"]), node("Gemm", ["r", "w"], ["y"])],
                              {"s": np.array([7, 6]), "w": normal(6, 3)}, (2, 3), batch=7)  # fmt: skip
    assert judged(converters.load(model)).sizes == (6, 3)


def test_onnx_without_runtime_uses_the_reference_evaluator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    mlp = judged(converters.load(models.onnx_lenet(models.lenet_arrays())))
    assert mlp.info["verification"]["judge"].startswith("onnx reference evaluator")


def test_onnx_external_data(tmp_path: Path) -> None:
    model = models.onnx_mlp(models.mlp_arrays(sizes=(40, 30, 5)))
    onnx.save_model(model, tmp_path / "m.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert (tmp_path / "weights.bin").stat().st_size > 4 * 40 * 30
    mlp = judged(converters.load(tmp_path / "m.onnx"))
    np.testing.assert_array_equal(mlp.layers[0].weight, models.mlp_arrays(sizes=(40, 30, 5))["W0"])


# -- PyTorch ----------------------------------------------------------------------------------------


def _torch_cases() -> dict[str, tuple[tuple[int, ...], Any, tuple[int, ...]]]:
    torch = pytest.importorskip("torch")
    nn, f = torch.nn, torch.nn.functional

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)

        def forward(self, x: Any) -> Any:
            return self.c((self.b(self.a(x).relu()) + x).clamp(0, 2))

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(2, 3, 3, padding="same", groups=1, bias=False)
            self.register_buffer("mean", torch.tensor([0.3, 0.6]).view(1, 2, 1, 1))

        def forward(self, x: Any) -> Any:
            return f.adaptive_avg_pool2d(f.relu6(self.conv((x - self.mean) / 0.25)), 1).flatten(1)

    class Joined(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 3), nn.Linear(4, 2), nn.Linear(5, 2)

        def forward(self, x: Any) -> Any:
            return f.log_softmax(self.c(torch.cat([f.hardtanh(self.a(x), 0, 3), self.b(x).relu()], 1)), 1)

    return {
        "residual and clamp": ((6,), Residual(), (6, 6, 6, 3)),
        "scaling, same padding, ReLU6, adaptive pooling": ((2, 5, 5), Scaled(), (50, 75, 3)),
        "cat, hardtanh, log_softmax": ((4,), Joined(), (4, 3, 2, 2)),
        "batch norm of a dense layer": (
            (4,),
            nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU6(), nn.Dropout(), nn.Linear(5, 2)),
            (4, 5, 2),
        ),
        "Conv1d, AvgPool1d, no bias": (
            (2, 9),
            nn.Sequential(nn.Conv1d(2, 3, 3, 2, 1, bias=False), nn.ReLU(), nn.AvgPool1d(2), nn.Flatten(), nn.Linear(6, 2)),
            (18, 15, 2),
        ),
        "AvgPool2d that pads": (
            (1, 6, 6),
            nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.AvgPool2d(2, 2, 1), nn.Flatten(), nn.Linear(18, 2)),
            (36, 32, 2),
        ),
        "softmax": ((4,), nn.Sequential(nn.Linear(4, 3), nn.Softmax(1)), (4, 3)),
    }


@pytest.mark.parametrize(
    "name",
    [
        "residual and clamp",
        "scaling, same padding, ReLU6, adaptive pooling",
        "cat, hardtanh, log_softmax",
        "batch norm of a dense layer",
        "Conv1d, AvgPool1d, no bias",
        "AvgPool2d that pads",
        "softmax",
    ],
)
def test_torch_operation(name: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(2)
    shape, module, sizes = _torch_cases()[name]
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm1d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
    mlp = judged(converters.load(module.eval(), options=LoadOptions(input_shape=shape)))
    assert mlp.sizes == sizes
    torch.export.save(torch.export.export(module, (torch.zeros(3, *shape),)), tmp_path / "m.pt2")
    again = judged(converters.load(tmp_path / "m.pt2"))
    assert again.sha256 == mlp.sha256


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_torch_half_precision_weights_are_held_exactly(kind: str) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(1)
    module = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.ReLU(), torch.nn.Linear(5, 2)).to(getattr(torch, kind))
    mlp = judged(converters.load(module))
    np.testing.assert_array_equal(mlp.layers[0].weight, module[0].weight.detach().float().numpy())


def test_torch_double_precision_is_kept() -> None:
    torch = pytest.importorskip("torch")
    mlp = judged(converters.load(torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.ReLU(), torch.nn.Linear(5, 2)).double()))
    assert mlp.layers[0].weight.dtype == np.float64


# -- Keras ------------------------------------------------------------------------------------------


def _keras_cases(keras: Any) -> dict[str, Any]:
    k = keras.layers

    def functional(shape: tuple[int, ...], body: Any) -> Any:
        x = keras.Input(shape)
        return keras.Model(x, body(x))

    def residual(x: Any) -> Any:
        h = k.Dense(4, activation="relu")(x)
        return k.Dense(2, activation="softmax")(k.ReLU(max_value=2.0)(k.Add()([k.Dense(4)(h), x])))

    inner = keras.Sequential([keras.Input((6,)), k.Dense(5, activation="relu6"), k.Dropout(0.5)])
    return {
        "residual and softmax": functional((4,), residual),
        "rescaling, separable parts": keras.Sequential(
            [
                keras.Input((6, 6, 2)),
                k.Rescaling(1 / 4, offset=-0.5),
                k.ZeroPadding2D(((1, 0), (0, 1))),
                k.DepthwiseConv2D(3, depth_multiplier=2),
                k.BatchNormalization(scale=False),
                k.ReLU(6.0),
                k.Conv2D(3, 1, strides=2, padding="same", use_bias=False, activation="relu"),
                k.GlobalAveragePooling2D(),
                k.Dense(2),
            ]
        ),
        "one axis": keras.Sequential(
            [
                keras.Input((8, 2)),
                k.Conv1D(3, 3, padding="same", activation="relu"),
                k.AveragePooling1D(2),
                k.Permute((2, 1)),
                k.Reshape((12,)),
                k.Dense(2),
            ]
        ),
        "model in a model": functional((6,), lambda x: k.Dense(2)(k.Concatenate()([inner(x), k.Dense(3, activation="relu")(x)]))),
        "arithmetic": functional((4,), lambda x: k.Dense(2)(keras.ops.relu((x - 0.5) / 2.0 + 1.0))),
    }


@pytest.mark.parametrize("name", ["residual and softmax", "rescaling, separable parts", "one axis", "model in a model", "arithmetic"])
def test_keras_layer(name: str) -> None:
    keras = models.import_keras()
    keras.utils.set_random_seed(4)
    model = _keras_cases(keras)[name]
    rng = np.random.default_rng(0)
    for layer in model.layers:
        layer.set_weights(
            [rng.random(w.shape) - 0.4 * ("variance" not in v.path) for w, v in zip(layer.get_weights(), layer.weights, strict=True)]
        )
    # The layers of a model inside another one have no tensor in the outer one.
    mlp = judged(converters.load(model), unseen=int(name == "model in a model"))
    x = rng.random((5, *model.input_shape[1:])).astype(np.float32)
    theirs = np.asarray(model.predict(x, verbose=0))
    ours = mlp.forward(x.reshape(5, -1))
    if name == "residual and softmax":
        ours = np.exp(ours) / np.exp(ours).sum(1, keepdims=True)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


# -- scikit-learn -----------------------------------------------------------------------------------


def _pipeline(*scalers: Any, n_classes: int = 3, regression: bool = False) -> tuple[Any, np.ndarray]:
    pytest.importorskip("sklearn")
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline

    rng = np.random.default_rng(8)
    x = rng.normal(3, 2, (60, 6))
    y = x[:, :2] if regression else np.array(["a", "b", "c"])[np.arange(60) % n_classes]
    kind = MLPRegressor if regression else MLPClassifier
    estimator = make_pipeline(*scalers, kind(hidden_layer_sizes=(7,), solver="lbfgs", max_iter=5, random_state=0))
    with pytest.warns(Warning):
        estimator.fit(x, y)
    return estimator, x


def _scalers(name: str) -> list[Any]:
    pytest.importorskip("sklearn")
    from sklearn import decomposition, preprocessing

    return {
        "none": [],
        "StandardScaler": [preprocessing.StandardScaler()],
        "MinMaxScaler and PCA": [preprocessing.MinMaxScaler(), decomposition.PCA(4)],
        "whitening PCA": [decomposition.PCA(4, whiten=True)],
        "StandardScaler without mean": [preprocessing.StandardScaler(with_mean=False)],
        "RobustScaler": [preprocessing.RobustScaler()],
        "MaxAbsScaler": [preprocessing.MaxAbsScaler()],
        "passthrough": ["passthrough", preprocessing.StandardScaler()],
    }[name]


@pytest.mark.parametrize(
    "name",
    [
        "none",
        "StandardScaler",
        "MinMaxScaler and PCA",
        "whitening PCA",
        "StandardScaler without mean",
        "RobustScaler",
        "MaxAbsScaler",
        "passthrough",
    ],
)
def test_sklearn_pipeline(name: str, tmp_path: Path) -> None:
    estimator, x = _pipeline(*_scalers(name))
    mlp = judged(converters.load(estimator, samples=x))
    assert mlp.classes == ("a", "b", "c")
    np.testing.assert_array_equal(np.array(mlp.classes)[mlp.predict(x)], estimator.predict(x))
    skops = pytest.importorskip("skops.io")
    skops.dump(estimator, tmp_path / "m.skops")
    assert judged(converters.load(tmp_path / "m.skops")).sha256 == mlp.sha256


def test_sklearn_two_classes_have_two_outputs() -> None:
    estimator, x = _pipeline(*_scalers("StandardScaler"), n_classes=2)
    mlp = judged(converters.load(estimator))
    assert mlp.n_out == 2
    z = mlp.forward(x)
    np.testing.assert_allclose(np.exp(z) / np.exp(z).sum(1, keepdims=True), estimator.predict_proba(x), atol=1e-6)


def test_sklearn_regression() -> None:
    estimator, x = _pipeline(*_scalers("StandardScaler"), regression=True)
    mlp = judged(converters.load(estimator))
    assert mlp.task == "regression"
    np.testing.assert_allclose(mlp.forward(x), estimator.predict(x), rtol=1e-6, atol=1e-6)
