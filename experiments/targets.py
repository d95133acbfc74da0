"""One table of everything the network could run on: each chip file, with its figures or with what it refuses and why, then
conventional designs, rivals with few bits, measured machines and this machine, all for the same inference."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from . import units
from .comparison import Comparison, Conventional, Figure, NotRun, Range, Rival, Row
from .designs import STANDING, left_out

NODES = (45.0, 7.0)
PRECISIONS = ("int8", "fp32")
MEMORY = "SRAM (1 MiB)"
MOST = 8  # trials without a result that are named for one reason
KINDS = {
    "chip": "chip",
    "refused": "chip, refused",
    "digital": "digital design",
    "rival": "quantised ANN",
    "machine": "measured machine",
    "here": "this machine",
}


@dataclass(frozen=True)
class Target:
    """One line: what runs, how well, at which cost inside the boundary of a conventional design and with static power.

    kind : a key of ``KINDS``; accuracy with its 95 % interval; energy : [J] per inference without static power and overhead;
        with_static : [J] with them, None where there is no such figure; latency : [s]; batch : samples at once.
    figures : that the energy rests on; standing, times : that static power, and the time, rest on beside them; remarks : what is left out, or every excess of a refusal.
    """

    name: str
    kind: str
    accuracy: Range | None = None
    energy: Range | None = None
    with_static: Range | None = None
    latency: Range | None = None
    batch: int | None = 1
    figures: tuple[Figure, ...] = ()
    standing: tuple[Figure, ...] = ()
    times: tuple[Figure, ...] = ()
    remarks: tuple[str, ...] = ()
    partial: bool = False

    @property
    def all_figures(self) -> tuple[Figure, ...]:
        """What the energy with static power rests on: static power is power times time."""
        return tuple(dict.fromkeys((*self.figures, *self.standing, *self.times))) if self.standing else ()


def targets(comparison: Comparison) -> list[Target]:
    """Return every target of the headline's network, T, method and seed; empty without a row on a chip or a refusal."""
    main = chosen(comparison)
    if main is None:
        return []
    ann = comparison[main.ann]
    rows = alike(comparison, main)
    refused = [n for n in comparison.not_run if n.status == "skipped" and "deploy.chip" in n.settings and _alike(n, main)]
    if not rows and not refused:
        return []
    found = [_chip(comparison, row) for row in rows]
    found += _refusals(refused)
    rivals = [r for r in comparison.rivals if r.ann == ann.key and r.n_steps in (0, main.n_steps)]
    found += [_digital(c, ann, rivals) for c in _designs(comparison, ann)]
    found += [_rival(r) for r in rivals]
    found += [_machine(c, ann) for c in comparison.machines if c.ann == ann.key]
    found += [
        Target(
            f"{h.processor}, {h.threads}",
            "here",
            accuracy=ann.accuracy,
            energy=None if h.dynamic is None else Range(h.dynamic, h.dynamic, h.dynamic),
            with_static=None if h.energy is None else Range(h.energy, h.energy, h.energy),
            latency=Range(h.batch / h.rate, h.batch / h.rate, h.batch / h.rate),
            batch=h.batch,
            remarks=(f"{h.rate:,.0f} inferences/s, measured now", *((h.reason,) if h.reason else ())),
        )
        for h in comparison.here
        if h.ann == ann.key
    ]
    return found


def lines(comparison: Comparison) -> list[str]:
    """Return the table for a terminal: numbers in columns, then every refusal with each of its reasons."""
    found = [t for t in targets(comparison) if t.kind in ("chip", "digital", "rival", "here")]
    refused = [t for t in targets(comparison) if t.kind == "refused"]
    if not found:
        return []
    head = ("", "accuracy (95 %)", "energy (low-high)", "with static", "time", "batch")
    rows = [
        (t.name, _words(t), _text(t.energy, "J", t.partial), _text(t.with_static, "J", t.partial), _text(t.latency, "s"), str(t.batch))
        for t in found
    ]
    text = units.table(head, [*rows, *((t.name, "refused", "-", "-", "-", "-") for t in refused)])
    for t in refused:
        text += ["", f"  {t.name} refuses:", *(f"    {reason}" for reason in t.remarks)]
    return text


