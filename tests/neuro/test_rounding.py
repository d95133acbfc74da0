"""Quantisation taken apart: it begins with the converted network, ends with the deployed one, and each step rounds what it names."""

from __future__ import annotations

import numpy as np
import pytest
from deployable import dense, networks, sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from neuro.deploy import DeployOptions, deploy
from neuro.engines import simulate
from neuro.errors import SpecError
from neuro.network import per_neuron
from neuro.rounding import FINE, rounding_steps

NAMES = ["converted", "thresholds", "weights", "biases", "potential"]
X = np.random.default_rng(0).random((12, 10))


def taken_apart(net, chip="loihi1", reset="construction"):
    made = deploy(net, chip, DeployOptions(reset=reset, order="in_order"))
    return made, {step.name: step.network for step in rounding_steps(net, made)}


@pytest.mark.parametrize("reset", ["construction", "native"])
@pytest.mark.parametrize("encoder", [False, True])
def test_the_ends_are_the_two_networks_and_each_step_rounds_what_it_names(encoder, reset):
    net = dense([10, 40, 30, 4], seed=1, encoder=encoder, gain=3.0)
    made, steps = taken_apart(net, reset=reset)
    assert list(steps) == NAMES
    assert steps["converted"] is net and steps["potential"] is made.network
    pair = ("hidden1", "hidden2")
    j = next(i for i, p in enumerate(net.projections) if (p.pre, p.post) == pair)
    scale = per_neuron(made.network["hidden2"].v_threshold, 30) / per_neuron(net["hidden2"].v_threshold, 30)
    exact = net.projections[j].weight * net["hidden1"].amplitude * scale[:, None]
    np.testing.assert_allclose(steps["thresholds"].projections[j].weight, exact, atol=FINE / 2 + 1e-9)
    for later in ("weights", "biases"):
        np.testing.assert_array_equal(steps[later].projections[j].weight, made.network.projections[j].weight)
    assert (steps["thresholds"].projections[j].weight != made.network.projections[j].weight).any()
    for name in ("thresholds", "weights"):
        bias = np.asarray(steps[name]["hidden2"].bias)
        np.testing.assert_allclose(bias, net["hidden2"].bias * scale, atol=FINE / 2 + 1e-9)
    np.testing.assert_array_equal(steps["biases"]["hidden2"].bias, made.network["hidden2"].bias)
    for name in NAMES[1:4]:
        p = steps[name]["hidden1"]
        assert p.v_floor is None and p.v_ceiling is None and p.comparison == made.network["hidden1"].comparison
    assert made.network["hidden1"].v_ceiling is not None
    assert all(step.exact for step in steps.values())


@settings(max_examples=5, deadline=None)
@given(net=networks(), pruned=st.booleans(), seed=st.integers(0, 99))
def test_every_step_gives_the_same_spikes_on_both_engines(net, pruned, seed):
    net = sparse(net, 0.6, seed) if pruned else net
    x = np.random.default_rng(seed).random((3, net.input_size))
    for step in taken_apart(net)[1].values():
        a, b = (simulate(step, x, 5, engine=engine) for engine in ("reference", "batched"))
        np.testing.assert_array_equal(a.outputs, b.outputs)
        for name in a.neuron_counts:
            np.testing.assert_array_equal(a.neuron_counts[name], b.neuron_counts[name])


def test_before_the_weights_are_rounded_only_the_chips_rules_differ():
    """Where the chip compares as the network does and v_init is whole, exact weights in its units give the network's own spikes."""
    net = dense([10, 40, 30, 4], seed=1, gain=3.0)
    _, steps = taken_apart(net, "spinnaker1")
    assert steps["thresholds"]["hidden1"].comparison == ">="
    own, scaled = (simulate(steps[name], X, 20, engine="reference") for name in ("converted", "thresholds"))
    apart = sum(abs(own.neuron_counts[name] - scaled.neuron_counts[name]).sum() for name in own.neuron_counts)
    assert apart <= 0.002 * sum(c.sum() for c in own.neuron_counts.values())  # v_init moves by less than a unit
    np.testing.assert_array_equal(own.predictions, scaled.predictions)


def test_another_network_is_refused():
    made, _ = taken_apart(dense([10, 8, 4], seed=1))
    with pytest.raises(SpecError, match="another network"):
        rounding_steps(dense([10, 8, 4], seed=2), made)
