"""Read our own saved networks, and plain arrays W0, b0, W1, b1, ... of a ReLU network."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from converters import mlp as mlp_module
from converters.mlp import MLP, Dense
from neuro import archive
from neuro.errors import UnsupportedModelError, problems

from . import check
from .options import LoadOptions
from .preprocess import finish
from .safe import existing, guarded, open_zip, parse_json, read_entry, read_npy

SPIKING = {
    "spikeport.network": "a spiking network; read it with neuro.SpikingNetwork.load, or give its trained source",
    "spikeport.deployment": "a deployment, which is past conversion; give its trained source",
    "spikeport.recording": "a recording of a simulation; give the trained network",
}
NAME = re.compile(r"([Wb])(\d{1,4})")
CHECKS = ("check_x", "check_y")


def from_npz(source: str | os.PathLike[str] | Mapping[str, np.ndarray], options: LoadOptions, samples: Any = None) -> MLP:
    """Return the network of an ``.npz`` file or of a mapping of arrays.

    A file written by ``MLP.save`` is read as it is. Any other must hold W0, b0, W1, b1, ...: weight matrices
    and biases of dense layers with ReLU between them and a linear output; without any b the layers have none.
    Single numbers beside them are kept as notes.
    ``check_x`` (n_samples, n_in) and ``check_y`` (n_samples, n_out), where present, are compared with the result.

    Raises
    ------
    UnsupportedModelError : everything that does not fit, at once; orientation that cannot be told from the shapes.
    """
    if isinstance(source, Mapping):
        return _from_arrays("the arrays", {str(k): np.asarray(v) for k, v in source.items()}, options, samples)
    file = existing(source)
    with open_zip(file, ".npz archive", options) as entries:
        ours = archive.HEADER in entries.namelist()
        if not ours:
            arrays = _read(file, entries)
    if ours:
        return _ours(file, options)
    return _from_arrays(str(file), arrays, options, samples)


def _ours(file: Path, options: LoadOptions) -> MLP:
    with guarded(str(file), "saved network"), open_zip(file, ".npz archive", options) as entries:
        header = parse_json(f"{file}: {archive.HEADER}", read_entry(entries, archive.HEADER))
        if not isinstance(header, dict):
            raise UnsupportedModelError(f"{file}: {archive.HEADER} holds a {type(header).__name__}, expected a table")
        found, version = header.get("format"), header.get("version")
        if found != mlp_module.FORMAT:
            what = SPIKING.get(found, f"a file of the format {found!r:.40}") if isinstance(found, str) else "a header without a format"
            raise UnsupportedModelError(f"{file}: {what}; expected a trained network ({mlp_module.FORMAT!r})")
        if version != mlp_module.VERSION:
            raise UnsupportedModelError(f"{file}: version {version!r:.40}, this release reads {mlp_module.VERSION}; make it again")
        mlp = mlp_module.unpack(header, _read(file, entries, {archive.HEADER}))
        for layer in mlp.layers:
            for weight in (layer.weight, *(s.weight for s in layer.skips)):
                if sp.issparse(weight):
                    # Out-of-range indices of a damaged file would be read without a check by SciPy's products.
                    weight.check_format(full_check=True)
    return finish(mlp, options)


def _read(file: Path, entries: Any, others: Collection[str] = ()) -> dict[str, np.ndarray]:
    arrays, causes = {}, []
    for name in entries.namelist():
        if name in others:
            continue
        if not name.endswith(".npy"):
            causes.append(f"{name}: not an array")
            continue
        try:
            arrays[name[:-4]] = read_npy(name, read_entry(entries, name))
        except UnsupportedModelError as error:
            causes.append(str(error))
    if causes:
        raise UnsupportedModelError(problems(f"{file}: entries that cannot be read:", causes))
    return arrays


def _from_arrays(where: str, arrays: dict[str, np.ndarray], options: LoadOptions, samples: Any) -> MLP:
    causes: list[str] = []
    weights: dict[int, np.ndarray] = {}
    biases: dict[int, np.ndarray] = {}
    notes: dict[str, Any] = {}
    for name, array in sorted(arrays.items()):
        match = NAME.fullmatch(name)
        if name in CHECKS:
            continue
        if array.ndim == 0 and array.dtype.kind in "biufU":
            notes[name] = array.item()  # a figure kept beside the weights, such as an accuracy
            continue
        if match is None:
            causes.append(f"{name}: unknown array; expected W0, b0, W1, b1, ... and optionally check_x, check_y")
            continue
        kind, index = match.group(1), int(match.group(2))
        axes = 2 if kind == "W" else 1
        if array.ndim != axes or 0 in array.shape:
            causes.append(f"{name}: shape {array.shape}, expected {axes} non-empty ax{'es' if axes == 2 else 'is'}")
        elif not np.issubdtype(array.dtype, np.floating):
            causes.append(f"{name}: {array.dtype} values; quantised or integer weights must be given as floats")
        elif index in (weights if kind == "W" else biases):
            causes.append(f"{name}: layer {index} is given twice")
        else:
            (weights if kind == "W" else biases)[index] = array
    n_layers = max([*weights, *biases], default=-1) + 1
    if not causes:
        causes += [f"W{i}: missing" for i in range(n_layers) if i not in weights]
        causes += [f"b{i}: missing, though other layers have a bias" for i in range(n_layers) if biases and i not in biases]
    if not n_layers and not causes:
        causes.append("no W0: the file holds no weights")
    if causes:
        raise UnsupportedModelError(problems(f"{where}: not a plain ReLU network:", causes))
    matrices = [weights[i] for i in range(n_layers)]
    vectors = [biases.get(i) for i in range(n_layers)]
    transpose = _orientation(where, matrices, vectors, options) == "in_out"
    layers = []
    for i, (matrix, vector) in enumerate(zip(matrices, vectors, strict=True)):
        kind = np.float64 if matrix.dtype.itemsize > 4 else np.float32
        weight = np.ascontiguousarray(matrix.T if transpose else matrix, dtype=kind)
        last = i == n_layers - 1
        bias = np.zeros(len(weight), kind) if vector is None else np.array(vector, dtype=kind)
        layers.append(Dense(weight, bias, "identity" if last else "relu", name=f"W{i}"))
    mlp = MLP(
        tuple(layers),
        input_shape=(layers[0].n_in,),
        info={"importer": "npz", "source": Path(where).name, "notes": notes},
    )
    if set(CHECKS) <= set(arrays) and options.verify:
        mlp = check.against_stored(mlp, arrays["check_x"], arrays["check_y"])
    elif any(name in arrays for name in CHECKS) and options.verify:
        raise UnsupportedModelError(f"{where}: check_x and check_y belong together, only one is there")
    if not mlp.info.get("verification"):
        mlp = check.unjudged(mlp, "nothing: the file holds no check_x and check_y" if options.verify else "nothing: verify=False")
    return finish(mlp, options, takes="orientation")


def _orientation(where: str, matrices: list[np.ndarray], vectors: list[np.ndarray | None], options: LoadOptions) -> str:
    """Return "in_out" or "out_in": the one that agrees with every shape."""
    fits = {}
    for name, axis_in, axis_out in (("in_out", 0, 1), ("out_in", 1, 0)):
        causes = [
            f"W{i} {a.shape} gives {a.shape[axis_out]} values, W{i + 1} {b.shape} takes {b.shape[axis_in]}"
            for i, (a, b) in enumerate(zip(matrices, matrices[1:], strict=False))
            if a.shape[axis_out] != b.shape[axis_in]
        ]
        causes += [
            f"b{i} has {v.size} values, W{i} {m.shape} has {m.shape[axis_out]} neurons"
            for i, (m, v) in enumerate(zip(matrices, vectors, strict=True))
            if v is not None and v.size != m.shape[axis_out]
        ]
        fits[name] = causes
    if options.orientation != "auto":
        if fits[options.orientation]:
            what = f"{where}: with orientation {options.orientation!r} the layers do not fit together:"
            raise UnsupportedModelError(problems(what, fits[options.orientation]))
        return options.orientation
    good = [name for name, causes in fits.items() if not causes]
    if len(good) == 2:
        raise UnsupportedModelError(
            f"{where}: the shapes allow W as (n_in, n_out) and as (n_out, n_in); "
            "say which with orientation='in_out' or orientation='out_in'"
        )
    if not good:
        causes = [f"as {name}: {cause}" for name, found in fits.items() for cause in found]
        raise UnsupportedModelError(problems(f"{where}: the layers do not fit together either way:", causes))
    return good[0]