def grouped(not_run: Iterable[NotRun]) -> list[tuple[str, str, str]]:
    """Return (labels, status, reason) of trials without a result, those with the same reason together."""
    found: dict[tuple[str, str], list[str]] = {}
    for n in not_run:
        found.setdefault((n.status, n.reason), []).append(n.label)
    return [(_together(labels), status, reason) for (status, reason), labels in found.items()]


def _together(labels: Sequence[str]) -> str:
    """Return labels with what they share said once: "on odin, ltb, seed 0 (T = 4; T = 8)"."""
    if len(labels) == 1:
        return labels[0]
    parts = [label.split(", ") for label in labels]
    shared = [part for part in parts[0] if all(part in other for other in parts)]
    own = [", ".join(part for part in one if part not in shared) or "no more" for one in parts]
    if len(own) > MOST:
        own = [*own[: MOST - 1], f"and {len(own) - MOST + 1} more"]
    return f"{', '.join(shared)} ({'; '.join(own)})" if shared else "; ".join(labels if len(labels) <= MOST else [*labels[: MOST - 1], f"and {len(labels) - MOST + 1} more"])


# -- lines ------------------------------------------------------------------------------------------


def chosen(comparison: Comparison) -> Row | None:
    """Return the row whose network, T, method and seed the targets share: the headline, else the last on a chip."""
    rows = [row for row in comparison.rows if row.group in ("chip", "native")] or [r for r in comparison.rows if r.group == "ideal"]
    if comparison.headline and comparison[comparison.headline].group != "ann":
        return comparison[comparison.headline]
    return rows[-1] if rows else None


def alike(comparison: Comparison, main: Row) -> list[Row]:
    """Return the rows on chips that differ from a row in the chip alone, itself among them."""
    return [row for row in comparison.rows if row.group in ("chip", "native") and _origin(row) == _origin(main)]


def _origin(row: Row) -> tuple[object, ...]:
    """Everything that makes a row except the chip it runs on."""
    return row.ann, row.seed, tuple(sorted((k, str(v)) for k, v in row.settings.items() if not k.startswith("deploy.")))


def _alike(refused: NotRun, main: Row) -> bool:
    """Whether a trial that was refused differs from a row in its chip alone."""
    mine = {k: str(v) for k, v in main.settings.items() if not k.startswith("deploy.")}
    other = {k: str(v) for k, v in refused.settings.items() if not k.startswith("deploy.")}
    return mine == other and refused.label.endswith(f"seed {main.seed}")


def _chip(comparison: Comparison, row: Row) -> Target:
    chip, native = row.settings["deploy.chip"], ", native reset" if row.group == "native" else ""
    energy, time = row.energy, row.latency
    missing = left_out((*(energy.missing if energy else ()), *(time.missing if time else ())), energy.by_component if energy else ())
    dynamic = [r for name, r in (energy.by_component if energy else {}).items() if name not in STANDING]
    stands = energy is not None and any(name in STANDING for name in energy.by_component)
    return Target(
        f"{chip}{native}",
        "chip",
        accuracy=row.accuracy,
        energy=_sum(dynamic) if dynamic else None,
        with_static=energy.total if energy is not None and stands else None,
        latency=time.per_inference if time else None,
        figures=rests_on(comparison, row, {name for name in (energy.by_component if energy else {}) if name not in STANDING}),
        standing=rests_on(comparison, row, {name for name in (energy.by_component if energy else {}) if name in STANDING}),
        times=rests_on(comparison, row, {"time"}),
        remarks=(", ".join(missing),) if missing else (),
        partial=bool(energy and energy.missing),
    )


