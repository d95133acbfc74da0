"""Trained networks that ship with the package: weights in 16 bits, which are the network, not a copy of it.

A network is rounded right after training and judged as rounded, so that shipping loses nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from converters.mlp import MLP, Dense
from neuro.errors import SpecError

Array = np.ndarray


def rounded(mlp: MLP) -> MLP:
    """Return the network with every weight rounded to the nearest 16-bit float, in 32 bits, and a short account of its training.

    Raises
    ------
    SpecError : a weight beyond the range of 16 bits (65,504).
    """
    for layer in mlp.layers:
        largest = max(float(np.abs(a).max(initial=0.0)) for a in (layer.weight, layer.bias) if isinstance(a, np.ndarray))
        if largest > float(np.finfo(np.float16).max):
            raise SpecError(f"a weight of {largest:g} does not fit 16 bits; scale the targets before training")
    return replace(_cast(mlp, lambda a: a.astype(np.float16).astype(np.float32)), info=_short(mlp.info))


def signed(mlp: MLP, name: str, seconds: float) -> MLP:
    """Return the network with the command that made it and what that took [s of processor time, all threads]."""
    return replace(mlp, info={**mlp.info, "made": {"name": name, "command": command(name), "seconds": round(seconds, 1)}})


def command(name: str) -> str:
    """Return the command that trains the network of that name again."""
    return f"spikeport workload {name.partition('-')[0]} --train --weights FOLDER"


def ship(mlp: MLP, path: Path) -> Path:
    """Save a rounded network in 16 bits a weight."""
    return _cast(mlp, lambda a: a.astype(np.float16)).save(path)


def shipped(name: str) -> MLP:
    """Return the network of that name that ships with the package.

    Raises
    ------
    SpecError : no such file; the command that makes it.
    """
    with resources.as_file(resources.files("experiments.workloads").joinpath("files", f"{name}.npz")) as path:
        if not path.is_file():
            workload = name.partition("-")[0]
            raise SpecError(f"no weights {name!r} ship with this package; train them: spikeport workload {workload} --train")
        return _cast(MLP.load(path), lambda a: a.astype(np.float32))


def _cast(mlp: MLP, how: Callable[[Array], Array]) -> MLP:
    return replace(mlp, layers=tuple(_layer(layer, how) for layer in mlp.layers))


def _layer(layer: Dense, how: Callable[[Array], Array]) -> Dense:
    recurrent = None if layer.recurrent is None else how(layer.recurrent)
    return replace(layer, weight=how(np.asarray(layer.weight)), bias=how(layer.bias), recurrent=recurrent)


def _short(info: Any) -> dict[str, Any]:
    """Keep settings and results of the training, not its learning curve."""
    training = {key: value for key, value in info.get("training", {}).items() if key != "history"}
    return {**{k: v for k, v in info.items() if k != "training"}, "training": training}
