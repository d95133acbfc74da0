"""The scorecard says what the rows hold, and its further runs measure what they claim to."""

import importlib.util
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from experiments.compare import compare_store
from experiments.diagnosis import decompositions, hidden
from experiments.probes import kept, without
from experiments.scorecard import agility, homogeneity, portability, running_time, scorecard, silent_failure
from neuro.engines import Record, simulate
from neuro.network import INPUT, Population, Projection, SpikingNetwork


@pytest.fixture(scope="module")
def comparison(tiny):
    return compare_store(tiny.experiment, tiny.folder)


def network(seed=0, sizes=(6, 9, 7, 4)):
    """Return a network of whole numbers."""
    rng = np.random.default_rng(seed)
    populations, projections, before = [], [], INPUT
    for i, (n_in, n_out) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        last = i == len(sizes) - 2
        name = "output" if last else f"hidden{i + 1}"
        reset = None if last else "subtract"
        theta = None if last else 64
        populations.append(
            Population(name, n_out, v_threshold=theta, v_init=0 if last else 32, reset=reset, start=i, grid=1.0)
        )
        weight = rng.integers(-20, 40, (n_out, n_in)).astype(float)
        projections.append(Projection(before, name, weight, delay=0 if i == 0 else 1))
        before = name
    return SpikingNetwork(tuple(populations), tuple(projections), sizes[0])


def test_every_topic_has_something_to_say_with_its_numbers(comparison):
    topics = {f.topic for f in comparison.scorecard}
    assert topics == {
        "computational homogeneity",
        "constant running time",
        "constant memory",
        "portability",
        "agility",
        "silent failure",
        "obscurity",
    }
    for f in comparison.scorecard:
        assert f.statement.endswith(".") and any(c.isdigit() for c in f.statement)
        assert all(len(r) == len(f.columns) for r in f.rows)
        assert comparison[f.row].group == "chip"
    assert scorecard(replace(comparison, headline="")) == ()


def test_homogeneity_counts_every_operation(comparison):
    row = comparison[comparison.headline]
    found = homogeneity(row, comparison[row.ann])
    assert sum(r[2] for r in found.rows) == pytest.approx(100.0, abs=0.02)
    assert {r[0]: r[1] for r in found.rows}["multiply-accumulate on the host"] == 64 * 24


def test_running_time_with_early_exit_gives_its_spread(comparison):
    row = comparison[comparison.headline]
    assert f"the same {row.total_steps} steps" in running_time(row, comparison[row.ann]).statement
    early = replace(row, decided_at=np.repeat([1, 3], 60))
    low, high = 1 + row.total_steps - row.n_steps, 3 + row.total_steps - row.n_steps
    assert f"{low} to {high} steps" in running_time(early, comparison[row.ann]).statement
    # A run that differs in its early exit alone stands beside the one at fixed T.
    both = running_time(row, comparison[row.ann], [row, replace(early, key="early")])
    assert [r[0] for r in both.rows] == ["ANN", "spiking, fixed T", "spiking, early exit"]
    assert both.rows[1][5:] == (row.total_steps, row.total_steps) and both.rows[2][5:] == (low, high)


def test_running_time_is_measured_on_inputs(comparison):
    row, probes = comparison[comparison.headline], comparison.probes
    found = next(f for f in comparison.scorecard if f.topic == "constant running time")
    by_how = {p.how: p for p in probes.paces}
    assert list(by_how) == ["dense", "zeros skipped", "fixed T", "early exit"] and len(found.rows) == 4
    dense, skipped, fixed, early = by_how.values()
    ann = comparison[row.ann]
    assert dense.operations.value == ann.macs and dense.variation == 0
    assert skipped.operations.value == pytest.approx(ann.effective_macs) and skipped.variation > 0
    # The probes run the test samples of the row again: the same operations, the same spread.
    mean, deviation, low, high = row.synop_spread
    assert (fixed.operations.value, fixed.operations.low, fixed.operations.high) == pytest.approx((mean, low, high))
    assert fixed.variation == pytest.approx(deviation / mean)
    assert fixed.steps.low == fixed.steps.high == row.total_steps >= early.steps.high > early.steps.low
    assert early.operations.value < fixed.operations.value and early.rule
    # Each input alone on the chip: more operations take longer, and the mean over inputs lies between.
    assert fixed.latency.low <= row.latency.per_inference.value <= fixed.latency.high
    assert early.latency.low < fixed.latency.low


def test_silent_failure_finds_the_class_that_is_hurt(comparison):
    row = comparison[comparison.headline]
    ann = comparison[row.ann]
    hurt = np.where(ann.predictions == 3, 5, ann.predictions)
    found = silent_failure(replace(row, predictions=hurt), ann, tuple("0123456789"), None)[0]
    assert "class that loses most is 3" in found.statement
    assert "some change is real" in found.statement
    line = next(r for r in found.rows if r[0] == "3")
    assert line[3] == 0 and line[2] - line[3] == pytest.approx(-line[6]) and line[7] <= line[6] <= line[8]


