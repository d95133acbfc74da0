"""What an inference costs on a chip, in joules, by component and layer.

    E = sum_l synops_l E_syn + sum_l ( N_l steps E_inactive + n_fired_l (E_active - E_inactive) )
        + spikes and routes + state resets + writes and reads + first layer on the host
        + P_static n_chips t_inf + P_overhead t_inf

Every term carries the figure and the source it comes from, and ends that propagate term by term. A term
without a figure is named as missing and is in no sum: every sum is then a lower bound. An aggregate energy
per synaptic event holds static power already and is never added to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from . import charges
from .activity import Activity, Mode, located
from .charges import HOST, WHOLE_CHIP, Ledger, Term
from .digital import DigitalOptions
from .errors import SpecError
from .estimate import Assumption, Estimate
from .latency import LatencyOptions, latency

STATIC, OVERHEAD = "static", "overhead"
APART = (STATIC, OVERHEAD)
View = Literal["chip", "mac_ac", "lemaire"]
FirstLayer = Literal["once", "every_step", "not_counted"]


class EnergyOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to count, and how.

    ``latency``: single or pipelined inferences, host-bound or not (static power needs the time);
    ``view``: the chip's own figures (``"chip"``), the 45 nm convention of 4.6 pJ a multiply-accumulate and 0.9 pJ an
    accumulate (``"mac_ac"``), or Lemaire et al. 2022 with memory accesses (``"lemaire"``);
    ``figures``: marginal energies, or the chip's aggregate energy per synaptic event, which holds everything, static
    power included;
    ``static``: whether static power x time is counted (always shown apart);
    ``overhead``: power of host or embedded processors above what static power covers [W], with its source; default off;
    ``first_layer``: how often a constant-current first layer is computed: once an input, in every step, or left out;
    ``host``: the design that computes it; ``host_mac``: instead, energy of one multiply-accumulate [J] with its source;
    ``bits``: width of Lemaire's memories.
    """

    latency: LatencyOptions = LatencyOptions()
    view: View = "chip"
    figures: Literal["marginal", "aggregate"] = "marginal"
    static: bool = True
    overhead: Assumption | None = None
    first_layer: FirstLayer = "once"
    host: DigitalOptions = DigitalOptions()  # the default design of the ANN, so that both sides share node and width
    host_mac: Assumption | None = None
    bits: int = 8


@dataclass(frozen=True)
class EnergyReport:
    """Energy of an inference [J].

    Parameters
    ----------
    terms : all that was counted; every sum below is over these.
    mode : ``"single"`` or ``"pipelined"``; view, first_layer : as in the options.
    missing : components without a figure, with the count they would be multiplied by; they are in no sum.
    notes : choices and assumptions.
    n_inferences : recorded inferences that the counts are means of.
    """

    terms: tuple[Term, ...]
    mode: Mode
    view: View
    first_layer: FirstLayer
    missing: tuple[str, ...]
    notes: tuple[str, ...]
    n_inferences: int

    @property
    def total(self) -> Estimate:
        """Everything that was counted, static power and overhead included where they are on."""
        return Estimate.total(t.energy for t in self.terms)

    @property
    def dynamic(self) -> Estimate:
        """Without static power and overhead: the boundary of a conventional design's energy."""
        return Estimate.total(t.energy for t in self.terms if t.component not in APART)

    @property
    def chip_only(self) -> Estimate:
        """What the chip spends on events: without the host's first layer, static power and overhead."""
        return Estimate.total(t.energy for t in self.terms if t.component not in (*APART, HOST))

    @property
    def static(self) -> Estimate | None:
        """Static power x time; None where it is off, has no figure or is held by an aggregate figure."""
        return self.by_component.get(STATIC)

    @property
    def overhead(self) -> Estimate | None:
        """Overhead power x time; None where it is off."""
        return self.by_component.get(OVERHEAD)

    @property
    def by_component(self) -> dict[str, Estimate]:
        """{component: energy}."""
        return _sums((t.component, t.energy) for t in self.terms)

    @property
    def by_layer(self) -> dict[str, Estimate]:
        """{population or "chip": energy}."""
        return _sums((t.layer, t.energy) for t in self.terms)

    @property
    def sources(self) -> dict[str, tuple[str, ...]]:
        """{component: "figure; formula; source [trust]" of each of its terms, once}."""
        table: dict[str, dict[str, None]] = {}
        for t in self.terms:
            table.setdefault(t.component, {})[f"{t.figure}; {t.formula}; {t.source} [{t.trust}]"] = None
        return {name: tuple(texts) for name, texts in table.items()}

    @property
    def empty(self) -> bool:
        """Whether nothing could be costed: the sums are then a lower bound of zero, not a number to print."""
        return not self.terms

    @property
    def partial(self) -> bool:
        """Whether something has no figure, so that every sum is a lower bound."""
        return bool(self.missing)


