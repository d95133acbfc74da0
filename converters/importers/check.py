"""Does the loaded network compute what its source computes? Compared layer by layer on samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from converters.mlp import MLP
from neuro.errors import SpecError, UnsupportedModelError, VerificationError, problems

from .options import LoadOptions
from .safe import existing, open_zip, read_entry, read_npy

# Relative to the largest value of the layer on the samples; float32 sums of a thousand terms differ by less.
TOLERANCE = 1e-5
N_SAMPLES = 16
MAX_VALUES = 1 << 23  # of all layers and samples together, so that a wide network is checked on fewer samples

Runner = Callable[[np.ndarray], Mapping[str, np.ndarray]]


def against_source(mlp: MLP, run: Runner, tensors: Sequence[str], judge: str, shape: tuple[int, ...], samples: Any = None) -> MLP:
    """Compare every layer with the source's tensor of that name; return the network with the result in its info.

    Parameters
    ----------
    run : returns {tensor name: (n_samples, ...) array} of the source for inputs (n_samples, *shape).
    tensors : name of the source's tensor for each layer; only the last one, the output, has to be there.
    judge : what ran the source, with its version.
    samples : (n_samples, ...) inputs, as the source takes them, to add to the random ones.

    Raises
    ------
    VerificationError : a layer differs by more than 1e-5 of its largest value; every such layer is named.
    SpecError : samples that do not fit the network.
    """
    most = max(1, MAX_VALUES // sum(mlp.sizes))
    x = random_inputs(mlp.n_in, min(N_SAMPLES, most))
    if samples is not None:
        given = np.asarray(samples, dtype=np.float32)
        if not given.ndim or not len(given) or given.size // len(given) != mlp.n_in:
            raise SpecError(f"samples have shape {given.shape}, expected (n_samples, {mlp.n_in})")
        x = np.concatenate([x, given.reshape(len(given), -1)])
    source = run(x.reshape(len(x), *shape))
    if tensors[-1] not in source:
        raise VerificationError(
            f"{judge} gives no tensor {tensors[-1]!r}, so the output cannot be compared; load with verify=False to go without"
        )
    with np.errstate(over="ignore", invalid="ignore"):  # said below, where it happens
        values = mlp.activations(x.astype(mlp.layers[0].weight.dtype))
    differences = {}
    for index, (name, value) in enumerate(zip(tensors, values, strict=True)):
        if name and name in source:
            label = mlp.layers[index].name or f"layer {index}"
            differences[f"{index} {label}"] = difference(value, np.asarray(source[name]))
    return _judged(mlp, differences, judge, len(x))


def against_stored(mlp: MLP, x: np.ndarray, y: np.ndarray) -> MLP:
    """Compare the outputs with stored ones; return the network with the result in its info.

    x : (n_samples, ...) inputs as the network takes them, y : (n_samples, n_out) outputs, before any softmax.
    """
    if x.ndim < 2 or len(x) != len(y) or not len(x) or {x.dtype.kind, y.dtype.kind} - set("fiu"):
        raise SpecError(f"check_x {x.dtype} {x.shape} and check_y {y.dtype} {y.shape} must be numbers of as many samples")
    outputs = mlp.forward(x.reshape(len(x), -1).astype(np.float64))
    return _judged(mlp, {"output": difference(outputs, y)}, "stored outputs", len(x))


def against_file(mlp: MLP, path: str, options: LoadOptions) -> MLP:
    """Compare the outputs with ``check_x`` and ``check_y`` of an ``.npz`` file; return the network with the result in its info."""
    file = existing(Path(path))
    with open_zip(file, ".npz archive", options) as archive:
        missing = [name for name in ("check_x.npy", "check_y.npy") if name not in archive.namelist()]
        if missing:
            raise UnsupportedModelError(
                f"{file}: holds no {' and no '.join(missing)}; save it with numpy.savez(file, check_x=..., check_y=...)"
            )
        x, y = (read_npy(f"{file}: {name}", read_entry(archive, name)) for name in ("check_x.npy", "check_y.npy"))
    return against_stored(mlp, x, y)


def unjudged(mlp: MLP, reason: str) -> MLP:
    """Return the network with a note of why nothing could compare it with its source."""
    return replace(mlp, info={**mlp.info, "verification": {"judge": reason, "samples": 0, "largest_difference": {}}})


def random_inputs(n_in: int, n_samples: int = N_SAMPLES) -> np.ndarray:
    """Return seeded inputs: half of them in [0, 1], half normal."""
    rng = np.random.default_rng(20_011)
    half = n_samples // 2
    parts = [rng.random((half, n_in), dtype=np.float32), rng.standard_normal((n_samples - half, n_in), dtype=np.float32)]
    return np.concatenate(parts)


def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return max|a - b| / max|b|; infinity where the shapes differ, NaN where b is not finite."""
    theirs = theirs.reshape(len(theirs), -1)
    if ours.shape != theirs.shape:
        return float("inf")
    if not np.isfinite(theirs).all():
        return float("nan")
    scale = float(np.abs(theirs).max(initial=0.0))
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.abs(ours - theirs).max(initial=0.0)) / (scale or 1.0)


def _said(found: float) -> str:
    if np.isnan(found):
        return "the source gives values that are not finite; its weights are too large for its data type"
    return "has another shape" if np.isinf(found) else f"differs by {found:.2g} of its largest value"


def _judged(mlp: MLP, differences: dict[str, float], judge: str, n_samples: int) -> MLP:
    causes = [f"layer {name}: {_said(d)}" for name, d in differences.items() if not d <= TOLERANCE]
    if causes:
        raise VerificationError(
            problems(
                f"the loaded network does not compute what its source computes ({judge}, tolerance {TOLERANCE:g}):",
                causes,
            )
        )
    before = mlp.info.get("verification", {})
    if before.get("samples"):
        # Compared before, by another judge: both results are kept.
        judge, n_samples = f"{before['judge']}, and {judge}", before["samples"] + n_samples
        differences = {**before["largest_difference"], **differences}
    result = {"judge": judge, "samples": n_samples, "tolerance": TOLERANCE, "largest_difference": differences}
    return replace(mlp, info={**mlp.info, "verification": result})
