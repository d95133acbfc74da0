"""Samples as the training loop takes them: checked, time first, values in units of their spread, in batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from neuro.errors import SpecError, not_finite, problems

from .mlp import MLP, Dense
from .train_options import TrainOptions

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class TrainData:
    """Samples as the training loop takes them: x (n_seq, n_samples, n_in) float32, y labels or values."""

    x: Array
    y: Array
    loss: str
    task: Literal["classification", "regression"]
    n_out: int

    @property
    def n(self) -> int:
        """Number of samples."""
        return self.x.shape[1]


@dataclass(frozen=True, eq=False)
class TargetScale:
    """Mean and standard deviation of every value to predict; 0 and 1 for classes."""

    mean: Array
    deviation: Array

    def normalise(self, y: Array) -> Array:
        """Return the values with mean 0 and standard deviation 1; labels as they are."""
        if np.issubdtype(y.dtype, np.integer):
            return y
        return ((y - self.mean) / self.deviation).astype(np.float32)


def prepare(model: MLP | Sequence[int], x: Array, y: Array, options: TrainOptions) -> TrainData:
    """Check shapes, labels and finiteness; return the data time first."""
    x, y = np.asarray(x), np.asarray(y)
    sizes = model.sizes if isinstance(model, MLP) else tuple(model)
    causes = []
    if len(sizes) < 2 or any(int(size) != size or size < 1 for size in sizes):
        raise SpecError(f"widths of the network are {sizes}, expected inputs, hidden layers, outputs, each 1 or more")
    wants_sequences = isinstance(model, MLP) and model.recurrent
    if x.ndim not in ((3,) if wants_sequences else (2,) if isinstance(model, MLP) else (2, 3)):
        expected = "(n_samples, n_seq, n_in)" if wants_sequences else "(n_samples, n_in)"
        causes.append(f"x has shape {x.shape}, expected {expected}")
    elif x.shape[-1] != sizes[0]:
        causes.append(f"x has {x.shape[-1]} inputs a sample, the network takes {sizes[0]}")
    elif 0 in x.shape:
        causes.append(f"x has shape {x.shape}: there is nothing to learn from")
    elif where := not_finite(x):
        causes.append(f"x holds NaN or infinity, the first in {where}; clean it first")
    if x.ndim and y.ndim and len(x) != len(y):
        causes.append(f"x holds {len(x)} samples, y {len(y)} answers")
    classes = np.issubdtype(y.dtype, np.integer)
    if classes and y.ndim == 1:
        if len(y) and not 0 <= y.min() <= y.max() < sizes[-1]:
            causes.append(f"y holds labels {y.min()} to {y.max()}, the network has outputs 0 to {sizes[-1] - 1}")
    elif classes or not np.issubdtype(y.dtype, np.floating):
        causes.append(f"y is {y.dtype} of shape {y.shape}, expected (n_samples,) labels or float values")
    else:
        y = y.reshape(len(y), -1)
        if y.shape[1] != sizes[-1]:
            causes.append(f"y holds {y.shape[1]} values a sample, the network has {sizes[-1]} outputs")
        if where := not_finite(y):
            causes.append(f"y holds NaN or infinity, the first in {where}; clean it first")
        if options.loss == "cross_entropy":
            causes.append("the loss cross_entropy needs class labels, y holds float values")
    if causes:
        raise SpecError(problems("the network cannot be trained on these data:", causes))
    loss = options.loss if options.loss != "auto" else "cross_entropy" if classes else "squared_error"
    return TrainData(time_first(x), y, loss, "classification" if classes else "regression", int(sizes[-1]))


def time_first(x: Array) -> Array:
    """Return x as (n_seq, n_samples, n_in) float32; n_seq is 1 for a feed-forward network."""
    x = np.asarray(x, np.float32)
    return np.ascontiguousarray(x[None] if x.ndim == 2 else x.transpose(1, 0, 2))


def target_scale(data: TrainData, layers: Sequence[Dense]) -> TargetScale:
    """Return the scale of the values, or 0 and 1 where the last layer cannot take it (classes, ReLU outputs)."""
    if data.task == "classification" or layers[-1].activation != "identity":
        return TargetScale(np.zeros(data.n_out), np.ones(data.n_out))
    deviation = data.y.std(axis=0, dtype=np.float64)
    return TargetScale(data.y.mean(axis=0, dtype=np.float64), np.where(deviation > 0, deviation, 1.0))


def hold_out(
    data: TrainData,
    validation_data: tuple[Array, Array] | None,
    model: MLP | Sequence[int],
    options: TrainOptions,
    scale: TargetScale,
    rng: np.random.Generator,
) -> tuple[Array, TrainData | None]:
    """Return the rows to train on and the validation data."""
    rows = rng.permutation(data.n)
    if validation_data is not None:
        held = prepare(model, *validation_data, options)
        if held.task != data.task:
            raise SpecError(f"validation data are for {held.task}, training data for {data.task}")
        return rows, replace(held, y=scale.normalise(held.y))
    if not options.validation:
        return rows, None
    n_held = max(1, round(data.n * options.validation))
    if n_held >= data.n:
        raise SpecError(f"{data.n} samples leave nothing to train on with validation = {options.validation}")
    held_rows, rows = rows[:n_held], rows[n_held:]
    return rows, replace(data, x=data.x[:, held_rows], y=data.y[held_rows])


def batches(data: TrainData, rows: Array, size: int, rng: np.random.Generator) -> Iterator[tuple[Array, Array]]:
    """Yield (x, y) of every batch of one epoch, in a new order; x is overwritten by the next."""
    order = rng.permutation(rows)
    room = np.empty((data.x.shape[0], min(size, len(rows)), data.x.shape[2]), np.float32)
    for first in range(0, len(order), size):
        chosen = order[first : first + size]
        xb = room if len(chosen) == room.shape[1] else np.empty((len(room), len(chosen), room.shape[2]), np.float32)
        # mode="clip" writes straight into the room; the rows are known to be within range.
        np.take(data.x, chosen, axis=1, out=xb, mode="clip")
        yield xb, targets(data, data.y[chosen])


def targets(data: TrainData, y: Array) -> Array:
    """Return y as the loss takes it: labels as one and zero for the squared error."""
    if data.loss == "squared_error" and data.task == "classification":
        return np.eye(data.n_out, dtype=np.float32)[y]
    return y
