"""What cannot be taken is named all at once, by name and type, with the nearest that can; what nobody reads is an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import import_models as models
import numpy as np
import pytest

import converters
from converters.importers import LoadOptions, importer_of, load_network
from converters.mlp import MLP
from neuro.errors import SpecError, UnsupportedModelError, VerificationError

onnx = pytest.importorskip("onnx")
node = onnx.helper.make_node


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def refused(source: Any, *parts: str, options: LoadOptions = LoadOptions()) -> str:  # noqa: B008 (frozen)
    """Return the message with which a source is refused, after asserting that it holds every part."""
    with pytest.raises(UnsupportedModelError) as caught:
        converters.load(source, options=options)
    message = str(caught.value)
    for part in parts:
        assert part in message, message
    return message


# -- every problem at once --------------------------------------------------------------------------


def test_onnx_names_every_node_that_cannot_be_taken() -> None:
    nodes = [
        node("Conv", ["x", "w"], ["c"], name="conv1"),
        node("MaxPool", ["c"], ["p"], name="pool1", kernel_shape=[2, 2]),
        node("LeakyRelu", ["p"], ["h"], name="act"),
        node("Flatten", ["h"], ["f"]),
        node("Gemm", ["f", "v"], ["z"], name="fc"),
        node("Sigmoid", ["z"], ["y"], name="out_act"),
    ]
    message = refused(
        models.onnx_model(nodes, {"w": ones(2, 1, 3, 3), "v": ones(8, 3)}, (1, 6, 6)),
        "has 3 things with no spiking counterpart",
        "node 1  MaxPool  'pool1'  use AveragePool, or strided Conv, and retrain",
        "node 2  LeakyRelu  'act'  its negative part",
        "node 5  Sigmoid  'out_act'  remove it at the end",
        "Nothing was loaded.",
    )
    assert "Conv " not in message and "'fc'" not in message


ONNX_REFUSALS: dict[str, tuple[list[Any], dict[str, np.ndarray], str]] = {
    "unread weight": ([node("MatMul", ["x", "w"], ["y"])], {"w": ones(4, 3), "spare": ones(2)}, "weights that no node reads: spare"),
    "unknown attribute": ([node("Gemm", ["x", "w"], ["y"], gamma=2.0)], {"w": ones(4, 3)}, "attributes that are not taken: gamma"),
    "quantised weights": ([node("MatMulInteger", ["x", "w"], ["y"])], {"w": np.ones((4, 3), np.int8)}, "quantised models are refused"),
    "dequantised weights": (
        [node("DequantizeLinear", ["w", "s"], ["d"]), node("MatMul", ["x", "d"], ["y"])],
        {"w": np.ones((4, 3), np.int8), "s": ones()},
        "quantised models are refused",
    ),
    "integer weights": ([node("MatMul", ["x", "w"], ["y"])], {"w": np.ones((4, 3), np.int64)}, "int64 weights"),
    "softmax in the middle": (
        [node("Softmax", ["x"], ["s"]), node("MatMul", ["s", "w"], ["y"])],
        {"w": ones(4, 3)},
        "a softmax before the end",
    ),
    "clip below zero": ([node("Clip", ["x", "lo", "hi"], ["y"])], {"lo": np.float32(-1), "hi": np.float32(1)}, "at least -1"),
    "product of activations": ([node("Mul", ["x", "x"], ["y"])], {}, "only sums of them are taken"),
    "transposed batch": ([node("Transpose", ["x"], ["y"], perm=[1, 0])], {}, "moves the batch axis"),
    "reshape over the batch": ([node("Reshape", ["x", "s"], ["y"])], {"s": np.array([2, -1])}, "mixes the batch"),
    "weights that disagree": ([node("MatMul", ["x", "w"], ["y"])], {"w": ones(5, 3)}, "does not fit its input of shape (4,)"),
    "NaN in a scale": ([node("Mul", ["x", "k"], ["y"])], {"k": np.float32("nan")}, "NaN or infinity"),
    "NaN in a weight": ([node("MatMul", ["x", "w"], ["y"])], {"w": np.full((4, 3), np.nan, np.float32)}, "NaN or infinity"),
    "division by zero": ([node("Div", ["x", "k"], ["y"])], {"k": np.float32(0)}, "divides by zero"),
    "two outputs": ([node("Split", ["x"], ["y", "z"], num_outputs=2)], {}, "2 outputs"),
    "training mode": (
        [node("Dropout", ["x", "r", "t"], ["y"])],
        {"r": np.float32(0.5), "t": np.array(True)},
        "drops values at inference",
    ),
    "missing tensor": ([node("Relu", ["nowhere"], ["y"])], {}, "which nothing before it gives"),
    "no output": ([node("Relu", ["x"], ["z"])], {}, "no node gives the output 'y'"),
    "uneven pooling": (
        [node("AveragePool", ["x"], ["y"], kernel_shape=[2], ceil_mode=1)],
        {},
        "ceil_mode",
    ),
}


@pytest.mark.parametrize("name", ONNX_REFUSALS)
def test_onnx_refusal(name: str) -> None:
    nodes, weights, part = ONNX_REFUSALS[name]
    refused(models.onnx_model(nodes, weights, (4,), opset=18), part)


def test_onnx_old_operator_set() -> None:
    refused(models.onnx_mlp(models.mlp_arrays(), opset=8), "operator set 8, expected 9 or newer")


def test_onnx_open_input_shape_asks_for_it() -> None:
    model = models.onnx_model([node("Relu", ["x"], ["y"])], {}, ("width",))
    refused(model, "give input_shape")
    assert converters.load(model, options=LoadOptions(input_shape=(4,))).n_in == 4


def test_torch_names_every_operator_that_cannot_be_taken() -> None:
    torch = pytest.importorskip("torch")
    nn = torch.nn
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.GELU(), nn.MaxPool2d(2), nn.Flatten(), nn.LayerNorm(8), nn.Linear(8, 3), nn.Tanh())
    refused(
        module,
        "gelu",
        "max_pool2d",
        "use AveragePool, or strided Conv, and retrain",
        "layer_norm",
        "its scale depends on the sample",
        "tanh",
        options=LoadOptions(input_shape=(1, 6, 6)),
    )


def test_torch_refusals() -> None:
    torch = pytest.importorskip("torch")
    nn = torch.nn

    class Branching(nn.Module):
        def forward(self, x: Any) -> Any:
            return x.relu() if x.sum() > 0 else x

    shaped = LoadOptions(input_shape=(4,))
    refused(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).train(), "call .eval()")
    refused(nn.Sequential(nn.Linear(4, 4), nn.Dropout()).train(), "call .eval()")
    refused(Branching(), "may not branch on its data", options=shaped)
    refused(nn.Conv2d(1, 2, 3), "give the shape of one sample as input_shape")
    refused(nn.LSTM(4, 3), "lstm", options=LoadOptions(input_shape=(5, 4)))


def test_state_dict_needs_to_be_told_its_activation(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"a.weight": torch.ones(3, 2), "conv.weight": torch.ones(1, 1, 3, 3), "steps": 5}, tmp_path / "m.pt")
    refused(tmp_path / "m.pt", "conv.weight: float32 of shape (1, 1, 3, 3)", "steps: only weights", "say activation='relu'")


def test_keras_names_every_layer_that_cannot_be_taken() -> None:
    keras = models.import_keras()
    k = keras.layers
    model = keras.Sequential(
        [keras.Input((6, 6, 1)), k.Conv2D(2, 3, activation="tanh"), k.MaxPooling2D(), k.Flatten(), k.Dense(3), k.LeakyReLU()]
    )
    refused(
        model,
        "has 3 things with no spiking counterpart",
        "the activation 'tanh'; use Relu and retrain",
        "MaxPooling2D  use AveragePool",
        "LeakyReLU  its negative part",
    )
    refused(keras.Sequential([keras.Input((4,)), k.Dense(3), k.Lambda(lambda x: x)]), "Lambda  holds code")


def test_keras_weights_nobody_reads(tmp_path: Path) -> None:
    models.import_keras()
    import h5py
    import import_hostile as hostile

    path = hostile.keras_file(tmp_path, [hostile.input_layer(4), hostile.dense("dense")])
    assert converters.load(path).sizes == (4, 3)

    def fill(file: h5py.File) -> None:
        file["layers/dense_7/vars/0"] = ones(2, 2)

    refused(
        hostile.keras_file(tmp_path, [hostile.input_layer(4), hostile.dense("dense")], fill),
        "weights that no layer reads: layers/dense_7/vars/0",
    )
    refused(
        hostile.keras_file(tmp_path, [hostile.input_layer(4), hostile.dense("dense", shout=True)]),
        "settings that are not taken: shout=True",
    )


def test_sklearn_names_every_step_that_cannot_be_taken() -> None:
    pytest.importorskip("sklearn")
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, Normalizer

    x, y = np.random.default_rng(0).random((20, 3)), np.arange(20) % 2
    steps = [FunctionTransformer(np.log1p), MinMaxScaler(clip=True), Normalizer()]
    with pytest.warns(Warning):
        estimator = make_pipeline(*steps, MLPClassifier((4,), activation="tanh", max_iter=2)).fit(x, y)
    refused(
        estimator,
        "step 0  FunctionTransformer  'functiontransformer'  holds code",
        "step 1  MinMaxScaler  'minmaxscaler'  clips its values",
        "step 2  Normalizer  'normalizer'  its scale depends on the sample; use StandardScaler",
        "step 3  MLPClassifier  'mlpclassifier'  has the activation 'tanh'",
    )
    refused(MLPClassifier(), "fit it first")


def test_sklearn_several_labels_are_refused() -> None:
    pytest.importorskip("sklearn")
    from sklearn.neural_network import MLPClassifier

    rng = np.random.default_rng(0)
    with pytest.warns(Warning):
        estimator = MLPClassifier((4,), max_iter=2).fit(rng.random((20, 3)), rng.integers(0, 2, (20, 3)))
    refused(estimator, "several labels at once")


def test_npz_names_everything_at_once() -> None:
    arrays = {"W0": ones(4, 3), "W2": ones(3, 2, 1), "b0": np.ones(3, int), "other": ones(2), "accuracy": np.float64(0.5)}
    refused(arrays, "W2: shape (3, 2, 1), expected 2", "b0: int64 values", "other: unknown array")
    refused({"W0": ones(4, 3), "W2": ones(3, 2), "b2": ones(2)}, "W1: missing", "b0: missing", "b1: missing")


def test_npz_orientation() -> None:
    square = {"W0": ones(4, 4), "W1": ones(4, 4)}
    refused(square, "say which with orientation='in_out' or orientation='out_in'")
    square["W0"] = np.arange(16, dtype=np.float32).reshape(4, 4)
    for orientation, expected in (("in_out", square["W0"].T), ("out_in", square["W0"])):
        mlp = converters.load(square, options=LoadOptions(orientation=orientation))
        np.testing.assert_array_equal(mlp.layers[0].weight, expected)
    refused({"W0": ones(4, 3), "W1": ones(3, 2)}, "orientation 'out_in'", options=LoadOptions(orientation="out_in"))
    refused({"W0": ones(4, 3), "W1": ones(5, 2)}, "do not fit together either way")
    # A square matrix alone is told by nothing; with a bias beside another width it is.
    assert converters.load({"W0": ones(4, 4), "W1": ones(4, 2)}).sizes == (4, 4, 2)


# -- where a source goes ----------------------------------------------------------------------------


def test_unknown_sources_name_what_is_known(tmp_path: Path) -> None:
    refused(tmp_path / "m.onxx", "no importer for '.onxx' files; did you mean '.onnx'?")
    refused(object(), "no importer for an object of type builtins.object")
    refused(tmp_path / "absent.onnx", "absent.onnx: no such file")
    refused(tmp_path / "m.pkl", ".pkl files are not read; a pickle runs code when it is read; save the estimator with skops")
    refused("model.h5", "save the model again with Keras 3 as .keras")
    (tmp_path / "folder.onnx").mkdir()
    refused(tmp_path / "folder.onnx", "not a regular file")
    assert importer_of("A/B.ONNX").name == "onnx"


def test_saved_files_of_other_kinds_say_what_they_are(tmp_path: Path) -> None:
    mlp = converters.load(models.mlp_arrays(), options=LoadOptions(orientation="out_in"))
    snn = converters.convert(mlp, calibration=np.random.default_rng(0).random((20, 20), np.float32), method="max_norm")
    refused(snn.save(tmp_path / "snn.npz"), "a spiking network")
    with pytest.raises(UnsupportedModelError, match="convert it first"):
        load_network(mlp)
    with pytest.raises(UnsupportedModelError, match="a spiking network already"):
        converters.load_mlp(snn)


def test_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    (tmp_path / "m.onnx").write_bytes(b"x")
    refused(tmp_path / "m.onnx", "pip install 'spikeport[onnx]'")


# -- the comparison with the source -----------------------------------------------------------------


def test_a_wrong_translation_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from converters.importers import graph as g
    from converters.importers import onnx_nodes

    def wrong(proto: Any, attributes: Any, constants: Any, batch: Any) -> g.Op:
        op = onnx_nodes._gemm(proto, attributes, constants, batch)
        return g.Linear(op.weight * np.float32(1 + 3e-5), op.bias)

    monkeypatch.setitem(onnx_nodes.HANDLERS, "Gemm", wrong)
    with pytest.raises(VerificationError) as caught:
        converters.load(models.onnx_mlp(models.mlp_arrays()))
    message = str(caught.value)
    assert "onnxruntime" in message and "tolerance 1e-05" in message
    assert "layer 0 fc0" in message and "layer 2 fc2" in message
    converters.load(models.onnx_mlp(models.mlp_arrays()), options=LoadOptions(verify=False))


def test_differences_are_kept_in_info() -> None:
    info = converters.load(models.onnx_mlp(models.mlp_arrays()), samples=np.ones((5, 20))).info["verification"]
    assert info["samples"] == 16 + 5
    assert set(info["largest_difference"]) == {"0 fc0", "1 fc1", "2 fc2"}
    off = converters.load(models.onnx_mlp(models.mlp_arrays()), options=LoadOptions(verify=False)).info["verification"]
    assert off["samples"] == 0 and off["judge"] == "nothing: verify=False"
    with pytest.raises(SpecError, match="samples were given, but they were compared with nothing: the file holds no check_x"):
        converters.load(models.mlp_arrays(), options=LoadOptions(orientation="out_in"), samples=np.ones((5, 20)))
    with pytest.raises(SpecError, match="samples have shape"):
        converters.load(models.onnx_mlp(models.mlp_arrays()), samples=np.ones((5, 21)))


def test_stored_outputs(tmp_path: Path) -> None:
    arrays = models.mlp_arrays()
    x = np.random.default_rng(2).random((6, 20))
    y = models.expected_mlp(arrays).forward(x)
    np.savez(tmp_path / "right.npz", check_x=x, check_y=y)
    np.savez(tmp_path / "wrong.npz", check_x=x, check_y=y + 1e-3)
    np.savez(tmp_path / "half.npz", check_x=x)
    options = LoadOptions(check=str(tmp_path / "right.npz"))
    found = converters.load(models.onnx_mlp(arrays), options=options).info["verification"]
    assert "stored outputs" in found["judge"] and "onnxruntime" in found["judge"]
    assert found["samples"] == 16 + 6 and found["largest_difference"]["output"] < 1e-6
    with pytest.raises(VerificationError, match="stored outputs"):
        converters.load(models.onnx_mlp(arrays), options=LoadOptions(check=str(tmp_path / "wrong.npz")))
    refused(models.onnx_mlp(arrays), "no check_y.npy", options=LoadOptions(check=str(tmp_path / "half.npz")))
    inside = {**{k: v for k, v in arrays.items()}, "check_x": x, "check_y": y}
    assert converters.load(inside, options=LoadOptions(orientation="out_in")).info["verification"]["samples"] == 6
    with pytest.raises(VerificationError, match="stored outputs"):
        converters.load({**inside, "check_y": y + 1e-3}, options=LoadOptions(orientation="out_in"))


# -- what the user says -----------------------------------------------------------------------------


def test_options_that_say_nothing_about_the_model_are_errors() -> None:
    with pytest.raises(SpecError) as caught:
        converters.load(models.onnx_mlp(models.mlp_arrays()), options=LoadOptions(orientation="in_out", activation="relu"))
    assert "orientation='in_out' is about plain .npz arrays" in str(caught.value)
    assert "activation='relu' is about a state_dict" in str(caught.value)


def test_options_that_cannot_be_used() -> None:
    with pytest.raises(SpecError) as caught:
        LoadOptions(input_shape=(0,), scale=(0.0,), mean=(float("nan"),), max_bytes=0)
    for part in ("input_shape (0,)", "scale: every value", "mean: every value", "max_bytes and max_synapses"):
        assert part in str(caught.value)
    arrays = models.mlp_arrays()
    for options, part in (
        (LoadOptions(classes=("a",)), "1 class names for 5 outputs"),
        (LoadOptions(mean=(0.5, 0.5)), "mean holds 2 values, expected 1 or 20"),
        (LoadOptions(layout="NHWC"), "not images"),
        (LoadOptions(input_shape=(3, 7)), "holds 21 values, the model takes 20"),
    ):
        with pytest.raises(SpecError, match=part.replace("(", r"\(").replace(")", r"\)")):
            converters.load(models.onnx_mlp(arrays), options=options)


def test_preprocessing_travels_with_the_model(tmp_path: Path) -> None:
    a = models.lenet_arrays()
    rng = np.random.default_rng(4)
    raw = rng.integers(0, 256, (7, 12, 12, 1)).astype(np.float32)
    options = LoadOptions(mean=(127.5,), scale=(63.75,), layout="NHWC", classes=tuple("abcde"))
    mlp = converters.load(models.onnx_lenet(a), options=options)
    expected = models.expected_lenet(a, ((raw - 127.5) / 63.75).transpose(0, 3, 1, 2))[-1]
    again = MLP.load(mlp.save(tmp_path / "m.npz"))
    for network in (mlp, again):
        np.testing.assert_allclose(network.forward(raw), expected, rtol=0, atol=2e-5)
        assert network.input_shape == (12, 12, 1) and network.classes == tuple("abcde")
        assert network.info["layout"] == "NHWC"
        assert network.info["preprocessing"] == {"mean": [127.5], "scale": [63.75]}


def test_preprocessing_per_channel_and_per_value() -> None:
    nodes = [node("Conv", ["x", "w"], ["y"])]
    w = np.random.default_rng(1).standard_normal((3, 2, 2, 2)).astype(np.float32)
    model = models.onnx_model(nodes, {"w": w}, (2, 3, 4))
    x = np.random.default_rng(2).random((5, 2, 3, 4))
    plain = converters.load(model)
    scaled = plain.forward(((x - [[[0.5]], [[0.25]]]) / [[[0.2]], [[0.4]]]).reshape(5, -1))
    by_channel = converters.load(model, options=LoadOptions(mean=(0.5, 0.25), scale=(0.2, 0.4)))
    by_value = converters.load(model, options=LoadOptions(mean=(0.5,) * 12 + (0.25,) * 12, scale=(0.2,) * 12 + (0.4,) * 12))
    for mlp in (by_channel, by_value):
        np.testing.assert_allclose(mlp.forward(x.reshape(5, -1)), scaled, rtol=0, atol=1e-5)
    last = converters.load(model, options=LoadOptions(mean=(0.5, 0.25), scale=(0.2, 0.4), layout="NHWC"))
    np.testing.assert_allclose(last.forward(x.transpose(0, 2, 3, 1).reshape(5, -1)), scaled, rtol=0, atol=1e-5)


def test_a_source_that_overflows_is_told_so() -> None:
    nodes = [node("MatMul", ["x", "w"], ["h"]), node("Relu", ["h"], ["r"]), node("MatMul", ["r", "w"], ["y"])]
    model = models.onnx_model(nodes, {"w": np.full((4, 4), 1e30, np.float32)}, (4,))
    with pytest.raises(VerificationError, match="not finite; its weights are too large"):
        converters.load(model)
