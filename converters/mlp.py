"""MLP: a trained ReLU network as plain affine layers, and its own answers.

Convolutions, pooling, batch norm, flattening and residual additions are all
affine maps; they are held as (sparse) matrices, so that one kind of layer
covers them: z = W a + sum of skips + U h + b, a = activation(z).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp

from neuro import archive
from neuro.errors import SpecError, UnsupportedModelError, not_finite, problems
from neuro.network import Weight, get, put

FORMAT, VERSION = "spikeport.mlp", 1
Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Skip:
    """A residual connection: adds ``weight @ (output of layer source)``; source -1 is the input."""

    source: int
    weight: Weight


@dataclass(frozen=True, eq=False)
class Dense:
    """One affine layer with its activation.

    Parameters
    ----------
    weight : (n_out, n_in) float array or csr_array.
    bias : (n_out,) float array.
    activation : ``"relu"``, ``"qcfs"`` (ceiling * clip(floor(z levels / ceiling + 1/2) / levels, 0, 1)) or ``"identity"``.
    ceiling : upper limit of the ReLU (ReLU6: 6.0), or lambda of qcfs; infinity for a plain ReLU.
    levels : L of qcfs.
    recurrent : (n_out, n_out) array U of an Elman layer, z = W x + U h_prev + b; None for feed-forward.
    skips : residual connections that end here.
    channels : (n_out,) int array, the channel of each neuron of a convolution; None for a dense layer.
    name, kind : for reports: ``"dense"``, ``"conv2d"``, ...
    """

    weight: Weight
    bias: Array
    activation: Literal["relu", "qcfs", "identity"] = "relu"
    ceiling: float = float("inf")
    levels: int = 0
    recurrent: Array | None = None
    skips: tuple[Skip, ...] = ()
    channels: Array | None = None
    name: str = ""
    kind: str = "dense"

    @property
    def n_in(self) -> int:
        """Number of inputs."""
        return int(self.weight.shape[1])

    @property
    def n_out(self) -> int:
        """Number of neurons."""
        return int(self.weight.shape[0])

    @property
    def n_parameters(self) -> int:
        """Stored weights and biases (of a convolution: of the unrolled matrix)."""
        count = self.weight.nnz if sp.issparse(self.weight) else self.weight.size
        count += sum(s.weight.nnz if sp.issparse(s.weight) else s.weight.size for s in self.skips)
        return int(count) + self.bias.size + (0 if self.recurrent is None else self.recurrent.size)

    def activate(self, z: Array) -> Array:
        """Apply the activation."""
        if self.activation == "identity":
            return z
        if self.activation == "qcfs":
            steps = np.floor(z * (self.levels / self.ceiling) + 0.5)
            return np.clip(steps, 0, self.levels) * z.dtype.type(self.ceiling / self.levels)
        return np.clip(z, 0, None if np.isinf(self.ceiling) else self.ceiling)


@dataclass(frozen=True, eq=False)
class MLP:
    """A trained network: layers, and what its inputs and outputs mean.

    Parameters
    ----------
    layers : one or more; the last is the output, usually ``"identity"`` (logits).
    classes : names of the outputs; empty when unnamed.
    task : ``"classification"`` or ``"regression"``.
    input_shape : shape of one sample before flattening, e.g. (28, 28) or (1, 28, 28); documentation only.
    info : where it came from (file, framework, training settings, SHA-256 of the source).

    Raises
    ------
    UnsupportedModelError : every disagreement of shapes and every NaN, at once.
    """

    layers: tuple[Dense, ...]
    classes: tuple[str, ...] = ()
    task: Literal["classification", "regression"] = "classification"
    input_shape: tuple[int, ...] = ()
    info: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        causes = _contradictions(self.layers)
        if causes:
            raise UnsupportedModelError(problems("the network cannot be used:", causes))

    @property
    def n_in(self) -> int:
        """Number of input values."""
        return self.layers[0].n_in

    @property
    def n_out(self) -> int:
        """Number of outputs."""
        return self.layers[-1].n_out

    @property
    def sizes(self) -> tuple[int, ...]:
        """Widths, input first: (784, 1200, 1200, 10)."""
        return (self.n_in, *(layer.n_out for layer in self.layers))

    @property
    def recurrent(self) -> bool:
        """Whether a layer feeds back on itself."""
        return any(layer.recurrent is not None for layer in self.layers)

    def activations(self, x: Array) -> list[Array]:
        """Return the output of every layer for x (n_samples, n_in), or (n_samples, n_seq, n_in) of a recurrent network.

        A recurrent network returns (n_samples, n_seq, n_out) for every layer, hidden states starting at zero.
        """
        x = check_inputs(x, self)
        if not self.recurrent:
            return self._pass(x, None)
        states: list[Array | None] = [None] * len(self.layers)
        steps = []
        for position in range(x.shape[1]):
            outputs = self._pass(x[:, position], states)
            states = list(outputs)
            steps.append(outputs)
        return [np.stack([step[i] for step in steps], axis=1) for i in range(len(self.layers))]

    def _pass(self, x: Array, states: Sequence[Array | None] | None) -> list[Array]:
        values = [x]
        for index, layer in enumerate(self.layers):
            z = affine(values[-1], layer.weight) + layer.bias.astype(x.dtype, copy=False)
            for skip in layer.skips:
                z = z + affine(values[skip.source + 1], skip.weight)
            if layer.recurrent is not None and states is not None and states[index] is not None:
                z = z + affine(states[index], layer.recurrent)  # type: ignore[arg-type]
            values.append(layer.activate(z))
        return values[1:]

    def forward(self, x: Array, batch: int = 1000) -> Array:
        """Return the outputs (logits), (n_samples, n_out), streamed in batches; of a recurrent network at its last input."""
        x = np.asarray(x)
        parts = []
        for first in range(0, len(x), batch):
            out = self.activations(x[first : first + batch])[-1]
            parts.append(out[:, -1] if self.recurrent else out)
        return np.concatenate(parts) if parts else np.empty((0, self.n_out))

    def predict(self, x: Array) -> Array:
        """Return the index of the largest output, (n_samples,) int."""
        return np.argmax(self.forward(x), axis=1)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of layers and weights."""
        return archive.fingerprint(*_pack(self))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Save as ``.npz`` (no pickle)."""
        header, arrays = _pack(self)
        return archive.save(path, FORMAT, VERSION, header, arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> MLP:
        """Load what :meth:`save` wrote."""
        header, arrays = archive.load(path, FORMAT, VERSION)
        return unpack(header, arrays)


def affine(x: Array, weight: Weight) -> Array:
    """Return x W^T for a dense or sparse weight, in the type of x."""
    if sp.issparse(weight):
        return np.asarray((weight.astype(x.dtype, copy=False) @ x.T).T)
    return x @ np.asarray(weight).T.astype(x.dtype, copy=False)


def check_inputs(x: Array, mlp: MLP, first: int = 0) -> Array:
    """Return x as a float array of the network's shape, or raise SpecError naming what was found; ``first``: index of x[0]."""
    x = np.asarray(x)
    if not np.issubdtype(x.dtype, np.floating):
        x = x.astype(np.float32)
    dims = 3 if mlp.recurrent else 2
    if x.ndim > dims or (x.ndim == 2 and mlp.recurrent):
        x = x.reshape(*x.shape[: dims - 1], -1)
    if x.ndim != dims or x.shape[-1] != mlp.n_in:
        expected = f"(n_samples, n_seq, {mlp.n_in})" if mlp.recurrent else f"(n_samples, {mlp.n_in})"
        raise SpecError(f"inputs have shape {x.shape}, expected {expected}")
    if where := not_finite(x, first):
        raise SpecError(f"inputs hold NaN or infinity, the first in {where}; clean them first")
    return x


