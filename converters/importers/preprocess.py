"""Input pre-processing, layout, class names and task: what the user says, folded into the loaded network."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import numpy as np
import scipy.sparse as sp

from converters.fold import fold_input_scaling
from converters.mlp import MLP, Dense, Skip
from neuro.errors import SpecError, problems
from neuro.network import Weight

from .options import LoadOptions

# Settings that say something about one kind of file only, their defaults, and the kind.
OF_ONE_KIND: dict[str, tuple[object, str]] = {
    "orientation": ("auto", "plain .npz arrays"),
    "activation": ("", "a state_dict"),
    "nir_dt": (None, "a NIR graph"),
    "nir_leak": ("euler", "a NIR graph"),
    "nir_reset": ("file", "a NIR graph"),
    "nir_input": ((0.0, 1.0), "a NIR graph"),
}


def finish(mlp: MLP, options: LoadOptions, layout: Literal["NCHW", "NHWC"] = "NCHW", takes: str = "") -> MLP:
    """Return the network with the user's pre-processing, layout, class names and task.

    ``layout`` is the one the source model takes, ``takes`` the setting of one kind of file that it has used. With (x - mean) / scale before the model, the first layer
    becomes W' = W diag(1 / scale) and b' = b - W' mean, and so does every skip that starts at the input.

    Raises
    ------
    SpecError : class names, mean, scale or layout that do not fit the model; settings that say nothing about it.
    """
    unused = [
        f"{name}={getattr(options, name)!r} is about {kind}; leave it out"
        for name, (default, kind) in OF_ONE_KIND.items()
        if name != takes and getattr(options, name) != default
    ]
    if unused:
        raise SpecError(problems("options of load that this model has no use for:", unused))
    changes: dict[str, object] = {}
    info = dict(mlp.info)
    if options.classes:
        if len(options.classes) != mlp.n_out:
            raise SpecError(f"{len(options.classes)} class names for {mlp.n_out} outputs")
        changes["classes"] = options.classes
    if options.task is not None:
        changes["task"] = options.task
    if not mlp.input_shape:
        changes["input_shape"] = (mlp.n_in,)
    shape = tuple(mlp.input_shape) or (mlp.n_in,)
    if options.input_shape and math.prod(options.input_shape) != mlp.n_in:
        found = math.prod(options.input_shape)
        raise SpecError(f"input_shape {options.input_shape} holds {found} values, the model takes {mlp.n_in}")
    if options.mean or options.scale:
        mean = _per_input("mean", options.mean or (0.0,), shape, layout)
        scale = _per_input("scale", options.scale or (1.0,), shape, layout)
        mlp = fold_input_scaling(mlp, 1 / scale, -mean / scale)
        info["preprocessing"] = {"mean": list(options.mean), "scale": list(options.scale)}
    if options.layout and options.layout != layout:
        order, shape = _reordered(shape, layout, options.layout)
        mlp = replace(mlp, layers=_permuted(mlp.layers, order))
        changes["input_shape"] = shape
    if options.layout or len(shape) == 3:
        info["layout"] = options.layout or layout
    return replace(mlp, **changes, info=info)  # type: ignore[arg-type]


def _per_input(name: str, values: tuple[float, ...], shape: tuple[int, ...], layout: str) -> np.ndarray:
    """Return one value per input of the model: from one number, one per channel or one per value."""
    size = math.prod(shape)
    array = np.asarray(values, dtype=np.float64)
    channels = shape[0 if layout == "NCHW" else -1]
    if array.size == 1 or array.size == size:
        return np.broadcast_to(array, (size,))
    if len(shape) == 3 and array.size == channels:
        along = array[:, None, None] if layout == "NCHW" else array
        return np.broadcast_to(along, shape).reshape(-1)
    per_channel = f", {channels} (one per channel)" if len(shape) == 3 else ""
    raise SpecError(f"{name} holds {array.size} values, expected 1{per_channel} or {size} (one per input)")


def _reordered(shape: tuple[int, ...], have: str, want: str) -> tuple[np.ndarray, tuple[int, ...]]:
    """Return (order, shape): position of each of the user's values in the model's input, and the user's shape."""
    if len(shape) != 3:
        raise SpecError(f"layout {want!r} was given, but the model takes inputs of shape {shape}, not images")
    axes = (1, 2, 0) if want == "NHWC" else (2, 0, 1)
    index = np.arange(math.prod(shape)).reshape(shape).transpose(axes)
    return index.reshape(-1), index.shape


def _permuted(layers: tuple[Dense, ...], order: np.ndarray) -> tuple[Dense, ...]:
    def columns(weight: Weight) -> Weight:
        return sp.csr_array(weight[:, order]) if sp.issparse(weight) else np.ascontiguousarray(weight[:, order])

    return tuple(
        replace(
            layer,
            weight=columns(layer.weight) if i == 0 else layer.weight,
            skips=tuple(Skip(s.source, columns(s.weight)) if s.source == -1 else s for s in layer.skips),
        )
        for i, layer in enumerate(layers)
    )
