"""Accounting identities of energy, and the published arithmetic it must reproduce."""

from __future__ import annotations

import os
from dataclasses import fields, replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from accounting import KWS, counted, dense, figure, invented, placed, with_figures
from hypothesis import given, settings
from hypothesis import strategies as st

from neuro.activity import Activity, activity
from neuro.chip import Energy, Figure, load_chip
from neuro.deploy import deploy
from neuro.digital import AnnWork, DigitalOptions, MatrixWork
from neuro.energy import EnergyOptions, EnergyReport, energy
from neuro.engines import simulate
from neuro.errors import SpecError
from neuro.estimate import Assumption, Estimate
from neuro.latency import LatencyOptions
from neuro.machines import power_readings
from neuro.network import Population, Projection, SpikingNetwork
from neuro.validation import assumed, keyword_spotting
from neuro.views import lemaire_ann, ram

LOIHI, SANAFE = load_chip("loihi1"), load_chip("loihi1_sanafe")
DYNAMIC = EnergyOptions(static=False)
PIPELINED = EnergyOptions(latency=LatencyOptions(mode="pipelined"), static=False)
EVENTS = ("synaptic operations", "spike out", "spike routing", "axon messages")
activities = st.builds(
    lambda seed, layers, steps, spikes: invented(np.random.default_rng(seed), layers, steps, spikes),
    st.integers(0, 10**6),
    st.integers(1, 5),
    st.integers(1, 40),
    st.booleans(),
)
chips = st.sampled_from(["loihi1", "loihi1_sanafe", "spinnaker1", "spinnaker2", "odin", "truenorth", "xylo_audio2"]).map(load_chip)
views = st.sampled_from([DYNAMIC, PIPELINED, EnergyOptions(view="mac_ac"), EnergyOptions(view="lemaire")])
SMALL = placed(dense((6, 12, 9, 4)))
SPREAD = placed(dense((40, 300, 200, 10)), replace_limit := with_figures(LOIHI, "limits", neurons_per_core=figure(40, "1")), order="random")
RATES = st.floats(0, 1)


def close(a: Estimate, b: Estimate) -> bool:
    return all(getattr(a, end) == pytest.approx(getattr(b, end), rel=1e-12, abs=0) for end in ("low", "value", "high"))


# -- identities 1 to 4 ------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(act=activities, chip=chips, options=views)
def test_components_and_layers_add_up_to_the_total(act: Activity, chip, options: EnergyOptions) -> None:  # type: ignore[no-untyped-def]
    report = energy(act, chip, options)
    assert close(Estimate.total(report.by_component.values()), report.total)
    assert close(Estimate.total(report.by_layer.values()), report.total)
    assert set(report.sources) == set(report.by_component)


@settings(deadline=None, max_examples=40)
@given(rate=RATES, mode=st.sampled_from(["single", "pipelined"]))
def test_static_and_overhead_are_components_like_the_others(rate: float, mode) -> None:  # type: ignore[no-untyped-def]
    overhead = Assumption(value=0.05, source="a test", high=0.06)
    options = EnergyOptions(latency=LatencyOptions(mode=mode), overhead=overhead)
    report = energy(counted(SPREAD.network, rate, 6, SPREAD), SPREAD, options)
    assert close(Estimate.total(report.by_component.values()), report.total)
    assert close(Estimate.total(report.by_layer.values()), report.total)
    assert report.static is not None and report.overhead is not None
    assert close(report.dynamic + report.static + report.overhead, report.total)


