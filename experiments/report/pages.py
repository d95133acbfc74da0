"""Render a comparison: one self-contained HTML page, Markdown, figures, and what a notebook shows."""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import vl_convert
from markupsafe import Markup

from neuro.archive import write_atomically
from neuro.errors import SpecError, StoreError, nearest

from .. import charts, units
from ..comparison import Comparison, DataCard, Disagreements, Figure, Finding, Row
from ..targets import grouped
from . import chip_tables, cost_tables, images, tables
from .glance import glance
from .panels import Focus, Panel, focus, panels
from .panels.panel import GROUP_NAMES, quantity
from .panels.who import card, class_names
from .tables import Table

SECTIONS = {
    "summary": "Summary",
    "accuracy": "Accuracy against time and cost",
    "cost": "Energy and latency",
    "why": "Why: where the error comes from",
    "who": "Who is hurt: classes and inputs",
    "scorecard": "Scorecard of learned software",
    "chip": "The chip",
    "data": "The data",
    "method": "Method, sources and how to run it again",
}
# What each topic of the scorecard asks, for readers who do not know the essay that the topics are from.
PROMISES = {
    "computational homogeneity": "A dense network repeats one operation, which is what makes its hardware simple. Does the spiking network?",
    "constant running time": "A dense network does the same work for every input. Does the spiking network?",
    "constant memory": "A dense network never allocates. Does the spiking network?",
    "portability": "A dense network gives the same answers wherever it runs. Does the spiking network?",
    "agility": "A dense network can be cut down to what the budget allows. What does that cost the spiking network, without retraining?",
    "silent failure": "A learned program fails without saying so. What does the average hide?",
    "obscurity": "A learned program cannot be read. What of the spiking network can be looked at?",
}
SAID = ("checksum", "sha256")  # of a data card's further facts those that have a line of their own
CARD_WORDS = {"verified": "Checksum verified"}
LAYER_FACTS = ("name", "kind", "n_in", "n_out", "parameters", "activation")
RENDERERS: dict[str, Callable[..., Any]] = {
    "svg": vl_convert.vegalite_to_svg,
    "png": functools.partial(vl_convert.vegalite_to_png, scale=2),
    "pdf": vl_convert.vegalite_to_pdf,
}


@dataclass(frozen=True)
class Specimen:
    """One input shown as a picture, with what is written below it."""

    uri: str
    text: str
    description: str


def report(comparison: Comparison, path: str | os.PathLike[str]) -> Path:
    """Write the page of a comparison and return its path; a file of that name is replaced only by a whole page.

    Raises
    ------
    StoreError : the page cannot be written.
    """
    return write_atomically(path, page(comparison).encode())


def page(comparison: Comparison) -> str:
    """Return the page: one HTML document with styles, scripts and data inside, that asks for nothing from elsewhere."""
    at = focus(comparison)
    made = panels(comparison)
    content: dict[str, Any] = {
        "c": comparison,
        "at": at,
        "facts": _facts(comparison),
        "glance": [] if at is None else glance(at),
        "panels": {name: _laid_out([p for p in made if p.section == name]) for name in SECTIONS},
        "tables": _tables(comparison, at),
        "disagreements": [_pictures(comparison, d) for d in _main_first(comparison)],
        "scorecard": _topics(comparison.scorecard),
        "promises": PROMISES,
        "chip": None if at is None else at.placed,
        "cards": [(c, _card(c), _examples(c)) for c in comparison.data],
        "settings": _settings(at),
        "findings": _found(at),
        "warnings": _warnings(comparison),
        "provenance": _provenance(comparison),
    }
    content["sections"] = {name: title for name, title in SECTIONS.items() if _filled(name, content)}
    content["specs"] = {p.name: Markup(_json(p.spec)) for p in made}
    content["style"] = Markup(_text("style.css") + _chart_colours())
    content["script"] = Markup(_text("page.js"))
    content["bundle"] = Markup(_bundle() if made else "")
    return _environment().get_template("page.html.j2").render(content)


