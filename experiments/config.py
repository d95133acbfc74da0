"""TOML -> Experiment -> list of Trial.

A config states what varies: any setting may be a list, and lists become a grid. A setting whose own value is a
list (``hidden = [128, 64]``) varies as a list of lists. A trial is plain values with every default written in;
the SHA-256 of its canonical JSON is its name.
"""

from __future__ import annotations

import itertools
import json
import os
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec

from converters.methods import METHODS
from converters.train import TrainOptions
from neuro.chip import list_chips
from neuro.deploy import DeployOptions
from neuro.encoding import ENCODINGS
from neuro.engines import ENGINES
from neuro.errors import SpecError, nearest, problems
from neuro.readout import READOUTS

from .datasets import DATASETS, options_type
from .store import canonical, key_of

CONFIGS = Path(__file__).parent / "configs"
Count = Annotated[int, msgspec.Meta(ge=1)]
FILLED = ("options", "sha256")  # written by the program, not by the user
Objective = Literal["energy", "latency", "synaptic_operations", "spikes", "n_steps"]
FILES = (".npz", ".csv", ".csv.gz")
RUN_NAMES: dict[str, Collection[str]] = {"encoding": ENCODINGS, "readout": READOUTS, "engine": ENGINES, "exit_measure": ("margin", "softmax")}
Natural = Annotated[int, msgspec.Meta(ge=0)]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of the tables of a config."""


class DataSettings(Settings, frozen=True):
    """``[data]``: a name of DATASETS or the path of a ``.npz`` or ``.csv``; the seed of the split; test samples used
    (0: all).

    ``holdout``: share of the training samples that is taken out of training and calibration; ``part = "holdout"`` runs
    networks on these in place of the test samples, so that settings can be chosen without looking at the test.
    ``options`` (the data set's own settings, written flat in the config) and ``sha256`` (of the user's file) are
    filled in.
    """

    name: str = "digits"
    split_seed: Natural = 0
    limit: Natural = 0
    holdout: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0
    part: Literal["test", "holdout"] = "test"
    options: dict[str, Any] = {}
    sha256: str = ""


class ModelSettings(Settings, frozen=True):
    """``[model]``: the file of a trained network, or the widths of the hidden layers of one to train with
    ``[train]``."""

    file: str = ""
    hidden: tuple[Count, ...] = (128, 64)
    sha256: str = ""


class ConvertSettings(Settings, frozen=True):
    """``[convert]``: the method, training samples for calibration, the grid (0: none); the method's own settings
    stand beside them."""

    method: str = "ltb"
    calibration: Count = 1000
    grid: Annotated[float, msgspec.Meta(ge=0)] = 2**-12
    v_init: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.5
    options: dict[str, Any] = {}

    @property
    def steps(self) -> list[dict[str, Any]]:
        """The chain of the method, as ``converters.convert`` takes it."""
        names = self.method.split("+")
        options = {names[0]: self.options} if len(names) == 1 else self.options
        return [{"name": name, **options[name]} for name in names]


class RunSettings(Settings, frozen=True):
    """``[run]``: T, how values enter, how the answer leaves, early exit (threshold 0: none), the engine."""

    n_steps: Count = 8
    encoding: str = "constant"
    readout: str = "potential"
    readout_start: Natural = 0
    exit_threshold: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    exit_measure: str = "margin"
    exit_min_steps: Count = 1
    engine: str = "batched"


class DeploySettings(Settings, frozen=True):
    """``[deploy]``: a chip by name or file; the settings of ``neuro.deploy`` stand beside it; ``sha256`` (of the
    chip file) is filled in."""

    chip: str = "loihi1"
    options: dict[str, Any] = {}
    sha256: str = ""


class TuneSettings(Settings, frozen=True):
    """``[tune]``: how ``spikeport tune`` searches the alternatives of the other tables.

    ``trials``: points to try; ``max_loss``: accuracy below the source network's that may be lost, as a share (0.005:
    half a point); ``objectives``: what to make small, besides the loss; ``holdout``: share of the training samples on
    which points are judged; ``range``: {setting: (low, high)} for numbers that may lie anywhere between.
    """

    trials: Count = 100
    max_loss: Annotated[float, msgspec.Meta(ge=0)] = 0.005
    objectives: tuple[Objective, ...] = ("energy",)
    holdout: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.2
    seed: Natural = 0
    range: dict[str, tuple[float, float]] = {}


FaultKind = Literal[
    "lost", "spurious", "dead_neurons", "stuck_neurons", "dead_synapses", "stuck_synapses", "threshold_mismatch", "weight_mismatch"
]


class FaultSettings(Settings, frozen=True):
    """``[faults]``: accuracy against rates of faults, for the row that the verdict is about.

    ``kinds``: of faults; ``rates``: share of what fails (of a mismatch the relative standard deviation); ``draws``: times
    that each fault is drawn; ``samples``: first test samples that are run; ``seed``: of the first draw.
    """

    kinds: tuple[FaultKind, ...] = get_args(FaultKind)
    rates: tuple[Annotated[float, msgspec.Meta(ge=0)], ...] = (0.01, 0.02, 0.05, 0.1, 0.2)
    draws: Count = 3
    samples: Count = 500
    seed: Natural = 0


class Trial(Settings, frozen=True):
    """One network run one way: no ``convert`` is the ANN itself, no ``deploy`` is ideal arithmetic."""

    seed: Natural
    data: DataSettings
    model: ModelSettings
    train: dict[str, Any] | None
    convert: ConvertSettings | None = None
    run: RunSettings | None = None
    deploy: DeploySettings | None = None

    @property
    def plain(self) -> dict[str, Any]:
        """Plain values with defaults written in, exactly as JSON gives them back: lists for tuples."""
        return json.loads(canonical(msgspec.to_builtins(self)))

    @property
    def key(self) -> str:
        """SHA-256 of the canonical JSON."""
        return key_of(self.plain)

    @property
    def group(self) -> str:
        """``"ann"``, ``"ideal"``, ``"chip"`` or ``"native"``."""
        if self.convert is None:
            return "ann"
        if self.deploy is None:
            return "ideal"
        return "native" if self.deploy.options.get("reset") == "native" else "chip"

    @property
    def settings(self) -> dict[str, Any]:
        """{dotted name: value} of every setting a user can write."""
        found, plain = dict[str, Any](), self.plain
        for table in ("data", "model", "train", "convert", "run", "deploy"):
            values = plain[table]
            if values is None:
                continue
            # One after the other: the step "calibration" has the name of the number of calibration samples.
            for name, value in (*values.items(), *values.get("options", {}).items()):
                if isinstance(value, dict) and name not in FILLED:
                    found |= {f"{table}.{name}.{inner}": v for inner, v in value.items()}
                elif name not in FILLED:
                    found[f"{table}.{name}"] = value
        return found

    @property
    def steps(self) -> list[dict[str, Any]]:
        """The chain of the method, as ``converters.convert`` takes it."""
        return [] if self.convert is None else self.convert.steps

    @property
    def chain(self) -> str:
        """The chain in words, with the settings that differ from their defaults: "ltb(iterations 20) + calibration"."""
        parts = []
        for step in self.steps:
            defaults = METHODS[step["name"]].options()
            changed = [(k, v) for k, v in step.items() if k != "name" and getattr(defaults, k) != v]
            said = [k if v is True else f"{k} {v:g}" if isinstance(v, float) else f"{k} {v}" for k, v in changed]
            parts.append(step["name"] + (f"({', '.join(said)})" if said else ""))
        return " + ".join(parts)

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Trial:
        """Return the trial of its plain values."""
        return msgspec.convert(dict(plain), cls)


@dataclass(frozen=True)
class Experiment:
    """A config, checked: the alternatives of every table, from which the trials follow.

    folder : where relative paths of the config start; text : the config as it is run, presets and ``--set`` applied;
    chosen : the trials to run where they are not the whole grid.
    """

    title: str
    seeds: tuple[int, ...]
    data: tuple[DataSettings, ...]
    model: tuple[ModelSettings, ...]
    train: tuple[dict[str, Any], ...]
    convert: tuple[ConvertSettings, ...]
    run: tuple[RunSettings, ...]
    deploy: tuple[DeploySettings, ...]
    text: str
    folder: Path
    tune: TuneSettings = TuneSettings()
    faults: FaultSettings | None = None
    chosen: tuple[Trial, ...] = ()

    @cached_property
    def trials(self) -> tuple[Trial, ...]:
        """Every trial once: the ANN of each seed, data set and model, then each run of it, ideal before chips."""
        if self.chosen:
            return self.chosen
        found: dict[str, Trial] = {}
        for seed, data, model in itertools.product(self.seeds, self.data, self.model):
            for train in (None,) if model.file else self.train:
                ann = Trial(seed=seed, data=data, model=model, train=train)
                found[ann.key] = ann
                for convert, run in itertools.product(self.convert, self.run):
                    for deploy in (None, *self.deploy):
                        trial = msgspec.structs.replace(ann, convert=convert, run=run, deploy=deploy)
                        found[trial.key] = trial
        return tuple(found.values())


def load_experiment(config: str | os.PathLike[str], *, overrides: Sequence[str] = (), preset: str = "") -> Experiment:
    """Return the experiment of a TOML file, or of a shipped config by name (``digits.toml``).

    overrides : ``"convert.percentile=99"``, the value in TOML (a bare word is a string); preset : a table of
        ``[presets]``.

    Raises
    ------
    SpecError : no such file, not TOML, and every unknown key (with the nearest known one) or wrong value at once.
    """
    path = Path(config)
    if not path.exists() and path.parent == Path() and (CONFIGS / path.name).exists():
        path = CONFIGS / path.name
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        shipped = sorted(p.name for p in CONFIGS.glob("*.toml"))
        raise SpecError(f"{config}: no such config{nearest(path.name, shipped)}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{config}: cannot be read ({error})") from error
    folder = Path() if path.parent == CONFIGS else path.parent
    return parse(text, name=str(config), overrides=overrides, preset=preset, folder=folder)


def parse(
    text: str, *, name: str = "config", overrides: Sequence[str] = (), preset: str = "", folder: Path = Path()
) -> Experiment:
    """Return the experiment of a TOML text; see :func:`load_experiment`."""
    try:
        raw: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{name}: not TOML: {error}") from error
    causes: list[str] = []
    presets = raw.pop("presets", {})
    wanted = preset or raw.pop("preset", "")
    raw.pop("preset", None)
    if wanted:
        if not isinstance(presets, dict) or wanted not in presets:
            causes.append(f"preset {wanted!r} is not known{nearest(str(wanted), presets)}")
        else:
            raw = _merge(raw, presets[wanted])
    for item in overrides:
        causes += _override(raw, item)
    known = ("title", "seeds", *TABLES, "tune", "faults")
    causes += [f"{key!r} is not a table or key of a config{nearest(key, known)}" for key in raw if key not in known]
    title, seeds = raw.get("title", Path(name).stem), raw.get("seeds", [0])
    if not isinstance(title, str):
        causes.append(f"title: {title!r}, expected a text")
    if isinstance(seeds, int) and not isinstance(seeds, bool):
        seeds = [seeds]
    if not isinstance(seeds, list) or not seeds or not all(type(s) is int and s >= 0 for s in seeds):
        causes.append(f"seeds: {seeds!r}, expected a list of integers of 0 or more")
    found: dict[str, list[Any]] = {}
    for table, alternatives in TABLES.items():
        values = raw.get(table, {})
        if not isinstance(values, dict):
            causes.append(f"{table}: {values!r}, expected a table [{table}]")
            continue
        found[table] = alternatives(table, dict(values), causes)
    tune = _tune_table(raw.get("tune", {}), causes)
    faults = faults_table(raw["faults"], causes) if "faults" in raw else None
    if any(d.part == "holdout" and not d.holdout for d in found.get("data", [])):
        causes.append("data.part is 'holdout', but data.holdout is 0: no sample is held out")
    if not causes and raw.get("train") and all(m.file for m in found["model"]):
        causes.append("[train] has no effect: model.file names a trained network; take one of the two away")
    if not causes and "hidden" in raw.get("model", {}) and all(m.file for m in found["model"]):
        causes.append("model.hidden has no effect: model.file names a trained network; take one of the two away")
    if causes:
        raise SpecError(problems(f"{name} cannot be used:", [*causes, *_unknown_names(raw)], "Nothing was run."))
    return Experiment(
        title=title,
        seeds=tuple(dict.fromkeys(seeds)),
        **{table: tuple(alternatives) for table, alternatives in found.items()},
        text=to_toml(raw),
        folder=folder,
        tune=tune,
        faults=faults,
    )


def _struct_table(
    table: str, values: dict[str, Any], causes: list[str], kind: Any, hidden: Sequence[str] = (), beside: Sequence[str] = ()
) -> list[Any]:
    """Return the grid of one struct; ``beside``: further names of the table, for a hint."""
    options = {field.name: field for field in msgspec.structs.fields(kind) if field.name not in hidden}
    grids: dict[str, list[Any]] = {}
    for key, value in values.items():
        if key not in options:
            causes.append(f"{table}.{key} is not a setting{nearest(key, (*options, *beside))}")
        else:
            grids[key] = _alternatives(f"{table}.{key}", value, options[key].type, causes)
    found = []
    for combination in itertools.product(*grids.values()):
        try:
            found.append(msgspec.convert(dict(zip(grids, combination, strict=True)), kind))
        except msgspec.ValidationError as error:
            causes.append(f"[{table}]: {error}")
    return found


def _train_table(table: str, values: dict[str, Any], causes: list[str]) -> list[dict[str, Any]]:
    if "seed" in values:
        causes.append("train.seed: use the top-level key seeds, which also seeds calibration and encodings")
        del values["seed"]
    found = _struct_table(table, values, causes, TrainOptions, hidden=("seed",))
    plain = [msgspec.to_builtins(options) for options in found]
    return [{name: value for name, value in options.items() if name != "seed"} for options in plain]


def _tune_table(values: Any, causes: list[str]) -> TuneSettings:
    """Return ``[tune]``, whose lists are no grids."""
    if not isinstance(values, dict):
        causes.append(f"tune: {values!r}, expected a table [tune]")
        return TuneSettings()
    known = TuneSettings.__struct_fields__
    unknown = [key for key in values if key not in known]
    causes += [f"tune.{key} is not a setting{nearest(key, known)}" for key in unknown]
    objectives = values.get("objectives", [])
    for name in objectives if isinstance(objectives, list) else []:
        if name not in get_args(Objective):
            causes.append(f"tune.objectives: {name!r} is not known{nearest(str(name), get_args(Objective))}")
            return TuneSettings()
    try:
        tune = msgspec.convert({key: value for key, value in values.items() if key in known}, TuneSettings)
    except msgspec.ValidationError as error:
        causes.append(f"[tune]: {error}")
        return TuneSettings()
    if not tune.objectives:
        causes.append("tune.objectives: names nothing to make small")
    causes += [f"tune.range.{name}: {low:g} is not below {high:g}" for name, (low, high) in tune.range.items() if not low < high]
    return tune


def faults_table(values: Any, causes: list[str]) -> FaultSettings | None:
    """Return ``[faults]``, whose lists are no grids."""
    known = FaultSettings.__struct_fields__
    if not isinstance(values, dict):
        causes.append(f"faults: {values!r}, expected a table [faults]")
        return None
    causes += [f"faults.{key} is not a setting{nearest(key, known)}" for key in values if key not in known]
    kinds = values.get("kinds", [])
    unknown = [k for k in kinds if k not in get_args(FaultKind)] if isinstance(kinds, list) else []
    causes += [f"faults.kinds: {k!r} is not known{nearest(str(k), get_args(FaultKind))}" for k in unknown]
    try:
        given = {key: value for key, value in values.items() if key in known and not (key == "kinds" and unknown)}
        found = msgspec.convert(given, FaultSettings)
    except msgspec.ValidationError as error:
        causes.append(f"[faults]: {error}")
        return None
    if not found.kinds or not found.rates:
        causes.append("[faults]: names no kind or no rate, so that there is nothing to run")
    high = [r for r in found.rates if r > 1]
    shares = [k for k in found.kinds if not k.endswith("mismatch")]
    if high and shares:
        causes.append(f"faults.rates: {high[0]:g} is above 1, the rate of {shares[0]!r} is a share")
    return found


def _option_grid(table: str, name: str, given: Mapping[str, Any], causes: list[str], kind: Any, own: Any) -> list[dict[str, Any]]:
    """Return the grid of the settings of one data set or method as plain values; ``own``: the struct of the table."""
    beside = [key for key in own.__struct_fields__ if key not in FILLED]
    if kind is None:
        causes += [f"{table}.{key} is not a setting, and {name!r} has none of its own{nearest(key, beside)}" for key in given]
        return [{}]
    return [msgspec.to_builtins(options) for options in _struct_table(table, dict(given), causes, kind, beside=beside)]


def _data_table(table: str, values: dict[str, Any], causes: list[str]) -> list[DataSettings]:
    """Return the grid of ``[data]``: settings of a data set stand flat, or in a table of its name."""
    flat, per_item = _split(values, DataSettings)
    names = _alternatives("data.name", values.pop("name", "digits"), str, causes)
    base = _struct_table(table, values, causes, DataSettings, hidden=FILLED)
    causes += [f"[data.{key}]: no such data set here{nearest(key, names)}" for key in per_item if key not in names]
    found = []
    for name in names:
        if name not in DATASETS and not name.endswith(FILES):
            causes.append(f"data.name: {name!r} is not known{nearest(name, DATASETS)}, and no .npz or .csv file")
            continue
        given = {**flat, **per_item.get(name, {})}
        for options in _option_grid(table, name, given, causes, options_type(name), DataSettings):
            found += [msgspec.structs.replace(b, name=name, options=options) for b in base]
    return found


def _convert_table(table: str, values: dict[str, Any], causes: list[str]) -> list[ConvertSettings]:
    """Return the grid of ``[convert]``: settings of a method stand flat, or in a table of its name; of a chain in
    the latter."""
    flat, per_item = _split(values, ConvertSettings)
    chains = _chains(values.pop("method", "ltb"), causes)
    base = _struct_table(table, values, causes, ConvertSettings, hidden=FILLED)
    used = {step for name, _ in chains for step in name.split("+")}
    causes += [f"[convert.{key}]: no such method here{nearest(key, used)}" for key in per_item if key not in used]
    causes += [f"convert.method: {s!r} is not known{nearest(s, METHODS)}" for s in sorted(used - {"auto"}) if s not in METHODS]
    if "auto" in used:
        causes.append(
            "convert.method: 'auto' stands alone, in 'spikeport convert --method auto' and in Python; "
            "name the methods that an experiment compares"
        )
    found = []
    for name, own in chains:
        steps = [step for step in name.split("+") if step in METHODS]
        if len(steps) > 1 and flat:
            causes.append(f"convert.{next(iter(flat))}: of which step of {name!r}? write it in [convert.{steps[0]}]")
            continue
        given = {step: {**flat, **per_item.get(step, {}), **own.get(step, {})} for step in steps}
        grids = [_option_grid(table, s, given[s], causes, METHODS[s].options, ConvertSettings) for s in steps]
        for combination in itertools.product(*grids):
            options = dict(zip(steps, combination, strict=True)) if len(steps) > 1 else combination[0] if steps else {}
            found += [msgspec.structs.replace(b, method=name, options=options) for b in base]
    return found


def _chains(method: Any, causes: list[str]) -> list[tuple[str, dict[str, dict[str, Any]]]]:
    """Return every alternative of ``convert.method`` as ("ltb+calibration", {step: its own settings}).

    A step is a name or a table, ``{name = "calibration", rounds = 3}``; a chain is a list of steps in the list of alternatives.
    """
    found = []
    for member in method if isinstance(method, list) and method else [method]:
        names, own = [], {}
        for step in member if isinstance(member, list) and member else [member]:
            if isinstance(step, dict) and isinstance(step.get("name"), str):
                names.append(step["name"])
                own[step["name"]] = {key: value for key, value in step.items() if key != "name"}
            elif isinstance(step, str):
                names.append(step)
            else:
                causes.append(f"convert.method: {step!r}: expected a name, or a table with the key 'name'")
        if names:
            found.append(("+".join(names), own))
    # The same chain with the same settings twice is one.
    return list({repr(chain): chain for chain in found}.values())


def _split(values: dict[str, Any], kind: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Take the settings that are not those of ``kind`` out of ``values``: (flat ones, tables by name)."""
    others = {key: values.pop(key) for key in list(values) if key not in kind.__struct_fields__ or key in FILLED}
    tables = {key: value for key, value in others.items() if isinstance(value, dict)}
    return {key: value for key, value in others.items() if key not in tables}, tables


