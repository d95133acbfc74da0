"""Read ONNX models: bounded parsing, weights as arrays, and comparison with ONNX Runtime."""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from converters.mlp import MLP
from neuro.errors import UnsupportedModelError, problems

from . import check
from .graph import Graph
from .lower import MAX_NODES, lower
from .onnx_nodes import translate
from .options import MEGABYTE, LoadOptions
from .preprocess import finish
from .require import require
from .safe import confined, existing, guarded

OLDEST_OPSET, NEWEST_OPSET = 9, 28
SKELETON_IR = 8  # of the model that is run for comparison; runtimes refuse newer ones whatever they hold
DTYPES = {
    1: "<f4",
    2: "u1",
    3: "i1",
    4: "<u2",
    5: "<i2",
    6: "<i4",
    7: "<i8",
    9: "?",
    10: "<f2",
    11: "<f8",
    12: "<u4",
    13: "<u8",
}
# Fields of TensorProto that hold values when raw_data does not, by data type.
TYPED_FIELDS = {1: "float_data", 11: "double_data", 7: "int64_data", 6: "int32_data", 9: "int32_data", 2: "int32_data"}


def from_onnx(source: str | os.PathLike[str] | Any, options: LoadOptions, samples: Any = None) -> MLP:
    """Return the network of an ``.onnx`` file or a ``ModelProto``.

    Weights may be initialisers, Constant nodes or external data beside the file. The result is compared with
    ONNX Runtime, or with the reference evaluator of the onnx package where that is not installed.

    Raises
    ------
    UnsupportedModelError : every node that cannot be taken, by number, type and name; weights nobody reads.
    """
    onnx = require("onnx", "onnx", "ONNX models")
    if isinstance(source, str | os.PathLike):
        file = existing(source)
        where, folder = str(file), file.parent
        model = _parse(onnx, file, options)
    else:
        where, folder, model = "the ONNX model", None, source
    with guarded(where, "ONNX model"):
        causes = _refusals(model)
        if causes:
            raise UnsupportedModelError(problems(f"{where} cannot be read:", causes, "Nothing was loaded."))
        constants = {t.name: _Tensor(onnx, t, folder) for t in model.graph.initializer}
        graph = translate(model.graph, constants, _Tensor.reader(onnx, folder), options)
        lowered = lower(graph, where, options)
        mlp = lowered.mlp
        if options.verify:
            skeleton = _skeleton(onnx, model, lowered.tensors)
            weights = {name: tensor.array() for name, tensor in constants.items()}
            del model
            run, judge = _runner(onnx, skeleton, weights, graph)
            mlp = check.against_source(mlp, run, lowered.tensors, judge, graph.input_shape, samples)
        else:
            mlp = check.unjudged(mlp, "nothing: verify=False")
    return finish(mlp, options, graph.layout)


def _parse(onnx: Any, file: Path, options: LoadOptions) -> Any:
    size = file.stat().st_size
    if size > min(options.max_bytes, (1 << 31) - 1):
        raise UnsupportedModelError(f"{file}: {size / MEGABYTE:,.0f} MB, an ONNX file is at most 2,047 MB and max_bytes")
    if size == 0:
        raise UnsupportedModelError(f"{file}: empty, not an ONNX model")
    model = onnx.ModelProto()
    with guarded(str(file), "ONNX model"), file.open("rb") as stream:
        # Mapped rather than read, so that the bytes of the file are not held beside the parsed model.
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as mapping, memoryview(mapping) as view:
            model.ParseFromString(view)
        model.DiscardUnknownFields()
    return model


def _refusals(model: Any) -> list[str]:
    """Return what the model holds besides a plain graph of standard operations."""
    causes = []
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    version = opsets.get("", opsets.get("ai.onnx"))
    if not model.graph.node:
        causes.append("it holds no nodes")
    if version is None:
        causes.append("it names no version of the standard operator set")
    elif version < OLDEST_OPSET:
        causes.append(f"operator set {version}, expected {OLDEST_OPSET} or newer; export it again with a newer opset")
    elif version > NEWEST_OPSET:
        causes.append(f"operator set {version}, expected {NEWEST_OPSET} or older; export it again with an older opset")
    if len(model.graph.node) > MAX_NODES:
        causes.append(f"{len(model.graph.node):,} nodes, at most {MAX_NODES:,} are read")
    if model.functions:
        causes.append("it defines functions of its own; export it with functions inlined")
    if model.training_info:
        causes.append("it holds training steps; export it for inference")
    if model.graph.sparse_initializer:
        causes.append("it holds sparse initialisers; export dense weights")
    return causes