def energy(activity: Activity, deployment: Any, options: EnergyOptions | None = None) -> EnergyReport:
    """Return the energy of an inference of a recorded run.

    Parameters
    ----------
    activity : of the run.
    deployment : that ran, or a Chip (then without routing, resets and static power); the views ``"mac_ac"`` and
        ``"lemaire"`` do not use it.
    options : what to count.

    Raises
    ------
    SpecError : the activity is of another network; a view or figure that the chip does not offer.

    Source
    ------
    The figures of the chip file; every term names its own.
    """
    options = options or EnergyOptions()
    if options.view != "chip":
        from . import views

        return views.VIEWS[options.view](activity, options)
    activity = located(activity, deployment)
    chip = getattr(deployment, "chip", deployment)
    if getattr(chip, "kind", None) != "neuromorphic":
        raise SpecError(f"{getattr(chip, 'name', chip)!r} is no neuromorphic chip; use view='mac_ac' or 'lemaire' without one")
    ledger = Ledger(chip, activity, options.latency.mode)
    if options.figures == "aggregate":
        charges.aggregate(ledger)
    else:
        for p in activity.populations:
            charges.synapses(ledger, p)
            charges.updates(ledger, p)
            charges.spikes(ledger, p)
        charges.exchange(ledger)
    _first_layer(ledger, options)
    if options.static or options.overhead is not None:
        _timed(ledger, deployment, options)
    if any(p.compartments > 1 for p in activity.populations):
        ledger.notes.append(
            "reset by subtraction is a construction of several compartments a neuron: each is charged for every "
            "update, and as active where the neuron fires (an assumption)"
        )
    if options.latency.mode == "pipelined":
        ledger.notes.append("pipelined: T steps an inference; needs a chip that resets and loads populations separately")
    return report(ledger.terms, ledger.missing, ledger.notes, activity, options)


def report(terms: Iterable[Term], missing: Iterable[str], notes: Iterable[str], activity: Activity, options: EnergyOptions) -> EnergyReport:
    """Return the report of these terms."""
    return EnergyReport(
        terms=tuple(terms),
        mode=options.latency.mode,
        view=options.view,
        first_layer=options.first_layer,
        missing=tuple(dict.fromkeys(missing)),
        notes=tuple(notes),
        n_inferences=activity.n_inferences,
    )


def first_layer_passes(activity: Activity, options: EnergyOptions) -> tuple[float, str]:
    """Return how often a constant-current layer is computed an inference, as a number and in words."""
    if options.first_layer == "every_step":
        return activity.mean(activity.steps_window), "in every step"
    return float(activity.n_positions), "once an input"


def declared_out(activity: Activity, name: str) -> str:
    """Say that the first layer of a population is left out."""
    macs = activity[name].input_synapses * activity.n_positions
    return f"{HOST}: {macs:g} multiply-accumulates of {name} an inference are declared out"


def _first_layer(ledger: Ledger, options: EnergyOptions) -> None:
    """Charge the constant-current layer that the host computes."""
    passes, often = first_layer_passes(ledger.activity, options)
    for p in ledger.activity.populations:
        if p.input_synapses == 0:
            continue
        if options.first_layer == "not_counted":
            ledger.leave_out(declared_out(ledger.activity, p.name))
        elif options.host_mac is None:
            current = ledger.activity.currents.get(p.name)
            ledger.terms.extend(charges.host_layer(p, current, passes, often, options.host))
            if current is None and options.host.counting == "zero_skipping":
                ledger.notes.append(f"{HOST}: every input is taken as nonzero; count the activity with inputs= to skip zeros")
            if options.host.precision != "fp32":
                ledger.notes.append(
                    f"{HOST}: costed in {options.host.precision}, as the ANN beside it; the simulation computes it in float"
                )
        else:
            a, macs = options.host_mac, p.input_synapses * passes
            formula = f"{macs:g} MAC ({often}) x {a.value:g} J"
            value = a.estimate * macs
            ledger.terms.append(Term(p.name, HOST, macs, "multiply-accumulates", value, "host_mac", formula, a.source, "assumed"))


def _timed(ledger: Ledger, deployment: Any, options: EnergyOptions) -> None:
    """Charge static power and overhead, power x time of an inference."""
    timing = latency(ledger.activity, deployment, options.latency)
    time, cores = timing.per_inference, ledger.activity.cores
    unknown = f"the time of an inference is not known ({'; '.join(timing.missing)})"
    figure = ledger.chip.power.static_chip
    if options.static and options.figures != "aggregate":
        if figure is None:
            ledger.leave_out("static: power.static_chip has no published figure")
        elif time is None or cores is None:
            ledger.leave_out(f"static: {figure.value:g} W a chip, but {unknown}")
        else:
            value = Estimate.of(figure) * cores.n_chips * time
            formula = f"{figure.value:g} W x {cores.n_chips} chips x {time.value:g} s"
            source = f"{figure.source}, at {figure.at}"
            ledger.terms.append(Term(WHOLE_CHIP, STATIC, time.value, "s", value, "power.static_chip", formula, source, figure.trust))
            for m in timing.missing:
                ledger.leave_out(f"static: its time leaves out {m}")
    if options.overhead is not None:
        o = options.overhead
        if time is None:
            ledger.leave_out(f"overhead: {o.value:g} W, but {unknown}")
        else:
            formula = f"{o.value:g} W x {time.value:g} s"
            value = o.estimate * time
            ledger.terms.append(Term(WHOLE_CHIP, OVERHEAD, time.value, "s", value, "overhead", formula, o.source, "assumed"))


def _sums(pairs: Iterable[tuple[str, Estimate]]) -> dict[str, Estimate]:
    table: dict[str, list[Estimate]] = {}
    for name, value in pairs:
        table.setdefault(name, []).append(value)
    return {name: Estimate.total(parts) for name, parts in table.items()}


__all__ = ["EnergyOptions", "EnergyReport", "Term", "energy"]