def report_markdown(comparison: Comparison) -> str:
    """Return verdict, tables, titles of the charts, omissions and method as Markdown."""
    at = focus(comparison)
    made = panels(comparison)
    content: dict[str, Any] = {
        "c": comparison,
        "at": at,
        "facts": _facts(comparison),
        "panels": made,
        "tables": [table for table in _tables(comparison, at).values() if table is not None],
        "scorecard": _topics(comparison.scorecard),
        "settings": _settings(at),
        "findings": _found(at),
        "warnings": _warnings(comparison),
        "provenance": _provenance(comparison),
    }
    return _environment(autoescape=False).get_template("report.md.j2").render(content)


def figures(comparison: Comparison, folder: str | os.PathLike[str], formats: Sequence[str] = ("svg", "png")) -> list[Path]:
    """Write every chart to ``folder`` as SVG, PNG or PDF on white, and return the paths.

    Raises
    ------
    SpecError : a format that is not one of svg, png, pdf.
    StoreError : a file cannot be written.
    """
    for name in formats:
        if name not in RENDERERS:
            raise SpecError(f"no figure format {name!r}{nearest(name, RENDERERS)}")
    written = []
    for panel in panels(comparison):
        spec = charts.static(panel.spec)
        for name in formats:
            drawn = RENDERERS[name](spec)
            path = Path(folder) / f"{panel.name}.{name}"
            written.append(write_atomically(path, drawn.encode() if isinstance(drawn, str) else drawn))
    return written


def index(pages: Sequence[tuple[str, Comparison]], path: str | os.PathLike[str]) -> Path:
    """Write a page that lists comparisons with their verdicts, and return its path.

    pages : (address of the comparison's page, relative to ``path``; the comparison), in the order of the list.

    Raises
    ------
    StoreError : the page cannot be written.
    """
    content = {"pages": pages, "style": Markup(_text("style.css"))}
    return write_atomically(path, _environment().get_template("index.html.j2").render(content).encode())


def index_of(folder: str | os.PathLike[str], path: str | os.PathLike[str]) -> list[Path]:
    """Write the index of every comparison below a folder, with pages for those that have none, and return what it lists.

    Newest first; a comparison is a ``comparison.npz``, its page the ``report.html`` beside it.

    Raises
    ------
    StoreError : there is no comparison, one is damaged, or a page cannot be written.
    """
    found = sorted(Path(folder).rglob("comparison.npz"))
    if not found:
        raise StoreError(f"{folder}: there is no comparison.npz in or below this folder; run 'spikeport compare' first")
    listed = []
    for file in found:
        comparison = Comparison.load(file)
        beside = file.with_name("report.html")
        if not beside.exists():
            report(comparison, beside)
        listed.append((Path(os.path.relpath(beside, Path(path).resolve().parent)).as_posix(), comparison))
    index(sorted(listed, key=lambda item: item[1].created, reverse=True), path)
    return found


def html_fragment(comparison: Comparison) -> str:
    """Return title, verdict and summary table, for a notebook cell."""
    content = {"c": comparison, "table": tables.summary(comparison), "style": Markup(_text("notebook.css"))}
    return _environment().get_template("notebook.html.j2").render(content)


def _found(at: Focus | None) -> Row | None:
    """Return the row whose conversion is spoken about: the headline's own, or that of the same network in ideal arithmetic."""
    rows = () if at is None else (at.main, at.ideal, *at.family)
    return next((row for row in rows if row is not None and row.findings), None)


def _tables(comparison: Comparison, at: Focus | None) -> dict[str, Table | None]:
    chip = None if at is None else at.placed
    return {
        "summary": tables.summary(comparison),
        "targets": tables.targets(comparison),
        "runs": tables.runs(comparison),
        "tests": tables.tests(comparison),
        "energy": None if at is None else tables.energy(at),
        "energy-layers": None if at is None else cost_tables.by_layer(at),
        "timing": None if at is None else cost_tables.timing(at),
        "conventional": None if at is None else tables.conventional(at),
        "break-even": None if at is None else tables.meetings(at),
        "layers": None if at is None else tables.layers(at),
        "quantisation": None if chip is None else tables.quantisation(chip),
        "rounding": chip_tables.rounding(comparison),
        "faults": chip_tables.faults(comparison),
        "networks": _networks(comparison),
        "training": _training(comparison),
        "omissions": _omissions(comparison),
        "not-run": _not_run(comparison),
        "figures": tables.figures(_sources(comparison)),
    }


