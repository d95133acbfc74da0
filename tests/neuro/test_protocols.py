"""Presentation protocols: what SRP and COS decide, on every engine that runs them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import Case, presentations
from test_conformance import RELAXED, assert_same, run

from neuro.engines import EngineOptions, Record, simulate
from neuro.errors import EngineError, NetworkError
from neuro.network import Population, Projection, Protocol, SpikingNetwork
from neuro.readout import EarlyExit

BOTH = pytest.mark.parametrize("engine", ["reference", "batched"])


def one_neuron(protocol: Protocol | None, weights: list[float]) -> SpikingNetwork:
    """Return input 1 -> relays -> one neuron (threshold 10, v_init 5) -> output; relay i fires in every (i + 1)-th step."""
    n = len(weights)
    return SpikingNetwork(
        (
            Population("relay", n, 2.0 * np.arange(1, n + 1), v_init=1.0, grid=1.0),
            Population("neuron", 1, 10.0, v_init=5.0, start=1, grid=1.0),
            Population("output", 1, reset=None, start=2, grid=1.0),
        ),
        (
            Projection("input", "relay", np.full((n, 1), 2.0), 0),
            Projection("relay", "neuron", np.array([weights])),
            Projection("neuron", "output", np.ones((1, 1))),
        ),
        1,
        protocol=protocol,
    )


@BOTH
def test_srp_silences_a_neuron_that_ends_its_pre_steps_at_zero(engine: str) -> None:
    """Drive 5: v is 10, fires, 0; then 5; then 10, fires, 0. The relay ends each step at v = 1, above 0.001 theta."""
    x = np.ones((3, 1))
    silenced = simulate(one_neuron(Protocol("srp", 1), [5.0]), x, 4, engine=engine)
    heard = simulate(one_neuron(Protocol("srp", 2), [5.0]), x, 4, engine=engine)
    strict = simulate(one_neuron(Protocol("srp", 2, {"threshold": 0.5}), [5.0]), x, 4, engine=engine)
    assert silenced.spike_counts["neuron"].tolist() == [0, 0, 0]
    assert strict.spike_counts["relay"].tolist() == [0, 0, 0]
    assert heard.spike_counts["neuron"].tolist() == [2, 2, 2]
    assert heard.total_steps == 4 + 2 + 3 - 1
    # Two pre-steps of three samples: the relay fires in both, the neuron in the first; no operation reaches the read-out.
    assert heard.info["protocol"]["spikes"] == {"relay": 6, "neuron": 3}
    assert heard.info["protocol"]["synaptic_operations"] == {"relay->neuron": 6, "neuron->output": 0}


@BOTH
@pytest.mark.parametrize(
    ("weights", "plain", "spikes", "potentials"),
    [
        # v = 11, fires, 1; then 1 + 6 - 13 = -6: one spike too many. v0 = 5 - max(10, 11 - 10 + 1) = -5.
        ([6.0, -13.0], 1, 0, [1, -6]),
        # v = 2, silent; then 2 - 3 + 25 = 24, fires, 14: one spike missing. v0 = 5 + max(10, 10 + 1 - 2) = 15.
        ([-3.0, 25.0], 1, 2, [2, 14]),
        # v = -16, silent; then 25, fires, 15: the highest silent potential decides. v0 = 5 + (10 + 1 + 16) = 32.
        ([-21.0, 62.0], 1, 2, [1, 32]),
        # v = 35, then 55: fires always, so it has no silent step and keeps v0 = 5.
        ([30.0], 2, 2, [25, 45]),
        # v = 8, 1: nothing to correct.
        ([3.0, -10.0], 0, 0, [8, 1]),
    ],
)
def test_cos_starts_a_neuron_so_that_one_spike_is_added_or_removed(
    engine: str, weights: list[float], plain: int, spikes: int, potentials: list[float]
) -> None:
    x, record = np.ones((2, 1)), Record(potentials=("neuron",), samples=(1,))
    without = simulate(one_neuron(None, weights), x, 2, engine=engine)
    shifted = simulate(one_neuron(Protocol("cos", 4), weights), x, 2, engine=engine, record=record)
    assert without.spike_counts["neuron"].tolist() == [plain] * 2
    assert shifted.spike_counts["neuron"].tolist() == [spikes] * 2
    assert shifted.potentials["neuron"][0, :, 0].tolist() == potentials
    assert shifted.total_steps == 2 + 4 + 3 - 1


@settings(max_examples=10, **RELAXED)
@given(
    case=presentations(),
    options=st.builds(EngineOptions, batch_size=st.sampled_from([None, 1, 2, 7]), kernel=st.sampled_from(["numba", "scipy"])),
    exit_rule=st.sampled_from([None, None, EarlyExit(threshold=3.0), EarlyExit(threshold=0.6, measure="softmax")]),
)
def test_batched_gives_the_spikes_of_the_reference(case: Case, options: EngineOptions, exit_rule: EarlyExit | None) -> None:
    if case.readout == "first_spike":
        exit_rule = None
    fast, slow = run(case, "batched", options, exit_rule), run(case, "reference", None, exit_rule)
    assert_same(fast, slow)
    assert fast.info["protocol"] == slow.info["protocol"]
    assert fast.total_steps == slow.total_steps == case.n_steps + case.network.protocol.pre_steps + case.network.depth - 1


@pytest.mark.slow
@settings(max_examples=6, **RELAXED)
@given(case=presentations())
def test_a_shorter_run_is_the_beginning_of_a_longer_one(case: Case) -> None:
    """The protocol depends on its pre-steps and not on T, so the answers at every step hold, pre-steps beyond T included."""
    full = run(case, "batched")
    if full.predictions_at is not None and case.readout != "delayed":
        short = run(replace(case, n_steps=1), "batched")
        np.testing.assert_array_equal(short.predictions, full.predictions_at[0])


def test_pre_steps_over_several_batches_do_not_mix_samples() -> None:
    """Samples of one batch enter while those before them are still in their pre-steps."""
    rng = np.random.default_rng(0)
    x = rng.random((23, 1))
    for protocol in (Protocol("srp", 7), Protocol("cos", 14)):
        network = one_neuron(protocol, [7.0, -9.0, 4.0])
        a = simulate(network, x, 3, options=EngineOptions(batch_size=4))
        b = simulate(network, x, 3, engine="reference")
        assert_same(a, b)
        assert len(set(a.spike_counts["neuron"])) > 1


def test_protocols_are_refused_where_they_cannot_run() -> None:
    network = one_neuron(Protocol("srp", 2), [5.0])
    with pytest.raises(EngineError, match="'synapses' cannot run the protocol 'srp'; use 'batched' or 'reference'"):
        simulate(network, np.ones((1, 1)), 2, engine="synapses")
    burst = replace(network["neuron"], max_spikes=3)
    populations = (network["relay"], burst, network["output"])
    with pytest.raises(NetworkError, match="neuron must fire single unsigned spikes"):
        replace(network, populations=populations, protocol=Protocol("cos", 2))
    with pytest.raises(NetworkError, match="pre_steps 3, expected a positive multiple of 2"):
        replace(network, protocol=Protocol("cos", 3))
    with pytest.raises(NetworkError, match="expected 'srp' or 'cos'"):
        replace(network, protocol=Protocol("sprint", 3))
