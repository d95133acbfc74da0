"""Every workload as it is built from its data and the weights that ship: units, groups, baselines, data card; two of them run whole."""

import importlib.util

import numpy as np
import pytest

from experiments.workloads import WORKLOADS, Context, build
from experiments.workloads.measures import interval
from experiments.workloads.suite import run_task

MADE_HERE = ("translation", "games", "index")


def built(name, data_dir):
    lacking = [package for package in WORKLOADS[name].packages if importlib.util.find_spec(package) is None]
    if lacking:
        pytest.skip(f"needs {' and '.join(lacking)}")
    return build(name, Context(data_dir))


def check(tasks):
    for task in tasks:
        facts = np.concatenate([fold.play(fold.mlp.forward) for fold in task.folds])
        assert len(facts) >= 50 and np.isfinite(facts).all()
        found = interval(task.metric, facts)
        assert found.low <= found.value <= found.high
        assert task.baselines and all(len(base) == len(facts) for _, base in task.baselines)
        assert task.groups and all(len(of) == len(facts) for of in task.groups.values())
        told = {name for name, _ in task.card}
        assert told & {"Licence"} and told & {"Leakage", "Built on"} and told & {"Duplicates", "Keys"}
        assert told & {"Classes", "Classes (train/test)", "Target", "Keys"}
        assert all(fold.mlp.info["made"]["seconds"] > 0 for fold in task.folds)


@pytest.mark.parametrize("name", MADE_HERE)
def test_workloads_that_make_their_data(name):
    check(built(name, None))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in WORKLOADS if name not in MADE_HERE])
def test_workloads_on_data_that_is_found(name, data_dir):
    check(built(name, data_dir))


@pytest.mark.slow
def test_rooms_trained_in_noise_are_within_the_interval_on_the_chip_too(data_dir):
    rooms, sunspots = built("series", data_dir)
    for task in (rooms, sunspots):
        outcome = run_task(task, Context(data_dir))
        assert outcome.reached and outcome.n_steps <= 32 and outcome.chips[0].within


def test_index_overflows_no_register_where_it_answers():
    lognormal, _ = built("index", None)
    from converters.convert import convert
    from experiments.workloads.suite import overflowing
    from neuro import deploy, load_chip, simulate

    fold = lognormal.folds[0]
    on = deploy(convert(fold.mlp, calibration=fold.calibration, method=lognormal.method), load_chip("loihi1"))
    assert overflowing(on.network, simulate(on, fold.probe, 128).outputs, 128) == 0
    assert overflowing(on.network, simulate(on, fold.probe, 256).outputs, 256) > 0
