"""Put a spiking network on a chip: quantise, place, and keep everything that later stages need."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from . import archive, floorplan
from .chip import Chip, load_chip, parse_chip
from .errors import CapacityError, SpecError, StoreError, problems
from .formats import formats, weight_format
from .network import SpikingNetwork
from .network import _pack as pack_network
from .network import _unpack as unpack_network
from .partition import Demand
from .placement import PlacementOptions, place, survey
from .quantize import QuantizeOptions, QuantizeReport, inexpressible, quantize
from .recording import Recording

FORMAT, VERSION = "spikeport.deployment", 1
Array = np.ndarray


class DeployOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a network goes onto a chip.

    ``reset``: ``"construction"`` (reset by subtraction, built from what the chip offers) or ``"native"`` (its own);
    ``rounding``: ``"nearest"`` or ``"stochastic"`` (seeded); ``weight_bits``: stored bits a weight, None: all of them;
    ``scale``: ``"mse"`` or ``"max"``; ``order``: of the cores on the mesh (``"annealed"``, ``"in_order"``,
    ``"random"``, ``"random_compact"``); ``n_chips``: most chips, None: as many as the chip's systems have; ``seed``: of
    rounding and placement.
    """

    reset: Literal["construction", "native"] = "construction"
    rounding: Literal["nearest", "stochastic"] = "nearest"
    weight_bits: int | None = None
    scale: Literal["mse", "max"] = "mse"
    order: Literal["annealed", "in_order", "random", "random_compact"] = "annealed"
    n_chips: int | None = None
    seed: int = 0

    def quantize(self) -> QuantizeOptions:
        """Return the part that concerns numbers."""
        return QuantizeOptions(reset=self.reset, rounding=self.rounding, seed=self.seed, weight_bits=self.weight_bits, scale=self.scale)

    def placement(self) -> PlacementOptions:
        """Return the part that concerns cores."""
        return PlacementOptions(order=self.order, seed=self.seed, n_chips=self.n_chips, weight_bits=self.weight_bits)