def _deploy_table(table: str, values: dict[str, Any], causes: list[str]) -> list[DeploySettings]:
    chips = values.pop("chip", "loihi1")
    values.setdefault("reset", ["construction", "native"])
    options = _struct_table(table, values, causes, DeployOptions)
    names = [] if chips in ([], "") else _alternatives("deploy.chip", chips, str, causes)
    return [DeploySettings(chip=c, options=msgspec.to_builtins(o)) for c, o in itertools.product(names, options)]


def _alternatives(where: str, value: Any, kind: Any, causes: list[str]) -> list[Any]:
    """Return [value], or the members of a list where the list itself is no value of this type."""
    try:
        return [msgspec.convert(value, kind)]
    except msgspec.ValidationError as error:
        if not isinstance(value, list) or not value:
            causes.append(f"{where}: {value!r}: {_clean(error, kind, value)}")
            return []
    found = []
    for member in value:
        try:
            found.append(msgspec.convert(member, kind))
        except msgspec.ValidationError as error:
            causes.append(f"{where}: {member!r}: {_clean(error, kind, member)}")
    return list({repr(member): member for member in found}.values())


def _clean(error: msgspec.ValidationError, kind: Any, value: Any) -> str:
    choices = getattr(kind, "__args__", ())
    if "enum" in str(error) and choices and all(isinstance(c, str) for c in choices):
        return f"not one of its values{nearest(str(value), choices)}"
    return str(error)