def _laid_out(found: Sequence[Panel]) -> list[Panel]:
    """Give a chart that would stand alone in a row of two the whole width; tables of counts and maps keep their shape."""
    placed: list[Panel] = []
    left: int | None = None
    for panel in [*found, None]:
        if panel is not None and not panel.wide:
            left = len(placed) if left is None else None
        elif left is not None:
            if not placed[left].name.startswith(("confusion", "agreement", "floor-plan")):
                placed[left] = replace(placed[left], wide=True)
            left = None
        if panel is not None:
            placed.append(panel)
    return placed


def _filled(name: str, content: dict[str, Any]) -> bool:
    """Whether a section has anything to show; one without data is left out."""
    made = content["tables"]
    own = {
        "summary": True,
        "cost": made["energy"] or made["conventional"],
        "why": made["layers"],
        "who": content["disagreements"],
        "scorecard": content["scorecard"],
        "chip": content["chip"] is not None,
        "data": content["cards"],
        "method": True,
    }
    return bool(content["panels"][name] or own.get(name))


def _facts(comparison: Comparison) -> list[tuple[str, str]]:
    """What was compared, in a few lines under the verdict."""
    rows = comparison.rows
    spiking = [row for row in rows if row.group != "ann"]
    facts = [
        ("Made", comparison.created.replace("T", " ").removesuffix("Z") + (" UTC" if comparison.created.endswith("Z") else "")),
        ("Data", "; ".join(c.title if f"{c.n_test:,} test" in c.title else f"{c.title or c.name}, {c.n_test:,} test samples" for c in comparison.data)),
        ("Networks", "; ".join(f"{n.label}, {n.parameters:,} parameters" for n in _unlike(comparison))),
        ("Chips", "; ".join(f"{c.name} ({c.title})" if c.title and c.title != c.name else c.name for c in comparison.chips)),
        ("Methods", ", ".join(_values(spiking, "convert.method"))),
        ("Time steps", ", ".join(str(t) for t in sorted({row.n_steps for row in spiking}))),
        ("Seeds", ", ".join(map(str, comparison.seeds))),
        ("Runs", f"{len(spiking):,}" + (f", {len(comparison.not_run):,} without a result" if comparison.not_run else "")),
    ]
    return [(name, text) for name, text in facts if text]


def _values(rows: Iterable[Row], key: str) -> list[str]:
    return list(dict.fromkeys(str(row.settings[key]) for row in rows if row.settings.get(key) is not None))


def _unlike(comparison: Comparison) -> list[Any]:
    """One network of each kind: seeds of the same widths are one."""
    return list({(n.label, n.parameters): n for n in comparison.networks}.values())


def _networks(comparison: Comparison) -> Table | None:
    found = {key for n in comparison.networks for layer in n.layers for key in layer}
    heads = sorted(found, key=lambda key: (LAYER_FACTS.index(key) if key in LAYER_FACTS else len(LAYER_FACTS), key))
    if not heads:
        return None
    lines = [
        [n.label, *(layer.get(key) for key in heads)] for n in _unlike(comparison) for layer in n.layers
    ]
    return tables.texts("networks", "Layers of the source networks.", ["Network", *(h.replace("_", " ") for h in heads)], lines)


def _training(comparison: Comparison) -> Table | None:
    trained = [n for n in comparison.networks if n.training]
    if not trained:
        return None
    names = [
        name
        for name in dict.fromkeys(name for n in trained for name in n.training)
        if all(not isinstance(n.training.get(name), dict | list | tuple) for n in trained)
    ]
    lines = [[comparison[n.ann].label, *(n.training.get(name) for name in names)] for n in trained]
    told = "How the source networks were trained." if names != ["file"] else "Where the source networks come from: they were not trained here."
    return tables.texts("training", told, ["Network", *(n.replace("_", " ") for n in names)], lines)


