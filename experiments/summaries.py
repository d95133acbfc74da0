"""Values of the project as lines for a terminal: a chip, a table of names, a comparison."""

from __future__ import annotations

import importlib
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from neuro.chip import GROUPS, Figure, Statement
from neuro.errors import SpecError, nearest

from . import targets
from .designs import selected, short
from .single import training, widths
from .terminal import wrap
from .units import count, percent, percent_range, seconds, si, si_range, table

if TYPE_CHECKING:
    from converters.mlp import MLP
    from neuro.chip import Chip

    from .comparison import Comparison, Omission, Range, Row, SeedSummary
    from .config import Experiment
    from .plan import Plan
    from .runner import Summary
    from .tune import Point, Tuned

TABLES = {
    "datasets": ("experiments.datasets", "DATASETS"),
    "methods": ("converters.methods", "METHODS"),
    "engines": ("neuro.engines", "ENGINES"),
    "encodings": ("neuro.encoding", "ENCODINGS"),
    "readouts": ("neuro.readout", "READOUTS"),
    "rules": ("neuro.neurons", "RULES"),
    "importers": ("converters.importers", "IMPORTERS"),
    "exporters": ("converters.exporters", "EXPORTERS"),
    "metrics": ("experiments.metrics", "METRICS"),
}
KINDS = (*TABLES, "chips", "configs")
WIDTH, NARROW = 100, 28  # of a line; of the column for operating points at least


def names(kind: str) -> dict[str, str]:
    """Return {name: one line about it} of a table of the project, of the chips or of the shipped configs."""
    if kind == "chips":
        from neuro.chip import list_chips, load_chip

        return {name: load_chip(name).title for name in list_chips()}
    if kind == "configs":
        from .config import CONFIGS, load_experiment

        return {path.name: load_experiment(path).title for path in sorted(CONFIGS.glob("*.toml"))}
    if kind == "methods":
        from converters.methods import AUTO, METHODS

        return {**{name: method.description for name, method in METHODS.items()}, "auto": AUTO}
    if kind not in TABLES:
        raise SpecError(f"there is no list of {kind!r}{nearest(kind, KINDS)}")
    module, attribute = TABLES[kind]
    return {name: _line(entry) for name, entry in getattr(importlib.import_module(module), attribute).items()}


def _line(entry: Any) -> str:
    """Return what an entry of a table says of itself: a text, its summary or equation, or the first line of its docstring."""
    if isinstance(entry, str):
        return entry
    for attribute in ("summary", "equation", "description", "definition", "meaning"):
        if isinstance(getattr(entry, attribute, None), str):
            return str(getattr(entry, attribute))
    function = entry if callable(entry) else next((v for v in vars(entry).values() if callable(v) and v.__doc__), entry)
    return (function.__doc__ or "").strip().split("\n", 1)[0]


def names_lines(found: Mapping[str, str]) -> list[str]:
    """Return the lines of a table of names."""
    return [line.removeprefix("  ") for line in table(("", ""), list(found.items()))[1:]]


def chip_lines(chip: Chip) -> list[str]:
    """Return a chip's figures, each with unit, trust, the number of its source and its operating point, and what is missing."""
    sources: dict[str, int] = {}
    lines = [f"{chip.name}: {chip.title}", *(line for note in chip.notes for line in wrap(note))]
    groups: dict[str, list[tuple[tuple[str, str, str, str], str]]] = {}
    for path, figure in chip.figures():
        group, _, name = path.partition(".")
        number = sources.setdefault(figure.source, len(sources) + 1)
        said = f"{figure.at}; {figure.note}" if figure.note else figure.at
        groups.setdefault(group if name else "", []).append(((name or group, _value(figure), figure.trust, f"[{number}]"), said))
    for group, found in groups.items():
        rows = table(("", "", "", ""), [row for row, _ in found])[1:]
        lines += ["", *([group] if group else [])]
        start = max(map(len, rows)) + 2
        for row, (_, said) in zip(rows, found, strict=True):
            first, *more = textwrap.wrap(said, max(WIDTH - start, NARROW), break_long_words=False)
            lines += [f"{row.ljust(start)}{first}", *(" " * start + text for text in more)]
        missing = chip.missing(group) if group in GROUPS else ()
        if missing:
            lines += wrap(f"not stated: {', '.join(missing)}", indent="    ")
    lines += ["", "sources"]
    for source, number in sources.items():
        lines += wrap(f"[{number}] {source}")
    return [line.rstrip() for line in lines]


