"""The results of a store as one table: a row a trial, plain columns, for CSV, Parquet, pandas and DuckDB."""

from __future__ import annotations

import csv
import difflib
import io
import json
import operator
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from neuro.archive import write_atomically
from neuro.errors import SpecError, StoreError, nearest, problems

from .config import Trial
from .row import Range
from .store import Store, TrialResult

Value = str | int | float | bool | None
# Numbers of a row: column -> where they are in its JSON.
NUMBERS: dict[str, tuple[str, ...]] = {
    "n": ("n",),
    "n_steps": ("n_steps",),
    "total_steps": ("total_steps",),
    "r2": ("r2",),
    "rmse": ("rmse",),
    "tied": ("tied",),
    "silent": ("silent",),
    "calibration_error": ("calibration_error",),
    "spikes": ("spikes",),
    "synaptic_operations": ("synaptic_operations",),
    "neuron_updates": ("neuron_updates",),
    "macs": ("macs",),
    "effective_macs": ("effective_macs",),
}
RANGES: dict[str, tuple[str, ...]] = {
    "accuracy": ("accuracy",),
    "disagreement": ("disagreement",),
    "energy_J": ("energy", "total"),
    "latency_s": ("latency", "per_inference"),
}
ENDS = tuple(Range.__dataclass_fields__)


def table(store: Store, where: Sequence[str] = ()) -> list[dict[str, Value]]:
    """Return one row a trial: key, status, group, settings by dotted name, numbers with bounds, provenance.

    where : filters that must all hold, ``"run.n_steps=8"``, ``"accuracy>=0.95"``, ``"status!=done"``; ``=`` and ``!=``
        compare with the value as it is printed, the others numbers; a row without the number is left out.

    Raises
    ------
    SpecError : a filter that is none, or names no column (with the nearest one).
    StoreError : a record that this release cannot read.
    """
    rows = [_row(result) for key in store.keys() if (result := store.get(key, arrays=False)) is not None]
    columns = dict.fromkeys(name for row in rows for name in row)
    for text in where:
        name, holds = _filter(text)
        if rows and name not in columns:
            raise SpecError(f"filter {text!r}: no column {name!r}{_like(name, columns)}")
        rows = [row for row in rows if holds(row.get(name))]
    return [{name: row.get(name) for name in columns} for row in rows]


COMPARISONS: dict[str, Callable[[float, float], bool]] = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}


def _filter(text: str) -> tuple[str, Callable[[Value], bool]]:
    """Return the column of a filter and what must hold for its value."""
    found = re.fullmatch(r"([^<>=!]+)(>=|<=|!=|=|<|>)(.*)", text)
    if found is None:
        raise SpecError(f"filter {text!r}: expected NAME=VALUE, for instance run.n_steps=8, or NAME>=NUMBER")
    name, sign, value = (part.strip() for part in found.groups())
    if sign in ("=", "!="):
        return name, lambda x: (_text(x) == value) == (sign == "=")
    try:
        number = float(value)
    except ValueError:
        raise SpecError(f"filter {text!r}: {value!r} is no number, and {sign} compares numbers") from None
    return name, lambda x: isinstance(x, int | float) and COMPARISONS[sign](float(x), number)


def _like(name: str, columns: Iterable[str]) -> str:
    """Return the columns of a similar name; there are too many to list them all."""
    close = difflib.get_close_matches(name, columns, n=3, cutoff=0.4)
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else "; --columns all --json shows them all"


def columns_of(rows: Sequence[Mapping[str, Value]], names: Sequence[str]) -> list[dict[str, Value]]:
    """Return the rows with these columns alone, in this order; raise SpecError for one that is not there."""
    known = dict.fromkeys(name for row in rows for name in row)
    unknown = [name for name in names if rows and name not in known]
    if unknown:
        raise SpecError(problems("no such columns:", [f"{name!r}{_like(name, known)}" for name in unknown]))
    return [{name: row.get(name) for name in names} for row in rows]


def ordered(rows: Sequence[Mapping[str, Value]], name: str) -> list[Mapping[str, Value]]:
    """Return the rows by the values of a column, ``-NAME`` from the largest; rows without a value come last."""
    down, name = name.startswith("-"), name.removeprefix("-")
    columns_of(rows, [name])
    there = [row for row in rows if row[name] is not None]
    numbers = all(isinstance(row[name], int | float) for row in there)
    there.sort(key=lambda row: row[name] if numbers else _text(row[name]), reverse=down)  # type: ignore[arg-type, return-value]
    return [*there, *(row for row in rows if row[name] is None)]