def _omissions(comparison: Comparison) -> Table | None:
    if not comparison.omissions:
        return None
    lines = [[o.what, o.why, o.where] for o in comparison.omissions]
    return tables.texts("omissions", "What is in no number of this page.", ["What", "Why", "Where it would show"], lines)


def _not_run(comparison: Comparison) -> Table | None:
    if not comparison.not_run:
        return None
    # A refusal is no fault of the program: its class says nothing to a reader.
    lines = [
        [label, status, re.sub(r"^\w+Error: ", "", reason) if status == "skipped" else reason]
        for label, status, reason in grouped(comparison.not_run)
    ]
    return tables.texts("not-run", "Trials without a result.", ["Trial", "Status", "Reason"], lines)


def _sources(comparison: Comparison) -> list[Figure]:
    """All figures with a source: those that numbers rest on first, then the rest of the chip files and the ANN's side."""
    found = [*comparison.figures]
    found += [f for c in comparison.conventional for f in c.figures]
    found += [f for c in comparison.chips for f in c.figures if f.used_by]
    return list({(f.name, f.source, str(f.value)): f for f in found}.values())


def _topics(findings: Sequence[Finding]) -> list[tuple[str, list[tuple[Finding, Table | None]]]]:
    """Findings by topic, each with its small table."""
    topics: dict[str, list[tuple[Finding, Table | None]]] = {}
    for k, finding in enumerate(findings):
        table = None
        if finding.rows:
            name = f"scorecard-{k}"
            table = tables.texts(name, f"{finding.topic.capitalize()}: the numbers.", *tables.with_intervals(finding.columns, finding.rows))
            table = replace(table, quiet=True)
        topics.setdefault(finding.topic, []).append((finding, table))
    return list(topics.items())


def _settings(at: Focus | None) -> list[tuple[str, str]]:
    if at is None:
        return []
    told = {**at.main.settings, **{f"engine.{key}": value for key, value in at.main.engine.items()}}
    return [(key, _said(value)) for key, value in told.items() if value not in (None, "") and not isinstance(value, dict)]


def _provenance(comparison: Comparison) -> list[tuple[str, str]]:
    """Versions, machine, seeds, files' checksums, time and memory."""
    facts = [(name, str(version)) for name, version in comparison.versions.items()]
    facts += [(name.capitalize(), _said(value)) for name, value in comparison.machine.items() if value is not None]
    facts += [(f"SHA-256 of chip {c.name}", c.sha256) for c in comparison.chips if c.sha256]
    facts += [(f"SHA-256 of {comparison[n.ann].label}, seed {comparison[n.ann].seed}", n.sha256) for n in comparison.networks]
    facts += [("Seeds", ", ".join(map(str, comparison.seeds)))]
    facts += [("Wall time of all trials", units.seconds(comparison.seconds) if comparison.seconds else "")]
    facts += [("Peak memory", quantity(comparison.peak_memory, "B") if comparison.peak_memory else "")]
    return [(name, text) for name, text in facts if text]


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _warnings(comparison: Comparison) -> list[str]:
    """Each warning once, with the rows that it is about."""
    about: dict[str, list[str]] = {}
    for row in comparison.rows:
        for text in row.warnings:
            about.setdefault(text, []).append(row.label)
    return [f"{text} ({labels[0] if len(labels) == 1 else f'{len(labels)} runs'})" for text, labels in about.items()]


