"""What SRP and COS take on top of their T steps is in every figure of a comparison: steps, spikes, operations, curves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from experiments.compare import compare_store
from experiments.comparison import Comparison, Row
from experiments.config import parse
from experiments.datasets import load_dataset
from experiments.export import table
from experiments.plan import resolved
from experiments.report import tables
from experiments.report.glance import glance
from experiments.report.panels.accuracy import accuracy_steps
from experiments.report.panels.panel import focus
from experiments.runner import RunnerOptions, run
from experiments.stages import Bench, Context
from experiments.store import Store
from experiments.summaries import comparison_lines
from neuro.network import SpikingNetwork

CONFIG = """
title = "Pre-steps"
[data]
name = "digits"
limit = 120
[model]
hidden = [24, 16]
[train]
epochs = 6
[convert]
method = ["ltb", ["ltb", {name = "srp", tau = 3}], ["ltb", {name = "cos", rho = 2}], "burst", ["ltb", {name = "signed", floor_at_rest = true}]]
calibration = 200
[run]
n_steps = [4, 8]
[deploy]
chip = []
"""
PRE = {"ltb": 0, "ltb+srp": 3, "ltb+cos": 4, "burst": 0, "ltb+signed": 0}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Comparison]:
    folder = tmp_path_factory.mktemp("pre") / "store"
    experiment = resolved(parse(CONFIG))
    assert run(experiment, folder, RunnerOptions(samples=0)).failed == 0
    return Store(folder), compare_store(experiment, folder)


def by(comparison: Comparison, method: str, n_steps: int) -> Row:
    return next(r for r in comparison.rows if r.settings.get("convert.method") == method and r.n_steps == n_steps)


def test_pre_steps_are_in_the_steps_the_spikes_and_the_operations(ran: tuple[Store, Comparison]) -> None:
    _, comparison = ran
    for n_steps in (4, 8):
        plain = by(comparison, "ltb", n_steps)
        for method, extra in PRE.items():
            row = by(comparison, method, n_steps)
            assert (row.pre_steps, row.total_steps, row.curve.extra_steps) == (extra, n_steps + 2 + extra, 2 + extra)  # type: ignore[union-attr]
            spikes = {layer.name: layer.spikes for layer in row.layers if layer.by_step is not None}
            in_window = {layer.name: float(np.sum(layer.by_step)) for layer in row.layers if layer.by_step is not None}
            assert row.spikes == pytest.approx(sum(spikes.values()))
            assert row.neuron_updates == (24 + 16 + 10) * row.total_steps
            if extra:
                before = row.engine["protocol"]["spikes"]
                assert spikes == pytest.approx({name: in_window[name] + before[name] / row.n for name in spikes})
                # Thresholds and drives are those of the plain network, so that pre-steps cost spikes at about its rate.
                assert row.spikes > 1.2 * plain.spikes and row.synaptic_operations > 1.1 * plain.synaptic_operations
            else:
                assert spikes == pytest.approx(in_window)
                fan_out = {"hidden1": 16, "hidden2": 10}
                assert row.synaptic_operations == pytest.approx(sum(spikes[name] * k for name, k in fan_out.items()))
        assert by(comparison, "burst", n_steps).spikes != pytest.approx(plain.spikes)


@pytest.mark.parametrize("method", ["burst", "ltb+signed"])
def test_bursts_and_signed_spikes_are_counted_one_by_one(ran: tuple[Store, Comparison], method: str) -> None:
    """The row's spikes and operations are those of a plain step loop over the converted network that sums |n|."""
    store, comparison = ran
    row = by(comparison, method, 8)
    x = load_dataset("digits").x_test[:120].astype(np.float64)
    (trial,) = [t for t in resolved(parse(CONFIG)).trials if t.key == row.key]
    net = Bench(store, Context(str(store.folder), store.id)).network(trial)
    spikes = stepped(net, x, 8)
    fan_out = {"hidden1": 16, "hidden2": 10}
    assert row.spikes == pytest.approx(sum(int(np.abs(n).sum()) for n in spikes.values()) / 120)
    assert row.synaptic_operations == pytest.approx(sum(int(np.abs(n).sum()) * fan_out[name] for name, n in spikes.items()) / 120)
    # One spike a neuron and step, or the sum of the signs, is another number: else this test could not tell.
    first = spikes["hidden1"]
    assert (first > 1).any() if method == "burst" else (spikes["hidden2"] < 0).any()


