"""Series in time, for recurrent networks: who will change room, next month's sunspots, tomorrow's temperature."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
import numpy as np

from neuro.errors import SpecError, problems
from neuro.progress import ProgressCallback

from .base import Array, DataDir, Dataset, split_indices
from .fetch import DataFile, members, obtain, read
from .text import decode

MIRROR = "https://raw.githubusercontent.com/jbrownlee/Datasets/master"
INDOOR = DataFile(
    "IndoorMovement.zip",
    urls=(f"{MIRROR}/IndoorMovement.zip",),
    digests=("sha256:c657ee8635275145b11c9e4ed3b4647b876f8acb638e61e7b1a6a18f27e0472a",),
)
SUNSPOTS = DataFile(
    "monthly-sunspots.csv",
    urls=(f"{MIRROR}/monthly-sunspots.csv",),
    digests=("sha256:c4ec8cc57d9f6fb6ecdb3e1f37f25b6f4badd5124c55931052b0cd2fc3bc71f3",),
)
TEMPERATURES = DataFile(
    "daily-min-temperatures.csv",
    urls=(f"{MIRROR}/daily-min-temperatures.csv",),
    digests=("sha256:8b9de63ed6789492bf497625e7f9beb96a63d367b4b0a21754006f749fa5e5da",),
)


class MovementOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings of the indoor movement data.

    Parameters
    ----------
    split : ``"random"`` tests on a stratified share of all sequences; ``"environment"`` on the third pair of rooms, which
        is not seen in training.
    n_seq : so many last measurements of each sequence (the shortest has 19; a shorter one repeats its first).
    test_fraction : of ``"random"``.
    form : ``"sequence"`` (n_seq, 4) for a recurrent network, ``"vector"`` for an MLP.
    """

    split: Literal["random", "environment"] = "random"
    n_seq: int = 30
    test_fraction: float = 0.25
    form: Literal["sequence", "vector"] = "sequence"

    def __post_init__(self) -> None:
        _check({"n_seq": self.n_seq, "test_fraction": self.test_fraction}, "indoor movement")


class SeriesOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings of a series whose next value is to be predicted.

    Parameters
    ----------
    n_seq : past values given.
    test_fraction : last share of the series, the test.
    form : ``"sequence"`` (n_seq, 1) for a recurrent network, ``"vector"`` for an MLP.
    """

    n_seq: int = 12
    test_fraction: float = 0.25
    form: Literal["sequence", "vector"] = "sequence"

    def __post_init__(self) -> None:
        _check({"n_seq": self.n_seq, "test_fraction": self.test_fraction}, "the series")


def _check(values: Mapping[str, Any], what: str) -> None:
    causes = []
    if values["n_seq"] < 1:
        causes.append(f"n_seq is {values['n_seq']}, expected 1 or more")
    if not 0 < values["test_fraction"] < 1:
        causes.append(f"test_fraction is {values['test_fraction']}, expected a number between 0 and 1")
    if causes:
        raise SpecError(problems(f"settings of {what}:", causes))


def indoor_movement(
    options: MovementOptions | None = None,
    data_dir: DataDir = None,
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> Dataset:
    """Load 314 sequences of four radio signal strengths, (s + 1)/2 in [0, 1]; class: will the person change room?

    Source: D. Bacciu, P. Barsocchi, S. Chessa, C. Gallicchio, A. Micheli, "An experimental characterization of reservoir
    computing in ambient assisted living applications", Neural Computing and Applications 24, 2014,
    doi:10.1007/s00521-013-1364-4.
    """
    options = options or MovementOptions()
    path = obtain("indoor movement", (INDOOR,), "timeseries", data_dir, progress)[INDOOR.name]
    content = read(INDOOR, path)
    tables = {name.rsplit("/", 1)[-1]: _table(data) for name, data in members(content.data, ".csv").items()}
    labels = {int(row[0]): int(row[1] > 0) for row in tables["MovementAAL_target.csv"]}
    rooms = {int(row[0]): int(row[1]) for row in tables["MovementAAL_DatasetGroup.csv"]}
    numbers = sorted(int(m[1]) for m in (re.fullmatch(r"MovementAAL_RSS_(\d+)\.csv", name) for name in tables) if m)
    x = np.stack([_last(tables[f"MovementAAL_RSS_{number}.csv"], options.n_seq) for number in numbers])
    x = ((x + 1) / 2).astype(np.float32)
    y = np.array([labels[number] for number in numbers], np.int64)
    groups = np.array([f"rooms {rooms[number]}" for number in numbers])
    used: int | None = None
    if options.split == "environment":
        test = groups == "rooms 3"
        rule = "by environment: the third pair of rooms is the test, not seen in training"
    else:
        test = np.zeros(len(x), bool)
        test[split_indices(len(x), round(len(x) * options.test_fraction), seed, y)[1]] = True
        used = seed
        rule = f"{options.test_fraction:.0%} of the sequences drawn at random for the test, the same share of every class"
    if options.form == "vector":
        x = x.reshape(len(x), -1)
    return Dataset(
        name="indoor_movement",
        x_train=x[~test],
        y_train=y[~test],
        x_test=x[test],
        y_test=y[test],
        classes=("stays", "changes room"),
        input_shape=(options.n_seq, 4),
        input_range=(0.0, 1.0),
        licence="CC BY 4.0",
        source="D. Bacciu et al., Indoor User Movement Prediction from RSS, UCI 2014, doi:10.24432/C55P63",
        split=rule,
        seed=used,
        groups_train=groups[~test],
        groups_test=groups[test],
        info={
            "files": {path.name: str(path)},
            "checksum": content.digest,
            "verified": content.verified,
            "groups": "pair of rooms",
            "scaling": "(signal strength + 1)/2",
            "options": msgspec.to_builtins(options),
        },
    )


def sunspots(
    options: SeriesOptions | None = None,
    data_dir: DataDir = None,
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> Dataset:
    """Load the monthly sunspot numbers of Zürich, 1749 to 1983: predict the next month's (``seed`` plays no part).

    Source: SIDC, Royal Observatory of Belgium.
    """
    facts = {
        "name": "sunspots",
        "licence": "free with attribution (SIDC)",
        "source": "Zürich monthly sunspot numbers 1749-1983, SIDC, Royal Observatory of Belgium",
    }
    return _series(SUNSPOTS, "sunspot number", facts, options or SeriesOptions(), data_dir, progress)


def temperatures(
    options: SeriesOptions | None = None,
    data_dir: DataDir = None,
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> Dataset:
    """Load Melbourne's daily minimum temperatures [deg C], 1981 to 1990: predict tomorrow's (``seed`` plays no part).

    Source: Australian Bureau of Meteorology.
    """
    facts = {
        "name": "temperatures",
        "licence": "CC BY 4.0 (Bureau of Meteorology)",
        "source": "Daily minimum temperatures in Melbourne 1981-1990, Australian Bureau of Meteorology",
    }
    return _series(TEMPERATURES, "deg C", facts, options or SeriesOptions(), data_dir, progress)


def _series(
    file: DataFile,
    unit: str,
    facts: Mapping[str, Any],
    options: SeriesOptions,
    data_dir: DataDir,
    progress: ProgressCallback | None,
) -> Dataset:
    """Return windows of past values, divided by the largest training value, and the value after each, in its unit."""
    path = obtain(facts["name"], (file,), "timeseries", data_dir, progress)[file.name]
    content = read(file, path)
    lines = [line.split(",") for line in decode(content.data).splitlines()[1:] if line.strip()]
    values = np.array([float(line[1]) for line in lines], np.float32)
    n_train = round(len(values) * (1 - options.test_fraction))
    if not options.n_seq < n_train < len(values):
        raise SpecError(
            f"{facts['name']}: n_seq = {options.n_seq} and test_fraction = {options.test_fraction:g} leave no training or "
            f"no test windows of {len(values)} values"
        )
    largest = float(values[:n_train].max())
    windows = np.lib.stride_tricks.sliding_window_view(values, options.n_seq)[:-1] / np.float32(largest)
    x = windows if options.form == "vector" else windows[:, :, None]
    y = values[options.n_seq :, None]
    first_test = n_train - options.n_seq
    return Dataset(
        name=facts["name"],
        licence=facts["licence"],
        source=facts["source"],
        x_train=np.ascontiguousarray(x[:first_test]),
        y_train=y[:first_test],
        x_test=np.ascontiguousarray(x[first_test:]),
        y_test=y[first_test:],
        task="regression",
        input_shape=(options.n_seq, 1),
        input_range=(0.0, 1.0),
        split=(
            f"in time: the last {options.test_fraction:.0%} of the values, from {_date(lines[n_train])} on, are predicted "
            "in the test; none of them is a target or an input of training"
        ),
        info={
            "files": {path.name: str(path)},
            "checksum": content.digest,
            "verified": content.verified,
            "unit": unit,
            "scaling": f"value / {largest:g}, the largest of training; later values may exceed 1",
            "options": msgspec.to_builtins(options),
        },
    )


def _date(line: list[str]) -> str:
    return line[0].strip('"')


def _table(data: bytes) -> Array:
    """Return the numbers of a CSV file with a header line, (rows, columns)."""
    lines = [line for line in decode(data).splitlines() if line.strip() and not line.startswith("#")]
    return np.array([[float(value) for value in line.split(",")] for line in lines])


def _last(rows: Array, n: int) -> Array:
    """Return the last n rows; a shorter table repeats its first."""
    if len(rows) >= n:
        return rows[-n:]
    return np.concatenate([np.repeat(rows[:1], n - len(rows), axis=0), rows])
