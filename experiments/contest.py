"""The ANN's side of a chip row: break-even, rivals with few bits, published machines, this machine measured now."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from converters.mlp import MLP
from neuro.activity import Activity
from neuro.breakeven import Crossing, against_batch, against_rate, against_steps, break_even
from neuro.chip import load_chip
from neuro.conventional import AnnWork, ann_work
from neuro.deploy import Deployment
from neuro.digital import PRECISIONS, DigitalOptions
from neuro.energy import EnergyOptions
from neuro.estimate import Estimate
from neuro.machines import machines, measure
from neuro.rivals import Rival as Quantised
from neuro.rivals import activation_bits_of, rivals

from . import costs
from .comparison import Contest, Conventional, Figure, HereNow, Meeting, Omission, Rival
from .datasets import Dataset
from .statistics import wilson

Array = np.ndarray
DESIGN = DigitalOptions()  # 45 nm, int8, zeros skipped, weights in 1 MiB of SRAM, batch 1: the fair counterpart
CALIBRATION = 1000  # training samples that set the ceilings of the rivals' activations
WIDEST = 8  # bits of the widest integer product with a published figure
STEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
RATES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
BATCHES = tuple(2**k for k in range(11))
SECONDS = 0.15  # of running this machine at each batch size
MEMORY = {"sram_1mib": "SRAM (1 MiB)", "dram": "DRAM", "sram_8kib": "SRAM (8 KiB)", "sram_32kib": "SRAM (32 KiB)"}


def contest(key: str, counts: Activity, deployment: Deployment, mlp: MLP, data: Dataset) -> Contest:
    """Return where the energies of a chip row and of its ANN meet, static power and overhead left out of both."""
    work = _work_of(mlp, data)
    found = break_even(counts, deployment, work, ann=DESIGN)
    options = EnergyOptions(host=DESIGN)
    silent = counts.spike_rate == 0
    early = bool((counts.decided_at != counts.n_steps).any())
    by_steps = [] if early else against_steps(counts, deployment, STEPS, options)
    by_rate = [] if silent else against_rate(counts, deployment, RATES, options)
    by_batch = against_batch(work, BATCHES, DESIGN)
    return Contest(
        row=key,
        design=said(DESIGN),
        snn=costs.as_range(found.snn),
        ann=costs.as_range(found.ann),
        partial=found.partial,
        spike_rate=found.spike_rate,
        spikes_per_synapse=found.spikes_per_synapse,
        n_steps=found.n_steps,
        meetings=tuple(_meeting(c) for c in (found.rate, found.steps, found.batch)),
        by_steps=_curve(STEPS, by_steps),
        by_rate=_curve(RATES, by_rate),
        by_batch=np.array([[b, e.value] for b, e in zip(BATCHES, by_batch, strict=True)]),
    )


def said(o: DigitalOptions) -> str:
    """Return a conventional design in words."""
    skipped = "zeros skipped" if o.counting == "zero_skipping" else "dense"
    return f"{node_of(o):g} nm, {o.precision}, {skipped}, weights in {MEMORY[o.weights]}, batch {o.batch}"


def node_of(o: DigitalOptions) -> float:
    """Return the feature size [nm]."""
    return float(o.node.removeprefix("cmos_").removesuffix("nm"))


def design_figures(o: DigitalOptions, used_by: tuple[str, ...] = ()) -> tuple[Figure, ...]:
    """Return the figures that a conventional design rests on; ``used_by``: what for, else the design's own components."""
    mul, add, _ = PRECISIONS[o.precision]
    parts = {
        f"operations.{mul}": ("multiply-accumulate",),
        f"operations.{add}": ("multiply-accumulate",),
        f"memory.{o.weights}": ("weight reads",),
        f"memory.{o.activations}": ("activation reads and writes",),
    }
    return costs.figures(load_chip(o.node), {name: used_by or own for name, own in parts.items()})