def stepped(net: SpikingNetwork, x: np.ndarray, n_steps: int) -> dict[str, np.ndarray]:
    """Return {population: spikes of every step, sample and neuron}, (n_steps, n_samples, n), by the rules as they are written down."""
    (current,) = net.incoming("hidden1")
    unit = np.asarray(net["hidden1"].grid, np.float64)
    constant = np.rint(x @ np.asarray(current.weight, np.float64).T / unit) * unit
    found: dict[str, np.ndarray] = {}
    for name in ("hidden1", "hidden2"):
        p = net[name]
        v, memory, train = np.broadcast_to(np.asarray(p.v_init, np.float64), (len(x), p.size)).copy(), np.zeros((len(x), p.size)), []
        for t in range(n_steps):
            if name == "hidden1":
                v = v + constant
            else:
                below = found["hidden1"][t] * np.asarray(net["hidden1"].amplitude)
                v = v + below @ np.asarray(net.incoming(name)[0].weight, np.float64).T
            v = v + (0 if p.bias is None else p.bias)
            theta = np.asarray(p.v_threshold, np.float64)
            if p.signed:
                v = np.where(memory <= 0, np.maximum(v, 0), v) if p.signed_floor else v
                n = (v >= theta).astype(float) - ((v <= -theta) & (memory > 0))
            else:
                n = np.clip(np.floor(v / theta), 0, p.max_spikes)
            v, memory = v - n * theta, memory + n
            train.append(n)
        found[name] = np.stack(train)
    return found


def test_pre_steps_are_shown_wherever_steps_are(ran: tuple[Store, Comparison]) -> None:
    store, comparison = ran
    lines, facts = comparison_lines(comparison)
    shown = {row["steps.total" if "steps.total" in row else "total_steps"] for row in table(store) if row.get("convert.method") == "ltb+cos"}
    assert shown == {4 + 2 + 4, 8 + 2 + 4}
    (told,) = [line for line in lines if "ltb+srp" in line and "T = 8" in line]
    assert told.rstrip().endswith("13 steps")
    assert {f["total_steps"] for f in facts["rows"] if "ltb+srp" in f["label"]} == {9, 13}
    found = tables.summary(comparison)
    (column,) = [k for k, c in enumerate(found.columns) if c.label == "Steps"]
    assert sorted(int(row[column].text) for row in found.rows if "srp" in row[0].text) == [9, 13]


@pytest.mark.parametrize("method", ["ltb", "ltb+srp", "ltb+cos"])
def test_curves_of_methods_with_pre_steps_start_later(ran: tuple[Store, Comparison], method: str) -> None:
    _, comparison = ran
    row = by(comparison, method, 8)
    at = focus(replace(comparison, headline=row.key))
    assert at is not None
    drawn = accuracy_steps(at)
    assert drawn is not None
    data = drawn.spec["datasets"]["data"]
    assert [d["step"] for d in data] == [k + PRE[method] for k in range(1, 9)]
    assert [d["latency_steps"] for d in data] == [k + PRE[method] + 2 for k in range(1, 9)]
    assert "pre-steps included" in str(drawn.spec) and f"({PRE[method]} here)" in drawn.caption
    # The faint curves of the others begin after their own pre-steps.
    first = {d["run"]: d["step"] for d in reversed(drawn.spec["datasets"]["faint"])}
    assert set(first.values()) == {1 + extra for extra in PRE.values()}
    assert f"step {8 + PRE[method]} " in drawn.description
    (steps,) = [t for t in glance(at) if "ime steps" in t.says]
    assert str(8 + PRE[method]) in f"{steps.number} {steps.detail}"
