"""Which steps of a method can follow each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

# What a step decides. Thresholds come first, then the neurons' rule and initial potential, then what corrects all of that.
Kind = Literal["thresholds", "rule", "potential", "correction", "protocol"]
Link = tuple[str, Kind, Any]  # name, kind, options


def chain_problems(links: Sequence[Link]) -> list[str]:
    """Return, in words, where steps of a chain undo or exclude each other; empty where they go together."""
    return [*_rivals(links), *_repeated(links), *_too_late(links), *_unlike(links), *_idle(links)]


def _names(links: Sequence[Link], kind: Kind) -> list[str]:
    return list(dict.fromkeys(name for name, of, _ in links if of == kind))


def _rivals(links: Sequence[Link]) -> list[str]:
    """Several steps that decide the same thing."""
    what: dict[Kind, str] = {
        "thresholds": "set the thresholds",
        "rule": "set the neurons' rule",
        "potential": "set the initial potential",
        "protocol": "set the presentation protocol",
    }
    rivals = {kind: _names(links, kind) for kind in what}
    return [
        f"{_listed(names)} {'both' if len(names) == 2 else 'all'} {what[kind]}: keep one"
        for kind, names in rivals.items()
        if len(names) > 1
    ]


def _repeated(links: Sequence[Link]) -> list[str]:
    names = [name for name, _, _ in links]
    # A correction of what the first one left is a chain that makes sense.
    return [f"{name!r} stands {names.count(name)} times: once is enough" for name in dict.fromkeys(names)
            if names.count(name) > 1 and name != "calibration"]  # fmt: skip


def _too_late(links: Sequence[Link]) -> list[str]:
    """Steps that come after one that was made for what they change."""
    found = []
    for i, (name, kind, _) in enumerate(links):
        before = [earlier for earlier, of, _ in links[:i] if _depends(earlier, of, name, kind)]
        if before:
            found.append(f"{name!r} comes after {_listed(before)}, which it would undo: put {name!r} first")
    return found


def _depends(earlier: str, of: Kind, name: str, kind: Kind) -> bool:
    """Whether ``earlier`` was computed from what step ``name`` changes."""
    if of == "correction":
        return kind in ("thresholds", "rule", "potential")
    if earlier == "threshold_shift":
        return kind == "thresholds"
    return of == "potential" and name == "qcfs"  # starts every neuron at theta / 2


def _unlike(links: Sequence[Link]) -> list[str]:
    """Neurons that one step needs and another does not leave."""
    found = []
    rules, zero = _names(links, "rule"), [name for name, _, options in links if getattr(options, "reset", "subtract") == "zero"]
    needs = [*rules, *(name for name, _, _ in links if name == "cos")]
    found += [f"{name!r} with reset 'zero' and {other!r}, which resets by subtraction" for name in zero for other in needs]
    if any(name == "cos" for name, _, _ in links):
        found += [f"'cos' and {rule!r}: its pre-steps are made for single unsigned spikes; use 'srp', or leave one out" for rule in rules]
    return found


def _idle(links: Sequence[Link]) -> list[str]:
    """Options of a rule's own thresholds where another step sets them."""
    thresholds, found = _names(links, "thresholds"), []
    for name, kind, options in links:
        if kind != "rule" or not thresholds:
            continue
        own = {"percentile", "per_neuron", "halve_above", "floor"}
        given = [f.name for f in msgspec.structs.fields(type(options)) if f.name in own and getattr(options, f.name) != f.default]
        if given:
            found.append(f"{name!r}: {', '.join(given)} without effect, because {_listed(thresholds)} sets the thresholds")
    return found


def _listed(names: Sequence[str]) -> str:
    return " and ".join(repr(name) for name in names)
