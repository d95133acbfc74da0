"""Where a network sits on a chip: cores, what each uses of its limits, and the routes of the spikes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .network import get, put

Array = np.ndarray


@dataclass(frozen=True)
class Part:
    """Neurons [first, last) of one population, in one core."""

    population: str
    first: int
    last: int

    @property
    def size(self) -> int:
        """Number of neurons."""
        return self.last - self.first


@dataclass(frozen=True)
class Core:
    """One physical core in use.

    Parameters
    ----------
    parts : what it holds; more than one only where a chip has too few cores to keep populations apart.
    chip : number of the chip. tile : number of the tile within its chip. slot : core within its tile.
    x, y : tile coordinates within the chip (east, south); None where the chip's mesh is not known.
    use : {resource: amount}, to be held against ``Placement.limits``.
    """

    parts: tuple[Part, ...]
    chip: int
    tile: int
    slot: int
    x: int | None
    y: int | None
    use: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Route:
    """How the spikes of one projection travel. Arrays are (n_pre,): per presynaptic neuron, for one spike.

    Parameters
    ----------
    pre, post : populations. The host's spikes (``pre`` an encoder) have no place on the mesh: hops are None.
    messages : cores one spike is sent to.
    within_tile : of these, cores in the sender's own tile.
    between_chips : of these, cores on another chip.
    hops_east_west, hops_north_south : tile hops, summed over the messages; None where the mesh is not known.
    """

    pre: str
    post: str
    messages: Array
    within_tile: Array
    between_chips: Array
    hops_east_west: Array | None
    hops_north_south: Array | None

    @property
    def name(self) -> str:
        """``"pre->post"``."""
        return f"{self.pre}->{self.post}"


@dataclass(frozen=True, eq=False)
class Placement:
    """A network on a chip.

    Parameters
    ----------
    cores : in use, in the order of the network's populations.
    routes : one a projection between populations.
    limits : {resource: limit of one core}.
    compartments : {population: compartments a neuron takes}; an encoder takes none (its spikes come from the host).
    n_chips, n_tiles : in use.
    cores_per_chip, mesh : of the chip; mesh (width, height) in tiles, None where not known.
    traffic : spikes times hops of one inference, the cost that was minimised, for the spike counts it was given.
    notes : what was assumed.
    """

    cores: tuple[Core, ...]
    routes: tuple[Route, ...]
    limits: Mapping[str, float]
    compartments: Mapping[str, int]
    n_chips: int
    n_tiles: int
    cores_per_chip: int
    mesh: tuple[int, int] | None
    traffic: float | None
    notes: tuple[str, ...] = ()

    def cores_of(self, population: str) -> tuple[int, ...]:
        """Return the numbers of the cores that hold neurons of a population."""
        return tuple(i for i, core in enumerate(self.cores) if any(p.population == population for p in core.parts))

    def core_of_neuron(self, population: str) -> Array:
        """Return the core number of each neuron of a population, (size,) int; empty for one that is not on the chip."""
        parts = sorted((p.first, p.last, i) for i, c in enumerate(self.cores) for p in c.parts if p.population == population)
        return np.concatenate([np.full(last - first, i) for first, last, i in parts]) if parts else np.zeros(0, int)

    def utilisation(self) -> dict[str, tuple[float, float]]:
        """Return {resource: (mean, highest)} share of its limit over the cores in use."""
        shares = {}
        for name, limit in self.limits.items():
            used = [core.use.get(name, 0.0) / limit for core in self.cores]
            shares[name] = (float(np.mean(used)), float(np.max(used)))
        return shares

    @property
    def tiles_per_chip(self) -> int:
        """Tiles in use on the chip that uses most."""
        tiles: dict[int, set[int]] = {}
        for core in self.cores:
            tiles.setdefault(core.chip, set()).add(core.tile)
        return max((len(t) for t in tiles.values()), default=0)


def pack(placement: Placement) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return (JSON header, arrays) of a placement."""
    arrays: dict[str, Array] = {}
    header: dict[str, Any] = {name: getattr(placement, name) for name in _PLAIN}
    header["mesh"] = None if placement.mesh is None else list(placement.mesh)
    header["notes"] = list(placement.notes)
    header["limits"], header["compartments"] = dict(placement.limits), dict(placement.compartments)
    header["cores"] = [
        {
            "parts": [[p.population, p.first, p.last] for p in core.parts],
            **{name: getattr(core, name) for name in _CORE},
            "use": dict(core.use),
        }
        for core in placement.cores
    ]
    header["routes"] = [
        {"pre": r.pre, "post": r.post, **{name: put(arrays, f"route{i}.{name}", getattr(r, name)) for name in _ROUTE}}
        for i, r in enumerate(placement.routes)
    ]
    return header, arrays


def unpack(header: Mapping[str, Any], arrays: Mapping[str, Array]) -> Placement:
    """Undo :func:`pack`."""
    cores = tuple(
        Core(parts=tuple(Part(*p) for p in c["parts"]), use=c["use"], **{name: c[name] for name in _CORE}) for c in header["cores"]
    )
    routes = tuple(Route(pre=r["pre"], post=r["post"], **{name: get(arrays, r[name]) for name in _ROUTE}) for r in header["routes"])
    return Placement(
        cores=cores,
        routes=routes,
        limits=header["limits"],
        compartments=header["compartments"],
        mesh=None if header["mesh"] is None else (header["mesh"][0], header["mesh"][1]),
        notes=tuple(header["notes"]),
        **{name: header[name] for name in _PLAIN},
    )


_PLAIN = ("n_chips", "n_tiles", "cores_per_chip", "traffic")
_CORE = ("chip", "tile", "slot", "x", "y")
_ROUTE = ("messages", "within_tile", "between_chips", "hops_east_west", "hops_north_south")