@settings(deadline=None, max_examples=40)
@given(a=activities, b=activities, chip=chips)
def test_two_networks_one_after_the_other_cost_the_sum(a: Activity, b: Activity, chip) -> None:  # type: ignore[no-untyped-def]
    renamed = tuple(replace(p, name=f"second {p.name}") for p in b.populations)
    both = replace(a, populations=a.populations + renamed)
    # Each network is updated in its own steps only; equal steps make one run of both.
    b = replace(b, steps_single=a.steps_single, steps_pipelined=a.steps_pipelined, steps_window=a.steps_window)
    first, second, together = (energy(x, chip, DYNAMIC) for x in (a, b, both))
    shared = {"spike routing", "axon messages", "spike out"}  # need the senders' names, which were changed
    for component in set(together.by_component) - shared:
        parts = [r.by_component[component] for r in (first, second) if component in r.by_component]
        assert close(Estimate.total(parts), together.by_component[component])


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), layers=st.integers(1, 5), chip=chips)
def test_without_spikes_only_what_does_not_need_them_is_left(seed: int, layers: int, chip) -> None:  # type: ignore[no-untyped-def]
    silent = invented(np.random.default_rng(seed), layers, spikes=False)
    report = energy(silent, chip, DYNAMIC)
    assert not set(report.by_component) & set(EVENTS)
    if "neuron updates" in report.by_component:
        assert report.by_component["neuron updates"].value > 0


def test_without_spikes_nothing_is_routed_and_static_power_remains() -> None:
    report = energy(counted(SPREAD.network, 0.0, 6, SPREAD), SPREAD)
    assert not set(report.by_component) & set(EVENTS)
    assert report.static is not None and report.static.value > 0


@settings(deadline=None, max_examples=40)
@given(act=activities, factor=st.integers(1, 9))
def test_synaptic_energy_is_proportional_to_operations_and_updates_to_neuron_steps(act: Activity, factor: int) -> None:
    base, more = energy(act, LOIHI, DYNAMIC), energy(act.scaled(rate=factor), LOIHI, DYNAMIC)
    for component in ("synaptic operations",):
        if component in base.by_component:
            assert close(base.by_component[component] * factor, more.by_component[component])
    for mode, steps in (("single", act.steps_single), ("pipelined", act.steps_pipelined)):
        options = EnergyOptions(latency=LatencyOptions(mode=mode), static=False)
        report = energy(replace(act, populations=tuple(replace(p, fired=0) for p in act.populations)), LOIHI, options)
        neurons = sum(p.size for p in act.populations)
        assert report.by_component["neuron updates"].value == pytest.approx(neurons * steps * 52e-12, rel=1e-12)


@settings(deadline=None, max_examples=40)
@given(act=activities)
def test_binary_spikes_bound_the_synaptic_operations_of_a_dense_layer(act: Activity) -> None:
    for p in act.populations:
        for name, count in p.synaptic_operations.items():
            n_pre, n_post, _ = p.synapses[name]
            assert count <= n_pre * n_post * act.n_steps


@settings(deadline=None, max_examples=40)
@given(act=activities, compartments=st.integers(1, 2))
def test_every_update_is_charged_once(act: Activity, compartments: int) -> None:
    act = replace(act, populations=tuple(replace(p, compartments=compartments) for p in act.populations))
    report = energy(act, LOIHI, DYNAMIC)
    updates = sum(p.size for p in act.populations) * act.steps_single * compartments
    fired = sum(p.fired for p in act.populations) * compartments
    e = report.by_component["neuron updates"]
    assert e.value == pytest.approx(updates * 52e-12 + fired * (81e-12 - 52e-12), rel=1e-12)
    assert e.low <= e.value <= e.high == pytest.approx(updates * 81e-12, rel=1e-12)


# -- identities 5 to 8 ------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(rate=RATES, name=st.sampled_from([f.name for f in fields(Energy)]), factor=st.floats(1, 10))
def test_raising_a_figure_never_lowers_a_total(rate: float, name: str, factor: float) -> None:
    act = counted(SPREAD.network, rate, 5, SPREAD)
    before = energy(act, SPREAD)
    old = getattr(SPREAD.chip.energy, name)
    if not isinstance(old, Figure):
        return
    new = figure(old.value * factor, "J", old.low * factor, old.high * factor)
    after = energy(act, replace(SPREAD, chip=with_figures(SPREAD.chip, "energy", **{name: new})))
    for end in ("low", "value", "high"):
        assert getattr(after.total, end) >= getattr(before.total, end) * (1 - 1e-12)


