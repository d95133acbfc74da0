"""Panels that say why: spikes per layer, parts of the error, rates against activations, thresholds, rasters, potentials."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ... import charts, units
from ...comparison import Decomposition, LayerRates, LayerThresholds, Row, Trace
from . import panel
from .panel import Focus, Panel, known, record

PARTS = ("inherited", "clipping", "quantisation", "unevenness")
MEANINGS = {
    "inherited": "inherited from the layer below",
    "clipping": "clipping of drives outside [0, threshold]",
    "quantisation": "quantisation, since a count is an integer",
    "unevenness": "unevenness, spikes that come early or late",
}
POPULATIONS, TRACES, SHOWN = 3, 2, 4


def spikes_per_layer(at: Focus) -> Panel | None:
    """Draw the spikes of every population for the rows in focus."""
    return _per_layer(at, "spikes", "spikes-layers", lambda layer: layer.size > 0, "spikes", "population")


def operations_per_layer(at: Focus) -> Panel | None:
    """Draw the synaptic operations of every projection for the rows in focus."""
    return _per_layer(at, "synaptic_operations", "operations-layers", lambda layer: layer.size == 0, "synaptic operations", "projection")


def _per_layer(at: Focus, field: str, name: str, kind: Callable[..., bool], what: str, where: str) -> Panel | None:
    data = []
    for row in at.family:
        for layer in row.layers:
            value = getattr(layer, field)
            if kind(layer) and value:
                text = units.si(value, "").strip()
                data.append(record(label=panel.arrow(layer.name), series=panel.name(row), value=value, text=text))
    if not data:
        return None
    order = list(dict.fromkeys(row["label"] for row in data))
    lead = [layer for layer in at.main.layers if kind(layer) and getattr(layer, field)]
    if not lead:
        return None
    total = sum(getattr(layer, field) for layer in lead)
    top = max(lead, key=lambda layer: getattr(layer, field))
    share = 100 * getattr(top, field) / total
    apart = " Spikes of the coded input (encoder) are listed apart from those of neurons." if "encoder" in order else ""
    return Panel(
        name,
        "why",
        f"{panel.arrow(top.name)} makes all {what}" if len(lead) == 1 else f"{panel.arrow(top.name)} makes {share:.0f} % of the {what}",
        f"{what.capitalize()} per inference and {where}, mean over the test samples.{apart} {panel.context(at.main)}.",
        "Bar chart. " + " ".join(f"{row['label']}, {row['series']}: {row['text']}." for row in data),
        charts.bars(data, "value", f"{what} per inference", "", _series(), order),
    )


def spikes_per_step(at: Focus) -> Panel | None:
    """Draw the spikes of every population in every step of its window."""
    layers = [layer for layer in at.main.layers if layer.by_step is not None and len(layer.by_step) > 1]
    if not layers:
        return None
    data = [record(series=layer.name, step=k + 1, spikes=v) for layer in layers for k, v in enumerate(known(layer.by_step))]
    first = known(layers[0].by_step)
    if first[-1] > 0:
        ratio = 100 * first[0] / first[-1]
        title = f"{layers[0].name} fires {ratio:.0f} % as much in its first step as in its last"
    else:
        title = f"{layers[0].name} is silent in its last step"
    return Panel(
        "spikes-steps",
        "why",
        title,
        f"Mean spikes of a population in each step of its own window. {panel.context(at.main)}.",
        "Line chart. "
        + " ".join(
            f"{layer.name}: {', '.join(units.si(v, '').strip() for v in known(layer.by_step)[:16])}." for layer in layers
        ),
        charts.lines(data, "spikes", "step of the window", "spikes per inference", [], ""),
    )


def decomposition(at: Focus) -> Panel | None:
    """Draw the parts of the error of every hidden layer."""
    row = _first(at, lambda r: bool(r.decomposition))
    if row is None:
        return None
    parts = row.decomposition
    data = [
        record(label=d.layer, series=part, rms=getattr(d, part)["rms"], mean=getattr(d, part)["mean"], text=_parts_text(d, part))
        for d in parts
        for part in PARTS
    ]
    worst = max(parts, key=lambda d: d.total["rms"])
    name = max(PARTS, key=lambda part: getattr(worst, part)["rms"])
    return Panel(
        "error-decomposition",
        "why",
        f"{worst.layer} errs most, chiefly by {MEANINGS[name]}",
        "Parts of rate - activation / threshold of hidden neurons: "
        + "; ".join(MEANINGS[part] for part in PARTS)
        + f". Root mean square over samples and neurons, in units of the threshold; the signed mean in brackets. "
        f"The means add up to the total, the root mean squares do not. {panel.context(row)}.",
        "Bar chart. "
        + " ".join(
            f"{d.layer}: " + ", ".join(f"{part} {_parts_text(d, part)}" for part in PARTS) + f", total {d.total['rms']:.3f}." for d in parts
        ),
        charts.bars(data, "rms", "root mean square error / threshold", "", charts.PART_COLOURS, [d.layer for d in parts]),
    )


def _parts_text(d: Decomposition, part: str) -> str:
    value = getattr(d, part)
    return f"{value['rms']:.3f} ({value['mean']:+.3f})".replace("-0.000", "0.000").replace("+0.000", "0.000").replace("-", "\N{MINUS SIGN}")


def rates(at: Focus) -> list[Panel]:
    """Draw rate against activation, one panel a hidden layer."""
    row = _first(at, lambda r: bool(r.rates))
    return [] if row is None else [_rates(row, layer) for layer in row.rates]


def _rates(row: Row, layer: LayerRates) -> Panel:
    x, (y, density) = layer.activation_edges, _levels(layer, row.n_steps)
    cells = [
        record(x_low=x[i], x_high=x[i + 1], y_low=y[j], y_high=y[j + 1], pairs=int(density[i, j]))
        for i, j in zip(*np.nonzero(density), strict=True)
    ]
    top = float(x[-1])
    diagonal = [record(x=0.0, y=0.0), record(x=min(1.0, top), y=min(1.0, top))]
    if top > 1:
        diagonal.append(record(x=top, y=1.0))
    if layer.correlation is None:
        title = f"{layer.layer}: no variation to follow"
    else:
        verb = "follow" if layer.correlation >= 0.99 else "roughly follow" if layer.correlation >= 0.9 else "do not follow"
        title = f"{layer.layer}: rates {verb} activations (r = {layer.correlation:.3f})"
    return Panel(
        f"rates-{layer.layer}",
        "why",
        title,
        f"All neurons and {layer.n_samples:,} samples; darker is more pairs, logarithmic. The dashed line is a perfect conversion, which "
        f"saturates at one spike a step. Root mean square error {layer.rmse:.4f}, mean rate {layer.mean_rate:.3f} spikes per neuron and "
        f"step. {panel.context(row)}.",
        f"Two-dimensional histogram of spike rate against activation. Correlation "
        f"{'undefined' if layer.correlation is None else f'{layer.correlation:.4f}'}, root mean square error {layer.rmse:.4f}.",
        charts.density(cells, diagonal, "activation / threshold", "spikes per step", charts.GROUP_COLOURS[panel.name(row)]),
    )


def _levels(layer: LayerRates, n_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rate edges and density with one bin a rate that can occur, k / T, where the given bins are finer and would leave stripes."""
    edges = np.asarray(layer.rate_edges, dtype=np.float64)
    if n_steps < 1 or len(edges) - 1 < 2 * (n_steps + 1):
        return edges, layer.density
    level = np.clip(np.rint((edges[:-1] + edges[1:]) / 2 * n_steps), 0, n_steps).astype(int)
    density = np.zeros((len(layer.density), n_steps + 1), dtype=np.int64)
    np.add.at(density.T, level, layer.density.T)
    return (np.arange(n_steps + 2) - 0.5) / n_steps, density


