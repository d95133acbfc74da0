"""Choose the method and the number of steps by agreement with the ANN on held-out samples."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from neuro.errors import ConversionError
from neuro.network import SpikingNetwork
from neuro.progress import Progress, ProgressCallback

from ..mlp import MLP
from .stream import Calibration

Array = np.ndarray
STEPS = (1, 2, 4, 8, 16, 32, 64)  # tried in this order when T is open
EVERY = 4  # one sample in so many is held out
FEWEST_HELD = 25
MOST_HELD = 5000
Chain = tuple[Any, ...]

# One binary spike a neuron and step, no pre-steps, no extra state: what every chip and engine runs.
LIGHT = {"name": "calibration", "rounds": 3}
CANDIDATES: tuple[Chain, ...] = (
    ({"name": "ltb", "iterations": 20},),
    ({"name": "ltb", "iterations": 20}, LIGHT),
    ({"name": "ltb", "iterations": 50}, LIGHT),
    ({"name": "ltb", "iterations": 300}, LIGHT),
    ({"name": "mmse"},),
    ({"name": "mmse", "per_neuron": True},),
    ({"name": "mmse", "per_neuron": True}, {"name": "calibration"}),
    ({"name": "gaussian"},),
    ({"name": "percentile_norm", "percentile": 99.0}, LIGHT),
    ({"name": "percentile_norm", "percentile": 99.9},),
    ({"name": "percentile_norm", "percentile": 99.9}, LIGHT),
)
QCFS: tuple[Chain, ...] = (("qcfs",), ("qcfs", LIGHT))


class HeldOutWarning(UserWarning):
    """There are too few held-out samples to resolve the disagreement that was asked for."""


@dataclass(frozen=True)
class Trial:
    """One method at one T: points of disagreement on the held-out samples with their 95 % interval (Wilson; none for
    regression), mean |output error|, spikes a sample."""

    method: Chain
    n_steps: int
    loss: float | None = None
    interval: tuple[float, float] | None = None
    output_error: float | None = None
    spikes: float | None = None
    refused: str = ""

    def summary(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "method": [step if isinstance(step, str) else dict(step) for step in self.method],
            "n_steps": self.n_steps,
            "loss": self.loss,
            "interval": None if self.interval is None else list(self.interval),
            "output_error": self.output_error,
            "spikes": self.spikes,
            "refused": self.refused,
        }


def auto(
    mlp: MLP,
    calibration: Any,
    *,
    target_loss: float = 0.1,
    n_steps: int | None = None,
    grid: float | None = 2.0**-12,
    v_init: float = 0.5,
    check: bool = True,
    candidates: Sequence[Chain] | None = None,
    progress: ProgressCallback | None = None,
) -> SpikingNetwork:
    """Return the conversion that disagrees least with ``mlp`` on held-out samples, at the fewest steps that suffice.

    Every fourth calibration sample is held out (5,000 at most); methods see the others only, and no labels are used. For
    T = 1, 2, 4, ... (or for ``n_steps`` alone) every candidate is converted and run; the first T at which one disagrees on
    at most ``target_loss`` points of a hundred wins, and at that T the candidate with the least disagreement; of equal ones
    that with the smaller output error. For regression the loss is 100 (1 - R2) against the ANN's outputs. Where no T up to
    64 suffices, the best of all is returned, and ``info["auto"]["met"]`` is False.

    Samples that the ANN was trained on are easier than new ones (measured on MNIST: 0.2 points of disagreement there, 0.4 on
    new images): they rank methods well, but give samples that it has not seen where the target itself matters.

    ``info["auto"]`` holds everything that was tried. The winner is not converted again with the held-out samples.

    Raises
    ------
    ConversionError : fewer than 100 samples; a target below zero; every candidate refused, all reasons named.
    """
    if not 0 <= target_loss <= 100:
        raise ConversionError(f"auto: target_loss {target_loss:g}, expected points of disagreement from 0 to 100")
    data = Calibration(calibration, mlp)
    held = _held_out(data)
    if mlp.task == "classification" and 100 / len(held) > target_loss:
        warnings.warn(
            f"auto: {len(held)} held-out samples resolve {100 / len(held):.2g} points of disagreement, coarser than the target "
            f"of {target_loss:g}; give more calibration data to be sure",
            HeldOutWarning,
            stacklevel=3,
        )
    chains = tuple(candidates or (QCFS if all(x.activation == "qcfs" for x in mlp.layers[:-1]) else CANDIDATES))
    rest = _without_held(calibration, data)
    tried: list[Trial] = []
    made: dict[str, SpikingNetwork] = {}
    best: tuple[Trial, SpikingNetwork] | None = None
    met = False
    steps = STEPS if n_steps is None else (n_steps,)
    for n in steps:
        found: list[tuple[Trial, SpikingNetwork]] = []
        for chain in chains:
            trial, network = _try(mlp, rest, held, chain, n, grid, v_init, made)
            tried.append(trial)
            if network is not None:
                found.append((trial, network))
            if progress is not None:
                progress(Progress("choosing (auto)", len(tried), len(steps) * len(chains), {"T": float(n)}))
        if not found:
            continue
        winner = min(found, key=lambda pair: _order(pair[0]))
        if best is None or _order(winner[0]) < _order(best[0]):
            best = winner
        met = winner[0].loss is not None and winner[0].loss <= target_loss
        if met:
            best = winner
            break
    if best is None:
        reasons = sorted({t.refused for t in tried})
        raise ConversionError("auto: every candidate was refused: " + "; ".join(reasons))
    trial, network = best
    info = {
        "met": met,
        "target_loss": target_loss,
        "held_out": len(held),
        "picked": trial.summary(),
        "tried": [t.summary() for t in tried],
    }
    network = replace(network, info={**network.info, "n_steps": trial.n_steps, "auto": info})
    if check:
        from ..verify import quick_check

        network = quick_check(network, mlp, Calibration(held, mlp))
    return network


def describe(info: dict[str, Any]) -> str:
    """Return what ``auto`` tried as text, one line a method and T, the pick marked."""
    picked = info["picked"]
    head = (
        f"tried on {info['held_out']:,} held-out samples; wanted at most {info['target_loss']:g} points of disagreement: "
        + ("met" if info["met"] else "not met up to the last T, so the best of all")
    )
    if picked["interval"]:
        low, high = picked["interval"]
        head += f", {picked['loss']:.2f} (95 %: {low:.2f} to {high:.2f})"
    labels = ["+".join(_step_label(step) for step in t["method"]) for t in info["tried"]]
    width = max(map(len, labels))
    rows = [head]
    for t, label in zip(info["tried"], labels, strict=True):
        text = f"refused: {t['refused']}" if t["refused"] else f"{t['loss']:6.2f} points  {t['spikes']:8,.0f} spikes a sample"
        rows.append(f"{'*' if t == picked else ' '} T = {t['n_steps']:<3} {label:<{width}} {text}")
    return "\n".join(rows)


def _step_label(step: Any) -> str:
    if isinstance(step, str):
        return step
    options = ", ".join(f"{k} {v}" for k, v in step.items() if k != "name")
    return step["name"] + (f"({options})" if options else "")


def _order(trial: Trial) -> tuple[float, float]:
    assert trial.loss is not None and trial.output_error is not None
    return trial.loss, trial.output_error


def _try(
    mlp: MLP, rest: Any, held: Array, chain: Chain, n_steps: int, grid: float | None, v_init: float, made: dict[str, SpikingNetwork]
) -> tuple[Trial, SpikingNetwork | None]:
    from ..convert import convert
    from ..verify import observe

    key = repr(chain)
    network = made.get(key)
    try:
        if network is None:
            network = convert(mlp, calibration=rest, method=list(chain), n_steps=n_steps, grid=grid, v_init=v_init, check=False)
            if network.info["calibrated_for_T"] is None:
                made[key] = network  # holds for every T
    except ConversionError as error:
        return Trial(chain, n_steps, refused=str(error)), None
    seen = observe(network, held, n_steps)
    wanted = mlp.activations(held)[-1].astype(np.float64)
    wanted = wanted.reshape(-1, wanted.shape[-1])
    interval = None
    if mlp.task == "regression":
        spread = float(((wanted - wanted.mean(axis=0)) ** 2).sum())
        loss = 100 * float(((wanted - seen.outputs) ** 2).sum()) / spread if spread > 0 else 0.0
    else:
        changed = wanted.argmax(axis=1) != seen.outputs.argmax(axis=1)
        loss, interval = 100 * float(changed.mean()), _interval(int(changed.sum()), len(changed))
    spikes = sum(float(np.abs(c).sum()) for c in seen.counts.values()) / len(wanted)
    return Trial(chain, n_steps, loss, interval, float(np.abs(wanted - seen.outputs).mean()), spikes), network


def _interval(changed: int, total: int) -> tuple[float, float]:
    """Return the 95 % interval (Wilson 1927) of a share, in points of a hundred."""
    from scipy.stats import binomtest

    found = binomtest(changed, total).proportion_ci(method="wilson")
    return 100 * float(found.low), 100 * float(found.high)


def _held_out(data: Calibration) -> Array:
    parts, count, total = [], 0, 0
    for batch in data.batches(EVERY * 100):
        total += len(batch)
        if count < MOST_HELD:
            parts.append(batch[::EVERY])
            count += len(parts[-1])
    if count < FEWEST_HELD:
        raise ConversionError(
            f"auto: {total} calibration samples, expected {EVERY * FEWEST_HELD} or more: a quarter is held out to choose the method"
        )
    return np.concatenate(parts)[:MOST_HELD]


def _without_held(source: Any, data: Calibration) -> Any:
    return _RestOfArray(source) if hasattr(source, "shape") and hasattr(source, "dtype") else _RestOfStream(data)


class _RestOfArray:
    """The rows of an array that were not held out, read where they lie (it may be memory-mapped)."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self._rows = np.flatnonzero(np.arange(len(source)) % EVERY != 0)
        self.shape, self.dtype = (len(self._rows), *source.shape[1:]), source.dtype

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        return self._source[self._rows[index]]


class _RestOfStream:
    """The samples of a stream that were not held out, as batches that can be read again."""

    def __init__(self, data: Calibration) -> None:
        self._data = data

    def __iter__(self) -> Iterator[Array]:
        for batch in self._data.batches(EVERY * 100):
            keep = np.arange(len(batch)) % EVERY != 0
            if keep.any():
                yield batch[keep]
