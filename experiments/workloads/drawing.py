"""The metric against T as a small SVG that takes its colours from the page's style."""

from __future__ import annotations

import math
from dataclasses import dataclass

from markupsafe import Markup, escape

from .results import Outcome
from .words import value

HEIGHT, TOP, BOTTOM = 250, 14, 40


@dataclass(frozen=True)
class Frame:
    """Width of the chart, its margins, and the most characters of a label; labels beside the chart or in a list below."""

    width: int
    left: int
    right: int
    longest: int
    beside: bool


WIDE, NARROW = Frame(640, 64, 230, 32, True), Frame(380, 56, 8, 44, False)


def against_steps(outcome: Outcome, frame: Frame = WIDE) -> Markup:
    """Return the chart: the spiking network with its interval at every T, the ANN's interval as a band, baselines, the chip."""
    unit = outcome.metric_unit
    spread = [*outcome.ann, *(b.ann[0] for b in outcome.baselines)]
    spread += [v for step in outcome.steps for v in step.metric]
    chip = next((c for c in outcome.chips if c.metric is not None), None)
    low, high = min(spread), max(spread)
    pad = 0.06 * (high - low or abs(high) or 1)
    low, high = low - pad, high + pad
    if unit == "%":
        low, high = max(low, 0.0), min(high, 1.0)
    ticks = nice_ticks(low, high)
    steps = [step.n_steps for step in outcome.steps]
    first, last = math.log2(steps[0]), math.log2(steps[-1])

    def x(n_steps: int) -> float:
        return frame.left + 14 + (frame.width - frame.left - frame.right - 28) * ((math.log2(n_steps) - first) / (last - first) if last > first else 0.5)

    def y(number: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - (number - low) / (high - low))

    left, right = frame.left, frame.width - frame.right
    parts: list[str] = []
    for tick in ticks:
        parts.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
        parts.append(f'<text class="tick" x="{left - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{escape(_tick(tick, unit))}</text>')
    for n in steps:
        parts.append(f'<text class="tick" x="{x(n):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{n}</text>')
    parts.append(f'<text class="tick" x="{(left + right) / 2:.0f}" y="{HEIGHT - 6}" text-anchor="middle">time steps T (logarithmic)</text>')
    top, bottom = y(outcome.ann[2]), y(outcome.ann[1])
    parts.append(f'<rect class="band" x="{left}" width="{right - left}" y="{top:.1f}" height="{max(bottom - top, 1):.1f}"/>')
    labels = [(y(outcome.ann[0]), "ann", f"ANN {value(outcome.ann[0], unit)}")]
    parts.append(f'<line class="ann" x1="{left}" x2="{right}" y1="{y(outcome.ann[0]):.1f}" y2="{y(outcome.ann[0]):.1f}"/>')
    for base in outcome.baselines:
        parts.append(f'<line class="base" x1="{left}" x2="{right}" y1="{y(base.ann[0]):.1f}" y2="{y(base.ann[0]):.1f}"/>')
        labels.append((y(base.ann[0]), "base", shortened(base.name, frame.longest)))
    line = " ".join(f"{x(s.n_steps):.1f},{y(s.metric[0]):.1f}" for s in outcome.steps)
    parts.append(f'<polyline class="ideal" points="{line}"/>')
    for s in outcome.steps:
        parts.append(f'<line class="ideal" x1="{x(s.n_steps):.1f}" x2="{x(s.n_steps):.1f}" y1="{y(s.metric[1]):.1f}" y2="{y(s.metric[2]):.1f}"/>')
        parts.append(f'<circle class="ideal{" open" if not s.within else ""}" cx="{x(s.n_steps):.1f}" cy="{y(s.metric[0]):.1f}" r="4"/>')
    labels.append((y(outcome.steps[-1].metric[0]), "ideal", "spiking, ideal"))
    if chip is not None and chip.metric is not None:
        cx, cy = x(outcome.n_steps), y(chip.metric[0])
        if TOP <= cy <= HEIGHT - BOTTOM:
            parts.append(f'<path class="chip" d="M{cx:.1f} {cy - 6:.1f} l6 6 l-6 6 l-6 -6 z"/>')
            labels.append((cy, "chip", f"\N{BLACK DIAMOND} {chip.chip}, T = {outcome.n_steps}"))
    height = HEIGHT
    if frame.beside:
        for at, kind, text in apart(labels):
            parts.append(f'<text class="label {kind}" x="{right + 8}" y="{at + 4:.1f}">{escape(text)}</text>')
    else:
        for k, (_, kind, text) in enumerate(sorted(labels)):
            row = HEIGHT + 14 + 18 * k
            parts.append(f'<line class="{kind}" x1="{left}" x2="{left + 24}" y1="{row - 4}" y2="{row - 4}"/>')
            parts.append(f'<text class="label {kind}" x="{left + 32}" y="{row}">{escape(text)}</text>')
        height += 18 * len(labels) + 8
    head = f'<svg class="{"wide" if frame.beside else "narrow"}" viewBox="0 0 {frame.width} {height}" role="img" aria-label="{escape(_told(outcome))}">'
    return Markup(head + "".join(parts) + "</svg>")


def shortened(name: str, longest: int) -> str:
    """Return a name of at most so many characters, cut between words, the cut marked."""
    if len(name) <= longest:
        return name
    return name[: longest - 1].rsplit(" ", 1)[0].rstrip(",") + "\N{HORIZONTAL ELLIPSIS}"


def nice_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Return round numbers between low and high, 1, 2 or 5 times a power of ten apart, at most about ``most``."""
    raw = (high - low) / most
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * k for k in (1, 2, 5, 10) if size * k >= raw)
    start = math.ceil(low / step)
    return [k * step for k in range(start, math.floor(high / step) + 1)]


def apart(labels: list[tuple[float, str, str]], gap: float = 15.0) -> list[tuple[float, str, str]]:
    """Return the labels in order of height, moved down so that none covers another, and up again where the chart ends."""
    found: list[tuple[float, str, str]] = []
    for at, kind, text in sorted(labels):
        found.append((max(at, found[-1][0] + gap) if found else max(at, TOP), kind, text))
    over = found[-1][0] - (HEIGHT - BOTTOM) if found else 0.0
    if over > 0:
        limit = float(HEIGHT - BOTTOM)
        for k in range(len(found) - 1, -1, -1):
            found[k] = (min(found[k][0], limit), *found[k][1:])
            limit = found[k][0] - gap
    return found


def _tick(number: float, unit: str) -> str:
    return f"{100 * number:.4g} %" if unit == "%" else f"{number:,.4g}"


def _told(outcome: Outcome) -> str:
    points = ", ".join(f"T = {s.n_steps}: {value(s.metric[0], outcome.metric_unit)}" for s in outcome.steps)
    return f"{outcome.metric} against T. ANN {value(outcome.ann[0], outcome.metric_unit)}. Spiking: {points}."
