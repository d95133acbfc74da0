"""Faults: seeded, nested, the same on every engine, and doing what their name says."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from deployable import dense, networks, sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from neuro.chip import load_chip
from neuro.deploy import DeployOptions, deploy
from neuro.engines import EngineOptions, Record, simulate
from neuro.engines.workers import part_of
from neuro.errors import EngineError, SpecError
from neuro.faults import Faults, SpikeFaults, disturb, spike_faults, with_faults
from neuro.network import per_neuron
from neuro.quantize import quantize

X = np.random.default_rng(0).random((6, 10))


def network(deployed=False, encoder=False, native=False, comparison=">="):
    net = dense([10, 40, 30, 4], seed=1, encoder=encoder, gain=3.0)
    if deployed:
        return deploy(net, "loihi1", DeployOptions(reset="native" if native else "construction", order="in_order")).network
    return replace(net, populations=tuple(replace(p, comparison=comparison) for p in net.populations))


def spikes(net, name, n_steps=12):
    run = simulate(net, X, n_steps, engine="reference", record=Record(spikes=(name,), samples=tuple(range(len(X)))))
    found = np.zeros((len(X), n_steps, net[name].size), int)
    s = run.spikes[name]
    found[s[:, 0], s[:, 1], s[:, 2]] = 1
    return found


@pytest.mark.parametrize(("deployed", "native"), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("encoder", [False, True])
def test_dead_neurons_are_silent_and_stuck_ones_never_pause(deployed, native, encoder):
    healthy = network(deployed, encoder, native)
    broken = with_faults(healthy, Faults(dead_neurons=0.3, stuck_neurons=0.2, seed=4))
    for name in ("hidden1", "hidden2"):
        counts = spikes(broken, name).sum(axis=(0, 1))
        most = len(X) * 12
        p = broken[name]
        dead = per_neuron(p.v_init, p.size) == 0
        assert (counts[dead] == 0).all() and 0.1 < dead.mean() < 0.5
        stuck = np.flatnonzero((p.bias if p.bias is not None else 0) >= per_neuron(p.v_threshold, p.size))
        assert len(stuck) and (counts[stuck] == most).all()


@settings(max_examples=20)
@given(net=networks(), seed=st.integers(0, 2**31), rate=st.floats(0, 1))
def test_no_fault_changes_nothing_and_faults_are_reproducible(net, seed, rate):
    assert with_faults(net, Faults(seed=seed)).sha256 == net.sha256
    faults = Faults(dead_neurons=rate / 2, stuck_neurons=rate / 2, dead_synapses=rate / 2, stuck_synapses=rate / 2, seed=seed)
    assert with_faults(net, faults).sha256 == with_faults(net, faults).sha256


@settings(max_examples=5)
@given(net=networks(), seed=st.integers(0, 1000))
def test_engines_agree_on_faulty_networks(net, seed):
    faults = Faults(
        threshold_mismatch=0.1, weight_mismatch=0.1, dead_neurons=0.1, stuck_neurons=0.1, dead_synapses=0.1, stuck_synapses=0.05, seed=seed
    )
    x = np.random.default_rng(0).random((5, net.input_size))
    for candidate in (net, quantize(net, load_chip("loihi1"))[0]):
        faulty = with_faults(candidate, faults)
        assert faulty.exact
        a, b = (simulate(faulty, x, 6, engine=e) for e in ("reference", "batched"))
        np.testing.assert_array_equal(a.outputs, b.outputs)
        for name in a.neuron_counts:
            np.testing.assert_array_equal(a.neuron_counts[name], b.neuron_counts[name])


def test_a_higher_rate_breaks_everything_that_a_lower_one_breaks():
    net = network(deployed=True, encoder=True)
    previous = None
    for rate in (0.0, 0.05, 0.2, 0.5, 1.0):
        broken = with_faults(net, Faults(dead_synapses=rate, seed=2))
        dead = np.asarray(broken.projections[1].weight) == 0
        assert previous is None or (dead >= previous).all()
        previous = dead
    assert previous.all()
    half = with_faults(net, Faults(dead_synapses=0.5, seed=2)).projections[1].weight
    original = net.projections[1].weight
    assert abs(np.mean(half == 0) - np.mean(original == 0) - 0.5) < 0.05
    assert (half[half != 0] == original[half != 0]).all()


def test_stuck_synapses_sit_at_the_ends():
    net = network(deployed=True, encoder=True)
    original, weight = (n.projections[2].weight for n in (net, with_faults(net, Faults(stuck_synapses=0.3, seed=1))))
    changed = weight[weight != original]
    assert set(changed.tolist()) <= {int(original.min()), int(original.max())} and 0.2 < (weight != original).mean() < 0.35
    assert len(set(changed.tolist())) == 2


def test_mismatch_has_the_spread_asked_for():
    net = dense([10, 4000, 3], seed=0, encoder=True)
    faulty = with_faults(net, Faults(threshold_mismatch=0.1, weight_mismatch=0.2, seed=3))
    ratio = np.asarray(faulty["hidden1"].v_threshold) / net["hidden1"].v_threshold
    assert abs(ratio.std() - 0.1) < 0.005 and abs(ratio.mean() - 1) < 0.005
    # Thresholds stay on the grid; nothing else about the population changed.
    assert np.allclose(np.asarray(faulty["hidden1"].v_threshold) % net["hidden1"].grid % net["hidden1"].grid, 0)
    w = faulty.projections[1].weight / net.projections[1].weight
    assert abs(w.std() - 0.2) < 0.005 and abs(w.mean() - 1) < 0.005


def test_integers_stay_integers():
    net = network(deployed=True, encoder=True)
    faulty = with_faults(net, Faults(weight_mismatch=0.3, threshold_mismatch=0.3, dead_neurons=0.1, seed=0))
    for j in faulty.projections[1:]:
        assert np.issubdtype(np.asarray(j.weight).dtype, np.integer)
    for p in faulty.populations[1:]:
        for value in (p.v_threshold, p.bias, p.v_init):
            assert value is None or (np.asarray(value) % 1 == 0).all()


def test_the_input_and_the_read_out_are_spared_unless_asked():
    net = network(encoder=True)
    broken = with_faults(net, Faults(dead_neurons=1.0))
    assert broken["encoder"] is net["encoder"]
    assert np.asarray(broken.projections[3].weight == net.projections[3].weight).all()  # into the read-out
    silent = simulate(broken, X, 8, engine="reference")
    assert sum(silent.spike_counts[n].sum() for n in ("hidden1", "hidden2")) == 0 < silent.spike_counts["encoder"].sum()
    assert not np.any(with_faults(net, Faults(dead_neurons=1.0, readout=True)).projections[3].weight)


def test_sparse_weights_fail_where_they_are_stored():
    net = sparse(network(encoder=True), 0.3)
    faulty = with_faults(net, Faults(dead_synapses=0.5, stuck_synapses=0.2, dead_neurons=0.2, seed=1))
    for j, old in zip(faulty.projections, net.projections, strict=True):
        assert sp.issparse(j.weight) and (j.weight.indices == old.weight.indices).all()
    assert 0.3 < np.mean(faulty.projections[2].weight.data == 0) < 0.8


def test_a_bias_for_each_step_is_broken_in_every_step():
    net = network()
    rows = np.tile(np.asarray(net["hidden2"].bias), (12, 1))
    populations = tuple(replace(p, bias=rows) if p.name == "hidden2" else p for p in net.populations)
    broken = with_faults(replace(net, populations=populations), Faults(stuck_neurons=0.2, dead_neurons=0.2, seed=1))
    plain = with_faults(net, Faults(stuck_neurons=0.2, dead_neurons=0.2, seed=1))
    np.testing.assert_array_equal(broken["hidden2"].bias, np.tile(plain["hidden2"].bias, (12, 1)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"dead_neurons": -0.1}, "dead_neurons -0.1"),
        ({"stuck_synapses": 1.5}, "stuck_synapses 1.5"),
        ({"weight_mismatch": float("nan")}, "weight_mismatch nan"),
        ({"threshold_mismatch": float("inf")}, "threshold_mismatch inf"),
        ({"dead_neurons": 0.7, "stuck_neurons": 0.7}, "add up to 1.4"),
    ],
)
def test_wrong_rates_are_named(values, message):
    with pytest.raises(SpecError, match=message):
        with_faults(network(), Faults(**values))


# -- spikes lost and added --------------------------------------------------------------------------


def test_spike_faults_depend_on_the_sample_and_not_on_the_batch():
    p = network()["hidden1"]
    faults = SpikeFaults(lost=0.3, spurious=0.1, seed=7)
    together = list(spike_faults(faults, p, 40, np.array([3, 8])))
    alone = list(spike_faults(faults, p, 50, np.array([8])))
    assert len(together) == 40
    for (lost, spurious), (lost8, spurious8) in itertools.islice(zip(together, alone, strict=False), 40):
        np.testing.assert_array_equal(lost[1], lost8[0])  # a shorter run is a prefix of a longer one
        np.testing.assert_array_equal(spurious[1], spurious8[0])
    other = next(spike_faults(faults, network()["hidden2"], 1, np.array([8])))
    assert not np.array_equal(other[0][0][:30], together[0][0][1][:30])
    rates = np.mean([[a.mean(), b.mean()] for a, b in spike_faults(faults, p, 200, np.arange(20))], axis=0)
    assert abs(rates - [0.3, 0.1]).max() < 0.01


def test_disturbed_spikes():
    sent = np.array([[1, 1, 0, 0, -1, 3]])
    lost = np.array([[True, False, True, False, True, False]])
    spurious = np.array([[True, True, True, False, False, True]])
    np.testing.assert_array_equal(disturb(sent, lost, spurious), [[0, 1, 1, 0, 0, 3]])
    everything = np.ones_like(lost)
    np.testing.assert_array_equal(disturb(sent, everything, ~everything), np.zeros_like(sent))
    np.testing.assert_array_equal(disturb(sent, ~everything, ~everything), sent)


def test_wrong_chances_are_named():
    with pytest.raises(SpecError, match=r"lost 2\.0.*\n.*spurious -1\.0"):
        simulate(network(), X, 2, faults=SpikeFaults(lost=2.0, spurious=-1.0))


@pytest.mark.parametrize("encoder", [False, True])
def test_certain_faults_have_a_closed_form(encoder):
    net = network(deployed=True, encoder=encoder)
    n_steps, healthy = 8, simulate(net, X, 8, engine="reference")
    names = [p.name for p in net.populations if p.spiking]
    gone = simulate(net, X, n_steps, engine="reference", faults=SpikeFaults(lost=1.0))
    assert all(gone.neuron_counts[name].sum() == 0 for name in names)
    assert sum(ops.sum() for ops in gone.synaptic_operations.values()) == 0
    added = simulate(net, X, n_steps, engine="reference", faults=SpikeFaults(spurious=1.0))
    assert all((added.neuron_counts[name] == n_steps * len(X)).all() for name in names)
    # The first population hears nothing that fails: where both are certain, it seems to fire exactly where it did not.
    both = simulate(net, X, n_steps, engine="reference", faults=SpikeFaults(lost=1.0, spurious=1.0))
    np.testing.assert_array_equal(both.neuron_counts[names[0]], n_steps * len(X) - healthy.neuron_counts[names[0]])


def test_the_rates_are_those_asked_for():
    net, n_steps = dense([10, 400, 3], seed=1, gain=3.0), 25
    x = np.random.default_rng(1).random((40, 10))
    sent = simulate(net, x, n_steps).neuron_counts["hidden1"].sum()
    arrived = simulate(net, x, n_steps, faults=SpikeFaults(lost=0.2, seed=1)).neuron_counts["hidden1"].sum()
    assert abs(arrived / sent - 0.8) < 5 * np.sqrt(0.16 / sent)
    silent = 400 * n_steps * len(x) - sent
    more = simulate(net, x, n_steps, faults=SpikeFaults(spurious=0.01, seed=1)).neuron_counts["hidden1"].sum() - sent
    assert abs(more / silent - 0.01) < 5 * np.sqrt(0.0099 / silent)


def test_a_sample_loses_the_same_spikes_in_any_company():
    net = network(deployed=True, encoder=True)
    faults = SpikeFaults(lost=0.2, spurious=0.05, seed=5)
    together = simulate(net, X, 6, faults=faults)
    assert together.info["faults"] == {"lost": 0.2, "spurious": 0.05, "seed": 5}
    assert simulate(net, X, 6, faults=SpikeFaults(seed=5)).info["faults"] is None
    first = simulate(net, X[:4], 6, faults=faults, options=EngineOptions(batch_size=3))
    np.testing.assert_array_equal(first.outputs, together.outputs[:4])
    longer = simulate(net, X, 9, faults=faults)
    np.testing.assert_array_equal(longer.predictions_at[:6], together.predictions_at)
    assert (simulate(net, X, 6, faults=SpikeFaults(lost=0.2, spurious=0.05, seed=6)).outputs != together.outputs).any()


def test_workers_take_the_faults_along():
    from neuro.engines.task import Task
    from neuro.readout import Readout

    faults = SpikeFaults(lost=0.1)
    part = part_of(Task(x=X, n_steps=4, readout=Readout(), batch_size=2, faults=faults), 2, 5)
    assert part.faults is faults and part.sample_index(np.arange(3)).tolist() == [2, 3, 4]


@pytest.mark.slow
def test_a_compiled_program_loses_the_same_spikes():
    net, faults = network(encoder=True), SpikeFaults(lost=0.2, spurious=0.05, seed=5)
    options = EngineOptions(device="cpp_standalone", batch_size=4)
    compiled = simulate(net, X, 6, engine="synapses", faults=faults, options=options)
    plain = simulate(net, X, 6, engine="reference", faults=faults)
    np.testing.assert_array_equal(compiled.outputs, plain.outputs)
    np.testing.assert_array_equal(compiled.neuron_counts["hidden2"], plain.neuron_counts["hidden2"])


def test_protocols_have_no_faults_of_their_own():
    from neuro.network import Protocol

    net = replace(network(), protocol=Protocol("srp", 4))
    with pytest.raises(EngineError, match="protocol 'srp'.*without pre-steps"):
        simulate(net, X, 4, faults=SpikeFaults(lost=0.1))
