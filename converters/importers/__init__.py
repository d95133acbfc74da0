"""Readers of trained networks: one importer per format, chosen by suffix or type of object.

No importer runs code from a file: there is no pickle, no lambda layer, no custom object.
Frameworks are imported only inside the functions that need them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.mlp import MLP
from neuro.errors import SpecError, UnsupportedModelError, nearest
from neuro.network import SpikingNetwork

from . import check
from .from_keras import from_keras
from .from_nir import from_nir
from .from_npz import from_npz
from .from_onnx import from_onnx
from .from_sklearn import from_sklearn
from .from_torch import from_torch
from .options import LoadOptions


@dataclass(frozen=True)
class Importer:
    """One format: what it is called, which files and objects it takes, and the function that reads them.

    Parameters
    ----------
    read : ``read(source, options, samples) -> MLP``; of NIR ``-> SpikingNetwork``.
    suffixes : of files, lower case.
    types : full names of classes; an object is taken when its class or a base class is among them.
    extra : the pip extra that brings the packages it needs; empty for none.
    summary : one line for listings.
    """

    name: str
    read: Callable[..., Any]
    suffixes: tuple[str, ...]
    types: tuple[str, ...]
    extra: str
    summary: str


IMPORTERS: dict[str, Importer] = {
    "npz": Importer("npz", from_npz, (".npz",), ("builtins.dict",), "", "saved networks, and arrays W0, b0, W1, b1, ..."),
    "onnx": Importer("onnx", from_onnx, (".onnx",), ("onnx.onnx_ml_pb2.ModelProto",), "onnx", "ONNX models"),
    "keras": Importer(
        "keras",
        from_keras,
        (".keras",),
        ("keras.src.models.model.Model",),
        "keras",
        "Keras 3 Sequential and Functional models",
    ),
    "sklearn": Importer(
        "sklearn",
        from_sklearn,
        (".skops",),
        ("sklearn.base.BaseEstimator",),
        "sklearn",
        "scikit-learn MLPClassifier, MLPRegressor, and Pipelines that end in one",
    ),
    "torch": Importer(
        "torch",
        from_torch,
        (".pt2", ".pt", ".pth"),
        ("torch.nn.modules.module.Module", "torch.export.exported_program.ExportedProgram"),
        "torch",
        "PyTorch modules, exported programs, state_dict files",
    ),
    "nir": Importer(
        "nir", from_nir, (".nir",), ("nir.ir.graph.NIRGraph",), "nir", "NIR graphs: spiking networks already, to run or deploy"
    ),
}


# Files that people have and that are not read, and what to save instead.
ELSEWHERE = {
    ".h5": "save the model again with Keras 3 as .keras",
    ".hdf5": "save the model again with Keras 3 as .keras",
    ".joblib": "a pickle runs code when it is read; save the estimator with skops as .skops, or give the object itself",
    ".pb": "export the model as ONNX (tf2onnx)",
    ".pickle": "a pickle runs code when it is read; save the estimator with skops as .skops, or give the object itself",
    ".pkl": "a pickle runs code when it is read; save the estimator with skops as .skops, or give the object itself",
    ".safetensors": "it holds weights without their operations; export the model with torch.export.save or as ONNX",
    ".tflite": "it holds quantised operations; export the float model as ONNX or .keras",
}


def load(source: Any, *, options: LoadOptions = LoadOptions(), samples: Any = None) -> MLP | SpikingNetwork:  # noqa: B008 (frozen)
    """Return the network of a file or of an object of a framework: a trained one, or of NIR a spiking one.

    ``load_mlp`` and ``load_network`` return one kind and refuse the other.

    Parameters
    ----------
    source : path, or object that an importer knows (a torch module, a scikit-learn estimator, a NIR graph, ...).
    options : what the source does not say itself, see :class:`LoadOptions`.
    samples : (n_samples, ...) inputs on which to compare the result with its source, besides random ones.

    Returns
    -------
    MLP : for :func:`converters.convert`.
    SpikingNetwork : of a NIR graph; there is nothing to convert, it runs (``neuro.simulate``) and deploys as it is.

    Raises
    ------
    UnsupportedModelError : the source cannot be read; every node, layer or entry in the way is named.
    VerificationError : the loaded network does not compute what its source computes.
    SpecError : options that do not fit the model.
    """
    if isinstance(source, MLP | SpikingNetwork):
        return source
    loaded = importer_of(source).read(source, options, samples)
    judged = loaded.info.get("verification", {}) if isinstance(loaded, MLP) else {}
    if samples is not None and not judged.get("samples"):
        why = judged.get("judge", "nothing: it is a spiking network")
        raise SpecError(
            f"{_label(source)}: samples were given, but they were compared with {why}; leave them out, or give stored outputs (check)"
        )
    return check.against_file(loaded, options.check, options) if options.check and isinstance(loaded, MLP) else loaded


def load_mlp(source: Any, *, options: LoadOptions = LoadOptions(), samples: Any = None) -> MLP:  # noqa: B008 (frozen)
    """Return the trained network of a source; everything else as :func:`load`.

    Raises
    ------
    UnsupportedModelError : also a spiking network, which is past conversion.
    """
    loaded = load(source, options=options, samples=samples)
    if isinstance(loaded, SpikingNetwork):
        raise UnsupportedModelError(
            f"{_label(source)}: a spiking network already, there is nothing to convert; 'spikeport run', 'deploy' and 'export' take it, "
            "and so does neuro.simulate"
        )
    return loaded


def load_network(source: Any, *, options: LoadOptions = LoadOptions()) -> SpikingNetwork:  # noqa: B008 (frozen)
    """Return the spiking network of a NIR file or graph; everything else as :func:`load`.

    Raises
    ------
    UnsupportedModelError : also a trained network, which is yet to be converted.
    """
    loaded = load(source, options=options)
    if isinstance(loaded, MLP):
        raise UnsupportedModelError(f"{_label(source)}: a trained network, not a spiking one; convert it first")
    return loaded


def importer_of(source: Any) -> Importer:
    """Return the importer for a path (by suffix) or an object (by its classes)."""
    if isinstance(source, str | os.PathLike):
        suffix = Path(source).suffix.lower()
        for importer in IMPORTERS.values():
            if suffix in importer.suffixes:
                return importer
        if suffix in ELSEWHERE:
            raise UnsupportedModelError(f"{source}: {suffix} files are not read; {ELSEWHERE[suffix]}")
        known = [s for importer in IMPORTERS.values() for s in importer.suffixes]
        raise UnsupportedModelError(f"{source}: no importer for {suffix!r} files{nearest(suffix, known)}")
    classes = [f"{c.__module__}.{c.__qualname__}" for c in type(source).__mro__]
    for importer in IMPORTERS.values():
        if any(name in importer.types for name in classes):
            return importer
    raise UnsupportedModelError(
        f"no importer for an object of type {classes[0]}; known are " + ", ".join(f"{i.name} ({i.summary})" for i in IMPORTERS.values())
    )


def _label(source: Any) -> str:
    return str(source) if isinstance(source, str | os.PathLike) else type(source).__name__


__all__ = ["IMPORTERS", "Importer", "LoadOptions", "importer_of", "load", "load_mlp", "load_network"]