@settings(deadline=None, max_examples=40)
@given(rate=RATES, more=RATES, steps=st.integers(1, 30), longer=st.integers(0, 30))
def test_more_spikes_or_steps_never_cost_less(rate: float, more: float, steps: int, longer: int) -> None:
    less, greater = sorted((rate, more))
    small = energy(counted(SPREAD.network, less, steps, SPREAD), SPREAD).total
    large = energy(counted(SPREAD.network, greater, steps + longer, SPREAD), SPREAD).total
    for end in ("low", "value", "high"):
        assert getattr(large, end) >= getattr(small, end) * (1 - 1e-12)


@settings(deadline=None, max_examples=40)
@given(rate=RATES, host=st.floats(0, 1e-3), slower=st.floats(0, 1e-3))
def test_static_energy_grows_with_time_and_is_power_times_chips_times_time(rate: float, host: float, slower: float) -> None:
    act = counted(SPREAD.network, rate, 5, SPREAD)

    def static(step: float) -> EnergyReport:
        time = Assumption(value=step, source="a test")
        return energy(act, SPREAD, EnergyOptions(latency=LatencyOptions(host_step=time)))

    a, b = static(host), static(host + slower)
    assert a.static is not None and b.static is not None
    for end in ("low", "value", "high"):
        assert getattr(b.static, end) >= getattr(a.static, end)
    seconds = next(t.count for t in a.terms if t.component == "static")
    assert a.static.value == pytest.approx(0.0963 * act.cores.n_chips * seconds, rel=1e-12)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["spinnaker1", "odin", "truenorth"])
def test_static_power_is_never_added_to_an_aggregate_figure(name: str) -> None:
    chip = load_chip(name)
    act = invented(np.random.default_rng(0))
    report = energy(act, chip, EnergyOptions(figures="aggregate"))
    assert set(report.by_component) <= {"synaptic operations", "host first layer"}
    assert report.static is None and not any(m.startswith("static") for m in report.missing)
    aggregate = chip.energy.aggregate_synaptic_event
    assert aggregate is not None
    expected = sum(p.synops for p in act.populations) * aggregate.value
    assert report.by_component["synaptic operations"].value == pytest.approx(expected, rel=1e-12)
    with pytest.raises(SpecError, match="no aggregate"):
        energy(act, LOIHI, EnergyOptions(figures="aggregate"))


@settings(deadline=None, max_examples=40)
@given(act=activities, chip=chips, options=views)
def test_ends_hold_the_value_and_exact_figures_have_no_width(act: Activity, chip, options: EnergyOptions) -> None:  # type: ignore[no-untyped-def]
    report = energy(act, chip, options)
    for e in (report.total, *report.by_component.values(), *report.by_layer.values()):
        assert e.low <= e.value <= e.high
    exact = {
        f.name: figure(value.value)
        for f in fields(Energy)
        if isinstance(value := getattr(chip.energy, f.name), Figure) and value.unit == "J"
    }
    same = exact.get("neuron_update_inactive")
    if same is not None:  # active and inactive apart leave the high end open: every update may be active
        exact["neuron_update_active"] = same
    assert energy(act, with_figures(chip, "energy", **exact), DYNAMIC).total.certain


@settings(deadline=None, max_examples=60)
@given(act=activities, name=st.sampled_from(["synaptic_operation", "neuron_update_inactive", "state_reset_chip"]))
def test_a_missing_figure_is_named_and_never_zero(act: Activity, name: str) -> None:
    chip = with_figures(LOIHI, "energy", **{name: None})
    whole, partial = energy(act, LOIHI, DYNAMIC), energy(act, chip, DYNAMIC)
    gone = set(whole.by_component) - set(partial.by_component)
    assert all(any(m.startswith(component) for m in partial.missing) for component in gone)
    assert partial.partial
    assert close(Estimate.total(v for k, v in whole.by_component.items() if k not in gone), partial.total)


