"""What ``spikeport workload`` does: run, say each outcome as it is there, write page and numbers."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from experiments.units import seconds, si, table
from neuro.archive import write_atomically
from neuro.errors import SpecError, nearest
from neuro.progress import ProgressCallback

from . import WORKLOADS, Context
from .page import write
from .results import Outcome, Skipped, Suite
from .suite import run
from .words import interval, value, verdict

HEAD = ("task", "ANN (95 %)", "T", "spiking (95 %)", "Loihi 1", "energy", "latency", "baseline")


def run_command(
    name: str, out: Path, train: bool, weights: Path | None, data_dir: Path | None, progress: ProgressCallback, say: Callable[[str, str], None]
) -> tuple[list[str], dict[str, Any]]:
    """Run one workload or all; return the lines of the table and the same as plain values.

    Raises
    ------
    SpecError : an unknown name, ``--weights`` without ``--train``, nothing that could run.
    """
    if name != "all" and name not in WORKLOADS:
        raise SpecError(f"unknown workload {name!r}{nearest(name, [*WORKLOADS, 'all'])}; there are {', '.join(WORKLOADS)} and all")
    if weights is not None and not train:
        raise SpecError("--weights names the folder for newly trained networks; it needs --train")
    command = f"spikeport workload {name}" + (" --train" if train else "")

    def told(what: Outcome | Skipped) -> None:
        if isinstance(what, Skipped):
            say(f"{what.name} skipped", whole(what.reason))
        else:
            say(what.name, f"lost {what.lost}  {seconds(what.seconds)}")

    suite = run(list(WORKLOADS) if name == "all" else [name], Context(data_dir, train, weights, progress), command, told)
    if not suite.outcomes:
        raise SpecError("no workload could run: " + "; ".join(f"{s.name}: {whole(s.reason)}" for s in suite.skipped))
    write(suite, out)
    write_atomically(out.with_suffix(".json"), msgspec.json.format(msgspec.json.encode(suite)))
    return lines(suite), {"page": str(out), "verdict": verdict(suite), **msgspec.to_builtins(suite)}


def lines(suite: Suite) -> list[str]:
    """Return the table of the outcomes, and the verdict below it."""
    rows = [_row(o) for o in suite.outcomes]
    skipped = [f"  skipped {s.name}: {s.reason.splitlines()[0].rstrip(':')}" for s in suite.skipped]
    return [*table(HEAD, rows, right=(2, 5, 6)), *skipped, "", verdict(suite)]


def whole(reason: str) -> str:
    """Return all lines of a reason in one: which files, where they were looked for, what to do."""
    return "; ".join(line.strip() for line in reason.splitlines()).replace(":;", ":")


def _row(o: Outcome) -> tuple[str, ...]:
    at, chip = o.at(o.n_steps), next((c for c in o.chips if c.chip == "loihi1"), None)
    on = None if chip is None else chip.metric

    def both(found: tuple[float, float, float]) -> str:
        return f"{value(found[0], o.metric_unit)} ({interval(found, o.metric_unit)})"

    return (
        o.name,
        both(o.ann),
        str(o.n_steps) if o.reached else f">{o.n_steps}",
        both(at.metric),
        "-" if on is None else value(on[0], o.metric_unit),
        "-" if chip is None or chip.energy is None else si(chip.energy[0], "J"),
        "-" if chip is None or chip.latency is None else si(chip.latency[0], "s"),
        "; ".join(f"{re.split(r',| [(]', b.name)[0]} {value(b.ann[0], o.metric_unit)}" for b in o.baselines[:1]),
    )