@dataclass(frozen=True, eq=False)
class Deployment:
    """A network on a chip.

    Parameters
    ----------
    network : in the chip's integers; what engines run.
    chip : the chip, as its file states it.
    placement : cores and routes.
    report : what quantisation did.
    options : how it was made.
    source_sha256 : of the network it was made from.
    notes : assumptions and what is not modelled, in words.
    """

    network: SpikingNetwork
    chip: Chip
    placement: floorplan.Placement
    report: QuantizeReport
    options: DeployOptions
    source_sha256: str
    notes: tuple[str, ...] = ()

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Save as ``.npz`` (no pickle), the chip's file included."""
        network, arrays = pack_network(self.network)
        arrays = {f"network/{key}": value for key, value in arrays.items()}
        placement, more = floorplan.pack(self.placement)
        arrays |= {f"placement/{key}": value for key, value in more.items()}
        header = {
            "network": network,
            "chip": {"name": self.chip.name, "texts": dict(self.chip.texts)},
            "placement": placement,
            "report": msgspec.to_builtins(self.report),
            "options": msgspec.to_builtins(self.options),
            "source_sha256": self.source_sha256,
            "notes": list(self.notes),
        }
        return archive.save(path, FORMAT, VERSION, header, arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Deployment:
        """Load what :meth:`save` wrote; the same spikes and the same figures come out."""
        header, arrays = archive.load(path, FORMAT, VERSION)

        def under(prefix: str) -> dict[str, Array]:
            return {key[len(prefix) :]: value for key, value in arrays.items() if key.startswith(prefix)}

        try:
            return cls(
                network=unpack_network(header["network"], under("network/")),
                chip=parse_chip(header["chip"]["name"], header["chip"]["texts"], f"{path}: chip"),
                placement=floorplan.unpack(header["placement"], under("placement/")),
                report=msgspec.convert(header["report"], QuantizeReport),
                options=msgspec.convert(header["options"], DeployOptions),
                source_sha256=header["source_sha256"],
                notes=tuple(header["notes"]),
            )
        except (KeyError, TypeError, msgspec.ValidationError) as error:
            raise StoreError(f"{path}: the deployment is incomplete or damaged ({error}); deploy again") from error


def deploy(
    snn: SpikingNetwork,
    chip: Chip | str,
    options: DeployOptions | None = None,
    activity: Recording | Mapping[str, Any] | None = None,
) -> Deployment:
    """Quantise a spiking network to a chip's integers and place it on its cores.

    Parameters
    ----------
    snn : from ``convert``; with constant-current input, or with an ``encoder`` population.
    chip : a Chip, a shipped name or the path of a chip file.
    activity : what placement shall minimise traffic for: a Recording of ``snn``, or {population: spikes of each
        neuron in one inference, scalar or (size,)}; None: every neuron is taken to fire alike.

    Raises
    ------
    CapacityError : everything that the chip cannot express or hold, with use, limit and what would make it fit.
    SpecError : an unknown chip, a conventional design, weight bits that the chip does not offer, a network that is
        deployed already.
    """
    chip = chip if isinstance(chip, Chip) else load_chip(chip)
    options = options or DeployOptions()
    if "chip" in snn.info:
        raise SpecError(f"the network is deployed already (on {snn.info.get('chip')}); give the network that convert returned")
    compartments = compartments_of(snn, chip, options)
    refuse(snn, chip, options, compartments)
    network, report = quantize(snn, chip, options.quantize())
    placement = place(network, chip, compartments, options.placement(), _spikes(snn, activity))
    return Deployment(
        network=network,
        chip=chip,
        placement=placement,
        report=report,
        options=options,
        source_sha256=snn.sha256,
        notes=(*chip.notes, *report.notes, *placement.notes),
    )


def compartments_of(snn: SpikingNetwork, chip: Chip, options: DeployOptions) -> dict[str, int]:
    """Return {population: compartments a neuron takes}: more than one where reset by subtraction is a construction."""
    native = formats(chip, options.weight_bits).resets
    extra = chip.arithmetic.subtract_compartments
    built = options.reset == "construction" and native is not None and "subtract" not in native and extra is not None
    return {
        p.name: int(extra.value) if built and extra is not None and p.reset == "subtract" else 1
        for p in snn.populations
        if p.encoder is None
    }


def refuse(snn: SpikingNetwork, chip: Chip, options: DeployOptions, compartments: Mapping[str, int]) -> None:
    """Raise CapacityError with everything that stands in the way, arithmetic and capacity together."""
    causes = inexpressible(snn, chip, options.quantize())
    demand = Demand(snn, chip, weight_format(chip, options.weight_bits), compartments)
    causes += [str(excess) for excess in survey(demand, options.placement())[0]]
    if causes:
        raise CapacityError(problems(f"the network does not fit {chip.name}:", causes, "Nothing was deployed."))


def _spikes(snn: SpikingNetwork, activity: Recording | Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return {population: spikes of each neuron in one inference}."""
    if activity is None:
        return None
    counts: Mapping[str, Any]
    if isinstance(activity, Recording):
        if activity.network_sha256 != snn.sha256:
            raise SpecError("the activity is of another network (its SHA-256 differs); record this one, or give spike counts")
        counts = {name: count / max(activity.n_samples, 1) for name, count in activity.neuron_counts.items()}
    else:
        counts = activity
    causes = []
    for p in snn.populations:
        value = counts.get(p.name)
        if value is None:
            continue
        array = np.asarray(value, dtype=np.float64)
        if array.ndim and array.shape != (p.size,):
            causes.append(f"{p.name}: shape {array.shape}, expected a scalar or ({p.size},)")
        elif not np.isfinite(array).all() or (array < 0).any():
            causes.append(f"{p.name}: NaN, infinity or negative spikes")
    causes += [f"{name}: the network has no such population" for name in counts if name not in {p.name for p in snn.populations}]
    if causes:
        raise SpecError(problems("the activity given for placement is wrong:", causes))
    return counts


__all__ = ["DeployOptions", "Deployment", "deploy"]
