"""One suite over all importers: the same two networks in every format load to the same MLP."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import import_models as models
import numpy as np
import pytest
import scipy.sparse as sp

import converters
from converters.importers import IMPORTERS, LoadOptions
from converters.mlp import MLP

TOLERANCE = 1e-6
MLP_ARRAYS, LENET_ARRAYS = models.mlp_arrays(), models.lenet_arrays()
PLAIN = LoadOptions()

Made = tuple[Any, LoadOptions]
Maker = Callable[[Path], Made]


def _onnx(tmp: Path, **settings: Any) -> Made:
    pytest.importorskip("onnx")
    return models.saved(models.onnx_mlp(MLP_ARRAYS, **settings), tmp / "m.onnx"), PLAIN


def _onnx_object(tmp: Path) -> Made:
    pytest.importorskip("onnx")
    return models.onnx_mlp(MLP_ARRAYS), PLAIN


def _onnx_of_torch(tmp: Path, dynamo: bool) -> Made:
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxscript" if dynamo else "onnx")
    file = tmp / "m.onnx"
    axes = {"dynamic_shapes": ({0: torch.export.Dim("batch")},)} if dynamo else {"dynamic_axes": {"x": {0: "batch"}}}
    settings = {"dynamo": dynamo, "verbose": False, "input_names": ["x"]}
    torch.onnx.export(models.torch_mlp(MLP_ARRAYS), (torch.zeros(2, 20),), str(file), **settings, **axes)
    return file, PLAIN


def _torch(tmp: Path, functional: bool = False) -> Made:
    return models.torch_mlp(MLP_ARRAYS, functional), PLAIN


def _program(module: Any, shape: tuple[int, ...], dynamic: bool) -> Any:
    torch = pytest.importorskip("torch")
    shapes = ({0: torch.export.Dim("batch", min=1)},) if dynamic else None
    return torch.export.export(module, (torch.zeros(2, *shape),), dynamic_shapes=shapes)


def _exported(tmp: Path, dynamic: bool = True) -> Made:
    return _program(models.torch_mlp(MLP_ARRAYS), (20,), dynamic), PLAIN


def _pt2(tmp: Path, dynamic: bool = True) -> Made:
    torch = pytest.importorskip("torch")
    file = tmp / "m.pt2"
    torch.export.save(_exported(tmp, dynamic)[0], file)
    return file, PLAIN


def _state_dict(tmp: Path) -> Made:
    torch = pytest.importorskip("torch")
    file = tmp / "m.pt"
    torch.save(models.torch_mlp(MLP_ARRAYS).state_dict(), file)
    return file, LoadOptions(activation="relu")


def _keras(tmp: Path) -> Made:
    return models.keras_mlp(MLP_ARRAYS), PLAIN


def _keras_file(tmp: Path) -> Made:
    models.keras_mlp(MLP_ARRAYS).save(tmp / "m.keras")
    return tmp / "m.keras", PLAIN


def _sklearn(tmp: Path, regressor: bool = False) -> Made:
    return models.sklearn_mlp(MLP_ARRAYS, regressor), PLAIN


def _skops(tmp: Path) -> Made:
    skops = pytest.importorskip("skops.io")
    skops.dump(models.sklearn_mlp(MLP_ARRAYS), tmp / "m.skops")
    return tmp / "m.skops", PLAIN


def _npz(tmp: Path, orientation: str) -> Made:
    turned = {k: v.T if orientation == "in_out" else v for k, v in MLP_ARRAYS.items()}
    np.savez(tmp / "m.npz", **turned)
    return tmp / "m.npz", PLAIN


def _mapping(tmp: Path) -> Made:
    return dict(MLP_ARRAYS), LoadOptions(orientation="out_in")


def _ours(tmp: Path) -> Made:
    return models.expected_mlp(MLP_ARRAYS).save(tmp / "m.npz"), PLAIN


MLPS: dict[str, Maker] = {
    "onnx, Gemm": _onnx,
    "onnx, MatMul and Add": lambda tmp: _onnx(tmp, matmul=True),
    "onnx, object": _onnx_object,
    "onnx, of torch": lambda tmp: _onnx_of_torch(tmp, True),
    "onnx, of torch's older exporter": lambda tmp: _onnx_of_torch(tmp, False),
    "torch, Sequential": _torch,
    "torch, functional": lambda tmp: _torch(tmp, True),
    "torch, ExportedProgram": _exported,
    "torch, ExportedProgram of fixed batch": lambda tmp: _exported(tmp, False),
    "torch, .pt2": _pt2,
    "torch, .pt2 of fixed batch": lambda tmp: _pt2(tmp, False),
    "torch, state_dict": _state_dict,
    "keras, object": _keras,
    "keras, .keras": _keras_file,
    "sklearn, classifier": _sklearn,
    "sklearn, regressor": lambda tmp: _sklearn(tmp, True),
    "sklearn, .skops": _skops,
    "npz, (n_in, n_out)": lambda tmp: _npz(tmp, "in_out"),
    "npz, (n_out, n_in)": lambda tmp: _npz(tmp, "out_in"),
    "npz, mapping": _mapping,
    "npz, saved by us": _ours,
}


def assert_same(found: MLP, expected: MLP) -> None:
    """Compare every weight, bias and activation of two networks."""
    assert found.sizes == expected.sizes
    for a, b in zip(found.layers, expected.layers, strict=True):
        assert (a.activation, a.ceiling, a.skips) == (b.activation, b.ceiling, ())
        np.testing.assert_allclose(_dense(a.weight), _dense(b.weight), rtol=0, atol=TOLERANCE)
        np.testing.assert_allclose(a.bias, b.bias, rtol=0, atol=TOLERANCE)


def _dense(weight: Any) -> np.ndarray:
    return weight.toarray() if sp.issparse(weight) else weight


SLOW = "onnx, of torch"  # loads PyTorch's exporter


def names(cases: dict[str, Maker]) -> list[Any]:
    return [pytest.param(name, marks=pytest.mark.slow if name == SLOW else ()) for name in cases]


@pytest.mark.parametrize("name", names(MLPS))
def test_every_format_gives_the_same_mlp(name: str, tmp_path: Path) -> None:
    source, options = MLPS[name](tmp_path)
    found = converters.load(source, options=options)
    assert_same(found, models.expected_mlp(MLP_ARRAYS))
    assert found.task == ("regression" if "regressor" in name else "classification")
    assert found.input_shape in ((20,), ())
    judged = found.info.get("verification", {}).get("largest_difference", {})
    if name.split(",")[0] in ("onnx", "keras", "sklearn") or (name.startswith("torch") and "state_dict" not in name):
        assert len(judged) == 3, "every layer is compared with its source"
        assert max(judged.values()) < 1e-5


def test_the_suite_covers_every_importer() -> None:
    elsewhere = {"nir"}
    assert {name.split(",")[0] for name in MLPS} >= set(IMPORTERS) - elsewhere


def test_every_opset_from_9_to_the_newest() -> None:
    onnx = pytest.importorskip("onnx")
    newest = onnx.defs.onnx_opset_version()
    mlp, lenet = models.expected_mlp(MLP_ARRAYS), None
    for opset in range(9, newest + 1):
        assert_same(converters.load(models.onnx_mlp(MLP_ARRAYS, opset=opset)), mlp)
        found = converters.load(models.onnx_lenet(LENET_ARRAYS, opset=opset))
        assert found.info["verification"]["samples"] > 0
        lenet = lenet or found
        assert_same(found, lenet)


# -- the LeNet-like network -------------------------------------------------------------------------


def _lenet_onnx(tmp: Path) -> Made:
    pytest.importorskip("onnx")
    return models.saved(models.onnx_lenet(LENET_ARRAYS), tmp / "m.onnx"), PLAIN


def _lenet_onnx_of_torch(tmp: Path) -> Made:
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    shapes = ({0: torch.export.Dim("batch")},)
    module = models.torch_lenet(LENET_ARRAYS)
    torch.onnx.export(module, (torch.zeros(2, 1, 12, 12),), str(tmp / "m.onnx"), dynamo=True, verbose=False, dynamic_shapes=shapes)
    return tmp / "m.onnx", PLAIN


def _lenet_torch(tmp: Path) -> Made:
    return models.torch_lenet(LENET_ARRAYS), LoadOptions(input_shape=(1, 12, 12))


def _lenet_exported(tmp: Path) -> Made:
    return _program(models.torch_lenet(LENET_ARRAYS), (1, 12, 12), True), PLAIN


def _lenet_pt2(tmp: Path) -> Made:
    torch = pytest.importorskip("torch")
    torch.export.save(_lenet_exported(tmp)[0], tmp / "m.pt2")
    return tmp / "m.pt2", PLAIN


def _lenet_keras(tmp: Path) -> Made:
    return models.keras_lenet(LENET_ARRAYS), LoadOptions(layout="NCHW")


def _lenet_keras_file(tmp: Path) -> Made:
    models.keras_lenet(LENET_ARRAYS).save(tmp / "m.keras")
    return tmp / "m.keras", LoadOptions(layout="NCHW")


LENETS: dict[str, Maker] = {
    "onnx": _lenet_onnx,
    "onnx, of torch": _lenet_onnx_of_torch,
    "torch": _lenet_torch,
    "torch, ExportedProgram": _lenet_exported,
    "torch, .pt2": _lenet_pt2,
    "keras, object": _lenet_keras,
    "keras, .keras": _lenet_keras_file,
    "keras of channels first": lambda tmp: (models.keras_lenet(LENET_ARRAYS, channels_first=True), PLAIN),
}


def channels_first(mlp: MLP) -> MLP:
    """Return the network with the neurons of its convolutions ordered by channel instead of by position."""
    layers = list(mlp.layers)
    for i, (channels, height, width) in enumerate(models.LENET_MAPS):
        order = np.arange(layers[i].n_out).reshape(height, width, channels).transpose(2, 0, 1).reshape(-1)
        layer, above = layers[i], layers[i + 1]
        moved = {"weight": _dense(layer.weight)[order], "bias": layer.bias[order], "channels": layer.channels[order]}
        layers[i] = converters.mlp.replace(layer, **moved)
        layers[i + 1] = converters.mlp.replace(above, weight=_dense(above.weight)[:, order])
    return MLP(tuple(layers), input_shape=mlp.input_shape, info=mlp.info)


@pytest.mark.parametrize("name", names(LENETS))
def test_every_format_gives_the_same_lenet(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    source, options = LENETS[name](tmp_path)
    found = converters.load(source, options=options)
    assert found.input_shape == models.LENET_SHAPE
    assert found.info["layout"] == "NCHW"
    assert len(found.info["verification"]["largest_difference"]) == 4
    found = channels_first(found) if name.startswith("keras,") else found
    assert_same(found, converters.load(models.onnx_lenet(LENET_ARRAYS)))
    for layer, (channels, height, width) in zip(found.layers, models.LENET_MAPS, strict=False):
        np.testing.assert_array_equal(layer.channels, np.repeat(np.arange(channels), height * width))


def test_lenet_computes_what_plain_loops_compute() -> None:
    pytest.importorskip("onnx")
    x = np.random.default_rng(3).standard_normal((9, *models.LENET_SHAPE))
    mlp = converters.load(models.onnx_lenet(LENET_ARRAYS))
    for ours, theirs in zip(mlp.activations(x.reshape(9, -1)), models.expected_lenet(LENET_ARRAYS, x), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-6)


# -- files without their frameworks -----------------------------------------------------------------

GOLDEN = Path(__file__).parent / "golden"  # written by Keras 3.15 from the arrays of import_models


def without(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    """Make importing the packages fail, as where they are not installed."""
    for package in packages:
        for name in [n for n in sys.modules if n == package or n.startswith(f"{package}.")]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, package, None)


def test_keras_files_without_keras(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("h5py")
    without(monkeypatch, "keras", "tensorflow")
    small = models.mlp_arrays(sizes=(6, 5, 3))
    found = converters.load(GOLDEN / "mlp.keras")
    assert_same(found, models.expected_mlp(small))
    assert found.info["verification"]["judge"].startswith("nothing: Keras cannot be imported")
    lenet = converters.load(GOLDEN / "lenet.keras", options=LoadOptions(layout="NCHW"))
    x = np.random.default_rng(3).standard_normal((9, *models.LENET_SHAPE))
    for ours, theirs in zip(
        channels_first(lenet).activations(x.reshape(9, -1)), models.expected_lenet(models.lenet_arrays(), x), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-6)


def test_pt2_files_without_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, options = _pt2(tmp_path)
    without(monkeypatch, "torch")
    found = converters.load(source, options=options)
    assert_same(found, models.expected_mlp(MLP_ARRAYS))
    assert found.info["verification"]["judge"] == "nothing: torch is not installed"


def test_skops_files_without_scikit_learn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, options = _skops(tmp_path)
    without(monkeypatch, "sklearn", "skops")
    found = converters.load(source, options=options)
    assert_same(found, models.expected_mlp(MLP_ARRAYS))
    assert found.info["verification"]["judge"] == "nothing: scikit-learn is not installed"
