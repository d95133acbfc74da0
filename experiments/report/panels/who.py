"""Panels that say who is hurt and where it runs: classes, confusion, class balance, the floor plan, use of resources."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import charts
from ...comparison import Comparison, Core, DataCard, Row
from ...statistics import holm, mcnemar
from . import panel
from .panel import Focus, Panel, known, record

# More classes than this and the numbers in the cells can no longer be read.
READABLE = 16


def class_names(comparison: Comparison, row: Row) -> list[str]:
    """Return the names of the classes of a row's data set, the numbers where it has none."""
    table = row.confusion if row.confusion is not None else comparison[row.ann].confusion
    n = 0 if table is None else len(table)
    named = card(comparison, row)
    return list(named.classes) if named is not None and len(named.classes) == n else [str(c) for c in range(n)]


def card(comparison: Comparison, row: Row) -> DataCard | None:
    """Return the data card of a row: by the name in its settings, else the only one."""
    names = {str(value) for key, value in row.settings.items() if "data" in key}
    return next((c for c in comparison.data if c.name in names), comparison.data[0] if comparison.data else None)


def per_class(at: Focus) -> Panel | None:
    """Draw the accuracy of every class for the rows in focus beside the ANN's."""
    rows = [row for row in (at.ann, *at.family) if row.per_class is not None and row.confusion is not None]
    if at.main.per_class is None or at.ann.per_class is None or at.ann.confusion is None:
        return None
    names = class_names(at.comparison, at.main)
    totals = _totals(at.ann)
    data, values = [], []
    for row in rows:
        for c, (value, low, high) in enumerate(known(row.per_class)):
            if np.isnan(value):
                continue
            values += [low, high]
            data.append(record(label=names[c], group=panel.name(row), accuracy=value, low=low, high=high, samples=int(totals[c])))
    change = known(at.main.per_class)[:, 0] - at.ann.per_class[:, 0]
    worst = int(np.nanargmin(change))
    return Panel(
        "per-class",
        "who",
        _class_title(at, names, change, worst),
        f"Accuracy of each class with Wilson 95 % intervals. {panel.context(at.main)}. {_class_rule(at)}",
        f"Dot chart of accuracy per class, {at.main.label} against the ANN: "
        + ", ".join(f"{name} {100 * c:+.1f} points" for name, c in zip(names, change, strict=True) if not np.isnan(c))
        + ".",
        charts.classes(data, names, "class", panel.axis(values)),
        wide=len(names) > 12,
    )


def _totals(row: Row) -> np.ndarray:
    silent = row.silent_answers if row.silent_answers is not None else 0
    return np.asarray(known(row.confusion).sum(axis=1) + silent)


def _class_tests(at: Focus) -> list[float] | None:
    """Holm-corrected p of McNemar's test of every class; None without the answers of each sample."""
    row = at.main
    if row.predictions is None or row.labels is None or row.ann_predictions is None:
        return None
    found = []
    for c in range(len(known(row.per_class))):
        at_class = row.labels == c
        ours, theirs = row.predictions[at_class] == c, row.ann_predictions[at_class] == c
        found.append(mcnemar(int(np.sum(theirs & ~ours)), int(np.sum(ours & ~theirs))))
    return holm(found)


def _class_title(at: Focus, names: Sequence[str], change: np.ndarray, worst: int) -> str:
    tests = _class_tests(at)
    if change[worst] >= 0:
        return "No class loses accuracy"
    what = f"class {names[worst]}" if len(names[worst]) < 3 else names[worst]
    lost = f"{what} loses most, {panel.points(change[worst])}"
    if tests is None:
        return panel.capital(lost)
    hurt = [names[c] for c in range(len(names)) if tests[c] < 0.05 and change[c] < 0]
    if not hurt:
        return f"No class changes beyond chance; {lost}"
    return f"{len(hurt)} {'class loses' if len(hurt) == 1 else 'classes lose'} more than chance: {panel.listed(hurt)}"


def _class_rule(at: Focus) -> str:
    tests = _class_tests(at)
    if tests is None:
        return "The answers of single samples were not kept, so no test per class."
    return (
        f"Beyond chance: exact McNemar test per class, Holm-corrected over {len(tests)} classes, p < 0.05; smallest p = {min(tests):.2g}."
    )


