"""Panels of the chip that need runs of their own: what each step of quantisation costs, and accuracy against rates of faults."""

from __future__ import annotations

from ... import charts, units
from ...comparison import FaultSweep, Rounding
from . import panel
from .panel import HALF_A_POINT, Focus, Panel, record

# What stands in one chart: (name, kinds, what the rate is a share of).
FAMILIES = (
    ("spikes", ("lost", "spurious"), "chance per spike, or per silent step (log)"),
    ("neurons", ("dead_neurons", "stuck_neurons"), "share of neurons (log)"),
    ("synapses", ("dead_synapses", "stuck_synapses"), "share of synapses (log)"),
    ("mismatch", ("threshold_mismatch", "weight_mismatch"), "relative standard deviation (log)"),
)
NAMES = {
    "lost": "lost spikes",
    "spurious": "spurious spikes",
    "dead_neurons": "dead neurons",
    "stuck_neurons": "neurons stuck firing",
    "dead_synapses": "dead synapses",
    "stuck_synapses": "stuck synapses",
    "threshold_mismatch": "mismatch of thresholds",
    "weight_mismatch": "mismatch of weights",
}


def rounding(at: Focus) -> Panel | None:
    """Draw the agreement with the trained network after every step of quantisation."""
    found = at.comparison.rounding
    if found is None or found.row not in {row.key for row in at.comparison.rows}:
        return None
    row = at.comparison[found.row]
    first, shares = found.steps[0], [step.agreement.value for step in found.steps]
    data = [
        record(
            label=step.name,
            what=step.what,
            group="ideal" if i == 0 else panel.name(row),
            share=step.agreement.value,
            low=step.agreement.low,
            high=step.agreement.high,
            change=0.0 if i == 0 else shares[i] - shares[i - 1],
            spikes=step.spikes,
            text=units.percent_range(step.agreement.value, step.agreement.low, step.agreement.high, 2),
        )
        for i, step in enumerate(found.steps)
    ]
    return Panel(
        "rounding",
        "chip",
        _rounding_title(found),
        f"Answers that agree with {found.source} after one more step of quantisation, the last being the deployed network; Wilson 95 % intervals, "
        f"the same {found.n:,} test samples in every line. {panel.capital(row.label)}. Conversion alone: {units.percent(first.agreement.value, 2)}.",
        "Dot chart. " + " ".join(f"{r['label']}: {r['text']}." for r in data),
        charts.agreement(data, panel.axis([r[end] for r in data for end in ("low", "high")])),
    )


def _rounding_title(found: Rounding) -> str:
    shares = [step.agreement.value for step in found.steps]
    lost = [shares[i - 1] - shares[i] for i in range(1, len(shares))]
    worst = max(range(len(lost)), key=lambda i: lost[i])
    if lost[worst] <= 0:
        return "No step of quantisation costs agreement"
    return f"Quantisation costs most in the step \u201c{found.steps[worst + 1].name}\u201d: {panel.points(lost[worst])} of agreement"


def faults(at: Focus) -> list[Panel]:
    """Draw accuracy against the rate of each kind of fault, two kinds a chart."""
    found = at.comparison.faults
    if found is None or found.row not in {row.key for row in at.comparison.rows}:
        return []
    drawn = [_family(at, found, name, kinds, title) for name, kinds, title in FAMILIES]
    return [p for p in drawn if p is not None]


def _family(at: Focus, found: FaultSweep, name: str, kinds: tuple[str, ...], x_title: str) -> Panel | None:
    here = [kind for kind in kinds if any(p.rate > 0 for p in found.of(kind))]
    if not here:
        return None
    row = at.comparison[found.row]
    data = [
        record(
            kind=NAMES[kind], rate=p.rate, accuracy=p.accuracy.value, low=p.accuracy.low, high=p.accuracy.high, least=p.least, most=p.most
        )
        for kind in here
        for p in found.of(kind)
        if p.rate > 0
    ]
    values = [r[key] for r in data for key in ("low", "high", "least", "most")]
    healthy = [record(accuracy=found.healthy.value, label="without a fault")]
    return Panel(
        f"faults-{name}",
        "chip",
        panel.capital("; ".join(_said(found, kind) for kind in here)),
        f"Accuracy of the same {found.n:,} test samples: mean over {found.draws} draw{'s' if found.draws != 1 else ''} of the fault, band its Wilson 95 % interval, "
        f"rules from the worst to the best draw. {panel.capital(row.label)}, faults from seed {found.seed}.",
        f"Line chart. Without a fault {units.percent(found.healthy.value)}. "
        + " ".join(f"{r['kind']} {units.percent(r['rate'])}: {units.percent(r['accuracy'])}." for r in data),
        charts.fault_rates(data, healthy, [NAMES[k] for k in here], x_title, panel.axis([*values, found.healthy.value])),
    )


def _said(found: FaultSweep, kind: str) -> str:
    """Return up to which rate a kind of fault costs at most half a point, and what the next rate costs."""
    fine = 0.0
    for p in found.of(kind):
        loss = found.healthy.value - p.accuracy.value
        if loss > HALF_A_POINT + 1e-12:
            borne = f"{100 * fine:g} % borne, " if fine else ""
            return f"{NAMES[kind]}: {borne}{100 * p.rate:g} % costs {panel.points(loss)}"
        fine = p.rate
    return f"{NAMES[kind]}: {100 * fine:g} % borne"


PANELS = (rounding, faults)