class _Tensor:
    """A TensorProto, turned into an array when first asked for."""

    def __init__(self, onnx: Any, proto: Any, folder: Path | None) -> None:
        self.proto, self.folder, self.external = proto, folder, onnx.TensorProto.EXTERNAL
        self.value: np.ndarray | None = None

    @staticmethod
    def reader(onnx: Any, folder: Path | None) -> Any:
        """Return a function from a TensorProto to its array."""
        return lambda proto: _Tensor(onnx, proto, folder).array()

    def array(self) -> np.ndarray:
        """Return the values; raise ValueError when size, type and shape disagree."""
        if self.value is None:
            self.value = self._read()
            self.proto = None
        return self.value

    def _read(self) -> np.ndarray:
        proto, shape = self.proto, tuple(self.proto.dims)
        if proto.data_type not in DTYPES:
            raise ValueError(f"weight {proto.name!r} has data type {proto.data_type}; export float32 weights")
        dtype = np.dtype(DTYPES[proto.data_type])
        if min(shape, default=0) < 0:
            raise ValueError(f"weight {proto.name!r} has shape {shape}")
        count = math.prod(shape)
        if proto.data_location == self.external:
            return self._external(proto, dtype, count).reshape(shape)
        field = TYPED_FIELDS.get(proto.data_type)
        typed = getattr(proto, field) if field is not None and not proto.HasField("raw_data") else None
        found = len(typed) if typed is not None else len(proto.raw_data) / dtype.itemsize
        if found != count:
            raise ValueError(f"weight {proto.name!r} claims shape {shape}, but holds {found:g} values")
        if typed is not None:
            return np.array(typed).astype(dtype).reshape(shape)
        return np.frombuffer(proto.raw_data, dtype).reshape(shape)

    def _external(self, proto: Any, dtype: np.dtype, count: int) -> np.ndarray:
        entries = {e.key: e.value for e in proto.external_data}
        if self.folder is None:
            raise ValueError(f"weight {proto.name!r} lies in another file; load the model by its path")
        file = confined(self.folder, entries.get("location", ""))
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", count * dtype.itemsize))
        if not file.is_file():
            raise ValueError(f"weight {proto.name!r} lies in {entries.get('location')!r}, which is not there")
        if length != count * dtype.itemsize or offset < 0 or offset + length > file.stat().st_size:
            raise ValueError(f"weight {proto.name!r} does not fit into {entries.get('location')!r}")
        return np.fromfile(file, dtype, count=count, offset=offset)


# -- comparison with a runtime ----------------------------------------------------------------------


def _skeleton(onnx: Any, model: Any, tensors: tuple[str, ...]) -> Any:
    """Return the model without its weights, its operations those we read, its layers' values as outputs."""
    small = onnx.ModelProto()
    small.ir_version = SKELETON_IR
    small.opset_import.extend(model.opset_import)
    small.graph.name = "layers"
    small.graph.node.extend(model.graph.node)
    initializers = {t.name for t in model.graph.initializer}
    small.graph.input.extend(v for v in model.graph.input if v.name not in initializers)
    for name in dict.fromkeys(tensors):
        small.graph.output.add().name = name
    for tensor in model.graph.initializer:
        stub = small.graph.initializer.add()
        stub.name, stub.data_type = tensor.name, tensor.data_type
        stub.dims.extend(tensor.dims)
    return small


def _runner(onnx: Any, model: Any, weights: Mapping[str, np.ndarray], graph: Graph) -> tuple[check.Runner, str]:
    try:
        import onnxruntime
    except ImportError:
        return _reference(onnx, model, weights, graph)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.disable_prepacking", "1")
    shared = []
    for stub in model.graph.initializer:
        array = np.ascontiguousarray(weights[stub.name])
        if array.nbytes < 1024:
            # Shapes and axes are needed while the session is made; small ones travel inside the model.
            stub.raw_data = array.tobytes()
        else:
            stub.data_location = onnx.TensorProto.EXTERNAL
            stub.external_data.add(key="location", value="in memory")
            shared.append((stub.name, onnxruntime.OrtValue.ortvalue_from_numpy(array), array))
    if shared:
        options.add_external_initializers([s[0] for s in shared], [s[1] for s in shared])
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    fixed = session.get_inputs()[0].shape[0]

    def run(x: np.ndarray) -> dict[str, np.ndarray]:
        size = fixed if isinstance(fixed, int) else len(x)
        parts = [session.run(names, {graph.input: part}) for part in _batches(x, size)]
        return {n: np.concatenate([p[i] for p in parts])[: len(x)] for i, n in enumerate(names)}

    return run, f"onnxruntime {onnxruntime.__version__}"


def _reference(onnx: Any, model: Any, weights: Mapping[str, np.ndarray], graph: Graph) -> tuple[check.Runner, str]:
    from onnx.reference import ReferenceEvaluator

    for stub in model.graph.initializer:
        stub.raw_data = np.ascontiguousarray(weights[stub.name]).tobytes()
    evaluator = ReferenceEvaluator(model)
    names = [o.name for o in model.graph.output]
    fixed = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value

    def run(x: np.ndarray) -> dict[str, np.ndarray]:
        parts = [evaluator.run(names, {graph.input: part}) for part in _batches(x, fixed or len(x))]
        return {n: np.concatenate([p[i] for p in parts])[: len(x)] for i, n in enumerate(names)}

    return run, f"onnx reference evaluator {onnx.__version__}"


def _batches(x: np.ndarray, size: int) -> list[np.ndarray]:
    """Split into batches of exactly ``size``, the last one filled up with repeats of the first sample."""
    missing = -len(x) % size
    padded = np.concatenate([x, np.repeat(x[:1], missing, axis=0)]) if missing else x
    return [padded[i : i + size] for i in range(0, len(padded), size)]