RESULTS = ("accuracy", "r2", "disagreement", "synaptic_operations", "energy_J", "latency_s")


def summary_columns(rows: Sequence[Mapping[str, Value]]) -> list[str]:
    """Return the columns worth printing: status, group, what varies, and the results that are there."""
    names = dict.fromkeys(name for row in rows for name in row)
    varied = [n for n in names if n == "seed" or "." in n and not n.startswith("version.")]
    varied = [n for n in varied if len({_text(row.get(n)) for row in rows if row.get(n) is not None}) > 1]
    results = [n for n in RESULTS if any(row.get(n) is not None for row in rows)]
    reason = ["reason"] if any(row.get("reason") for row in rows) else []
    return ["status", "group", *varied, *results, *reason]


def printed(rows: Sequence[Mapping[str, Value]]) -> tuple[list[str], list[list[str]]]:
    """Return heads and fields of rows for a terminal: numbers with four significant digits, a reason by its first line."""
    names = list(rows[0]) if rows else []

    def field(name: str, value: Value) -> str:
        if name == "key":
            return _text(value)[:12]
        text = f"{value:.4g}" if isinstance(value, float) else _text(value).partition("\n")[0]
        return text if len(text) <= 60 else f"{text[:57]}..."

    heads = [n.rpartition(".")[2] if sum(o.rpartition(".")[2] == n.rpartition(".")[2] for o in names) == 1 else n for n in names]
    return heads, [[field(name, row[name]) for name in names] for row in rows]


def write_csv(rows: Iterable[Mapping[str, Value]], path: str | os.PathLike[str]) -> Path:
    """Write rows as CSV (UTF-8, comma, header; an unknown number is an empty field)."""
    rows = list(rows)
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _text(value) for name, value in row.items()} for row in rows)
    return write_atomically(path, buffer.getvalue().encode())


def write_parquet(rows: Iterable[Mapping[str, Value]], path: str | os.PathLike[str]) -> Path:
    """Write rows as Parquet; needs the extra ``store``.

    A column that holds numbers in some rows and words in others becomes a column of words.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise StoreError("Parquet needs the extra: pip install 'spikeport[store]'; or export CSV") from error
    rows = list(rows)
    columns = {name: [row[name] for row in rows] for name in (rows[0] if rows else {})}
    for name, values in columns.items():
        kinds = {float if type(v) is int else type(v) for v in values if v is not None}
        if len(kinds) > 1:
            columns[name] = [None if v is None else _text(v) for v in values]
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return write_atomically(path, buffer.getvalue())


WRITERS: dict[str, Callable[[Iterable[Mapping[str, Value]], Any], Path]] = {".csv": write_csv, ".parquet": write_parquet}


def writer(path: str | os.PathLike[str]) -> Callable[[Iterable[Mapping[str, Value]], Any], Path]:
    """Return what writes the format that the suffix names; raise SpecError for another one."""
    suffix = Path(path).suffix.lower()
    if suffix not in WRITERS:
        raise SpecError(f"{path}: cannot write {suffix or 'a file without suffix'}{nearest(suffix, WRITERS)}")
    return WRITERS[suffix]


def export(rows: Iterable[Mapping[str, Value]], path: str | os.PathLike[str]) -> Path:
    """Write rows in the format that the suffix names."""
    return writer(path)(rows, path)


def _row(result: TrialResult) -> dict[str, Value]:
    try:
        trial, found = Trial.of(result.trial), result.result.get("row", {})
    except msgspec.ValidationError as error:
        raise StoreError(f"trial {result.key[:12]}: was made by a release with other settings ({error}); read it with that one") from error
    row: dict[str, Value] = {"key": result.key, "status": result.status, "group": trial.group, "seed": trial.seed}
    row |= {name: _plain(value) for name, value in trial.settings.items()}
    for name, path in NUMBERS.items():
        row[name] = _plain(_at(found, path))
    for name, path in RANGES.items():
        value = _at(found, path)
        row |= {name if end == "value" else f"{name}_{end}": None if value is None else value[end] for end in ENDS}
    provenance = result.provenance
    row |= {f"version.{name}": str(v) for name, v in provenance.get("versions", {}).items()}
    row |= {name: _plain(provenance.get(name)) for name in ("seconds", "peak_memory", "finished")}
    row["reason"] = result.reason or None
    return row


def _at(found: Any, path: Sequence[str]) -> Any:
    for name in path:
        if found is None:
            return None
        found = found.get(name)
    return found


def _plain(value: Any) -> Value:
    if isinstance(value, list | tuple | dict):
        return json.dumps(value)
    return value


def _text(value: Value) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