def rests_on(comparison: Comparison, row: Row, parts: Iterable[str]) -> tuple[Figure, ...]:
    """Return the figures that components of a row's energy rest on ("time": its latency): of its chip, and of the host's design."""
    wanted = set(parts)
    chip = row.settings.get("deploy.chip") or (row.chip_use.chip if row.chip_use else None)
    own = next((c.figures for c in comparison.chips if c.name == chip), comparison.figures)
    found = [f for f in own if wanted & set(f.used_by)]
    # What no chip file holds: the host's arithmetic, and the views without a chip.
    elsewhere = wanted - {component for f in found for component in f.used_by}
    return tuple(dict.fromkeys((*found, *(f for f in comparison.figures if elsewhere & set(f.used_by) and f.name.partition(" ")[0] not in _chips(comparison)))))


def _chips(comparison: Comparison) -> set[str]:
    return {c.name for c in comparison.chips}


def _refusals(refused: Sequence[NotRun]) -> list[Target]:
    """Return one line a chip, with what both resets are refused for said once."""
    causes: dict[str, dict[str, dict[str, None]]] = {}
    for n in refused:
        chip, reset = str(n.settings["deploy.chip"]), str(n.settings.get("deploy.reset", ""))
        first, *rest = n.reason.splitlines()
        listed = [line.strip() for line in rest if line.startswith("  ")] or [first.partition(": ")[2] or first]
        causes.setdefault(chip, {})[reset] = dict.fromkeys(listed)
    found = []
    for chip, by_reset in causes.items():
        common = [cause for cause in next(iter(by_reset.values())) if all(cause in c for c in by_reset.values())]
        own = [f"with reset={reset!r}: {cause}" for reset, listed in by_reset.items() for cause in listed if cause not in common]
        found.append(Target(chip, "refused", batch=None, remarks=(*common, *own)))
    return found


def _designs(comparison: Comparison, ann: Row) -> list[Conventional]:
    """Return the four designs that stand for digital hardware: int8 and fp32 at 45 and 7 nm, one sample at a time."""
    own = [c for c in comparison.conventional if c.ann == ann.key and c.batch == 1 and c.memory == MEMORY and c.sparse]
    return [c for node in NODES for precision in PRECISIONS for c in own if c.node_nm == node and c.precision == precision]


def _digital(c: Conventional, ann: Row, rivals: Sequence[Rival]) -> Target:
    # An int8 design answers as the quantised network does, not as the fp32 one.
    eight = next((r for r in rivals if r.weight_bits == r.activation_bits == 8), None)
    accuracy = eight.accuracy if c.precision == "int8" and eight is not None else ann.accuracy
    return Target(f"ANN, {c.label}", "digital", accuracy, c.energy, batch=c.batch, figures=c.figures, remarks=c.missing)


def _rival(r: Rival) -> Target:
    note = "as at 8 bits where no narrower product has a figure; low: the product scaled with its narrower operand"
    return Target(f"{r.label}, {r.node_nm:g} nm", "rival", r.accuracy, r.energy, batch=r.batch, figures=r.figures, remarks=(note,))


def _machine(c: Conventional, ann: Row) -> Target:
    return Target(c.label, "machine", ann.accuracy, c.energy, batch=c.batch or None, figures=c.figures, remarks=(c.note,))


def _sum(parts: Iterable[Range]) -> Range:
    parts = list(parts)
    return Range(*(sum(getattr(r, end) for r in parts) for end in ("value", "low", "high")))


# -- words ------------------------------------------------------------------------------------------


def _words(t: Target) -> str:
    a = t.accuracy
    return units.MISSING if a is None else units.percent_range(a.value, a.low, a.high)


def _text(r: Range | None, unit: str, partial: bool = False) -> str:
    return units.MISSING if r is None else (">= " if partial else "") + units.si_range(r.value, r.low, r.high, unit)


__all__ = ["KINDS", "Target", "alike", "chosen", "grouped", "lines", "rests_on", "targets"]
