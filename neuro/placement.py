"""Populations -> cores of a chip, and the routes their spikes take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
import numpy as np

from .chip import Chip
from .encoding import generator
from .errors import CapacityError, problems
from .floorplan import Core, Part, Placement, Route
from .formats import weight_format
from .mapping import anneal, by_column, cost, near_centre
from .network import INPUT, Population, Projection, SpikingNetwork
from .partition import Demand, Excess, pack, parts_of, reached, split, whole_network

Array = np.ndarray
DEFAULT_RATE = 1.0  # spikes a neuron and inference where no activity is given: every neuron alike
RANDOM_NUMBERS = "placement"
SMALL = 60  # cores up to which annealing is repeated


class PlacementOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How to place.

    ``order``: ``"annealed"`` (fewest spikes x hops), ``"in_order"``, ``"random"`` (over the whole chip) or
    ``"random_compact"`` (inside the fewest tiles); ``seed``: of the last two and of annealing; ``n_chips``: most chips
    to use, None: as many as the chip's systems have; ``weight_bits``: stored bits a weight.
    """

    order: Literal["annealed", "in_order", "random", "random_compact"] = "annealed"
    seed: int = 0
    n_chips: int | None = None
    weight_bits: int | None = None


def place(
    network: SpikingNetwork,
    chip: Chip,
    compartments: Mapping[str, int],
    options: PlacementOptions | None = None,
    activity: Mapping[str, Any] | None = None,
) -> Placement:
    """Place a network on a chip.

    Parameters
    ----------
    compartments : {population: compartments a neuron takes}.
    activity : {population: spikes of each neuron in one inference, scalar or (size,)}; None: all neurons alike.

    Raises
    ------
    CapacityError : every excess, with its use, the limit and what would make it fit.
    """
    options = options or PlacementOptions()
    demand = Demand(network, chip, weight_format(chip, options.weight_bits), compartments)
    excesses, cuts, packed = survey(demand, options)
    if excesses:
        raise CapacityError(problems(f"the network does not fit {chip.name}:", [str(e) for e in excesses], "Nothing was placed."))
    if chip.limits.layer_per_core is not None and chip.limits.layer_per_core.value:
        return _layer_per_core(demand)
    parts = parts_of(demand, cuts)
    members = _members(len(parts), packed)
    flow = _flow(demand, parts, members, cuts, activity)
    places, notes = _places(demand, flow, options)
    cores = _cores(demand, parts, members, places)
    routes = tuple(_route(demand, j, cores, cuts) for j in network.projections if j.pre != INPUT)
    mesh = _mesh(chip)
    if activity is None:
        notes.append("traffic: no measured activity was given, every neuron was taken to fire alike")
    if any(p.encoder is not None for p in network.populations):
        notes.append("traffic: where the host's spikes enter the mesh is not stated; their hops are not counted")
    return Placement(
        cores=cores,
        routes=routes,
        limits=demand.limits,
        compartments={**{p.name: 0 for p in network.populations}, **compartments},
        n_chips=len({c.chip for c in cores}),
        n_tiles=len({(c.chip, c.tile) for c in cores}),
        cores_per_chip=_count(chip, "cores_per_chip", 1),
        mesh=mesh,
        traffic=None if mesh is None else cost(flow, *_coordinates(chip, places)),
        notes=tuple(notes),
    )