def _model_table(table: str, values: dict[str, Any], causes: list[str]) -> list[ModelSettings]:
    return _struct_table(table, values, causes, ModelSettings, hidden=FILLED)


def _run_table(table: str, values: dict[str, Any], causes: list[str]) -> list[RunSettings]:
    return _struct_table(table, values, causes, RunSettings)


def _unknown_names(raw: Mapping[str, Any]) -> list[str]:
    """Return the names that nothing has, of a config that is refused already; of one that is not, ``plan`` tells them beside missing files."""

    def given(table: str, key: str) -> list[str]:
        values = raw.get(table, {})
        value = values.get(key, []) if isinstance(values, dict) else []
        return [v for v in (value if isinstance(value, list) else [value]) if isinstance(v, str) and v]

    causes = [unknown_name(what, value) for what in RUN_NAMES for value in given("run", what) if value not in RUN_NAMES[what]]
    return causes + [unknown_chip(name) for name in given("deploy", "chip") if not is_chip(name)]


def unknown_name(what: str, value: str) -> str:
    """Return what to say of a setting of ``[run]`` that names nothing."""
    return f"run.{what}: {value!r} is not known{nearest(value, RUN_NAMES[what])}"


def is_chip(name: str) -> bool:
    """Whether a name is that of a chip that ships, or may be that of a chip file."""
    return name in list_chips() or name.endswith(".toml")


