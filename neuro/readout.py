"""How an answer leaves a spiking network: potential, spike count, first spike, delayed; and early exit.

The scores of a read-out after k + 1 steps of its window:

``potential``    (v_k - v_init), divided by k + 1 for outputs in the units of the source network;
``delayed``      (v_k - v_t0), divided by k - t0 (Hwang 2021; t0 = ``start`` steps are left out);
``count``        theta N_k / (k + 1); -1 where no output neuron has fired;
``first_spike``  the class that fires first; -1 where none has.

The answer is the largest score, the lowest class of a tie (which is recorded).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import msgspec
import numpy as np

from .errors import EngineError, NetworkError, SpecError, nearest
from .network import SpikingNetwork

Array = np.ndarray
SHORTEST = 4  # a delayed read-out keeps at least this many steps (Bu et al. 2025, arXiv:2409.03368)


@dataclass(frozen=True)
class ReadoutKind:
    """One way out: its equation and its source."""

    name: str
    equation: str
    source: str
    spikes: bool  # whether the output population must fire


READOUTS: dict[str, ReadoutKind] = {
    "potential": ReadoutKind("potential", "y = (v_T - v_init) / T", "accumulated output current; Rueckauer et al. 2017, doi:10.3389/fnins.2017.00682", False),
    "delayed": ReadoutKind(
        "delayed", "y = (v_T - v_t0) / (T - t0)", "Hwang et al. 2021, doi:10.3389/fnins.2021.629000", False
    ),
    "count": ReadoutKind("count", "y = theta N / T", "Diehl et al. 2015, doi:10.1109/IJCNN.2015.7280696", True),
    "first_spike": ReadoutKind(
        "first_spike", "argmin of the first spike's step", "Rueckauer and Liu 2018, doi:10.1109/ISCAS.2018.8351295", True
    ),
}


class Readout(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Choice of read-out; ``start`` is t0 of the delayed one, in steps."""

    kind: str = "potential"
    start: int = 0