def survey(demand: Demand, options: PlacementOptions) -> tuple[list[Excess], dict[str, Array], list[int] | None]:
    """Return every excess, the borders of the populations' ranges, and each part's core where parts share cores."""
    chip = demand.chip
    excesses = whole_network(demand)
    if chip.limits.layer_per_core is not None and chip.limits.layer_per_core.value:
        return excesses + _layer_excesses(demand), {}, None
    cuts, over = split(demand)
    excesses += over
    stuck = {e.where for e in over}
    needed = sum(len(c) - 1 for name, c in cuts.items() if name not in stuck)
    per_chip = _count(chip, "cores_per_chip", 1)
    n_chips = _count(chip, "chips_max", 1)
    n_chips = n_chips if options.n_chips is None else min(n_chips, options.n_chips)
    if needed <= per_chip * n_chips or over:
        return excesses, cuts, None
    packed = pack([use for *_, use in parts_of(demand, cuts)], demand.limits, per_chip * n_chips)
    if packed is None:
        chips = -(-needed // per_chip)
        most = _count(chip, "chips_max", 1)
        remedy = (
            f"{chips} chips would hold it (n_chips={chips})"
            if chips <= most
            else "narrower layers, fewer weight bits or pruning take fewer cores"
            + ("" if chip.limits.chips_max is not None else "; the chip file states no system of several chips")
        )
        excesses.append(Excess("network", "cores", needed, per_chip * n_chips, remedy))
    return excesses, cuts, packed


def _members(n_parts: int, packed: list[int] | None) -> list[list[int]]:
    """Return the parts of each core."""
    if packed is None:
        return [[i] for i in range(n_parts)]
    cores: dict[int, list[int]] = {}
    for part, core in enumerate(packed):
        cores.setdefault(core, []).append(part)
    return [cores[c] for c in sorted(cores)]


# -- traffic ----------------------------------------------------------------------------------------


def _flow(demand: Demand, parts: list, members: list[list[int]], cuts: Mapping[str, Array], activity: Any) -> Array:
    """Return (n_cores, n_cores) spikes sent from core to core in one inference, one message a core."""
    home = {part: core for core, group in enumerate(members) for part in group}
    index: dict[str, list[int]] = {}
    for i, (p, *_rest) in enumerate(parts):
        index.setdefault(p.name, []).append(i)
    flow = np.zeros((len(members), len(members)))
    for j in demand.network.projections:
        if j.pre not in index:
            continue
        pre = demand.network[j.pre]
        spikes = _spikes(pre, activity)
        messages = reached(j, cuts[j.post]) * spikes
        sent = np.add.reduceat(messages, cuts[j.pre][:-1], axis=1)  # (k_post, k_pre)
        for a, source in enumerate(index[j.pre]):
            for b, target in enumerate(index[j.post]):
                flow[home[source], home[target]] += sent[b, a]
    return flow


def _spikes(p: Population, activity: Mapping[str, Any] | None) -> Array:
    value = DEFAULT_RATE if activity is None else activity.get(p.name, DEFAULT_RATE)
    return np.broadcast_to(np.asarray(value, dtype=np.float64), (p.size,))


def _places(demand: Demand, flow: Array, options: PlacementOptions) -> tuple[Array, list[str]]:
    """Return a place (chip, tile and slot as one number) for each core."""
    chip, n = demand.chip, len(flow)
    per_chip, per_tile = _count(chip, "cores_per_chip", 1), _count(chip, "cores_per_tile", 1)
    chips = -(-n // per_chip)
    notes = []
    if chips > 1:
        notes.append(f"{chips} chips are taken to lie in a row; hops between chips count as tile hops")
    if _mesh(chip) is None:
        notes.append("the chip's mesh is not stated: cores are taken in order and hops are not counted")
        return np.arange(n), notes
    rng = generator(options.seed, RANDOM_NUMBERS, 0)
    compact = -(-n // per_tile) * per_tile
    if options.order == "in_order":
        return np.arange(n), notes
    if options.order == "random":
        return rng.permutation(chips * per_chip)[:n], notes
    if options.order == "random_compact":
        return rng.permutation(compact)[:n], notes
    x, y = _coordinates(chip, np.arange(chips * per_chip))[1:]
    starts = sorted([near_centre(n, x, y), by_column(n, x, y), np.arange(n)], key=lambda places: cost(flow, places, x, y))
    # Two runs where they are cheap: one in a few ends in a slightly worse arrangement.
    found = [anneal(flow, x, y, start, rng) for start in starts[: 2 if n <= SMALL else 1]]
    return min(found, key=lambda places: cost(flow, places, x, y)), notes


def _coordinates(chip: Chip, places: Array) -> tuple[Array, Array, Array]:
    """Return (places, x, y): tile coordinates by place, chips in a row from west to east."""
    mesh = _mesh(chip)
    assert mesh is not None
    every = np.arange(int(places.max()) + 1 if len(places) else 0)
    per_chip, per_tile = _count(chip, "cores_per_chip", 1), _count(chip, "cores_per_tile", 1)
    tile = every % per_chip // per_tile
    return places, every // per_chip * mesh[0] + tile % mesh[0], tile // mesh[0]


def _mesh(chip: Chip) -> tuple[int, int] | None:
    if chip.limits.mesh_width is None or chip.limits.mesh_height is None:
        return None
    return int(chip.limits.mesh_width.value), int(chip.limits.mesh_height.value)


def _count(chip: Chip, name: str, default: int) -> int:
    figure = getattr(chip.limits, name)
    return default if figure is None else int(figure.value)


# -- cores and routes -------------------------------------------------------------------------------


def _cores(demand: Demand, parts: list, members: list[list[int]], places: Array) -> tuple[Core, ...]:
    chip = demand.chip
    mesh = _mesh(chip)
    per_chip, per_tile = _count(chip, "cores_per_chip", 1), _count(chip, "cores_per_tile", 1)
    cores = []
    for group, place_ in zip(members, places.tolist(), strict=True):
        tile = place_ % per_chip // per_tile
        use: dict[str, float] = {}
        for i in group:
            for name, amount in parts[i][3].items():
                use[name] = use.get(name, 0.0) + amount
        cores.append(
            Core(
                parts=tuple(Part(parts[i][0].name, parts[i][1], parts[i][2]) for i in group),
                chip=place_ // per_chip,
                tile=tile,
                slot=place_ % per_tile,
                x=None if mesh is None else tile % mesh[0],
                y=None if mesh is None else tile // mesh[0],
                use=use,
            )
        )
    return tuple(cores)


def _route(demand: Demand, j: Projection, cores: tuple[Core, ...], cuts: Mapping[str, Array]) -> Route:
    """Return how the spikes of one projection travel, per presynaptic neuron."""
    mesh = _mesh(demand.chip)
    n_pre = j.weight.shape[1]
    # Two ranges of the target in one core are one message.
    targets, row = np.unique(_ranges(j.post, cores), return_inverse=True)
    into = np.zeros((len(targets), n_pre), dtype=bool)
    np.logical_or.at(into, row, reached(j, cuts[j.post]))
    messages = into.sum(axis=0)
    if j.pre not in cuts:
        nothing = np.zeros(n_pre, dtype=np.int64)
        return Route(j.pre, j.post, messages, nothing, nothing.copy(), None, None)
    source = np.repeat(_ranges(j.pre, cores), np.diff(cuts[j.pre]))
    chip = np.array([c.chip for c in cores])
    tile = np.array([c.tile for c in cores])

    def total(pairs: Array) -> Array:
        """Sum a (targets, cores) property over the messages of each neuron."""
        return (into * pairs[:, source]).sum(axis=0)

    same_chip = chip[targets][:, None] == chip
    within = total(same_chip & (tile[targets][:, None] == tile))
    between = total(~same_chip)
    east = north = None
    if mesh is not None:
        x = np.array([c.chip * mesh[0] + (c.x or 0) for c in cores])
        y = np.array([c.y or 0 for c in cores])
        east = total(np.abs(x[targets][:, None] - x))
        north = total(np.abs(y[targets][:, None] - y))
    return Route(j.pre, j.post, messages, within, between, east, north)


def _ranges(population: str, cores: tuple[Core, ...]) -> Array:
    """Return the core of each range of a population, in order of its neurons."""
    found = sorted((part.first, i) for i, core in enumerate(cores) for part in core.parts if part.population == population)
    return np.array([i for _, i in found])


# -- chips that give a whole layer to one core ------------------------------------------------------


def _layer_use(demand: Demand, p: Population) -> tuple[float, float]:
    """Return (weight words, neuron words) of a dense layer: c 2^(ceil log2 f) and f.

    Source: synsense/sinabs 904eb893, documentation.
    """
    inputs = sum(j.weight.shape[1] for j in demand.incoming(p.name))
    return float(inputs * 2 ** int(np.ceil(np.log2(max(p.size, 1))))), float(p.size)


def _layer_room(demand: Demand) -> tuple[Array, Array]:
    limits = demand.chip.limits
    n = _count(demand.chip, "cores_per_chip", 1)
    unlimited = np.full(n, np.inf)
    weights = unlimited if limits.weight_words_by_core is None else np.array(limits.weight_words_by_core.value, float)
    neurons = unlimited if limits.neuron_words_by_core is None else np.array(limits.neuron_words_by_core.value, float)
    return weights, neurons


def _layer_assignment(demand: Demand) -> tuple[Array, Array]:
    """Return (cores, whether each layer fits its core) of the assignment in which most layers fit."""
    weights, neurons = _layer_room(demand)
    needs = [_layer_use(demand, p) for p in demand.placed]
    misfit = np.array([[w > weights[c] or n > neurons[c] for c in range(len(weights))] for w, n in needs], dtype=float)
    # Among assignments in which as many fit, the one that wastes least.
    waste = np.array([[min(weights[c] / max(w, 1), 1e6) for c in range(len(weights))] for w, _ in needs])
    from scipy.optimize import linear_sum_assignment  # a quarter of a second to load

    rows, cores = linear_sum_assignment(misfit * 1e9 + waste)
    chosen = np.full(len(needs), -1)
    chosen[rows] = cores
    return chosen, np.array([c >= 0 and not misfit[i, c] for i, c in enumerate(chosen)])


def _layer_excesses(demand: Demand) -> list[Excess]:
    weights, neurons = _layer_room(demand)
    found = []
    remedy = "the chip keeps a layer in one core: use a narrower layer, or convolutions"
    for p in demand.placed:
        need_weights, need_neurons = _layer_use(demand, p)
        for name, use, room in (("weight words", need_weights, weights), ("neuron words", need_neurons, neurons)):
            if use > room.max():
                found.append(Excess(p.name, f"{name} of one core", use, float(room.max()), remedy))
        for name in ("compartments", "biases"):
            limit = demand.limits.get(name)
            use = p.size if name == "compartments" or p.bias is not None else 0
            if limit is not None and use > limit:
                found.append(Excess(p.name, f"{name} of one core", float(use), limit, remedy))
    if len(demand.placed) > len(weights):
        found.append(Excess("network", "cores, one a layer", len(demand.placed), len(weights), "use fewer layers"))
    elif not found and not _layer_assignment(demand)[1].all():
        total = sum(_layer_use(demand, p)[0] for p in demand.placed)
        found.append(Excess("network", "weight words of the cores together", total, float(weights.sum()), remedy))
    return found


def _layer_per_core(demand: Demand) -> Placement:
    weights, neurons = _layer_room(demand)
    chosen, _ = _layer_assignment(demand)
    cuts = {p.name: np.array([0, p.size]) for p in demand.placed}
    cores = []
    for p, c in zip(demand.placed, chosen.tolist(), strict=True):
        words, state = _layer_use(demand, p)
        use = {"compartments": float(p.size), "biases": float(p.size if p.bias is not None else 0)}
        shares = {"weight_words_share": words / weights[c], "neuron_words_share": state / neurons[c]}
        cores.append(Core((Part(p.name, 0, p.size),), 0, c, 0, None, None, {**use, **shares}))
    placed = tuple(cores)
    return Placement(
        cores=placed,
        routes=tuple(_route(demand, j, placed, cuts) for j in demand.network.projections if j.pre != INPUT),
        limits={**demand.limits, "weight_words_share": 1.0, "neuron_words_share": 1.0},
        compartments={**{p.name: 0 for p in demand.network.populations}, **demand.compartments},
        n_chips=1,
        n_tiles=len(placed),
        cores_per_chip=_count(demand.chip, "cores_per_chip", 1),
        mesh=None,
        traffic=None,
        notes=("a dense layer is stored as a convolution with a 1 x 1 kernel over its inputs",),
    )


__all__ = ["Core", "Part", "Placement", "PlacementOptions", "Route", "place", "survey"]