def _value(figure: Figure | Statement) -> str:
    if isinstance(figure, Statement):
        values = figure.value if isinstance(figure.value, list | tuple) else [figure.value]
        return ", ".join("yes" if v is True else "no" if v is False else str(v) for v in values)
    if figure.unit in ("1", "bit"):
        unit = "" if figure.unit == "1" else " bit"
        bounds = f" ({count(figure.low)} to {count(figure.high)})" if figure.bounded else ""
        return f"{count(figure.value)}{unit}{bounds}"
    return si_range(figure.value, figure.low, figure.high, figure.unit)


def facts(chip: Chip) -> dict[str, Any]:
    """Return a chip as plain values."""
    figures = {
        path: {name: getattr(figure, name) for name in figure.__dataclass_fields__} for path, figure in chip.figures()
    }
    missing = {group: list(chip.missing(group)) for group in GROUPS}
    about = {"name": chip.name, "title": chip.title, "sha256": chip.sha256, "notes": list(chip.notes)}
    return {**about, "figures": figures, "missing": missing}


def model_lines(mlp: MLP, name: str) -> tuple[list[str], dict[str, Any]]:
    """Return the layers of a trained network and what becomes of each, as lines and as plain values."""
    rows, layers = [], []
    for k, layer in enumerate(mlp.layers):
        title = layer.name or f"layer {k + 1}"
        activation = layer.activation if layer.ceiling == float("inf") else f"{layer.activation} up to {layer.ceiling:g}"
        becomes = f"{layer.n_out} neurons that only integrate: the read-out"
        if layer.activation != "identity":
            becomes = f"{layer.n_out} integrate-and-fire neurons"
            if k == len(mlp.layers) - 1:
                becomes += ", and a read-out that adds up their spikes"
        if layer.recurrent is not None:
            becomes += ", recurrent over the sequence"
        if layer.skips:
            becomes += f", skip from {', '.join('the input' if s.source < 0 else f'layer {s.source + 1}' for s in layer.skips)}"
        rows.append((title, layer.kind, f"{layer.n_in:,} -> {layer.n_out:,}", count(layer.n_parameters), activation, becomes))
        layers.append(
            {
                "name": title,
                "kind": layer.kind,
                "n_in": layer.n_in,
                "n_out": layer.n_out,
                "parameters": layer.n_parameters,
                "activation": layer.activation,
                "becomes": becomes,
            }
        )
    total = sum(layer.n_parameters for layer in mlp.layers)
    lines = [f"{name}: {'-'.join(map(str, mlp.sizes))}, {mlp.task}, {total:,} parameters", ""]
    lines += table(("layer", "kind", "shape", "parameters", "activation", "becomes"), rows, right=(3,))
    if any(layer.channels is not None for layer in mlp.layers):
        lines.append("  Convolutions and pooling are counted unrolled: one parameter a synapse.")
    fates = mlp.info.get("nodes", [])
    if fates:
        lines += ["", "What became of the source's parts:"]
        lines += table(("part", "becomes"), [(fate["node"], fate["becomes"]) for fate in fates])
    lines += ["", *_origin_lines(mlp)]
    return lines, {
        "sizes": list(mlp.sizes),
        "task": mlp.task,
        "classes": list(mlp.classes),
        "input_shape": list(mlp.input_shape),
        "sha256": mlp.sha256,
        "layers": layers,
        "parts": fates,
        "info": {key: value for key, value in mlp.info.items() if key != "nodes"},
    }