def test_what_loihi_does_not_publish_is_listed_with_its_count() -> None:
    report = energy(counted(SPREAD.network, 0.1, 8, SPREAD), SPREAD)
    for what in ("barrier: energy.barrier", "input writes: energy.bias_write", "output reads: energy.output_read"):
        assert any(m.startswith(what) for m in report.missing), what
    assert any("300 biases an inference, in hidden1" in m for m in report.missing)
    assert any("420 biases an inference, in hidden2, output" in m for m in report.missing)
    assert report.partial and report.by_component["state reset"].value == pytest.approx(5.94e-6)


def test_a_chip_without_energies_gives_no_number() -> None:
    report = energy(invented(np.random.default_rng(1)), load_chip("xylo_audio2"), EnergyOptions(first_layer="not_counted"))
    assert report.empty and report.partial and report.total == Estimate(0.0, 0.0, 0.0)
    assert any(m.startswith("synaptic operations") for m in report.missing)


# -- identities 11 to 13, options ------------------------------------------------------------------


@pytest.mark.parametrize(("often", "macs"), [("once", 99_840), ("every_step", 998_400)])
def test_constant_current_costs_macs_once_or_in_every_step(often, macs: int) -> None:  # type: ignore[no-untyped-def]
    act = counted(dense((390, 256, 29)), 0.1, 10)
    per_mac = Assumption(value=2e-12, source="a test")
    report = energy(act, LOIHI, EnergyOptions(static=False, first_layer=often, host_mac=per_mac))
    assert report.by_component["host first layer"].value == pytest.approx(macs * 2e-12)
    assert report.first_layer == often
    convention = energy(act, None, EnergyOptions(view="mac_ac", first_layer=often))
    assert convention.by_component["host first layer"].value == pytest.approx(macs * 4.6e-12)


def test_the_host_is_costed_as_the_conventional_side_costs_itself() -> None:
    act = counted(dense((390, 256, 29)), 0.1, 10)
    report = energy(act, LOIHI, DYNAMIC)
    moved = (390 + 256) * 8 / 64 * 20e-12
    assert report.by_component["host first layer"].value == pytest.approx(99_840 * (0.3e-12 + 8 / 64 * 100e-12) + moved)
    assert any("every input is taken as nonzero" in n for n in report.notes) and any("int8" in n for n in report.notes)
    large = EnergyOptions(static=False, host=DigitalOptions(precision="fp32", counting="dense"))
    moved *= 4
    costly = energy(act, LOIHI, large)
    assert costly.by_component["host first layer"].value == pytest.approx(99_840 * (4.6e-12 + 32 / 64 * 100e-12) + moved)
    assert not any("host first layer" in n for n in costly.notes)
    out = energy(act, LOIHI, EnergyOptions(static=False, first_layer="not_counted"))
    assert "host first layer" not in out.by_component
    assert any("declared out" in m for m in out.missing)
    assert close(out.chip_only, energy(act, LOIHI, DYNAMIC).chip_only)


def test_a_host_that_skips_zeros_costs_what_the_ann_s_first_layer_costs() -> None:
    """The same inputs, the same design: the two sides agree on the first layer."""
    rng = np.random.default_rng(0)
    x = rng.random((9, 6)) * (rng.random((9, 6)) < 0.5)
    network = dense((6, 12, 9, 4))
    act = activity(simulate(network, x, 5, engine="reference"), network, inputs=x)
    macs = np.count_nonzero(x) / 9 * 12
    report = energy(act, LOIHI, DYNAMIC)
    terms = [t for t in report.terms if t.component == "host first layer"]
    assert terms[0].count == pytest.approx(macs)
    assert terms[0].energy.value == pytest.approx(macs * 0.3e-12)
    assert terms[1].energy.value == pytest.approx(macs * 8 / 64 * 100e-12)
    assert not any("taken as nonzero" in n for n in report.notes)
    # An activity counted without the deployment keeps what its inputs said when the deployment adds the cores.
    there = placed(network)
    assert energy(act, there, DYNAMIC).by_component["host first layer"] == report.by_component["host first layer"]
    with pytest.raises(SpecError, match="give the network as well"):
        activity(simulate(network, x, 5, engine="reference"), inputs=x)


