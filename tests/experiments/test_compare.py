"""The comparison: every group, numbers that add up, tests on the right pairs, a verdict that follows from them."""

import shutil
from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest

from experiments.compare import compare, compare_store, pairs
from experiments.comparison import Comparison, Range, Row, SeedSummary
from experiments.config import parse
from experiments.statistics import mcnemar, wilson
from experiments.store import Store, TrialResult
from experiments.verdict import headline, verdict
from neuro.errors import StoreError


@pytest.fixture(scope="module")
def comparison(tiny) -> Comparison:
    return compare_store(tiny.experiment, tiny.folder)


def by(comparison, group, n_steps, seed=0):
    return next(r for r in comparison.group(group) if r.n_steps == n_steps and r.seed == seed)


def test_every_group_of_every_setting_is_there(comparison):
    assert len(comparison.rows) == 14 and comparison.seeds == (0, 1) and comparison.not_run == ()
    assert [len(comparison.group(g)) for g in ("ann", "ideal", "chip", "native")] == [2, 4, 4, 4]
    assert comparison.varied == ("run.n_steps", "deploy.reset", "seed")
    assert by(comparison, "chip", 8).label == "on loihi1, T = 8, seed 0"
    assert by(comparison, "native", 4, 1).label == "on loihi1 with native reset, T = 4, seed 1"
    assert len({r.label for r in comparison.rows}) == 14
    with pytest.raises(StoreError, match="no row"):
        comparison["nothing"]


def test_numbers_of_a_row_agree_with_each_other(comparison):
    for row in comparison.rows:
        assert row.n == 120 and row.confusion.sum() + row.silent_answers.sum() == 120
        right = int(np.sum(row.predictions == row.labels))
        assert row.accuracy == wilson(right, 120) and np.trace(row.confusion) == right
        assert row.per_class.shape == (10, 3)
        if row.group == "ann":
            assert row.macs == 64 * 24 + 24 * 16 + 16 * 10 and 0 < row.effective_macs < row.macs
            continue
        ann = comparison[row.ann]
        assert row.disagreement == wilson(int(np.sum(row.predictions != ann.predictions)), 120)
        assert row.loss.value == pytest.approx(ann.accuracy.value - row.accuracy.value)
        assert row.loss.low <= row.loss.value <= row.loss.high
        assert row.total_steps == row.n_steps + 2 and len(row.curve.steps) == row.n_steps
        assert row.curve.value[-1] == row.accuracy.value and row.curve.extra_steps == 2
        assert row.macs == 64 * 24  # the host's share of a constant-current input
        spikes = sum(layer.spikes for layer in row.layers)
        synops = sum(layer.synaptic_operations for layer in row.layers if "->" in layer.name)
        assert row.spikes == pytest.approx(spikes) and row.synaptic_operations == pytest.approx(synops)
        for layer in row.layers:
            if layer.by_step is not None:
                assert layer.by_step.sum() == pytest.approx(layer.spikes)
        fan_out = {"hidden1": 16, "hidden2": 10}
        by_name = {layer.name: layer for layer in row.layers}
        assert row.synaptic_operations == pytest.approx(sum(by_name[n].spikes * k for n, k in fan_out.items()))


def test_energy_adds_up_and_names_what_it_lacks(comparison):
    for row in comparison.rows:
        if row.group in ("ann", "ideal"):
            assert row.energy is None and row.latency is None and row.chip_use is None
            continue
        e = row.energy
        for end in ("value", "low", "high"):
            assert getattr(e.total, end) == pytest.approx(sum(getattr(c, end) for c in e.by_component.values()))
        for component, layers in e.by_layer.items():
            assert sum(layers.values()) == pytest.approx(e.by_component[component].value)
        assert {"synaptic operations", "neuron updates", "static"} <= set(e.by_component) and e.missing
        assert e.total.low <= e.total.value <= e.total.high
        t = row.latency
        assert t.steps == row.total_steps and t.per_inference.value > 0
        assert t.per_step.value * t.steps == pytest.approx(t.per_inference.value)
    for n_steps in (4, 8):
        # The construction takes two compartments a hidden neuron, so that it costs more updates than native reset.
        chip, native = by(comparison, "chip", n_steps), by(comparison, "native", n_steps)
        assert chip.neuron_updates == pytest.approx(native.neuron_updates * (2 * 40 + 10) / 50)


