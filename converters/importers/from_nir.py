"""Read a NIR graph as a SpikingNetwork: affine nodes are composed, neuron nodes become populations.

NIR is a graph of equations without a clock, so what a file leaves open is asked for (``nir_dt``, ``nir_leak``,
``nir_reset`` of LoadOptions) rather than guessed; graphs of this project state it themselves. Edges take no time in
NIR: every layer sees the same T steps, as in the simulators' step loops, which are the windows of ``neuro.network``.

Reset by subtraction is recognised as structure: an integrator (I or LI), a Threshold behind it, and a Scale or diagonal
matrix that feeds minus theta back. Other loops are recurrence within an input (``nir_loops``): their spikes return after what the
Delay nodes of the loop say, or one step later where there are none.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp

from neuro.errors import NetworkError, SpecError, UnsupportedModelError, problems
from neuro.network import INPUT as PORT
from neuro.network import Population, Projection, SpikingNetwork, Weight

from . import graph as g
from . import nir_metadata
from .affine_maps import INPUT, Affine, Budget, added
from .lower import MAX_VALUES, affine
from .nir_affine import AFFINE, operation
from .nir_fates import fates
from .nir_file import NirGraph, NirNode, read_graph
from .nir_loops import WINDOW, Loops, ResetLoop, find_loops
from .nir_neurons import NEURONS, Rule, population_of, rule_of
from .options import LoadOptions
from .safe import guarded

Array = np.ndarray
MOST_FOLLOWED = 5_000
COPIES = ("Output", "Input of a subgraph", "Output of a subgraph", "Identity")


def from_nir(source: Any, options: LoadOptions, samples: Any = None) -> SpikingNetwork:
    """Return the spiking network of a ``.nir`` file or a ``nir.NIRGraph``.

    Raises
    ------
    UnsupportedModelError : a file that cannot be read; every node that has no counterpart, with the reason.
    """
    where = str(source) if isinstance(source, str | os.PathLike) else "the NIR graph"
    _check_options(where, options)
    graph = read_graph(source, where, options)
    with guarded(where, "NIR graph"):
        builder = _Builder(where, graph, options)
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


class _Builder:
    def __init__(self, where: str, graph: NirGraph, options: LoadOptions) -> None:
        self.where, self.graph, self.options = where, graph, options
        self.budget = Budget(options.max_synapses)
        self.causes: list[str] = []
        self.values: dict[str, _Value] = {}
        self.arriving: dict[str, _Value] = {}  # what a node takes, without what returns over loops
        self.populations: list[Population] = []
        self.depths: list[int] = []  # layers before a population
        self.lates: list[int] = []  # steps after the input, delays alone
        self.gains: list[Array] = []  # on what arrives
        self.projections: list[Projection] = []
        self.of_node: dict[str, int] = {}  # neuron node -> its population
        self.ours = nir_metadata.ours(graph.metadata) if graph.metadata else False
        said = graph.metadata.get("dt") if self.ours else None
        self.dt = options.nir_dt if options.nir_dt is not None else said
        self.form = str(graph.metadata.get("form", "")) if self.ours else ""
        self.followed = 0  # nodes passed by what returns
        self.loops: Loops = find_loops(graph, self.ours, self.causes)

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
        if self.causes:
            return None
        for name in self.loops.order:
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
        sources = [a for a in self.graph.before(node.name) if not self.loops.cuts(a, node.name)]
        if not sources:
            raise ValueError("nothing arrives; connect it or delete it")
        found = [self.values[a] for a in sources if a in self.values]
        if len(found) < len(sources):  # what came before could not be read, and was said there; what is wrong here is said too
            if node.kind in NEURONS:
                rule_of(node, self.options, self.dt)
            return None
        arriving = self.arriving[node.name] = self._sum(found)
        if node.kind in NEURONS:
            return self._neurons(node, arriving)
        return self._passed(node, arriving)

    def _passed(self, node: NirNode, arriving: _Value) -> _Value:
        """Return what a node without neurons makes of a value."""
        if node.kind in COPIES:
            return arriving
        if node.kind == "Delay":
            return self._delayed(node, arriving)
        if node.kind in AFFINE:
            if node.name in self.loops.feedbacks:
                return arriving
            op = operation(node, arriving.value.shape)
            return replace(arriving, value=affine(op, g.Node(node.label, op, (), node.name, node.name), [arriving.value], self.budget))
        raise ValueError(f"is no node that can be read; known are {', '.join(sorted((*AFFINE, *NEURONS, 'Delay')))}")

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
        if self.ours and (node.metadata.get("delay") == WINDOW or nir_metadata.LAG in node.metadata):
            return arriving  # said by the projection
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
        if steps[0] and node.name in self.loops.members and arriving.value.offset.any():
            raise ValueError("a bias passes it on a loop, which would be missing in the first steps; put the bias behind the Delay")
        return replace(arriving, late=arriving.late + int(steps[0]))

    # -- neurons ------------------------------------------------------------------------------------

    def _neurons(self, node: NirNode, arriving: _Value) -> _Value | None:
        loop = self.loops.resets.get(node.name)
        if node.kind == "Threshold" and node.name in self.loops.thresholds:
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

    def _reset_by_feedback(self, rule: Rule, loop: ResetLoop) -> Rule:
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
        self.lates.append(late)
        self.gains.append(gain)
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
        self._echoes()
        self._returns()
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
        values = {name: value.value for name, value in self.values.items()}
        nodes = fates(self.graph, self.loops, values, self.of_node, self.populations)
        about = {**about, "info": {**about["info"], "nodes": nodes}}
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

    def _echoes(self) -> None:
        """Add the projections that reach the next input of a sequence."""
        for delay, target in self.loops.echoes:
            value = self.values[delay].value
            for source, matrix in value.terms.items():
                if target not in self.of_node or source == INPUT:
                    self.causes.append(f"{self.graph.nodes[delay].label}  a delay of a window leads from neurons to neurons only")
                    continue
                index = self.of_node[target]
                post = self.populations[index]
                weight = _scaled(matrix, self.gains[index], post.size)
                self.projections.append(Projection(self.populations[source].name, post.name, weight, delay="window"))

    def _returns(self) -> None:
        """Add the projections over which spikes return within the input, and the biases on their way."""
        found: dict[tuple[int, int, int], Affine] = {}
        for a, b in self.loops.returns:
            node = self.graph.nodes[a]
            stated = int(node.metadata[nir_metadata.LAG]) if self.ours and nir_metadata.LAG in node.metadata else 0
            try:
                for index, returned in self._into_neurons(self.values[a], b):
                    lag, value = stated or max(returned.late - self.lates[index], 1), returned.value
                    self._bias(index, value.offset)
                    for source, matrix in value.terms.items():
                        if source == INPUT:
                            raise ValueError("the loop passes values of the input on; it must pass neurons")
                        part = replace(value, terms={source: matrix}, offset=np.zeros(value.size))
                        key = (source, index, lag)
                        found[key] = added(found[key], part) if key in found else part
            except ValueError as error:
                self.causes.append(f"{node.label}  leads back to {b!r}: {error}")
        for (source, index, lag), total in found.items():
            pre, post = self.populations[source], self.populations[index]
            delay = lag + post.start - pre.start
            if delay < 1:
                self.causes.append(
                    f"spikes of {pre.name!r} return to {post.name!r} after {lag} step{'s' * (lag > 1)}, and every spike on the loop takes one step: "
                    f"{1 - delay} more needed; give the loop a Delay, or merge its populations into one"
                )
                continue
            weight = _scaled(total.terms[source], self.gains[index], post.size)
            self.projections.append(Projection(pre.name, post.name, weight, delay=delay))

    def _into_neurons(self, returned: _Value, start: str) -> Iterator[tuple[int, _Value]]:
        """Yield (population, what returns to it) of a value that returns to a node; affine nodes pass it on without their bias."""
        waiting: dict[str, list[_Value]] = {start: [returned]}
        for name in self.loops.order:
            if name not in waiting:
                continue
            self.followed += 1
            if self.followed > MOST_FOLLOWED:
                raise ValueError(f"its loops lead through more than {MOST_FOLLOWED:,} nodes in all")
            value = self._sum(waiting.pop(name))
            if name in self.of_node:
                yield self.of_node[name], value
                continue
            if self.graph.nodes[name].kind == "Output":
                raise ValueError(f"{name!r} would give out what returns")
            passed = self._without_bias(self.graph.nodes[name], value)
            for after in self.graph.after(name):
                if self.loops.cuts(name, after):
                    raise ValueError(f"another loop leads from {name!r} to {after!r} without neurons in between")
                waiting.setdefault(after, []).append(passed)

    def _without_bias(self, node: NirNode, returned: _Value) -> _Value:
        """Return what a node makes of a value that returns; its bias was added when it was first computed."""
        shape = self.arriving[node.name].value.shape
        if returned.value.size != int(np.prod(shape)):
            raise ValueError(f"{node.name!r} sums values of shapes {shape} and {returned.value.shape}")
        silent = _Value(Affine({}, np.zeros(returned.value.size), shape))
        passed = self._passed(node, replace(returned, value=replace(returned.value, shape=shape)))
        return replace(passed, value=replace(passed.value, offset=passed.value.offset - self._passed(node, silent).value.offset))

    def _bias(self, index: int, offset: Array) -> None:
        """Add what returns in every step, spikes or not, to the bias of a population."""
        post = self.populations[index]
        if len(offset) != post.size:
            raise ValueError(f"{post.name!r} has {post.size} neurons, {len(offset)} values return")
        if offset.any():
            before = np.zeros(post.size) if post.bias is None else post.bias
            self.populations[index] = replace(post, bias=before + self.gains[index] * offset)

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
                populations[index] = replace(populations[index], bias=nir_metadata.bias_beside_current(said[j.post]))
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
