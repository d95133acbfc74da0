"""Deployment on Loihi 1: whole numbers within the chip's widths, placement within its limits, both resets, save and load."""

from __future__ import annotations

import numpy as np
import pytest

from neuro.chip import load_chip
from neuro.deploy import Deployment, DeployOptions, deploy
from neuro.encoding import with_encoder
from neuro.engines import simulate
from neuro.errors import CapacityError, EngineError
from neuro.network import Population, Projection, SpikingNetwork


def network(widths: tuple[int, ...] = (16, 30, 20, 4), seed: int = 0) -> SpikingNetwork:
    rng = np.random.default_rng(seed)
    populations, projections, pre, theta = [], [], "input", 1.0
    for layer, (n, m) in enumerate(zip(widths, widths[1:], strict=False)):
        weight, last = rng.normal(0, 1.5 / np.sqrt(n), (m, n)), layer == len(widths) - 2
        name = "output" if last else f"hidden{layer + 1}"
        settings = {"reset": None} if last else {"v_threshold": 2.0, "amplitude": 2.0, "v_init": 1.0}
        grid = float(np.abs(weight).max() * theta) / 4096 if last else 2.0 / 4096
        populations.append(Population(name, m, bias=rng.normal(0, 0.1, m), start=layer, grid=grid, **settings))
        projections.append(Projection(pre, name, weight, min(layer, 1)))
        pre, theta = name, 2.0
    return SpikingNetwork(tuple(populations), tuple(projections), widths[0])


def inputs(n: int = 60) -> np.ndarray:
    return np.random.default_rng(5).random((n, 16))


def test_the_numbers_are_the_chip_s() -> None:
    made = deploy(network(), load_chip("loihi1"))
    for j in made.network.projections:
        if j.pre == "input":
            continue
        weight = np.asarray(j.weight)
        exponent = np.gcd.reduce(weight.astype(np.int64).ravel())
        mantissa = weight / (exponent / 2 if exponent % 2 == 0 else exponent)
        assert (weight == np.rint(weight)).all()
        assert mantissa.min() >= -256 and mantissa.max() <= 254
    for p in made.network.populations:
        assert p.amplitude == 1.0 and p.grid == 1.0
        assert p.comparison == ">"
        if p.v_threshold is not None:
            assert float(np.max(p.v_threshold)) % 64 == 0
            assert float(np.max(p.v_threshold)) <= 131071 * 64


def test_rates_stay_close_and_engines_agree() -> None:
    snn, x = network(), inputs()
    made = deploy(snn, load_chip("loihi1"))
    ideal, chip = simulate(snn, x, 32), simulate(made, x, 32)
    assert np.mean(ideal.predictions == chip.predictions) > 0.9
    assert np.corrcoef(ideal.outputs.ravel(), chip.outputs.ravel())[0, 1] > 0.99
    reference = simulate(made, x, 32, engine="reference")
    np.testing.assert_array_equal(chip.outputs, reference.outputs)
    for name, counts in reference.spike_counts.items():
        np.testing.assert_array_equal(chip.spike_counts[name], counts)


def test_native_reset_is_to_zero_and_takes_fewer_compartments() -> None:
    construction = deploy(network(), load_chip("loihi1"), DeployOptions(reset="construction"))
    native = deploy(network(), load_chip("loihi1"), DeployOptions(reset="native"))
    assert {p.reset for p in native.network.populations} == {"zero", None}
    assert construction.placement.compartments["hidden1"] == 2 * native.placement.compartments["hidden1"]
    assert any("construction" in note for note in construction.notes)


def test_regular_spikes_go_through_weights_on_the_chip() -> None:
    snn, x = network(), inputs()
    made = deploy(with_encoder(snn, "regular", 1.0), load_chip("loihi1"))
    recording = simulate(made, x, 32)
    assert recording.synaptic_operations["encoder->hidden1"].min() > 0
    assert np.mean(recording.predictions == simulate(snn, x, 32).predictions) > 0.85
    with pytest.raises(EngineError):
        simulate(made, x, 8, encoding="poisson")


def test_a_deployment_is_saved_and_loaded_whole(tmp_path) -> None:
    made = deploy(network(), load_chip("loihi1"))
    loaded = Deployment.load(made.save(tmp_path / "deployment.npz"))
    assert loaded.network.sha256 == made.network.sha256
    x = inputs(9)
    np.testing.assert_array_equal(simulate(loaded, x, 7).outputs, simulate(made, x, 7).outputs)


def test_what_does_not_fit_is_refused_with_use_and_limit() -> None:
    with pytest.raises(CapacityError, match="5,000|5000"):
        deploy(with_encoder(network((5000, 20, 4)), "regular", 1.0), load_chip("loihi1"))


def test_cores_stay_within_their_limits() -> None:
    made = deploy(network((16, 700, 600, 4)), load_chip("loihi1"))
    for core in made.placement.cores:
        for resource, limit in made.placement.limits.items():
            assert core.use.get(resource, 0) <= limit, resource
    placed = sum(p.size for core in made.placement.cores for p in core.parts)
    assert placed == 700 + 600 + 4