def confusion(at: Focus) -> list[Panel]:
    """Draw the confusion of the ANN and of the headline, and where their answers differ."""
    panels = []
    names = class_names(at.comparison, at.main)
    for row, slug in ((at.ann, "ann"), (at.main, "snn")):
        if row.confusion is not None:
            panels.append(_matrix(f"confusion-{slug}", row, row.confusion, names, "label", "answer"))
    row = at.main
    if row.predictions is not None and row.ann_predictions is not None and row.confusion is not None:
        k = len(names)
        spoken = row.predictions >= 0
        table = np.bincount(row.ann_predictions[spoken] * k + row.predictions[spoken], minlength=k * k).reshape(k, k)
        panels.append(_matrix("agreement", row, table, names, "ANN's answer", f"answer of {panel.name(row)}"))
    return panels


def _matrix(slug: str, row: Row, counts: np.ndarray, names: list[str], y: str, x: str) -> Panel:
    off = counts.copy()
    np.fill_diagonal(off, 0)
    sums = counts.sum(axis=1)
    numbers = len(names) <= READABLE
    data = [
        record(
            row=names[i],
            column=names[j],
            count=int(counts[i, j]),
            share=counts[i, j] / sums[i] if sums[i] else 0.0,
            shade=int(off[i, j]),
            text=str(int(counts[i, j])) if numbers and counts[i, j] else "",
        )
        for i in range(len(names))
        for j in range(len(names))
    ]
    wrong, total = int(off.sum()), int(counts.sum())
    i, j = np.unravel_index(int(off.argmax()), off.shape)
    who = "ANN" if row.group == "ann" else panel.capital(row.label)
    if slug == "agreement":
        title = f"{wrong:,} of {total:,} answers differ{'s' if wrong == 1 else ''} from the ANN's" if wrong else "Every answer is the ANN's"
    elif wrong and off.max() == 1:
        title = f"{who}: {wrong:,} error{'s, none of them twice' if wrong > 1 else ''}"
    elif wrong:
        title = f"{who}: {wrong:,} errors, most often {names[i]} taken for {names[j]} ({int(off[i, j])})"
    else:
        title = f"{who}: no errors"
    silent = int(np.sum(row.silent_answers)) if row.silent_answers is not None else 0
    colour = charts.GROUP_COLOURS["ANN" if row.group == "ann" else panel.name(row)]
    return Panel(
        slug,
        "who",
        title,
        f"Counts; shade follows the count off the diagonal. {panel.context(row)}."
        + (f" {silent:,} samples got no answer and are in no column." if silent else ""),
        f"Table of {y} against {x}. Off the diagonal: "
        + (", ".join(f"{names[a]} as {names[b]} {int(off[a, b])}" for a, b in _largest(off, 10)) if wrong else "nothing")
        + ".",
        charts.matrix(data, names, x, y, colour, numbers),
    )


def _largest(table: np.ndarray, most: int) -> list[tuple[int, int]]:
    order = np.argsort(table, axis=None)[::-1][:most]
    pairs = [np.unravel_index(int(k), table.shape) for k in order]
    return [(int(a), int(b)) for a, b in pairs if table[a, b] > 0]


def floor_plan(at: Focus) -> Panel | None:
    """Draw the used cores of the headline's chip, with their use and traffic."""
    row = at.placed
    if row is None or row.chip_use is None or not row.chip_use.floor_plan:
        return None
    use = row.chip_use
    cores, tiles, width, height, side = _lay_out(use.floor_plan)
    traffic = any(core.traffic is not None for core in use.floor_plan)
    total = use.cores_per_chip * use.chips
    fullest = max(use.floor_plan, key=lambda core: core.use)
    known = all(core.x >= 0 for core in use.floor_plan)
    where = (
        "Used cores in their tiles, cut to the tiles in use" if known else "Used cores in order; how they lie on the chip is not published"
    )
    return Panel(
        "floor-plan",
        "chip",
        f"{use.cores:,} of {total:,} cores, the fullest at {100 * fullest.use:.0f} %",
        f"{where}{f', {use.chips} chips side by side' if use.chips > 1 and known else ''}; shade is the share of the core's fullest "
        "resource" + (", the dot's area the messages it sends per inference" if traffic else "") + f". {panel.context(row)}.",
        "Floor plan. "
        + " ".join(
            f"Core {c.index}: {', '.join(c.populations)}, {c.neurons} neurons, {100 * c.use:.0f} % full"
            + ("" if c.traffic is None else f", {c.traffic:.1f} messages per inference")
            + "."
            for c in use.floor_plan[:64]
        ),
        charts.floor_plan(cores, tiles, width, height, side, traffic),
        wide=width > 12,
    )