def thresholds(at: Focus) -> list[Panel]:
    """Draw the thresholds against the histogram of activations, one panel a hidden layer."""
    row = _first(at, lambda r: bool(r.thresholds))
    return [] if row is None else [_thresholds(row, layer) for layer in row.thresholds]


def _thresholds(row: Row, layer: LayerThresholds) -> Panel:
    bins = [record(low=low, high=high, count=int(c)) for low, high, c in zip(layer.edges[:-1], layer.edges[1:], layer.counts, strict=True)]
    values = np.unique(np.round(np.asarray(layer.thresholds, dtype=np.float64), 6))
    if len(values) > 60:
        values = np.quantile(values, np.linspace(0, 1, 60))
    marks = [record(value=v, label="threshold") for v in values]
    low, high = float(np.min(layer.thresholds)), float(np.max(layer.thresholds))
    extent = f"{low:.3g}" if np.isclose(low, high) else f"{low:.3g} to {high:.3g}"
    return Panel(
        f"thresholds-{layer.layer}",
        "why",
        f"{layer.layer}: {100 * layer.clipped:.2g} % of the activations lie above their threshold",
        f"Activations of the ANN, zeros left out ({100 * layer.zeros:.0f} % of all), on a logarithmic count; orange marks are the "
        f"thresholds ({extent}). {panel.context(row)}.",
        f"Histogram of activations with thresholds {extent}; {100 * layer.clipped:.2g} % of the activations lie above.",
        charts.histogram(bins, marks, "activation", "count (log)", charts.GROUP_COLOURS["ANN"], "#E69F00", log=True),
    )


