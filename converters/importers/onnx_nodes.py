"""Translate the nodes of an ONNX graph into our operations.

Shapes that exporters compute at run time (Shape, Gather, Concat, ... in front of a Reshape) are followed
symbolically: the batch size is the only number that is not known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from . import graph as g
from .affine_maps import Windows
from .options import LoadOptions

Array = np.ndarray
Reader = Callable[[Any], Array]
BATCH = g.BATCH


FLOAT, DOUBLE = 1, 11
MAX_SHAPE = 64  # numbers in a shape or in axes that are computed on the way


class Attributes:
    """Attributes of a node; those that nobody reads are errors, not silence."""

    def __init__(self, node: Any, read_tensor: Reader) -> None:
        self.values = {a.name: self._value(a, read_tensor) for a in node.attribute}
        self.read: set[str] = set()

    @staticmethod
    def _value(attribute: Any, read_tensor: Reader) -> Any:
        match attribute.type:
            case 1:
                return attribute.f
            case 2:
                return attribute.i
            case 3:
                return attribute.s.decode()
            case 4:
                return read_tensor(attribute.t)
            case 6:
                return tuple(attribute.floats)
            case 7:
                return tuple(attribute.ints)
        raise ValueError(f"attribute {attribute.name!r} of type {attribute.type} is not taken")

    def get(self, name: str, default: Any) -> Any:
        """Return the attribute, remembered as read, or the standard's default."""
        self.read.add(name)
        return self.values.get(name, default)

    def check(self) -> None:
        """Raise ValueError when an attribute was not read."""
        left = sorted(set(self.values) - self.read)
        if left:
            raise ValueError(f"has attributes that are not taken: {', '.join(left)}")


class Constants:
    """What does not depend on the input: initialisers, Constant nodes, and shapes computed on the way."""

    def __init__(self, tensors: Mapping[str, Any], read_tensor: Reader) -> None:
        self.tensors, self.read_tensor = tensors, read_tensor
        self.known: dict[str, Any] = {}  # arrays, BATCH, _SHAPE, or tuples that hold BATCH
        self.used: set[str] = set()

    def get(self, name: str) -> Any:
        """Return the constant of that name, or None when the tensor depends on the input."""
        if name in self.known:
            return self.known[name]
        if name in self.tensors:
            self.used.add(name)
            return self.tensors[name].array()
        return None

    def has(self, name: str) -> bool:
        """Whether the tensor is a constant."""
        return name in self.known or name in self.tensors

    def required(self, node: Any, position: int, what: str) -> Array:
        """Return a constant input of a node, or raise ValueError naming what it is."""
        value = self.optional(node, position, what)
        if value is None:
            raise ValueError(f"has no {what}")
        return value

    def optional(self, node: Any, position: int, what: str) -> Array | None:
        """Return a constant input, None where the node leaves it out."""
        if position >= len(node.input) or not node.input[position]:
            return None
        value = self.get(node.input[position])
        if not isinstance(value, np.ndarray):
            raise ValueError(f"its {what} must be a constant")
        return value


def translate(graph: Any, tensors: Mapping[str, Any], read_tensor: Reader, options: LoadOptions) -> g.Graph:
    """Return the graph of an ONNX GraphProto; what cannot be taken becomes Unsupported nodes."""
    constants = Constants(tensors, read_tensor)
    problems: list[str] = []
    name, shape, batch = _input(graph, tensors, options, problems)
    outputs = [o.name for o in graph.output]
    if len(outputs) != 1:
        problems.append(f"it has {len(outputs)} outputs ({', '.join(outputs[:10])}), expected one")
    nodes = []
    for index, proto in enumerate(graph.node):
        label = f"node {index}  {proto.op_type}  {proto.name!r}"
        try:
            translated = _node(proto, constants, batch)
        except (ValueError, IndexError, UnicodeDecodeError) as error:
            live = [n for n in proto.input if n and not constants.has(n)]
            translated = g.Unsupported(str(error)), live
        if translated is not None:
            op, inputs = translated
            nodes.append(g.Node(label, op, tuple(inputs), proto.output[0], _layer_name(proto, tensors)))
    unread = sorted(set(tensors) - constants.used)
    if unread and not any(isinstance(n.op, g.Unsupported) for n in nodes):
        problems.append(f"weights that no node reads: {', '.join(unread[:10])}")
    output = outputs[0] if outputs else ""
    return g.Graph(tuple(nodes), name, shape, output, problems=tuple(problems), info={"importer": "onnx"})


