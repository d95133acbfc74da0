"""Conversion: methods of the table on a small trained network, exactness, saving, and data that cannot be used."""

from __future__ import annotations

import numpy as np
import pytest

from converters.convert import convert
from converters.methods import METHODS
from converters.mlp import MLP, Dense
from neuro.engines import simulate
from neuro.errors import ConversionError, SpecError
from neuro.network import SpikingNetwork

THRESHOLDS = ("max_norm", "percentile_norm", "ltb", "mmse", "gaussian", "spike_norm", "rmp", "threshold_shift")


def network(seed: int = 0, sizes: tuple[int, ...] = (12, 20, 15, 5)) -> MLP:
    rng = np.random.default_rng(seed)
    layers = [
        Dense(
            rng.normal(0, np.sqrt(2 / n), (m, n)).astype(np.float32),
            rng.normal(0, 0.1, m).astype(np.float32),
            "identity" if i == len(sizes) - 2 else "relu",
        )
        for i, (n, m) in enumerate(zip(sizes, sizes[1:], strict=False))
    ]
    return MLP(tuple(layers))


def inputs(n: int = 300, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).random((n, 12)).astype(np.float32)


@pytest.mark.parametrize("method", THRESHOLDS)
def test_a_method_gives_positive_thresholds_and_approaches_the_network(method: str) -> None:
    assert method in METHODS
    mlp, x = network(), inputs()
    snn = convert(mlp, calibration=x, method=method, n_steps=256)
    for p in snn.populations[:-1]:
        assert (np.asarray(p.v_threshold) > 0).all()
    assert snn.exact
    found = simulate(snn, x[:100], 256)
    wanted = mlp.forward(x[:100])
    assert np.mean(found.predictions == wanted.argmax(axis=1)) > 0.9
    assert np.sqrt(np.mean((found.outputs - wanted) ** 2)) < 0.15 * wanted.std()


@pytest.mark.parametrize("method", ["max_norm", "percentile_norm", "ltb"])
def test_saving_keeps_every_spike_and_the_seed_decides_everything(method: str, tmp_path) -> None:
    mlp, x = network(), inputs()
    snn = convert(mlp, calibration=x, method=method)
    again = convert(mlp, calibration=x, method=method)
    loaded = SpikingNetwork.load(snn.save(tmp_path / "snn.npz"))
    assert snn.sha256 == again.sha256 == loaded.sha256
    np.testing.assert_array_equal(simulate(snn, x[:20], 9).outputs, simulate(loaded, x[:20], 9).outputs)


@pytest.mark.parametrize("method", ["max_norm", "percentile_norm", "ltb"])
def test_the_first_layer_fires_as_often_as_the_closed_form_says(method: str) -> None:
    """With v(0) = theta/2 and constant drive z: clip(floor((v0 + z T)/theta), 0, T), in units of the grid."""
    mlp, x = network(), inputs(40)
    snn = convert(mlp, calibration=x, method=method)
    p, port, n_steps = snn.populations[0], snn.projections[0], 13
    unit = np.broadcast_to(p.grid, (p.size,))
    z = np.rint(x.astype(np.float64) @ np.asarray(port.weight, np.float64).T / unit) + np.rint(p.bias / unit)
    theta, v0 = np.rint(np.broadcast_to(p.v_threshold, (p.size,)) / unit), np.rint(np.broadcast_to(p.v_init, (p.size,)) / unit)
    expected = np.clip(np.floor((v0 + z * n_steps) / theta), 0, n_steps).sum(axis=1)
    np.testing.assert_array_equal(simulate(snn, x, n_steps).spike_counts["hidden1"], expected)


def test_a_dead_neuron_gets_a_positive_threshold() -> None:
    mlp, x = network(), inputs()
    first = mlp.layers[0]
    bias = first.bias.copy()
    bias[3] = -100.0
    dead = MLP((Dense(first.weight, bias), *mlp.layers[1:]))
    for method in ("max_norm", "percentile_norm", "ltb"):
        snn = convert(dead, calibration=x, method=method)
        assert (np.asarray(snn.populations[0].v_threshold) > 0).all()


def test_data_that_cannot_be_used_are_refused() -> None:
    mlp, x = network(), inputs()
    with pytest.raises(SpecError, match="ltb"):
        convert(mlp, calibration=x, method="ltbb")
    for bad in (x[:0], np.full((50, 12), np.nan, np.float32), x[:, :5]):
        with pytest.raises((ConversionError, SpecError)):
            convert(mlp, calibration=bad)
