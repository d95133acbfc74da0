"""The workloads' common run on the digits that ship; each workload's own parts in test_workloads_parts.py."""

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from experiments.workloads import WORKLOADS, Context, build, command, weights
from experiments.workloads.base import Metric
from experiments.workloads.limits import limited
from experiments.workloads.page import page
from experiments.workloads.results import Suite
from experiments.workloads.suite import choose, run_task, within
from neuro.errors import SpecError


@pytest.fixture(scope="module")
def digits():
    """The task of the small digits and its outcome on three values of T."""
    from experiments.datasets import load_dataset
    from experiments.workloads import ocr

    data = load_dataset("digits")
    task = replace(ocr._task(Context(), "digits", data, (64,), ocr.TrainOptions(), "8x8"), steps=(1, 4, 16))
    return task, run_task(task, Context())


def test_stages_add_up_to_the_whole_loss(digits):
    _, outcome = digits
    for losses in outcome.losses:
        ann, *stages = losses.stages
        assert ann.metric == outcome.ann[0] and ann.change == 0
        assert sum(s.change for s in stages) == pytest.approx(losses.stages[-1].metric - ann.metric)
        spikes = next(s for s in stages if s.name == "spikes in time")
        assert spikes.metric == outcome.at(losses.n_steps).metric[0]


def test_one_layer_driven_evenly_loses_by_levels_alone(digits):
    # Constant current drives the only hidden layer evenly, so the levels predict every answer of the spikes.
    _, outcome = digits
    at = outcome.losses[-1].stages
    assert at[3].metric == pytest.approx(at[2].metric, abs=1 / 450 + 1e-9)


def test_chosen_steps_are_the_first_that_stay_within(digits):
    _, outcome = digits
    good = [s.n_steps for k, s in enumerate(outcome.steps) if all(later.within for later in outcome.steps[k:])]
    assert (outcome.n_steps, outcome.reached) == ((good[0], True) if good else (16, False))
    assert all(s.within == (s.metric[0] >= outcome.ann[1]) for s in outcome.steps)


def test_choose_names_the_last_when_none_is_enough(digits):
    _, outcome = digits
    late = [msgspec.structs.replace(s, within=k == 0) for k, s in enumerate(outcome.steps)]
    assert choose(late) == (16, False)


def test_within_looks_at_the_worse_end():
    from experiments.comparison import Range

    ann = Range(10.0, 9.0, 11.0)
    up, down = (Metric("m", lambda f: 0.0, better=better) for better in ("higher", "lower"))
    assert [within(v, ann, up) for v in (8.9, 9.0, 12.0)] == [False, True, True]
    assert [within(v, ann, down) for v in (8.0, 11.0, 11.1)] == [True, True, False]


def test_groups_and_baselines_cover_all_units(digits):
    task, outcome = digits
    assert sum(g.n for g in outcome.groups) == outcome.n == 450
    mean = sum(g.n * g.ann[0] for g in outcome.groups) / outcome.n
    assert mean == pytest.approx(outcome.ann[0])
    assert [b.name for b in outcome.baselines] == ["logistic regression"]
    assert outcome.ann[0] > outcome.baselines[0].ann[0]


def test_chips_have_energy_and_answers(digits):
    _, outcome = digits
    assert [c.chip for c in outcome.chips] == ["loihi1", "spinnaker1", "spinnaker2"]
    for chip in outcome.chips:
        assert chip.reason == "" and chip.metric is not None and chip.energy is not None
        assert chip.energy[1] <= chip.energy[0] <= chip.energy[2] and chip.energy[0] > 0


def test_outputs_at_the_end_of_the_chips_register_are_told(digits):
    from experiments.workloads.suite import in_integers, overflowing
    from neuro import deploy, load_chip, simulate

    task, outcome = digits
    fold = task.folds[0]
    from converters.convert import convert

    on = deploy(convert(fold.mlp, calibration=fold.calibration, method="ltb"), load_chip("loihi1")).network
    x = fold.probe[:50]
    assert overflowing(on, simulate(on, x, 4).outputs, 4) == 0
    last = on.populations[-1]
    # A register a ten thousand times smaller is full at once, and the answers come out at its ends.
    small = replace(on, populations=(*on.populations[:-1], replace(last, v_floor=last.v_floor / 1e4, v_ceiling=last.v_ceiling / 1e4)))
    assert overflowing(small, simulate(small, x, 4).outputs, 4) > 0.5
    chip, losses = msgspec.structs.replace(outcome.chips[0], metric=(0.5, 0.4, 0.6), overflowing=0.25, within=False), outcome.losses[-1]
    stages = (*losses.stages[:-1], msgspec.structs.replace(losses.stages[-1], change=-0.44))
    told = in_integers(chip, msgspec.structs.replace(losses, stages=stages), task.metric)
    assert told == "; loihi1's integers lose 44 points more, and 25 % of its outputs reach the end of their register"
    sweep = (msgspec.structs.replace(outcome.steps[0], metric=(0.5, 0.4, 0.6)), msgspec.structs.replace(outcome.steps[1], metric=(0.75, 0.7, 0.8)))
    told = in_integers(chip, msgspec.structs.replace(losses, stages=stages), task.metric, sweep)
    assert told.endswith(f"register; there T = {outcome.steps[1].n_steps} is best, 75.0 %")
    assert in_integers(msgspec.structs.replace(chip, within=True), losses, task.metric) == ""


def test_the_page_holds_every_figure_and_loads_nothing(digits):
    _, outcome = digits
    text = page(Suite((outcome,), (), "2026-01-01T00:00:00Z", 1.0, {}, "spikeport workload ocr"))
    assert f"{100 * outcome.ann[0]:.1f} %" in text and outcome.title in text
    assert "http://" not in text.replace("http://www.w3.org", "") and "<script" not in text
    for name, fact in outcome.card:
        assert name in text and fact.split(";")[0][:20] in text


