"""The user's own data: ``.npz`` with x and y (and x_test, y_test), or a table in ``.csv``."""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from neuro.errors import SpecError, problems
from neuro.progress import ProgressCallback

from .base import Array, DataDir, Dataset, sha256_file, split_indices

TARGETS = ("y", "label", "target", "class")


class TableOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings of a user's file.

    Parameters
    ----------
    task : ``"auto"`` takes whole numbers and text as classes and other numbers as values to predict (regression).
    test_fraction : share of the samples set aside for the test when the file has no test part of its own.
    divisor : inputs are divided by it, e.g. 255 for pixels.
    sequences : keep x as (n_samples, n_seq, n_in) for recurrent networks; otherwise samples are flattened.
    """

    task: Literal["auto", "classification", "regression"] = "auto"
    test_fraction: float = 0.25
    divisor: float = 1.0
    sequences: bool = False

    def __post_init__(self) -> None:
        causes = []
        if not 0 < self.test_fraction < 1:
            causes.append(f"test_fraction is {self.test_fraction}, expected a number between 0 and 1")
        if not (np.isfinite(self.divisor) and self.divisor > 0):
            causes.append(f"divisor is {self.divisor}, expected a positive number")
        if causes:
            raise SpecError(problems("settings of a data file:", causes))


def load(
    path: Path,
    options: TableOptions | None = None,
    data_dir: DataDir = None,
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> Dataset:
    """Load a user's file.

    ``.npz``: arrays ``x`` (n_samples, ...), ``y`` (n_samples,) or (n_samples, n_out), optionally ``x_test``,
    ``y_test``, ``groups``, ``groups_test`` and ``classes`` (names). ``.csv`` (also ``.csv.gz``; comma, semicolon or
    tab; header or none): one sample a line; the answer is the column named y, label, target or class, else the last.
    Whole numbers are class indexes as they stand; text labels are numbered in alphabetical order.

    Raises
    ------
    SpecError : no such file, not readable, arrays missing, lengths that disagree, NaN, labels below zero.
    """
    options = options or TableOptions()
    path = _locate(path, data_dir)
    arrays = _read_csv(path) if ".csv" in path.suffixes[-2:] else _read_npz(path)
    x = _inputs(path, "x", arrays["x"], options)
    y, y_test, classes, task = _answers(path, arrays, options)
    groups, groups_test = arrays.get("groups"), arrays.get("groups_test")
    if "x_test" in arrays:
        x_test = _inputs(path, "x_test", arrays["x_test"], options)
        split, used = "the file's own test part", None
    else:
        if len(x) != len(y):
            raise SpecError(f"{path}: x holds {len(x)} samples, y {len(y)} answers")
        n_test = round(len(x) * options.test_fraction)
        train, test = split_indices(len(x), n_test, seed, y if task == "classification" else None)
        x, x_test, y, y_test = x[train], x[test], y[train], y[test]
        if groups is not None:
            groups, groups_test = groups[train], groups[test]
        kind = ", the same share of every class" if task == "classification" else ""
        split, used = f"{options.test_fraction:.0%} of the samples drawn at random for the test{kind}", seed
    low, high = (float(x.min()), float(x.max())) if x.size else (0.0, 0.0)
    return Dataset(
        name=str(path),
        x_train=x,
        y_train=y,
        x_test=x_test,
        y_test=y_test,
        classes=classes,
        task=task,
        input_shape=tuple(int(n) for n in arrays["x"].shape[1:]),
        input_range=(low, high),
        licence="the user's own data",
        source=str(path),
        split=split,
        seed=used,
        groups_train=groups,
        groups_test=groups_test,
        info={"files": {path.name: str(path)}, "sha256": sha256_file(path), **msgspec.to_builtins(options)},
    )


def _locate(path: Path, data_dir: DataDir) -> Path:
    for candidate in (path, *([Path(data_dir) / path] if data_dir is not None else [])):
        if candidate.is_file():
            return candidate
    raise SpecError(f"{path}: no such file")


def _read_npz(path: Path) -> dict[str, Array]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise SpecError(f"{path}: a single array, expected an .npz file with arrays x and y")
            arrays = {name: archive[name] for name in archive.files if name != "header.json"}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, SpecError):
            raise
        reason = "it holds Python objects, which are not read" if "pickle" in str(error) else str(error)
        raise SpecError(f"{path}: not a readable .npz file ({reason})") from error
    needed = ["x", "y", *(["x_test", "y_test"] if {"x_test", "y_test"} & set(arrays) else [])]
    lacking = [name for name in needed if name not in arrays]
    if lacking:
        found = ", ".join(sorted(arrays)) or "nothing"
        raise SpecError(f"{path}: has no array {' and no '.join(lacking)} (found {found}); expected x and y (calibration looks at no answers: zeros will do)")
    return arrays


def _read_csv(path: Path) -> dict[str, Array]:
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: not a readable text file ({error})") from error
    first = text.lstrip().split("\n", 1)[0].strip()
    delimiter = max(",;\t", key=first.count)
    fields = [field.strip().strip('"') for field in first.split(delimiter)]
    if len(fields) < 2:
        raise SpecError(f"{path}: its first line has one column, expected inputs and an answer separated by commas")
    header = not any(_number(field) for field in fields)
    names = [field.lower() for field in fields]
    target = next((names.index(name) for name in TARGETS if header and name in names), len(fields) - 1)
    settings: dict[str, Any] = {"delimiter": delimiter, "quotechar": '"', "skiprows": int(header), "comments": None}
    inputs = [column for column in range(len(fields)) if column != target]
    if not text.strip().partition("\n")[2] and header:
        raise SpecError(f"{path}: holds no samples, only a header")
    try:
        x = np.loadtxt(io.StringIO(text), dtype=np.float32, ndmin=2, usecols=inputs, **settings)
        y = np.loadtxt(io.StringIO(text), dtype=str, ndmin=1, usecols=target, **settings)
    except ValueError as error:
        raise SpecError(f"{path}: {_first_wrong(text, delimiter, fields, target, header) or error}") from error
    return {"x": x, "y": _typed(np.char.strip(y))}


def _first_wrong(text: str, delimiter: str, fields: list[str], target: int, header: bool) -> str:
    """Return what is wrong with the first line that is not like the first, or holds something else than numbers."""
    reader = csv.reader(io.StringIO(text), delimiter=delimiter)
    for number, row in enumerate(row for row in reader if row):
        if header and number == 0:
            continue
        if len(row) != len(fields):
            return f"line {reader.line_num} has {len(row)} fields, expected {len(fields)} as in the first"
        for column, field in enumerate(row):
            if column != target and not _number(field):
                name = repr(fields[column]) if header else str(column + 1)
                return f"line {reader.line_num}, column {name} holds {field.strip()!r}, expected a number"
    return ""


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _typed(y: Array) -> Array:
    """Return whole numbers as integers, other numbers as floats, anything else as text."""
    for kind in (np.int64, np.float32):
        try:
            return y.astype(kind)
        except ValueError:
            continue
    return y


def _inputs(path: Path, name: str, x: Array, options: TableOptions) -> Array:
    if not (np.issubdtype(x.dtype, np.number) or x.dtype == bool) or np.issubdtype(x.dtype, np.complexfloating):
        raise SpecError(f"{path}: {name} holds {x.dtype}, expected numbers")
    if x.ndim < (3 if options.sequences else 2):
        expected = "(n_samples, n_seq, n_in)" if options.sequences else "(n_samples, n_in)"
        raise SpecError(f"{path}: {name} has shape {x.shape}, expected {expected}")
    kept = 2 if options.sequences else 1
    width = int(np.prod(x.shape[kept:]))
    x = x.reshape(*x.shape[:kept], width).astype(np.float32)
    return x if options.divisor == 1 else x / np.float32(options.divisor)


def _answers(
    path: Path, arrays: dict[str, Array], options: TableOptions
) -> tuple[Array, Array, tuple[str, ...], Literal["classification", "regression"]]:
    y, y_test = arrays["y"], arrays.get("y_test", arrays["y"][:0])
    if y.ndim == 2 and y.shape[1] == 1 and not np.issubdtype(y.dtype, np.floating):
        y, y_test = y[:, 0], y_test.reshape(-1)
    numeric = np.issubdtype(y.dtype, np.number)
    regression = options.task == "regression" or (options.task == "auto" and np.issubdtype(y.dtype, np.floating))
    if regression:
        if not numeric:
            raise SpecError(f"{path}: y holds {y.dtype}, expected numbers for regression")
        width = int(np.prod(y.shape[1:]))
        found = [part.astype(np.float32).reshape(len(part), width) for part in (y, y_test)]
        return found[0], found[1], (), "regression"
    if y.ndim != 1:
        raise SpecError(f"{path}: y has shape {y.shape}, expected (n_samples,) class labels")
    if not numeric and y.dtype != bool:
        names = np.unique(np.concatenate([y, y_test]))
        indexes = [np.searchsorted(names, part) for part in (y, y_test)]
        return indexes[0], indexes[1], tuple(str(name) for name in names), "classification"
    if np.issubdtype(y.dtype, np.floating) and not np.array_equal(y, np.rint(y)):
        raise SpecError(f"{path}: y holds fractions, expected whole-numbered class labels (or task = 'regression')")
    y, y_test = y.astype(np.int64), y_test.astype(np.int64)
    both = np.concatenate([y, y_test])
    if not len(both) or both.min() < 0 or both.max() >= max(len(both), 2):
        span = f"{both.min()} to {both.max()}" if len(both) else "none"
        raise SpecError(
            f"{path}: class labels are {span} for {len(both)} samples, expected 0, 1, 2, ... and a sample of each class at least "
            "(give more samples, store names as text, or set task = 'regression')"
        )
    n_classes = int(both.max()) + 1
    given = arrays.get("classes")
    if given is not None and len(given) < n_classes:
        raise SpecError(f"{path}: names {len(given)} classes, but y goes up to {n_classes - 1}")
    classes = tuple(str(name) for name in (given if given is not None else range(n_classes)))
    return y, y_test, classes, "classification"
