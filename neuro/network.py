"""The spiking network: populations, projections and windows, stated in full.

A network says everything an engine or an exporter needs, so that nobody has to
guess: thresholds, reset, comparison, initial potential, bias, delays, windows
and the grid on which its arithmetic is exact.

One step of a population, in this order:

1. at the first step of its window: ``v = v_init``, refractory counter and signed memory zero;
2. leak;
3. ``v += bias + arrivals`` (summed in unlimited width, then floored, saturated or wrapped once);
4. ``n = [v >= theta]``, or ``n = clip(floor(v / theta), 0, max_spikes)``;
5. reset.

A population runs in steps ``[start, start + T)``; a spike of step t arrives in step
``t + delay``; so every forward projection satisfies ``post.start = pre.start + delay``.

A projection that closes a loop (``post.start <= pre.start``, and a path leads from post back to pre) returns spikes within the
window: those of relative step k arrive at relative step ``k + lag`` with ``lag = pre.start + delay - post.start``. Nothing
arrives over it in the first ``lag`` steps of a window, and what would arrive after the window has ended is dropped.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from . import archive
from .errors import NetworkError, problems

FORMAT, VERSION = "spikeport.network", 1
INPUT = "input"

Array = np.ndarray
Weight = Any  # (n_post, n_pre) array, or scipy.sparse csr_array (scipy has no types to name)
Reset = Literal["subtract", "zero"] | None
Delay = int | Literal["window"]


@dataclass(frozen=True, eq=False)
class Leak:
    """Decay of the potential before the sum of a step.

    ``kind="exact"``: v <- v * factor (float networks without a grid; factor = exp(-dt / tau)).
    ``kind="shift"``: v <- v - (v >> shift), arithmetic shift, so negative v rounds towards minus infinity (Xylo).
    ``kind="decay12"``: v <- sign(v) * floor(|v| * (4096 - decay) / 4096), towards zero (Loihi 1).
    """

    kind: Literal["exact", "shift", "decay12"]
    factor: float = 1.0
    shift: int = 0
    decay: int = 0


@dataclass(frozen=True, eq=False)
class CurrentFormat:
    """How the host turns a constant-current input into a chip's bias register.

    The host computes z = W x + offset in float64, limits it to plus or minus ``limit``
    (None: no limit), and writes ``clip(round(z / 2^exponent), -mantissa_max, mantissa_max) * 2^exponent``.
    All numbers are in the integer units of the receiving population.
    """

    exponent: int
    mantissa_max: int
    offset: Array
    limit: Array | None = None


@dataclass(frozen=True, eq=False)
class Population:
    """Neurons of one kind.

    Parameters
    ----------
    name, size : name and number of neurons.
    v_threshold : scalar or (size,) array; None for a population that only integrates.
    amplitude : scalar or (size,) array; what one spike delivers to every projection.
    v_init : scalar or (size,) array; potential at the first step of a window.
    reset : ``"subtract"``, ``"zero"`` or None (integrates, never fires).
    comparison : ``">="`` or ``">"``.
    bias : (size,) array, the same in every step, or (T, size), one row a step of the window.
    start : first step at which the population runs.
    leak, v_floor, v_ceiling, overflow : see the module; ``overflow`` says what happens beyond
        floor and ceiling: ``"saturate"`` or ``"wrap"`` (two's complement in [v_floor, v_ceiling]).
    refractory, refractory_mode : steps after a spike in which the neuron cannot fire; ``"integrate"``
        keeps summing, ``"hold"`` keeps v at its value after the reset.
    max_spikes : k, the most spikes in one step (burst).
    signed : True for signed spikes with memory (+1 at v >= theta, -1 at v <= -theta while the sum of sent spikes is positive).
    signed_floor : of signed spikes: v is no lower than 0 while the sum of sent spikes is zero.
    encoder : name of an encoding (``"regular"``, ``"poisson"``, ...) when the population is the spike-coded input.
    grid : scalar or (size,) array; unit of the exact arithmetic; every sum is an integer multiple of it. None: floats.
    scale : scalar or (size,) array; value of one unit of v in the units of the source network.
    pairs_with : documentation of the source layer (its name), for reports.
    """

    name: str
    size: int
    v_threshold: Any = None
    amplitude: Any = 1.0
    v_init: Any = 0.0
    reset: Reset = "subtract"
    comparison: Literal[">=", ">"] = ">="
    bias: Array | None = None
    start: int = 0
    leak: Leak | None = None
    v_floor: float | None = None
    v_ceiling: float | None = None
    overflow: Literal["saturate", "wrap"] = "saturate"
    refractory: int = 0
    refractory_mode: Literal["integrate", "hold"] = "integrate"
    max_spikes: int = 1
    signed: bool = False
    signed_floor: bool = False
    encoder: str | None = None
    grid: Any = None
    scale: Any = 1.0
    pairs_with: str = ""

    @property
    def spiking(self) -> bool:
        """Whether the population sends spikes."""
        return self.reset is not None or self.encoder is not None


@dataclass(frozen=True, eq=False)
class Projection:
    """Weights from one population (or the port ``"input"``) to another.

    weight : (n_post, n_pre) array or scipy.sparse csr_array.
    delay : steps, 1 or more; 0 only from the port; ``"window"`` for a recurrent projection of a sequence.
    current : how the host writes a constant current into a chip's register; only from the port, deployed networks.
    """

    pre: str
    post: str
    weight: Weight
    delay: Delay = 1
    current: CurrentFormat | None = None

    @property
    def name(self) -> str:
        """``"pre->post"``."""
        return f"{self.pre}->{self.post}"


@dataclass(frozen=True, eq=False)
class Protocol:
    """What a presentation needs beyond one pass of T steps (SRP, COS).

    kind : ``"srp"``: all hidden populations run tau steps; then v = v_init again, and in the T steps that count neuron i
        sends [v_i(tau) > threshold theta_i] n_i. ``"cos"``: population by population, rho steps, then T steps from a
        potential shifted per neuron and sample (equations: ``neuro.engines.protocols``, docs/method.md section 3).
    pre_steps : steps run before the T steps that count; part of every latency: tau, or rho for each hidden population.
    options : ``threshold`` of SRP and ``margin`` of COS, in units of theta (both 0.001 unless given).
    """

    kind: str
    pre_steps: int
    options: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class SpikingNetwork:
    """A graph of populations and projections, validated when made.

    Parameters
    ----------
    populations : in order of computation; the last one is the read-out.
    projections : at least one from ``"input"``.
    input_size : number of input values.
    classes : names of the outputs; empty for regression or unnamed.
    task : ``"classification"`` or ``"regression"``.
    input_low, input_high : range of the inputs seen in calibration.
    protocol : None, or what a presentation needs beyond one pass.
    info : where it came from: method, options, calibration samples, T it was made for, source SHA-256.

    Raises
    ------
    NetworkError : everything that contradicts, at once.
    """

    populations: tuple[Population, ...]
    projections: tuple[Projection, ...]
    input_size: int
    classes: tuple[str, ...] = ()
    task: Literal["classification", "regression"] = "classification"
    input_low: float = 0.0
    input_high: float = 1.0
    protocol: Protocol | None = None
    info: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        causes = _contradictions(self)
        if causes:
            raise NetworkError(problems("the spiking network contradicts itself:", causes))

    def __getitem__(self, name: str) -> Population:
        """Return the population of that name."""
        for population in self.populations:
            if population.name == name:
                return population
        raise NetworkError(f"no population {name!r}; there are {', '.join(p.name for p in self.populations)}")

    @property
    def output(self) -> Population:
        """The read-out: the last population."""
        return self.populations[-1]

    @property
    def depth(self) -> int:
        """L = max(start) + 1; an answer is ready after T + L - 1 steps."""
        return max(p.start for p in self.populations) + 1

    @property
    def exact(self) -> bool:
        """Whether every population computes on a grid, so that sums are exact in any order."""
        return all(p.grid is not None for p in self.populations if p.encoder is None)

    @property
    def recurrent(self) -> bool:
        """Whether a projection reaches the next input of a sequence."""
        return any(p.delay == "window" for p in self.projections)

    @property
    def looped(self) -> bool:
        """Whether a projection returns spikes within the window of the same input."""
        return any(self.lag(j) > 0 for j in self.projections)

    def lag(self, projection: Projection) -> int:
        """Return by how many steps of the window spikes arrive later than they were sent; 0 of forward projections."""
        if projection.pre == INPUT or projection.delay == "window":
            return 0
        return int(self[projection.pre].start + projection.delay - self[projection.post].start)

    def incoming(self, name: str) -> tuple[Projection, ...]:
        """Return the projections that end in ``name``."""
        return tuple(p for p in self.projections if p.post == name)

    def outgoing(self, name: str) -> tuple[Projection, ...]:
        """Return the projections that start in ``name``."""
        return tuple(p for p in self.projections if p.pre == name)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of everything that decides a spike; names a network in recordings and stores."""
        return archive.fingerprint(*_pack(self))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Save as ``.npz`` (no pickle)."""
        header, arrays = _pack(self)
        return archive.save(path, FORMAT, VERSION, header, arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> SpikingNetwork:
        """Load what :meth:`save` wrote; the same spikes come out."""
        header, arrays = archive.load(path, FORMAT, VERSION)
        return _unpack(header, arrays)


def per_neuron(value: Any, size: int, dtype: Any = np.float64) -> Array:
    """Return ``value`` (scalar or (size,)) as a (size,) array."""
    return np.broadcast_to(np.asarray(value, dtype=dtype), (size,))


def csr(weight: Weight) -> sp.csr_array:
    """Return the weight as a csr_array."""
    return weight if sp.issparse(weight) else sp.csr_array(weight)


def fan_out(weight: Weight) -> Array:
    """Synapses leaving each presynaptic neuron: all stored ones of a sparse weight, every one of a dense weight."""
    if sp.issparse(weight):
        return np.bincount(weight.indices, minlength=weight.shape[1]).astype(np.int64)
    return np.full(weight.shape[1], weight.shape[0], dtype=np.int64)


def _contradictions(network: SpikingNetwork) -> list[str]:
    causes: list[str] = []
    names = [p.name for p in network.populations]
    if not names:
        return ["there is no population"]
    if INPUT in names:
        causes.append(f"a population is named {INPUT!r}, the name of the port")
    causes += [f"population {n!r} occurs twice" for n in sorted({n for n in names if names.count(n) > 1})]
    by_name = {p.name: p for p in network.populations}
    for p in network.populations:
        causes += _population_problems(p)
    links = Counter(j.name for j in network.projections if j.pre != INPUT)
    causes += [
        f"projection {name} occurs {count} times; add the weights, or give a copy of {name.split('->')[0]} one of them"
        for name, count in sorted(links.items())
        if count > 1
    ]
    loops = _on_loops(network.projections, by_name)
    for j in network.projections:
        causes += _projection_problems(j, by_name, network.input_size, (j.pre, j.post) in loops)
    if not any(j.pre == INPUT for j in network.projections):
        causes.append("no projection starts at the port 'input'")
    reached = {j.post for j in network.projections}
    for p in network.populations:
        if p.name not in reached:
            causes.append(f"population {p.name!r} has no incoming projection")
    if network.protocol is not None:
        causes += _protocol_problems(network, network.protocol)
    return causes


def _on_loops(projections: tuple[Projection, ...], populations: Mapping[str, Population]) -> set[tuple[str, str]]:
    """Return (pre, post) of the projections on a loop within a window: a path of such projections leads back from post to pre."""
    index = {name: i for i, name in enumerate(populations)}
    pairs = {(j.pre, j.post) for j in projections if j.delay != "window" and j.pre in index and j.post in index}
    if not pairs:
        return set()
    pre, post = (np.array([index[pair[i]] for pair in pairs]) for i in (0, 1))
    graph = sp.csr_array((np.ones(len(pairs)), (pre, post)), shape=(len(index), len(index)))
    _, component = connected_components(graph, directed=True, connection="strong")
    return {(a, b) for a, b in pairs if component[index[a]] == component[index[b]]}


def _protocol_problems(network: SpikingNetwork, protocol: Protocol) -> list[str]:
    what = f"protocol {protocol.kind!r}"
    if protocol.kind not in ("srp", "cos"):
        return [f"{what}: expected 'srp' or 'cos'"]
    causes = []
    hidden = [p for p in network.populations[:-1] if p.encoder is None and p.reset is not None]
    layers = max(len(hidden), 1) if protocol.kind == "cos" else 1
    if protocol.pre_steps < 1 or protocol.pre_steps % layers:
        causes.append(f"{what}: pre_steps {protocol.pre_steps}, expected a positive multiple of {layers}, the hidden populations")
    if network.recurrent:
        causes.append(f"{what}: a projection with delay 'window' carries spikes to the next input; protocols present single inputs")
    if network.looped:
        causes.append(f"{what}: a projection returns spikes within the window; protocols present populations one after the other")
    if protocol.kind == "cos":
        causes += [
            f"{what}: {p.name} must fire single unsigned spikes, reset by subtraction, without refractory steps"
            for p in hidden
            if p.reset != "subtract" or p.max_spikes > 1 or p.signed or p.refractory
        ]
    return causes


def _population_problems(p: Population) -> list[str]:
    causes = []

    def check(name: str, value: Any, positive: bool = False) -> None:
        array = np.asarray(value, dtype=np.float64)
        if array.ndim and array.shape != (p.size,):
            causes.append(f"{p.name}: {name} has shape {array.shape}, expected a scalar or ({p.size},)")
        elif not np.isfinite(array).all():
            causes.append(f"{p.name}: {name} holds NaN or infinity")
        elif positive and not (array > 0).all():
            causes.append(f"{p.name}: {name} must be positive, lowest is {array.min():g}")

    if p.size < 1:
        causes.append(f"{p.name}: size {p.size}, expected 1 or more")
    if p.start < 0:
        causes.append(f"{p.name}: start {p.start}, expected 0 or more")
    if p.reset not in ("subtract", "zero", None):
        causes.append(f"{p.name}: reset {p.reset!r}, expected 'subtract', 'zero' or None")
    if p.comparison not in (">=", ">"):
        causes.append(f"{p.name}: comparison {p.comparison!r}, expected '>=' or '>'")
    if p.reset is not None and p.v_threshold is None and p.encoder is None:
        causes.append(f"{p.name}: fires (reset={p.reset!r}) but has no v_threshold")
    if p.v_threshold is not None:
        check("v_threshold", p.v_threshold, positive=True)
    check("amplitude", p.amplitude, positive=True)
    check("v_init", p.v_init)
    check("scale", p.scale, positive=True)
    if p.grid is not None:
        check("grid", p.grid, positive=True)
    if p.bias is not None:
        bias = np.asarray(p.bias)
        if bias.shape != (p.size,) and not (bias.ndim == 2 and bias.shape[1] == p.size and bias.shape[0] >= 1):
            causes.append(f"{p.name}: bias has shape {bias.shape}, expected ({p.size},) or (T, {p.size})")
        elif not np.isfinite(bias).all():
            causes.append(f"{p.name}: bias holds NaN or infinity")
    if p.max_spikes < 1:
        causes.append(f"{p.name}: max_spikes {p.max_spikes}, expected 1 or more")
    if p.max_spikes > 1 and p.reset == "zero":
        causes.append(f"{p.name}: reset to zero with max_spikes {p.max_spikes} loses potential; use reset='subtract'")
    if p.signed and (p.reset != "subtract" or p.max_spikes > 1):
        causes.append(f"{p.name}: signed spikes need reset='subtract' and max_spikes=1")
    if p.signed_floor and not p.signed:
        causes.append(f"{p.name}: signed_floor is a rule of signed spikes; set signed=True as well")
    if p.refractory < 0:
        causes.append(f"{p.name}: refractory {p.refractory}, expected 0 or more")
    if p.overflow not in ("saturate", "wrap"):
        causes.append(f"{p.name}: overflow {p.overflow!r}, expected 'saturate' or 'wrap'")
    if p.overflow == "wrap" and (p.v_floor is None or p.v_ceiling is None):
        causes.append(f"{p.name}: wrap-around needs v_floor and v_ceiling")
    if p.v_floor is not None and p.v_ceiling is not None and not p.v_floor < p.v_ceiling:
        causes.append(f"{p.name}: v_floor {p.v_floor:g} is not below v_ceiling {p.v_ceiling:g}")
    if p.leak is not None and p.grid is not None and p.leak.kind == "exact":
        causes.append(f"{p.name}: an exact exponential leak leaves the grid; use grid=None or a shift or decay12 leak")
    return causes


def _projection_problems(j: Projection, populations: Mapping[str, Population], input_size: int, on_loop: bool) -> list[str]:
    causes = []
    post = populations.get(j.post)
    if post is None:
        return [f"projection {j.name}: no population {j.post!r}"]
    from_port = j.pre == INPUT
    pre = populations.get(j.pre)
    if pre is None and not from_port:
        return [f"projection {j.name}: no population {j.pre!r}"]
    n_pre = input_size if from_port else pre.size  # type: ignore[union-attr]
    if tuple(j.weight.shape) != (post.size, n_pre):
        causes.append(f"projection {j.name}: weight has shape {tuple(j.weight.shape)}, expected ({post.size}, {n_pre})")
    values = j.weight.data if sp.issparse(j.weight) else j.weight
    if not np.isfinite(values).all():
        causes.append(f"projection {j.name}: weight holds NaN or infinity")
    if j.delay == "window":
        if from_port:
            causes.append(f"projection {j.name}: the port has no delay 'window'")
        return causes
    if isinstance(j.delay, bool) or not isinstance(j.delay, int | np.integer):
        causes.append(f"projection {j.name}: delay {j.delay!r}, expected an integer or 'window'")
    elif from_port:
        if j.delay != 0:
            causes.append(f"projection {j.name}: delay {j.delay}, expected 0 from the port")
    elif j.delay < 1:
        causes.append(f"projection {j.name}: delay {j.delay}, expected 1 or more")
    elif post.start != pre.start + j.delay and not (on_loop and post.start <= pre.start):  # type: ignore[union-attr]
        causes.append(
            f"projection {j.name}: {post.name}.start = {post.start}, expected "
            f"{j.pre}.start + delay = {pre.start} + {j.delay}"  # type: ignore[union-attr]
        )
    if not from_port and post.encoder is not None:
        causes.append(f"projection {j.name}: {j.post} encodes the input and takes nothing but the port")
    if not from_port and not pre.spiking:  # type: ignore[union-attr]
        causes.append(f"projection {j.name}: {j.pre} only integrates (reset=None), it sends nothing")
    return causes


# -- saving -----------------------------------------------------------------------------------------


def put(arrays: dict[str, Array], key: str, value: Any) -> Any:
    """Move an array or sparse matrix into ``arrays``; return what stands for it in the header."""
    if sp.issparse(value):
        matrix = sp.csr_array(value)
        arrays[f"{key}.data"], arrays[f"{key}.indices"], arrays[f"{key}.indptr"] = (
            matrix.data,
            matrix.indices,
            matrix.indptr,
        )
        return {"csr": key, "shape": list(matrix.shape)}
    if isinstance(value, np.ndarray):
        if value.ndim == 0:
            return value.item()
        arrays[key] = value
        return {"array": key}
    if isinstance(value, np.generic):
        return value.item()
    return value


def get(arrays: Mapping[str, Array], value: Any) -> Any:
    """Undo :func:`put`."""
    if isinstance(value, dict) and set(value) == {"array"}:
        return arrays[value["array"]]
    if isinstance(value, dict) and set(value) == {"csr", "shape"}:
        key = value["csr"]
        parts = (arrays[f"{key}.data"], arrays[f"{key}.indices"], arrays[f"{key}.indptr"])
        return sp.csr_array(parts, shape=tuple(value["shape"]))
    return value


def _pack_fields(thing: Any, arrays: dict[str, Array], prefix: str) -> dict[str, Any]:
    packed: dict[str, Any] = {}
    for f in fields(thing):
        value = getattr(thing, f.name)
        if isinstance(value, Leak | CurrentFormat):
            packed[f.name] = _pack_fields(value, arrays, f"{prefix}.{f.name}")
        else:
            packed[f.name] = put(arrays, f"{prefix}.{f.name}", value)
    return packed


def _pack(network: SpikingNetwork) -> tuple[dict[str, Any], dict[str, Array]]:
    arrays: dict[str, Array] = {}
    header = {
        "populations": [_pack_fields(p, arrays, f"population{i}") for i, p in enumerate(network.populations)],
        "projections": [_pack_fields(j, arrays, f"projection{i}") for i, j in enumerate(network.projections)],
        "input_size": network.input_size,
        "classes": list(network.classes),
        "task": network.task,
        "input_low": float(network.input_low),
        "input_high": float(network.input_high),
        "protocol": None
        if network.protocol is None
        else {
            "kind": network.protocol.kind,
            "pre_steps": network.protocol.pre_steps,
            "options": dict(network.protocol.options),
        },
        "info": dict(network.info),
    }
    return header, arrays


def _unpack(header: Mapping[str, Any], arrays: Mapping[str, Array]) -> SpikingNetwork:
    def restore(cls: type, packed: Mapping[str, Any]) -> Any:
        values = {name: get(arrays, value) for name, value in packed.items()}
        for name, inner in (("leak", Leak), ("current", CurrentFormat)):
            if isinstance(values.get(name), dict):
                values[name] = restore(inner, values[name])
        return cls(**values)

    try:
        return SpikingNetwork(
            populations=tuple(restore(Population, p) for p in header["populations"]),
            projections=tuple(restore(Projection, p) for p in header["projections"]),
            input_size=header["input_size"],
            classes=tuple(header["classes"]),
            task=header["task"],
            input_low=header["input_low"],
            input_high=header["input_high"],
            protocol=None if header["protocol"] is None else Protocol(**header["protocol"]),
            info=header["info"],
        )
    except (KeyError, TypeError) as error:
        raise NetworkError(f"the saved network is incomplete or damaged: {error}") from error


__all__ = [
    "CurrentFormat",
    "Leak",
    "Population",
    "Projection",
    "Protocol",
    "SpikingNetwork",
    "csr",
    "fan_out",
    "per_neuron",
    "replace",
]