def _lay_out(plan: Sequence[Core]) -> tuple[list[dict[str, Any]], list[dict[str, Any]], int, int, int]:
    """Place the cores: tiles on their mesh (in a row of their own where it is not known), chips side by side, cores in a grid inside."""
    known = all(core.x >= 0 and core.y >= 0 for core in plan)
    across = int(np.ceil(np.sqrt(len(plan) * 2)))
    west, north = min(core.x for core in plan), min(core.y for core in plan)
    place = {id(core): (core.x - west, core.y - north) if known else (k % across, k // across) for k, core in enumerate(plan)}
    across = 1 + max(x for x, _ in place.values())
    side = int(np.ceil(np.sqrt(1 + max(core.slot for core in plan)))) if known else 1
    tiles = {(core.chip, *place[id(core)]): None for core in plan}

    def left(chip: int, x: int) -> float:
        return x + (chip * (across + 0.5) if known else 0.0)

    outlines = [record(x_low=left(c, x) + 0.03, x_high=left(c, x) + 0.97, y_low=y + 0.03, y_high=y + 0.97) for c, x, y in tiles]
    size = 0.86 / side
    cores = []
    for core in plan:
        tile_x, tile_y = place[id(core)]
        slot = core.slot if known else 0
        x, y = left(core.chip, tile_x) + 0.07 + (slot % side) * size, tile_y + 0.07 + (slot // side) * size
        cores.append(
            record(
                core=core.index,
                chip=core.chip,
                tile_x=core.x,
                tile_y=core.y,
                populations=", ".join(core.populations),
                neurons=core.neurons,
                use=core.use,
                traffic=core.traffic,
                x_low=x,
                x_high=x + size * 0.94,
                y_low=y,
                y_high=y + size * 0.94,
                x=x + size * 0.47,
                y=y + size * 0.47,
            )
        )
    width = max(row["x_high"] for row in outlines)
    return cores, outlines, int(np.ceil(width)), 1 + max(y for _, y in place.values()), side


def resources(at: Focus) -> Panel | None:
    """Draw the share of each limit of the chip that is in use."""
    row = at.placed
    if row is None or row.chip_use is None:
        return None
    limited = [r for r in row.chip_use.resources if r.share is not None]
    if not limited:
        return None
    data = [
        record(
            label=f"{r.name.replace('_', ' ')} ({r.per})",
            series="chip",
            share=r.share,
            used=r.used,
            limit=r.limit,
            text=f"{100 * known(r.share):.3g} %",
        )
        for r in limited
    ]
    top = max(limited, key=lambda r: known(r.share))
    return Panel(
        "resources",
        "chip",
        f"Nearest its limit: {top.name.replace('_', ' ')}, {100 * known(top.share):.0f} %",
        f"The fullest core for a limit per core, the sum for a limit per chip. {panel.capital(row.label)}.",
        "Bar chart. " + " ".join(f"{r.name}: {r.used:,.6g} of {r.limit:,.6g} {r.unit}, {100 * known(r.share):.0f} %." for r in limited),
        charts.bars(
            data, "share", "share of the limit", "", {"chip": charts.GROUP_COLOURS["chip"]}, [r["label"] for r in data], percent=True
        ),
    )


def balance(at: Focus) -> list[Panel]:
    """Draw the class balance of every data set."""
    return [found for c in at.comparison.data if (found := _balance(c)) is not None]


def _balance(c: DataCard) -> Panel | None:
    sets = {name: np.asarray(counts, dtype=np.float64) for name, counts in c.class_counts.items() if np.sum(counts) > 0}
    if not sets:
        return None
    names = list(c.classes) if c.classes else [str(k) for k in range(len(next(iter(sets.values()))))]
    data = [
        record(label=names[k], series=series, share=n / counts.sum(), samples=int(n), text=f"{100 * n / counts.sum():.1f} %")
        for series, counts in sets.items()
        for k, n in enumerate(counts)
    ]
    counts = sets.get("test", next(iter(sets.values())))
    ratio = counts.max() / counts.min() if counts.min() > 0 else np.inf
    even = "evenly spread" if ratio < 1.5 else f"uneven, {panel.times(ratio)} apart" if np.isfinite(ratio) else "without samples in places"
    return Panel(
        f"balance-{c.name}",
        "data",
        f"Classes of {c.name} are {even}",
        f"Share of each class, so that sets of different size can be compared; {c.n_train:,} training and {c.n_test:,} test samples.",
        "Bar chart. " + " ".join(f"{row['label']}, {row['series']}: {row['text']}." for row in data),
        charts.balance(data, names),
    )


PANELS = (per_class, confusion, floor_plan, resources, balance)