def _input(graph: Any, tensors: Mapping[str, Any], options: LoadOptions, problems: list[str]) -> tuple[str, tuple[int, ...], int | None]:
    """Return name and shape of the one input, and its batch size where the model fixes it."""
    inputs = [v for v in graph.input if v.name not in tensors]
    if len(inputs) != 1:
        problems.append(f"it has {len(inputs)} inputs ({', '.join(v.name for v in inputs[:10])}), expected one")
        return "", (1,), None
    tensor = inputs[0].type.tensor_type
    if tensor.elem_type not in (FLOAT, DOUBLE):
        problems.append(f"its input has data type {tensor.elem_type}, expected float32 or float64")
    dims = [d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim]
    if len(dims) < 2:
        problems.append(f"its input has {len(dims)} axes, expected a batch axis and at least one more")
        return inputs[0].name, (1,), None
    if options.input_shape:
        known = [d for d in dims[1:] if d]
        if len(options.input_shape) == len(dims) - 1 and all(d in (None, 0, n) for d, n in zip(dims[1:], options.input_shape, strict=True)):
            return inputs[0].name, options.input_shape, dims[0] or None
        if len(known) < len(dims) - 1:
            problems.append(f"input_shape {options.input_shape} does not fit the model's input {tuple(dims)}")
    if any(not d for d in dims[1:]):
        problems.append(f"its input shape {tuple(dims)} is open beyond the batch; give input_shape")
        return inputs[0].name, (1,), None
    return inputs[0].name, tuple(int(d) for d in dims[1:] if d), dims[0] or None


def _layer_name(proto: Any, tensors: Mapping[str, Any]) -> str:
    return proto.name or next((n for n in proto.input if n in tensors), "") or proto.output[0]


Translated = tuple[g.Op, list[str]]


def _node(proto: Any, constants: Constants, batch: int | None) -> Translated | None:
    """Return (operation, tensor inputs) of a node, or None when it only computes a constant."""
    if proto.domain not in ("", "ai.onnx"):
        raise ValueError(f"is an operator of the domain {proto.domain!r}; {g.instead(proto.op_type)}")
    if not proto.output:
        raise ValueError("has no output")
    if any(proto.output[1:]) and proto.op_type != "Dropout":
        raise ValueError(f"has {len(proto.output)} outputs, expected one")
    attributes = Attributes(proto, constants.read_tensor)
    live = [name for name in proto.input if name and not constants.has(name)]
    if not live or proto.op_type == "Shape":
        constants.known[proto.output[0]] = _folded(proto, attributes, constants)
        attributes.check()
        return None
    handler = HANDLERS.get(proto.op_type)
    if handler is None:
        raise ValueError(g.instead(proto.op_type))
    op = handler(proto, attributes, constants, batch)
    attributes.check()
    return op, live


# -- constants --------------------------------------------------------------------------------------

_SHAPE = object()  # the shape of some tensor; only its first number, the batch, may be used


def _folded(proto: Any, attributes: Attributes, constants: Constants) -> Any:
    """Return the value of a node all of whose inputs are constants, or of a shape."""
    if proto.op_type == "Shape":
        return _SHAPE
    if proto.op_type == "Constant":
        return _constant(attributes)
    values = [constants.get(name) for name in proto.input if name]
    first = values[0] if values else None
    if proto.op_type == "Gather" and first is _SHAPE and np.all(values[1] == 0):
        return BATCH if np.ndim(values[1]) == 0 else (BATCH,)
    if proto.op_type == "Unsqueeze" and first is BATCH:
        attributes.get("axes", None)
        return (BATCH,)
    if proto.op_type in ("Cast", "Identity") and (first is BATCH or isinstance(first, tuple)):
        attributes.get("to", None)
        return first
    if proto.op_type == "Concat" and all(isinstance(v, tuple | np.ndarray) for v in values):
        axis = attributes.get("axis", 0)
        if sum(np.size(v) if isinstance(v, np.ndarray) else len(v) for v in values) > MAX_SHAPE:
            raise ValueError(f"joins more than {MAX_SHAPE} constant numbers; store them as one initialiser")
        if any(isinstance(v, tuple) for v in values):
            return tuple(item for v in values for item in v)
        return np.concatenate(values, axis)
    if all(isinstance(v, np.ndarray) for v in values) and first is not None:
        match proto.op_type:
            case "Identity":
                return first
            case "Cast":
                return _cast(first, attributes.get("to", FLOAT))
            case "Transpose":
                return first.transpose(attributes.get("perm", tuple(range(first.ndim))[::-1]))
            case "Reshape":
                attributes.get("allowzero", 0)
                return first.reshape([first.shape[i] if n == 0 else int(n) for i, n in enumerate(values[1])])
            case "Unsqueeze":
                axes = attributes.get("axes", None)
                return np.expand_dims(first, tuple(int(a) for a in (axes if axes is not None else values[1])))
            case "Squeeze":
                axes = attributes.get("axes", values[1] if len(values) > 1 else None)
                return np.squeeze(first, None if axes is None else tuple(int(a) for a in axes))
    raise ValueError(f"computes a constant in a way that is not followed; {g.instead(proto.op_type)}")


