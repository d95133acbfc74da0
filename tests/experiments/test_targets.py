"""One table over every chip: figures or refusals with each reason, conventional designs, rivals, machines, this machine."""

import math
from dataclasses import replace

import numpy as np
import pytest

from experiments import targets
from experiments.compare import compare_store
from experiments.comparison import Comparison
from experiments.config import CONFIGS, parse
from experiments.report import cost_tables, tables
from experiments.report.pages import _sources
from experiments.report.panels import focus, panels
from experiments.runner import RunnerOptions, run
from experiments.summaries import comparison_lines
from neuro.chip import list_chips, load_chip

COSTS = ("Energy", "Latency", "With static", "Time", "A step", "Decision", "Pipeline")
SPIKING = [name for name in list_chips() if load_chip(name).kind == "neuromorphic"]
CONFIG = f"""
title = "every chip"
[data]
name = "digits"
limit = 60
[model]
hidden = [24, 16]
[train]
epochs = 3
[convert]
calibration = 100
[run]
n_steps = 4
[deploy]
chip = {SPIKING}
"""


@pytest.fixture(scope="module")
def comparison(tmp_path_factory) -> Comparison:
    folder = tmp_path_factory.mktemp("targets")
    experiment = parse(CONFIG)
    run(experiment, folder, RunnerOptions(probes=False, samples=4, traces=0))
    return compare_store(experiment, folder)


def test_every_chip_file_has_a_figure_or_a_refusal(comparison):
    found = targets.targets(comparison)
    chips = {t.name.partition(",")[0]: t for t in found if t.kind in ("chip", "refused")}
    assert sorted(chips) == sorted(SPIKING)
    for t in chips.values():
        if t.kind == "refused":
            assert t.remarks and t.energy is None
        else:
            assert t.energy.low <= t.energy.value <= t.energy.high and t.figures and t.accuracy is not None
    assert {"loihi1", "spinnaker1"} <= {n for n, t in chips.items() if t.kind == "chip"}
    # Every excess of a refusal, not the first alone.
    assert sum("limit" in r for r in chips["xylo_audio2"].remarks) == 2
    assert any("reset='construction'" in r for r in chips["odin"].remarks)


def test_four_conventional_designs_with_sources_and_intervals(comparison):
    found = [t for t in targets.targets(comparison) if t.kind == "digital"]
    assert len(found) == 4 and {t.batch for t in found} == {1}
    for t in found:
        assert t.accuracy.low < t.accuracy.value < t.accuracy.high and t.energy.value > 0
        assert all(f.source and f.trust for f in t.figures) and t.remarks
    listed = {(f.name, f.source) for f in comparison.figures}
    for t in targets.targets(comparison):
        assert {(f.name, f.source) for f in t.figures} <= listed  # each number's source is on the page


def test_rivals_have_the_bits_of_the_chip_and_of_t(comparison):
    bits = {(r.weight_bits, r.activation_bits) for r in comparison.rivals}
    assert bits == {(8, 8), (8, math.ceil(math.log2(5)))}
    assert any("16-bit" in o.what for o in comparison.omissions)  # SpiNNaker's weights: no product that wide has a figure
    for r in comparison.rivals:
        assert 0 <= r.accuracy.low <= r.accuracy.value <= r.accuracy.high <= 1 and r.energy.value > 0


def test_the_contest_is_the_energy_of_the_row_without_static_power(comparison):
    by_row = {c.row: c for c in comparison.contests}
    rows = [row for row in comparison.rows if row.group in ("chip", "native")]
    assert set(by_row) == {row.key for row in rows}
    for row in rows:
        c = by_row[row.key]
        moving = sum(r.value for name, r in row.energy.by_component.items() if name not in ("static", "overhead"))
        assert c.snn.value == pytest.approx(moving)
        assert [m.axis for m in c.meetings] == ["spike rate", "steps", "batch"]
        here = np.interp(c.n_steps, c.by_steps[:, 0], c.by_steps[:, 1])
        assert here == pytest.approx(c.snn.value, rel=0.05)
        for curve in (c.by_steps, c.by_rate):
            assert (np.diff(curve[:, 1]) >= 0).all() and (curve[:, 2] <= curve[:, 1]).all() and (curve[:, 1] <= curve[:, 3]).all()
        assert (np.diff(c.by_batch[:, 1]) <= 0).all()


def test_machines_are_scaled_and_say_so(comparison):
    ann = comparison.group("ann")[0]
    stm = next(m for m in comparison.machines if "STM32L4R5" in m.label)
    assert stm.energy.value == pytest.approx(322.98e-6 / 264_192 * ann.macs) and "scaled" in stm.note
    assert [h.batch for h in comparison.here] == [1, 64] and all(h.rate > 0 for h in comparison.here)
    assert all(h.reason for h in comparison.here if h.energy is None)


def test_the_tables_of_page_and_terminal_hold_every_target(comparison):
    found = targets.targets(comparison)
    table = tables.targets(comparison)
    assert [row[0].text for row in table.rows] == [t.name for t in found]
    linked = [row for row, t in zip(table.rows, found, strict=True) if t.figures]
    assert linked and all(row[3].href.startswith("#figure-") and row[3].title for row in linked)
    anchors = {row[0].anchor for row in tables.figures(list(comparison.figures)).rows}
    assert {row[3].href[1:] for row in linked} <= anchors
    text = "\n".join(comparison_lines(comparison)[0])
    for t in found:
        if t.kind == "refused":
            assert f"{t.name} refuses:" in text and all(r in text for r in t.remarks)
    assert text.count("output neurons: 10, limit 8") == 1  # once a chip, not once a trial


