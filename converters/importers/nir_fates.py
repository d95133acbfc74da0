"""What became of each node of a NIR graph: the population or the projections that hold it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice

from neuro.network import Population

from .affine_maps import INPUT, Affine
from .nir_file import NirGraph, NirNode
from .nir_loops import Loops

MOST = 4  # projections named for one node
UNCHANGED = ("Flatten", "Identity", "Input of a subgraph", "Output of a subgraph")


def fates(
    graph: NirGraph, loops: Loops, values: Mapping[str, Affine], of_node: Mapping[str, int], populations: Sequence[Population]
) -> list[dict[str, str]]:
    """Return {"node", "becomes"} of every node, in the order of computation.

    Parameters
    ----------
    values : {node: the affine value of the populations that it gives}.
    of_node : {neuron node: number of its population}.
    populations : in the order of their numbers; one without a node is the read-out that adds up what leaves the graph.
    """
    names = [p.name for p in populations]
    readout = [name for i, name in enumerate(names) if i not in of_node.values()]
    targets = _targets(graph, loops, {node: names[i] for node, i in of_node.items()}, readout)
    return [
        {"node": graph.nodes[name].label, "becomes": _fate(graph.nodes[name], loops, values.get(name), targets[name], of_node, names, readout)}
        for name in loops.order
    ]


def _targets(graph: NirGraph, loops: Loops, neurons: Mapping[str, str], readout: Sequence[str]) -> dict[str, list[str]]:
    """Return {node: populations that it leads to without other neurons in between}."""
    targets: dict[str, list[str]] = {name: [] for name in loops.order}
    for _ in range(2):  # twice, because an edge that closes a loop leads to nodes before its own
        for name in reversed(loops.order):
            found: dict[str, None] = {}
            for after in graph.after(name):
                if after in neurons:
                    found[neurons[after]] = None
                elif graph.nodes[after].kind == "Output":
                    found.update(dict.fromkeys(readout))
                elif after not in loops.thresholds:
                    found.update(dict.fromkeys(targets[after]))
                if len(found) > MOST:
                    break
            targets[name] = list(found)
    return targets


def _fate(
    node: NirNode,
    loops: Loops,
    value: Affine | None,
    targets: Sequence[str],
    of_node: Mapping[str, int],
    names: Sequence[str],
    readout: Sequence[str],
) -> str:
    if node.kind == "Input":
        return f"the input port, {_shape(value)} values"
    if node.kind == "Output":
        return f"the read-out {readout[0]!r}, which adds up what arrives" if readout else "the answer: what its population gives"
    if node.name in of_node:
        return f"population {names[of_node[node.name]]!r}, {_shape(value)} neurons"
    if node.name in loops.thresholds:
        return f"the threshold of {names[of_node[loops.thresholds[node.name]]]!r}"
    if node.name in loops.feedbacks:
        return f"the reset by subtraction of {names[of_node[loops.feedbacks[node.name]]]!r}"
    if node.kind in UNCHANGED:
        return "nothing: it changes no value"
    sources = ["input" if s == INPUT else names[s] for s in islice(value.terms if value is not None else (), MOST + 1)]
    pairs = [f"{a} -> {b}" for a in sources for b in targets]
    shown = ", ".join(pairs[:MOST]) + (" and others" if len(pairs) > MOST else "")
    return f"the delay of {shown}" if node.kind == "Delay" else f"part of {shown}"


def _shape(value: Affine | None) -> str:
    return " x ".join(map(str, value.shape)) if value is not None else ""


__all__ = ["fates"]
