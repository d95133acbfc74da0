"""Break-even points, found again by putting them back into the account."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from accounting import counted, dense, figure, placed, with_figures
from hypothesis import given, settings
from hypothesis import strategies as st

from neuro.activity import activity
from neuro.breakeven import against_batch, against_rate, against_steps, break_even
from neuro.chip import load_chip
from neuro.digital import AnnWork, DigitalOptions, MatrixWork, design
from neuro.energy import EnergyOptions, energy
from neuro.engines import simulate
from neuro.readout import EarlyExit

LOIHI = load_chip("loihi1")
NETWORK = dense((40, 300, 200, 10))
PLACED = placed(NETWORK, with_figures(LOIHI, "energy", state_reset_chip=figure(0.0)))
OPTIONS = EnergyOptions(static=False, first_layer="not_counted")


def ann(share: float = 0.4) -> AnnWork:
    matrices = []
    for i, (a, b) in enumerate([(40, 300), (300, 200), (200, 10)]):
        columns = np.full(a, b)
        matrices.append(MatrixWork(f"layer{i + 1}", a, b, columns, columns, np.full(a, share), 1.0))
    return AnnWork(tuple(matrices), 1, 540, 510)


@settings(deadline=None, max_examples=25)
@given(rate=st.floats(0.01, 1), share=st.floats(0.05, 1), steps=st.integers(1, 40))
def test_at_the_crossing_the_energies_are_equal(rate: float, share: float, steps: int) -> None:
    act, work = counted(NETWORK, rate, steps, PLACED), ann(share)
    result = break_even(act, PLACED, work, options=OPTIONS)
    budget = design(work, DigitalOptions()).total.value
    assert result.ann.value == pytest.approx(budget)
    here = energy(act, PLACED, OPTIONS).dynamic
    assert result.snn == here and result.spike_rate == pytest.approx(rate)
    if result.rate.verdict == "crosses":
        assert result.rate.at is not None
        there = energy(act.scaled(rate=result.rate.at / rate), PLACED, OPTIONS).dynamic.value
        assert there == pytest.approx(budget, rel=1e-6)
        assert (here.value <= budget) == (rate <= result.rate.at * (1 + 1e-9))
        assert result.spikes_per_synapse_at == pytest.approx(result.rate.at / rate * result.spikes_per_synapse)
        for end, side in ((result.rate.low, -1), (result.rate.high, 1)):
            assert end is None or (end - result.rate.at) * side >= -1e-9
    elif result.rate.verdict == "never":
        assert energy(act.scaled(rate=0.0), PLACED, OPTIONS).dynamic.value > budget
    if result.steps.verdict == "crosses":
        assert result.steps.at is not None
        below, above = (against_steps(act, PLACED, [t], OPTIONS)[0].value for t in (int(result.steps.at), int(result.steps.at) + 1))
        assert below <= budget * (1 + 1e-9) and budget <= above * (1 + 1e-9)
    else:
        assert result.steps.verdict == "never" and against_steps(act, PLACED, [1], OPTIONS)[0].value > budget
    if result.batch.verdict == "crosses":
        assert result.batch.at is not None and result.batch.at > 1
        before, after = (against_batch(work, [int(result.batch.at) - k])[0].value for k in (1, 0))
        assert after <= here.value < before
    for crossing in (result.rate, result.steps, result.batch):
        assert crossing.words


def test_it_is_said_when_the_spiking_network_loses_everywhere() -> None:
    act, work = counted(NETWORK, 0.2, 16, PLACED), ann(0.01)
    loser = break_even(act, PLACED, work, ann=DigitalOptions(node="cmos_7nm", batch=64), options=OPTIONS)
    assert loser.snn.value > loser.ann.value
    assert (loser.rate.verdict, loser.steps.verdict, loser.batch.verdict) == ("never", "never", "never")
    assert loser.rate.at is None and "even without a spike" in loser.rate.words
    assert "already at batch 1" in loser.batch.words and loser.batch_size == 64


def test_it_is_said_when_it_wins_everywhere() -> None:
    cheap = with_figures(
        PLACED.chip,
        "energy",
        synaptic_operation=figure(1e-18),
        neuron_update_active=figure(1e-18),
        neuron_update_inactive=figure(1e-18),
        spike_within_tile=figure(0.0),
        hop_east_west=figure(0.0),
        hop_north_south=figure(0.0),
    )
    winner = break_even(counted(NETWORK, 0.2, 16), cheap, ann(1.0), options=OPTIONS)
    assert (winner.rate.verdict, winner.batch.verdict) == ("always", "always")
    assert winner.partial  # without a placement nothing is routed or reset


def test_silent_and_early_runs_have_no_axis_to_scale() -> None:
    silent = break_even(counted(NETWORK, 0.0, 16, PLACED), PLACED, ann(), options=OPTIONS)
    assert silent.rate.verdict == "unknown" and "silent" in silent.rate.words
    x = np.random.default_rng(0).random((60, 40)) * 0.2
    rec = simulate(NETWORK, x, 8, engine="reference", early_exit=EarlyExit(threshold=30.0))
    early = break_even(activity(rec, PLACED), PLACED, ann(), options=OPTIONS)
    assert early.steps.verdict == "unknown" and early.rate.verdict in ("crosses", "never", "always")


def test_boundaries_hold_what_they_say() -> None:
    act, work = counted(NETWORK, 0.05, 8, PLACED), ann()
    options = EnergyOptions()
    energies = {b: break_even(act, PLACED, work, options=options, boundary=b).snn for b in ("chip_only", "dynamic", "total")}  # type: ignore[arg-type]
    assert energies["chip_only"].value < energies["dynamic"].value < energies["total"].value
    whole = energy(act, PLACED, options)
    assert energies == {"chip_only": whole.chip_only, "dynamic": whole.dynamic, "total": whole.total}


def test_curves_are_the_account_at_each_point() -> None:
    act, work = counted(NETWORK, 0.1, 8, PLACED), ann()
    rates = against_rate(act, PLACED, [0.05, 0.1, 0.2], OPTIONS)
    assert rates[1].value == pytest.approx(energy(act, PLACED, OPTIONS).dynamic.value)
    assert rates[0].value < rates[1].value < rates[2].value
    steps = against_steps(act, PLACED, [4, 8, 16], OPTIONS)
    assert steps[1] == energy(act, PLACED, OPTIONS).dynamic and steps[0].value < steps[1].value < steps[2].value
    batches = against_batch(work, [1, 8, 64])
    options = [DigitalOptions(batch=b) for b in (1, 8, 64)]
    assert [b.value for b in batches] == [design(work, o).total.value for o in options]
    assert msgspec.structs.replace(options[0], batch=8) == options[1]
