"""DATASETS: the table of data sets. One file a data set, imported when it is asked for.

A loader is a function ``(data_dir, seed, progress)``; one with settings also takes ``options: SomeOptions | None``, a
frozen msgspec struct, from which :func:`options_type` reads what it accepts.
"""

from __future__ import annotations

import importlib
import os
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from neuro.errors import SpecError, nearest
from neuro.progress import ProgressCallback

from .base import DataDir, Dataset, split_indices


@dataclass(frozen=True)
class Entry:
    """One data set: its loader as ``module:function`` in this package, one line for lists, its folder if named apart."""

    loader: str
    summary: str
    folder: str = ""


DATASETS: dict[str, Entry] = {
    "digits": Entry("digits:load", "1,797 handwritten digits, 8x8 pixels (UCI); ships with the package"),
    "mnist": Entry("mnist:load", "70,000 handwritten digits, 28x28 pixels"),
    "fashion_mnist": Entry("fashion_mnist:load", "70,000 pictures of clothes, 28x28 pixels"),
    "spoken_digits": Entry("spoken_digits:load", "3,000 recordings of ten digits by six speakers, log-mel", "fsdd"),
    "sms_spam": Entry("sms_spam:load", "5,574 short messages, wanted or spam, bag of words"),
    "sentence_polarity": Entry("sentence_polarity:load", "10,662 sentences of film reviews, bag of words"),
    "indoor_movement": Entry("timeseries:indoor_movement", "314 radio signal sequences: will the person change room?", "timeseries"),
    "sunspots": Entry("timeseries:sunspots", "monthly sunspot numbers 1749-1983, predict the next", "timeseries"),
    "temperatures": Entry("timeseries:temperatures", "daily minimum temperatures 1981-1990, predict tomorrow's", "timeseries"),
}

Loader = Callable[..., Dataset]
Settings = msgspec.Struct | Mapping[str, Any] | None


def loader(name: str) -> Loader:
    """Return the function that loads a data set of the table; raise SpecError with the nearest name otherwise."""
    if name not in DATASETS:
        raise SpecError(
            f"unknown data set {name!r}{nearest(name, DATASETS)}; your own data are given by the path of a .npz (x, y) or .csv file"
        )
    module, function = DATASETS[name].loader.split(":")
    return typing.cast(Loader, getattr(importlib.import_module(f".{module}", __name__), function))


def options_type(name: str) -> type[msgspec.Struct] | None:
    """Return the struct of settings a data set takes, or None when it has none."""
    hint = typing.get_type_hints(_find(name)).get("options")
    kinds = [kind for kind in typing.get_args(hint) if isinstance(kind, type) and issubclass(kind, msgspec.Struct)]
    return kinds[0] if kinds else None


def load_dataset(
    name: str | os.PathLike[str],
    data_dir: DataDir = None,
    seed: int = 0,
    options: Settings = None,
    progress: ProgressCallback | None = None,
) -> Dataset:
    """Load a data set of the table, or the user's own ``.npz`` or ``.csv`` file.

    Parameters
    ----------
    name : a name in DATASETS, or the path of a file with ``x`` and ``y`` (see :mod:`experiments.datasets.table`).
    data_dir : folder to look in first; then ``SPIKEPORT_DATA``, the user's cache, and a download.
    seed : seed of the split, where the data set has no split of its own.
    options : the data set's own settings, as its struct or as a mapping with the same names.
    progress : called during downloads.

    Raises
    ------
    SpecError : unknown name (with the nearest one), unknown option, files that are absent, damaged or disagree.
    """
    text = os.fspath(name)
    load = _find(text)
    if data_dir is not None and not Path(data_dir).is_dir():
        raise SpecError(f"{data_dir}: no such folder; --data-dir names the folder that holds data sets")
    arguments: dict[str, Any] = {"data_dir": data_dir, "seed": seed, "progress": progress}
    if _is_path(text):
        arguments["path"] = Path(text)
    kind = options_type(text)
    if kind is not None:
        arguments["options"] = _decode(text, options, kind)
    elif options:
        raise SpecError(f"the data set {text!r} has no settings, but some were given: {options!r}")
    return load(**arguments)


def _is_path(text: str) -> bool:
    return text not in DATASETS and (Path(text).suffix.lower() in (".npz", ".csv", ".gz") or os.sep in text)


def _find(text: str) -> Loader:
    if _is_path(text):
        from . import table

        return table.load
    return loader(text)


def _decode(name: str, options: Settings, kind: type[msgspec.Struct]) -> msgspec.Struct:
    if isinstance(options, kind):
        return options
    if isinstance(options, msgspec.Struct):
        raise SpecError(f"the data set {name!r} takes {kind.__name__}, not {type(options).__name__}")
    unknown = [key for key in (options or {}) if key not in kind.__struct_fields__]
    if unknown:
        hint = nearest(unknown[0], kind.__struct_fields__)
        raise SpecError(f"the data set {name!r} has no setting {unknown[0]!r}{hint}")
    try:
        return msgspec.convert(dict(options or {}), kind)
    except msgspec.ValidationError as error:
        raise SpecError(f"settings of the data set {name!r}: {error}") from error


__all__ = ["DATASETS", "Dataset", "Entry", "load_dataset", "loader", "options_type", "split_indices"]