def test_the_headline_is_of_the_first_chip_of_the_config(comparison):
    # SpiNNaker 2 has no figure for static power; its energy must not win against one that has.
    assert comparison[comparison.headline].settings["deploy.chip"] == SPIKING[0]


def test_a_comparison_with_a_contest_is_saved_and_loaded(comparison, tmp_path):
    again = Comparison.load(comparison.save(tmp_path / "comparison.npz"))
    assert again.rivals == comparison.rivals and again.here == comparison.here
    assert np.array_equal(again.contests[0].by_steps, comparison.contests[0].by_steps)
    assert targets.targets(again) == targets.targets(comparison)


def test_nothing_to_put_side_by_side(comparison):
    assert targets.targets(replace(comparison, rows=comparison.group("ann"), not_run=(), headline="")) == []


def test_the_shipped_mnist_config_names_every_chip_file():
    experiment = parse((CONFIGS / "mnist.toml").read_text())
    assert sorted({d.chip for d in experiment.deploy}) == sorted(SPIKING)


def test_break_even_is_said_even_when_the_chip_loses(comparison):
    table = tables.meetings(focus(comparison))
    assert {row[1].text for row in table.rows} == {"spike rate", "steps", "batch"}
    assert all(row[3].text for row in table.rows) and "without static power" in table.caption


def test_the_host_skips_the_zeros_that_the_ann_skips(comparison):
    """A chip's first layer is charged as the design of the ANN beside it: products with a zero input are left out on both sides."""
    ann = comparison.group("ann")[0]
    row = next(row for row in comparison.rows if row.group == "chip")
    design = next(c for c in comparison.conventional if c.ann == ann.key and c.sparse and c.precision == "int8" and c.node_nm == 45)
    zeros = float(next(str(v) for k, v in comparison.data[0].extra.items() if k == "inputs that are zero").rstrip(" %")) / 100
    assert 0.3 < zeros < 0.7  # half of the pixels of a digit
    assert row.energy.by_component["host first layer"].value < design.energy.value
    assert not any("every input is taken as nonzero" in note for note in row.chip_use.notes)


def test_break_even_is_said_of_every_chip_with_a_figure(comparison):
    at = focus(comparison)
    said = {cells[0].text for cells in tables.meetings(at).rows}
    placed = [row for row in comparison.rows if row.group in ("chip", "native")]
    assert {row.settings["deploy.chip"] for row in placed} >= {"loihi1", "loihi1_sanafe", "spinnaker1", "spinnaker2"}
    assert said == {row.label for row in placed}
    for panel in (p for p in panels(comparison) if p.name in ("energy-steps", "energy-spike-rate")):
        drawn = {entry["chip"] for entry in panel.spec["datasets"]["others"]}
        assert drawn == {row.settings["deploy.chip"] for row in placed} - {at.main.settings["deploy.chip"]}


def test_every_number_of_energy_and_time_leads_to_a_figure_that_can_be_opened(comparison):
    """Two clicks: the number's trust leads to its figure, and the figure to a publication (or to a measurement of the project)."""
    at = focus(comparison)
    listed = {cells[0].anchor: cells for cells in tables.figures(_sources(comparison)).rows}
    checked = 0
    for table in (tables.summary(comparison), tables.targets(comparison), tables.energy(at), tables.conventional(at), cost_tables.by_layer(at), cost_tables.timing(at)):
        by_row = table.name in ("energy", "energy-layers")  # there the link stands at the head of the line
        costs = [0] if by_row else [k for k, c in enumerate(table.columns) if c.label.startswith(COSTS)]
        for cells in table.rows:
            for k in costs:
                here = table.name == "targets" and cells[1].text == "this machine"  # measured now, no publication
                if cells[k].text.strip() in ("-", "") or here:
                    continue
                assert cells[k].href.startswith("#figure-"), (table.name, cells[0].text, k)
                source = listed[cells[k].href[1:]][3]
                assert source.href.startswith("https://") or "docs/results/" in source.text, (table.name, cells[0].text, source.text)
                checked += 1
    assert checked > 80


def test_layers_add_up_and_the_delay_product_is_energy_times_time(comparison):
    at = focus(comparison)
    for row in (at.chip, at.native):
        assert sum(r.value for r in row.energy.layers.values()) == pytest.approx(row.energy.total.value, rel=1e-12)
        assert row.latency.late.value == pytest.approx(row.latency.per_inference.value, rel=1e-9)  # no early exit: every sample alike
    timing = cost_tables.timing(at)
    k = [c.label for c in timing.columns].index("Energy \N{MULTIPLICATION SIGN} delay")
    first = next(cells for cells in timing.rows if cells[0].text == at.chip.label)
    assert first[k].sort == pytest.approx(at.chip.energy.total.value * at.chip.latency.per_inference.value, rel=1e-12)
    assert len(timing.rows) == sum(row.group in ("chip", "native") for row in comparison.rows)
