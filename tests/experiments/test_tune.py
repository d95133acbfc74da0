"""Tuning: held-out samples decide, the test samples only judge, and a search goes on where it stopped."""

from dataclasses import replace
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from experiments.config import parse
from experiments.export import table
from experiments.files import load_data
from experiments.runner import RunnerOptions
from experiments.store import Store
from experiments.summaries import tuned_lines
from neuro.errors import EngineError, SpecError

pytest.importorskip("optuna")

from experiments import tune as tuning  # noqa: E402
from experiments.tune import JOURNAL, Point, _Study, best_of, chosen, front_of, tune  # noqa: E402

TEXT = """
[data]
limit = 100
[model]
hidden = [16]
[train]
epochs = 5
[convert]
method = ["ltb", "percentile_norm"]
calibration = 100
[run]
n_steps = [1, 2, 4, 8]
[deploy]
chip = "loihi1"
reset = "native"
[tune]
trials = 8
max_loss = 0.02
[tune.range]
"convert.percentile" = [95, 100]
"run.exit_threshold" = [0.5, 4]
"""
QUIET = RunnerOptions(probes=False, samples=0)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    folder, reports = tmp_path_factory.mktemp("tuned"), []
    found = tune(parse(TEXT), folder, QUIET, reports.append)
    return SimpleNamespace(found=found, folder=folder, reports=[r for r in reports if r.stage == "tuning"])


def keys(found):
    return {p.trial.key for p in found.points}


def test_points_are_judged_on_held_out_samples_and_only_the_front_on_the_test(tuned):
    found = tuned.found
    assert (found.tried, found.failed, found.new) == (8, 0, 8) and [r.done for r in tuned.reports][-1] == 8
    rows = table(Store(tuned.folder, create=False))
    on_test = {r["key"] for r in rows if r["data.part"] == "test" and r["group"] != "ann"}
    shown = {p.trial.key for p in (*found.front, *([found.best] if found.best else []))}
    assert on_test == shown == {r.key for r in found.comparison.rows if r.group != "ann"}
    assert sum(r["data.part"] == "holdout" and r["group"] != "ann" for r in rows) == len(found.points)
    models = [p for p in (tuned.folder / "shared").glob("model-*")]
    assert len(models) == 1  # the network that was searched with is the one that is tested


def test_numbers_between_are_of_the_range_and_belong_to_their_method(tuned):
    for point in tuned.found.points:
        assert 0.5 <= point.trial.run.exit_threshold <= 4
        percentile = point.settings.get("convert.percentile")
        assert (percentile is not None) == (point.trial.convert.method == "percentile_norm")
        assert percentile is None or 95 <= percentile <= 100 and point.trial.convert.options["percentile"] == percentile


@pytest.mark.slow
def test_stopped_and_gone_on_with_is_like_never_stopped(tuned, tmp_path):
    first = tune(parse(TEXT, overrides=["tune.trials=5"]), tmp_path, QUIET)
    second = tune(parse(TEXT), tmp_path, QUIET)
    assert (first.new, second.new, second.tried) == (5, 3, 8)
    assert keys(first) < keys(second) == keys(tuned.found)
    third = tune(parse(TEXT), tmp_path, QUIET)
    assert third.new == 0 and keys(third) == keys(second)


def test_a_point_that_was_asked_for_by_a_process_that_died_is_taken_up(tmp_path):
    from experiments.plan import resolved

    experiment = resolved(parse(TEXT, overrides=["tune.trials=3"]))
    Store(tmp_path)
    left = _Study(experiment, tmp_path / JOURNAL).ask(1)[0]
    found = tune(experiment, tmp_path, QUIET)
    assert found.tried == 3 and left.trial.key in keys(found)


def point(loss, cost):
    return Point({}, None, loss, (cost,))


def test_front_and_best():
    points = [point(0.05, 1.0), point(0.01, 2.0), point(0.02, 2.5), point(-0.01, 4.0), point(0.0, 3.0)]
    front = front_of(points)
    assert [(p.loss, p.costs) for p in front] == [(0.05, (1.0,)), (0.01, (2.0,)), (0.0, (3.0,))]
    settings = parse("[tune]\nmax_loss=0.01").tune
    assert best_of(points, settings) is points[1]
    assert best_of(points[:1], settings) is None
    many = [point(1 / i, float(i)) for i in range(1, 200)]
    kept = chosen(many, many[50])
    assert len(kept) <= tuning.MOST_FINALISTS + 1 and kept[0] is many[0] and many[-1] in kept and many[50] in kept


@pytest.mark.parametrize(("allowed", "told"), [(-1.0, True), (1.0, False)])
def test_a_choice_that_loses_more_on_the_test_samples_is_told(tuned, allowed, told):
    found = tuned.found
    limits = msgspec.structs.replace(found.experiment.tune, max_loss=allowed)
    lines, _ = tuned_lines(replace(found, best=found.front[0], experiment=replace(found.experiment, tune=limits)))
    assert ("On the test samples it loses" in " ".join(lines)) == told


def test_every_mistake_is_named_before_any_work(tmp_path):
    text = """
[data]
holdout = 0.1
[run]
n_steps = 4
[deploy]
chip = []
[tune.range]
"convert.percentil" = [1, 2]
"run.n_steps" = [0, 8]
"convert.method" = [0, 1]
"""
    with pytest.raises(SpecError) as caught:
        tune(parse(text), tmp_path / "s", QUIET)
    message = str(caught.value)
    for part in ("energy is of a chip", "tune.holdout", "convert.percentil: not a setting here", "run.n_steps: 0", "convert.method: not a number"):
        assert part in message
    assert not (tmp_path / "s").exists()
    with pytest.raises(SpecError, match="nothing to choose from"):
        tune(parse("[deploy]\nreset='native'"), tmp_path / "s", QUIET)
    with pytest.raises(SpecError, match="did you mean 'energy'"):
        parse("[tune]\nobjectives=['enery']")
    with pytest.raises(SpecError, match="tune.trial is not a setting.*did you mean 'trials'"):
        parse("[tune]\ntrial=3")
    with pytest.raises(SpecError, match="5 is not below 2"):
        parse("[tune.range]\n'run.exit_threshold'=[5,2]")


def test_points_that_do_not_fit_the_chip_are_counted_and_when_none_does_the_reason_is_given(tmp_path):
    text = TEXT.replace('"loihi1"', '"odin"').replace("hidden = [16]", "hidden = [600]")
    with pytest.raises(EngineError, match="(?s)none of 2 points could be judged:.*does not fit"):
        tune(parse(text, overrides=["tune.trials=2", "train.epochs=1"]), tmp_path, QUIET)


def test_held_out_samples_are_taken_out_of_training():
    whole, test, held = (
        load_data(parse(t).data[0], parse(t).folder) for t in ("", "[data]\nholdout=0.2", "[data]\nholdout=0.2\npart='holdout'")
    )
    n = len(whole.x_train)
    assert len(test.x_train) == len(held.x_train) == n - round(0.2 * n) and len(held.x_test) == round(0.2 * n)
    np.testing.assert_array_equal(test.x_test, whole.x_test)
    np.testing.assert_array_equal(test.x_train, held.x_train)
    together = np.concatenate([held.x_train, held.x_test])
    np.testing.assert_array_equal(np.sort(together, axis=0), np.sort(whole.x_train, axis=0))
    shares = [np.bincount(y) / len(y) for y in (held.y_train, held.y_test)]
    np.testing.assert_allclose(*shares, atol=0.01)
    assert "held-out" in held.split
    with pytest.raises(SpecError, match="no sample is held out"):
        parse("[data]\npart='holdout'")
