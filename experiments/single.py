"""One stage by itself, from files to files: settings as in an experiment file, but one value each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neuro import archive
from neuro.errors import SpecError, StoreError

from .config import Trial, parse

if TYPE_CHECKING:
    from converters.mlp import MLP
    from neuro.deploy import Deployment
    from neuro.network import SpikingNetwork

    from .datasets import Dataset


def settings(user: Sequence[str] = (), **given: Any) -> Trial:
    """Return the settings of one run: defaults, what the command's own options say, then ``--set``.

    ``given`` carries the command's options, ``run_n_steps=8`` for ``run.n_steps``; None leaves a setting alone.

    Raises
    ------
    SpecError : unknown settings (with the nearest known one) or wrong values, all at once; a list of values.
    """
    own = [f"{name.replace('_', '.', 1)}={json.dumps(value)}" for name, value in given.items() if value is not None]
    experiment = parse("", name="the settings", overrides=["deploy.reset=construction", *own, *user])
    if len(experiment.trials) != 3:
        raise SpecError("--set: a list of values makes a grid, which is for 'spikeport compare'; give one value to each setting here")
    return experiment.trials[-1]


def load_data(name: str, data_dir: Path | None, trial: Trial, progress: Any = None) -> Dataset:
    """Return a data set with the split that the settings ask for."""
    from .datasets import load_dataset

    return load_dataset(name, data_dir, trial.data.split_seed, trial.data.options or None, progress)


def calibration(data: Dataset, trial: Trial) -> np.ndarray:
    """Return the training samples that thresholds are chosen on, drawn by the seed; the same as in a comparison."""
    assert trial.convert is not None
    chosen = np.random.Generator(np.random.Philox(trial.seed)).permutation(len(data.x_train))[: trial.convert.calibration]
    return data.x_train[np.sort(chosen)]


def fits(mlp: MLP, data: Dataset) -> None:
    """Raise SpecError where a network and a data set disagree."""
    causes = []
    if mlp.n_in != data.n_in:
        causes.append(f"it takes {mlp.n_in} inputs, a sample has {data.n_in}")
    if mlp.n_out != data.n_out:
        causes.append(f"it has {mlp.n_out} outputs, the data {data.n_out}")
    if causes:
        raise SpecError(f"the network does not fit the data set {data.name}: {'; '.join(causes)}")


@dataclass(frozen=True)
class Kind:
    """A kind of file of ours: its format's name, what people call it, and the command that makes it."""

    format_name: str
    title: str
    command: str


KINDS = (
    Kind("spikeport.mlp", "a trained network", "train"),
    Kind("spikeport.network", "a spiking network", "convert"),
    Kind("spikeport.deployment", "a deployment", "deploy"),
    Kind("spikeport.recording", "a recording", "run"),
    Kind("spikeport.comparison", "a comparison", "compare"),
)


def kind_of(path: Path, wanted: Sequence[str]) -> str:
    """Return which of our formats a file has, of those a command takes; name what was found otherwise.

    Raises
    ------
    StoreError : no such file, not ours, or of another kind.
    """
    if not path.exists():
        raise StoreError(f"{path}: no such file")
    header = archive.peek(path)
    found = None if header is None else header.get("format")
    if found in wanted:
        return str(found)
    known = {kind.format_name: kind for kind in KINDS}
    titles = " or ".join(known[name].title for name in wanted)
    commands = " or ".join(f"'spikeport {known[name].command}'" for name in wanted)
    what = known[found].title if found in known else "a file that spikeport did not write"
    raise StoreError(f"{path}: is {what}, expected {titles}, as {commands} makes it")


def load_runnable(path: Path) -> SpikingNetwork | Deployment:
    """Return the spiking network or the deployment of a file."""
    if kind_of(path, ("spikeport.network", "spikeport.deployment")) == "spikeport.network":
        from neuro.network import SpikingNetwork

        return SpikingNetwork.load(path)
    from neuro.deploy import Deployment

    return Deployment.load(path)




def named(mlp: MLP, data: Dataset) -> MLP:
    """Return a trained network that knows its classes and the shape of its inputs."""
    from dataclasses import replace

    return replace(mlp, classes=data.classes, task=data.task, input_shape=tuple(data.input_shape))