def test_chip_use_and_floor_plan(comparison):
    use = by(comparison, "chip", 8).chip_use
    assert use.chip == "loihi1" and use.weight_bits == 8 and use.cores == len(use.floor_plan)
    assert sum(c.neurons for c in use.floor_plan) == 24 + 16 + 10
    assert all(0 < c.use <= 1 for c in use.floor_plan) and all(r.share is None or r.share <= 1 for r in use.resources)
    assert sum(c.traffic for c in use.floor_plan) > 0
    assert any("subtraction" in note for note in use.notes)


def test_the_anns_cost_on_conventional_hardware(comparison):
    found = {(c.node_nm, c.precision, c.sparse) for c in comparison.conventional}
    assert found == {(n, p, s) for n in (45.0, 7.0) for p in ("int8", "fp32") for s in (True, False)}
    for c in comparison.conventional:
        assert comparison[c.ann].group == "ann" and c.missing and c.figures
        assert c.energy.value == pytest.approx(sum(v.value for v in c.by_component.values()))
        assert all(f.source and f.trust for f in c.figures)
    dense, sparse = (
        next(c for c in comparison.conventional if (c.node_nm, c.precision, c.sparse) == (45.0, "int8", s))
        for s in (False, True)
    )
    assert sparse.macs < dense.macs == 64 * 24 + 24 * 16 + 16 * 10 and sparse.energy.value < dense.energy.value


def test_rates_stand_for_activations_and_errors_add_up(comparison):
    row = by(comparison, "ideal", 8)
    assert [r.layer for r in row.rates] == ["hidden1", "hidden2"] == [t.layer for t in row.thresholds]
    for r in row.rates:
        assert r.n_samples == 60 and r.correlation > 0.95 and r.rmse < 0.15
        size = {"hidden1": 24, "hidden2": 16}[r.layer]
        assert r.density.sum() == 60 * size and len(r.activation) == len(r.rate) == 500
        assert 0 <= r.silent < 1 and 0 <= r.saturated <= 1
    for d in row.decomposition:
        parts = (d.inherited, d.clipping, d.quantisation, d.unevenness)
        assert sum(p["mean"] for p in parts) == pytest.approx(d.total["mean"], abs=1e-12)
        assert d.clipping["mean"] <= 1e-12  # a threshold only ever takes away
    first = row.decomposition[0]
    # A constant current: the closed form is exact, and only the grid lies between drive and activation.
    assert first.unevenness["rms"] < 1e-12 and first.inherited["rms"] < 2**-12
    assert by(comparison, "chip", 8).decomposition == ()


def test_finer_windows_quantise_finer(comparison):
    coarse, fine = (by(comparison, "ideal", t).decomposition[0] for t in (4, 8))
    assert fine.quantisation["rms"] < coarse.quantisation["rms"]
    assert fine.clipping == pytest.approx(coarse.clipping)


def test_traces_show_spikes_that_the_counts_hold(comparison):
    traced = [r for r in comparison.rows if r.traces]
    main = comparison[comparison.headline]
    assert {r.group for r in traced} == {"ideal", "chip", "native"} and main in traced
    for row in traced:
        assert (row.seed, row.n_steps) == (main.seed, main.n_steps)
        for trace in row.traces:
            assert trace.label == row.labels[trace.sample] and trace.answer == row.predictions[trace.sample]
            assert trace.starts["hidden1"] == 0 and trace.starts["output"] == 2
            for table in trace.spikes.values():
                assert table[:, 0].max(initial=0) < row.n_steps
            assert trace.potentials["hidden1"].shape == (row.n_steps, 12)


def test_pairs_that_are_tested(comparison):
    found = {(comparison[t.a].group, comparison[t.b].group) for t in comparison.tests}
    assert found == {("ann", "ideal"), ("ann", "chip"), ("ann", "native")} | {
        ("ideal", "chip"),
        ("ideal", "native"),
        ("chip", "native"),
    }
    assert len(comparison.tests) == 4 * 6 == len(pairs(comparison.rows))
    for t in comparison.tests:
        a, b = comparison[t.a], comparison[t.b]
        assert a.seed == b.seed and (a.group == "ann" or a.n_steps == b.n_steps)
        right_a, right_b = a.predictions == a.labels, b.predictions == b.labels
        assert t.only_a == np.sum(right_a & ~right_b) and t.p == mcnemar(t.only_a, t.only_b)
        assert t.p <= t.p_holm <= 1 and t.real == (t.p_holm < 0.05)
        assert t.difference.value == pytest.approx(b.accuracy.value - a.accuracy.value)


