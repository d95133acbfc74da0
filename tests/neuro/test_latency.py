"""Times of an inference: hand checks, bounds, early exit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from accounting import KWS, counted, dense, figure, placed, with_figures
from hypothesis import given, settings
from hypothesis import strategies as st

from neuro.activity import activity
from neuro.chip import Barrier, load_chip
from neuro.engines import Record, simulate
from neuro.errors import SpecError
from neuro.estimate import Assumption, Estimate
from neuro.latency import LatencyOptions, LatencyReport, interpolate, latency
from neuro.network import Projection
from neuro.readout import EarlyExit
from neuro.validation import assumed

LOIHI = load_chip("loihi1")
SPREAD = placed(dense((40, 300, 200, 10)), with_figures(LOIHI, "limits", neurons_per_core=figure(40, "1")), order="random")
MODES = st.sampled_from(["single", "pipelined"])
RATES = st.floats(0, 1)


def timed(rate: float, steps: int, options: LatencyOptions | None = None) -> LatencyReport:
    return latency(counted(SPREAD.network, rate, steps, SPREAD), SPREAD, options)


def test_keyword_spotting_by_hand() -> None:
    """Layer 1 on two cores, every update active: 128 x 8.4 ns + 4992 x 3.5 ns + 0.13 us = 18.7 us a step."""
    network = dense(KWS, encoder="regular", fires=True)
    chip = with_figures(
        LOIHI,
        "limits",
        neurons_per_core=figure(128, "1"),
        synapse_memory_per_core=figure(10**7, "bit"),
    )
    deployment = placed(network, chip)
    assert len(deployment.placement.cores_of("hidden1")) == 2
    report = latency(counted(network, 0.1, 10, deployment), deployment, LatencyOptions(mode="pipelined"))
    # 390 inputs at 0.1 spikes a step on 128 neurons: 4992 synaptic operations.
    value = 128 * 5.3e-9 + 0.1 * 128 * 3.1e-9 + 4992 * 3.5e-9
    tiles = deployment.placement.tiles_per_chip
    barrier = (113 + (465 - 113) / 31 * (tiles - 1)) * 1e-9
    assert report.step is not None and report.step.value == pytest.approx(value + barrier, rel=1e-6)
    assert report.step.value < 18.7e-6 < report.step.high
    assert report.binding == "cores"
    # The measured run took 337 us a step, so it was bound by its host.
    host = Assumption(value=3.373e-3 / 10, source="Blouw et al. 2019, logs")
    bound = latency(counted(network, 0.1, 10, deployment), deployment, LatencyOptions(mode="pipelined", host_step=host))
    assert bound.binding == "host" and bound.per_inference is not None
    assert bound.per_inference.value == pytest.approx(3.373e-3)
    assert 337.3e-6 / report.step.value > 17


@settings(deadline=None, max_examples=60)
@given(rate=RATES, steps=st.integers(1, 20), host=st.floats(0, 1e-4), mode=MODES)
def test_no_bound_is_undercut_and_the_largest_binds(rate: float, steps: int, host: float, mode) -> None:  # type: ignore[no-untyped-def]
    time = Assumption(value=host, source="a test")
    report = timed(rate, steps, LatencyOptions(mode=mode, host_step=time))
    n_steps = steps if mode == "pipelined" else steps + 2
    assert report.steps == n_steps and report.per_inference is not None
    assert report.bounds["host"].value == pytest.approx(n_steps * host)
    for bound in report.bounds.values():
        for end in ("low", "value", "high"):
            assert getattr(report.per_inference, end) >= getattr(bound, end) * (1 - 1e-9)
    if report.binding != "host":
        assert report.bounds[report.binding].value >= max(report.bounds[b].value for b in ("cores", "barrier")) * (1 - 1e-9)
    assert report.per_inference.low <= report.per_inference.value <= report.per_inference.high


@settings(deadline=None, max_examples=40)
@given(rate=RATES, more=RATES, steps=st.integers(1, 10), longer=st.integers(0, 10), mode=MODES)
def test_more_spikes_or_steps_never_take_less_time(rate: float, more: float, steps: int, longer: int, mode) -> None:  # type: ignore[no-untyped-def]
    options = LatencyOptions(mode=mode)
    low, high = sorted((rate, more))
    a, b = timed(low, steps, options).per_inference, timed(high, steps + longer, options).per_inference
    assert a is not None and b is not None
    for end in ("low", "value", "high"):
        assert getattr(b, end) >= getattr(a, end) * (1 - 1e-9)


def test_the_busiest_core_decides_each_step_as_counted_spike_by_spike() -> None:
    """One sample: its own steps, worked out from its spikes."""
    x = np.random.default_rng(1).random((1, 40))
    names = ("hidden1", "hidden2")
    rec = simulate(SPREAD.network, x, 6, engine="reference", record=Record(spikes=names, samples=(0,)))
    report = latency(activity(rec, SPREAD), SPREAD)
    cores = SPREAD.placement.cores
    where = {n: SPREAD.placement.core_of_neuron(n) for n in ("hidden1", "hidden2", "output")}
    total = 0.0
    for t in range(8):
        work = np.array([sum(p.size for p in c.parts) for c in cores]) * 5.3e-9
        for name, post, start in (("hidden1", "hidden2", 0), ("hidden2", "output", 1)):
            fired = [n for _, k, n in rec.spikes[name] if k + start == t]
            np.add.at(work, where[name][fired], 8.4e-9 - 5.3e-9)
            work += len(fired) * 3.5e-9 * np.bincount(where[post], minlength=len(cores))
        total += work.max()
    assert report.bounds["cores"].value == pytest.approx(total, rel=1e-9)
    assert report.per_inference is not None
    assert report.per_inference.value == pytest.approx(total + 8 * report.bounds["barrier"].value / 8, rel=1e-9)


def test_the_value_is_at_most_the_mean_over_samples_which_is_at_most_the_high_end() -> None:
    rng = np.random.default_rng(2)
    x = rng.random((12, 40)) * rng.random((12, 1))
    every = [latency(activity(simulate(SPREAD.network, row[None], 6, engine="reference"), SPREAD), SPREAD) for row in x]
    mean = np.mean([r.per_inference.value for r in every if r.per_inference is not None])
    together = latency(activity(simulate(SPREAD.network, x, 6, engine="reference"), SPREAD), SPREAD).per_inference
    assert together is not None
    assert together.value <= mean * (1 + 1e-9) and mean <= together.high


def test_early_exit_shortens_the_decision() -> None:
    x = np.random.default_rng(0).random((60, 40)) * 0.2
    full = simulate(SPREAD.network, x, 8, engine="reference")
    early = simulate(SPREAD.network, x, 8, engine="reference", early_exit=EarlyExit(threshold=30.0))
    assert (early.decided_at < 8).any() and len(set(early.decided_at)) > 1
    a, b = (latency(activity(r, SPREAD), SPREAD) for r in (full, early))
    assert a.decision_mean is not None and a.decision_p95 is not None and a.per_inference is not None
    assert b.decision_mean is not None and b.decision_p95 is not None and b.per_inference is not None
    assert a.decision_mean.value == pytest.approx(a.decision_p95.value) == pytest.approx(a.per_inference.value)
    assert b.decision_mean.value < a.decision_mean.value
    assert b.decision_mean.value <= b.decision_p95.value <= a.decision_p95.value * 1.05
    assert b.per_inference.value == pytest.approx(b.decision_mean.value)
    assert b.steps == pytest.approx(early.decided_at.mean() + 2)
    ticked = replace(SPREAD, chip=with_figures(SPREAD.chip, "time", tick=figure(1e-3, "s")))
    c = latency(activity(early, ticked), ticked)
    assert c.decision_mean is not None and c.decision_mean.value == pytest.approx((early.decided_at.mean() + 2) * 1e-3)
    late = np.ceil(np.percentile(early.decided_at + 2, 95))
    assert c.decision_p95 is not None and c.decision_p95.value == pytest.approx(late * 1e-3)


def test_a_fixed_tick_is_the_step() -> None:
    for name, tick, choice in (
        ("truenorth", 1e-3, "nominal"),
        ("truenorth", 47.6e-6, "fastest"),
        ("spinnaker1", 1e-3, "nominal"),
    ):
        act = counted(dense((40, 30, 20, 10)), 0.1, 16)
        report = latency(act, load_chip(name), LatencyOptions(tick=choice))  # type: ignore[arg-type]
        assert report.binding == "tick" and report.per_inference is not None and report.throughput is not None
        assert report.per_inference.value == pytest.approx(18 * tick) and not report.missing
        assert report.throughput.value == pytest.approx(1 / (16 * tick))
    with pytest.raises(SpecError, match="no fastest tick"):
        latency(act, LOIHI, LatencyOptions(tick="fastest"))


def test_a_chip_without_times_has_no_latency() -> None:
    report = latency(counted(dense((40, 30, 10)), 0.1, 4), load_chip("speck_dynapcnn"))
    assert report.per_inference is None and report.step is None and report.binding == ""
    assert report.energy_delay_product(Estimate.exact(1.0)) is None
    without = latency(counted(SPREAD.network, 0.1, 4), LOIHI)
    assert without.per_inference is None and any("no placement" in m for m in without.missing)
    with pytest.raises(SpecError, match="no host-bound step"):
        latency(counted(dense((40, 30, 10)), 0.1, 4), load_chip("odin"), LatencyOptions(host_step="chip"))


def test_the_chips_own_host_step_and_its_range() -> None:
    report = timed(0.05, 10, LatencyOptions(host_step="chip"))
    assert report.per_inference is not None and report.bounds["host"].value == pytest.approx(12 * 8e-6)
    assert report.per_inference.high >= 12 * 337e-6
    assert "host" in report.sources and not any(m.startswith("host") for m in report.missing)
    assert any(m.startswith("host") for m in timed(0.05, 10).missing)


def test_energy_delay_product() -> None:
    report = timed(0.1, 10)
    energy = Estimate(2.0, 1.0, 3.0)
    product = report.energy_delay_product(energy)
    assert product is not None and report.decision_mean is not None
    assert product == energy * report.decision_mean and product.low < product.value < product.high


def test_throughput_is_that_of_a_full_pipeline() -> None:
    single, pipelined = timed(0.1, 10), timed(0.1, 10, LatencyOptions(mode="pipelined"))
    assert single.throughput == pipelined.throughput and pipelined.per_inference is not None
    assert pipelined.throughput is not None
    assert pipelined.throughput.value == pytest.approx(1 / pipelined.per_inference.value)
    assert single.per_inference is not None and single.per_inference.value > pipelined.per_inference.value
    assert any("separately" in n for n in pipelined.notes)


def test_barrier_between_published_sizes() -> None:
    points = (Barrier(1, figure(113e-9, "s")), Barrier(32, figure(465e-9, "s")))
    assert interpolate(points, 1) == Estimate.exact(113e-9) and interpolate(points, 32) == Estimate.exact(465e-9)
    middle = interpolate(points, 3)
    assert middle.value == pytest.approx((113 + 352 / 31 * 2) * 1e-9)
    assert (middle.low, middle.high) == (113e-9, 465e-9)
    beyond = interpolate(points, 40)
    assert beyond.value == 465e-9 < beyond.high
    four = interpolate(load_chip("loihi1_sanafe").time.barrier, 3)
    assert (four.low, four.value, four.high) == pytest.approx((1.0e-6, 1.2e-6, 1.4e-6))


def test_several_chips_take_the_published_barrier_of_more() -> None:
    chip = with_figures(LOIHI, "limits", neurons_per_core=figure(2, "1"))
    deployment = placed(dense((10, 300, 10)), chip)
    assert deployment.placement.n_chips == 2
    report = latency(activity(assumed(deployment.network, 0.1, 4), deployment), deployment)
    assert report.bounds["barrier"].value == pytest.approx(5 * 14.3e-6)
    assert report.bounds["barrier"].low < 5 * 1e-6 and any("256 chips" in n for n in report.notes)


def test_sequences_take_their_windows_one_after_the_other() -> None:
    network = dense((6, 12, 9, 4))
    loop = Projection("hidden1", "hidden1", np.random.default_rng(0).integers(-9, 9, (12, 12)).astype(float), "window")
    network = replace(network, projections=(*network.projections, loop))
    chip = with_figures(LOIHI, "time", tick=figure(1e-3, "s"))
    x = np.random.default_rng(0).random((5, 3, 6))
    act = activity(simulate(network, x, 7, engine="reference"), network)
    for mode, steps in (("single", 3 * 7 + 2), ("pipelined", 3 * 7)):
        report = latency(act, chip, LatencyOptions(mode=mode))  # type: ignore[arg-type]
        assert report.steps == steps and report.per_inference is not None
        assert report.per_inference.value == pytest.approx(steps * 1e-3)
