"""Runs of the chip row of their own: accuracy against faults, quantisation taken apart; as functions, commands, and on the page."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace

import altair
import numpy as np
import pytest
import vl_convert
from command_line import spikeport
from deployable import dense
from samples import comparisons

from experiments import charts, faults, rounding
from experiments.config import FaultSettings, parse
from experiments.metrics import accuracy
from experiments.report import chip_tables, page, report_markdown
from experiments.report.panels import panels
from neuro.deploy import Deployment, DeployOptions, deploy
from neuro.engines import simulate
from neuro.errors import EngineError, SpecError
from neuro.network import Protocol
from neuro.recording import Recording

X = np.random.default_rng(0).random((60, 10))
KINDS = ("lost", "spurious", "dead_neurons", "stuck_neurons", "dead_synapses", "stuck_synapses", "threshold_mismatch", "weight_mismatch")


@pytest.fixture(scope="module")
def made():
    net = dense([10, 24, 4], seed=7, gain=3.0, bias=False)
    deployment = deploy(net, "loihi1", DeployOptions(order="in_order"))
    return net, deployment, simulate(deployment, X, 8).predictions


def test_a_sweep_without_faults_is_the_run_itself_and_with_certain_ones_is_chance(made):
    _, deployment, answers = made
    settings = FaultSettings(kinds=("lost", "dead_neurons"), rates=(1.0, 0.0, 0.1), draws=2, samples=50)
    found = faults.sweep(deployment, X, answers, 8, settings)
    assert found.healthy == accuracy(answers[:50], answers[:50]) and found.n == 50
    assert found.kinds == ("lost", "dead_neurons") and [p.rate for p in found.of("lost")] == [0.0, 0.1, 1.0]
    for kind in found.kinds:
        none, some, every = found.of(kind)
        assert none.accuracy == found.healthy and none.least == none.most == 1.0
        assert every.accuracy.value <= some.accuracy.value < 1 and every.accuracy.low <= every.accuracy.value <= every.accuracy.high
        assert some.least <= some.accuracy.value <= some.most
    # Nothing arrives at the read-out, which has no bias: one answer for all.
    assert found.of("lost")[-1].accuracy.value in {float(np.mean(answers[:50] == c)) for c in range(4)}
    assert faults.sweep(deployment, X, answers, 8, settings) == found


def test_every_kind_can_be_run(made):
    net, _, answers = made
    seen = []
    settings = FaultSettings(rates=(0.2,), draws=1, samples=20)
    found = faults.sweep(net, X, answers, 4, settings, progress=seen.append)
    assert found.kinds == KINDS == settings.kinds and not found.refused
    assert [p.done for p in seen] == list(range(1, 10)) and {p.total for p in seen} == {9}


def test_what_a_network_cannot_lose_is_named(made):
    net, _, answers = made
    masked = replace(net, protocol=Protocol("srp", 2))
    both = FaultSettings(kinds=("lost", "dead_neurons"), rates=(0.1,), draws=1, samples=20)
    found = faults.sweep(masked, X, answers, 4, both)
    assert found.kinds == ("dead_neurons",) and "protocol 'srp'" in found.refused["lost"]
    with pytest.raises(EngineError, match="protocol 'srp'"):
        faults.sweep(masked, X, answers, 4, FaultSettings(kinds=("lost",), rates=(0.1,), samples=20))
    with pytest.raises(SpecError, match="a regression has none"):
        faults.sweep(net, X, X[:, 0], 4, both)


def test_quantisation_taken_apart_begins_and_ends_with_the_two_networks(made):
    net, deployment, answers = made
    found = rounding.rounding(net, deployment, X, 8, labels=answers)
    first, last = found.steps[0], found.steps[-1]
    assert found.source == "the converted network" and first.agreement.value == 1
    assert last.accuracy is not None and last.accuracy.value == 1  # the labels are the deployed network's own answers
    assert last.agreement == first.accuracy  # the two networks agree as often either way
    against = rounding.rounding(net, deployment, X, 8, answers)
    assert against.source == "the trained network" and against.steps[-1].agreement.value == 1 and against.steps[0].accuracy is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rate = [0.1]", "faults.rate is not a setting; did you mean 'rates'"),
        ('kinds = ["lots"]', "'lots' is not known; did you mean 'lost'"),
        ("rates = [0.1, 2.0]", "2 is above 1, the rate of 'lost' is a share"),
        ("rates = []", "names no kind or no rate"),
        ("draws = 0", r"\[faults\]: .*>= 1"),
        ("rates = [-0.1]", r"\[faults\]: .*>= 0"),
    ],
)
def test_wrong_settings_are_named(text, message):
    with pytest.raises(SpecError, match=message):
        parse(f"[faults]\n{text}\n")


def test_settings_are_kept_in_the_config_and_change_no_trial():
    plain, more = parse(""), parse('[faults]\nkinds = ["weight_mismatch"]\nrates = [2.0]\n')
    assert plain.faults is None and more.faults == FaultSettings(kinds=("weight_mismatch",), rates=(2.0,))
    assert [t.key for t in plain.trials] == [t.key for t in more.trials]
    assert parse(more.text).faults == more.faults


def test_the_commands_say_and_write_it(tmp_path):
    spikeport("train", "digits", "--hidden", "16", "--set", "train.epochs=3", "--out", "mlp.npz", cwd=tmp_path)
    spikeport("convert", "mlp.npz", "--calibration", "digits", "--out", "snn.npz", cwd=tmp_path)
    run = ("deploy", "snn.npz", "--out", "d.npz", "--explain", "--model", "mlp.npz")
    assert "say which with --data" in spikeport(*run, cwd=tmp_path, status=1).err
    explained = spikeport(*run, "--data", "digits", "--n-steps", "4", "--json", cwd=tmp_path)
    facts = json.loads(explained.out)["explain"]
    assert [s["name"] for s in facts["steps"]] == ["converted", "thresholds", "weights", "biases", "potential"] and facts["n_steps"] == 4
    swept = ("faults", "d.npz", "--data", "digits", "--kind", "lost", "--rates", "0.1,0.5", "--draws", "2", "--limit", "40", "--n-steps", "4")
    done = spikeport(*swept, "--out", "f.csv", cwd=tmp_path)
    assert "worst draw" in done.err + done.out
    with open(tmp_path / "f.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [r["rate"] for r in rows] == ["0.1", "0.5"] and {r["samples"] for r in rows} == {"40"}
    spikeport(*swept, "--out", "f.json", cwd=tmp_path)
    points = json.loads((tmp_path / "f.json").read_text())["points"]
    assert [p["accuracy"]["value"] for p in points] == [float(r["accuracy"]) for r in rows]
    assert "did you mean 'lost'" in spikeport(*swept[:3], "digits", "--kind", "lots", "--out", "g.json", cwd=tmp_path, status=1).err


@pytest.fixture(scope="module")
def shown():
    return comparisons.chip_runs()


def test_the_page_shows_them(shown, tmp_path):
    comparison, drawn = shown, {p.name: p for p in panels(shown)}
    assert [name for name in drawn if name.startswith("faults-")] == [f"faults-{f}" for f in ("spikes", "neurons", "synapses", "mismatch")]
    assert drawn["rounding"].title == "Quantisation costs most in the step \u201cweights\u201d: 2 points of agreement"
    assert drawn["faults-spikes"].title == "Lost spikes: 1 % costs 3 points; spurious spikes: 1 % costs 3 points"
    assert len(drawn["faults-neurons"].rows) == 4 and len(drawn["rounding"].rows) == 5
    html, text = page(comparison), report_markdown(comparison)
    assert 'data-table="faults"' in html and 'data-table="rounding"' in html and "why it was refused" in html
    assert "dead neurons" in text
    table = chip_tables.rounding(comparison)
    assert table is not None and [row[3].text for row in table.rows][1:3] == ["+0.00", "\u22122.00"]
    comparison.save(tmp_path / "c.npz")
    again = type(comparison).load(tmp_path / "c.npz")
    assert again.faults == comparison.faults and again.rounding == comparison.rounding


CURVES = ("energy-steps", "energy-spike-rate", "energy-batch")


def test_break_even_is_drawn_whoever_wins(shown):
    drawn = {p.name: p for p in panels(shown)}
    assert [drawn[name].title for name in CURVES] == [
        "On loihi1, an inference costs less than the ANN's below T = 12",
        "On loihi1, an inference costs more than the ANN's at any spike rate",
        "On loihi1, an inference costs less than the ANN's at any batch size",
    ]
    assert drawn["energy-sparsity"].title == "Loihi1 is cheaper than the ANN for 1 of 2 networks"
    for name in CURVES:
        sides = {row["side"] for row in drawn[name].rows}
        assert sides == {"chip", "ANN"} and all(row["low_J"] <= row["energy_J"] <= row["high_J"] for row in drawn[name].rows)
    marks = {row["label"]: row["x"] for row in drawn["energy-steps"].spec["datasets"]["marks"]}
    assert marks == {"measured": 8, "break-even": 12}
    points = drawn["energy-sparsity"].rows
    assert sorted({row["x"] for row in points}) == [row["x"] for row in points[::2]] and len(points) == 4


def test_their_charts_are_valid_and_of_colours_with_a_dark_counterpart(shown):
    mine = [p for p in panels(shown) if p.name.startswith(("energy-s", "energy-batch", "faults-", "rounding"))]
    assert len(mine) == 9
    for p in mine:
        altair.LayerChart.from_dict(p.spec)
        if p.name in ("energy-steps", "energy-sparsity", "faults-spikes", "rounding"):  # one of each kind: drawing takes a second
            assert re.search(r'class="mark-(symbol|line|area)', vl_convert.vegalite_to_svg(charts.static(p.spec))), p.name
        assert set(re.findall(r"#[0-9A-Fa-f]{6}", json.dumps(p.spec["layer"]))) <= set(charts.DARK), p.name


def test_a_recording_decides_which_cores_lie_close(tmp_path):
    """`deploy --activity` places for the spikes that were recorded; a recording of another network is refused with both hashes."""
    for name, hidden in (("mine", "900,500"), ("other", "8")):
        spikeport("train", "digits", "--hidden", hidden, "--out", f"{name}.npz", "--set", "train.epochs=1", "-q", cwd=tmp_path)
        spikeport("convert", f"{name}.npz", "--calibration", "digits", "--out", f"{name}_snn.npz", "-q", cwd=tmp_path)
    spikeport("run", "mine_snn.npz", "--data", "digits", "--n-steps", "4", "--limit", "20", "--out", "rec.npz", "-q", cwd=tmp_path)
    placed = spikeport("deploy", "mine_snn.npz", "--activity", "rec.npz", "--out", "d.npz", "--json", cwd=tmp_path)
    recording, deployment = Recording.load(tmp_path / "rec.npz"), Deployment.load(tmp_path / "d.npz")
    spikes = {name: counts / recording.n_samples for name, counts in recording.neuron_counts.items()}
    by_hand = sum(
        float(spikes[r.pre] @ (r.hops_east_west + r.hops_north_south)) for r in deployment.placement.routes if r.hops_east_west is not None
    )
    assert 0 < by_hand == pytest.approx(json.loads(placed.out)["traffic"])
    refused = spikeport("deploy", "other_snn.npz", "--activity", "rec.npz", "--out", "x.npz", cwd=tmp_path, status=1)
    assert "rec.npz: a recording of another network than other_snn.npz" in refused.err and not (tmp_path / "x.npz").exists()
