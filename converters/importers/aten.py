"""Translate calls of PyTorch's ATen operators, as torch.export records them, into our operations.

The same calls come from an ``ExportedProgram`` in memory and from the JSON of a ``.pt2`` file; ``run`` computes them
with torch, and only those operators that are translated here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import graph as g
from .affine_maps import Windows

Array = np.ndarray


@dataclass(frozen=True)
class Ref:
    """The tensor, or the whole number, of that name."""

    name: str


@dataclass(frozen=True, eq=False)
class Call:
    """One operator call: ``target`` as in "aten.linear.default", arguments by their names in its schema."""

    target: str
    arguments: Mapping[str, Any]
    output: str

    @property
    def operator(self) -> str:
        """Return "linear" of "aten.linear.default"."""
        return self.target.split(".")[1] if self.target.startswith("aten.") else self.target


@dataclass(frozen=True, eq=False)
class Program:
    """Calls in order of computation.

    tensors : parameters, buffers and constants by the name that calls use; names : their names in the module.
    batch : the batch size when the program fixes it. extra : outputs or inputs that should not be there.
    """

    calls: tuple[Call, ...]
    tensors: Mapping[str, Array]
    names: Mapping[str, str]
    input: str
    input_shape: tuple[int, ...]
    output: str
    batch: int | None
    problems: tuple[str, ...] = ()


class Arguments:
    """Arguments of a call; those that nobody reads are errors, not silence."""

    def __init__(self, call: Call, state: _State) -> None:
        self.call, self.state = call, state
        self.left = {name: value for name, value in call.arguments.items() if value is not None}

    def get(self, name: str, default: Any = None) -> Any:
        """Return a plain argument, or the schema's default."""
        return self.left.pop(name, default)

    def has(self, name: str) -> bool:
        """Whether the argument is given."""
        return name in self.left

    def tensor(self, name: str) -> str:
        """Return the name of a tensor that depends on the input."""
        value = self.left.pop(name, None)
        if not isinstance(value, Ref) or self.state.constant(value) is not None:
            raise ValueError(f"its {name} must depend on the input")
        return value.name

    def constant(self, name: str) -> Array:
        """Return a constant tensor."""
        array = self.optional(name)
        if array is None:
            raise ValueError(f"its {name} must be a parameter, buffer or constant")
        return array

    def optional(self, name: str) -> Array | None:
        """Return a constant tensor, or None when the argument is left out."""
        value = self.left.pop(name, None)
        if value is None:
            return None
        array = self.state.constant(value)
        if array is None:
            raise ValueError(f"its {name} must be a parameter, buffer or constant")
        return array

    def ints(self, name: str, default: Any = ()) -> tuple[int, ...]:
        """Return a whole number or a list of them as a tuple."""
        value = self.left.pop(name, default)
        values = (value,) if isinstance(value, int) else tuple(value)
        if any(isinstance(v, bool) or not isinstance(v, int) for v in values):
            raise ValueError(f"its {name} {values} must be whole numbers")
        return values

    def check(self) -> None:
        """Raise ValueError when an argument was not read."""
        if self.left:
            raise ValueError(f"has arguments that are not taken: {', '.join(sorted(self.left))}")


@dataclass
class _State:
    tensors: Mapping[str, Array]
    batch: int | None
    known: dict[str, Any] = field(default_factory=dict)  # views of constants, and BATCH
    used: set[str] = field(default_factory=set)

    def constant(self, value: Any) -> Any:
        """Return the constant behind a reference, or None when it depends on the input."""
        if not isinstance(value, Ref):
            return None
        if value.name in self.tensors:
            self.used.add(value.name)
            return self.tensors[value.name]
        return self.known.get(value.name)