def _card(c: DataCard) -> list[tuple[str, str]]:
    facts = [
        ("Training samples", f"{c.n_train:,}"),
        ("Test samples", f"{c.n_test:,}"),
        ("Inputs", f"{c.n_inputs:,}" + (f" ({' x '.join(map(str, c.input_shape))})" if c.input_shape else "")),
        ("Range of the inputs", f"{c.input_range[0]:g} to {c.input_range[1]:g}"),
        ("Task", c.task + (f", {len(c.classes)} classes: {', '.join(c.classes[:24])}" if c.classes else "")),
        ("Test samples that are also in the training set", "" if c.duplicates is None else f"{c.duplicates:,}"),
        ("Split", c.split),
        ("Licence", c.licence),
        ("Source", c.source),
        ("Checksum", c.checksum),
        *((CARD_WORDS.get(name, name.replace("_", " ").capitalize()), _said(value)) for name, value in c.extra.items() if name not in SAID),
    ]
    return [(name, text) for name, text in facts if text]


def _examples(c: DataCard) -> list[Specimen]:
    if c.examples is None:
        return []
    labels = c.example_labels if c.example_labels is not None else [None] * len(c.examples)
    names = [("" if label is None else c.classes[int(label)] if c.classes else str(label)) for label in labels]
    return [
        Specimen(images.picture(x, c.input_shape, *c.input_range), name, f"Example of class {name}" if name else "Example input")
        for x, name in zip(c.examples, names, strict=True)
    ]


def _main_first(comparison: Comparison) -> list[Disagreements]:
    """Disagreements that have inputs to show, those of the verdict's row first."""
    found = [d for d in comparison.disagreements if len(d.samples)]
    return sorted(found, key=lambda d: d.row != comparison.headline)


def _pictures(comparison: Comparison, d: Disagreements) -> tuple[Row, Disagreements, list[Specimen]]:
    row = comparison[d.row]
    of = card(comparison, row)
    names = class_names(comparison, row)
    shape, (low, high) = (of.input_shape, of.input_range) if of else ((), (float(d.inputs.min()), float(d.inputs.max())))

    def name(k: Any) -> str:
        return "none" if int(k) < 0 else names[int(k)] if int(k) < len(names) else str(int(k))

    return (
        row,
        d,
        [
            Specimen(
                images.picture(x, shape, low, high),
                f"is {name(label)}; ANN {name(ann)}, {GROUP_NAMES[row.group]} {name(snn)}",
                f"Test sample {int(sample)} of class {name(label)}: the ANN answers {name(ann)}, the spiking network {name(snn)}",
            )
            for sample, x, label, ann, snn in zip(d.samples, d.inputs, d.labels, d.ann, d.snn, strict=True)
        ],
    )


def _json(value: Any) -> str:
    """JSON that may stand in a script element: nothing in it can end or open one."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c").replace("\u2028", "\\u2028")


def _chart_colours() -> str:
    """Style rules that map each colour of the charts to its counterpart in the dark; print stays light."""
    rules = "".join(
        f'.chart [{attribute}="{light}"]{{{attribute}:{dark}}}' for light, dark in charts.DARK.items() for attribute in ("fill", "stroke")
    )
    return f"@media screen and (prefers-color-scheme: dark){{{rules}}}"


@functools.lru_cache(maxsize=1)
def _bundle() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script."""
    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return bundle.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _text(name: str) -> str:
    return resources.files("experiments.report").joinpath("templates", name).read_text(encoding="utf-8")


@functools.lru_cache(maxsize=2)
def _environment(autoescape: bool = True) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_text),
        autoescape=autoescape,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(seconds=units.seconds, quantity=quantity, cell=_markdown_cell, tight=_tight)
    environment.globals.update(groups=GROUP_NAMES, plain_rows=tables.plain_rows)
    return environment


def _tight(text: str) -> str:
    """Keep a number and its unit, and T and its value, on one line; write micro as its sign."""
    text = re.sub(r"(?<=\d )u(?=[JsW]\b)", "\N{MICRO SIGN}", text)
    return re.sub(r"(?<=\d) (?=%|[fpnµmkMGT]?[JsWBV]\b)|(?<=\bT) (?== )|(?<=T =) (?=\d)", "\N{NO-BREAK SPACE}", text)


def _markdown_cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


__all__ = ["figures", "html_fragment", "index", "index_of", "page", "report", "report_markdown"]
