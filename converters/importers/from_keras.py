"""Read Keras 3 models: ``.keras`` files without Keras (zip, JSON, HDF5), and Keras objects.

No layer is built by Keras while a file is read; layers that hold code (Lambda, custom objects) are refused. Where Keras
can be imported, the result is compared with a model that Keras builds from the settings we have read and nothing else.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from converters.mlp import MLP
from neuro.errors import UnsupportedModelError

from . import check
from .hdf5 import read_hdf5
from .keras_layers import Layers, translate
from .lower import lower
from .options import LoadOptions
from .preprocess import finish
from .safe import existing, guarded, open_zip, parse_json, read_entry

FILES = ("metadata.json", "config.json", "model.weights.h5")


def from_keras(source: str | os.PathLike[str] | Any, options: LoadOptions, samples: Any = None) -> MLP:
    """Return the network of a ``.keras`` file or of a Sequential or Functional model.

    Raises
    ------
    UnsupportedModelError : every layer that cannot be taken, by name and class; settings and weights nobody reads.
    """
    if isinstance(source, str | os.PathLike):
        return _from_file(existing(source), str(source), options, samples)
    where = f"the Keras model {getattr(source, 'name', type(source).__name__)!r}"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.keras"
        try:
            source.save(file)
        except Exception as error:  # Keras raises almost anything for models it cannot describe
            raise UnsupportedModelError(f"{where}: Keras cannot save it ({error})") from error
        return _from_file(file, where, options, samples)


def _from_file(file: Path, where: str, options: LoadOptions, samples: Any) -> MLP:
    with open_zip(file, ".keras archive", options) as archive:
        missing = sorted(set(FILES) - set(archive.namelist()))
        if missing:
            raise UnsupportedModelError(f"{where}: not a .keras archive, it lacks {', '.join(missing)}")
        metadata, config = (parse_json(f"{where}: {name}", read_entry(archive, name)) for name in FILES[:2])
        data = read_entry(archive, FILES[2])
    with guarded(where, ".keras archive"):
        version = str(metadata["keras_version"])
        if version.split(".")[0] != "3":
            raise UnsupportedModelError(f"{where}: written by Keras {version}; save it again with Keras 3")
        weights, names = read_hdf5(f"{where}: {FILES[2]}", data, options, "keras")
        arrays = {path: value for path, value in weights.items() if isinstance(value, np.ndarray)}
        layers = translate(config, arrays, names, options)
        lowered = lower(layers.graph, where, options)
        mlp = lowered.mlp
        if options.verify:
            mlp = _verified(mlp, layers, lowered.tensors, samples)
        else:
            mlp = check.unjudged(mlp, "nothing: verify=False")
    return finish(mlp, options, layers.graph.layout)


def _verified(mlp: MLP, layers: Layers, tensors: tuple[str, ...], samples: Any) -> MLP:
    try:
        import keras
    except Exception as error:  # Keras without a back end raises what that back end raises
        return check.unjudged(mlp, f"nothing: Keras cannot be imported ({type(error).__name__})")
    model = keras.saving.deserialize_keras_object(json.loads(json.dumps(layers.clean)))
    for path, arrays in layers.weights.items():
        _layer(model, path).set_weights(arrays)
    operations = {operation.name: operation for operation in getattr(model, "operations", model.layers)}
    outputs = {}
    for tensor in tensors:
        owner = layers.outputs.get(tensor)
        if owner is not None and len(owner) == 1:
            outputs[tensor] = operations[owner[0]].output
    if tensors[-1] in (layers.graph.output, f"{layers.graph.output}/linear"):
        outputs.setdefault(tensors[-1], model.outputs[0])  # of a model inside, whose own tensors the outer one does not have
    if tensors[-1] not in outputs:
        return check.unjudged(mlp, "nothing: the output lies before a softmax inside an inner model")
    probe = keras.Model(model.inputs, list(outputs.values()))

    def values(x: np.ndarray) -> dict[str, np.ndarray]:
        results = probe.predict(x, verbose=0, batch_size=len(x))
        return dict(zip(outputs, results if isinstance(results, list | tuple) else [results], strict=True))

    judge = f"keras {keras.__version__} ({keras.backend.backend()})"
    return check.against_source(mlp, values, tensors, judge, layers.graph.input_shape, samples)


def _layer(model: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        model = model.get_layer(name)
    return model