def translate(program: Program) -> g.Graph:
    """Return the graph of a program; what cannot be taken becomes Unsupported nodes."""
    state = _State(program.tensors, program.batch)
    problems, nodes = list(program.problems), []
    overwritten: dict[str, str] = {}
    bases: dict[str, str] = {}
    for index, call in enumerate(program.calls):
        label = f"node {index}  {call.operator}  {call.output!r}"
        references = [r.name for r in _references(call.arguments)]
        try:
            again = next((overwritten[bases.get(n, n)] for n in references if bases.get(n, n) in overwritten), None)
            if again is not None:
                raise ValueError(f"uses a tensor that {again!r} changed in place; use the operation that returns a new one")
            translated = _call(call, state)
        except (ValueError, TypeError, IndexError) as error:
            translated = g.Unsupported(str(error)), [n for n in references if state.constant(Ref(n)) is None]
        if translated is None:
            continue
        op, inputs = translated
        if call.operator in VIEWS and inputs:
            bases[call.output] = bases.get(inputs[0], inputs[0])
        if call.operator.endswith("_") and not call.operator.startswith("_") and inputs:
            overwritten[bases.get(inputs[0], inputs[0])] = call.operator
        nodes.append(g.Node(label, op, tuple(inputs), call.output, _layer_name(call, program.names)))
    unread = sorted(program.names.get(n, n) for n in set(program.tensors) - state.used)
    unread = [n for n in unread if not n.endswith("num_batches_tracked")]  # a counter of training
    if unread and not any(isinstance(n.op, g.Unsupported) for n in nodes):
        problems.append(f"weights that no node reads: {', '.join(unread[:10])}")
    return g.Graph(tuple(nodes), program.input, program.input_shape, program.output, problems=tuple(problems), info={"importer": "torch"})


def run(program: Program, x: Array) -> dict[str, Array]:
    """Return every tensor of the program for inputs (n_samples, ...), computed by torch's own operators."""
    import torch

    size = program.batch or len(x)
    missing = -len(x) % size
    padded = np.concatenate([x, np.repeat(x[:1], missing, axis=0)]) if missing else x
    floats = [a for a in program.tensors.values() if a.dtype.kind == "f"]
    kind = floats[0].dtype if floats else np.dtype(np.float32)
    parts = []
    with torch.no_grad():
        for first in range(0, len(padded), size):
            values: dict[str, Any] = {n: torch.from_numpy(np.array(a)) for n, a in program.tensors.items()}
            values[program.input] = torch.from_numpy(padded[first : first + size].astype(kind))
            found = {}
            for call in program.calls:
                if call.operator in ASSERTIONS:
                    continue
                value = _evaluate(torch, call, values)
                values[call.output] = value
                if isinstance(value, torch.Tensor) and value.ndim and len(value) == size:
                    found[call.output] = value.numpy().copy()
            parts.append(found)
    return {n: np.concatenate([p[n] for p in parts])[: len(x)] for n in parts[0] if all(n in p for p in parts)}


def _evaluate(torch: Any, call: Call, values: Mapping[str, Any]) -> Any:
    _, operator, overload = call.target.split(".")
    if operator not in HANDLERS and operator not in FOLDED and operator != "sym_size":
        raise ValueError(f"{call.target} is not run")
    function = getattr(getattr(torch.ops.aten, operator), overload)
    given = {name: _resolve(value, values) for name, value in call.arguments.items() if name not in PLACEMENT}
    if given.get("dtype") is not None:
        given["dtype"] = torch.float64 if call.arguments["dtype"] == "float64" else torch.float32
    positional = [given.pop(a.name) for a in function._schema.arguments if not a.kwarg_only and a.name in given]
    result = function(*positional, **given)
    return result[0] if isinstance(result, tuple) else result


