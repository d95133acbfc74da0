"""Read a NIR graph as a SpikingNetwork: affine nodes are composed, neuron nodes become populations.

NIR is a graph of equations without a clock, so what a file leaves open is asked for (``nir_dt``, ``nir_leak``,
``nir_reset`` of LoadOptions) rather than guessed; graphs of this project state it themselves. Edges take no time in
NIR: every layer sees the same T steps, as in the simulators' step loops, which are the windows of ``neuro.network``.

Reset by subtraction is recognised as structure: an integrator (I or LI), a Threshold behind it, and a Scale or diagonal
matrix that feeds minus theta back.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from typing import Any

import numpy as np
import scipy.sparse as sp

from neuro.errors import NetworkError, SpecError, UnsupportedModelError, problems
from neuro.network import INPUT as PORT
from neuro.network import Population, Projection, SpikingNetwork, Weight

from . import graph as g
from . import nir_metadata
from .affine_maps import INPUT, Affine, Budget, Windows, added
from .lower import MAX_VALUES, affine
from .nir_file import NirGraph, NirNode, read_graph
from .nir_neurons import NEURONS, Rule, population_of, rule_of
from .options import LoadOptions
from .safe import guarded

Array = np.ndarray
COPIES = ("Output", "Input of a subgraph", "Output of a subgraph", "Identity")
AFFINE = ("Affine", "Linear", "Scale", "Conv1d", "Conv2d", "SumPool2d", "AvgPool2d", "Flatten")
WINDOW = "window"


def from_nir(source: Any, options: LoadOptions, samples: Any = None) -> SpikingNetwork:
    """Return the spiking network of a ``.nir`` file or a ``nir.NIRGraph``.

    Raises
    ------
    UnsupportedModelError : a file that cannot be read; every node that has no counterpart, with the reason.
    """
    where = str(source) if isinstance(source, str | os.PathLike) else "the NIR graph"
    _check_options(where, options)
    graph = read_graph(source, where, options)
    builder = _Builder(where, graph, options)
    with guarded(where, "NIR graph"):
        network = builder.build()
    if network is None or builder.causes:
        causes = builder.causes or ["nothing leads from the input to the output"]
        count = f"{len(causes)} thing{'s' * (len(causes) > 1)}"
        raise UnsupportedModelError(problems(f"{where} has {count} that cannot be taken:", causes[:100], "Nothing was loaded."))
    return _named(network, options)


# Settings of trained networks: a graph says for itself what they say, or has no place for it.
OF_TRAINED = ("input_shape", "layout", "mean", "scale", "orientation", "activation", "check")


def _check_options(where: str, options: LoadOptions) -> None:
    plain = LoadOptions()
    unused = [f"{name}={getattr(options, name)!r}" for name in OF_TRAINED if getattr(options, name) != getattr(plain, name)]
    if unused:
        raise SpecError(problems(f"{where}: a spiking network has no use for these options of load:", unused))


def _named(network: SpikingNetwork, options: LoadOptions) -> SpikingNetwork:
    if options.classes and len(options.classes) != network.output.size:
        raise SpecError(f"{len(options.classes)} class names for {network.output.size} outputs")
    return replace(network, classes=options.classes or network.classes, task=options.task or network.task)


@dataclass(frozen=True, eq=False)
class _Value:
    """What flows along an edge: an affine value of the populations made so far, ``late`` steps after the input."""

    value: Affine
    late: int = 0


@dataclass(frozen=True)
class _Loop:
    """Reset by feedback: threshold node and feedback node of an integrator."""

    integrator: str
    threshold: str
    feedback: str


class _Builder:
    def __init__(self, where: str, graph: NirGraph, options: LoadOptions) -> None:
        self.where, self.graph, self.options = where, graph, options
        self.budget = Budget(options.max_synapses)
        self.causes: list[str] = []
        self.values: dict[str, _Value] = {}
        self.populations: list[Population] = []
        self.depths: list[int] = []  # layers before a population
        self.projections: list[Projection] = []
        self.loops: dict[str, _Loop] = {}  # by integrator
        self.echoes: list[tuple[str, str]] = []  # (delay node, population it reaches)
        self.of_node: dict[str, int] = {}  # neuron node -> its population
        self.ours = nir_metadata.ours(graph.metadata) if graph.metadata else False
        said = graph.metadata.get("dt") if self.ours else None
        self.dt = options.nir_dt if options.nir_dt is not None else said
        self.form = str(graph.metadata.get("form", "")) if self.ours else ""

    # -- the graph ----------------------------------------------------------------------------------

    def build(self) -> SpikingNetwork | None:
        """Return the network, or None with everything that stands in the way in ``causes``."""
        nodes = self.graph.nodes
        inputs = [n for n, node in nodes.items() if node.kind == "Input"]
        outputs = [n for n, node in nodes.items() if node.kind == "Output"]
        for what, found in (("Input", inputs), ("Output", outputs)):
            if len(found) != 1:
                self.causes.append(f"the graph has {len(found)} nodes {what}, expected one")
        for name in self._unused(outputs):
            self.causes.append(f"{nodes[name].label}  leads nowhere; connect it to the output or delete it")
        self._find_loops()
        order = self._order()
        if self.causes or order is None:
            return None
        for name in order:
            node = nodes[name]
            try:
                result = self._apply(node)
            except (ValueError, IndexError) as error:
                self.causes.append(f"{node.label}  {error}")
                result = None
            if result is not None:
                self.values[name] = result
        if self.causes:
            return None
        return self._network(self.values.get(outputs[0]), nodes[outputs[0]], self._input_size(nodes[inputs[0]]))

    def _unused(self, outputs: Sequence[str]) -> list[str]:
        reached, pending = set(outputs), list(outputs)
        before: dict[str, list[str]] = {}
        for a, b in self.graph.edges:
            before.setdefault(b, []).append(a)
        while pending:
            for name in before.get(pending.pop(), ()):
                if name not in reached:
                    reached.add(name)
                    pending.append(name)
        return [n for n in self.graph.nodes if n not in reached]

    def _find_loops(self) -> None:
        """Find reset by feedback: integrator -> threshold -> minus theta -> the same integrator."""
        nodes = self.graph.nodes
        for name, node in nodes.items():
            if node.kind not in ("Scale", "Linear", "Affine"):
                continue
            before, after = self.graph.before(name), self.graph.after(name)
            if len(before) != 1 or len(after) != 1 or nodes[before[0]].kind != "Threshold":
                continue
            threshold, integrator = before[0], after[0]
            if nodes[integrator].kind in ("I", "LI", "CubaLI") and self.graph.before(threshold) == (integrator,):
                if integrator in self.loops:
                    self.causes.append(f"{nodes[integrator].label}  is reset by two feedbacks, expected one")
                self.loops[integrator] = _Loop(integrator, threshold, name)

    def _order(self) -> list[str] | None:
        """Return the nodes in order of computation, without the edges that close loops of resets and of sequences."""
        cut = {(loop.feedback, loop.integrator) for loop in self.loops.values()}
        for a, b in self.graph.edges:
            if self.ours and self.graph.nodes[a].metadata.get("delay") == WINDOW:
                cut.add((a, b))
                self.echoes.append((a, b))
        sorter: TopologicalSorter[str] = TopologicalSorter({name: () for name in self.graph.nodes})
        for a, b in self.graph.edges:
            if (a, b) not in cut:
                sorter.add(b, a)
        try:
            return list(sorter.static_order())
        except CycleError as error:
            circle = " -> ".join(error.args[1][::-1])
            self.causes.append(
                f"the recurrent connection {circle}: spikes would return within the window of one input. The engines run recurrence from one "
                "input of a sequence to the next (delay 'window') and resets by feedback (I, Threshold, Scale); convert an Elman network "
                "instead, or remove the connection and retrain"
            )
            return None

    def _input_size(self, node: NirNode) -> int:
        return int(np.prod(self._shape(node)))

    # -- one node -----------------------------------------------------------------------------------

    def _shape(self, node: NirNode) -> tuple[int, ...]:
        held = next((node.values[key] for key in ("shape", "input_type", "output_type") if node.values.get(key) is not None), None)
        held = next(iter(held.values()), None) if isinstance(held, dict) else held
        if held is None:
            raise ValueError("says no shape")
        shape = np.asarray(held, dtype=np.float64).reshape(-1)
        if not shape.size or (shape != np.rint(shape)).any() or shape.min() < 1 or shape.prod() > MAX_VALUES:
            raise ValueError(f"has the shape {shape.tolist()}, expected 1 to {MAX_VALUES:,} values")
        return tuple(int(n) for n in shape)

    def _apply(self, node: NirNode) -> _Value | None:
        if node.kind == "Input":
            shape = self._shape(node)
            return _Value(Affine({INPUT: None}, np.zeros(int(np.prod(shape))), shape))
        sources = [a for a, b in self.graph.edges if b == node.name and not self._is_cut(a, b)]
        if not sources:
            raise ValueError("nothing arrives; connect it or delete it")
        found = [self.values[a] for a in sources if a in self.values]
        if len(found) < len(sources):  # what came before could not be read, and was said there; what is wrong here is said too
            if node.kind in NEURONS:
                rule_of(node, self.options, self.dt)
            return None
        arriving = self._sum(found)
        if node.kind in COPIES:
            return arriving
        if node.kind == "Delay":
            return self._delayed(node, arriving)
        if node.kind in AFFINE:
            if any(node.name == loop.feedback for loop in self.loops.values()):
                return arriving
            op = _operation(node, arriving.value.shape)
            return replace(arriving, value=affine(op, g.Node(node.label, op, (), node.name, node.name), [arriving.value], self.budget))
        if node.kind in NEURONS:
            return self._neurons(node, arriving)
        raise ValueError(f"is no node that can be read; known are {', '.join(sorted((*AFFINE, *NEURONS, 'Delay')))}")

    def _is_cut(self, a: str, b: str) -> bool:
        loop = self.loops.get(b)
        return (loop is not None and a == loop.feedback) or (a, b) in self.echoes

    def _sum(self, values: Sequence[_Value]) -> _Value:
        first = values[0]
        if len({v.late for v in values}) > 1:
            raise ValueError(
                f"paths of different delays ({', '.join(str(v.late) for v in values)} steps) meet; the engines give every layer the same window"
            )
        total = first.value
        for other in values[1:]:
            if other.value.size != total.size:
                raise ValueError(f"sums values of shapes {total.shape} and {other.value.shape}")
            total = added(total, replace(other.value, shape=total.shape))
        return replace(first, value=total)

    def _delayed(self, node: NirNode, arriving: _Value) -> _Value:
        if node.metadata.get("delay") == WINDOW and self.ours:
            return arriving
        delay = node.array("delay")
        if (delay == 0).all():
            return arriving
        if self.dt is None:
            raise ValueError(f"its delay is {delay.max():g} and the file does not say how long a step is; give nir_dt")
        steps = np.unique(np.rint(delay / self.dt))
        if len(steps) > 1 or np.abs(delay / self.dt - steps[0]).max() > 1e-3 or steps[0] < 0:
            raise ValueError(
                f"delays of {delay.min() / self.dt:g} to {delay.max() / self.dt:g} steps; expected one whole number of steps for all its values"
            )
        return replace(arriving, late=arriving.late + int(steps[0]))

    # -- neurons ------------------------------------------------------------------------------------

    def _neurons(self, node: NirNode, arriving: _Value) -> _Value | None:
        loop = self.loops.get(node.name)
        if node.kind == "Threshold" and any(node.name == other.threshold for other in self.loops.values()):
            return arriving  # its integrator is the population, and already gives its spikes
        rule = rule_of(node, self.options, self.dt)
        if loop is not None:
            rule = self._reset_by_feedback(rule, loop)
        elif rule.threshold is None and self._after(node.name):
            raise ValueError(
                f"gives its potential to {', '.join(self._after(node.name))}; populations send spikes, so an integrator is taken only "
                "before the output, or with a Threshold and a feedback of minus theta behind it"
            )
        value = arriving.value
        population, gain = population_of(self._name(node), value.size, rule)
        population = replace(population, bias=population.bias + gain * value.offset)
        if self.ours:
            population = nir_metadata.to_population(population, node.metadata, self.form)
        index = self._add(population, value, gain, arriving.late)
        self.of_node[node.name] = index
        return _Value(Affine({index: None}, np.zeros(value.size), value.shape), arriving.late)

    def _after(self, name: str) -> list[str]:
        """Return the nodes, copies aside, that take the values of ``name``, other than the output."""
        pending, found, seen = [name], [], {name}
        while pending:
            for after in self.graph.after(pending.pop()):
                if after in seen:
                    continue
                seen.add(after)
                kind = self.graph.nodes[after].kind
                if kind in COPIES or kind == "Flatten":
                    pending.append(after)
                else:
                    found.append(after)
        return found

    def _reset_by_feedback(self, rule: Rule, loop: _Loop) -> Rule:
        nodes = self.graph.nodes
        others = [n for n in self.graph.after(loop.integrator) if n != loop.threshold]
        if others:
            raise ValueError(f"gives its potential to {', '.join(others)} beside its threshold")
        node = nodes[loop.feedback]
        if node.kind == "Scale":
            back = node.array("scale").reshape(-1)
        else:
            weight = node.array("weight")
            back = np.diag(weight) if weight.ndim == 2 and weight.shape[0] == weight.shape[1] else np.zeros(0)
            if not back.size or np.count_nonzero(weight - np.diag(back)) or (node.kind == "Affine" and node.array("bias").any()):
                raise ValueError(f"its feedback {loop.feedback!r} is not diagonal; the engines subtract a neuron's own threshold only")
        if rule.factor == 0:
            raise ValueError("forgets within one step, so that its feedback has no effect; use a Threshold alone")
        amount = -back * rule.gain / rule.factor
        if not (amount > 0).all():
            raise ValueError(f"its feedback {loop.feedback!r} adds to the potential, expected minus a positive threshold")
        return replace(rule, threshold=nodes[loop.threshold].array("threshold").reshape(-1), amount=amount)

    def _name(self, node: NirNode) -> str:
        name = str(node.metadata.get("population", node.name)) if self.ours else node.name
        taken = {p.name for p in self.populations} | {PORT}
        while name in taken:
            name += "_"
        return name

    def _add(self, population: Population, value: Affine, gain: Array, late: int) -> int:
        """Add a population and what reaches it; return its number."""
        if not value.terms:
            raise ValueError("nothing but constants arrives")
        sources = [s for s in value.terms if s != INPUT]
        depth = 1 + max((self.depths[s] for s in sources), default=-1)
        if not self.ours:
            population = replace(population, start=depth + late)
        for source, matrix in value.terms.items():
            weight = _scaled(matrix, gain, value.size)
            if source == INPUT:
                self.projections.append(Projection(PORT, population.name, weight, delay=0))
            else:
                pre = self.populations[source]
                if not pre.spiking:
                    raise ValueError(f"takes the potential of {pre.name!r}, which only integrates")
                self.projections.append(Projection(pre.name, population.name, weight, delay=population.start - pre.start))
        self.populations.append(population)
        self.depths.append(depth)
        return len(self.populations) - 1

    # -- the network --------------------------------------------------------------------------------

    def _network(self, out: _Value | None, node: NirNode, n_in: int) -> SpikingNetwork | None:
        if out is None:
            return None
        last = self._single_source(out.value)
        if last is None:  # weighted sums of spikes leave: a read-out adds them up
            name = self._name(replace(node, name="output", metadata={}))
            population = Population(name, out.value.size, reset=None, bias=out.value.offset)
            try:
                last = self._add(population, out.value, np.ones(out.value.size), out.late)
            except ValueError as error:
                self.causes.append(f"{node.label}  {error}")
                return None
        order = [i for i in range(len(self.populations)) if i != last] + [last]
        self._recurrent()
        if self.causes:
            return None
        populations = [self.populations[i] for i in order]
        projections = self._currents(populations)
        encoder = nir_metadata.to_encoder(self.graph.metadata, n_in) if self.ours else None
        if encoder is not None:
            start = {p.name: p.start for p in populations}
            moved = [replace(j, pre=encoder.name, delay=start[j.post]) if j.pre == PORT else j for j in projections]
            populations = [encoder, *populations]
            projections = [Projection(PORT, encoder.name, sp.eye_array(n_in, format="csr"), delay=0), *moved]
        low, high = self.options.nir_input
        about: Mapping[str, Any] = {"input_low": low, "input_high": high, "info": {"made_by": "converters.importers.from_nir"}}
        if self.ours:
            about = nir_metadata.about(self.where, self.graph.metadata)
        try:
            return SpikingNetwork(tuple(populations), tuple(projections), n_in, **about)
        except NetworkError as error:
            raise UnsupportedModelError(f"{self.where}: {error}") from error

    def _single_source(self, value: Affine) -> int | None:
        """Return the population whose own output leaves the graph."""
        if len(value.terms) == 1 and not value.offset.any():
            ((source, matrix),) = value.terms.items()
            return source if matrix is None and source != INPUT else None
        return None

    def _recurrent(self) -> None:
        """Add the projections that reach the next input of a sequence."""
        for delay, target in self.echoes:
            value = self.values[delay].value
            for source, matrix in value.terms.items():
                if target not in self.of_node or source == INPUT:
                    self.causes.append(f"{self.graph.nodes[delay].label}  a delay of a window leads from neurons to neurons only")
                    continue
                post = self.populations[self.of_node[target]]
                gain = population_of("", post.size, rule_of(self.graph.nodes[target], self.options, self.dt))[1]
                weight = _scaled(matrix, gain, post.size)
                self.projections.append(Projection(self.populations[source].name, post.name, weight, delay="window"))

    def _currents(self, populations: list[Population]) -> list[Projection]:
        """Return the projections with the host's rounding of currents; its offset stands in the Affine's bias as well."""
        if not self.ours:
            return self.projections
        said = {str(n.metadata["current_of"]): n.metadata for n in self.graph.nodes.values() if "current_of" in n.metadata}
        result = []
        for j in self.projections:
            if j.pre == PORT and j.post in said:
                j = nir_metadata.to_projection(j, said[j.post])
                index = next(i for i, p in enumerate(populations) if p.name == j.post)
                populations[index] = replace(populations[index], bias=None)
            result.append(j)
        return result


def _scaled(matrix: Weight | None, gain: Array, size: int) -> Weight:
    """Return diag(gain) M; None stands for the identity."""
    if matrix is None:
        return sp.csr_array(sp.diags_array(gain, format="csr")) if size else sp.csr_array((0, 0))
    if (gain == 1).all():
        return sp.csr_array(matrix, dtype=np.float64) if sp.issparse(matrix) else np.asarray(matrix, dtype=np.float64)
    if sp.issparse(matrix):
        return sp.csr_array(sp.diags_array(gain, format="csr") @ sp.csr_array(matrix, dtype=np.float64))
    return np.asarray(matrix, dtype=np.float64) * gain[:, None]


# -- affine nodes -----------------------------------------------------------------------------------


def _operation(node: NirNode, shape: tuple[int, ...]) -> Any:
    """Return the operation of an affine node; raise ValueError where its parameters make no sense."""
    match node.kind:
        case "Affine" | "Linear":
            weight = node.array("weight")
            if weight.ndim != 2:
                raise ValueError(f"its weight has shape {weight.shape}, expected (n_out, n_in)")
            bias = node.array("bias").reshape(-1) if node.kind == "Affine" else None
            return g.Linear(weight, bias)
        case "Scale":
            scale = node.array("scale")
            if scale.size == int(np.prod(shape)):
                scale = scale.reshape(shape)
            return g.Scale(scale, np.zeros(()))
        case "Conv1d" | "Conv2d":
            return _convolution(node, 1 if node.kind == "Conv1d" else 2)
        case "SumPool2d":
            return g.SumPool(_windows(node, node.integers("kernel_size", 2), 2))
        case "AvgPool2d":
            return g.AveragePool(_windows(node, node.integers("kernel_size", 2), 2), count_padding=True)
        case _:
            return g.Reshape(_flat(node, shape))


def _convolution(node: NirNode, axes: int) -> g.Conv:
    weight = node.array("weight")
    if weight.ndim != axes + 2:
        raise ValueError(f"its weight has shape {weight.shape}, expected (n_out, n_in, {', '.join(['k'] * axes)})")
    bias = node.array("bias").reshape(-1) if node.values.get("bias") is not None else None
    if bias is not None and bias.size != weight.shape[0]:
        raise ValueError(f"its bias has {bias.size} values, expected {weight.shape[0]}")
    padding = node.values.get("padding")
    named = padding if isinstance(padding, str) else ""
    if named not in ("", "same", "valid"):
        raise ValueError(f"its padding is {named!r}, expected whole numbers, 'same' or 'valid'")
    (groups,) = node.integers("groups", 1)
    windows = _windows(node, tuple(weight.shape[2:]), axes, named != "")
    return g.Conv(weight, bias, windows, groups, same="upper" if named == "same" else "")


def _windows(node: NirNode, kernel: tuple[int, ...], axes: int, named: bool = False) -> Windows:
    padding = (0,) * axes if named else node.integers("padding", axes)
    dilation = node.integers("dilation", axes) if "dilation" in node.values else (1,) * axes
    return Windows(kernel, node.integers("stride", axes), tuple((p, p) for p in padding), dilation)


def _flat(node: NirNode, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape behind a Flatten; its axes count from the first after the batch."""
    (start,), (end,) = node.integers("start_dim", 1), node.integers("end_dim", 1)
    rank = len(shape)
    start, end = (d + rank if d < 0 else d for d in (start, end))
    if not 0 <= start <= end < rank:
        # nir's own default is start_dim=1 of a flat sample: there is nothing to join.
        if rank == 1 and start in (0, 1):
            return shape
        raise ValueError(f"joins axes {start} to {end} of shape {shape}")
    return (*shape[:start], int(np.prod(shape[start : end + 1])), *shape[end + 1 :])