def _constant(attributes: Attributes) -> Array:
    for name in ("value", "value_float", "value_floats", "value_int", "value_ints"):
        value = attributes.get(name, None)
        if value is not None:
            return np.asarray(value, dtype=np.float32) if "float" in name else np.asarray(value)
    raise ValueError("has no value that can be read")


def _cast(array: Array, to: int) -> Array:
    kinds = {1: np.float32, 11: np.float64, 6: np.int32, 7: np.int64}
    if to not in kinds:
        raise ValueError(f"casts to data type {to}; only float32, float64, int32 and int64 are taken")
    return array.astype(kinds[to])


# -- operations -------------------------------------------------------------------------------------


def _numbers(values: Any) -> tuple[int, ...]:
    """Return the integers of an attribute or of a constant tensor."""
    array = np.asarray(values)
    if array.dtype.kind not in "iu" or array.ndim > 1:
        raise ValueError(f"expected integers, found {array.dtype} of shape {array.shape}")
    return tuple(int(v) for v in array.reshape(-1))


def _within(axes: tuple[int, ...]) -> tuple[int, ...]:
    """Return axes counted without the batch; the batch axis itself must stay where it is."""
    if 0 in axes:
        raise ValueError("acts on the batch axis")
    return tuple(a - 1 if a > 0 else a for a in axes)


def _gemm(proto: Any, attributes: Attributes, constants: Constants, batch: int | None) -> g.Op:
    alpha, beta = attributes.get("alpha", 1.0), attributes.get("beta", 1.0)
    if attributes.get("transA", 0):
        raise ValueError("transposes its input, which mixes the batch")
    weight = constants.required(proto, 1, "weight B")
    if weight.ndim != 2:
        raise ValueError(f"its weight has shape {weight.shape}, expected two axes")
    weight = weight if attributes.get("transB", 0) else weight.T
    bias = constants.optional(proto, 2, "bias C")
    if bias is not None:
        if bias.ndim == 2 and bias.shape[0] == 1:
            bias = bias[0]
        if bias.ndim > 1 or bias.size not in (1, len(weight)):
            raise ValueError(f"its bias has shape {bias.shape}, expected ({len(weight)},)")
        bias = np.broadcast_to(bias if beta == 1 else bias * beta, (len(weight),))
    _floats(weight, bias)
    return g.Linear(weight if alpha == 1 else weight * alpha, bias)


def _matmul(proto: Any, attributes: Attributes, constants: Constants, batch: int | None) -> g.Op:
    if constants.has(proto.input[0]):
        raise ValueError("multiplies a constant by the tensor, which mixes the batch; expected tensor times weight")
    weight = constants.required(proto, 1, "weight")
    if weight.ndim != 2:
        raise ValueError(f"its weight has shape {weight.shape}, expected two axes")
    _floats(weight)
    return g.Linear(weight.T)


def _floats(*arrays: Array | None) -> None:
    for array in arrays:
        if array is not None and array.dtype.kind != "f":
            raise ValueError(f"has {array.dtype} weights; {g.INSTEAD['quantize']}")


def _windows(attributes: Attributes, kernel: tuple[int, ...]) -> tuple[Windows, Any]:
    """Return the windows and the ``same`` setting of a convolution or pooling."""
    axes = len(kernel)
    auto = attributes.get("auto_pad", "NOTSET")
    pads = attributes.get("pads", (0,) * (2 * axes))
    if len(pads) != 2 * axes:
        raise ValueError(f"has {len(pads)} pads for {axes} spatial axes")
    if auto not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER") or (auto != "NOTSET" and any(pads)):
        raise ValueError(f"has auto_pad {auto!r} together with pads {pads}")
    windows = Windows(
        kernel,
        attributes.get("strides", (1,) * axes),
        tuple(zip(pads[:axes], pads[axes:], strict=True)),
        attributes.get("dilations", (1,) * axes),
    )
    return windows, {"SAME_UPPER": "upper", "SAME_LOWER": "lower"}.get(auto, "")


