"""Accuracy against the rate of faults, one kind of fault at a time.

Faults of neurons and synapses are drawn once a chip and are built into its network; lost and spurious spikes are drawn in every
step of a run (``neuro.faults``). Each is drawn several times, since chips with the same rate differ; the interval of the samples
and the spread of the draws are different things and stand side by side.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from neuro.archive import write_atomically
from neuro.deploy import Deployment
from neuro.engines import EngineOptions, simulate
from neuro.errors import EngineError, SpecError
from neuro.faults import Faults, SpikeFaults, with_faults
from neuro.network import SpikingNetwork
from neuro.progress import Progress, ProgressCallback
from neuro.readout import Readout

from .comparison import FaultPoint, FaultSweep, Range
from .config import FaultSettings
from .further import Further, subject
from .stages import Context
from .statistics import wilson_bounds
from .store import key_of

FAULTS = Further("faults", FaultSweep)
Array = np.ndarray
OF_SPIKES = ("lost", "spurious")


def sweep(
    target: SpikingNetwork | Deployment,
    x: Array,
    y: Array,
    n_steps: int,
    settings: FaultSettings | None = None,
    *,
    engine: str = "batched",
    readout: Readout | None = None,
    seed: int = 0,
    options: EngineOptions | None = None,
    progress: ProgressCallback | None = None,
    row: str = "",
) -> FaultSweep:
    """Return the accuracy at every rate of every kind of fault.

    Parameters
    ----------
    target : a spiking network, or a deployment (its integers run).
    x, y : (n_samples, n_in) inputs and (n_samples,) labels; the first ``settings.samples`` of them are run.
    n_steps : T.
    settings : kinds, rates, draws, samples, seed.
    seed : of a random encoding.
    row : key of the row in a comparison.

    Raises
    ------
    SpecError : labels that are no classes; rates that are no shares.
    EngineError : the network can run none of the kinds (a presentation protocol takes no lost spikes, for instance).
    """
    s = settings or FaultSettings()
    network = target.network if isinstance(target, Deployment) else target
    x, y = np.asarray(x)[: s.samples], np.asarray(y)[: s.samples]
    if y.ndim != 1 or not np.issubdtype(y.dtype, np.integer):
        raise SpecError("a sweep over faults needs the class of every sample; a regression has none")
    total, done = 1 + len(s.kinds) * len(s.rates) * s.draws, 0
    reading = readout or Readout()

    def share(kind: str, rate: float, draw: int) -> float:
        nonlocal done
        broken, faults = network, None
        if kind in OF_SPIKES:
            faults = msgspec.convert({kind: rate, "seed": s.seed + draw}, SpikeFaults)
        elif kind:
            broken = with_faults(network, msgspec.convert({kind: rate, "seed": s.seed + draw}, Faults))
        found = simulate(broken, x, n_steps, engine=engine, readout=reading, faults=faults, seed=seed, options=options)
        done += 1
        if progress is not None:
            progress(Progress("faults", done, total))
        return float(np.mean(found.predictions == y))

    healthy = _mean([share("", 0.0, 0)], len(y))
    points, refused = [], dict[str, str]()
    for kind in s.kinds:
        try:
            for rate in sorted(set(s.rates)):
                shares = [share(kind, rate, draw) for draw in range(s.draws if rate else 1)]
                points.append(FaultPoint(kind, rate, _mean(shares, len(y)), min(shares), max(shares)))
        except EngineError as error:
            refused[kind] = str(error)
    if not points:
        raise EngineError(next(iter(refused.values())))
    return FaultSweep(row, len(y), n_steps, s.draws, s.seed, healthy, tuple(points), refused)


def _mean(shares: list[float], n: int) -> Range:
    """Return the mean with the Wilson interval of n samples: the draws share the samples, and add none."""
    p, low, high = wilson_bounds(float(np.mean(shares)) * n, n)
    return Range(float(p), float(low), float(high))


# -- of a comparison --------------------------------------------------------------------------------


def of_trial(
    folder: str | os.PathLike[str], key: str, settings: FaultSettings, context: Context, progress: ProgressCallback | None = None
) -> FaultSweep | None:
    """Return the sweep of a finished trial; it is kept in the store. None for the ANN itself, regression and sequences."""
    found = subject(folder, key, context)
    if found is None:
        return None
    trial, bench, data, run = found.trial, found.bench, found.data, found.trial.run
    assert run is not None

    def make() -> FaultSweep:
        target = bench.prepared(trial) if trial.deploy is None else bench.deployment(trial)
        return sweep(
            target,
            data.x_test,
            data.y_test,
            run.n_steps,
            settings,
            engine=run.engine,
            readout=Readout(kind=run.readout, start=run.readout_start),
            seed=trial.seed,
            options=msgspec.convert(context.engine or {}, EngineOptions),
            progress=progress,
            row=key,
        )

    return FAULTS.made(found.store, _name(key, settings), make)


def kept(folder: str | os.PathLike[str], key: str, settings: FaultSettings) -> FaultSweep | None:
    """Return the sweep that the store has of a trial, None where it has none."""
    return FAULTS.kept(folder, _name(key, settings))


def _name(key: str, settings: FaultSettings) -> str:
    return key_of({"trial": key, "faults": msgspec.to_builtins(settings)})


# -- of the command ---------------------------------------------------------------------------------


class Sheet:
    """A sweep as a file of its own: JSON, or CSV with a line a point."""

    def __init__(self, found: FaultSweep) -> None:
        self.found = found

    def save(self, path: Path) -> Path:
        """Write it; the suffix decides."""
        if path.suffix.lower() == ".csv":
            lines = [",".join(map(str, row)) for row in (COLUMNS, *table(self.found))]
            return write_atomically(path, ("\n".join(lines) + "\n").encode())
        return write_atomically(path, (json.dumps(facts(self.found), indent=1) + "\n").encode())


COLUMNS = ("kind", "rate", "samples", "draws", "accuracy", "low", "high", "least", "most")


def table(found: FaultSweep) -> list[tuple[Any, ...]]:
    """Return one row a point; see ``COLUMNS``."""
    return [
        (p.kind, p.rate, found.n, found.draws if p.rate else 1, p.accuracy.value, p.accuracy.low, p.accuracy.high, p.least, p.most)
        for p in found.points
    ]


def facts(found: FaultSweep) -> dict[str, Any]:
    """Return the sweep as plain values."""
    return dict(msgspec.to_builtins(found))


__all__ = ["COLUMNS", "OF_SPIKES", "Sheet", "facts", "kept", "of_trial", "sweep", "table"]