def test_outcomes_survive_json(digits):
    _, outcome = digits
    suite = Suite((outcome,), (), "", 0.0, {}, "")
    again = msgspec.json.decode(msgspec.json.encode(suite), type=Suite)
    assert again.outcomes[0].ann == outcome.ann and again.outcomes[0].steps == outcome.steps


def test_limits_without_effect_change_nothing(digits):
    task, _ = digits
    from converters.convert import convert

    fold = task.folds[0]
    network = convert(fold.mlp, calibration=fold.calibration, method="max_norm")
    x = fold.calibration[:50]
    np.testing.assert_allclose(limited(fold.mlp, network).forward(x), fold.mlp.forward(x), atol=1e-3)
    fine = limited(fold.mlp, network, 4096).forward(x)
    np.testing.assert_allclose(fine, fold.mlp.forward(x), atol=0.05)


def test_shipped_weights_are_exact_in_16_bits(tmp_path):
    mlp = weights.shipped("ocr-digits")
    assert weights.rounded(mlp).sha256 == mlp.sha256
    path = weights.ship(mlp, tmp_path / "again.npz")
    from converters.mlp import MLP

    assert all(layer.weight.dtype == np.float16 for layer in MLP.load(path).layers)


def test_all_shipped_files_load_and_are_small():
    folder = Path(weights.__file__).parent / "files"
    files = sorted(folder.glob("*.npz"))
    assert sum(f.stat().st_size for f in files) < 5_000_000
    for file in files:
        assert weights.shipped(file.stem).n_out >= 1


def test_unknown_names_and_missing_parts_are_told(tmp_path, monkeypatch):
    with pytest.raises(SpecError, match="speech"):
        build("speach", Context())
    with pytest.raises(SpecError, match="spikeport workload nothing --train"):
        weights.shipped("nothing-here")
    with pytest.raises(SpecError, match="--train"):
        command.run_command("ocr", tmp_path / "w.html", False, tmp_path, None, lambda p: None, lambda a, b: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SpecError, match=r"spikeport\[workloads\]"):
        build("games", Context())


def test_what_is_absent_is_skipped_by_name(monkeypatch, digits):
    from experiments.workloads import suite

    def absent(name, context):
        if name == "ocr":
            return (replace(digits[0], steps=(1, 2)),)
        raise SpecError(f"{name} is not here")

    monkeypatch.setattr(suite, "build", absent)
    monkeypatch.setattr(suite, "CHIPS", ("loihi1",))
    found = suite.run(["ocr", "spam"], Context())
    assert [o.name for o in found.outcomes] == ["ocr/digits"]
    assert [(s.name, s.reason) for s in found.skipped] == [("spam", "spam is not here")]
    assert "Spam detection" in page(found) and "spam is not here" in page(found)


def test_every_workload_has_a_file():
    from importlib import import_module

    for entry in WORKLOADS.values():
        module, function = entry.builder.split(":")
        assert getattr(import_module(f"experiments.workloads.{module}"), function).__doc__


def test_shipped_files_say_what_made_them_and_how_long_it_took():
    for file in sorted((Path(weights.__file__).parent / "files").glob("*.npz")):
        made = weights.shipped(file.stem).info["made"]
        assert made["name"] == file.stem and made["seconds"] > 0
        words = made["command"].split()
        assert words[:2] == ["spikeport", "workload"] and words[2] in WORKLOADS and "--train" in words


def test_the_verdict_counts_the_chip_apart(digits):
    from experiments.workloads.words import verdict

    _, outcome = digits
    good = msgspec.structs.replace(outcome, chips=(msgspec.structs.replace(outcome.chips[0], within=True),))
    bad = msgspec.structs.replace(outcome, title="The other", chips=(msgspec.structs.replace(outcome.chips[0], within=False),))
    text = verdict(Suite((good, bad), (), "", 0.0, {}, ""))
    assert text.endswith("In the integers of loihi1 1 of 2 do; not The other.")
    assert verdict(Suite((good,), (), "", 0.0, {}, "")).endswith("In the integers of loihi1 1 of 1 do.")


def test_a_chip_outside_the_interval_is_shown_at_every_step(digits):
    task, _ = digits
    # An interval that nothing reaches.
    from experiments.workloads import suite

    runner = suite._Runner(task, Context())
    runner.ann_bounds = type(runner.ann_bounds)(3.0, 2.0, 4.0)
    made = runner.outcome(0.0, [])
    assert not made.reached and not made.chips[0].within
    assert [s.n_steps for s in made.on_chip] == list(task.steps)
    assert made.on_chip[-1].metric[0] == pytest.approx(made.chips[0].metric[0])
    assert "In the integers of loihi1 against T" in page(Suite((made,), (), "", 0.0, {}, ""))


def test_labels_are_cut_between_words():
    from experiments.workloads.drawing import shortened

    assert shortened("linear autoregression, 24 months", 32) == "linear autoregression, 24 months"
    assert shortened("average of the training recordings", 20) == "average of the\N{HORIZONTAL ELLIPSIS}"


def test_a_reason_is_told_whole():
    assert command.whole("X was not found:\n  files: a; or b\n  put them there") == "X was not found: files: a; or b; put them there"


def test_a_sweep_in_one_run_gives_the_answers_of_single_runs(digits):
    from experiments.workloads import suite

    task, _ = digits
    runner = suite._Runner(task, Context())
    network, x = runner.ported[0].network, task.folds[0].probe
    for n in task.steps:
        np.testing.assert_array_equal(runner.spiking(network, n, sweep=True)(x), runner.spiking(network, n)(x))
    assert len(runner.swept) == 1
