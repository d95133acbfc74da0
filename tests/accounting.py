"""Networks, placements and recordings for the tests of counts, energies and times."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from neuro.activity import Activity, PopulationActivity, activity
from neuro.chip import Chip, Figure, load_chip
from neuro.encoding import with_encoder
from neuro.floorplan import Placement
from neuro.network import Population, Projection, SpikingNetwork
from neuro.placement import PlacementOptions, place
from neuro.validation import assumed

Order = Literal["annealed", "in_order", "random", "random_compact"]
KWS = (390, 256, 256, 29)


@dataclass(frozen=True, eq=False)
class Placed:
    """What a deployment offers to the accounting: a network, its chip and its place on it."""

    network: SpikingNetwork
    chip: Chip
    placement: Placement


def placed(network: SpikingNetwork, chip: str | Chip = "loihi1", compartments: int = 1, order: Order = "in_order") -> Placed:
    """Place a network of integers as it stands."""
    chip = load_chip(chip) if isinstance(chip, str) else chip
    each = {p.name: 0 if p.encoder else (compartments if p.reset == "subtract" else 1) for p in network.populations}
    return Placed(network, chip, place(network, chip, each, PlacementOptions(order=order)))


def dense(sizes: tuple[int, ...], *, encoder: str | None = None, bias: bool = True, fires: bool = False, seed: int = 0) -> SpikingNetwork:
    """A fully connected network of integers with these widths, input first; ``fires``: so does its output."""
    rng = np.random.default_rng(seed)
    populations, projections, pre = [], [], "input"
    for layer, (n_in, n_out) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        last = layer == len(sizes) - 2
        name = "output" if last else f"hidden{layer + 1}"
        weight = rng.integers(-20, 30, (n_out, n_in)).astype(float)
        weight[weight == 0] = 1.0
        silent = last and not fires
        populations.append(
            Population(
                name,
                n_out,
                v_threshold=None if silent else 100.0,
                v_init=0.0 if silent else 50.0,
                reset=None if silent else "subtract",
                bias=rng.integers(1, 9, n_out).astype(float) if bias else None,
                start=layer,
                grid=1.0,
            )
        )
        projections.append(Projection(pre, name, weight, 0 if layer == 0 else 1))
        pre = name
    network = SpikingNetwork(tuple(populations), tuple(projections), sizes[0])
    return with_encoder(network, encoder, 1.0) if encoder else network


def counted(network: SpikingNetwork, rate: float, n_steps: int, deployment: Placed | None = None) -> Activity:
    """The activity of one inference at an assumed rate."""
    return activity(assumed(network, rate, n_steps), deployment if deployment is not None else network)


def invented(rng: np.random.Generator, layers: int = 3, n_steps: int = 8, spikes: bool = True) -> Activity:
    """An activity of random whole numbers, one inference, without cores."""
    names = [f"hidden{i + 1}" for i in range(layers)]
    populations, sizes = [], rng.integers(1, 200, layers + 1)
    sent = [int(rng.integers(0, s * n_steps + 1)) if spikes else 0 for s in sizes]
    for i, name in enumerate(names):
        size = int(sizes[i + 1])
        populations.append(
            PopulationActivity(
                name=name,
                size=size,
                start=i,
                spikes=sent[i + 1] if i < layers - 1 else 0,
                fired=sent[i + 1] if i < layers - 1 else 0,
                synaptic_operations={} if i == 0 else {f"{names[i - 1]}->{name}": sent[i] * size},
                synapses={} if i == 0 else {f"{names[i - 1]}->{name}": (int(sizes[i]), size, int(sizes[i]) * size)},
                input_synapses=int(sizes[0]) * size if i == 0 else 0,
                input_values=int(sizes[0]) if i == 0 else 0,
                input_writes=size if i == 0 else 0,
                bias_switches=2 * size if i else 0,
                output_reads=size if i == layers - 1 else 0,
            )
        )
    return Activity(
        sha256="0" * 64,
        n_inferences=1,
        n_steps=n_steps,
        depth=layers,
        n_positions=1,
        extra_steps=0,
        steps_single=n_steps + layers - 1,
        steps_pipelined=n_steps,
        steps_window=n_steps,
        decided_at=np.array([n_steps]),
        populations=tuple(populations),
        profile={p.name: np.full(n_steps, 1 / n_steps) if p.spikes else np.zeros(n_steps) for p in populations[:-1]},
    )


def with_figures(chip: Chip, group: str, **changes: Figure | None) -> Chip:
    """The chip with other figures in one group."""
    return replace(chip, **{group: replace(getattr(chip, group), **changes)})


def figure(value: float, unit: str = "J", low: float | None = None, high: float | None = None) -> Figure:
    """A figure of a test."""
    return Figure(value, unit, "a test", "unstated", "derived", value if low is None else low, value if high is None else high)