def _origin_lines(mlp: MLP) -> list[str]:
    """Return how the input lies, what was folded into the first layer, and how far the network agrees with its source."""
    said = []
    if mlp.input_shape:
        layout = f" ({mlp.info['layout']})" if mlp.info.get("layout") else ""
        said.append(f"input: {' x '.join(map(str, mlp.input_shape))}{layout}")
    folded = mlp.info.get("preprocessing", {})
    if folded:
        parts = [f"{name} {', '.join(f'{v:g}' for v in values[:8])}" for name, values in folded.items() if values]
        said.append(f"input scaling, now in the first layer: {'; '.join(parts)}")
    if mlp.classes:
        said.append(f"classes: {', '.join(mlp.classes[:20])}{', ...' if len(mlp.classes) > 20 else ''}")
    checked = mlp.info.get("verification", {})
    if checked.get("samples"):
        worst = max(checked["largest_difference"].values(), default=0.0)
        said.append(
            f"compared with {checked['judge']} on {checked['samples']} samples: differs by at most {worst:.1g} of a layer's largest value"
        )
    elif checked:
        said.append(f"compared with {checked['judge']}")
    return said


def plan_lines(plan: Plan, experiment: Experiment) -> tuple[list[str], dict[str, Any]]:
    """Return the trials of an experiment and what they will take, as lines and as plain values."""
    varied = _varied([t.settings | {"seed": t.seed} for t in plan.trials])
    rows = []
    missing = {t.key for t in plan.missing}
    for trial in plan.trials:
        values = trial.settings | {"seed": trial.seed}
        state = "to run" if trial.key in missing else "there"
        rows.append((state, GROUPS_SAID[trial.group], *(_said(values.get(name)) for name in varied)))
    shown = rows if len(rows) <= MOST_ROWS else rows[:MOST_ROWS]
    lines = [f"{experiment.title}  {len(plan.trials)} trials, {len(plan.trials) - len(plan.missing)} of them there already", ""]
    lines += table(("", "", *(name.rpartition(".")[2] for name in varied)), shown)
    if len(shown) < len(rows):
        lines.append(f"  ... and {len(rows) - len(shown)} more (--json shows all)")
    made = ", ".join(f"{n} {kind}{'s' if n != 1 else ''}" for kind, n in plan.stages.items())
    basis = "measured on trials that are there" if plan.measured else "within a factor of three or so"
    lines += ["", *wrap(f"About {seconds(plan.seconds)} in one process ({basis}), {plan.memory / 1e9:.1f} GB of memory.")]
    lines += wrap(f"To be made first, each once: {made}.") if made else []
    facts = {
        "trials": [{"key": t.key, "missing": t.key in missing, "settings": t.settings | {"seed": t.seed}} for t in plan.trials],
        "stages": dict(plan.stages),
        "seconds": plan.seconds,
        "memory_bytes": plan.memory,
    }
    return lines, facts


GROUPS_SAID = {"ann": "network (ANN)", "ideal": "spiking, ideal", "chip": "on the chip", "native": "on the chip, native reset"}