def test_construction_of_reset_by_subtraction_doubles_the_compartment_updates() -> None:
    network = dense((6, 12, 9, 4))
    one, two = placed(network), placed(network, compartments=2)
    act = counted(network, 0.25, 8, two)
    assert act["hidden1"].compartments == 2 and act["output"].compartments == 1
    native, built = (energy(counted(network, 0.25, 8, d), d, DYNAMIC) for d in (one, two))
    for layer in ("hidden1", "hidden2"):
        a, b = (sum(t.energy.value for t in r.terms if (t.layer, t.component) == (layer, "neuron updates")) for r in (native, built))
        assert b == pytest.approx(2 * a)
    assert any("construction" in n for n in built.notes) and not any("construction" in n for n in native.notes)


def test_routing_charges_hops_by_direction_and_deliveries() -> None:
    act = counted(SPREAD.network, 0.2, 6, SPREAD)
    report = energy(act, SPREAD, DYNAMIC)
    assert act.traffic is not None
    t = act.traffic["hidden1"]
    assert t.hops_east_west and t.hops_north_south and t.within_tile < t.messages
    for name, t in act.traffic.items():
        e = Estimate.total(x.energy for x in report.terms if (x.layer, x.component) == (name, "spike routing"))
        value = t.messages * 1.7e-12 + t.hops_east_west * 3e-12 + t.hops_north_south * 4e-12  # type: ignore[operator]
        assert e.value == pytest.approx(value) and e.low == pytest.approx(value - (t.messages - t.within_tile) * 1.7e-12)


def test_energy_takes_an_activity_without_placement_and_finds_it_in_the_deployment() -> None:
    rec = simulate(SPREAD.network, np.random.default_rng(0).random((5, 40)), 4, engine="reference")
    assert energy(activity(rec), SPREAD) == energy(activity(rec, SPREAD), SPREAD)
    with pytest.raises(SpecError, match="not of this"):
        energy(activity(rec), SMALL)
    with pytest.raises(SpecError, match="not of this deployment"):
        energy(activity(rec, SPREAD), SMALL)
    with pytest.raises(SpecError, match="no neuromorphic chip"):
        energy(activity(rec), load_chip("cmos_45nm"))


def test_options_come_from_a_table_and_unknown_keys_are_refused() -> None:
    table = {
        "latency": {"mode": "pipelined", "host_step": {"value": 8e-6, "source": "a log"}},
        "host": {"node": "cmos_7nm"},
    }
    options = msgspec.convert(table, EnergyOptions)
    assert options.latency.mode == "pipelined" and options.host.node == "cmos_7nm"
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.convert({"statics": True}, EnergyOptions)
    with pytest.raises(msgspec.ValidationError, match="no source"):
        msgspec.convert({"overhead": {"value": 0.1, "source": ""}}, EnergyOptions)


# -- views ------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(act=activities)
def test_the_convention_is_4_6_and_0_9_picojoules(act: Activity) -> None:
    report = energy(act, None, EnergyOptions(view="mac_ac"))
    assert report.total.value == pytest.approx(act.input_macs * 4.6e-12 + act.synaptic_operations * 0.9e-12)


