"""One small experiment, run once for all tests of this folder."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from experiments.config import Experiment, parse
from experiments.plan import resolved
from experiments.runner import RunnerOptions, Summary, run

TINY = """
title = "Tiny"
seeds = [0, 1]
[data]
name = "digits"
limit = 120
[model]
hidden = [24, 16]
[train]
epochs = 6
[convert]
method = "ltb"
calibration = 200
[run]
n_steps = [4, 8]
[deploy]
chip = "loihi1"
"""


@dataclass(frozen=True)
class Tiny:
    """The experiment, the folder of its store, and what running it said."""

    experiment: Experiment
    folder: Path
    summary: Summary
    reports: list


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Tiny:
    """Two seeds, two windows, loihi1: 14 trials on 120 test digits. Do not write into its folder: copy it."""
    folder = tmp_path_factory.mktemp("tiny") / "store"
    experiment, reports = resolved(parse(TINY)), []
    summary = run(experiment, folder, RunnerOptions(samples=60), reports.append)
    return Tiny(experiment, folder, summary, reports)
