"""Read a chip from TOML: units to SI, provenance demanded, every problem of a file listed at once."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from .chip import GROUPS, TRUST, Arithmetic, Barrier, Chip, Figure, Limits, Statement
from .errors import SpecError, nearest, problems

_PREFIX = {"f": 1e-15, "p": 1e-12, "n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}

UNITS: dict[str, tuple[float, str]] = {
    **{f"{p}{u}": (_PREFIX[p], u) for u in ("J", "W", "s") for p in ("f", "p", "n", "u", "m", "")},
    **{f"{p}V": (_PREFIX[p], "V") for p in ("m", "")},
    **{f"{p}m": (_PREFIX[p], "m") for p in ("n", "u", "m", "")},
    **{f"{p}Hz": (_PREFIX[p], "Hz") for p in ("", "k", "M", "G")},
    "bit": (1.0, "bit"),
    "kbit": (1e3, "bit"),
    "Kibit": (1024.0, "bit"),
    "byte": (8.0, "bit"),
    "kB": (8e3, "bit"),
    "KiB": (8 * 1024.0, "bit"),
    "MB": (8e6, "bit"),
    "MiB": (8 * 1024.0**2, "bit"),
    "1": (1.0, "1"),
}
"""Unit in a file -> (factor to SI, SI unit). ``"1"`` is a count; statements in words carry ``"-"``."""

_WORDS: dict[str, tuple[str, ...]] = {
    "overflow": ("saturate", "wrap"),
    "comparison": (">", ">="),
    "weight_scale": ("layer", "neuron"),
    "resets": ("zero", "subtract", "none"),
    "contained": ("neuron_update", "routing", "spike_out", "state_reset"),
}
"""Statement -> the words it may use."""

_LISTS = (
    "resets",
    "contained",
    "weight_bits_offered",
    "weight_index_bits_offered",
    "weight_words_by_core",
    "neuron_words_by_core",
)
_YES_NO = ("constant_current", "layer_per_core")
_KEYS = ("value", "unit", "source", "at", "trust", "low", "high", "note")
_WANTED = {
    "value": "the number, the word or the list itself",
    "source": "say where it was read: the publication with page or table, or the repository and its commit",
    "at": 'the operating point (supply, temperature, rate), or at = "unstated"',
    "trust": f"one of {', '.join(TRUST)}",
}
"""Key of a figure -> what to write when it is missing."""
_ENDS = (
    ("arithmetic", "weight_min", "weight_max"),
    ("arithmetic", "weight_exponent_min", "weight_exponent_max"),
    ("limits", "delay_min", "delay_max"),
    ("limits", "delay_max", "delay_max_extended"),
)
"""(group, lowest, highest): the first may not be above the second."""
_TOGETHER = (("arithmetic", "weight_min", "weight_max"), ("limits", "mesh_width", "mesh_height"))
"""(group, one, other): neither means anything without the other."""
_TOP = ("title", "kind", "notes", "process", "supply", "inherits", *GROUPS)


def parse(name: str, text: str, where: str, inherited: Chip | None = None) -> dict[str, Any]:
    """Return the fields of a Chip stated by a TOML text, or raise SpecError with every problem.

    Parameters
    ----------
    where : what to call the file in messages.
    inherited : the chip named under ``inherits``, already loaded.
    """
    table = _table(text, where)
    causes: list[str] = []
    causes += [f"{key}: unknown key{nearest(key, _TOP)}" for key in table if key not in _TOP]
    chip: dict[str, Any] = {"name": name, "title": table.get("title", ""), "kind": table.get("kind")}
    if not isinstance(chip["title"], str) or not chip["title"]:
        causes.append("title: missing; say in words which chip this is")
    if chip["kind"] not in ("neuromorphic", "conventional"):
        causes.append(f"kind: found {chip['kind']!r}, expected 'neuromorphic' or 'conventional'")
    notes = table.get("notes", [])
    if not isinstance(notes, list) or not all(isinstance(n, str) for n in notes):
        causes.append("notes: expected a list of sentences")
        notes = []
    chip["notes"] = tuple(notes)
    if "process" in table:
        chip["process"] = _figure("process", table["process"], "m", causes, positive=True)
    if "supply" in table:
        chip["supply"] = _figure("supply", table["supply"], "V", causes, positive=True)
    for group in _inherited_groups(table, causes) if inherited is not None else ():
        chip[group] = getattr(inherited, group)
    for group, (cls, unit) in GROUPS.items():
        if group in table:
            chip[group] = _group(group, cls, unit, table[group], chip.get(group), causes)
    causes += _contradictions(chip)
    if causes:
        raise SpecError(
            problems(f"{where}: {len(causes)} problem{'s' * (len(causes) > 1)} in the chip file:", causes, "No chip was loaded.")
        )
    return chip


def inherits(text: str, where: str) -> str | None:
    """Return the name of the chip a file inherits groups from, if any."""
    entry = _table(text, where).get("inherits")
    if entry is None:
        return None
    if not isinstance(entry, Mapping) or set(entry) != {"chip", "groups"} or not isinstance(entry["chip"], str):
        raise SpecError(f'{where}: inherits: expected {{ chip = "name", groups = ["limits", ...] }}, found {entry!r}')
    return entry["chip"]


def _table(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{where}: not readable as TOML ({error})") from error


def _inherited_groups(table: Mapping[str, Any], causes: list[str]) -> list[str]:
    groups = table["inherits"]["groups"]
    if not isinstance(groups, list):
        causes.append(f"inherits.groups: expected a list of groups, found {groups!r}")
        return []
    causes += [f"inherits.groups: unknown group {g!r}{nearest(str(g), GROUPS)}" for g in groups if g not in GROUPS]
    return [g for g in groups if g in GROUPS]


def _group(group: str, cls: type, unit: str, table: Any, base: Any, causes: list[str]) -> Any:
    if not isinstance(table, Mapping):
        causes.append(f"{group}: expected a table of figures")
        return cls()
    known = {f.name: f for f in fields(cls)}
    # Figures of an inherited group stay; those stated here replace them one by one.
    values: dict[str, Any] = {} if base is None else {name: getattr(base, name) for name in known}
    for key, entry in table.items():
        where = f"{group}.{key}"
        if key not in known:
            causes.append(f"{where}: unknown figure{nearest(key, known)}")
            continue
        field_unit = known[key].metadata.get("unit", unit)
        if isinstance(known[key].default, tuple):
            values[key] = _barriers(where, entry, causes)
        elif field_unit == "-":
            values[key] = _statement(where, entry, causes)
        else:
            # A limit or a width of zero is a mistake; an exponent or the lowest weight may well be zero or negative.
            values[key] = _figure(where, entry, field_unit, causes, positive=group == "limits" or field_unit == "bit")
    return cls(**values)


def _provenance(where: str, entry: Any, unit: str, causes: list[str]) -> bool:
    if not isinstance(entry, Mapping):
        causes.append(f"{where}: expected {{ value, unit, source, at, trust }}, found {entry!r}")
        return False
    before = len(causes)
    wanted = {**_WANTED, "unit": _units_of(unit)}
    causes += [f"{where}: {key} is missing; {wanted[key]}" for key in ("value", "unit", "source", "at", "trust") if key not in entry]
    causes += [f"{where}: unknown key {key!r}{nearest(key, _KEYS)}" for key in entry if key not in _KEYS]
    for key in ("unit", "source", "at", "note"):
        value = entry.get(key, "-")
        if not isinstance(value, str) or not value.strip():
            causes.append(f"{where}: {key} is empty" + (f"; {wanted[key]}" if key in wanted else "; write a sentence, or leave it out"))
    if "trust" in entry and entry["trust"] not in TRUST:
        causes.append(f"{where}: trust {entry['trust']!r}, expected {wanted['trust']}")
    return len(causes) == before


def _units_of(unit: str) -> str:
    """Say which units a figure may be given in; ``unit`` is the SI unit it is stored in."""
    if unit in ("1", "-"):
        return f'expected "{unit}" ({"a count" if unit == "1" else "a statement, not a measure"})'
    return f"expected one of {', '.join(name for name, (_, measures) in UNITS.items() if measures == unit)}"


def _figure(where: str, entry: Any, unit: str, causes: list[str], positive: bool) -> Figure | None:
    if not _provenance(where, entry, unit, causes):
        return None
    if entry["unit"] not in UNITS:
        fitting = [name for name, (_, measures) in UNITS.items() if measures == unit]
        causes.append(f"{where}: unknown unit {entry['unit']!r}{nearest(entry['unit'], fitting) if len(fitting) > 1 else f'; {_units_of(unit)}'}")
        return None
    factor, si = UNITS[entry["unit"]]
    if si != unit:
        causes.append(f"{where}: unit {entry['unit']!r} measures [{si}]; {_units_of(unit)}")
        return None
    numbers = {key: entry.get(key, entry["value"]) for key in ("value", "low", "high")}
    for key, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
            causes.append(f"{where}: {key} {number!r} is not a finite number")
            return None
    before = len(causes)
    causes += _wrong_numbers(where, entry, unit, numbers, positive)
    if len(causes) > before:
        return None
    low, value, high = (factor * float(numbers[key]) for key in ("low", "value", "high"))
    # A core of 255.5 neurons or a weight of 4.5 bits would be cut to a whole number later without a word.
    if where.startswith(("limits.", "arithmetic.")) and abs(value - round(value)) > 1e-9 * abs(value):
        causes.append(f"{where}: {entry['value']!r} {_measure(entry['unit'])}, expected a whole number")
        return None
    return Figure(value, si, entry["source"], entry["at"], entry["trust"], low, high, entry.get("note", ""))


def _wrong_numbers(where: str, entry: Mapping[str, Any], unit: str, numbers: Mapping[str, float], positive: bool) -> list[str]:
    """Return what is wrong with value, low and high of a figure."""
    causes = []
    for key, number in numbers.items():
        if key != "value" and key not in entry:
            continue
        found = f"{where}: {'' if key == 'value' else f'{key} '}{number:g} {_measure(entry['unit'])}"
        if positive and not number > 0:
            causes.append(f"{found}, expected more than zero; leave the figure out where the chip states none")
        elif unit in ("J", "W", "s", "Hz") and number < 0:
            causes.append(f"{found} is negative, expected zero or more; a figure that nobody published is left out")
    if not causes and not numbers["low"] <= numbers["value"] <= numbers["high"]:
        causes.append(f"{where}: low {numbers['low']:g} <= value {numbers['value']:g} <= high {numbers['high']:g} does not hold")
    if ("low" in entry or "high" in entry) and not entry.get("note"):
        causes.append(f"{where}: low and high need a note that says where they come from")
    return causes


def _measure(unit: str) -> str:
    return "(a count)" if unit == "1" else unit


def _contradictions(chip: Mapping[str, Any]) -> list[str]:
    """Return what figures of a file say against each other."""
    limits, arithmetic = chip.get("limits", Limits()), chip.get("arithmetic", Arithmetic())
    causes = []
    for group, low, high in _ENDS:
        values = limits if group == "limits" else arithmetic
        a, b = getattr(values, low), getattr(values, high)
        if a is not None and b is not None and a.value > b.value:
            causes.append(f"{group}.{low}: {a.value:g} is above {group}.{high}, {b.value:g}")
    for group, one, other in _TOGETHER:
        values = limits if group == "limits" else arithmetic
        given = [name for name in (one, other) if getattr(values, name) is not None]
        if len(given) == 1:
            causes.append(f"{group}.{other if given == [one] else one}: missing; {given[0]} means nothing without it")
    cores = limits.cores_per_chip
    if cores is not None and limits.mesh_width is not None and limits.mesh_height is not None:
        tile = 1.0 if limits.cores_per_tile is None else limits.cores_per_tile.value
        room = limits.mesh_width.value * limits.mesh_height.value * tile
        if room < cores.value:
            causes.append(f"limits.cores_per_chip: {cores.value:g}, but the mesh has room for {room:g} (width x height x cores_per_tile)")
    for name in ("weight_words_by_core", "neuron_words_by_core"):
        words = getattr(limits, name)
        if words is not None and cores is not None and len(words.value) != cores.value:
            causes.append(f"limits.{name}: {len(words.value)} cores, but cores_per_chip is {cores.value:g}")
    return causes


def _statement(where: str, entry: Any, causes: list[str]) -> Statement | None:
    if not _provenance(where, entry, "-", causes):
        return None
    if entry["unit"] != "-":
        causes.append(f"{where}: unit {entry['unit']!r}; {_units_of('-')}")
        return None
    value = tuple(entry["value"]) if isinstance(entry["value"], list) else entry["value"]
    wrong = _wrong_statement(where.rpartition(".")[2], value)
    if wrong:
        causes.append(f"{where}: {wrong}")
        return None
    return Statement(value, "-", entry["source"], entry["at"], entry["trust"], entry.get("note", ""))


def _wrong_statement(name: str, value: Any) -> str:
    """Return what is wrong with a statement's value, "" for nothing."""
    if name in _YES_NO:
        return "" if isinstance(value, bool) else f"found {value!r}, expected true or false"
    if name in _LISTS and (not isinstance(value, tuple) or not value):
        return f"found {value!r}, expected a list"
    words = _WORDS.get(name)
    if words is not None:
        found = value if isinstance(value, tuple) else (value,)
        bad = [w for w in found if w not in words]
        return f"found {bad[0]!r}, expected {' or '.join(map(repr, words))}" if bad else ""
    whole = [x for x in value if isinstance(x, int) and not isinstance(x, bool) and x >= 0] if name in _LISTS else []
    return "" if len(whole) == len(value) else f"found {value!r}, expected whole numbers"


def _barriers(where: str, entries: Any, causes: list[str]) -> tuple[Barrier, ...]:
    if not isinstance(entries, list) or not entries:
        causes.append(f"{where}: expected a list of {{ size, value, unit, source, at, trust }}")
        return ()
    points = []
    for i, entry in enumerate(entries):
        place = f"{where}[{i}]"
        size = entry.get("size") if isinstance(entry, Mapping) else None
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            causes.append(f"{place}: size {size!r}, expected a whole number of 1 or more")
            continue
        figure = _figure(place, {k: v for k, v in entry.items() if k != "size"}, "s", causes, positive=False)
        if figure is not None:
            points.append(Barrier(size, figure))
    if len({p.size for p in points}) < len(points):
        causes.append(f"{where}: a size occurs twice")
    return tuple(sorted(points, key=lambda p: p.size))
