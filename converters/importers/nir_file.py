"""Read a NIR graph, from its HDF5 file or from the object of the package ``nir``, into plain named nodes and edges.

Subgraphs are opened up: their nodes are called ``subgraph.node``, and their inputs and outputs become copies. The
package ``nir`` is not needed, and nothing in a file is executed: what is read are numbers, names and edges.

Source: Pedersen et al. 2024, doi:10.1038/s41467-024-52259-9; the file layout of nir 1.0.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from neuro.errors import UnsupportedModelError, problems

from .hdf5 import read_hdf5
from .options import LoadOptions
from .safe import existing, guarded

MAX_NODES = 5_000
MAX_LEVELS = 20


@dataclass(frozen=True, eq=False)
class NirNode:
    """One node: its kind (``"Affine"``, ``"LIF"``, ...), parameters and metadata by name."""

    name: str
    kind: str
    values: Mapping[str, Any]
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """How messages call it."""
        return f"node {self.name!r}  {self.kind}"

    def array(self, name: str) -> np.ndarray:
        """Return a parameter as float64 numbers; raise ValueError where there is none or a number is not finite."""
        if name not in self.values:
            raise ValueError(f"has no {name}")
        try:
            array = np.asarray(self.values[name], dtype=np.float64)
        except (TypeError, ValueError):
            raise ValueError(f"its {name} holds no numbers") from None
        if not np.isfinite(array).all():
            raise ValueError(f"its {name} holds NaN or infinity")
        return array

    def integers(self, name: str, count: int) -> tuple[int, ...]:
        """Return a parameter as ``count`` whole numbers; one number stands for all."""
        array = self.array(name).reshape(-1)
        if array.size not in (1, count) or (array != np.rint(array)).any() or np.abs(array).max(initial=0) > 1 << 30:
            raise ValueError(f"its {name} is {array.tolist()}, expected one or {count} whole numbers")
        return tuple(int(n) for n in np.broadcast_to(array, (count,)))


@dataclass(frozen=True, eq=False)
class NirGraph:
    """Nodes and edges without subgraphs, in the order of the file."""

    nodes: Mapping[str, NirNode]
    edges: tuple[tuple[str, str], ...]
    metadata: Mapping[str, Any]

    def before(self, name: str) -> tuple[str, ...]:
        """Return the nodes whose edges end in ``name``."""
        return self._neighbours[1].get(name, ())

    def after(self, name: str) -> tuple[str, ...]:
        """Return the nodes in which edges of ``name`` end."""
        return self._neighbours[0].get(name, ())

    @cached_property
    def _neighbours(self) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]:
        after: dict[str, list[str]] = {}
        before: dict[str, list[str]] = {}
        for a, b in self.edges:
            after.setdefault(a, []).append(b)
            before.setdefault(b, []).append(a)
        return {k: tuple(v) for k, v in after.items()}, {k: tuple(v) for k, v in before.items()}


def read_graph(source: Any, where: str, options: LoadOptions) -> NirGraph:
    """Return the graph of a ``.nir`` file or of a ``nir.NIRGraph``.

    Raises
    ------
    UnsupportedModelError : a file that is damaged, too large or not NIR; edges that lead nowhere; all of them at once.
    """
    if isinstance(source, str | os.PathLike):
        path: Path = existing(source)
        values, _ = read_hdf5(where, path, options, "nir")
        tree = _tree(values)
        if "node" not in tree:
            raise UnsupportedModelError(f"{where}: an HDF5 file without the group 'node', so not a NIR graph")
        root = tree["node"]
    else:
        with guarded(where, "NIR graph"):
            root = source.to_dict()
    with guarded(where, "NIR graph"):
        return _opened(where, root)


def _tree(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return {"a/b": x} as {"a": {"b": x}}."""
    tree: dict[str, Any] = {}
    for path, value in values.items():
        *groups, last = path.split("/")
        place = tree
        for group in groups:
            place = place.setdefault(group, {})
        place[last] = value
    return tree


