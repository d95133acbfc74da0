"""What the calibration data look like, to the network that is converted."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from neuro.errors import ConversionError, problems

from ..mlp import MLP
from .draft import Draft, ann_passes, population_name

Array = np.ndarray
NEARLY_ALL = 0.95  # of the answers the same: there may be one class only, and a few mistakes of the network
BEYOND = 0.5  # of the width of the training inputs: a new sample may lie a little outside
WITHIN = 0.1  # of that width: a random selection spans more
FEWEST = 10  # below this, no statistic of an activation means anything


@dataclass(eq=False)
class Moments:
    """Running count, mean, standard deviation, range and share of positive values."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0
    low: float = np.inf
    high: float = -np.inf
    positive: int = 0

    def add(self, values: Array) -> None:
        """Take more values."""
        wide = values.astype(np.float64, copy=False)
        self.count += wide.size
        self.total += float(wide.sum())
        self.squares += float(np.vdot(wide, wide))
        self.low, self.high = min(self.low, float(wide.min())), max(self.high, float(wide.max()))
        self.positive += int(np.count_nonzero(wide > 0))

    def summary(self) -> dict[str, float]:
        """Return the statistics as plain values."""
        mean = self.total / self.count
        spread = float(np.sqrt(max(self.squares / self.count - mean**2, 0.0)))
        return {"mean": mean, "std": spread, "low": self.low, "high": self.high, "active": self.positive / self.count}


@dataclass(frozen=True, eq=False)
class Survey:
    """One pass of the ANN over the calibration data.

    n_samples : samples read (sequences of a recurrent network).
    inputs, outputs : moments of what enters and leaves.
    activations : moments per hidden layer, by the name of its population.
    classes : how often the ANN answers each class, (n_out,).
    """

    n_samples: int
    inputs: Moments
    outputs: Moments
    activations: dict[str, Moments] = field(default_factory=dict)
    classes: Array = field(default_factory=lambda: np.zeros(0, np.int64))

    def summary(self) -> dict[str, Any]:
        """Return everything as plain values, to be kept with the network."""
        return {
            "inputs": self.inputs.summary(),
            "outputs": self.outputs.summary(),
            "activations": {name: m.summary() for name, m in self.activations.items()},
        }


def survey(draft: Draft) -> Survey:
    """Pass the calibration data once through the ANN and check that they can be used.

    Raises
    ------
    ConversionError : fewer than 10 samples, inputs all the same, infinite activations, layers that are never active (all
        named), one class only.
    """
    mlp, n_layers = draft.mlp, len(draft.mlp.layers)
    inputs, outputs = Moments(), Moments()
    layers = {population_name(i, n_layers): Moments() for i in draft.hidden}
    classes, n_samples, causes = np.zeros(mlp.n_out, np.int64), 0, []
    with np.errstate(over="ignore", invalid="ignore"):
        for _, values in ann_passes(draft):
            broken = [population_name(i, n_layers) for i in range(n_layers) if not np.isfinite(values[i + 1]).all()]
            if broken:
                causes.append(f"activations of {broken[0]} are infinite; are inputs and weights in their usual range?")
                break
            n_samples += values[0].shape[1]
            inputs.add(values[0])
            for i in draft.hidden:
                layers[population_name(i, n_layers)].add(values[i + 1])
            outputs.add(values[-1])
            classes += np.bincount(values[-1][-1].argmax(axis=1), minlength=mlp.n_out)
    if not causes:
        causes = _problems(mlp, n_samples, inputs, layers, classes)
    other_range = _other_range(mlp, inputs)
    if causes:
        causes += [other_range] if other_range else []
        raise ConversionError(problems("the calibration data cannot be used:", causes))
    if mlp.task == "classification" and mlp.n_out > 1 and classes.max() > NEARLY_ALL * classes.sum():
        warnings.warn(
            f"the network answers class {_class(mlp, int(classes.argmax()))} for {classes.max():,} of {n_samples:,} calibration samples; "
            "if they are sorted by class, give a random selection of all classes",
            UserWarning,
            stacklevel=4,
        )
    if other_range:
        warnings.warn(other_range, UserWarning, stacklevel=4)
    return Survey(n_samples, inputs, outputs, layers, classes)


def _other_range(mlp: MLP, inputs: Moments) -> str:
    """Return how the inputs differ from those of the training, in words; "" where they agree or the network does not know."""
    known = mlp.info.get("training", {}).get("input_range")
    if not known or not inputs.count:
        return ""
    low, high = (float(end) for end in known)
    room = BEYOND * (high - low)
    if low - room <= inputs.low and inputs.high <= high + room and inputs.high - inputs.low >= WITHIN * (high - low):
        return ""
    return (
        f"the calibration inputs lie in [{inputs.low:g}, {inputs.high:g}], those the network was trained on in [{low:g}, {high:g}]; "
        "scale them as in training"
    )


def _problems(mlp: MLP, n_samples: int, inputs: Moments, layers: Mapping[str, Moments], classes: Array) -> list[str]:
    causes = []
    if n_samples < FEWEST:
        return [f"{n_samples} samples, expected {FEWEST} or more (1,000 are a good number)"]
    dead = [name for name, moments in layers.items() if moments.positive == 0]
    if dead:
        return [
            f"no neuron of {' and '.join(dead)} is ever active on them, and so no threshold can be chosen; "
            "are the inputs scaled as in training, and are biases in their usual range?"
        ]
    if inputs.low == inputs.high:
        causes.append(f"every input value is {inputs.low:g}")
    elif mlp.task == "classification" and mlp.n_out > 1 and np.count_nonzero(classes) == 1:
        causes.append(
            f"the network answers class {_class(mlp, int(classes.argmax()))} for all {n_samples} samples; "
            "are they sorted by class? Give a random selection of all classes"
        )
    return causes


def _class(mlp: MLP, index: int) -> str:
    """Return a class by its number, and its name where it has one."""
    return f"{index} ({mlp.classes[index]})" if mlp.classes else str(index)