def _conv(proto: Any, attributes: Attributes, constants: Constants, batch: int | None) -> g.Op:
    weight, bias = constants.required(proto, 1, "weight"), constants.optional(proto, 2, "bias")
    _floats(weight, bias)
    if weight.ndim < 3 or (bias is not None and bias.shape != weight.shape[:1]):
        raise ValueError(f"its weight has shape {weight.shape}, its bias {None if bias is None else bias.shape}")
    kernel = attributes.get("kernel_shape", weight.shape[2:])
    if tuple(kernel) != weight.shape[2:]:
        raise ValueError(f"its kernel_shape is {kernel}, its weight has {weight.shape[2:]}")
    windows, same = _windows(attributes, weight.shape[2:])
    return g.Conv(weight, bias, windows, attributes.get("group", 1), same=same)


def _average_pool(proto: Any, attributes: Attributes, constants: Constants, batch: int | None) -> g.Op:
    windows, same = _windows(attributes, attributes.get("kernel_shape", ()))
    if attributes.get("ceil_mode", 0):
        raise ValueError("has ceil_mode, whose last windows reach over the edge; pad explicitly or leave it out")
    return g.AveragePool(windows, bool(attributes.get("count_include_pad", 0)), same=same)


def _mean(proto: Any, attributes: Attributes, constants: Constants, batch: int | None) -> g.Op:
    axes = attributes.get("axes", None)
    axes = constants.optional(proto, 1, "axes") if axes is None else axes
    if axes is None:
        raise ValueError("averages over all axes, the batch among them")
    attributes.get("noop_with_empty_axes", 0)
    return g.Mean(_within(_numbers(axes)), bool(attributes.get("keepdims", 1)))


def _batch_norm(proto: Any, attributes: Attributes, constants: Constants, batch: int | None) -> g.Op:
    if attributes.get("training_mode", 0) or attributes.get("spatial", 1) != 1:
        raise ValueError("is in training mode or not spatial; export it for inference")
    attributes.get("momentum", 0.9)
    names = ("scale", "B", "mean", "variance")
    gamma, beta, mean, variance = (constants.required(proto, i + 1, name) for i, name in enumerate(names))
    if not (gamma.shape == beta.shape == mean.shape == variance.shape and gamma.ndim == 1):
        raise ValueError(f"its arrays have shapes {gamma.shape}, {beta.shape}, {mean.shape}, {variance.shape}")
    return g.batch_norm(gamma, beta, mean, variance, attributes.get("epsilon", 1e-5))


def _clip(proto: Any, attributes: Attributes, constants: Constants, batch: int | None) -> g.Op:
    low, high = constants.optional(proto, 1, "min"), constants.optional(proto, 2, "max")
    least = attributes.get("min", float("-inf")) if low is None else float(low.item())
    most = attributes.get("max", float("inf")) if high is None else float(high.item())
    if least != 0:
        raise ValueError(f"limits its values to at least {least:g}; only a limit of 0 (ReLU, ReLU-n) is taken")
    return g.Relu(np.inf if most >= np.finfo(np.float32).max else most)


def _relu(proto: Any, attributes: Attributes, constants: Constants, batch: int | None) -> g.Op:
    return g.Relu()


def _elementwise(proto: Any, attributes: Attributes, constants: Constants, batch: int | None) -> g.Op:
    """Add, Sub, Mul, Div of two tensors (sums only), or of a tensor and a constant."""
    if len(proto.input) != 2:
        raise ValueError(f"has {len(proto.input)} inputs, expected two")
    kind = proto.op_type
    flags = [constants.has(name) for name in proto.input]
    if not any(flags):
        if kind in ("Add", "Sum", "Sub"):
            return g.Add(-1 if kind == "Sub" else 1)
        raise ValueError("multiplies or divides two activations; only sums of them are taken")
    position = flags.index(True)
    value = constants.required(proto, position, "operand").astype(np.float64)
    return g.scale_by(kind.lower(), value, position == 0)


