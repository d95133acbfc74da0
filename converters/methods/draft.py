"""Draft: a conversion in progress, and the passes over calibration data that its steps share.

A method is a chain of steps, each a function (draft, options) -> draft. A step decides
thresholds, initial potentials, biases or the neurons' rule; nothing is changed in place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from neuro.errors import ConversionError, problems
from neuro.network import Protocol, Weight
from neuro.progress import Progress, ProgressCallback

from ..mlp import MLP, Dense, Skip, affine
from .stream import Calibration

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Neurons:
    """What has been decided about one layer.

    Parameters
    ----------
    layer : weight, skips, recurrent weight and channels; ``layer.bias`` (n,) is the ANN's.
    v_threshold : (n,) array in the units of the ANN's activations; None while undecided, and for the read-out.
    fraction : initial potential as a fraction of the threshold, unless ``v_init`` (n,) is given.
    bias : (n,), or (T, n) one row a step; None: the layer's own.
    """

    layer: Dense
    v_threshold: Array | None = None
    fraction: float = 0.5
    v_init: Array | None = None
    bias: Array | None = None
    reset: Literal["subtract", "zero"] = "subtract"
    comparison: Literal[">=", ">"] = ">="
    max_spikes: int = 1
    signed: bool = False
    signed_floor: bool = False

    @property
    def theta(self) -> Array:
        """Thresholds, which must have been decided."""
        if self.v_threshold is None:
            raise ConversionError(f"layer {self.layer.name!r} has no threshold yet: put a step that sets thresholds first")
        return self.v_threshold

    @property
    def start_potential(self) -> Array:
        """Potential at the first step, (n,)."""
        return self.fraction * self.theta if self.v_init is None else self.v_init

    @property
    def drive_bias(self) -> Array:
        """Bias of every step, (n,) or (T, n)."""
        return self.layer.bias if self.bias is None else self.bias


@dataclass(frozen=True, eq=False)
class Draft:
    """A conversion in progress.

    Parameters
    ----------
    mlp : the trained network; never changed.
    data : calibration data.
    neurons : one per layer; the last is the read-out, which only integrates.
    n_steps : T of the result, where one was given.
    for_t : T on which what was decided depends; None when it holds for any T.
    extra_state : what a neuron must hold beside its potential, in words.
    notes : what each step has to report, plain values.
    """

    mlp: MLP
    data: Calibration
    neurons: tuple[Neurons, ...]
    n_steps: int | None = None
    for_t: int | None = None
    protocol: Protocol | None = None
    extra_state: tuple[str, ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)
    progress: ProgressCallback | None = None

    @property
    def hidden(self) -> range:
        """Indices of the layers that spike."""
        return range(len(self.neurons) - 1)

    @property
    def has_thresholds(self) -> bool:
        """Whether every spiking layer has its thresholds."""
        return all(self.neurons[i].v_threshold is not None for i in self.hidden)

    def name(self, index: int) -> str:
        """Name of a layer's population."""
        return population_name(index, len(self.neurons))

    def with_neurons(self, changes: Mapping[int, Mapping[str, Any]]) -> Draft:
        """Return the draft with these fields of these layers replaced."""
        neurons = [replace(n, **changes[i]) if i in changes else n for i, n in enumerate(self.neurons)]
        return replace(self, neurons=tuple(neurons))

    def with_thresholds(self, thetas: Mapping[int, Array], floor: float = 0.0) -> Draft:
        """Return the draft with these thresholds, no lower than ``floor`` times the layer's median and no higher than its ceiling.

        Raises
        ------
        ConversionError : a layer none of whose thresholds is positive; all such layers.
        """
        changes, dead_layers, notes = {}, [], {}
        for i, raw in thetas.items():
            layer = self.neurons[i].layer
            theta = np.broadcast_to(np.asarray(raw, dtype=np.float64), (layer.n_out,))
            positive = theta > 0
            if not np.isfinite(theta).all():
                dead_layers.append(f"{self.name(i)}: a threshold is NaN or infinite; are activations finite?")
            elif not positive.any():
                dead_layers.append(f"{self.name(i)}: no neuron is ever active on the calibration data")
            else:
                limit = floor * float(np.median(theta[positive]))
                lowest = limit if limit > 0 else float(theta[positive].min())
                notes[self.name(i)] = {
                    "dead": int((~positive).sum()),
                    "raised": int((theta < lowest).sum()),
                }
                changes[i] = {"v_threshold": np.minimum(np.maximum(theta, lowest), layer.ceiling)}
        if dead_layers:
            raise ConversionError(problems("no threshold can be chosen:", dead_layers))
        return self.with_neurons(changes).note(thresholds=notes)

    def note(self, **values: Any) -> Draft:
        """Return the draft with notes added; a later note of the same name replaces the earlier one."""
        return replace(self, notes={**self.notes, **values})

    def require_t(self, method: str) -> int:
        """Return T, or raise where a method needs it and it was not given."""
        if self.n_steps is None:
            raise ConversionError(f"method {method!r} is made for one number of steps: give n_steps")
        return self.n_steps

    def report(self, stage: str, done: int, total: int, **info: float) -> None:
        """Tell whoever listens how far the conversion is."""
        if self.progress is not None:
            self.progress(Progress(stage, done, total, info))