class EarlyExit(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Stop a sample when its running answer is sure enough.

    ``measure="margin"``: the two largest outputs (in the units of the source network) differ by at least ``threshold``;
    ``"softmax"``: the largest softmax of the outputs is at least ``threshold``. Not before ``min_steps`` steps.
    Source: SEENN-I, arXiv:2304.01230.
    """

    threshold: float
    measure: Literal["margin", "softmax"] = "margin"
    min_steps: int = 1


def resolve(readout: str | Readout, network: SpikingNetwork) -> Readout:
    """Return the read-out as a struct; raise where this network cannot be read that way."""
    spec = Readout(kind=readout) if isinstance(readout, str) else readout
    if spec.kind not in READOUTS:
        raise SpecError(f"read-out {spec.kind!r} is not known{nearest(spec.kind, READOUTS)}")
    if spec.start < 0:
        raise SpecError(f"read-out start {spec.start}, expected 0 or more")
    fires = network.output.reset is not None
    if READOUTS[spec.kind].spikes and not fires:
        raise EngineError(
            f"read-out {spec.kind!r} needs output neurons that fire; {network.output.name!r} only integrates. "
            "Use readout='potential', or neuro.readout.with_spiking_output(network, v_threshold)"
        )
    if not READOUTS[spec.kind].spikes and fires:
        raise EngineError(f"read-out {spec.kind!r} needs outputs that only integrate; {network.output.name!r} fires: use 'count'")
    if READOUTS[spec.kind].spikes and network.task == "regression":
        raise EngineError(f"read-out {spec.kind!r} cannot give the values of a regression; use readout='potential'")
    return spec


def with_spiking_output(network: SpikingNetwork, v_threshold: float | None = None) -> SpikingNetwork:
    """Return the network with output neurons that fire (reset by subtraction, v_init = theta/2).

    ``v_threshold`` defaults to ``info["output_threshold"]``, the largest output seen in calibration.
    """
    theta = network.info.get("output_threshold") if v_threshold is None else v_threshold
    if theta is None or not theta > 0:
        raise NetworkError("a spiking output needs a positive v_threshold: give the largest output the network reaches")
    out = network.output
    theta = float(np.float32(theta))
    if out.grid is not None:
        unit = float(np.max(np.asarray(out.grid)))
        theta = max(1.0, float(np.rint(theta / unit))) * unit
        v_init = float(np.floor(theta / unit / 2)) * unit
    else:
        v_init = theta / 2
    firing = replace(out, v_threshold=theta, amplitude=theta, v_init=v_init, reset="subtract")
    return replace(network, populations=(*network.populations[:-1], firing))


def largest(scores: Array) -> tuple[Array, Array]:
    """Return (index of the largest score, whether it is a tie) of each row."""
    first = scores.argmax(axis=1)
    last = scores.shape[1] - 1 - scores[:, ::-1].argmax(axis=1)
    return first, first != last


def decided(outputs: Array, rule: EarlyExit) -> Array:
    """Return which rows of ``outputs`` (n_samples, n_out) are sure enough, (n_samples,) bool."""
    if outputs.shape[1] < 2:
        return np.zeros(len(outputs), dtype=bool)
    if rule.measure == "margin":
        top = np.partition(outputs, -2, axis=1)[:, -2:]
        return (top[:, 1] - top[:, 0]) >= rule.threshold
    shifted = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    return shifted.max(axis=1) / shifted.sum(axis=1) >= rule.threshold


class Reader:
    """The read-out of a batch, step by step; the same arithmetic in every engine.

    ``read(rows, k, v, fired)`` takes potentials and cumulative counts of the output neurons after
    relative step k of the given rows and returns scores, outputs, answers and ties.
    """

    def __init__(self, spec: Readout, v_init: Array, unit: Array, theta: Array | None, n_steps: int, rows: int) -> None:
        self.spec = spec
        self.n_steps = n_steps
        self.start = min(spec.start, max(0, n_steps - SHORTEST)) if spec.kind == "delayed" else 0
        self._v_init = v_init.astype(np.float64)
        self._unit = unit
        self._theta = None if theta is None else theta.astype(np.float64)
        self._counts = np.zeros((rows, len(unit)), np.int64)
        self._base = np.tile(self._v_init, (rows, 1))
        self._first = np.full((rows, len(unit)), n_steps, np.int64)

    def begin(self, rows: Array | slice) -> None:
        """Forget what these rows held: a new window begins."""
        self._counts[rows] = 0
        self._base[rows] = self._v_init
        self._first[rows] = self.n_steps

    def read(self, rows: Array | slice, k: Array | int, v: Array, n: Array | None) -> tuple[Array, Array, Array]:
        """Return (outputs, answers, tied) of these rows after relative step ``k`` (scalar or one a row)."""
        steps = np.asarray(k)
        if n is not None:
            self._counts[rows] += n
            first = self._first[rows]
            self._first[rows] = np.where((n > 0) & (first == self.n_steps), steps[..., None], first)
        kind = self.spec.kind
        if kind == "count" and self._theta is not None:
            counts = self._counts[rows]
            answers, tied = largest(counts)
            silent = (counts == 0).all(axis=1)
            outputs = counts * (self._theta * self._unit) / (steps[..., None] + 1)
            return outputs, np.where(silent, -1, answers), tied & ~silent
        if kind == "first_spike":
            first = self._first[rows]
            answers, tied = largest(-first)
            silent = (first == self.n_steps).all(axis=1)
            return self.n_steps - first.astype(np.float64), np.where(silent, -1, answers), tied & ~silent
        if not self.start:
            scores = (v - self._v_init) * self._unit
            return scores / (steps[..., None] + 1), *largest(scores)
        begin = (steps == self.start - 1)[..., None]
        self._base[rows] = np.where(begin, v, self._base[rows])
        scores = (v - self._base[rows]) * self._unit
        answers, tied = largest(scores)
        span = np.where(steps >= self.start, steps + 1 - self.start, steps + 1)
        # Before t0 + SHORTEST steps a run that ended here would have read another stretch: no answer yet.
        early = steps < self.start + SHORTEST - 1
        return scores / span[..., None], np.where(early, -1, answers), tied & ~early