def _identity(proto: Any, attributes: Attributes, constants: Constants, batch: int | None) -> g.Op:
    if proto.op_type == "Dropout":
        attributes.get("seed", 0)
        attributes.get("ratio", 0.5)
        training = constants.optional(proto, 2, "training mode")
        if training is not None and training.any():
            raise ValueError("drops values at inference; export it for inference")
    if proto.op_type == "Cast" and attributes.get("to", FLOAT) not in (FLOAT, DOUBLE):
        raise ValueError("casts activations to another type than float32 or float64")
    return g.Identity()


def _reshape(proto: Any, attributes: Attributes, constants: Constants, batch: int | None) -> g.Op:
    target = constants.get(proto.input[1]) if len(proto.input) > 1 else attributes.get("shape", None)
    if not isinstance(target, tuple | np.ndarray):
        raise ValueError("its shape is computed from more than the batch size")
    first, *rest = list(target)
    if any(n is BATCH for n in rest) or not rest:
        raise ValueError(f"reshapes to {tuple(target)}, which mixes the batch with the values")
    sizes = _numbers(rest)
    if attributes.get("allowzero", 0) and 0 in sizes:
        raise ValueError("makes an empty tensor")
    # A 0 keeps the axis at that place; counted without the batch, places move by one on both sides alike.
    whole = first is BATCH or first == 0 or (batch is not None and first == batch) or (first == -1 and -1 not in sizes)
    if not whole:
        raise ValueError(f"reshapes to {tuple(target)}, which mixes the batch with the values")
    return g.Reshape(sizes)


def _flatten(proto: Any, attributes: Attributes, constants: Constants, batch: int | None) -> g.Op:
    if attributes.get("axis", 1) != 1:
        raise ValueError("flattens from another axis than 1, which mixes the batch with the values")
    return g.Flatten()


def _transpose(proto: Any, attributes: Attributes, constants: Constants, batch: int | None) -> g.Op:
    perm = attributes.get("perm", ())
    if not perm or perm[0] != 0 or min(perm) < 0:
        raise ValueError(f"moves the batch axis (perm {perm})")
    return g.Transpose(tuple(p - 1 for p in perm[1:]))


def _axes(proto: Any, attributes: Attributes, constants: Constants, batch: int | None) -> g.Op:
    axes = attributes.get("axes", None)
    axes = constants.optional(proto, 1, "axes") if axes is None else axes
    if axes is None:
        raise ValueError("names no axes")
    kind = g.Squeeze if proto.op_type == "Squeeze" else g.Unsqueeze
    return kind(_within(_numbers(axes)))


def _concat(proto: Any, attributes: Attributes, constants: Constants, batch: int | None) -> g.Op:
    if any(constants.has(name) for name in proto.input):
        raise ValueError("joins activations with a constant")
    return g.Concatenate(_within((int(attributes.get("axis", 0)),))[0])


def _pad(proto: Any, attributes: Attributes, constants: Constants, batch: int | None) -> g.Op:
    pads = attributes.get("pads", None)
    pads = _numbers(constants.required(proto, 1, "pads") if pads is None else pads)
    value = constants.optional(proto, 2, "value")
    fill = attributes.get("value", 0.0) if value is None else float(value.item())
    if attributes.get("mode", "constant") != "constant" or fill != 0 or constants.optional(proto, 3, "axes") is not None:
        raise ValueError("pads with something else than zeros on all axes")
    half = len(pads) // 2
    pairs = tuple(zip(pads[:half], pads[half:], strict=True))
    if not pairs or any(pairs[0]):
        raise ValueError("pads the batch axis")
    return g.Pad(pairs[1:])


def _softmax(proto: Any, attributes: Attributes, constants: Constants, batch: int | None) -> g.Op:
    attributes.get("axis", -1)
    return g.Softmax()


def _global_pool(proto: Any, attributes: Attributes, constants: Constants, batch: int | None) -> g.Op:
    return g.Mean((), keep=True)


Handler = Callable[[Any, Attributes, Constants, "int | None"], g.Op]

HANDLERS: dict[str, Handler] = {
    "Add": _elementwise,
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": _identity,
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _conv,
    "Div": _elementwise,
    "Dropout": _identity,
    "Flatten": _flatten,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_pool,
    "Identity": _identity,
    "LogSoftmax": _softmax,
    "MatMul": _matmul,
    "Mul": _elementwise,
    "Pad": _pad,
    "ReduceMean": _mean,
    "Relu": _relu,
    "Reshape": _reshape,
    "Softmax": _softmax,
    "Squeeze": _axes,
    "Sub": _elementwise,
    "Sum": _elementwise,
    "Transpose": _transpose,
    "Unsqueeze": _axes,
}
