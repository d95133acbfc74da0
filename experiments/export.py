"""The results of a store as one table: a row a trial, plain columns, for CSV, Parquet, pandas and DuckDB."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from neuro.archive import write_atomically
from neuro.errors import SpecError, StoreError, nearest

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

    where : filters that must all hold, ``"run.n_steps=8"``, ``"status=failed"``; the value as it is printed.

    Raises
    ------
    SpecError : a filter that is no NAME=VALUE, or names no column (with the nearest one).
    """
    rows = [_row(result) for key in store.keys() if (result := store.get(key, arrays=False)) is not None]
    columns = dict.fromkeys(name for row in rows for name in row)
    for text in where:
        name, equals, value = text.partition("=")
        if not equals:
            raise SpecError(f"filter {text!r}: expected NAME=VALUE, for instance run.n_steps=8")
        if rows and name not in columns:
            raise SpecError(f"filter {text!r}: no column {name!r}{nearest(name, columns)}")
        rows = [row for row in rows if _text(row.get(name)) == value]
    return [{name: row.get(name) for name in columns} for row in rows]


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


def export(rows: Iterable[Mapping[str, Value]], path: str | os.PathLike[str]) -> Path:
    """Write rows in the format that the suffix names."""
    suffix = Path(path).suffix.lower()
    if suffix not in WRITERS:
        raise SpecError(f"{path}: cannot write {suffix or 'a file without suffix'}{nearest(suffix, WRITERS)}")
    return WRITERS[suffix](rows, path)


def _row(result: TrialResult) -> dict[str, Value]:
    trial, found = Trial.of(result.trial), result.result.get("row", {})
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
