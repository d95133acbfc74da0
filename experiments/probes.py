"""Further runs behind the scorecard: the network of one row with something taken away, and on inputs it was not made for.

Nothing is retrained or calibrated again. All on the first test samples, so that the accuracy beside each number is of them.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import scipy.sparse as sp

from neuro.deploy import DeployOptions, deploy
from neuro.encoding import generator
from neuro.engines import EngineOptions, simulate
from neuro.errors import CapacityError, SpecError
from neuro.network import SpikingNetwork
from neuro.progress import Progress, ProgressCallback
from neuro.readout import Readout
from neuro.recording import Recording

from . import archive_values
from .comparison import Attribution, Probe, Probes, Strange
from .config import Trial
from .metrics import accuracy, margins
from .stages import Bench, Context
from .statistics import wilson
from .store import Store

Array = np.ndarray
SAMPLES = 1000
TOP_SHARE = 0.1  # of a layer's neurons taken away, the busiest ones


def probe(
    folder: str | os.PathLike[str], key: str, context: Context, progress: ProgressCallback | None = None
) -> Probes | None:
    """Return the probes of a finished classification trial, from the store where they are there already.

    None for regression and recurrent networks, and where the trial is no spiking one or not done.
    """
    store = Store(folder, create=False)
    result = store.get(key, arrays=False)
    if result is None or result.status != "done":
        return None
    trial = Trial.of(result.trial)
    bench = Bench(store, context, progress)
    if trial.run is None or bench.data(trial).task != "classification" or bench.data(trial).sequences:
        return None
    return store.shared("probes", key, lambda: _Prober(bench, trial).all(), archive_values.save, archive_values.loader(Probes))