def unknown_chip(name: str) -> str:
    """Return what to say of a chip that is neither."""
    return f"deploy.chip: {name!r} is not known{nearest(name, list_chips())}, and no .toml file"


TABLES: dict[str, Callable[[str, dict[str, Any], list[str]], list[Any]]] = {
    "data": _data_table,
    "model": _model_table,
    "train": _train_table,
    "convert": _convert_table,
    "run": _run_table,
    "deploy": _deploy_table,
}


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _override(raw: dict[str, Any], item: str) -> list[str]:
    """Apply ``"table.key=value"`` to the raw config; return what is wrong with it."""
    name, equals, text = item.partition("=")
    parts = name.strip().split(".")
    if not equals or not all(parts):
        return [f"--set {item!r}: expected NAME=VALUE, for instance --set run.n_steps=4"]
    try:
        value = tomllib.loads(f"x = {text}")["x"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    table = raw
    for part in parts[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            return [f"--set {item!r}: {part!r} is not a table"]
    table[parts[-1]] = value
    return []


def to_toml(raw: Mapping[str, Any]) -> str:
    """Return plain values (texts, numbers, lists, tables) as TOML."""
    return "\n".join(_toml_lines(raw, "")).strip() + "\n"


def _toml_lines(table: Mapping[str, Any], prefix: str) -> Iterator[str]:
    inner = {key: value for key, value in table.items() if isinstance(value, dict)}
    for key, value in table.items():
        if key not in inner:
            yield f"{_toml_key(key)} = {_toml_value(value)}"
    for key, value in inner.items():
        name = f"{prefix}{_toml_key(key)}"
        yield f"\n[{name}]"
        yield from _toml_lines(value, f"{name}.")


def _toml_key(key: str) -> str:
    bare = key and all(c.isascii() and (c.isalnum() or c in "-_") for c in key)
    return key if bare else _toml_value(key)


def _toml_value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml_value, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml_key(key)} = {_toml_value(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, float) and not isinstance(value, bool):
        return repr(value)  # JSON has no inf and nan, TOML has
    return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")
