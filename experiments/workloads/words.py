"""Values of the workloads as text: a metric with its unit and interval, a change, a verdict."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.units import significant

from .results import Bounds, Outcome, Suite


def value(number: float, unit: str) -> str:
    """Return a metric as text: "96.4 %", "4.13 dB", "0.961"."""
    if unit == "%":
        return f"{100 * number:.1f} %"
    digits = 4 if abs(number) >= 100 or not unit else 3
    return f"{significant(number, digits)} {unit}".rstrip()


def percent(share: float) -> str:
    """Return a share as text: "96.4 %"."""
    return value(share, "%")


def interval(found: Bounds, unit: str) -> str:
    """Return the two ends of an interval: "94.3-97.8"."""
    _, low, high = found
    scale = 100 if unit == "%" else 1
    if unit == "%":
        return f"{scale * low:.1f}-{scale * high:.1f}"
    digits = 4 if max(abs(low), abs(high)) >= 100 or not unit else 3
    return f"{significant(low, digits)}-{significant(high, digits)}"


def change(number: float, unit: str) -> str:
    """Return a signed change: "+0.30 points", "-0.12 dB"; without a sign for none."""
    sign = "+" if number > 0 else "\N{MINUS SIGN}" if number < 0 else ""
    if unit == "%":
        return f"{sign}{100 * abs(number):.2f} points"
    digits = significant(abs(number), 3) if number else "0.00"
    return f"{sign}{digits} {unit}".rstrip()


def verdict(suite: Suite) -> str:
    """Return one sentence about the whole page."""
    done = suite.outcomes
    if not done:
        return "No workload could run here; the reasons are below."
    good = [o for o in done if o.reached]
    text = f"In {len(good)} of {len(done)} tasks the spiking network answers within the ANN's own 95 % interval"
    if good:
        at = sorted(o.n_steps for o in good)
        text += f", at T = {at[0]}" + (f" to {at[-1]} steps" if at[-1] != at[0] else "")
    if len(good) == len(done):
        return text + "." + _on_chip(done)
    short = "; ".join(f"{o.title}: {distance(o)} at T = {o.n_steps}" for o in done if not o.reached)
    return f"{text}. It falls short in: {short}.{_on_chip(done)}"


def _on_chip(done: Sequence[Outcome]) -> str:
    """Return in how many tasks the first chip's integers answer as well, and which do not."""
    ran = [(o, o.chips[0]) for o in done if o.chips and o.chips[0].metric is not None]
    out = [o.title for o, chip in ran if not chip.within]
    if not ran:
        return ""
    return f" In the integers of {ran[0][1].chip} {len(ran) - len(out)} of {len(ran)} do" + (f"; not {'; '.join(out)}." if out else ".")


def distance(outcome: Outcome) -> str:
    """Return how far the spiking network is from the ANN at the chosen T."""
    return change(outcome.at(outcome.n_steps).difference[0], outcome.metric_unit)