def test_silent_failure_looks_at_groups_too(comparison):
    row = comparison[comparison.headline]
    ann = comparison[row.ann]
    groups = np.arange(row.n) % 2
    answers = np.where(groups == 1, (ann.predictions + 1) % 10, ann.predictions)
    card = replace(comparison.data[0], group_name="writer", group_names=("ann", "bob"), test_groups=groups)
    found = silent_failure(replace(row, predictions=answers), ann, tuple("0123456789"), None, card)[1]
    assert found.columns[0] == "writer" and [r[:2] for r in found.rows] == [("ann", row.n // 2), ("bob", row.n // 2)]
    assert "writer that loses most is bob" in found.statement and found.rows[0][6] == 0


def test_agility_shows_the_probes(comparison):
    found = next(f for f in comparison.scorecard if f.topic == "agility")
    assert [r[0] for r in found.rows] == [
        "nothing",
        "half the steps",
        "half the hidden neurons",
        "half the weight bits",
    ]
    row, probes = comparison[comparison.headline], comparison.probes
    assert found.rows[0][3] == pytest.approx(100 * row.accuracy.value)
    assert "without retraining, when taking away half the steps" in found.statement
    # Probes of fewer samples are set against the accuracy on these.
    fewer = agility(row, replace(probes, n=100))
    assert fewer.rows[2][:3] == ("nothing, first 100 samples", "all", 100)


def test_portability_counts_where_the_answers_are_the_same(comparison):
    row = comparison[comparison.headline]
    found = portability(row, [row], comparison.probes)
    by_name = {r[0]: r for r in found.rows}
    # Whole numbers give the same spikes by every engine and from every file; other chips round differently.
    assert by_name["the same network"][3] == by_name["saved to a file and loaded"][3] == 0
    if importlib.util.find_spec("nir") is not None:
        assert next(r[3] for name, r in by_name.items() if name.startswith("as a NIR file")) == 0
    assert any(name.startswith("on ") for name in by_name) and "on loihi1" not in by_name
    assert all(r[2] == 120 and r[4] <= r[3] <= r[5] for r in found.rows)
    changed = replace(row, key="other", label="elsewhere", predictions=(row.predictions + 1) % 10)
    assert "at most 100.00 % of the answers differ" in portability(row, [row, changed], None).statement
    assert portability(row, [row], None) is None


def test_probes_are_of_the_headline_and_kept(comparison, tiny):
    probes = kept(tiny.folder, comparison.headline)
    assert probes == comparison.probes and probes.row == comparison.headline and probes.n == 120
    assert probes.accuracy == comparison[probes.row].accuracy
    assert [s.n for s in probes.strange] == [120, 120] and probes.attribution.layer == "hidden2"
    assert probes.attribution.removed == 2 and 0 < probes.attribution.half_share <= 0.5
    deciders = probes.attribution.deciders
    assert probes.attribution.tried == 120 and 1 <= len(deciders) <= 8 and len({d.neuron for d in deciders}) == len(deciders)
    assert all(d.spikes > 0 and (d.most >= 0) == (d.changed.value > 0) for d in deciders)
    assert [d.changed.value for d in deciders] == sorted((d.changed.value for d in deciders), reverse=True)
    said = [f for f in comparison.scorecard if f.columns[:1] == ("neuron of hidden2",)]
    assert len(said) == 1 and len(said[0].rows) == len(deciders) and (f"neuron {deciders[0].neuron} decides" in said[0].statement or "None of" in said[0].statement)
    assert kept(tiny.folder, "0" * 64) is None


@pytest.mark.parametrize("sparse", [False, True])
def test_without_neurons_is_the_network_that_lacks_them(sparse):
    net, x = network(), np.random.default_rng(1).integers(0, 3, (20, 6)).astype(float)
    gone = np.array([0, 4, 5])
    if sparse:
        parts = [replace(j, weight=sp.csr_array(j.weight)) if j.pre == "hidden1" else j for j in net.projections]
        net = replace(net, projections=tuple(parts))
    less = simulate(without(net, {"hidden1": gone}), x, 6, engine="reference")
    keep = np.setdiff1d(np.arange(9), gone)
    cut = []
    for j in network().projections:
        weight = j.weight[keep] if j.post == "hidden1" else j.weight[:, keep] if j.pre == "hidden1" else j.weight
        cut.append(replace(j, weight=weight))
    smaller = [replace(p, size=6) if p.name == "hidden1" else p for p in network().populations]
    expected = simulate(SpikingNetwork(tuple(smaller), tuple(cut), 6), x, 6, engine="reference")
    np.testing.assert_array_equal(less.outputs, expected.outputs)
    whole = simulate(without(net, {}), x, 6, engine="reference")
    np.testing.assert_array_equal(whole.outputs, simulate(network(), x, 6, engine="reference").outputs)


def test_decomposition_is_an_identity_on_any_network():
    net, rng = network(3), np.random.default_rng(0)
    x = rng.integers(0, 3, (30, 6)).astype(float)
    recording = simulate(net, x, 12, engine="reference", record=Record(rates=30))
    activations = {name: rng.uniform(0, 90, (30, net[name].size)) for name in hidden(net)}
    found = decompositions(net, recording, activations, x)
    assert [d.layer for d in found] == ["hidden1", "hidden2"]
    for d in found:
        parts = (d.inherited, d.clipping, d.quantisation, d.unevenness)
        assert sum(p["mean"] for p in parts) == pytest.approx(d.total["mean"])
        expected = recording.sample_rates[d.layer] - activations[d.layer] / 64
        assert d.total["mean"] == pytest.approx(expected.mean(), abs=1e-6)
        assert d.total["rms"] == pytest.approx(np.sqrt((expected**2).mean()), abs=1e-6)
    assert found[0].unevenness["rms"] < 1e-12 and found[1].unevenness["rms"] > 0
    # Elsewhere the closed form does not hold, and nothing is claimed.
    zero = [replace(p, reset="zero") if p.reset else p for p in net.populations]
    assert decompositions(replace(net, populations=tuple(zero)), recording, activations, x) == ()