def _resolve(value: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(value, Ref):
        return values[value.name]
    return [_resolve(v, values) for v in value] if isinstance(value, list | tuple) else value


def _references(arguments: Mapping[str, Any]) -> list[Ref]:
    found = []
    for value in arguments.values():
        found += [v for v in (value if isinstance(value, list | tuple) else (value,)) if isinstance(v, Ref)]
    return found


def _layer_name(call: Call, names: Mapping[str, str]) -> str:
    """Return the name of the module whose parameter the call uses, or of the call."""
    owner = next((names[r.name] for r in _references(call.arguments) if r.name in names), "")
    return owner.rpartition(".")[0] or call.output


Translated = tuple[g.Op, list[str]]


def _call(call: Call, state: _State) -> Translated | None:
    """Return (operation, tensor inputs) of a call, or None when it computes no tensor that depends on the input."""
    if call.operator in ASSERTIONS:
        return None
    arguments = Arguments(call, state)
    if call.operator == "sym_size":
        if arguments.get("dim") != 0:
            raise ValueError("asks for a size that is not known; export with fixed sizes beyond the batch")
        state.known[call.output] = g.BATCH
        return None
    references = _references(call.arguments)
    if call.operator in FOLDED and references and all(state.constant(r) is not None for r in references):
        state.known[call.output] = _folded(call, arguments)
        arguments.check()
        return None
    handler = HANDLERS.get(call.operator)
    if handler is None:
        raise ValueError(g.instead(call.operator))
    op, inputs = handler(arguments)
    arguments.check()
    return op, inputs


def _folded(call: Call, arguments: Arguments) -> Array:
    """Return a view of a constant."""
    array = arguments.constant("self")
    match call.operator:
        case "t":
            return array.T
        case "permute":
            return array.transpose(arguments.ints("dims"))
        case "transpose":
            return np.swapaxes(array, arguments.get("dim0"), arguments.get("dim1"))
        case "view" | "reshape" | "_unsafe_view":
            return array.reshape(arguments.ints("size") if arguments.has("size") else arguments.ints("shape"))
        case "unsqueeze":
            return np.expand_dims(array, arguments.get("dim"))
    return array


# -- operators --------------------------------------------------------------------------------------


def _within(axes: Sequence[int]) -> tuple[int, ...]:
    """Return axes counted without the batch; the batch axis itself must stay where it is."""
    if 0 in axes:
        raise ValueError("acts on the batch axis")
    return tuple(a - 1 if a > 0 else a for a in axes)


def _linear(a: Arguments) -> Translated:
    return g.Linear(_float(a.constant("weight")), a.optional("bias")), [a.tensor("input")]


def _addmm(a: Arguments) -> Translated:
    if a.get("alpha", 1) != 1 or a.get("beta", 1) != 1:
        raise ValueError("scales its terms (alpha, beta)")
    return g.Linear(_float(a.constant("mat2")).T, a.constant("self")), [a.tensor("mat1")]


def _mm(a: Arguments) -> Translated:
    weight = _float(a.constant("mat2" if a.has("mat2") else "other"))
    if weight.ndim != 2:
        raise ValueError(f"its weight has shape {weight.shape}, expected two axes")
    return g.Linear(weight.T), [a.tensor("self")]


def _float(array: Array) -> Array:
    if array.dtype.kind != "f":
        raise ValueError(f"has {array.dtype} weights; {g.INSTEAD['quantize']}")
    return array


def _spread(values: tuple[int, ...], axes: int, default: int) -> tuple[int, ...]:
    """Return one number per axis: a single one stands for all, none for the default."""
    return (values or (default,)) * (axes if len(values) < 2 else 1)


def _convolution(a: Arguments) -> Translated:
    weight, bias = _float(a.constant("weight")), a.optional("bias")
    axes = weight.ndim - 2
    if axes < 1:
        raise ValueError(f"its weight has shape {weight.shape}")
    if a.get("transposed", False) or any(a.ints("output_padding")):
        raise ValueError("is a transposed convolution; use a convolution")
    stride, dilation = _spread(a.ints("stride"), axes, 1), _spread(a.ints("dilation"), axes, 1)
    padding, groups = a.get("padding", 0), a.get("groups", 1)
    same = ""
    if isinstance(padding, str):
        same, padding = ("upper" if padding == "same" else ""), 0
    pads = _spread((padding,) if isinstance(padding, int) else tuple(padding), axes, 0)
    windows = Windows(tuple(weight.shape[2:]), stride, tuple((p, p) for p in pads), dilation)
    return g.Conv(weight, bias, windows, groups, same=same), [a.tensor("input")]  # type: ignore[arg-type]


def _batch_norm(a: Arguments) -> Translated:
    if a.get("training", False):
        raise ValueError("is in training mode; call .eval() on the module before it is exported")
    a.get("momentum")
    a.get("cudnn_enabled")
    gamma, beta = a.optional("weight"), a.optional("bias")
    mean, variance = a.optional("running_mean"), a.optional("running_var")
    if mean is None or variance is None:
        raise ValueError("keeps no running statistics, so it depends on the batch")
    return g.batch_norm(gamma, beta, mean, variance, a.get("eps")), [a.tensor("input")]


def _relu(a: Arguments) -> Translated:
    return g.Relu(), [a.tensor("self")]


def _relu6(a: Arguments) -> Translated:
    return g.Relu(6.0), [a.tensor("self")]


def _clamp(a: Arguments) -> Translated:
    low = a.get("min_val", a.get("min", -1.0 if a.call.operator.startswith("hardtanh") else None))
    high = a.get("max_val", a.get("max", 1.0 if a.call.operator.startswith("hardtanh") else None))
    if isinstance(low, Ref) or isinstance(high, Ref):
        raise ValueError("is limited by a tensor")
    if low is None or low != 0:
        raise ValueError(f"limits its values to at least {low}; only a limit of 0 (ReLU, ReLU-n) is taken")
    return g.Relu(math.inf if high is None else float(high)), [a.tensor("self")]


def _threshold(a: Arguments) -> Translated:
    if a.get("threshold") != 0 or a.get("value") != 0:
        raise ValueError("has a threshold or value other than 0")
    return g.Relu(), [a.tensor("self")]


def _average_pool(a: Arguments) -> Translated:
    kernel = a.ints("kernel_size")
    axes = 1 if "1d" in a.call.operator else 2
    kernel = _spread(kernel, axes, 1)
    stride = a.ints("stride")
    stride = _spread(stride, axes, 1) if stride else kernel
    pads = _spread(a.ints("padding"), axes, 0)
    if a.get("ceil_mode", False) or a.get("divisor_override") is not None:
        raise ValueError("has ceil_mode or divisor_override; pad explicitly or leave them out")
    windows = Windows(kernel, stride, tuple((p, p) for p in pads), (1,) * axes)
    return g.AveragePool(windows, bool(a.get("count_include_pad", True))), [a.tensor("self")]


def _adaptive_pool(a: Arguments) -> Translated:
    return g.AdaptivePool(a.ints("output_size")), [a.tensor("self")]


def _mean(a: Arguments) -> Translated:
    if a.get("dtype") not in (None, "float32", "float64"):
        raise ValueError("changes the data type")
    axes = a.ints("dim")
    if not axes:
        raise ValueError("averages over all axes, the batch among them")
    return g.Mean(_within(axes), bool(a.get("keepdim", False))), [a.tensor("self")]


def _view(a: Arguments) -> Translated:
    size = a.get("size") if a.has("size") else a.get("shape")
    first, *rest = [a.state.constant(n) if isinstance(n, Ref) else n for n in size]
    if not rest or any(not isinstance(n, int) or n == 0 for n in rest):
        raise ValueError(f"reshapes to {list(size)}, which mixes the batch with the values")
    batch = a.state.batch
    if not (first is g.BATCH or (batch is not None and first == batch) or (first == -1 and -1 not in rest)):
        raise ValueError(f"reshapes to {list(size)}, which mixes the batch with the values")
    return g.Reshape(tuple(rest)), [a.tensor("self")]


def _flatten(a: Arguments) -> Translated:
    start, end = a.get("start_dim", 0), a.get("end_dim", -1)
    if start < 1 or end != -1:
        raise ValueError(f"flattens the axes {start} to {end}; only from 1 or later to the last")
    return g.Flatten(start - 1), [a.tensor("self")]


def _squeeze(a: Arguments) -> Translated:
    axes = a.ints("dim")
    if not axes:
        raise ValueError("removes every axis of length one; name the axes")
    return g.Squeeze(_within(axes)), [a.tensor("self")]


def _unsqueeze(a: Arguments) -> Translated:
    return g.Unsqueeze(_within(a.ints("dim"))), [a.tensor("self")]


def _permute(a: Arguments) -> Translated:
    dims = a.ints("dims")
    if not dims or dims[0] != 0:
        raise ValueError(f"moves the batch axis (dims {dims})")
    rank = len(dims)
    return g.Transpose(tuple(d % rank - 1 for d in dims[1:])), [a.tensor("self")]


def _transpose(a: Arguments) -> Translated:
    return g.Exchange(*_within((a.get("dim0"), a.get("dim1")))), [a.tensor("self")]


def _elementwise(a: Arguments) -> Translated:
    """add, sub, mul, div of two tensors (sums only), or of a tensor and a constant."""
    kind = a.call.operator.rstrip("_")
    if a.get("rounding_mode") is not None:
        raise ValueError("rounds its result")
    alpha = a.get("alpha", 1)
    sides = [a.get("self"), a.get("other")]
    values = [v if isinstance(v, int | float) else a.state.constant(v) for v in sides]
    live = [s.name for s, v in zip(sides, values, strict=True) if v is None and isinstance(s, Ref)]
    if len(live) == 2:
        if kind not in ("add", "sub") or alpha != 1:
            raise ValueError("multiplies, divides or weighs two activations; only plain sums of them are taken")
        return g.Add(-1 if kind == "sub" else 1), live
    if len(live) != 1:
        raise ValueError("has no operand that depends on the input")
    first = values[0] is not None
    if alpha != 1 and (first or kind not in ("add", "sub")):
        raise ValueError("weighs its operands (alpha)")
    constant = np.asarray(values[0] if first else values[1], dtype=np.float64) * alpha
    return g.scale_by(kind, constant, first), live


def _softmax(a: Arguments) -> Translated:
    a.get("dim")
    if a.get("half_to_float", False) or a.get("dtype") not in (None, "float32", "float64"):
        raise ValueError("changes the data type")
    return g.Softmax(), [a.tensor("self")]


def _dropout(a: Arguments) -> Translated:
    a.get("p")
    if a.get("train", False):
        raise ValueError("is in training mode; call .eval() on the module before it is exported")
    return g.Identity(), [a.tensor("input")]


def _copy(a: Arguments) -> Translated:
    for name in (*PLACEMENT, "non_blocking", "copy"):
        a.get(name)
    if a.get("dtype") not in (None, "float32", "float64"):
        raise ValueError("casts activations to another type than float32 or float64")
    return g.Identity(), [a.tensor("self")]


def _cat(a: Arguments) -> Translated:
    tensors = a.get("tensors")
    if any(not isinstance(t, Ref) or a.state.constant(t) is not None for t in tensors):
        raise ValueError("joins activations with a constant")
    return g.Concatenate(_within(a.ints("dim", (0,)))[0]), [t.name for t in tensors]


def _pad(a: Arguments) -> Translated:
    pads = a.ints("pad")
    if a.get("mode", "constant") != "constant" or a.get("value", 0) not in (None, 0):
        raise ValueError("pads with something else than zeros")
    pairs = tuple((pads[i], pads[i + 1]) for i in range(0, len(pads) - 1, 2))[::-1]
    return g.Pad(pairs), [a.tensor("self")]


Handler = Callable[[Arguments], Translated]

HANDLERS: dict[str, Handler] = {
    "_adaptive_avg_pool2d": _adaptive_pool,
    "_log_softmax": _softmax,
    "_native_batch_norm_legit_no_training": _batch_norm,
    "_softmax": _softmax,
    "_to_copy": _copy,
    "_unsafe_view": _view,
    "adaptive_avg_pool1d": _adaptive_pool,
    "adaptive_avg_pool2d": _adaptive_pool,
    "add": _elementwise,
    "add_": _elementwise,
    "addmm": _addmm,
    "alias": _copy,
    "alpha_dropout": _dropout,
    "avg_pool1d": _average_pool,
    "avg_pool2d": _average_pool,
    "batch_norm": _batch_norm,
    "cat": _cat,
    "clamp": _clamp,
    "clamp_": _clamp,
    "clamp_min": _clamp,
    "clamp_min_": _clamp,
    "clone": _copy,
    "constant_pad_nd": _pad,
    "contiguous": _copy,
    "conv1d": _convolution,
    "conv2d": _convolution,
    "convolution": _convolution,
    "detach": _copy,
    "div": _elementwise,
    "div_": _elementwise,
    "dropout": _dropout,
    "dropout_": _dropout,
    "feature_dropout": _dropout,
    "flatten": _flatten,
    "hardtanh": _clamp,
    "hardtanh_": _clamp,
    "linear": _linear,
    "log_softmax": _softmax,
    "matmul": _mm,
    "mean": _mean,
    "mm": _mm,
    "mul": _elementwise,
    "mul_": _elementwise,
    "pad": _pad,
    "permute": _permute,
    "relu": _relu,
    "relu6": _relu6,
    "relu_": _relu,
    "relu6_": _relu6,
    "reshape": _view,
    "softmax": _softmax,
    "squeeze": _squeeze,
    "sub": _elementwise,
    "sub_": _elementwise,
    "threshold": _threshold,
    "to": _copy,
    "transpose": _transpose,
    "unsqueeze": _unsqueeze,
    "view": _view,
}
FOLDED = {"t", "permute", "transpose", "view", "reshape", "_unsafe_view", "unsqueeze", "detach", "alias", "clone",
          "contiguous", "lift_fresh_copy"}  # fmt: skip
VIEWS = {"view", "reshape", "_unsafe_view", "flatten", "squeeze", "unsqueeze", "permute", "transpose", "detach", "alias",
         "contiguous", "to", "dropout", "feature_dropout", "alpha_dropout"}  # fmt: skip
PLACEMENT = ("memory_format", "layout", "device", "pin_memory")  # where and how a tensor lies, not its values
ASSERTIONS = {"_assert_tensor_metadata", "_assert_scalar", "_assert_async", "sym_constrain_range_for_size",
              "sym_constrain_range"}  # fmt: skip