def _opened(where: str, root: Any) -> NirGraph:
    if not isinstance(root, dict) or root.get("type") != "NIRGraph":
        kind = root.get("type") if isinstance(root, dict) else type(root).__name__
        raise UnsupportedModelError(f"{where}: holds {kind!r}, expected a 'NIRGraph' with an Input and an Output")
    opener = _Opener()
    opener.add("", root, 0)
    causes = opener.causes
    edges = [(opener.ends.get(a, a), opener.begins.get(b, b)) for a, b in opener.edges]
    for (a, b), count in Counter(edges).items():
        causes += [f"edge {a!r} -> {b!r}: there is no node {end!r}" for end in (a, b) if end not in opener.nodes]
        if count > 1:
            causes.append(f"edge {a!r} -> {b!r}: occurs {count} times; delete all but one")
    if causes:
        raise UnsupportedModelError(problems(f"{where}: the NIR graph is inconsistent:", causes[:100], "Nothing was loaded."))
    metadata = root.get("metadata")
    return NirGraph(opener.nodes, tuple(edges), metadata if isinstance(metadata, dict) else {})


class _Opener:
    """Collects the nodes and edges of a graph and of the graphs inside it."""

    def __init__(self) -> None:
        self.nodes: dict[str, NirNode] = {}
        self.edges: list[tuple[str, str]] = []
        self.begins: dict[str, str] = {}  # subgraph -> its Input
        self.ends: dict[str, str] = {}  # subgraph -> its Output
        self.causes: list[str] = []

    def add(self, prefix: str, graph: Mapping[str, Any], level: int) -> None:
        if level > MAX_LEVELS:
            raise UnsupportedModelError(f"graphs lie inside each other more than {MAX_LEVELS} levels deep")
        nodes = graph.get("nodes", {})
        if not isinstance(nodes, dict):
            raise UnsupportedModelError(f"the nodes of graph {prefix[:-1]!r} are not a group")
        for name, node in nodes.items():
            full = f"{prefix}{name}"
            kind = node.get("type") if isinstance(node, dict) else None
            if not isinstance(kind, str):
                self.causes.append(f"node {full!r}: says no type")
            elif kind == "NIRGraph":
                self.add(f"{full}.", node, level + 1)
                self._port(full, "Input", self.begins)
                self._port(full, "Output", self.ends)
            else:
                inner = level > 0 and kind in ("Input", "Output")
                known = {k: _plain(v) for k, v in node.items() if k not in ("type", "metadata")}
                metadata = node.get("metadata")
                held = {k: _plain(v) for k, v in metadata.items()} if isinstance(metadata, dict) else {}
                self.nodes[full] = NirNode(full, f"{kind} of a subgraph" if inner else kind, known, held)
            if len(self.nodes) > MAX_NODES:
                raise UnsupportedModelError(f"more than {MAX_NODES:,} nodes")
        self.edges += [(f"{prefix}{a}", f"{prefix}{b}") for a, b in _pairs(graph.get("edges", ()))]
        if len(self.edges) > 4 * MAX_NODES:
            raise UnsupportedModelError(f"more than {4 * MAX_NODES:,} edges")

    def _port(self, name: str, kind: str, table: dict[str, str]) -> None:
        prefix = f"{name}."
        own = [n for n in self.nodes if n.startswith(prefix) and self.nodes[n].kind == f"{kind} of a subgraph"]
        own = [n for n in own if not any(n.startswith(f"{inner}.") for inner in (*self.begins, *self.ends) if inner.startswith(prefix))]
        if len(own) == 1:
            table[name] = own[0]
        else:
            self.causes.append(f"subgraph {name!r}: has {len(own)} nodes {kind}, expected one")


def _pairs(edges: Any) -> list[tuple[str, str]]:
    """Return the edges of a file (names in a row) or of an object (pairs)."""
    flat = [name.decode() if isinstance(name, bytes) else name for pair in edges for name in (pair if _is_pair(pair) else [pair])]
    if len(flat) % 2 or not all(isinstance(name, str) for name in flat):
        raise UnsupportedModelError("the edges are not pairs of names")
    return list(zip(flat[::2], flat[1::2], strict=True))


def _is_pair(item: Any) -> bool:
    return isinstance(item, tuple | list | np.ndarray)


def _plain(value: Any) -> Any:
    """Return tensors of frameworks as arrays, and bytes as text."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, np.ndarray) and value.ndim == 0 and value.dtype.kind in "fiub":
        return value.item()
    return value