def _varied(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the settings with more than one value among those that have them."""
    values: dict[str, set[str]] = {}
    for one in settings:
        for name, value in one.items():
            values.setdefault(name, set()).add(repr(value))
    return [name for name, found in values.items() if len(found) > 1]


def _said(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "-".join(map(str, value))
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


MOST_ROWS = 30


def comparison_story(comparison: Comparison, done: Summary) -> list[tuple[str, str]]:
    """Return what was done on the way to the row the verdict is about: data, training, conversion, chip, simulation."""
    row = comparison[comparison.headline]
    ideal = next((r for r in comparison.group("ideal") if r.ann == row.ann and r.n_steps == row.n_steps), row)
    network = next(n for n in comparison.networks if n.ann == row.ann)
    lines = [card.title.partition(": ")[::2] for card in comparison.data]
    if network.training.get("epochs"):
        lines.append((f"trained {widths(network.sizes)}", training(network.training, network.training.get("seconds"))))
    else:
        lines.append((f"loaded {widths(network.sizes)}", str(row.settings.get("model.file", ""))))
    method, samples = row.settings.get("convert.method"), row.settings.get("convert.calibration")
    clipped = [t.clipped for t in ideal.thresholds]
    silent = max((r.silent for r in ideal.rates), default=0.0)
    # Records of a chain with the step "calibration" once lost the number.
    parts = [f"thresholds from {samples:,} training samples" if samples else "thresholds from training samples"]
    parts.append(f"up to {percent(silent)} of a layer silent" if silent else "nothing silent")
    parts += [f"up to {percent(max(clipped))} of its activations clipped"] if clipped else []
    lines.append((f"converted with {method}", ", ".join(parts)))
    use = row.chip_use
    if use is not None:
        fullest = {r.name: r.share for r in use.resources if r.per == "core" and r.share is not None}
        worst = max(fullest, key=lambda name: fullest[name] or 0.0, default="")
        said = [f"{use.cores} of {use.cores_per_chip * use.chips} cores"]
        said += [f"{percent(fullest[worst], 0)} of {worst.replace('_', ' ')} in the fullest"] if worst else []
        said += [f"{use.weight_bits}-bit weights"] if use.weight_bits else []
        lines.append((f"deployed on {use.chip}", ", ".join(said)))
    took = row.engine.get("seconds")
    engine = f"{row.engine.get('engine')}, {row.engine.get('target', row.engine.get('kernel', ''))}".rstrip(", ")
    lines.append(("simulated", f"{row.n:,} samples x {row.n_steps} steps ({engine})  {seconds(took)}"))
    new = done.done + done.skipped + done.failed
    if new or done.present:
        problems = "".join(f", {n} {word}" for n, word in ((done.skipped, "skipped"), (done.failed, "failed")) if n)
        lines.append(("trials", f"{new} run in {seconds(done.seconds)}, {done.present} there already{problems}"))
    return [(str(what), str(text)) for what, text in lines]


HEAD = ("", "accuracy (95 %)", "agrees", "spikes", "synops", "energy (low-high)", "latency")


def comparison_lines(comparison: Comparison) -> tuple[list[str], dict[str, Any]]:
    """Return the table of a comparison with its verdict and what was not counted, as lines and as plain values."""
    seeds = max((s.n_seeds for s in comparison.summaries), default=1)
    rows = [_mean_row(s, comparison) for s in comparison.summaries] if seeds > 1 else [_row(row, comparison) for row in comparison.rows]
    shown = rows if len(rows) <= MOST_ROWS else rows[:MOST_ROWS]
    asked = {s["deploy.chip"] for s in (*(r.settings for r in comparison.rows), *(n.settings for n in comparison.not_run)) if "deploy.chip" in s}
    lines = [*table(HEAD, shown, right=(2, 3, 4))]
    if seeds > 1:
        lines += wrap(f"Means over up to {seeds} seeds; in brackets their 95 % interval.")
    if len(shown) < len(rows):
        lines += wrap(f"... and {len(rows) - len(shown)} more on the page (--json prints all).")
    lines += ["", *wrap(comparison.verdict)]
    if comparison.omissions:
        lines += ["", *wrap(f"Not counted: {'; '.join(_omitted(comparison.omissions))}.")]
    beside = targets.lines(comparison) if len(asked) > 1 else []
    if beside:
        main = targets.chosen(comparison)
        lines += ["", f"  The same inference elsewhere, T = {main.n_steps if main is not None else 0} where it spikes:", "", *beside]
    for label, status, reason in targets.grouped(comparison.not_run):
        if status == "skipped" and beside and "does not fit" in reason:
            continue  # said with the targets, once a chip
        lines += ["", *(line for text in f"{status}: {label}: {reason}".splitlines() for line in wrap(text))]
    facts = {
        "verdict": comparison.verdict,
        "rows": [_row_facts(row) for row in comparison.rows],
        "not_counted": [{"what": o.what, "why": o.why, "where": o.where} for o in comparison.omissions],
        "not_run": [{"label": n.label, "status": n.status, "reason": n.reason} for n in comparison.not_run],
    }
    return lines, facts


def _omitted(omissions: Sequence[Omission]) -> list[str]:
    """Return what is in no number, those without a published figure together, the others with their reason."""
    unpublished = [o.what for o in omissions if "has no published figure" in o.why]
    others = [f"{o.what} ({_shortened(o, omissions)})" for o in omissions if o.what not in unpublished]
    together = [f"{', '.join(dict.fromkeys(unpublished))} (no figure is published)"] if unpublished else []
    return [*together, *dict.fromkeys(others)]


def _shortened(omission: Omission, omissions: Sequence[Omission]) -> str:
    """Return the reason of an omission without the reasons of others that it repeats."""
    why = omission.why
    for other in omissions:
        why = why if other is omission else why.replace(f": {other.why}", "")
    return why


def _row(row: Row, comparison: Comparison) -> tuple[str, ...]:
    accuracy = "-" if row.r2 is None else f"R2 {row.r2:.4f}"
    if row.accuracy is not None:
        accuracy = percent_range(row.accuracy.value, row.accuracy.low, row.accuracy.high)
    agrees = "-" if row.disagreement is None else percent(1 - row.disagreement.value)
    work = f"{si(row.macs, 'MAC')}" if row.group == "ann" else count(row.synaptic_operations)
    energy, latency = "-", "-" if row.group == "ann" else f"{row.total_steps} steps"
    if row.energy is not None:
        energy = _si(row.energy.total, "J")
    elif row.group == "ann":
        # The design that the page, too, sets against the chip, by its name: whether zeros are skipped is a factor of several.
        for design in selected(comparison, row, 1):
            energy = f"{_si(design.energy, 'J')}, {short(design)}"
    if row.latency is not None and row.latency.per_inference is not None:
        latency = si(row.latency.per_inference.value, "s")
    return (row.label, accuracy, agrees, count(row.spikes), work, energy, latency)


def _mean_row(summary: SeedSummary, comparison: Comparison) -> tuple[str, ...]:
    accuracy = summary.accuracy
    steps = {comparison[key].total_steps for key in summary.rows}  # seeds do not change them
    return (
        summary.label,
        "-" if accuracy is None else percent_range(accuracy.value, accuracy.low, accuracy.high),
        "-" if summary.disagreement is None else percent(1 - summary.disagreement.value),
        "-" if summary.spikes is None else count(summary.spikes.value),
        "-" if summary.synaptic_operations is None else count(summary.synaptic_operations.value),
        "-" if summary.energy is None else _si(summary.energy, "J"),
        si(summary.latency.value, "s") if summary.latency is not None else f"{max(steps)} steps" if max(steps) else "-",
    )


def _si(value: Range, unit: str) -> str:
    return si_range(value.value, value.low, value.high, unit)


def _row_facts(row: Row) -> dict[str, Any]:
    def plain(value: Range | None) -> list[float] | None:
        return None if value is None else [value.value, value.low, value.high]

    return {
        "label": row.label,
        "group": row.group,
        "n": row.n,
        "n_steps": row.n_steps,
        "total_steps": row.total_steps,
        "accuracy": plain(row.accuracy),
        "disagreement": plain(row.disagreement),
        "spikes": row.spikes,
        "synaptic_operations": row.synaptic_operations,
        "energy_joules": plain(row.energy.total if row.energy else None),
        "latency_seconds": plain(row.latency.per_inference if row.latency else None),
    }


def results_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return rows of a store as lines."""
    from .export import printed

    heads, fields = printed(rows)
    shown = fields[:MOST_RESULTS]
    right = [i for i, name in enumerate(rows[0]) if any(isinstance(row[name], float) for row in rows)] if rows else []
    lines = table(heads, shown, right=right) if shown else []
    if len(shown) < len(fields):
        lines.append(f"  ... and {len(fields) - len(shown)} more (--out FILE.csv or --json gives all)")
    return lines


MOST_RESULTS = 200


def tuned_lines(tuned: Tuned) -> tuple[list[str], dict[str, Any]]:
    """Return the front of a search, as judged on the held-out samples and as it came out on the test, as lines and values."""
    tune = tuned.experiment.tune
    cost = tune.objectives[0]
    names = list(dict.fromkeys(name for p in tuned.front for name in p.settings))
    varied = [n for n in names if len({repr(p.settings.get(n)) for p in tuned.front}) > 1]
    rows: list[tuple[str, ...]] = []
    facts: list[dict[str, Any]] = []
    for point in (*tuned.front, *([tuned.best] if tuned.best is not None and tuned.best not in tuned.front else [])):
        tested = _tested(tuned, point)
        mark = "*" if point is tuned.best else ""
        values = [_cost(name, value) for name, value in zip(tune.objectives, point.costs, strict=True)]
        accuracy = "-" if tested is None or tested[0] is None else percent(tested[0])
        lost = "-" if tested is None or tested[1] is None else _points(tested[1])
        rows.append((mark, *(_said(point.settings.get(n)) for n in varied), _points(point.loss), *values, accuracy, lost))
        facts.append(
            {
                "settings": dict(point.settings),
                "key": point.trial.key,
                "held_out": {"loss": point.loss, **dict(zip(tune.objectives, point.costs, strict=True))},
                "test": None if tested is None else {"accuracy": tested[0], "loss": tested[1]},
                "best": point is tuned.best,
            }
        )
    heads = ("", *(n.rpartition(".")[2] for n in varied), "lost, held out", *tune.objectives, "accuracy, test", "lost, test")
    lines = table(heads, rows, right=range(len(varied) + 1, len(heads)))
    allowed = f"{100 * tune.max_loss:g} points"
    if tuned.best is None:
        lines += ["", *wrap(f"No point lost at most {allowed} on the held-out samples: try more (--set tune.trials=N), or allow more.")]
    else:
        chosen = ", ".join(f"{n.rpartition('.')[2]} {_said(v)}" for n, v in tuned.best.settings.items())
        lines += ["", *wrap(f"* The least {cost.replace('_', ' ')} at a loss of at most {allowed} on the held-out samples: {chosen}.")]
    n = max((p.n for p in tuned.front), default=0)
    if n:
        lines += wrap(f"{n:,} samples were held out: one of them is {100 / n:.2g} points.")
    tested = None if tuned.best is None else _tested(tuned, tuned.best)
    if tested is not None and tested[1] is not None and tested[1] > tune.max_loss:
        lines += wrap(
            f"On the test samples it loses {100 * tested[1]:.2f} points, more than asked: what is best of {len(tuned.points):,} points "
            f"is lucky as well as good. A larger tune.holdout or more seeds (now {len(tuned.experiment.seeds)}) choose more surely."
        )
    return lines, {"tried": tuned.tried, "failed": tuned.failed, "front": facts, "verdict": tuned.comparison.verdict}


def _tested(tuned: Tuned, point: Point) -> tuple[float | None, float | None] | None:
    """Return accuracy and loss of a point on the test samples, means over the seeds; None where it was not run."""
    import msgspec

    scores, losses = [], []
    rows = {row.key: row for row in tuned.comparison.rows}
    for seed in tuned.experiment.seeds:
        row = rows.get(msgspec.structs.replace(point.trial, seed=seed).key)
        if row is None or row.ann not in rows:
            return None
        own, source = (r.accuracy.value if r.accuracy is not None else r.r2 for r in (row, rows[row.ann]))
        if own is None or source is None:
            return None
        scores.append(own)
        losses.append(source - own)
    return sum(scores) / len(scores), sum(losses) / len(losses)


def _points(loss: float) -> str:
    return f"{100 * loss:+.2f} points"


def _cost(name: str, value: float) -> str:
    unit = {"energy": "J", "latency": "s"}.get(name)
    return count(value) if unit is None else si(value, unit)
