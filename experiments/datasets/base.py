"""Dataset: the frozen value every data set is loaded into, and how one is split."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from neuro.errors import SpecError, problems

Array = np.ndarray
DataDir = str | os.PathLike[str] | None


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples, answers, and where they came from.

    Parameters
    ----------
    name : name in the DATASETS table, or the path of the user's file.
    x_train, x_test : (n_samples, n_in) float32 array, or (n_samples, n_seq, n_in) of sequences, within ``input_range``.
    y_train, y_test : (n_samples,) int64 array of class indexes, or (n_samples, n_out) float32 array for regression.
    classes : names of the classes, in the order of their indexes; empty for regression.
    task : ``"classification"`` or ``"regression"``.
    input_shape : shape of one sample before flattening, e.g. (28, 28).
    input_range : smallest and largest value an input may take; of counts and user files, of the training data.
    licence, source : terms of use, and who made it with the address.
    split : the rule by which training and test samples were told apart, in words.
    seed : seed of the split; None when the split is fixed by the data set's makers.
    groups_train, groups_test : (n_samples,) str arrays, e.g. the speaker of each recording; None without groups.
    info : further facts: files read, checksums, vocabulary, units, settings.

    Raises
    ------
    SpecError : every disagreement of lengths, shapes, labels and every NaN, at once.
    """

    name: str
    x_train: Array
    y_train: Array
    x_test: Array
    y_test: Array
    classes: tuple[str, ...] = ()
    task: Literal["classification", "regression"] = "classification"
    input_shape: tuple[int, ...] = ()
    input_range: tuple[float, float] = (0.0, 1.0)
    licence: str = ""
    source: str = ""
    split: str = ""
    seed: int | None = None
    groups_train: Array | None = None
    groups_test: Array | None = None
    info: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        causes = [*_part_problems(self, "train"), *_part_problems(self, "test")]
        if not causes and self.x_train.shape[1:] != self.x_test.shape[1:]:
            causes.append(f"x_train has samples of shape {self.x_train.shape[1:]}, x_test of {self.x_test.shape[1:]}")
        if causes:
            raise SpecError(problems(f"the data set {self.name} cannot be used:", causes))

    @property
    def n_in(self) -> int:
        """Number of input values (of one element of a sequence)."""
        return int(self.x_train.shape[-1])

    @property
    def n_out(self) -> int:
        """Number of outputs a network for it has."""
        return len(self.classes) if self.task == "classification" else int(self.y_train.shape[1])

    @property
    def sequences(self) -> bool:
        """Whether a sample is a sequence, (n_seq, n_in)."""
        return self.x_train.ndim == 3

    def describe(self) -> str:
        """Return one line: size, inputs, classes, split."""
        total = len(self.x_train) + len(self.x_test)
        inputs = f"{self.x_train.shape[1]} x {self.n_in}" if self.sequences else f"{self.n_in}"
        outputs = f"{self.n_out} classes" if self.task == "classification" else f"{self.n_out} value{'' if self.n_out == 1 else 's'} to predict"
        seed = "" if self.seed is None else f", seed {self.seed}"
        return f"{self.name}: {total:,} samples, {inputs} inputs, {outputs} ({len(self.x_train):,} train / {len(self.x_test):,} test{seed})"


def _part_problems(data: Dataset, part: str) -> list[str]:
    x, y, groups = (getattr(data, f"{name}_{part}") for name in ("x", "y", "groups"))
    if x.ndim not in (2, 3):
        return [f"x_{part} has shape {x.shape}, expected (n_samples, n_in) or (n_samples, n_seq, n_in)"]
    causes = []
    if not len(x):
        causes.append(f"x_{part} holds no samples")
    if len(x) != len(y):
        causes.append(f"x_{part} holds {len(x)} samples, y_{part} {len(y)} answers")
    if groups is not None and len(groups) != len(x):
        causes.append(f"x_{part} holds {len(x)} samples, groups_{part} {len(groups)} names")
    bad = int(np.count_nonzero(~np.isfinite(x)))
    if bad:
        first = np.argwhere(~np.isfinite(x))[0]
        causes.append(f"x_{part} holds {bad} NaN or infinite values, the first in sample {first[0]}; clean them first")
    if data.task == "regression":
        if y.ndim != 2:
            causes.append(f"y_{part} has shape {y.shape}, expected (n_samples, n_out) for regression")
        elif not np.isfinite(y).all():
            causes.append(f"y_{part} holds NaN or infinity")
    elif not np.issubdtype(y.dtype, np.integer) or y.ndim != 1:
        causes.append(f"y_{part} is {y.dtype} of shape {y.shape}, expected (n_samples,) integers")
    elif len(y) and not (y.min() >= 0 and y.max() < len(data.classes)):
        causes.append(f"y_{part} holds labels {y.min()} to {y.max()}, expected 0 to {len(data.classes) - 1}")
    return causes


def split_indices(n: int, n_test: int, seed: int, labels: Array | None = None) -> tuple[Array, Array]:
    """Return (train, test) indexes of n samples, each sorted; with labels, in the same proportions of every class.

    The order is that of Philox numbers, which NumPy keeps the same in every version and on every platform.
    """
    if not 0 < n_test < n:
        raise SpecError(f"a test part of {n_test} samples out of {n} was asked for; expected 1 to {n - 1}")
    order = np.argsort(np.random.Generator(np.random.Philox(seed)).random(n), kind="stable")
    if labels is None:
        chosen = order[:n_test]
    else:
        values, inverse = np.unique(np.asarray(labels), return_inverse=True)
        exact = np.bincount(inverse) * (n_test / n)
        quota = np.floor(exact).astype(int)
        # Largest remainders get the samples that rounding down left over.
        quota[np.argsort(quota - exact, kind="stable")[: n_test - quota.sum()]] += 1
        chosen = np.concatenate([order[inverse[order] == k][: quota[k]] for k in range(len(values))])
    test = np.zeros(n, bool)
    test[chosen] = True
    return np.flatnonzero(~test), np.flatnonzero(test)


def sha256_file(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file, read in pieces."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
