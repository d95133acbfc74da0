"""Where the files that a config names are: beside it, here, or in the data folders."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from neuro.errors import SpecError
from neuro.progress import ProgressCallback

from .config import FILES, DataSettings
from .datasets import Dataset, load_dataset, split_indices
from .datasets.fetch import VARIABLE


def find_file(name: str, folder: Path, data_dir: str = "") -> Path:
    """Return the path of a file named in a config: looked for beside the config, here, and in the data folders.

    Raises
    ------
    SpecError : no such file; the places that were looked at.
    """
    roots = [folder, Path(), *(Path(d) for d in (data_dir, os.environ.get(VARIABLE, "")) if d)]
    places = list(dict.fromkeys((root / name).resolve() for root in roots))
    for place in places:
        if place.is_file():
            return place
    raise SpecError(f"{name}: no such file; looked for {', '.join(map(str, places))}")


def chip_path(chip: str, folder: Path) -> str:
    """Return a chip's name, or the path of its file, looked for beside the config."""
    return str(find_file(chip, folder)) if chip.endswith(".toml") else chip


def load_data(
    settings: DataSettings, folder: Path, data_dir: str = "", progress: ProgressCallback | None = None
) -> Dataset:
    """Return the data set of ``[data]``, its test part cut to ``limit`` samples."""
    name = settings.name
    if name.endswith(FILES):
        name = str(find_file(name, folder, data_dir))
    data = load_dataset(name, data_dir or None, settings.split_seed, settings.options or None, progress)
    if settings.holdout:
        data = _held_out(data, settings)
    n = settings.limit
    if not n or n >= len(data.x_test):
        return data
    groups = None if data.groups_test is None else data.groups_test[:n]
    return replace(data, name=settings.name, x_test=data.x_test[:n], y_test=data.y_test[:n], groups_test=groups)


def _held_out(data: Dataset, settings: DataSettings) -> Dataset:
    """Return the data set without its held-out training samples, or with these in place of the test samples.

    Of classes the same share each; of sequences and of values to predict, which may follow each other in time, the last.
    """
    n = len(data.x_train)
    count = max(1, round(settings.holdout * n))
    if data.task == "classification" and not data.sequences:
        kept, held = split_indices(n, count, settings.split_seed, data.y_train)
    else:
        kept, held = np.split(np.arange(n), [n - count])
    groups = data.groups_train
    left = replace(data, x_train=data.x_train[kept], y_train=data.y_train[kept], groups_train=None if groups is None else groups[kept])
    if settings.part == "test":
        return replace(left, split=f"{data.split}; {count:,} training samples held out")
    return replace(
        left,
        x_test=data.x_train[held],
        y_test=data.y_train[held],
        groups_test=None if groups is None else groups[held],
        split=f"{data.split}; not the test samples, but {count:,} held-out training samples",
    )