def test_lemaire_by_hand() -> None:
    """One fully connected layer 20 -> 7, T = 5, 30 spikes in, 8 spikes out, 8-bit memories."""
    rng = np.random.default_rng(0)
    act = invented(rng, layers=2, n_steps=5)
    p = replace(
        act.populations[1],
        size=7,
        spikes=8,
        synaptic_operations={"hidden1->hidden2": 210},
        synapses={"hidden1->hidden2": (20, 7, 140)},
    )
    act = replace(act, populations=(replace(act.populations[0], size=20, spikes=30), p))
    report = energy(act, None, EnergyOptions(view="lemaire"))
    layer = {t.component: t.energy.value for t in report.terms if t.layer == "hidden2"}

    def e(elements: int) -> float:
        return 1.09e-17 * elements * 8 + 13.2e-12

    assert ram(140, 8) == e(140)
    assert layer["potentials"] == pytest.approx(2 * (210 + 35) * e(7))
    assert layer["weights"] == pytest.approx(210 * e(140))
    assert layer["biases"] == pytest.approx(35 * e(7))
    assert layer["spikes in and out"] == pytest.approx((30 + 8) * e(0))
    assert layer["synaptic operations"] == pytest.approx((210 + 35 + 8) * 0.1e-12)
    assert layer["addresses"] == pytest.approx(210 * 0.1e-12)
    assert "leak" not in layer
    leaky = energy(replace(act, populations=(act.populations[0], replace(p, leaky=True))), None, EnergyOptions(view="lemaire"))
    assert leaky.by_component["leak"].value == pytest.approx(35 * 3.2e-12)


def test_lemaire_of_the_ann_by_hand() -> None:
    columns = np.full(20, 7)
    work = AnnWork((MatrixWork("a", 20, 7, columns, columns, np.ones(20), 1.0),), 1, 20, 7)
    reads = 20 * ram(20, 8) + 140 * ram(140, 8) + 7 * ram(7, 8) + 7 * ram(7, 8)
    assert lemaire_ann(work, 8).value == pytest.approx(reads + 140 * 3.2e-12 + 7 * 0.1e-12 + 140 * 0.1e-12)


# -- published arithmetic ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rate", "synops", "davies", "sanafe"),
    [
        (0.05, 86_400, 2.33, 3.51),
        (0.10, 172_800, 4.38, 6.63),
        (0.20, 345_600, 8.47, 12.9),
        (0.50, 864_000, 20.8, 31.6),
        (1.00, 1_728_000, 41.2, 62.7),
    ],
)
def test_keyword_spotting_estimates(rate: float, synops: int, davies: float, sanafe: float) -> None:
    """All three layers on the chip, T = 10, an assumed rate; no routing, no resets: the table of published figures."""
    network = dense(KWS, encoder="regular", fires=True)  # the table has all 541 neurons fire at the rate
    deployment = placed(network, "loihi1")
    act = counted(network, rate, 10, deployment)
    assert act.synaptic_operations == synops
    assert sum(p.size for p in act.populations if p.on_chip) == 541

    def microjoules(report: EnergyReport, *components: str) -> float:
        return sum(report.by_component[c].value for c in components) * 1e6

    def printed(number: float) -> object:
        digits = len(f"{number:.3g}".partition(".")[2])
        return pytest.approx(number, abs=0.5 * 10**-digits)

    report = energy(act, deployment, PIPELINED)
    assert microjoules(report, "synaptic operations", "neuron updates") == printed(davies)
    calibrated = placed(network, "loihi1_sanafe")
    report = energy(counted(network, rate, 10, calibrated), calibrated, PIPELINED)
    parts = ("synaptic operations", "neuron updates", "spike out", "axon messages")
    to_nowhere = act["output"].spikes * 111e-6  # the table charges a message to the output's spikes as well; ours go nowhere
    assert microjoules(report, *parts) + to_nowhere == printed(sanafe)
    published = next(r for r in power_readings() if r.platform.startswith("Loihi (Wolf"))
    assert report.chip_only.high < published.printed  # an inequality, nothing more


def test_blouw_table_1_arithmetic() -> None:
    rows = {r.platform: r for r in power_readings() if "Table 1" in r.source}
    assert len(rows) == 5
    for name, row in rows.items():
        assert row.running - row.idle == pytest.approx(row.dynamic, abs=1e-9), name
        energy_ = row.dynamic / row.rate  # type: ignore[operator]
        digits = len(f"{row.printed:g}".split("e")[0].replace("0.", "").lstrip("0"))
        agrees = float(f"{energy_:.{digits}g}") == pytest.approx(row.printed)
        assert agrees == (not name.startswith("GPU")), name
    gpu = rows["GPU Quadro K4000"]
    assert gpu.dynamic_energy == pytest.approx(29.67e-3, abs=5e-6) and gpu.printed == 0.0298
    assert "29.67" in gpu.note and "29.8" in gpu.note