def _contradictions(layers: Sequence[Dense]) -> list[str]:
    if not layers:
        return ["it has no layers"]
    causes = []
    widths = [layers[0].n_in]
    for i, layer in enumerate(layers):
        where = f"layer {i}" + (f" ({layer.name})" if layer.name else "")
        if layer.weight.ndim != 2:
            causes.append(f"{where}: weight has {layer.weight.ndim} axes, expected 2 (n_out, n_in)")
            return causes
        if layer.n_in != widths[-1]:
            causes.append(f"{where}: takes {layer.n_in} inputs, the layer below gives {widths[-1]}")
        if layer.bias.shape != (layer.n_out,):
            causes.append(f"{where}: bias has shape {layer.bias.shape}, expected ({layer.n_out},)")
        values = layer.weight.data if sp.issparse(layer.weight) else layer.weight
        causes += [
            f"{where}: {what} holds NaN or infinity"
            for what, array in (("weight", values), ("bias", layer.bias), ("recurrent weight", layer.recurrent))
            if array is not None and not np.isfinite(array).all()
        ]
        if layer.activation not in ("relu", "qcfs", "identity"):
            causes.append(f"{where}: activation {layer.activation!r}, expected 'relu', 'qcfs' or 'identity'; retrain with one of them")
        if layer.activation == "qcfs" and not (layer.levels >= 1 and np.isfinite(layer.ceiling)):
            causes.append(f"{where}: qcfs needs levels >= 1 and a finite ceiling")
        if layer.activation == "identity" and i < len(layers) - 1:
            causes.append(f"{where}: a hidden layer without ReLU; fold it into the next one (converters.fold)")
        if layer.recurrent is not None and layer.recurrent.shape != (layer.n_out, layer.n_out):
            causes.append(
                f"{where}: recurrent weight has shape {layer.recurrent.shape}, expected ({layer.n_out}, {layer.n_out})"
            )
        widths.append(layer.n_out)
        for skip in layer.skips:
            if not -1 <= skip.source < i:
                causes.append(f"{where}: skip from layer {skip.source}, which does not come before it")
            elif tuple(skip.weight.shape) != (layer.n_out, widths[skip.source + 1]):
                causes.append(
                    f"{where}: skip weight has shape {tuple(skip.weight.shape)}, "
                    f"expected ({layer.n_out}, {widths[skip.source + 1]})"
                )
    return causes


