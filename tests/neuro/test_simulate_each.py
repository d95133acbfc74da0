"""simulate_each: one run of T steps is every shorter run too, to the last spike."""

from __future__ import annotations

import numpy as np
import pytest

import converters
import neuro
from neuro.errors import EngineError, SpecError
from neuro.recording import ARRAYS

STEPS = (1, 2, 3, 8)
GROUPS = ("spike_counts", "step_counts", "neuron_counts", "synaptic_operations")
Trained = tuple[converters.MLP, np.ndarray]


@pytest.fixture(scope="module")
def trained() -> Trained:
    """Return a small network and inputs."""
    rng = np.random.default_rng(3)
    widths = (12, 20, 15, 4)
    layers = []
    for n_in, n_out in zip(widths, widths[1:], strict=False):
        weight = rng.normal(size=(n_out, n_in)) / np.sqrt(n_in)
        kind = "identity" if n_out == widths[-1] else "relu"
        layers.append(converters.Dense(weight.astype(np.float32), rng.normal(size=n_out).astype(np.float32) * 0.1, kind))
    return converters.MLP(tuple(layers)), rng.random((70, 12)).astype(np.float32)


@pytest.mark.parametrize("method", ["ltb", ["ltb", "signed"], "burst", ["ltb", "srp"], ["ltb", "cos"]], ids=str)
@pytest.mark.parametrize("engine", ["batched", "reference"])
def test_every_recording_is_that_of_a_run_of_its_own(trained: Trained, method: object, engine: str) -> None:
    mlp, x = trained
    network = converters.convert(mlp, calibration=x, method=method, check=False)  # type: ignore[arg-type]
    options = neuro.EngineOptions(batch_size=32)
    each = neuro.simulate_each(network, x, STEPS, engine=engine, options=options)
    assert list(each) == list(STEPS)
    for n_steps, found in each.items():
        assert_same(found, neuro.simulate(network, x, n_steps, engine=engine, options=options))


def test_spike_coded_input_on_several_processes(trained: Trained) -> None:
    mlp, x = trained
    network = converters.convert(mlp, calibration=x, check=False)
    two = neuro.EngineOptions(workers=2)
    each = neuro.simulate_each(network, x, (2, 5), encoding="poisson", seed=5, options=two)
    for n_steps, found in each.items():
        assert_same(found, neuro.simulate(network, x, n_steps, encoding="poisson", seed=5))


def test_what_depends_on_t_is_refused(trained: Trained) -> None:
    mlp, x = trained
    made = converters.convert(mlp, calibration=x, method="mmse", n_steps=4, check=False)
    with pytest.raises(EngineError, match="converted for T = 4"):
        neuro.simulate_each(made, x, (2, 4))
    network = converters.convert(mlp, calibration=x, check=False)
    with pytest.raises(EngineError, match="delayed"):
        neuro.simulate_each(network, x, (2, 8), readout="delayed")
    with pytest.raises(SpecError, match="n_steps is 0"):
        neuro.simulate_each(network, x, (0, 8))
    with pytest.raises(SpecError, match="at least one"):
        neuro.simulate_each(network, x, ())


def assert_same(found: neuro.Recording, wanted: neuro.Recording) -> None:
    """Compare answers and counts of two recordings."""
    assert (found.n_steps, found.total_steps) == (wanted.n_steps, wanted.total_steps)
    for name in ARRAYS:
        a, b = getattr(found, name), getattr(wanted, name)
        assert (a is None) == (b is None) and (a is None or np.array_equal(a, b)), name
    for group in GROUPS:
        a, b = getattr(found, group), getattr(wanted, group)
        assert a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a), group
    assert found.info["protocol"] == wanted.info["protocol"]
