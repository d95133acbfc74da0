"""The loops of a NIR graph: resets by feedback, recurrence from input to input of a sequence, recurrence within an input.

Edges take no time in NIR, so a loop says when its spikes return only by its Delay nodes. Where there are none, the simulators
compute the node to which the loop leads back from the spikes of the step before: the loop takes one step. Which edge leads back
is seen from the input: depth first, in the order of the file, it is the edge to a node that is still being followed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from graphlib import TopologicalSorter

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from neuro.errors import UnsupportedModelError

from .nir_file import NirGraph
from .nir_metadata import LAG

WINDOW = "window"
MOST = 500  # edges that lead back; each is followed through the graph

Edge = tuple[str, str]


@dataclass(frozen=True)
class ResetLoop:
    """Reset by feedback: integrator -> threshold -> minus theta -> the same integrator."""

    integrator: str
    threshold: str
    feedback: str


@dataclass(frozen=True, eq=False)
class Loops:
    """Every edge that closes a loop, by what it means, and the order of computation without them.

    Parameters
    ----------
    resets : {integrator: its reset by feedback}.
    echoes : edges over which spikes reach the next input of a sequence (graphs of ours alone).
    returns : edges over which spikes return within the input.
    members : nodes on a loop of the last kind.
    order : nodes, each after those it depends on.
    """

    resets: Mapping[str, ResetLoop]
    echoes: tuple[Edge, ...]
    returns: tuple[Edge, ...]
    members: frozenset[str]
    order: tuple[str, ...]

    def cuts(self, a: str, b: str) -> bool:
        """Whether the edge closes a loop, so that its values are not there yet when ``b`` is computed."""
        return (a, b) in self._closing

    @cached_property
    def _closing(self) -> frozenset[Edge]:
        return frozenset({(r.feedback, r.integrator) for r in self.resets.values()} | {*self.echoes, *self.returns})

    @cached_property
    def thresholds(self) -> Mapping[str, str]:
        """{threshold of a reset by feedback: its integrator}."""
        return {reset.threshold: reset.integrator for reset in self.resets.values()}

    @cached_property
    def feedbacks(self) -> Mapping[str, str]:
        """{feedback of a reset: its integrator}."""
        return {reset.feedback: reset.integrator for reset in self.resets.values()}


def find_loops(graph: NirGraph, ours: bool, causes: list[str]) -> Loops:
    """Return the loops of a graph; what cannot be understood goes to ``causes``."""
    resets = _resets(graph, ours, causes)
    stated: dict[str, list[Edge]] = {WINDOW: [], LAG: []}
    if ours:
        for a, b in graph.edges:
            said = graph.nodes[a].metadata
            if said.get("delay") == WINDOW:
                stated[WINDOW].append((a, b))
            elif LAG in said:
                stated[LAG].append((a, b))
    known = {(r.feedback, r.integrator) for r in resets.values()} | set(stated[WINDOW])
    after: dict[str, list[str]] = {name: [] for name in graph.nodes}
    for a, b in graph.edges:
        if (a, b) not in known:
            after[a].append(b)
    returns = (*stated[LAG], *_leading_back(graph, after, set(stated[LAG])))
    if len(returns) > MOST:
        raise UnsupportedModelError(f"{len(returns):,} connections lead back to an earlier node, at most {MOST:,} are read")
    closing = known | set(returns)
    sorter: TopologicalSorter[str] = TopologicalSorter({name: () for name in graph.nodes})
    for a, b in graph.edges:
        if (a, b) not in closing:
            sorter.add(b, a)
    return Loops(resets, tuple(stated[WINDOW]), returns, _members(after, returns), tuple(sorter.static_order()))


def _resets(graph: NirGraph, ours: bool, causes: list[str]) -> dict[str, ResetLoop]:
    nodes, found = graph.nodes, dict[str, list[ResetLoop]]()
    for name, node in nodes.items():
        if node.kind not in ("Scale", "Linear", "Affine") or (ours and LAG in node.metadata):
            continue
        before, after = graph.before(name), graph.after(name)
        if len(before) != 1 or len(after) != 1 or nodes[before[0]].kind != "Threshold":
            continue
        threshold, integrator = before[0], after[0]
        if nodes[integrator].kind in ("I", "LI", "CubaLI") and graph.before(threshold) == (integrator,):
            found.setdefault(integrator, []).append(ResetLoop(integrator, threshold, name))
    resets = {}
    for integrator, loops in found.items():
        # A neuron may also listen to its own spikes: beside a Scale, a matrix is recurrence.
        chosen = [loop for loop in loops if nodes[loop.feedback].kind == "Scale"] or loops
        if len(chosen) > 1:
            causes.append(f"{nodes[integrator].label}  is reset by {len(chosen)} feedbacks, expected one")
        resets[integrator] = chosen[0]
    return resets


def _leading_back(graph: NirGraph, after: Mapping[str, list[str]], stated: set[Edge]) -> list[Edge]:
    """Return the edges that lead back to a node that is still being followed, depth first from the inputs."""
    roots = sorted(graph.nodes, key=lambda name: graph.nodes[name].kind != "Input")
    done: set[str] = set()
    found = []
    for root in roots:
        if root in done:
            continue
        followed: dict[str, Iterator[str]] = {root: iter(after[root])}  # in the order in which they were entered
        while followed:
            name = next(reversed(followed))
            step = next(followed[name], None)
            if step is None:
                done.add(name)
                del followed[name]
            elif (name, step) in stated:
                continue
            elif step in followed:
                found.append((name, step))
            elif step not in done:
                followed[step] = iter(after[step])
    return found


def _members(after: Mapping[str, list[str]], returns: tuple[Edge, ...]) -> frozenset[str]:
    """Return the nodes on a loop that one of these edges closes."""
    names = list(after)
    index = {name: i for i, name in enumerate(names)}
    edges = [(index[a], index[b]) for a, targets in after.items() for b in targets]
    if not returns or not edges:
        return frozenset()
    pre, post = np.array(edges).T
    links = sp.csr_array((np.ones(len(edges)), (pre, post)), shape=(len(names), len(names)))
    _, component = connected_components(links, directed=True, connection="strong")
    closed = {component[index[a]] for a, b in returns if component[index[a]] == component[index[b]]}
    return frozenset(name for name in names if component[index[name]] in closed)


__all__ = ["WINDOW", "Loops", "ResetLoop", "find_loops"]