def population_name(index: int, n_layers: int) -> str:
    """Return ``"hidden1"``, ``"hidden2"``, ..., ``"output"``."""
    return "output" if index == n_layers - 1 else f"hidden{index + 1}"


def refuse(
    draft: Draft, method: str, *, sparse: bool = False, recurrent: bool = False, ceiling: bool = False, skips: bool = False
) -> None:
    """Raise ConversionError naming every layer this method cannot take (the flags say what it cannot)."""
    causes = []
    for i in range(len(draft.neurons)):
        layer = draft.neurons[i].layer
        if sparse and not isinstance(layer.weight, np.ndarray):
            causes.append(f"{draft.name(i)} ({layer.kind}): held as a sparse map; use a method that keeps the weights")
        if skips and layer.skips:
            causes.append(f"{draft.name(i)}: a residual connection ends here; use a method that keeps the weights")
        if recurrent and layer.recurrent is not None:
            causes.append(f"{draft.name(i)}: recurrent; use another method, such as ltb or percentile_norm")
        if ceiling and np.isfinite(layer.ceiling):
            causes.append(f"{draft.name(i)}: its activation is limited to {layer.ceiling:g}; use one spike a step")
    if causes:
        raise ConversionError(problems(f"method {method!r} cannot take these layers:", causes))


# -- the ANN on calibration data --------------------------------------------------------------------


def positions(batch: Array) -> Array:
    """Return a batch as (n_positions, n_samples, n_in); one position where it is no sequence."""
    return batch[None] if batch.ndim == 2 else np.swapaxes(batch, 0, 1)


def drive(layer: Dense, values: Sequence[Array], bias: Array | None = None) -> Array:
    """Return W a + skips + b of one layer; ``values[s + 1]`` (..., n) is the output of layer s, ``values[0]`` the input."""
    below = values[-1]
    z = _mapped(below, layer.weight) + (layer.bias if bias is None else bias).astype(below.dtype)
    for skip in layer.skips:
        z = z + _mapped(values[skip.source + 1], skip.weight)
    return z


def ann_layer(layer: Dense, values: Sequence[Array], clip: Array | None = None) -> tuple[Array, Array]:
    """Return (z, a) of one layer for all positions, (n_positions, n_samples, n); ``clip`` (n,) limits a from above.

    What a recurrent layer hears of itself is never clipped: a threshold that is still low would keep the states of all later
    positions low, and so stay low itself.
    """
    z = drive(layer, values)
    if layer.recurrent is None:
        a = layer.activate(z)
    else:
        a = np.empty_like(z)
        for s in range(len(z)):
            if s:
                z[s] += affine(a[s - 1], layer.recurrent)
            a[s] = layer.activate(z[s])
    return z, a if clip is None else np.minimum(a, clip.astype(z.dtype))


def ann_passes(draft: Draft, size: int = 500) -> Iterator[tuple[list[Array], list[Array]]]:
    """Yield ([z of every layer], [input, a of every layer]) batch by batch, each (n_positions, n_samples, n)."""
    for batch in draft.data.batches(size):
        values, drives = [positions(batch)], []
        for layer in draft.mlp.layers:
            z, a = ann_layer(layer, values)
            drives.append(z)
            values.append(a)
        yield drives, values


def groups(layer: Dense, per_neuron: bool) -> Array:
    """Return (n,) int: which neurons share a threshold (layer, channel or neuron)."""
    if not per_neuron:
        return np.zeros(layer.n_out, dtype=np.int64)
    return np.arange(layer.n_out) if layer.channels is None else np.asarray(layer.channels, dtype=np.int64)


def grouped_mean(values: Array, group: Array) -> Array:
    """Return (n,) the mean of ``values`` (n,) over the neurons of each one's group."""
    count = np.bincount(group)
    return (np.bincount(group, weights=values) / np.maximum(count, 1))[group]


def grouped_max(values: Array, group: Array) -> Array:
    """Return (n,) the largest of ``values`` (n,) over the neurons of each one's group."""
    top = np.full(int(group.max()) + 1, -np.inf)
    np.maximum.at(top, group, values)
    return top[group]


def _mapped(values: Array, weight: Weight) -> Array:
    flat = values.reshape(-1, values.shape[-1])
    return affine(flat, weight).reshape(*values.shape[:-1], weight.shape[0])


__all__ = ["Calibration", "Draft", "Neurons", "Skip", "ann_layer", "ann_passes", "drive", "positions", "refuse"]