@given(idle=st.floats(0, 0.11), other=st.floats(0, 0.11))
def test_changing_the_idle_changes_the_dynamic_energy_alone(idle: float, other: float) -> None:
    base = next(r for r in power_readings() if r.idle_of == "boot" and "logs" in r.platform)
    row = msgspec.structs.replace(base, idle=idle)
    assert row.total_energy - row.dynamic_energy == pytest.approx(row.idle_energy, abs=1e-12)
    assert row.above(other) - row.dynamic_energy == pytest.approx((idle - other) / row.rate, abs=1e-12)  # type: ignore[operator]
    assert msgspec.structs.replace(row, idle=other).total_energy == row.total_energy


def test_the_two_idles_of_the_same_run() -> None:
    boot, awake = (r for r in power_readings() if r.platform.startswith("Loihi (logs"))
    assert boot.dynamic_energy == pytest.approx(271.6e-6, rel=2e-3)
    assert awake.dynamic_energy == pytest.approx(47.0e-6, rel=3e-3)
    assert boot.total_energy == awake.total_energy


def _keyword_spotter() -> SpikingNetwork:
    folder = os.environ.get("SPIKEPORT_DATA")
    path = Path(folder or ".") / "kws" / "kws_mlp_390_256_256_29.npz"
    if folder is None or not path.exists():
        pytest.skip(f"{path} is absent; set SPIKEPORT_DATA")
    with np.load(path) as file:
        weights = [file[f"W{i}"].T.astype(np.float64) for i in range(3)]
        biases = [file[f"b{i}"].astype(np.float64) for i in range(3)]
    names = ("hidden1", "hidden2", "output")
    populations = [Population("encoder", 390, reset=None, encoder="regular", v_threshold=None, start=0, amplitude=1.0)]
    projections = [Projection("input", "encoder", np.eye(390), 0)]
    for i, (name, w, b) in enumerate(zip(names, weights, biases, strict=True)):
        last = i == 2
        theta = None if last else float(np.float32(np.abs(w).sum(axis=1).max() / 4))
        populations.append(
            Population(
                name,
                len(b),
                v_threshold=theta,
                amplitude=1.0 if last else theta,
                v_init=0.0 if last else theta / 2,  # type: ignore[operator]
                reset=None if last else "subtract",
                bias=b,
                start=i + 1,
            )
        )
        projections.append(Projection(populations[i].name, name, w, 1))
    return SpikingNetwork(tuple(populations), tuple(projections), 390)


def test_the_keyword_spotter_is_placed_and_held_against_its_measurement() -> None:
    deployment = deploy(_keyword_spotter(), "loihi1")
    cores = {name: len(deployment.placement.cores_of(name)) for name in ("hidden1", "hidden2", "output")}
    assert all(n >= 1 for n in cores.values()) and deployment.placement.n_chips == 1
    c = keyword_spotting(deployment, (0.05, 0.1, 0.2))
    # Compartments double by the construction of reset by subtraction; resets and routing are charged too.
    assert 4.38e-6 < c.chip_only.value < 12e-6
    assert c.platform.value == pytest.approx(224.6e-6, rel=2e-3)
    assert c.measured["boot"] == pytest.approx(271.6e-6, rel=2e-3)
    assert c.measured["awake (after a run)"] == pytest.approx(47.0e-6, rel=3e-3)
    assert c.chip_only.high < c.measured["boot"]
    assert c.share["boot"].value < 0.05
    assert any("barrier" in m for m in c.missing) and any("assumed" in s for s in c.sources)
    assert not any(f.name in ("total", "sum") for f in fields(c))  # three accounts, never merged


def test_an_assumed_rate_must_be_one() -> None:
    with pytest.raises(SpecError, match="0 to 1"):
        assumed(dense((4, 5, 3)), 1.5, 10)