def _pack(mlp: MLP) -> tuple[dict[str, Any], dict[str, Array]]:
    arrays: dict[str, Array] = {}
    layers = []
    for i, layer in enumerate(mlp.layers):
        key = f"layer{i}"
        layers.append(
            {
                "weight": put(arrays, f"{key}.weight", layer.weight),
                "bias": put(arrays, f"{key}.bias", layer.bias),
                "activation": layer.activation,
                "ceiling": None if np.isinf(layer.ceiling) else float(layer.ceiling),
                "levels": layer.levels,
                "recurrent": put(arrays, f"{key}.recurrent", layer.recurrent),
                "channels": put(arrays, f"{key}.channels", layer.channels),
                "skips": [
                    {"source": s.source, "weight": put(arrays, f"{key}.skip{k}", s.weight)}
                    for k, s in enumerate(layer.skips)
                ],
                "name": layer.name,
                "kind": layer.kind,
            }
        )
    header = {
        "layers": layers,
        "classes": list(mlp.classes),
        "task": mlp.task,
        "input_shape": list(mlp.input_shape),
        "info": dict(mlp.info),
    }
    return header, arrays


def unpack(header: Mapping[str, Any], arrays: Mapping[str, Array]) -> MLP:
    """Return the network of a header and arrays that :meth:`MLP.save` wrote; raise UnsupportedModelError where they are damaged."""
    try:
        layers = []
        for packed in header["layers"]:
            values = {name: get(arrays, value) for name, value in packed.items()}
            values["ceiling"] = float("inf") if values["ceiling"] is None else values["ceiling"]
            values["skips"] = tuple(Skip(s["source"], get(arrays, s["weight"])) for s in values["skips"])
            layers.append(Dense(**values))
        return MLP(
            layers=tuple(layers),
            classes=tuple(header["classes"]),
            task=header["task"],
            input_shape=tuple(header["input_shape"]),
            info=header["info"],
        )
    except (KeyError, TypeError) as error:
        raise UnsupportedModelError(f"the saved network is incomplete or damaged: {error}") from error


__all__ = ["MLP", "Dense", "Skip", "affine", "check_inputs", "replace"]
