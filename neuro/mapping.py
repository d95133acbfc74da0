"""Put cores on the mesh so that spikes travel few hops.

The cost is the sum over pairs of cores of spikes times hops (Manhattan distance in tiles), a quadratic
assignment problem. Simulated annealing swaps the places of two cores, or moves one to a free place.
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray
PROPOSALS_PER_CORE = 1000
MOST_PROPOSALS = 120_000
FIRST, LAST = 0.3, 1e-4  # temperatures, relative to the mean cost of a core
COOL = 0.01  # first temperature where there are too few proposals a core to recover from a hot start


def cost(flow: Array, places: Array, x: Array, y: Array) -> float:
    """Return sum_ab flow_ab (|x_a - x_b| + |y_a - y_b|) for cores at ``places``."""
    px, py = x[places], y[places]
    return float(sum(np.dot(flow[a], np.abs(px - px[a]) + np.abs(py - py[a])) for a in range(len(places))))


def near_centre(n: int, x: Array, y: Array) -> Array:
    """Return n places around the centre of the mesh, nearest first."""
    distance = np.abs(x - (x.max() + x.min()) / 2) + np.abs(y - (y.max() + y.min()) / 2)
    return np.argsort(distance, kind="stable")[:n]


def by_column(n: int, x: Array, y: Array) -> Array:
    """Return n places column by column, so that layers placed one after the other lie side by side."""
    return np.lexsort((y, x))[:n]


def anneal(flow: Array, x: Array, y: Array, start: Array, rng: np.random.Generator) -> Array:
    """Return places of cores with low cost.

    Parameters
    ----------
    flow : (n, n) array, spikes sent from core a to core b.
    x, y : (n_places,) int arrays, tile coordinates of each place.
    start : (n,) int array, first places.
    """
    n = len(start)
    both = flow + flow.T
    np.fill_diagonal(both, 0.0)
    here = start.copy()
    occupant = np.full(len(x), -1)
    occupant[here] = np.arange(n)
    px, py = x[here].astype(float), y[here].astype(float)
    now = cost(flow, here, x, y)
    if n < 2 or now == 0:
        return here
    best, best_cost = here.copy(), now
    proposals = min(PROPOSALS_PER_CORE * n, MOST_PROPOSALS)
    first = FIRST if proposals == PROPOSALS_PER_CORE * n else COOL
    temperatures = now / n * first * (LAST / first) ** (np.arange(proposals) / proposals)
    cores = rng.integers(n, size=proposals)
    places = rng.integers(len(x), size=proposals)
    luck = -np.log(rng.random(proposals))  # accept where delta < T * luck
    # Half of the proposals swap two cores: on a large mesh most places are free and far.
    swap = rng.random(proposals) < 0.5
    others = rng.integers(n, size=proposals)
    for i in range(proposals):
        a = cores[i]
        s = here[a]
        t = here[others[i]] if swap[i] else places[i]
        if t == s or (x[s] == x[t] and y[s] == y[t]):
            continue
        b = occupant[t]
        change = np.abs(px - x[t]) + np.abs(py - y[t]) - np.abs(px - x[s]) - np.abs(py - y[s])
        if b < 0:
            delta = float(both[a] @ change)
        else:
            # Their own distance does not change in a swap.
            gap = 2.0 * both[a, b] * (abs(x[s] - x[t]) + abs(y[s] - y[t]))
            delta = float((both[a] - both[b]) @ change) + gap
        if delta < temperatures[i] * luck[i]:
            here[a], occupant[t] = t, a
            px[a], py[a] = x[t], y[t]
            occupant[s] = b
            if b >= 0:
                here[b] = s
                px[b], py[b] = x[s], y[s]
            now += delta
            if now < best_cost:
                best_cost, best = now, here.copy()
    return best
