"""Quantisation one step at a time, so that each step's cost in accuracy can be measured.

Every stage is a network that any engine runs; each holds the steps of those before it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .chip import Chip
from .network import INPUT, Population, SpikingNetwork, per_neuron
from .quantize import QuantizeOptions, quantize

FINE = 2.0**-8  # grid, in the chip's units, of numbers that a stage has not rounded yet


def stages(network: SpikingNetwork, chip: Chip, options: QuantizeOptions | None = None) -> dict[str, SpikingNetwork]:
    """Return the network after each step of quantisation, in order.

    ``"ideal"``: as given; ``"weights"``: weights in the chip's integers; ``"currents and biases"``: also those;
    ``"comparison and width"``: also the chip's comparison, v_init rounded down and bounds of the potential;
    ``"reset"``: also the chip's own reset (only with ``reset="native"`` where it differs).

    Raises
    ------
    CapacityError, SpecError : as ``quantize``.
    """
    options = options or QuantizeOptions()
    final, _ = quantize(network, chip, options)
    found = {"ideal": network, "weights": _undo(network, final, currents=True), "currents and biases": _undo(network, final)}
    kept = tuple(replace(p, reset=network[p.name].reset) for p in final.populations)
    found["comparison and width"] = replace(final, populations=kept)
    if any(p.reset != network[p.name].reset for p in final.populations):
        found["reset"] = final
    return found


def _undo(source: SpikingNetwork, final: SpikingNetwork, currents: bool = False) -> SpikingNetwork:
    """Return ``final`` with comparison, v_init, bounds and reset of the source, and its unrounded currents if asked."""
    populations = tuple(_restore(source[p.name], p, source, currents) for p in final.populations)
    projections = final.projections
    if currents:
        projections = tuple(replace(j, current=None) if j.pre == INPUT else j for j in projections)
    return replace(final, populations=populations, projections=projections)


def _restore(old: Population, new: Population, source: SpikingNetwork, currents: bool) -> Population:
    if old.encoder is not None:
        return new
    units = per_neuron(old.scale, old.size) / per_neuron(new.scale, new.size)
    ports = any(j.pre == INPUT for j in source.incoming(old.name))
    bias = new.bias
    if currents and old.bias is not None:
        bias = np.asarray(old.bias, dtype=np.float64) * units
    return replace(
        new,
        bias=bias if not ports or currents else None,
        v_init=per_neuron(old.v_init, old.size) * units,
        comparison=old.comparison,
        reset=old.reset,
        v_floor=None if old.v_floor is None else old.v_floor * units[0],
        v_ceiling=None if old.v_ceiling is None else old.v_ceiling * units[0],
        overflow=old.overflow,
        # Currents written by the host are whole numbers of the chip's unit.
        grid=FINE if currents else 1.0,
    )
