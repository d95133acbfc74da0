"""What a deployment takes and costs, as the plain values of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from neuro import views
from neuro.activity import Activity
from neuro.chip import Chip, load_chip
from neuro.chip import Figure as ChipFigure
from neuro.deploy import Deployment
from neuro.energy import EnergyOptions, EnergyReport, energy
from neuro.estimate import Estimate
from neuro.latency import LatencyReport, latency

from .comparison import (
    ChipFacts,
    ChipUse,
    Core,
    EnergyTable,
    Figure,
    LatencyTable,
    Omission,
    Range,
    Resource,
    Row,
)

# The order in which components are stacked; others follow in the order in which they come.
ORDER = (
    "synaptic operations",
    "neuron updates",
    "spike out",
    "axon messages",
    "spike routing",
    "input writes",
    "bias writes",
)
LAST = ("output reads", "state reset", "barrier", "host first layer", "static", "overhead")
# Views without a chip: name in the options -> what the page calls it, operations of 45 nm that it rests on.
BESIDE = {
    "mac_ac": ("45 nm convention (4.6 pJ a MAC, 0.9 pJ an AC)", ("mul_fp32", "add_fp32")),
    "lemaire": ("Lemaire et al. 2022 (45 nm, with memory)", ("mul_int32", "add_int32")),
}
TIME_FIGURES = {
    "cores": (
        "synaptic_operation",
        "neuron_update",
        "spike_out",
        "axon_message",
        "axon_in",
        "spike_within_tile",
        "hop_",
    ),
    "barrier": ("barrier",),
    "host": ("step_host",),
    "tick": ("tick",),
}


def as_range(estimate: Estimate) -> Range:
    """Return value and ends of an estimate."""
    return Range(estimate.value, estimate.low, estimate.high)


def of_deployment(counts: Activity, deployment: Deployment) -> dict[str, Any]:
    """Return the energy, latency and chip_use of a row."""
    spent, taken = energy(counts, deployment), latency(counts, deployment)
    return {
        "energy": energy_table(spent, counts, deployment),
        "latency": latency_table(taken, counts),
        "chip_use": chip_use(deployment, counts, (*spent.notes, *taken.notes)),
    }


def energy_table(report: EnergyReport, counts: Activity, deployment: Deployment) -> EnergyTable:
    """Return an energy report as a table; the conventions without a chip stand apart."""
    by_layer: dict[str, dict[str, float]] = {}
    for term in report.terms:
        layers = by_layer.setdefault(term.component, {})
        layers[term.layer] = layers.get(term.layer, 0.0) + term.energy.value
    components = {name: as_range(value) for name, value in _ordered(report.by_component).items()}
    apart = {"events on the chip alone": as_range(report.chip_only), "without static power": as_range(report.dynamic)}
    for view, (name, _) in BESIDE.items():
        other = energy(counts, deployment, EnergyOptions(view=view))  # type: ignore[arg-type]
        apart[name] = as_range(other.total)
    return EnergyTable(
        total=as_range(report.total),
        by_component=components,
        by_layer=by_layer,
        apart=apart,
        missing=report.missing,
        layers={name: as_range(value) for name, value in report.by_layer.items()},
    )


def latency_table(report: LatencyReport, counts: Activity) -> LatencyTable:
    """Return a latency report as a table."""

    def maybe(estimate: Estimate | None) -> Range | None:
        return None if estimate is None else as_range(estimate)

    return LatencyTable(
        steps=round(counts.mean(counts.steps("single"))),
        per_step=maybe(report.step),
        per_inference=maybe(report.decision_mean or report.per_inference),
        throughput=maybe(report.throughput),
        bounds={name: as_range(value) for name, value in report.bounds.items()},
        binding=report.binding,
        missing=report.missing,
        late=maybe(report.decision_p95),
    )


def chip_use(deployment: Deployment, counts: Activity, notes: Sequence[str]) -> ChipUse:
    """Return what a deployment takes of its chip: resources, floor plan with traffic, rounding."""
    place, report = deployment.placement, deployment.report
    sent = np.zeros(len(place.cores))
    if counts.cores is not None:
        sent = sum(counts.cores.messages_out.values(), sent) / counts.n_inferences
    resources = [
        Resource(name, max(core.use.get(name, 0.0) for core in place.cores), limit, "", "core")
        for name, limit in place.limits.items()
    ]
    resources.append(Resource("cores", len(place.cores), place.cores_per_chip * place.n_chips, "", "chip"))
    plan = tuple(
        Core(
            index=i,
            x=-1 if core.x is None else core.x,
            y=-1 if core.y is None else core.y,
            populations=tuple(dict.fromkeys(part.population for part in core.parts)),
            neurons=sum(part.size for part in core.parts),
            use=max((core.use.get(name, 0.0) / limit for name, limit in place.limits.items()), default=0.0),
            traffic=float(sent[i]),
            chip=core.chip,
            slot=core.slot,
        )
        for i, core in enumerate(place.cores)
    )
    return ChipUse(
        chip=deployment.chip.name,
        chips=place.n_chips,
        cores=len(place.cores),
        cores_per_chip=place.cores_per_chip,
        resources=tuple(resources),
        floor_plan=plan,
        weight_bits=report.weight_bits,
        quantisation={
            j.name: {"rms_error": j.rms_error, "clipped": j.clipped, "zeroed": j.zeroed, "exponent": float(j.exponent)}
            for population in report.populations
            for j in population.projections
        },
        notes=tuple(dict.fromkeys((*deployment.notes, *notes))),
    )


def chip_facts(chip: Chip, used: Mapping[str, tuple[str, ...]] | None = None) -> ChipFacts:
    """Return a chip's figures; ``used`` : {name of a figure: components that rest on it}."""
    return ChipFacts(
        name=chip.name,
        title=chip.title,
        sha256=chip.sha256,
        figures=tuple(
            figure(f"{chip.name} {name}", value, (used or {}).get(name, ())) for name, value in chip.figures()
        ),
    )