def rasters(at: Focus) -> list[Panel]:
    """Draw the spikes of chosen samples."""
    row = _first(at, lambda r: any(trace.spikes for trace in r.traces))
    return [] if row is None else [_raster(row, trace) for trace in row.traces[:TRACES] if trace.spikes]


def _raster(row: Row, trace: Trace) -> Panel:
    names = list(trace.spikes)
    data, windows, offset = [], [], 0
    sizes = {layer.name: layer.size for layer in row.layers}
    for name in names:
        spikes = np.asarray(trace.spikes[name]).reshape(-1, 2)
        start = trace.starts.get(name, 0)
        size = sizes.get(name) or (int(spikes[:, 1].max()) + 1 if len(spikes) else 1)
        # Bands of equal height: a read-out of ten neurons would vanish beside a layer of a thousand.
        data += [record(population=name, neuron=int(n), step=start + int(s) + 1, y=offset + 0.2 + 0.74 * (n + 0.5) / size) for s, n in spikes]
        windows.append(
            record(population=name, first=start + 0.5, last=start + row.n_steps + 0.5, y_low=offset + 0.04, y_high=offset + 0.98)
        )
        offset += 1
    count = sum(len(trace.spikes[name]) for name in names)
    verdict = "right" if trace.answer == trace.label else f"wrong (label {trace.label})"
    return Panel(
        f"raster-{trace.sample}",
        "why",
        f"Sample {trace.sample}: {count:,} spikes, answer {trace.answer}, {verdict}",
        f"A mark a spike; neurons of a population from top to bottom, the grey band is its window of {row.n_steps} steps. "
        f"{panel.context(row)}.",
        "Raster of spikes. " + " ".join(f"{name}: {len(trace.spikes[name])} spikes." for name in names),
        charts.raster(data, windows, names),
    )


def potentials(at: Focus) -> list[Panel]:
    """Draw membrane potentials of chosen neurons of one sample, with their thresholds."""
    row = _first(at, lambda r: any(trace.potentials for trace in r.traces))
    if row is None:
        return []
    trace = next(trace for trace in row.traces if trace.potentials)
    return [_potentials(row, trace, name) for name in list(trace.potentials)[-POPULATIONS:]]


def _potentials(row: Row, trace: Trace, name: str) -> Panel:
    v = np.asarray(trace.potentials[name], dtype=np.float64)
    theta = trace.thresholds.get(name)
    relative = theta is not None and np.all(np.asarray(theta) > 0)
    if relative:
        v = v / np.asarray(theta)
    start = trace.starts.get(name, 0)
    # The read-out shows all its classes; of a hidden population, neurons that stay far below their threshold would flatten the others.
    shown = list(range(v.shape[1])) if not relative else sorted(np.argsort(-v.mean(axis=0), kind="stable")[:SHOWN].tolist())
    data = [record(series=str(i), step=start + k + 1, v=v[k, i]) for i in shown for k in range(len(v))]
    named: dict[str, tuple[str, str]] = {}
    if relative:
        title = f"{name}: potentials of {len(shown)} neurons between resets"
    else:
        winner = int(np.argmax(v[-1]))
        lead = next((k for k in range(len(v)) if np.all(np.argmax(v[k:], axis=1) == winner)), 0)
        title = f"{name}: neuron {winner} leads from step {start + lead + 1} on"
        named = {str(winner): (charts.GROUP_COLOURS[panel.name(row)], f"{winner} (answer)")}
        if trace.label != winner and 0 <= trace.label < v.shape[1]:
            named[str(trace.label)] = ("#009E73", f"{trace.label} (label)")
    which = f"of {v.shape[1]} recorded neurons those with the highest mean" if relative else "all neurons"
    return Panel(
        f"potentials-{name}",
        "why",
        title,
        f"Membrane potential after each step of the window{' divided by the threshold (dashed at 1)' if relative else ', no threshold'}; "
        f"sample {trace.sample}, {which}. {panel.context(row)}.",
        f"Line chart of the membrane potential of {len(shown)} neurons of {name} over {len(v)} steps.",
        charts.lines(
            data,
            "v",
            "chip step",
            "v / threshold" if relative else "v",
            [record(value=1.0, label="threshold")] if relative else [],
            "neuron",
            named,
        ),
    )


def _first(at: Focus, has: Callable[[Row], bool]) -> Row | None:
    """Return the headline's row if it has what is asked for, else the ideal one, else any of the focus."""
    return next((row for row in (at.main, at.ideal, *at.family) if row is not None and has(row)), None)


def _series() -> dict[str, str]:
    # Two rows of one colour stand side by side here, so the native one is told apart by a lighter neighbour of the palette.
    return {**charts.GROUP_COLOURS, "native reset": charts.NATIVE}


PANELS = (spikes_per_layer, operations_per_layer, spikes_per_step, decomposition, rates, thresholds, rasters, potentials)
