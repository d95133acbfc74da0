"""What a workload leaves behind: plain frozen values that are JSON at once."""

from __future__ import annotations

from typing import Any

import msgspec

Bounds = tuple[float, float, float]
"""A value, the low and the high end of its interval."""


class Step(msgspec.Struct, frozen=True):
    """The ideal spiking network at one T: the metric, its paired difference from the ANN, and whether it is within the ANN's interval."""

    n_steps: int
    metric: Bounds
    difference: Bounds
    within: bool


class Stage(msgspec.Struct, frozen=True):
    """One stage between ANN and chip: the metric there, and the change from the stage before."""

    name: str
    metric: float
    change: float


class Losses(msgspec.Struct, frozen=True):
    """The stages at one T."""

    n_steps: int
    stages: tuple[Stage, ...]


class Layer(msgspec.Struct, frozen=True):
    """Error of one layer's rates, root mean square in thresholds, and where it comes from."""

    name: str
    inherited: float
    clipping: float
    quantisation: float
    unevenness: float
    total: float


class OnChip(msgspec.Struct, frozen=True):
    """The network on one chip at the chosen T; ``reason`` where it does not run there.

    energy [J], latency [s] : value, low, high of one inference (a whole sequence); None without a figure.
    overflowing : share of probes at whose end an output's potential stands at the end of the chip's range.
    within : whether the metric is within the ANN's interval.
    """

    chip: str
    reason: str = ""
    metric: Bounds | None = None
    energy: Bounds | None = None
    latency: Bounds | None = None
    cores: int = 0
    missing: tuple[str, ...] = ()
    overflowing: float = 0.0
    within: bool = False


class Group(msgspec.Struct, frozen=True):
    """One group of units: the ANN and the ideal spiking network at the chosen T."""

    kind: str
    name: str
    n: int
    ann: Bounds
    spiking: Bounds


class Number(msgspec.Struct, frozen=True):
    """A further metric, or a baseline under the row's own metric."""

    name: str
    unit: str
    ann: Bounds
    spiking: Bounds | None = None


class Shown(msgspec.Struct, frozen=True):
    """Something only one workload shows; clips are (label, data address of a WAV file)."""

    title: str
    text: str = ""
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Any, ...], ...] = ()
    clips: tuple[tuple[str, str], ...] = ()


class Outcome(msgspec.Struct, frozen=True):
    """Everything of one task.

    n_steps : the chosen T. reached : whether from there on every T of the sweep is within the ANN's interval.
    lost : in a sentence, what was lost and where.
    digital : energy of the ANN on the named digital design [J].
    spikes, synaptic_operations, macs : of one inference.
    on_chip : the first chip at every T of the sweep, where at the chosen one it is not within the ANN's interval.
    training_seconds : of all folds' networks, processor time [s]; None where it was not recorded.
    """

    name: str
    title: str
    kind: str
    method: str
    unit: str
    n: int
    metric: str
    metric_unit: str
    better: str
    ann: Bounds
    baselines: tuple[Number, ...]
    steps: tuple[Step, ...]
    n_steps: int
    reached: bool
    lost: str
    losses: tuple[Losses, ...]
    layers: tuple[Layer, ...]
    more: tuple[Number, ...]
    groups: tuple[Group, ...]
    chips: tuple[OnChip, ...]
    digital: Bounds
    digital_design: str
    macs: float
    spikes: float
    synaptic_operations: float
    parameters: int
    weights_sha256: tuple[str, ...]
    training: str
    card: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    extras: tuple[Shown, ...]
    seconds: float
    on_chip: tuple[Step, ...] = ()
    training_seconds: float | None = None

    def at(self, n_steps: int) -> Step:
        """Return the step of the sweep with that T."""
        return next(step for step in self.steps if step.n_steps == n_steps)


class Skipped(msgspec.Struct, frozen=True):
    """A workload that could not run here, and why."""

    name: str
    title: str
    reason: str


class Suite(msgspec.Struct, frozen=True):
    """The outcomes of one run."""

    outcomes: tuple[Outcome, ...]
    skipped: tuple[Skipped, ...]
    created: str
    seconds: float
    versions: dict[str, str]
    command: str