def used_figures(counts: Activity, deployment: Deployment) -> dict[str, tuple[str, ...]]:
    """Return {name of a figure of the chip: components of energy, or "time", that rest on it}."""
    found: dict[str, dict[str, None]] = {}
    for term in energy(counts, deployment).terms:
        for name in term.figure.split(", "):
            found.setdefault(name, {})[term.component] = None
    bounds = latency(counts, deployment).bounds
    for name, _ in deployment.chip.figures():
        group, _, inner = name.partition(".")
        if group == "time" and any(
            inner.startswith(start) for bound in bounds for start in TIME_FIGURES.get(bound, ())
        ):
            found.setdefault(name, {})["time"] = None
    return {name: tuple(components) for name, components in found.items()}


def figures(chip: Chip, used: Mapping[str, tuple[str, ...]]) -> tuple[Figure, ...]:
    """Return the named figures of a chip with what rests on them."""
    return tuple(figure(f"{chip.name} {name}", value, used[name]) for name, value in chip.figures() if name in used)


def figures_beside() -> tuple[Figure, ...]:
    """Return the figures that the views without a chip rest on."""
    chip = load_chip("cmos_45nm")
    found: list[Figure] = []
    for name, operations in BESIDE.values():
        found += figures(chip, {f"operations.{operation}": (name,) for operation in operations})
    memory = f"plus {views.RAM_SLOPE:.3g} J times elements times bits: the line through the SRAM figures of Horowitz 2014"
    found.append(Figure("Lemaire et al. 2022, access of a memory", views.RAM_BASE, "J", "quoted", views.LEMAIRE, "45 nm", memory, used_by=(BESIDE["lemaire"][0],)))
    return tuple(found)


def figure(name: str, value: Any, used_by: tuple[str, ...] = ()) -> Figure:
    """Return a figure, or a statement, of a chip file."""
    number = isinstance(value, ChipFigure)
    return Figure(
        name=name,
        value=value.value,
        unit=value.unit if value.unit not in ("1", "-") else "",
        trust=value.trust,
        source=value.source,
        at=value.at,
        note=value.note,
        low=value.low if number else None,
        high=value.high if number else None,
        used_by=used_by,
    )


def omissions(row: Row) -> list[Omission]:
    """Return what is in none of the row's figures, from its reports."""
    found = []
    for where, table in (("energy", row.energy), ("latency", row.latency)):
        for text in table.missing if table is not None else ():
            what, _, why = text.partition(": ")
            found.append(Omission(what, why or "no published figure", where))
    return found


def _ordered(table: Mapping[str, Estimate]) -> dict[str, Estimate]:
    names = [n for n in ORDER if n in table]
    names += [n for n in table if n not in ORDER and n not in LAST]
    names += [n for n in LAST if n in table]
    return {n: table[n] for n in names}
