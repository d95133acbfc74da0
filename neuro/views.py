"""Two ways of costing a spiking network without a chip: the 45 nm convention and Lemaire et al. 2022."""

from __future__ import annotations

from typing import Any

from .activity import Activity, PopulationActivity
from .charges import HOST, Term
from .chip import load_chip
from .digital import AnnWork
from .energy import EnergyOptions, EnergyReport, declared_out, first_layer_passes, report
from .errors import SpecError
from .estimate import Estimate

CONVENTION = "iCGY96/syops-counter 4232f771, README: E = 4.6 pJ MAC + 0.9 pJ AC"
LEMAIRE = (
    "Lemaire et al. 2022 ICONIP, doi:10.1007/978-3-031-30105-6_48, arXiv:2210.13107; with the authors' corrections in "
    "LEAT-EDGE/qualia-plugin-snn 15165fe8"
)
RAM_SLOPE, RAM_BASE = 1.09e-17, 13.2e-12  # [J / bit], [J]: line through the SRAM figures of Horowitz 2014
FIFO = 0  # elements of the queues that hold spikes, as in the authors' code


def mac_ac(activity: Activity, options: EnergyOptions) -> EnergyReport:
    """Return E = 4.6 pJ MAC + 0.9 pJ AC, fp32 at 45 nm: no memory, no neuron updates, no routing.

    Source
    ------
    Horowitz 2014 ISSCC, doi:10.1109/ISSCC.2014.6757323 (3.7 + 0.9 pJ, 0.9 pJ); the convention: iCGY96/syops-counter.
    """
    chip = load_chip("cmos_45nm")
    add, mul = _figure(chip, "add_fp32"), _figure(chip, "mul_fp32")
    mac, ac = Estimate.of(mul) + Estimate.of(add), Estimate.of(add)
    passes, often = first_layer_passes(activity, options)
    terms, missing = [], []
    for p in activity.populations:
        if p.synops:
            n = activity.mean(p.synops)
            formula = f"{n:g} AC x {ac.value:g} J"
            terms.append(_term(p, "synaptic operations", n, "accumulates", ac * n, formula, CONVENTION))
        if p.input_synapses and options.first_layer == "not_counted":
            missing.append(declared_out(activity, p.name))
        elif p.input_synapses:
            n = p.input_synapses * passes
            formula = f"{n:g} MAC ({often}) x {mac.value:g} J"
            terms.append(_term(p, HOST, n, "multiply-accumulates", mac * n, formula, CONVENTION))
    missing.append("memory, addressing, neuron updates, routing, synchronisation, static power: the convention has none")
    return report(terms, missing, (), activity, options)


def lemaire(activity: Activity, options: EnergyOptions) -> EnergyReport:
    """Return the energy with memory accesses of Lemaire et al. 2022, fully connected layers.

    With theta_in, theta_out the spikes an inference, T the steps and synops = theta_in N_out: potentials are read
    and written synops + T N_out times each, weights read synops times, biases T N_out times, spikes read theta_in
    and written theta_out times; there are synops + T N_out + theta_out additions, T N_out multiply-accumulates where
    neurons leak, and synops additions for addresses. A constant-current layer is computed as a formal layer
    (``first_layer``: how often).

    Source
    ------
    Lemaire et al. 2022, arXiv:2210.13107, eqs. 2, 5, 8, 10, 13, 15, 17.
    """
    add, mul = _adders()
    passes, _ = first_layer_passes(activity, options)
    terms, missing = [], []
    for p in activity.populations:
        if not p.on_chip:
            continue
        synops, spikes = activity.mean(p.synops), activity.mean(p.spikes)
        arriving = sum(activity.mean(activity.arrivals(name)) for name in p.synaptic_operations)
        steps = activity.mean(activity.steps_window) * p.size
        weights = sum(stored for _, _, stored in p.synapses.values())
        rows = [
            ("potentials", 2 * (synops + steps), ram(p.size, options.bits), "reads and writes"),
            ("weights", synops, ram(weights, options.bits), "reads"),
            ("biases", steps, ram(p.size, options.bits), "reads"),
            ("spikes in and out", arriving + spikes, ram(FIFO, options.bits), "reads and writes"),
            ("synaptic operations", synops + steps + spikes, add, "additions"),
            ("leak", steps if p.leaky else 0.0, mul + add, "multiply-accumulates"),
            ("addresses", synops, add, "additions"),
        ]
        if p.input_synapses and options.first_layer == "not_counted":
            missing.append(declared_out(activity, p.name))
        elif p.input_synapses:
            formal = formal_layer(p.input_values, p.size, p.input_synapses, passes, options.bits)
            rows += [(HOST, count, cost, f"{what}, {unit}") for what, count, cost, unit in formal]
        for what, count, cost, unit in rows:
            if count:
                value = Estimate.exact(cost * count)
                terms.append(_term(p, what, count, unit, value, f"{count:g} {unit} x {cost:g} J", LEMAIRE))
    missing.append("routing, synchronisation, static power: the model has none")
    return report(terms, missing, (), activity, options)


def lemaire_ann(work: AnnWork, bits: int = 8) -> Estimate:
    """Return the energy of the ANN in the same model [J]: every product, weights and inputs read from memory."""
    total = [cost * count for m in work.matrices for _, count, cost, _ in formal_layer(m.n_in, m.n_out, m.weights, m.passes, bits)]
    return Estimate.total(Estimate.exact(e) for e in total)


def formal_layer(n_in: int, n_out: int, weights: int, passes: float, bits: int) -> list[tuple[str, float, float, str]]:
    """Return (what, count, energy of one [J], unit) of a fully connected layer of a formal network."""
    add, mul = _adders()
    return [
        ("inputs", passes * n_in, ram(n_in, bits), "reads"),
        ("weights", passes * weights, ram(weights, bits), "reads"),
        ("biases", passes * n_out, ram(n_out, bits), "reads"),
        ("outputs", passes * n_out, ram(n_out, bits), "writes"),
        ("products", passes * weights, mul + add, "multiply-accumulates"),
        ("sums", passes * n_out, add, "additions"),
        ("addresses", passes * weights, add, "additions"),
    ]


def ram(elements: float, bits: int) -> float:
    """Return the energy of one access of a memory of that many elements [J]."""
    return RAM_SLOPE * elements * bits + RAM_BASE


def _adders() -> tuple[float, float]:
    chip = load_chip("cmos_45nm")
    return float(_figure(chip, "add_int32").value), float(_figure(chip, "mul_int32").value)


def _figure(chip: Any, name: str) -> Any:
    figure = getattr(chip.operations, name)
    if figure is None:
        raise SpecError(f"{chip.name} states no operations.{name}, which this view needs")
    return figure


def _term(p: PopulationActivity, what: str, n: float, unit: str, value: Estimate, formula: str, source: str) -> Term:
    return Term(p.name, what, n, unit, value, "45 nm", formula, source, "derived")


VIEWS = {"mac_ac": mac_ac, "lemaire": lemaire}

__all__ = ["VIEWS", "formal_layer", "lemaire", "lemaire_ann", "mac_ac", "ram"]
