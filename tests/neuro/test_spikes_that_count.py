"""Every spike of a burst, every signed spike and every pre-step costs: in counts, joules and steps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from accounting import figure, with_figures

from neuro.activity import activity
from neuro.chip import load_chip
from neuro.encoding import with_encoder
from neuro.energy import EnergyOptions, energy
from neuro.engines import Record, simulate
from neuro.errors import SpecError
from neuro.latency import LatencyOptions, latency
from neuro.network import Population, Projection, Protocol, SpikingNetwork

ENGINES = ["reference", "batched"]
# One joule a synaptic operation and a thousand a spike, so that the counts can be read off the energy.
CHIP = with_figures(
    load_chip("loihi1"),
    "energy",
    synaptic_operation=figure(1.0),
    spike_out=figure(1000.0),
)


def chain(**middle: Any) -> SpikingNetwork:
    """Return input (2) -> relays (2; theta 1, 2) -> one neuron (theta 2) -> three read-out neurons."""
    return SpikingNetwork(
        (
            Population("relay", 2, np.array([1.0, 2.0]), v_init=0.0, grid=1.0),
            Population("neuron", 1, 2.0, v_init=0.0, start=1, grid=1.0, **middle),
            Population("output", 3, reset=None, start=2, grid=1.0),
        ),
        (
            Projection("input", "relay", np.eye(2), 0),
            Projection("relay", "neuron", np.array([[5.0, -8.0]])),
            Projection("neuron", "output", np.ones((3, 1))),
        ),
        2,
    )


def charged(counts: Any, component: str, layer: str) -> float:
    """Return the joules of one component of a layer on the chip of one joule an operation."""
    found = energy(counts, CHIP, EnergyOptions(static=False, first_layer="not_counted"))
    return sum(t.energy.value for t in found.terms if (t.component, t.layer) == (component, layer))


@pytest.mark.parametrize("engine", ENGINES)
def test_every_spike_of_a_burst_costs(engine: str) -> None:
    """Relay 1 fires in every step, relay 2 never: v = 5, sends 2; 1 + 5 = 6, sends 3; 0 + 5 = 5, sends 2; 1 + 5, sends 3."""
    x = np.array([[1.0, 0.0]] * 3)
    rec = simulate(chain(max_spikes=5), x, 4, engine=engine)
    counts = activity(rec, chain(max_spikes=5))
    assert counts["neuron"].spikes == 3 * (2 + 3 + 2 + 3)
    assert counts["output"].synops == 3 * 10 * 3
    assert counts.spikes == 3 * (4 + 10) and counts.synaptic_operations == 3 * (4 + 30)
    assert charged(counts, "synaptic operations", "output") == pytest.approx(30.0)
    assert charged(counts, "spike out", "neuron") == pytest.approx(10_000.0)
    # The 45 nm convention: 0.9 pJ an accumulate.
    view = energy(counts, None, EnergyOptions(view="mac_ac", first_layer="not_counted"))
    assert view.total.value == pytest.approx(34 * 0.9e-12)


@pytest.mark.parametrize("engine", ENGINES)
def test_every_signed_spike_costs(engine: str) -> None:
    """Relay 1 fires in every step, relay 2 in steps 2 and 4: a spike is sent and taken back, and each of the two costs."""
    net = chain(signed=True)
    strong = replace(net.projections[1], weight=np.array([[5.0, -16.0]]))
    net = replace(net, projections=(net.projections[0], strong, net.projections[2]))
    x = np.array([[1.0, 1.0]] * 2)
    rec = simulate(net, x, 4, engine=engine, record=Record(spikes=("neuron",), samples=(0,)))
    # v: 5 -> +1 -> 3;  3 + 5 - 16 = -8 -> -1 (one was sent) -> -6;  -1;  -1 + 5 - 16 = -12: nothing left to take back.
    assert rec.spike_counts["neuron"].tolist() == [2, 2]
    assert rec.outputs[0].tolist() == [0.0, 0.0, 0.0]  # +1 and -1: the sum is zero, the cost is two
    counts = activity(rec, net)
    assert counts["neuron"].spikes == 4 and counts["output"].synops == 2 * 2 * 3
    assert charged(counts, "synaptic operations", "output") == pytest.approx(6.0)
    assert charged(counts, "spike out", "neuron") == pytest.approx(2000.0)


def looped(x: np.ndarray, n_steps: int, tau: int) -> tuple[dict[str, int], dict[str, int]]:
    """Return spikes and operations of SRP with threshold 1e-3, pre-steps included, of ``chain()``; plain Python."""
    spikes, operations = {"relay": 0, "neuron": 0}, {"relay->neuron": 0, "neuron->output": 0}
    for sample in x:
        mask: dict[str, list[float]] = {}
        for steps in (tau, n_steps):
            v, u = np.zeros(2), 0.0
            for _ in range(steps):
                v = v + sample
                sent = (v >= np.array([1.0, 2.0])).astype(float)
                v = v - sent * np.array([1.0, 2.0])
                sent = sent * mask.get("relay", [1.0, 1.0])
                u += float(np.array([5.0, -8.0]) @ sent)
                fired = float(u >= 2.0)
                u -= 2.0 * fired
                fired *= mask.get("neuron", [1.0])[0]
                spikes["relay"] += int(sent.sum())
                spikes["neuron"] += int(fired)
                operations["relay->neuron"] += int(sent.sum())
                # The read-out hears nothing of the pre-steps.
                operations["neuron->output"] += 3 * int(fired) if mask else 0
            mask = {"relay": list((v > 1e-3 * np.array([1.0, 2.0])).astype(float)), "neuron": [float(u > 2e-3)]}
    return spikes, operations


@pytest.mark.parametrize("engine", ENGINES)
def test_pre_steps_cost_spikes_operations_updates_and_time(engine: str) -> None:
    tau, n_steps = 3, 2
    x = np.array([[1.0, 1.0], [1.0, 0.0], [3.0, 1.0]])
    net = replace(chain(), protocol=Protocol("srp", tau))
    rec = simulate(net, x, n_steps, engine=engine)
    counts = activity(rec, net, inputs=x)
    spikes, operations = looped(x, n_steps, tau)
    assert {name: counts[name].spikes for name in spikes} == spikes
    found = {name: n for p in counts.populations for name, n in p.synaptic_operations.items()}
    assert found == operations
    within = {name: int(c.sum()) for name, c in rec.spike_counts.items()}
    assert all(spikes[name] > within[name] for name in spikes)  # else this test could not tell
    steps = n_steps + tau + 3 - 1
    assert rec.total_steps == steps and counts.steps_single == 3 * steps and counts.steps_pipelined == 3 * (n_steps + tau)
    assert counts.updates(counts["neuron"], "single") == 3 * steps
    assert charged(counts, "synaptic operations", "neuron") == pytest.approx(operations["relay->neuron"] / 3)
    view = energy(counts, None, EnergyOptions(view="mac_ac"))
    assert view.total.value == pytest.approx(sum(operations.values()) / 3 * 0.9e-12 + 4 * 4.6e-12)
    assert counts.neurobench is not None and counts.neurobench.effective_acs == pytest.approx(sum(operations.values()) / 3)
    # A chip with a fixed step of 1 ms takes one for every step, pre-steps and pipeline included.
    tick = latency(counts, load_chip("truenorth"))
    assert tick.steps == steps and tick.per_inference is not None
    assert tick.per_inference.value == pytest.approx(steps * 1e-3) and tick.decision_mean.value == pytest.approx(steps * 1e-3)  # type: ignore[union-attr]
    piped = latency(counts, load_chip("truenorth"), LatencyOptions(mode="pipelined"))
    assert piped.per_inference.value == pytest.approx((n_steps + tau) * 1e-3)  # type: ignore[union-attr]
    assert counts.scaled(rate=2.0).spikes == 2 * counts.spikes
    with pytest.raises(SpecError, match="with pre-steps cannot be scaled to another number of steps"):
        counts.scaled(n_steps=8)


def test_cos_runs_its_pre_steps_once_a_layer() -> None:
    x = np.array([[1.0, 1.0], [1.0, 0.0]])
    rho, n_steps = 2, 4
    for net in (chain(), with_encoder(chain(), "regular")):
        plain = activity(simulate(net, x, n_steps), net)
        net = replace(net, protocol=Protocol("cos", 2 * rho))
        rec = simulate(net, x, n_steps)
        counts = activity(rec, net)
        assert rec.total_steps == n_steps + 2 * rho + net.depth - 1
        assert latency(counts, load_chip("truenorth")).steps == rec.total_steps
        assert counts.steps_window == 2 * (n_steps + rho) and plain.steps_window == 2 * n_steps
        assert counts["relay"].spikes == int(rec.spike_counts["relay"].sum()) + rec.info["protocol"]["spikes"]["relay"]
        assert counts["relay"].spikes > plain["relay"].spikes