def test_summaries_over_seeds(comparison):
    assert len(comparison.summaries) == 7 and all(s.n_seeds == 2 for s in comparison.summaries)
    s = next(s for s in comparison.summaries if s.group == "chip" and s.settings["run.n_steps"] == 8)
    rows = [by(comparison, "chip", 8, seed) for seed in (0, 1)]
    assert s.rows == tuple(r.key for r in rows) and s.label == "on loihi1, T = 8"
    assert s.accuracy.value == pytest.approx(np.mean([r.accuracy.value for r in rows]))
    half = 12.706 * np.std([r.spikes for r in rows], ddof=1) / np.sqrt(2)  # t of one degree of freedom
    assert s.spikes.high - s.spikes.value == pytest.approx(half, rel=1e-3)
    ann = next(s for s in comparison.summaries if s.group == "ann")
    assert ann.energy is None and ann.loss is None


def test_the_pareto_front_holds_the_best_of_each(comparison):
    rows = [r for r in comparison.rows if r.energy is not None]
    front = [comparison[k] for k in comparison.pareto]
    assert min(r.energy.total.value for r in rows) == min(r.energy.total.value for r in front)
    assert max(r.accuracy.value for r in rows) == max(r.accuracy.value for r in front)
    for r in rows:
        beaten = any(
            f.accuracy.value >= r.accuracy.value
            and f.energy.total.value <= r.energy.total.value
            and f.latency.per_inference.value <= r.latency.per_inference.value
            and f.key != r.key
            for f in front
        )
        assert (r in front) or beaten


def test_facts(comparison):
    card = comparison.data[0]
    assert (card.name, card.n_test, card.n_inputs, card.task) == ("digits", 120, 64, "classification")
    assert card.class_counts["test"].sum() == 120 and len(card.examples) == 20 and card.licence and card.split
    assert card.duplicates == 0
    net = comparison.networks[0]
    assert net.sizes == (64, 24, 16, 10) and net.parameters == 64 * 24 + 24 + 24 * 16 + 16 + 160 + 10
    assert net.training["epochs"] == 6 and 0.5 < net.training["validation_accuracy"] <= 1
    chip = comparison.chips[0]
    assert chip.name == "loihi1" and any("synaptic operations" in f.used_by for f in chip.figures)
    assert any("time" in f.used_by for f in chip.figures)
    assert all(f.used_by and f.source for f in comparison.figures)
    assert len({(f.name, f.source) for f in comparison.figures}) == len(comparison.figures)
    assert any(o.where == "energy" for o in comparison.omissions)
    assert comparison.versions["numpy"] == np.__version__ and comparison.machine["cores"] >= 1
    assert parse(comparison.config).title == "Tiny" and comparison.seconds > 0


def test_disagreements_are_those_of_the_headlines_run(comparison):
    for d in comparison.disagreements:
        row = comparison[d.row]
        differ = np.flatnonzero(row.predictions != comparison[row.ann].predictions)
        assert d.total == len(differ) and set(d.samples) <= set(differ) and d.inputs.shape[1] == 64
        assert np.array_equal(d.snn, row.predictions[d.samples]) and np.array_equal(d.labels, row.labels[d.samples])


def test_save_then_load_is_the_identity(comparison, tmp_path):
    comparison.save(tmp_path / "c.npz")
    assert_equal(Comparison.load(tmp_path / "c.npz"), comparison)
    (tmp_path / "bad.npz").write_bytes((tmp_path / "c.npz").read_bytes()[:2000])
    with pytest.raises(StoreError):
        Comparison.load(tmp_path / "bad.npz")


