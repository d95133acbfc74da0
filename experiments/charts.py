"""Drawings of plain rows as Vega-Altair charts; the only file that imports altair.

Nothing here knows a comparison: every function takes lists of plain rows (dicts whose field names carry the
unit, SI throughout) and returns a Vega-Lite specification with its data inside. One specification serves the
interactive page, the notebook and the SVG, PNG and PDF figures. Colours are literal and light; the page's style
sheet maps each of them to its dark or printed counterpart, so that a change of theme draws nothing again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import altair as alt

Rows = Sequence[Mapping[str, Any]]
Spec = dict[str, Any]

# Okabe and Ito 2008, "Color Universal Design"; the grey is dark enough to be seen on white (contrast 5.1).
GROUP_COLOURS = {"ANN": "#6E6E6E", "ideal": "#0072B2", "chip": "#D55E00", "native reset": "#D55E00"}
NATIVE = "#F2A477"  # vermilion, lighter: where dashes cannot tell the native row from the chip row
COMPONENT_COLOURS = {
    "synaptic operations": "#009E73",
    "neuron updates": "#E69F00",
    "spike routing": "#56B4E9",
    "static": "#CC79A7",
    "host first layer": "#7F6A4D",
    "overhead": "#F0E442",
}
PART_COLOURS = {"inherited": "#7F6A4D", "clipping": "#CC79A7", "quantisation": "#56B4E9", "unevenness": "#E69F00"}
SET_COLOURS = {"train": "#7F6A4D", "test": "#56B4E9"}
TEXT, MUTED, GRID, PAPER = "#1F2328", "#57606A", "#D8DEE4", "#FFFFFF"
DARK = {
    "#6E6E6E": "#A9AFB6",
    "#0072B2": "#4AA8E8",
    "#D55E00": "#FF8A3D",
    "#009E73": "#2CC79A",
    "#E69F00": "#F2B33A",
    "#56B4E9": "#A5DAF8",
    "#CC79A7": "#E3A3C6",
    "#F0E442": "#F3EA78",
    "#7F6A4D": "#BFA98A",
    "#F2A477": "#8F4A1C",
    TEXT: "#E6EDF3",
    MUTED: "#A0A9B3",
    GRID: "#333A42",
    PAPER: "#15191E",
}
SHAPES = {"ANN": "diamond", "ideal": "circle", "chip": "circle", "native reset": "triangle-up"}
DASHES = {"ANN": [2, 0], "ideal": [1, 0], "chip": [1, 0], "native reset": [5, 3]}

# Labels of axes: shares as percentages, joules and seconds with SI prefixes.
PERCENT = "format(datum.value * 100, '.4~g') + ' %'"
PREFIXED = "replace(format(datum.value, '.3~s'), /([a-zµ]?)$/i, ' $1') + '{unit}'"

CONFIG = {
    "aria": False,
    "background": "transparent",
    "font": "system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', Arial, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "domainColor": MUTED,
        "tickColor": MUTED,
        "gridColor": GRID,
        "labelColor": TEXT,
        "titleColor": TEXT,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "labelFlush": False,
        "labelLimit": 190,
    },
    "axisX": {"grid": False, "titlePadding": 8},
    "axisY": {"titleAngle": 0, "titleAlign": "left", "titleBaseline": "bottom", "titleX": 0, "titleY": -8, "domain": False},
    "legend": {
        "labelColor": TEXT,
        "titleColor": TEXT,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "orient": "top",
        "offset": 30,  # leaves room for the title of the upright axis, which lies above it
        "labelLimit": 260,
    },
    "text": {"color": TEXT, "fontSize": 12},
}


def steps(curves: Rows, reference: Rows, faint: Rows, labels: Rows, domain: tuple[float, float], right: int, title: str = "time steps") -> Spec:
    """Draw accuracy after every step: lines with bands, the ANN's line across, further runs faint behind.

    curves : group, label, step, accuracy, low, high, disagreement, latency_steps; reference : group, accuracy;
    faint : run, group, step, accuracy; labels : group, step, accuracy (where to write the group's name);
    domain : of the accuracy axis; right : pixels left free for the names; title : of the axis of steps.
    """
    x = alt.X("step:Q", title=title, axis=_whole(row["step"] for row in curves), scale=alt.Scale(nice=False, zero=False))
    y, low, high = _accuracy(domain)
    colour = _group_colour(legend=False)
    dash = _group_dash()
    line = alt.Chart(alt.NamedData("data"))
    behind = [alt.Chart(alt.NamedData("faint")).mark_line(strokeWidth=1, opacity=0.3).encode(x, y, colour, detail="run:N")]
    layers = [
        line.mark_area(opacity=0.14).encode(x, low, high, colour),
        alt.Chart(alt.NamedData("reference")).mark_rule(strokeWidth=1.5).encode(y, colour),
        line.mark_line(strokeWidth=2.5).encode(x, y, colour, dash),
        line.mark_point(filled=True, size=45, opacity=1).encode(
            x,
            y,
            colour,
            tooltip=[
                alt.Tooltip("label:N", title="run"),
                alt.Tooltip("step:Q", title="steps"),
                alt.Tooltip("latency_steps:Q", title="steps until the answer"),
                alt.Tooltip("accuracy:Q", format=".2%"),
                alt.Tooltip("low:Q", title="95 % low", format=".2%"),
                alt.Tooltip("high:Q", title="95 % high", format=".2%"),
                alt.Tooltip("disagreement:Q", title="differs from ANN", format=".2%"),
            ],
        ),
        alt.Chart(alt.NamedData("labels"))
        .mark_text(align="left", dx=9, fontWeight="bold", clip=False)
        .encode(x, y, text="text:N", color=colour),
    ]
    return _spec(
        # Vega warns about the extent of a layer without rows.
        alt.layer(*(behind if faint else ()), *layers),
        {"data": curves, "reference": reference, **({"faint": faint} if faint else {}), "labels": labels},
        320,
        {"right": right},
    )


def tradeoff(points: Rows, front: Rows, ring: Rows, references: Rows, x: str, x_title: str, unit: str, domain: tuple[float, float]) -> Spec:
    """Draw accuracy against a cost on a logarithmic axis, with intervals both ways and the Pareto front.

    points : label, group, x (field ``x``), x_low, x_high, accuracy, low, high, name ("" or what to write beside it); those outside
    ``domain`` are in the data and not in the picture; front : x, accuracy in order of x; ring : the points to ring; references : label, group, x, accuracy, name.
    """
    everything = [*points, *references]
    scale, axis = _log([row.get(name) for row in everything for name in (x, f"{x}_low", f"{x}_high")], unit)
    axis_x = alt.X(f"{x}:Q", title=x_title, scale=scale, axis=axis)
    axis_y, low, high = _accuracy(domain)
    colour = _group_colour(legend=True)
    tooltip = [
        alt.Tooltip("label:N", title="run"),
        alt.Tooltip("accuracy:Q", format=".2%"),
        alt.Tooltip("low:Q", title="95 % low", format=".2%"),
        alt.Tooltip("high:Q", title="95 % high", format=".2%"),
        alt.Tooltip(f"{x}:Q", title=x_title, format=".3s"),
    ]
    shape = _group_shape()
    cloud = alt.Chart(alt.NamedData("data"))
    beside = alt.Chart(alt.NamedData("references"))
    crowded = len(points) > 24
    layers: list[Any] = [
        alt.Chart(alt.NamedData("front")).mark_line(color=MUTED, strokeWidth=1.5, interpolate="step-after", clip=True).encode(axis_x, axis_y),
        cloud.mark_rule(opacity=0.12 if crowded else 0.5, clip=True).encode(axis_x, low, high, color=colour),
        cloud.mark_rule(opacity=0.12 if crowded else 0.5, clip=True).encode(
            alt.X(f"{x}_low:Q", scale=scale), alt.X2(f"{x}_high:Q"), axis_y, color=colour
        ),
        beside.mark_point(filled=True, size=70, opacity=1).encode(axis_x, axis_y, shape, color=colour, tooltip=tooltip[:2] + tooltip[4:]),
        cloud.mark_point(filled=True, size=70, opacity=0.75 if crowded else 1, clip=True).encode(axis_x, axis_y, shape, color=colour, tooltip=tooltip),
    ]
    layers.append(alt.Chart(alt.NamedData("ring")).mark_point(filled=False, size=220, color=TEXT, strokeWidth=1.5, clip=True).encode(axis_x, axis_y))
    # Names are not colour-coded data: one muted ink, beside their point, written towards the middle of the chart.
    middle = math.sqrt(math.prod(scale.domain))
    named = [
        {
            x: row[x],
            "accuracy": row["accuracy"],
            "name": row["name"],
            "side": ("left" if row[x] < middle else "right") + (" below" if row["group"] == "ANN" else ""),
        }
        for row in everything
        if row["name"] and row["accuracy"] >= domain[0]
    ]
    label = alt.Chart(alt.NamedData("names"))
    for side, align, dx, dy in (("left", "left", 8, -9), ("right", "right", -8, -9), ("left below", "left", -4, 14), ("right below", "right", 4, 14)):
        if any(row["side"] == side for row in named):
            text = label.transform_filter(alt.datum.side == side).encode(axis_x, axis_y, text="name:N")
            layers += _written(text, MUTED, align=align, dx=dx, dy=dy)
    return _spec(alt.layer(*layers), {"data": points, "front": front, "ring": ring, "references": references, "names": named}, 330)


def stacked(parts: Rows, totals: Rows, components: Sequence[str], x_title: str, unit: str) -> Spec:
    """Draw one bar a run, stacked by component from zero, with the low and high of the total as a whisker.

    parts : label, component, order, energy_J, low_J, high_J, share; totals : label, energy_J, low_J, high_J.
    """
    order = _labels(parts)
    y = alt.Y("label:N", sort=order, title=None, axis=None, scale=alt.Scale(paddingInner=0))
    label = _prefixed(unit)
    x = alt.X("energy_J:Q", title=x_title, stack="zero", axis=alt.Axis(labelExpr=label, grid=True, tickCount=5))
    colour = alt.Color(
        "component:N",
        scale=alt.Scale(domain=list(components), range=component_colours(components)),
        legend=alt.Legend(title=None, columns=2, symbolType="square", offset=10),
        sort=list(components),
    )
    tooltip = [
        alt.Tooltip("label:N", title="run"),
        alt.Tooltip("component:N"),
        alt.Tooltip("energy_J:Q", title="energy [J]", format=".3s"),
        alt.Tooltip("low_J:Q", title="low [J]", format=".3s"),
        alt.Tooltip("high_J:Q", title="high [J]", format=".3s"),
        alt.Tooltip("share:Q", title="share of the total", format=".1%"),
    ]
    bars = (
        alt.Chart(alt.NamedData("data"))
        .mark_bar(height=18, yOffset=8, stroke=PAPER, strokeWidth=1)
        .encode(x, y, colour, order=alt.Order("order:Q"), tooltip=tooltip)
    )
    total = alt.Chart(alt.NamedData("totals"))
    whisker = total.mark_rule(color=TEXT, strokeWidth=1.5, yOffset=8).encode(alt.X("low_J:Q"), alt.X2("high_J:Q"), y)
    ends = [total.mark_tick(color=TEXT, thickness=1.5, size=9, yOffset=8).encode(alt.X(f"{end}:Q"), y) for end in ("low_J", "high_J")]
    layers = [bars, whisker, *ends, _above(total, y)]
    return _spec(alt.layer(*layers), {"data": parts, "totals": totals}, 70 + 46 * len(order) + 18 * math.ceil(len(components) / 2))


def dots(rows: Rows, field: str, x_title: str, unit: str, log: bool) -> Spec:
    """Draw one value with its bounds a line: a dot and a whisker, coloured by group.

    rows : label, group, ``field``, low, high, text; bars from zero are left to linear axes, a logarithmic axis has none.
    """
    y = alt.Y("label:N", sort=_labels(rows), title=None, axis=None, scale=alt.Scale(paddingInner=0))
    if log:
        scale, axis = _log([row[name] for row in rows for name in (field, "low", "high")], unit)
    else:
        scale, axis = alt.Scale(zero=True), alt.Axis(labelExpr=_prefixed(unit), tickCount=4, labelOverlap=True)
    axis.grid = True
    x = alt.X(f"{field}:Q", title=x_title, scale=scale, axis=axis)
    colour = _group_colour(legend=False)
    base = alt.Chart(alt.NamedData("data"))
    tooltip = [
        alt.Tooltip("label:N", title="run"),
        alt.Tooltip(f"{field}:Q", title=x_title, format=".3s"),
        alt.Tooltip("low:Q", format=".3s"),
        alt.Tooltip("high:Q", format=".3s"),
    ]
    layers = [
        base.mark_rule(color=GRID, strokeWidth=1, yOffset=8).encode(y),
        base.mark_rule(strokeWidth=3, opacity=0.45, yOffset=8).encode(alt.X("low:Q", scale=scale), alt.X2("high:Q"), y, color=colour),
        base.mark_point(filled=True, size=80, opacity=1, yOffset=8).encode(x, y, color=colour, tooltip=tooltip),
        _above(base, y),
    ]
    return _spec(alt.layer(*layers), {"data": rows}, 58 + 38 * len(rows))


def break_even(line: Rows, rules: Rows, marks: Rows) -> Spec:
    """Draw the chip's energy against its synaptic operations, with the ANN's energies across.

    line : synaptic_operations, energy_J, low_J, high_J; rules : label, energy_J; marks : label, synaptic_operations, energy_J.
    """
    scale_x, axis_x = _log([row["synaptic_operations"] for row in line], "")
    scale_y, axis_y = _log([row[name] for row in (*line, *rules) for name in ("low_J", "energy_J", "high_J") if name in row], "J")
    x = alt.X("synaptic_operations:Q", title="synaptic operations per inference (log)", scale=scale_x, axis=axis_x)
    y = alt.Y("energy_J:Q", title="energy per inference (log)", scale=scale_y, axis=axis_y)
    base = alt.Chart(alt.NamedData("data"))
    mark = alt.Chart(alt.NamedData("marks"))
    colour = GROUP_COLOURS["chip"]
    tooltip = [
        alt.Tooltip("label:N"),
        alt.Tooltip("synaptic_operations:Q", title="synaptic operations", format=",.0f"),
        alt.Tooltip("energy_J:Q", title="energy [J]", format=".3s"),
    ]
    rule = alt.Chart(alt.NamedData("rules"))
    layers = [
        base.mark_area(opacity=0.14, color=colour).encode(x, alt.Y("low_J:Q", scale=scale_y), alt.Y2("high_J:Q")),
        base.mark_line(strokeWidth=2.5, color=colour).encode(x, y),
        rule.mark_rule(color=GROUP_COLOURS["ANN"], strokeWidth=1.5).encode(y),
        rule.mark_text(align="left", dx=4, dy=-7, color=MUTED).encode(y, x=alt.value(0), text="label:N"),
        mark.mark_point(filled=True, size=90, color=colour, opacity=1).encode(x, y, tooltip=tooltip),
        mark.mark_text(align="right", dx=-8, dy=-10).encode(x, y, text="label:N"),
    ]
    return _spec(alt.layer(*layers), {"data": line, "rules": rules, "marks": marks}, 300)


def bars(rows: Rows, field: str, x_title: str, unit: str, series: Mapping[str, str], order: Sequence[str], percent: bool = False) -> Spec:
    """Draw grouped horizontal bars from zero: one group a layer, one bar a series, its number at its end.

    rows : label, series, ``field``, text; series : {name: colour}; order : of the labels.
    """
    names = [name for name in series if any(row["series"] == name for row in rows)]
    columns = 3 if len(names) <= 3 else 2
    # Small numbers without a unit are written out: "10 m" would be read as metres.
    bare = not unit and max((abs(row[field]) for row in rows), default=0.0) < 1
    label = PERCENT if percent else "format(datum.value, ',.6~f')" if bare else _prefixed(unit)
    x = alt.X(f"{field}:Q", title=x_title, axis=alt.Axis(labelExpr=label, grid=True, tickCount=5, labelOverlap=True))
    y = alt.Y("label:N", sort=list(order), title=None, axis=alt.Axis(ticks=False), scale=alt.Scale(paddingInner=0.25))
    colour = alt.Color(
        "series:N",
        scale=alt.Scale(domain=names, range=[series[name] for name in names]),
        legend=None if len(names) < 2 else alt.Legend(title=None, columns=columns, symbolType="square", offset=10),
        sort=names,
    )
    base = alt.Chart(alt.NamedData("data")).encode(x, y, yOffset=alt.YOffset("series:N", sort=names))
    tooltip = [alt.Tooltip("label:N"), alt.Tooltip("series:N"), alt.Tooltip("text:N", title=x_title)]
    drawn = alt.layer(
        base.mark_bar().encode(colour, tooltip=tooltip),
        base.mark_text(align="left", dx=4, fontSize=11).encode(text="text:N"),
    )
    legend = 14 + 18 * math.ceil(len(names) / columns) if len(names) > 1 else 0
    return _spec(drawn, {"data": rows}, 60 + legend + len(order) * (17 * len(names) + 8), {"right": 44})


def density(cells: Rows, diagonal: Rows, x_title: str, y_title: str, colour: str) -> Spec:
    """Draw a two-dimensional histogram, darker where there are more pairs (logarithmic), and the line of equality.

    cells : x_low, x_high, y_low, y_high, pairs; diagonal : x, y.
    """
    largest = max(row["pairs"] for row in cells)
    x = alt.X("x_low:Q", title=x_title, scale=alt.Scale(nice=False, zero=True), axis=alt.Axis(tickCount=6))
    # The lowest and highest bins reach half their height beyond the rates that can occur.
    highest = max((row["y_low"] + row["y_high"]) / 2 for row in cells)
    marks = [k / 5 for k in range(math.floor(5 * highest + 1e-6) + 1)]
    y = alt.Y(
        "y_low:Q",
        title=y_title,
        scale=alt.Scale(nice=False, zero=False),
        axis=alt.Axis(values=marks if len(marks) in range(3, 12) else alt.Undefined, tickCount=6, grid=False, labelOverlap=False),
    )
    shade = alt.Opacity("pairs:Q", scale=alt.Scale(type="log", domain=[1, max(largest, 2)], range=[0.12, 1]), legend=None)
    rect = (
        alt.Chart(alt.NamedData("data"))
        .mark_rect(color=colour)
        .encode(
            x,
            y,
            alt.X2("x_high:Q"),
            alt.Y2("y_high:Q"),
            shade,
            tooltip=[
                alt.Tooltip("x_low:Q", title="activation from", format=".3f"),
                alt.Tooltip("y_low:Q", title="rate from", format=".3f"),
                alt.Tooltip("pairs:Q", title="pairs", format=","),
            ],
        )
    )
    line = alt.Chart(alt.NamedData("diagonal")).mark_line(color=TEXT, strokeWidth=1, strokeDash=[4, 3]).encode(x="x:Q", y="y:Q")
    return _spec(alt.layer(rect, line), {"data": cells, "diagonal": diagonal}, 280)


def histogram(bins: Rows, marks: Rows, x_title: str, y_title: str, colour: str, mark_colour: str, log: bool = False) -> Spec:
    """Draw a histogram with a rule for every value of ``marks``.

    bins : low, high, count; marks : value, label.
    """
    floor = 0.7 if log else 0.0
    scale, axis = _log([1, *(row["count"] for row in bins)], "") if log else (alt.Scale(zero=True), alt.Axis(tickCount=5, format="~s"))
    bins = [{**row, "floor": floor} for row in bins if row["count"] > floor]
    x = alt.X("low:Q", title=x_title, scale=alt.Scale(nice=False), axis=alt.Axis(tickCount=6))
    y = alt.Y("count:Q", title=y_title, scale=scale, axis=axis)
    bars_ = (
        alt.Chart(alt.NamedData("data"))
        .mark_bar(color=colour, binSpacing=0, stroke=PAPER, strokeWidth=0.5)
        .encode(
            x,
            alt.X2("high:Q"),
            y,
            alt.Y2("floor:Q"),
            tooltip=[
                alt.Tooltip("low:Q", title="from", format=".4g"),
                alt.Tooltip("high:Q", title="to", format=".4g"),
                alt.Tooltip("count:Q", format=","),
            ],
        )
    )
    # Few values are rules across; many are ticks in a strip above the bars, where they hide nothing.
    mark = alt.Chart(alt.NamedData("marks"))
    tooltip = [alt.Tooltip("label:N", title=" "), alt.Tooltip("value:Q", format=".4g")]
    if len(marks) <= 8:
        rules = mark.mark_rule(color=mark_colour, strokeWidth=1.5, opacity=0.9).encode(alt.X("value:Q"), tooltip=tooltip)
    else:
        axis.titleY = -20  # above the strip
        ticks = mark.mark_tick(color=mark_colour, thickness=1.5, size=14, opacity=0.9, orient="vertical")
        rules = ticks.encode(alt.X("value:Q"), y=alt.value(-8), tooltip=tooltip)
    return _spec(alt.layer(bars_, rules), {"data": bins, "marks": marks}, 220)


def matrix(cells: Rows, order: Sequence[str], x_title: str, y_title: str, colour: str, numbers: bool) -> Spec:
    """Draw a table of counts; off the diagonal the shade follows the count, the diagonal stays plain.

    cells : row, column, count, share, shade (0 on the diagonal).
    """
    y = alt.Y("row:N", sort=list(order), title=y_title, axis=alt.Axis(ticks=False, labelOverlap=True))
    x = alt.X("column:N", sort=list(order), title=x_title, axis=alt.Axis(ticks=False, labelAngle=0, labelOverlap=True))
    largest = max([row["shade"] for row in cells] + [1])
    base = alt.Chart(alt.NamedData("data")).encode(x, y)
    layers: list[Any] = [
        base.mark_rect(color=colour, stroke=GRID, strokeWidth=1).encode(
            fillOpacity=alt.FillOpacity("shade:Q", scale=alt.Scale(type="sqrt", domain=[0, largest], range=[0, 0.55]), legend=None),
            tooltip=[
                alt.Tooltip("row:N", title=y_title),
                alt.Tooltip("column:N", title=x_title),
                alt.Tooltip("count:Q", format=","),
                alt.Tooltip("share:Q", title="share of its row", format=".1%"),
            ],
        )
    ]
    if numbers:
        layers.append(base.mark_text(fontSize=11).encode(text="text:N"))
    return _spec(alt.layer(*layers), {"data": cells}, 320)


def classes(rows: Rows, order: Sequence[str], y_title: str, domain: tuple[float, float]) -> Spec:
    """Draw accuracy with its interval for every class, one dot a network.

    rows : label, group, accuracy, low, high, samples.
    """
    names = [name for name in GROUP_COLOURS if any(row["group"] == name for row in rows)]
    x = alt.X("label:N", sort=list(order), title=y_title, axis=alt.Axis(labelAngle=0, labelOverlap=True))
    y, low, high = _accuracy(domain)
    colour = _group_colour(legend=True, names=names)
    base = alt.Chart(alt.NamedData("data")).encode(x, xOffset=alt.XOffset("group:N", sort=names, scale=alt.Scale(padding=0.5)))
    layers = [
        base.mark_rule(strokeWidth=2, opacity=0.45).encode(low, high, color=colour),
        base.mark_point(filled=True, size=50, opacity=1).encode(
            y,
            _group_shape(names),
            color=colour,
            tooltip=[
                alt.Tooltip("label:N", title="class"),
                alt.Tooltip("group:N", title="network"),
                alt.Tooltip("samples:Q", title="test samples"),
                alt.Tooltip("accuracy:Q", format=".1%"),
                alt.Tooltip("low:Q", title="95 % low", format=".1%"),
                alt.Tooltip("high:Q", title="95 % high", format=".1%"),
            ],
        ),
    ]
    return _spec(alt.layer(*layers), {"data": rows}, 280)


def lines(
    rows: Rows, field: str, x_title: str, y_title: str, rules: Rows, series_title: str, named: Mapping[str, tuple[str, str]] | None = None
) -> Spec:
    """Draw one line a series over time steps, with rules across at ``rules``.

    rows : step, series, ``field``; rules : value, label; named : {series: (colour, what to write at its end)}, then all other series are
    drawn in one muted ink; without it every series has a colour and a legend.
    """
    names = _labels(rows, "series")
    colours = [*COMPONENT_COLOURS.values()]
    x = alt.X("step:Q", title=x_title, axis=_whole(row["step"] for row in rows), scale=alt.Scale(zero=False, nice=False))
    y = alt.Y(f"{field}:Q", title=y_title, axis=alt.Axis(tickCount=5, labelExpr="format(datum.value, ',.4~f')"))
    pens = [named.get(name, (MUTED, ""))[0] if named else colours[k % len(colours)] for k, name in enumerate(names)]
    legend = None if named else alt.Legend(title=series_title or None, titleOrient="left", columns=6)
    colour = alt.Color("series:N", sort=names, scale=alt.Scale(domain=names, range=pens), legend=legend)
    told = alt.FieldOneOfPredicate(field="series", oneOf=list(named or names))
    opacity = alt.condition(told, alt.value(1.0), alt.value(0.35))
    base = alt.Chart(alt.NamedData("data"))
    layers: list[Any] = [
        base.mark_line(strokeWidth=1.8).encode(x, y, colour, opacity=opacity),
        base.mark_point(filled=True, size=22).encode(
            x,
            y,
            colour,
            opacity=opacity,
            tooltip=[alt.Tooltip("series:N", title=series_title), alt.Tooltip("step:Q"), alt.Tooltip(f"{field}:Q", format=".4g")],
        ),
    ]
    datasets: dict[str, Rows] = {"data": rows}
    if rules:
        datasets["rules"] = rules
        layers.append(alt.Chart(alt.NamedData("rules")).mark_rule(color=TEXT, strokeDash=[4, 3]).encode(y=alt.Y("value:Q")))
    if named:
        last = {row["series"]: row for row in rows}
        datasets["ends"] = [{**last[name], "text": text} for name, (_, text) in named.items()]
        end = alt.Chart(alt.NamedData("ends")).mark_text(align="left", dx=8, fontWeight="bold")
        layers.append(end.encode(x, y, colour, text="text:N"))
    return _spec(alt.layer(*layers), datasets, 220, {"right": 84} if named else None)


def raster(points: Rows, windows: Rows, order: Sequence[str]) -> Spec:
    """Draw the spikes of one sample: a tick a spike, a band a population, its window shaded.

    points : step, neuron, population, y; windows : population, first, last, y_low, y_high.
    """
    ends = [row[end] for row in windows for end in ("first", "last")]
    x = alt.X("step:Q", title="chip step", axis=_whole(ends), scale=alt.Scale(nice=False, zero=False))
    y = alt.Y("y:Q", title="neuron", axis=alt.Axis(labels=False, ticks=False, grid=False), scale=alt.Scale(nice=False, reverse=True))
    shade = alt.Chart(alt.NamedData("windows"))
    layers = [
        shade.mark_rect(color=GRID, opacity=0.45).encode(alt.X("first:Q"), alt.X2("last:Q"), alt.Y("y_low:Q"), alt.Y2("y_high:Q")),
        alt.Chart(alt.NamedData("data"))
        .mark_square(size=9, color=GROUP_COLOURS["chip"], opacity=0.9)
        .encode(x, y, tooltip=[alt.Tooltip("population:N"), alt.Tooltip("neuron:Q"), alt.Tooltip("step:Q")]),
        shade.mark_text(align="left", baseline="top", dx=4, dy=4).encode(alt.X("first:Q"), alt.Y("y_low:Q"), text="population:N"),
    ]
    return _spec(alt.layer(*layers), {"data": points, "windows": windows}, 300)


def floor_plan(cores: Rows, tiles: Rows, width: int, height: int, side: int, traffic: bool) -> Spec:
    """Draw the used cores on the mesh: shade is use, the dot's area is traffic; tiles are square.

    cores : x_low, x_high, y_low, y_high, x, y, core, populations, neurons, use, traffic; tiles : x_low, x_high, y_low, y_high;
    width, height : of the mesh in tiles; side : cores across a tile.
    """
    tile = min(max((480 if width <= 12 else 1100) / width, 8), 220)
    x = alt.X("x_low:Q", axis=None, scale=alt.Scale(domain=[0, width], nice=False))
    y = alt.Y("y_low:Q", axis=None, scale=alt.Scale(domain=[0, height], nice=False, reverse=True))
    used = alt.Chart(alt.NamedData("data"))
    tooltip = [
        alt.Tooltip("core:N"),
        alt.Tooltip("populations:N"),
        alt.Tooltip("neurons:Q", format=","),
        alt.Tooltip("use:Q", title="fullest resource", format=".1%"),
    ]
    if traffic:
        tooltip.append(alt.Tooltip("traffic:Q", title="messages sent per inference", format=",.1f"))
    layers: list[Any] = [
        alt.Chart(alt.NamedData("tiles"))
        .mark_rect(fillOpacity=0, stroke=MUTED, strokeWidth=0.75)
        .encode(x, y, alt.X2("x_high:Q"), alt.Y2("y_high:Q")),
        used.mark_rect(color=GROUP_COLOURS["chip"], stroke=MUTED, strokeWidth=0.5).encode(
            x,
            y,
            alt.X2("x_high:Q"),
            alt.Y2("y_high:Q"),
            fillOpacity=alt.FillOpacity("use:Q", scale=alt.Scale(domain=[0, 1], range=[0.1, 0.85]), legend=None),
            tooltip=tooltip,
        ),
    ]
    if traffic:
        layers.append(
            used.mark_circle(color=TEXT, opacity=0.85).encode(
                alt.X("x:Q"),
                alt.Y("y:Q"),
                size=alt.Size("traffic:Q", scale=alt.Scale(range=[2, (0.35 * tile / side) ** 2], zero=True), legend=None),
                tooltip=tooltip,
            )
        )
    fitting = [row for row in cores if 5.5 * len(row["populations"]) < 0.8 * tile / side]
    datasets = {"data": cores, "tiles": tiles}
    if fitting:
        datasets["names"] = fitting
        name = alt.Chart(alt.NamedData("names")).mark_text(fontSize=10, baseline="top", dy=3)
        layers.append(name.encode(alt.X("x:Q"), alt.Y("y_low:Q"), text="populations:N"))
    spec = _spec(alt.layer(*layers), datasets, round(tile * height))
    # Square tiles need a width of their own; a narrow screen shrinks the whole drawing.
    return {**spec, "width": round(tile * width), "autosize": {"type": "pad", "contains": "padding"}}


OTHER_DASHES = ([6, 3], [2, 2], [10, 3, 2, 3], [1, 3], [12, 4])  # of the lines of other chips


def two_sides(
    rows: Rows, marks: Rows, x_title: str, log_x: bool, points: bool, ends: Sequence[tuple[str, str]], log_y: bool = True, others: Rows = ()
) -> Spec:
    """Draw the energies of a chip and of its ANN along one axis, and where they meet.

    rows : side, x, energy_J, low_J, high_J, label; marks : x, energy_J, label; points : every row is a run of its own; ends : (side, what
    its line is called); sides are "chip" and "ANN"; others : chip, x, energy_J, label of other chips, drawn thin.
    """
    values = [row[name] for row in rows for name in ("low_J", "energy_J", "high_J")] + [row["energy_J"] for row in others]
    scale_y, axis_y = _log(values, "J") if log_y else (alt.Scale(zero=True), alt.Axis(labelExpr=_prefixed("J"), tickCount=5))
    if log_x:
        scale_x, axis_x = _log([row["x"] for row in rows], "")
        axis_x.labelExpr = "format(datum.value, ',.6~f')"
    else:
        scale_x, axis_x = alt.Scale(zero=False, nice=False), alt.Axis(labelExpr=PERCENT, tickCount=6, labelOverlap=True)
    names = [side for side, _ in ends]
    x = alt.X("x:Q", title=x_title, scale=scale_x, axis=axis_x)
    y = alt.Y("energy_J:Q", title=f"energy per inference{' (log)' if log_y else ''}", scale=scale_y, axis=axis_y)
    colour = alt.Color(
        "side:N",
        scale=alt.Scale(domain=names, range=[GROUP_COLOURS[side] for side in names]),
        legend=alt.Legend(title=None, columns=1, symbolOpacity=1, symbolType="stroke", labelExpr=_renamed(dict(ends))),
    )
    base, mark = alt.Chart(alt.NamedData("data")), alt.Chart(alt.NamedData("marks"))
    low, high = alt.Y("low_J:Q", scale=scale_y), alt.Y2("high_J:Q")
    tooltip = [
        alt.Tooltip("label:N", title=" "),
        alt.Tooltip("x:Q", title=x_title, format=".4~g"),
        *(alt.Tooltip(f"{name}_J:Q", title=f"{name} [J]", format=".3s") for name in ("energy", "low", "high")),
    ]
    band = base.mark_rule(strokeWidth=2, opacity=0.45) if points else base.mark_area(opacity=0.14)
    layers: list[Any] = [
        band.encode(x, low, high, color=colour),
        base.mark_line(strokeWidth=2.5).encode(x, y, colour),
        base.mark_point(filled=True, size=50 if points else 20, opacity=1).encode(x, y, color=colour, tooltip=tooltip),
    ]
    if others:
        chips = list(dict.fromkeys(row["chip"] for row in others))
        dash = alt.StrokeDash(
            "chip:N",
            scale=alt.Scale(domain=chips, range=[OTHER_DASHES[k % len(OTHER_DASHES)] for k in range(len(chips))]),
            legend=alt.Legend(title=None, orient="bottom", offset=4, columns=3, symbolOpacity=1, symbolStrokeColor=MUTED, symbolType="stroke", symbolSize=400),
        )
        thin = alt.Chart(alt.NamedData("others")).mark_line(strokeWidth=1.4, color=MUTED)
        layers.append(thin.encode(x, y, strokeDash=dash, tooltip=tooltip[:3]))
    if marks:
        ring = mark.mark_point(filled=False, size=160, color=TEXT, strokeWidth=1.5)
        layers += [ring.encode(x, y), *_written(mark.encode(x, y, text="label:N"), TEXT, align="left", dx=10, dy=12)]
    data = {"data": rows, **({"marks": marks} if marks else {}), **({"others": others} if others else {})}
    return _spec(alt.layer(*layers), data, 300 + 20 * math.ceil(len({row["chip"] for row in others}) / 3))


FAULT_COLOURS = ("#009E73", "#7F6A4D")
FAULT_SHAPES = ("circle", "square")


def fault_rates(rows: Rows, healthy: Rows, kinds: Sequence[str], x_title: str, domain: tuple[float, float]) -> Spec:
    """Draw accuracy against the rate of at most two kinds of fault: bands are intervals, thin rules the spread of the draws.

    rows : kind, rate, accuracy, low, high, least, most; healthy : accuracy, label.
    """
    rates = sorted({row["rate"] for row in rows})
    scale, _ = _log(rates, "")
    x = alt.X("rate:Q", title=x_title, scale=scale, axis=alt.Axis(values=rates, labelExpr=PERCENT, labelOverlap=True))
    y, low, high = _accuracy(domain)
    colour = alt.Color(
        "kind:N",
        sort=list(kinds),
        scale=alt.Scale(domain=list(kinds), range=list(FAULT_COLOURS[: len(kinds)])),
        legend=alt.Legend(title=None, columns=2, symbolOpacity=1),
    )
    shape = alt.Shape("kind:N", sort=list(kinds), scale=alt.Scale(domain=list(kinds), range=list(FAULT_SHAPES[: len(kinds)])))
    base, level = alt.Chart(alt.NamedData("data")), alt.Chart(alt.NamedData("healthy"))
    tooltip = [
        alt.Tooltip("kind:N", title="fault"),
        alt.Tooltip("rate:Q", format=".3~%"),
        alt.Tooltip("accuracy:Q", format=".2%"),
        alt.Tooltip("low:Q", title="95 % low", format=".2%"),
        alt.Tooltip("high:Q", title="95 % high", format=".2%"),
        alt.Tooltip("least:Q", title="worst draw", format=".2%"),
        alt.Tooltip("most:Q", title="best draw", format=".2%"),
    ]
    spread = alt.Y("least:Q", scale=alt.Scale(domain=list(domain), nice=False, zero=False)), alt.Y2("most:Q")
    layers = [
        base.mark_area(opacity=0.14).encode(x, low, high, color=colour),
        level.mark_rule(color=MUTED, strokeWidth=1.5, strokeDash=[4, 3]).encode(y),
        base.mark_rule(strokeWidth=1.5).encode(x, *spread, color=colour),
        base.mark_line(strokeWidth=2).encode(x, y, color=colour),
        base.mark_point(filled=True, size=50, opacity=1).encode(x, y, shape, color=colour, tooltip=tooltip),
    ]
    # Below its line, which lies near the top, and over the marks: at the last rate most lines are far lower.
    layers += _written(level.encode(y, x=alt.value("width"), text="label:N"), MUTED, align="right", dy=13)
    return _spec(alt.layer(*layers), {"data": rows, "healthy": healthy}, 260)


def agreement(rows: Rows, domain: tuple[float, float]) -> Spec:
    """Draw the agreement that remains after each step of quantisation: a dot and its interval a line.

    rows : label, what (the step adds), text, share, low, high, change (by this step alone), group.
    """
    y = alt.Y("label:N", sort=_labels(rows), title=None, axis=None, scale=alt.Scale(paddingInner=0))
    scale = alt.Scale(domain=list(domain), nice=False, zero=False)
    x = alt.X("share:Q", title="answers that agree with the source", scale=scale, axis=alt.Axis(labelExpr=PERCENT, tickCount=5, grid=True))
    base, colour = alt.Chart(alt.NamedData("data")), _group_colour(legend=False)
    tooltip = [
        alt.Tooltip("label:N", title="rounded up to"),
        alt.Tooltip("what:N", title="the step adds"),
        alt.Tooltip("share:Q", title="agrees", format=".2%"),
        alt.Tooltip("low:Q", title="95 % low", format=".2%"),
        alt.Tooltip("high:Q", title="95 % high", format=".2%"),
        alt.Tooltip("change:Q", title="change by this step", format="+.2%"),
    ]
    layers = [
        base.mark_rule(color=GRID, strokeWidth=1, yOffset=8).encode(y),
        base.mark_rule(strokeWidth=3, opacity=0.45, yOffset=8).encode(alt.X("low:Q", scale=scale), alt.X2("high:Q"), y, color=colour),
        base.mark_point(filled=True, size=80, opacity=1, yOffset=8).encode(x, y, color=colour, tooltip=tooltip),
        _above(base, y),
    ]
    return _spec(alt.layer(*layers), {"data": rows}, 58 + 38 * len(rows))


def balance(rows: Rows, order: Sequence[str]) -> Spec:
    """Draw the share of each class in the training and the test set. rows : label, series, share, text."""
    names = [name for name in SET_COLOURS if any(row["series"] == name for row in rows)]
    x = alt.X("label:N", sort=list(order), title=None, axis=alt.Axis(labelAngle=0, labelOverlap=True, ticks=False))
    y = alt.Y("share:Q", title="share of the set", axis=alt.Axis(labelExpr=PERCENT, tickCount=4))
    colour = alt.Color(
        "series:N",
        scale=alt.Scale(domain=names, range=[SET_COLOURS[name] for name in names]),
        legend=alt.Legend(title=None, symbolType="square"),
        sort=names,
    )
    tooltip = [
        alt.Tooltip("label:N", title="class"),
        alt.Tooltip("series:N", title="set"),
        alt.Tooltip("samples:Q"),
        alt.Tooltip("text:N", title="share"),
    ]
    drawn = alt.Chart(alt.NamedData("data")).mark_bar().encode(x, y, colour, xOffset=alt.XOffset("series:N", sort=names), tooltip=tooltip)
    return _spec(alt.layer(drawn), {"data": rows}, 170)


def static(spec: Spec, width: int = 640) -> Spec:
    """Return the specification at a fixed width and on white, for SVG, PNG and PDF."""
    width = spec["width"] if isinstance(spec["width"], int) else width
    return {**spec, "width": width, "background": PAPER, "config": {**spec["config"], "background": PAPER}}


def log_values(values: Iterable[float | None]) -> tuple[list[float], list[float]]:
    """Return domain and labelled values of a logarithmic axis: decades, or 1, 2 and 5 of each where they span fewer than two."""
    found = [value for value in values if value is not None and value > 0]
    low, high = min(found, default=1.0) / 1.25, max(found, default=10.0) * 1.25
    exponents = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    for steps_, apart in (((1,), 3), ((1,), 2), ((1,), 1), ((1, 2, 5), 1)):
        marks = [float(f"{m}e{k}") for k in exponents for m in steps_ if k % apart == 0 and low <= float(f"{m}e{k}") <= high]
        if len(marks) >= 3:
            break
    return [low, high], marks


def whole_values(values: Iterable[float], most: int = 9) -> list[int]:
    """Return the labelled values of an axis of steps: whole numbers, at most so many; halves rounded would be there twice."""
    found = list(values)
    first, last = math.ceil(min(found)), math.floor(max(found))
    apart = next(m * 10**k for k in range(12) for m in (1, 2, 5) if (last - first) / (m * 10**k) < most)
    return [k for k in range(first, last + 1) if k % apart == 0 or (k == first and -first % apart > apart / 2)]


def component_colours(components: Sequence[str]) -> list[str]:
    """Return one colour a component: its own, or for one without, the next that is free (then again from the first)."""
    free = [colour for name, colour in COMPONENT_COLOURS.items() if name not in components] or list(COMPONENT_COLOURS.values())
    others = [name for name in components if name not in COMPONENT_COLOURS]
    return [COMPONENT_COLOURS.get(name) or free[others.index(name) % len(free)] for name in components]


def _accuracy(domain: tuple[float, float]) -> tuple[alt.Y, alt.Y, alt.Y2]:
    """Encode accuracy, and the ends of its interval, on one scale: a layer that names none would stretch it to zero."""
    scale = alt.Scale(domain=list(domain), nice=False, zero=False)
    y = alt.Y("accuracy:Q", title="accuracy", scale=scale, axis=alt.Axis(labelExpr=PERCENT, tickCount=6))
    return y, alt.Y("low:Q", scale=scale), alt.Y2("high:Q")


def _whole(values: Iterable[float]) -> alt.Axis:
    return alt.Axis(values=whole_values(values), format="d")


def _log(values: Iterable[float | None], unit: str) -> tuple[alt.Scale, alt.Axis]:
    domain, marks = log_values(values)
    return alt.Scale(type="log", domain=domain, nice=False), alt.Axis(labelExpr=_prefixed(unit), values=marks, labelOverlap=True)


def _prefixed(unit: str) -> str:
    return PREFIXED.replace("{unit}", unit)


def _group_colour(legend: bool, names: Sequence[str] = tuple(GROUP_COLOURS)) -> alt.Color:
    return alt.Color(
        "group:N",
        scale=alt.Scale(domain=list(names), range=[GROUP_COLOURS[name] for name in names]),
        legend=alt.Legend(title=None, columns=4, symbolOpacity=1) if legend else None,
    )


def _group_shape(names: Sequence[str] = tuple(SHAPES)) -> alt.Shape:
    """Tell the native row from the chip row, whose colour it shares."""
    return alt.Shape("group:N", scale=alt.Scale(domain=list(names), range=[SHAPES[name] for name in names]))


def _above(chart: alt.Chart, y: alt.Y) -> alt.Chart:
    """Write the number of a line, and its name, above it: beside it, long names would leave a narrow screen no room to draw.

    The number first: what does not fit a narrow screen is cut off at the end.
    """
    text = "(datum.text ? datum.text + '  ' : '') + datum.label"
    return chart.mark_text(align="left", dy=-11, limit=alt.ExprRef("width")).encode(y, x=alt.value(0), text="said:N").transform_calculate(said=text)


def _written(chart: alt.Chart, colour: str, **place: Any) -> list[alt.Chart]:
    """Write text on a halo of the paper's colour, so that lines and whiskers behind it do not strike it through."""
    return [chart.mark_text(color=PAPER, stroke=PAPER, strokeWidth=4, opacity=0.85, **place), chart.mark_text(color=colour, **place)]


def _renamed(names: Mapping[str, str]) -> str:
    """Return the expression that writes the entries of a legend as they are called."""
    pairs = "".join(f"datum.label == {json.dumps(key)} ? {json.dumps(text)} : " for key, text in names.items())
    return f"{pairs}datum.label"


def _group_dash() -> alt.StrokeDash:
    return alt.StrokeDash("group:N", scale=alt.Scale(domain=list(DASHES), range=list(DASHES.values())), legend=None)


def _labels(rows: Rows, field: str = "label") -> list[str]:
    return list(dict.fromkeys(row[field] for row in rows))


def _spec(chart: alt.LayerChart, datasets: Mapping[str, Rows], height: int, padding: Mapping[str, int] | None = None) -> Spec:
    """Finish a chart: fill the width of its container (axes, legend and padding included), put its rows and the look inside."""
    chart = chart.properties(width="container", height=height, autosize=alt.AutoSizeParams(type="fit", contains="padding"))
    chart = chart.properties(padding={"left": 5, "top": 5, "right": 5, "bottom": 5, **(padding or {})})
    # The tests hold every chart against the schema of Vega-Lite; users need not wait for that.
    spec: Spec = chart.to_dict(validate=False)
    spec["config"] = CONFIG
    spec["datasets"] = {name: [dict(row) for row in rows] for name, rows in datasets.items()}
    return spec
