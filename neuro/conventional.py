"""The other side of the comparison: the same network as an ANN on conventional hardware.

One table holds digital designs at a named node, precision and batch size, published machines, and this machine
measured now. Every row carries its batch size and what its energy leaves out.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np

from .chip import load_chip
from .digital import AnnWork, Counting, Design, DigitalOptions, Network, Node, Precision, Storage, ann_work, design
from .estimate import Estimate
from .machines import Machine, Measurement, machines, measure

Array = np.ndarray


class ConventionalOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The designs of the table: every combination of these.

    ``measure_seconds``: how long to run this machine at each batch size [s]; 0 does not measure it.
    """

    nodes: tuple[Node, ...] = ("cmos_45nm", "cmos_7nm")
    precisions: tuple[Precision, ...] = ("int8", "fp32")
    countings: tuple[Counting, ...] = ("dense", "zero_skipping")
    memories: tuple[Storage, ...] = ("sram_1mib", "dram")
    batches: tuple[int, ...] = (1, 64)
    measure_seconds: float = 0.0


@dataclass(frozen=True)
class MachineRow:
    """A published machine at one batch size: this network at its measured energy per multiply-accumulate [J]."""

    machine: Machine
    batch: int | None
    energy: Estimate


@dataclass(frozen=True, eq=False)
class ConventionalReport:
    """The ANN's side of the comparison: work, digital designs, published machines, this machine measured now."""

    work: AnnWork
    designs: tuple[Design, ...]
    machines: tuple[MachineRow, ...]
    this_machine: tuple[Measurement, ...]


def conventional(mlp: Network, x: Array, *, options: ConventionalOptions | None = None) -> ConventionalReport:
    """Return what one inference of the ANN costs elsewhere.

    Parameters
    ----------
    mlp : trained network.
    x : (n_samples, n_in) array of measured inputs; zero activations are counted on them.
    options : designs of the table, and whether this machine is measured.
    """
    options = options or ConventionalOptions()
    work = ann_work(mlp, x)
    rows = [MachineRow(m, p.batch, m.scaled_to(work.dense_macs, p.batch)) for m in machines() for p in m.points]
    seconds = options.measure_seconds
    measured = [measure(mlp.activations, x, batch=b, seconds=seconds) for b in options.batches] if seconds > 0 else []
    return ConventionalReport(work, designs(work, options), tuple(rows), tuple(measured))


def designs(work: AnnWork, options: ConventionalOptions | None = None) -> tuple[Design, ...]:
    """Return every design of the table.

    Raises
    ------
    SpecError : a combination without a figure at its node, such as HBM2 at 45 nm.
    """
    options = options or ConventionalOptions()
    chips = {node: load_chip(node) for node in options.nodes}
    return tuple(
        design(work, DigitalOptions(node=n, precision=p, counting=c, weights=m, batch=b), chips[n])
        for n in options.nodes
        for p in options.precisions
        for c in options.countings
        for m in options.memories
        for b in options.batches
    )


__all__ = ["ConventionalOptions", "ConventionalReport", "MachineRow", "conventional", "designs"]