def rival_rows(ann: str, mlp: MLP, data: Dataset, weight_bits: int, n_steps: int) -> tuple[list[Rival], list[Omission]]:
    """Return the ANN at the chip's weight bits with 8-bit and with ceil(log2(T + 1))-bit activations, as measured."""
    if weight_bits > WIDEST:
        why = f"no energy of an integer product wider than {WIDEST} bits is published"
        return [], [Omission(f"the ANN quantised to {weight_bits}-bit weights", why, "rivals")]
    # Of T only the bits of the activations matter, which many T share.
    found = _quantised(mlp, data, weight_bits, 2 ** activation_bits_of(n_steps) - 1)
    return [_rival(r, ann, n_steps if k else 0, len(data.y_test)) for k, r in enumerate(found)], []


def _rival(r: Quantised, ann: str, n_steps: int, n: int) -> Rival:
    o = r.design.options
    return Rival(
        label=r.name,
        ann=ann,
        weight_bits=r.weight_bits,
        activation_bits=r.activation_bits,
        n_steps=n_steps,
        accuracy=wilson(round(r.accuracy * n), n),
        disagreement=wilson(round((1 - r.agreement) * n), n),
        macs=r.design.macs,
        energy=costs.as_range(r.energy),
        node_nm=node_of(o),
        memory=MEMORY[o.weights],
        batch=o.batch,
        figures=design_figures(o),
    )


def machine_rows(work: AnnWork, ann: str) -> list[Conventional]:
    """Return the ANN on machines that somebody measured: at their smallest and largest batch, scaled by operations."""
    found = []
    for m in machines():
        for batch in dict.fromkeys((m.batches[0], m.batches[-1])):
            point = m.point(batch)
            stated = "batch not stated" if batch is None else f"batch {batch}"
            name = f"machine {m.name}, {stated}"
            measured = m.energy(batch)
            found.append(
                Conventional(
                    label=m.title,
                    ann=ann,
                    node_nm=None,
                    precision="",
                    sparse=False,
                    macs=work.dense_macs,
                    energy=costs.as_range(m.scaled_to(work.dense_macs, batch)),
                    batch=batch or 0,
                    figures=(Figure(name, measured, "J", m.trust, m.source, m.at, m.note, used_by=("scaled energy",)),),
                    note=f"measured: {m.task}, {m.macs:,} MAC, {measured:.3g} J"
                    + ("" if point.rate is None else f", {point.rate:,.0f} inferences/s")
                    + f"; {m.boundary}; scaled by multiply-accumulates",
                )
            )
    return found


def here_now(mlp: MLP, x: Array, ann: str) -> list[HereNow]:
    """Run the ANN on this machine for a moment, one sample at a time and 64 together."""
    found = []
    for batch in (1, 64):
        m = measure(mlp.forward, x, batch=batch, seconds=SECONDS)
        found.append(HereNow(ann, m.machine, m.threads, m.batch, m.rate, m.energy, m.dynamic_energy, m.reason))
    return found


@lru_cache(maxsize=8)
def _quantised(mlp: MLP, data: Dataset, weight_bits: int, n_steps: int) -> tuple[Quantised, ...]:
    """Return the rivals; the rows of several chips share them."""
    return rivals(
        mlp,
        data.x_test,
        data.y_test,
        calibration=data.x_train[:CALIBRATION],
        weight_bits=weight_bits,
        n_steps=n_steps,
        options=DESIGN,
    )


@lru_cache(maxsize=1)
def _work_of(mlp: MLP, data: Dataset) -> AnnWork:
    return ann_work(mlp, data.x_test)


def _meeting(c: Crossing) -> Meeting:
    return Meeting(c.axis, c.at, c.low, c.high, c.verdict, c.words)


def _curve(x: tuple[float, ...], energies: list[Estimate]) -> Array:
    pairs = zip(x, energies, strict=True) if energies else ()
    return np.array([[a, e.value, e.low, e.high] for a, e in pairs]).reshape(-1, 4)


__all__ = ["contest", "design_figures", "here_now", "machine_rows", "node_of", "rival_rows", "said"]