def assert_equal(a, b):
    assert type(a) is type(b), (a, b)
    if isinstance(a, np.ndarray):
        np.testing.assert_array_equal(a, b)
    elif is_dataclass(a):
        for f in fields(a):
            if f.name != "settings":  # JSON has lists for tuples there
                assert_equal(getattr(a, f.name), getattr(b, f.name))
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_equal(a[key], b[key])
    elif isinstance(a, tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_equal(x, y)
    elif isinstance(a, float):
        assert a == b or (np.isnan(a) and np.isnan(b))
    elif not isinstance(a, list):
        assert a == b


def test_missing_failed_and_skipped_trials_are_listed(tiny, tmp_path):
    folder = shutil.copytree(tiny.folder, tmp_path / "s")
    trials = [t for t in tiny.experiment.trials if t.group == "native"]
    (folder / "trials" / f"{trials[0].key}.json").unlink()
    Store(folder).put(TrialResult(trials[1].key, trials[1].plain, "failed", reason="it broke", trace="at line 1"))
    Store(folder).put(TrialResult(trials[2].key, trials[2].plain, "skipped", reason="it does not fit"))
    found = {n.status: n for n in compare_store(tiny.experiment, folder).not_run}
    assert found["failed"].reason == "it broke" and found["skipped"].reason == "it does not fit"
    assert found["missing"].label == "on loihi1, native reset, digits, ltb, T = 4, seed 0"


def test_rows_without_their_ann_are_not_compared(tiny, tmp_path):
    results = [r for r in Store(tiny.folder, create=False) if r.trial["seed"] == 0 or r.trial["convert"] is not None]
    found = compare(results)
    assert len(found.rows) == 7 and len(found.not_run) == 6 and "its ANN has no result" in found.not_run[0].reason


def test_nothing_to_compare(tmp_path, tiny):
    with pytest.raises(StoreError, match="nothing to compare"):
        compare([])
    failed = [TrialResult(t.key, t.plain, "failed", reason="the same reason") for t in tiny.experiment.trials[:3]]
    with pytest.raises(StoreError) as caught:
        compare(failed)
    assert str(caught.value).count("the same reason") == 1


def test_two_versions_in_one_store_show(tiny):
    results = list(Store(tiny.folder, create=False))
    p = results[0].provenance
    results[0] = replace(results[0], provenance={**p, "versions": {**p["versions"], "numpy": "0.1"}})
    assert set(compare(results).versions["numpy"].split(", ")) == {"0.1", np.__version__}


# -- the verdict ------------------------------------------------------------------------------------


def row(key, group, accuracy, loss=None, cost=1.0, n=1000, seed=0, **settings):
    return Row(
        key=key,
        label=key,
        group=group,
        ann="ann",
        settings={"run.n_steps": 8, "deploy.chip": "loihi1", **settings},
        seed=seed,
        n=n,
        n_steps=8,
        accuracy=Range(accuracy, accuracy - 0.01, accuracy + 0.01),
        loss=None if loss is None else Range(loss, loss - 0.004, loss + 0.004),
        synaptic_operations=cost,
    )


def summary(r, *more):
    rows = (r, *more)
    losses = [x.loss.value for x in rows]
    return SeedSummary(
        r.label,
        r.group,
        r.settings,
        tuple(x.key for x in rows),
        len(rows),
        accuracy=r.accuracy,
        loss=Range(float(np.mean(losses)), min(losses), max(losses)),
    )


ANN = row("ann", "ann", 0.98)


def test_the_headline_is_the_cheapest_that_is_surely_close():
    rows = [
        ANN,
        row("cheap but bad", "chip", 0.95, 0.03, cost=1),
        row("good", "chip", 0.979, 0.001, cost=5),
        row("dear", "chip", 0.98, 0.0, cost=9),
        row("ideal", "ideal", 0.98, 0.0, cost=0.1),
    ]
    assert headline(rows) == "good"
    assert headline(rows[:2]) == "cheap but bad" and headline([ANN]) == ""
    # None is surely within a point of the ANN: the one that loses least, although the cheaper could be chance.
    assert headline([ANN, row("a", "chip", 0.96, 0.02, cost=1), row("b", "chip", 0.97, 0.01, cost=2)]) == "b"


def test_the_verdict_follows_the_test(comparison):
    from experiments.comparison import PairTest

    r = row("x", "chip", 0.95, 0.03)

    def said(p_holm, only_a=35, only_b=5):
        t = PairTest("ann", "x", 1000, only_a, only_b, p_holm, p_holm, Range(-0.03, -0.04, -0.02), p_holm < 0.05)
        return verdict([ANN, r], "x", [t], [summary(r)])

    assert "a real difference (exact McNemar test, Holm-corrected p = 0.001)" in said(0.001)
    assert "1000 samples" not in said(0.3) and "1,000 samples cannot tell from chance" in said(0.3)
    assert "3.00 points" in said(0.3) and "fewer than its source" in said(0.3)
    assert "On loihi1 with T = 8" in said(0.3) and said(0.3).count(". ") == 0
    assert "exactly those that its source answers right" in said(1.0, 0, 0)
    assert verdict([ANN], "", [], []) == "No spiking network was run."


def test_the_verdict_answers_before_it_counts():
    from experiments.comparison import Conventional, EnergyTable, PairTest

    def said(loss, joules, missing=()):
        parts = {"synaptic operations": Range(joules, joules / 2, joules), "static": Range(1.0, 1.0, 1.0)}
        energy = EnergyTable(total=Range(1 + joules, 1 + joules / 2, 1 + joules), by_component=parts, missing=missing)
        r = replace(row("x", "chip", 0.98 - loss, loss), energy=energy)
        t = PairTest("ann", "x", 1000, 35, 5, 0.001, 0.001, Range(-loss, -0.04, -0.02), True)
        rival = Conventional("45 nm, int8, weights in SRAM", "ann", 45.0, "int8", True, 1e4, Range(1e-6, 1e-6, 1e-6))
        return verdict([ANN, r], "x", [t], [summary(r)], [rival])

    assert "keeps its accuracy within a point but takes more energy than its source on digital hardware: it answers" in said(0.002, 5e-6)
    assert "without static power 5.0 times (2.5-5.0) the 1.00 uJ of its source at 45 nm, int8." in said(0.002, 5e-6)
    assert "loses accuracy but takes less energy" in said(0.03, 1e-7) and "10 % (5.0-10) of the 1.00 uJ" in said(0.03, 1e-7)
    assert "as far as figures are published" in said(0.03, 1e-7, ("barrier",)) and "as far" not in said(0.03, 1e-7)
    assert "loses accuracy and takes more energy" in said(0.03, 5e-6) and "may take more or less energy" in said(0.03, 1.5e-6)


def test_the_verdict_over_seeds_is_about_their_mean():
    rows = [row(f"s{i}", "chip", 0.95, 0.03 + d, seed=i) for i, d in enumerate((-0.001, 0.0, 0.001, 0.0))]
    text = verdict([ANN, *rows], "s0", [], [summary(*rows)])
    assert "over 4 seeds" in text and "a real difference (t test over seeds" in text
    rows = [row(f"s{i}", "chip", 0.95, d, seed=i) for i, d in enumerate((-0.03, 0.03, 0.01, -0.012))]
    text = verdict([ANN, *rows], "s0", [], [summary(*rows)])
    assert "which 4 seeds cannot tell from none" in text
    # Each network is sure of its own samples, the two together are sure of nothing: the sentence says both.
    rows = [row(f"s{i}", "chip", 0.95, d, seed=i) for i, d in enumerate((-0.001, 0.003, -0.001, -0.001))]
    rows = [replace(r, loss=Range(r.loss.value, r.loss.value - 0.001, r.loss.value + 0.001)) for r in rows]
    loose = replace(summary(*rows), loss=Range(0.0, -0.03, 0.03))
    other = [row("t", "chip", 0.95, 0.05), row("u", "chip", 0.95, 0.06), row("v", "chip", 0.95, 0.07)]
    text = verdict([ANN, *rows, *other], "s0", [], [loose])
    assert "the cheapest that with one of the seeds loses at most 1 point" in text and "may lose more than a point" in text


def test_the_verdict_of_a_regression_says_first_whether_it_fits():
    ann = replace(ANN, accuracy=None, r2=0.66)

    def said(r2):
        r = replace(row("x", "ideal", 0.95, 0.0), accuracy=None, loss=None, r2=r2)
        alone = SeedSummary(r.label, r.group, r.settings, (r.key,), 1)
        return verdict([ann, r], "x", [], [alone])

    assert "the network fits worse than its source: it predicts" in said(0.41) and "R² = 0.410, its source with 0.660" in said(0.41)
    assert "fits as well as its source" in said(0.655) and "fits as well as its source" in said(0.7)


def test_the_verdict_of_the_experiment_is_one_sentence_about_its_headline(comparison):
    main = comparison[comparison.headline]
    assert main.group == "chip" and comparison.verdict.endswith(".") and "loihi1" in comparison.verdict
    assert f"T = {main.n_steps}" in comparison.verdict and "seeds" in comparison.verdict
    assert "of 4 such runs" in comparison.verdict and "chosen on these samples" in comparison.verdict
