"""Values of the project as lines for a terminal: a chip, a table of names, a comparison."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from neuro.chip import GROUPS, Figure, Statement
from neuro.errors import SpecError, nearest

from .terminal import wrap
from .units import count, percent, percent_range, si, si_range, significant, table

if TYPE_CHECKING:
    from neuro.chip import Chip

    from .comparison import Comparison, Conventional, Range, Row

TABLES = {
    "datasets": ("experiments.datasets", "DATASETS"),
    "methods": ("converters.methods", "METHODS"),
    "engines": ("neuro.engines", "ENGINES"),
    "encodings": ("neuro.encoding", "ENCODINGS"),
    "readouts": ("neuro.readout", "READOUTS"),
    "rules": ("neuro.neurons", "RULES"),
    "importers": ("converters.importers", "IMPORTERS"),
    "exporters": ("converters.exporters", "EXPORTERS"),
    "metrics": ("experiments.metrics", "METRICS"),
}
KINDS = (*TABLES, "chips", "configs")


def names(kind: str) -> dict[str, str]:
    """Return {name: one line about it} of a table of the project, of the chips or of the shipped configs."""
    if kind == "chips":
        from neuro.chip import list_chips, load_chip

        return {name: load_chip(name).title for name in list_chips()}
    if kind == "configs":
        from .config import CONFIGS, load_experiment

        return {path.name: load_experiment(path).title for path in sorted(CONFIGS.glob("*.toml"))}
    if kind not in TABLES:
        raise SpecError(f"there is no list of {kind!r}{nearest(kind, KINDS)}")
    module, attribute = TABLES[kind]
    return {name: _line(entry) for name, entry in getattr(importlib.import_module(module), attribute).items()}


def _line(entry: Any) -> str:
    """Return what an entry of a table says of itself: a text, its summary or equation, or the first line of its docstring."""
    if isinstance(entry, str):
        return entry
    for attribute in ("summary", "equation", "description", "definition", "meaning"):
        if isinstance(getattr(entry, attribute, None), str):
            return str(getattr(entry, attribute))
    function = entry if callable(entry) else next((v for v in vars(entry).values() if callable(v) and v.__doc__), entry)
    return (function.__doc__ or "").strip().split("\n", 1)[0]


def names_lines(found: Mapping[str, str]) -> list[str]:
    """Return the lines of a table of names."""
    return [line.removeprefix("  ") for line in table(("", ""), list(found.items()))[1:]]


def chip_lines(chip: Chip) -> list[str]:
    """Return a chip's figures, each with unit, trust and the number of its source, and what is missing."""
    sources: dict[str, int] = {}
    lines = [f"{chip.name}: {chip.title}", *(line for note in chip.notes for line in wrap(note))]
    groups: dict[str, list[tuple[str, str, str, str]]] = {}
    for path, figure in chip.figures():
        group, _, name = path.partition(".")
        number = sources.setdefault(figure.source, len(sources) + 1)
        groups.setdefault(group if name else "", []).append((name or group, _value(figure), figure.trust, f"[{number}]"))
    for group, rows in groups.items():
        lines += ["", *(f"{group} " if group else "" for _ in range(bool(group))), *table(("", "", "", ""), rows)[1:]]
        missing = chip.missing(group) if group in GROUPS else ()
        if missing:
            lines += wrap(f"not published: {', '.join(missing)}", indent="    ")
    lines += ["", "sources"]
    for source, number in sources.items():
        lines += wrap(f"[{number}] {source}")
    return [line.rstrip() for line in lines]


def _value(figure: Figure | Statement) -> str:
    if isinstance(figure, Statement):
        values = figure.value if isinstance(figure.value, list | tuple) else [figure.value]
        return ", ".join("yes" if v is True else "no" if v is False else str(v) for v in values)
    if figure.unit in ("1", "bit"):
        unit = "" if figure.unit == "1" else " bit"
        bounds = f" ({count(figure.low)} to {count(figure.high)})" if figure.bounded else ""
        return f"{count(figure.value)}{unit}{bounds}"
    return si_range(figure.value, figure.low, figure.high, figure.unit)


def facts(chip: Chip) -> dict[str, Any]:
    """Return a chip as plain values."""
    figures = {
        path: {name: getattr(figure, name) for name in figure.__dataclass_fields__} for path, figure in chip.figures()
    }
    missing = {group: list(chip.missing(group)) for group in GROUPS}
    return {"name": chip.name, "title": chip.title, "sha256": chip.sha256, "notes": list(chip.notes), "figures": figures, "missing": missing}


def comparison_lines(comparison: Comparison) -> tuple[list[str], dict[str, Any]]:
    """Return the table of a comparison with its verdict and what was not counted, as lines and as plain values."""
    head = ("", "accuracy (95 %)", "agrees", "spikes", "synops or MACs", "energy (low-high)", "latency")
    rows = [_row(row) for row in comparison.rows]
    lines = [*table(head, rows, right=(2, 3, 4)), ""]
    lines += wrap(comparison.verdict)
    left_out = [o.what for o in comparison.omissions]
    if left_out:
        lines += ["", *wrap(f"Not counted: {'; '.join(left_out)}.")]
    for trial in comparison.not_run:
        lines += wrap(f"{trial.status}: {trial.label}: {trial.reason}")
    facts = {
        "verdict": comparison.verdict,
        "rows": [_row_facts(row) for row in comparison.rows],
        "not_counted": [{"what": o.what, "why": o.why} for o in comparison.omissions],
        "not_run": [{"label": n.label, "status": n.status, "reason": n.reason} for n in comparison.not_run],
    }
    return lines, facts


def _row(row: Row) -> tuple[str, ...]:
    accuracy = "-" if row.accuracy is None else percent_range(row.accuracy.value, row.accuracy.low, row.accuracy.high)
    agrees = "-" if row.disagreement is None else percent(1 - row.disagreement.value)
    work = count(row.synaptic_operations) if row.group != "ann" else f"{count(row.macs)} MAC" if row.macs is not None else "-"
    energy = "-" if row.energy is None else _si(row.energy.total, "J")
    latency = "-" if row.latency is None else si(row.latency.per_inference.value, "s")
    return (row.label, accuracy, agrees, count(row.spikes) if row.spikes is not None else "-", work, energy, latency)


def _si(value: Range, unit: str) -> str:
    return si_range(value.value, value.low, value.high, unit)


def _row_facts(row: Row) -> dict[str, Any]:
    def plain(value: Range | None) -> list[float] | None:
        return None if value is None else [value.value, value.low, value.high]

    return {
        "label": row.label,
        "group": row.group,
        "n": row.n,
        "n_steps": row.n_steps,
        "accuracy": plain(row.accuracy),
        "disagreement": plain(row.disagreement),
        "spikes": row.spikes,
        "synaptic_operations": row.synaptic_operations,
        "energy_joules": plain(row.energy.total if row.energy else None),
        "latency_seconds": plain(row.latency.per_inference if row.latency else None),
    }
