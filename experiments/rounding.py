"""What each step of quantisation costs: agreement and accuracy after one more step, on the same samples."""

from __future__ import annotations

import os

import msgspec
import numpy as np

from neuro.deploy import Deployment
from neuro.engines import EngineOptions, simulate
from neuro.network import SpikingNetwork
from neuro.progress import Progress, ProgressCallback
from neuro.readout import Readout
from neuro.rounding import rounding_steps

from .comparison import RoundedStep, Rounding
from .further import Further, subject
from .metrics import accuracy
from .stages import Context

ROUNDING = Further("rounding", Rounding)
Array = np.ndarray
SAMPLES = 500


def rounding(
    snn: SpikingNetwork,
    deployment: Deployment,
    x: Array,
    n_steps: int,
    answers: Array | None = None,
    labels: Array | None = None,
    *,
    engine: str = "batched",
    readout: Readout | None = None,
    seed: int = 0,
    options: EngineOptions | None = None,
    progress: ProgressCallback | None = None,
    row: str = "",
) -> Rounding:
    """Return the agreement with ``answers``, and the accuracy, after every cumulative step of quantisation.

    snn, deployment : the converted network and what was made of it; x : (n_samples, n_in); answers : (n_samples,) of the trained network,
    None: those of the converted one; labels : (n_samples,), None where there are none.
    """
    steps = rounding_steps(snn, deployment)
    found = []
    against, source = answers, "the trained network"
    for i, step in enumerate(steps):
        ran = simulate(step.network, x, n_steps, engine=engine, readout=readout or Readout(), seed=seed, options=options)
        if against is None:
            against, source = ran.predictions, "the converted network"
        spikes = sum(float(c.mean()) for c in ran.spike_counts.values())
        right = None if labels is None else accuracy(labels, ran.predictions)
        found.append(RoundedStep(step.name, step.what, accuracy(against, ran.predictions), right, spikes))
        if progress is not None:
            progress(Progress("rounding", i + 1, len(steps)))
    return Rounding(row, len(x), n_steps, source, tuple(found))


# -- of a comparison --------------------------------------------------------------------------------


def of_trial(folder: str | os.PathLike[str], key: str, context: Context, progress: ProgressCallback | None = None) -> Rounding | None:
    """Return the steps of a finished trial on a chip; they are kept in the store. None for all else, regression and sequences."""
    found = subject(folder, key, context)
    if found is None or found.trial.deploy is None:
        return None
    trial, bench, data, run = found.trial, found.bench, found.data, found.trial.run
    assert run is not None

    def make() -> Rounding:
        return rounding(
            bench.prepared(trial),
            bench.deployment(trial),
            data.x_test[:SAMPLES],
            run.n_steps,
            np.argmax(bench.source(trial).outputs[:SAMPLES], axis=1),
            data.y_test[:SAMPLES],
            engine=run.engine,
            readout=Readout(kind=run.readout, start=run.readout_start),
            seed=trial.seed,
            options=msgspec.convert(context.engine or {}, EngineOptions),
            progress=progress,
            row=key,
        )

    return ROUNDING.made(found.store, key, make)


def kept(folder: str | os.PathLike[str], key: str) -> Rounding | None:
    """Return the steps that the store has of a trial, None where it has none."""
    return ROUNDING.kept(folder, key)


__all__ = ["kept", "of_trial", "rounding"]
