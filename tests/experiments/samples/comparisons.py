"""Comparisons made from synthetic arrays, for the tests of charts and pages: pictures of seven-segment digits, answers that
settle with time, activations and rates that nearly agree. Every statistic is computed from the arrays by the real functions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from experiments import metrics, statistics
from experiments.comparison import (
    ChipFacts,
    ChipUse,
    Comparison,
    Contest,
    Conventional,
    Core,
    DataCard,
    Decomposition,
    Disagreements,
    EnergyTable,
    FaultPoint,
    FaultSweep,
    Figure,
    LatencyTable,
    LayerCounts,
    LayerRates,
    LayerThresholds,
    Meeting,
    NetworkFacts,
    NotRun,
    Omission,
    PairTest,
    Range,
    Resource,
    RoundedStep,
    Rounding,
    Row,
    SeedSummary,
    Trace,
)
from experiments.scorecard import scorecard

Array = np.ndarray
N, K, HIDDEN = 450, 10, (128, 64)
DIGITS = tuple("0123456789")
SEGMENTS = ("abcdef", "bc", "abged", "abgcd", "fgbc", "afgcd", "afgedc", "abc", "abcdefg", "abcdfg")
STROKES: dict[str, tuple[slice, slice]] = {
    "a": (slice(0, 1), slice(2, 6)),
    "b": (slice(0, 4), slice(6, 7)),
    "c": (slice(4, 8), slice(6, 7)),
    "d": (slice(7, 8), slice(2, 6)),
    "e": (slice(4, 8), slice(1, 2)),
    "f": (slice(0, 4), slice(1, 2)),
    "g": (slice(3, 4), slice(2, 6)),
}
SOURCE = "Davies et al. 2018, IEEE Micro 38(1):82-99, doi:10.1109/MM.2018.112130359, Table 2"
FIGURES = (
    Figure("synop_energy", 23.6e-12, "J", "quoted", SOURCE, note="published as a minimum", used_by=("synaptic operations",)),
    Figure("neuron_update_active_energy", 81e-12, "J", "quoted", SOURCE, used_by=("neuron updates",)),
    Figure("neuron_update_inactive_energy", 52e-12, "J", "quoted", SOURCE, used_by=("neuron updates",)),
    Figure("spike_within_tile_energy", 1.7e-12, "J", "quoted", SOURCE, used_by=("spike routing",)),
    Figure(
        "static_power_core",
        0.816e-3,
        "W",
        "derived",
        "Frady et al. 2020 NICE, doi:10.1145/3381755.3398695",
        note="upper bound",
        used_by=("static",),
    ),
    Figure("synop_time", 3.5e-9, "s", "quoted", SOURCE, note="published as a maximum", used_by=("time",)),
    Figure("barrier_sync_1_tile", 113e-9, "s", "quoted", SOURCE, used_by=("time",)),
)


def pictures(labels: Array, rng: np.random.Generator) -> Array:
    """Return (n, 64) noisy seven-segment digits in [0, 1]."""
    images = np.zeros((len(labels), 8, 8))
    for image, label in zip(images, labels, strict=True):
        for stroke in SEGMENTS[label]:
            image[STROKES[stroke]] = rng.uniform(0.6, 1.0)
    return np.clip(images + rng.normal(0, 0.12, images.shape), 0, 1).reshape(len(labels), 64)


class World:
    """Answers of one ANN on one synthetic test set."""

    def __init__(self, seed: int = 0, n: int = N) -> None:
        rng = np.random.default_rng(seed)
        self.seed, self.n = seed, n
        self.labels = rng.integers(0, K, n)
        self.inputs = pictures(self.labels, rng)
        margin = rng.gamma(6.0, 1.1, n)
        self.logits = rng.normal(0, 1, (n, K))
        self.logits[np.arange(n), self.labels] += margin
        self.ann = self.logits.argmax(axis=1)

    def at_steps(self, n_steps: int, noise: float, bias: float, rng: np.random.Generator) -> Array:
        """Return (T, n) answers: noise that averages out, and a bias that does not."""
        steady = rng.normal(0, bias, self.logits.shape)
        jitter = np.cumsum(rng.normal(0, noise, (n_steps, *self.logits.shape)), axis=0)
        k = np.arange(1, n_steps + 1)[:, None, None]
        return (self.logits + steady + jitter / k).argmax(axis=2)

    def ann_row(self) -> Row:
        return Row(
            f"ann{self.seed}",
            f"network (ANN), seed {self.seed}" if self.seed else "network (ANN)",
            "ann",
            f"ann{self.seed}",
            {"data.name": "segments"},
            self.seed,
            self.n,
            accuracy=metrics.accuracy(self.labels, self.ann),
            macs=64 * 128 + 128 * 64 + 64 * 10,
            effective_macs=5123.4,
            **self._answers(self.ann),
        )

    def _answers(self, answers: Array) -> dict[str, Any]:
        table, silent = metrics.confusion(self.labels, answers, K)
        return {
            "confusion": table,
            "silent_answers": silent,
            "per_class": metrics.per_class(self.labels, answers, K),
            "predictions": answers,
            "labels": self.labels,
            "calibration_error": 0.0123,
            "ann_predictions": self.ann,
        }

    def row(self, group: Any, label: str, n_steps: int, settings: dict[str, Any], rich: bool = True, size: float = 1.0) -> Row:
        """Return a spiking row; ``rich`` with everything a headline has."""
        key = f"{group}-{label}-{self.seed}"
        rng = np.random.default_rng(abs(hash_of(key)))
        noise, bias = {"ideal": (1.2, 0.1), "chip": (1.3, 0.2), "native": (2.5, 0.9)}[group]
        at = self.at_steps(n_steps, noise, bias, rng)
        answers = at[-1]
        rate = 0.055 * (1 + 0.1 * rng.normal()) * size
        spikes = [rate * h * n_steps for h in HIDDEN]
        synops = spikes[0] * HIDDEN[1] + spikes[1] * K
        updates = float((sum(HIDDEN) + K) * n_steps)
        layers = tuple(
            LayerCounts(f"hidden{i + 1}", h, s, 0.0, h * n_steps, rate, s / n_steps * (1 - 0.7 ** np.arange(1, n_steps + 1)))
            for i, (h, s) in enumerate(zip(HIDDEN, spikes, strict=True))
        ) + (
            LayerCounts("hidden1->hidden2", synaptic_operations=spikes[0] * HIDDEN[1]),
            LayerCounts("hidden2->output", synaptic_operations=spikes[1] * K),
        )
        on_chip = group != "ideal"
        extra: dict[str, Any] = {}
        if on_chip:
            extra |= {"energy": energy(synops, updates, sum(spikes), n_steps), "latency": latency(n_steps)}
        if rich:
            extra |= self._answers(answers) | {"rates": rates(n_steps, rng), "decomposition": decomposition(n_steps, rng)}
            if on_chip:
                extra["chip_use"] = chip_use()
                extra["traces"] = (trace(n_steps, self, rng),)
            else:
                extra["thresholds"] = thresholds(rng)
        return Row(
            key,
            label,
            group,
            f"ann{self.seed}",
            {"data.name": "segments", "convert.method": "ltb", "run.n_steps": n_steps, **settings},
            self.seed,
            self.n,
            n_steps=n_steps,
            total_steps=n_steps + 2,
            accuracy=metrics.accuracy(self.labels, answers),
            disagreement=metrics.disagreement(self.ann, answers),
            loss=statistics.paired_bootstrap(answers == self.labels, self.ann == self.labels, resamples=500),
            tied=0.0022,
            curve=metrics.accuracy_curve(self.labels, self.ann, at, 2),
            spikes=float(sum(spikes)),
            synaptic_operations=synops,
            neuron_updates=updates,
            macs=8192.0,
            layers=layers,
            engine={"engine": "batched", "target": "numpy", "delivery": "numba", "seconds": 0.31},
            **extra,
        )


def hash_of(text: str) -> int:
    """Return the same number in every process."""
    return int.from_bytes(text.encode()[-7:], "little")


def energy(synops: float, updates: float, spikes: float, n_steps: int) -> EnergyTable:
    parts = {
        "synaptic operations": Range(synops * 23.6e-12, synops * 23.6e-12, synops * 35.5e-12),
        "neuron updates": Range(updates * 53e-12, updates * 52e-12, updates * 81e-12),
        "spike routing": Range(spikes * 3.4e-12, spikes * 1.7e-12, spikes * 5.1e-12),
        "static": Range(0.0033 * n_steps * 1e-6, 0.0, 0.0033 * n_steps * 1e-6),
    }
    total = Range(*(sum(getattr(r, end) for r in parts.values()) for end in ("value", "low", "high")))
    return EnergyTable(total, parts, apart={"platform, awake idle": Range(9.6e-7, 9.6e-7, 9.6e-7)}, missing=("barrier synchronisation",))


def latency(n_steps: int) -> LatencyTable:
    steps = n_steps + 2
    step = Range(9.8e-7, 6.1e-7, 1.1e-6)
    whole = Range(*(steps * getattr(step, end) for end in ("value", "low", "high")))
    return LatencyTable(steps, step, whole, Range(1 / (n_steps * step.value), 0.0, 0.0), missing=("transfer of the input currents",))


def rates(n_steps: int, rng: np.random.Generator) -> tuple[LayerRates, ...]:
    found = []
    for i, h in enumerate(HIDDEN):
        a = np.maximum(rng.exponential(0.25, 20_000) - 0.12, 0)
        r = np.clip(np.floor(np.clip(a, 0, 1) * n_steps + 0.5 + rng.normal(0, 0.35 + 0.3 * i, a.shape)), 0, n_steps) / n_steps
        edges, marks = np.linspace(0, 1.2, 41), np.linspace(0, 1, n_steps + 1) - 0.5 / n_steps
        marks = np.append(marks, 1 + 0.5 / n_steps)
        density, _, _ = np.histogram2d(a, r, bins=(edges, marks))
        found.append(
            LayerRates(
                f"hidden{i + 1}",
                256,
                density.astype(np.int64),
                edges,
                marks,
                a[:500],
                r[:500],
                float(np.corrcoef(a, r)[0, 1]),
                float(np.sqrt(np.mean((r - a) ** 2))),
                float(r.mean()),
                2 / h,
                1 / h,
            )
        )
    return tuple(found)


def thresholds(rng: np.random.Generator) -> tuple[LayerThresholds, ...]:
    found = []
    for i, h in enumerate(HIDDEN):
        a = rng.gamma(1.6, 0.8, 30_000)
        counts, edges = np.histogram(a, bins=50)
        theta = rng.normal(5.0, 0.5, h)
        found.append(LayerThresholds(f"hidden{i + 1}", counts, edges, 0.61, theta, float(np.mean(a > 5.0))))
    return tuple(found)


def decomposition(n_steps: int, rng: np.random.Generator) -> tuple[Decomposition, ...]:
    found = []
    for i in range(len(HIDDEN)):
        rms = {"inherited": 0.02 * i, "clipping": 0.006, "quantisation": 0.29 / n_steps, "unevenness": 0.018 * i + 0.001}
        mean = {name: float(rng.normal(0, value / 4 + 1e-9)) for name, value in rms.items()}
        parts = {name: {"mean": mean[name], "rms": rms[name]} for name in rms}
        total = {"mean": sum(mean.values()), "rms": float(np.sqrt(sum(v * v for v in rms.values())))}
        found.append(Decomposition(f"hidden{i + 1}", total=total, **parts))
    return tuple(found)


def chip_use() -> ChipUse:
    cores = tuple(
        Core(
            i,
            i // 4,
            0,
            (("hidden1",), ("hidden1",), ("hidden2",), ("hidden2", "output"), ("output",))[i],
            37 + i,
            0.08 + 0.18 * i,
            50.0 * (5 - i),
            slot=i % 4,
        )
        for i in range(5)
    )
    return ChipUse(
        "loihi1",
        1,
        5,
        128,
        (
            Resource("compartments", 272, 1024, "compartments"),
            Resource("synapse memory", 241_172, 1_048_576, "bit"),
            Resource("input axons", 128, 4096, "axons"),
            Resource("cores", 5, 128, "cores", "chip"),
        ),
        cores,
        8,
        {"hidden1->hidden2": {"scale": 0.0123, "rms_error": 0.0035}, "hidden2->output": {"scale": 0.02, "rms_error": 0.0058}},
        ("Reset by subtraction costs two compartments a neuron.", "First-layer currents are computed on the host and written as biases."),
    )


def trace(n_steps: int, world: World, rng: np.random.Generator) -> Trace:
    spikes, potentials, starts, theta = {}, {}, {}, {}
    for i, h in enumerate(HIDDEN):
        name, start = f"hidden{i + 1}", i
        p = rng.uniform(0, 0.3, h) * (rng.random(h) < 0.4)
        step, neuron = np.nonzero(rng.random((n_steps, h)) < p)
        spikes[name] = np.stack([step, neuron], axis=1)
        starts[name] = start
        theta[name] = np.full(5, 2.0)
        potentials[name] = 2.0 * ((0.5 + np.arange(1, n_steps + 1)[:, None] * rng.uniform(-0.05, 0.4, 5)) % 1.0)
    starts["output"] = 2
    potentials["output"] = np.cumsum(rng.normal(0.2 * (np.arange(K) == world.labels[3]), 0.1, (n_steps, K)), axis=0)
    return Trace(3, int(world.labels[3]), int(world.ann[3]), spikes, potentials, theta, starts)


def conventional(ann: str) -> tuple[Conventional, ...]:
    return tuple(
        Conventional(
            f"{node:.0f} nm, {precision}, {'zeros skipped' if sparse else 'dense'}, weights in SRAM (1 MiB)",
            ann,
            node,
            precision,
            sparse,
            5123.4 if sparse else 17024.0,
            Range(base * scale, 0.8 * base * scale, 1.3 * base * scale),
            {"multiply-accumulate": Range(base * scale, 0.8 * base * scale, 1.3 * base * scale)},
            "SRAM (1 MiB)",
            1,
            ("control and clock", "static power"),
            (Figure("mul_int8", 0.2e-12, "J", "quoted", "Horowitz 2014 ISSCC, doi:10.1109/ISSCC.2014.6757323"),),
        )
        for node, base in ((45.0, 5.1e-9), (7.0, 1.4e-9))
        for precision, factor in (("int8", 1.0), ("fp32", 11.0))
        for sparse, scale in ((True, factor), (False, 3.3 * factor))
    )


def card(world: World) -> DataCard:
    rng = np.random.default_rng(5)
    shown = np.repeat(np.arange(K), 2)
    return DataCard(
        "segments",
        "Seven-segment digits, synthetic",
        1347,
        world.n,
        64,
        "classification",
        DIGITS,
        licence="CC0",
        source="drawn by the tests",
        split="by seed 0",
        checksum="sha256:0f" * 8,
        input_shape=(8, 8),
        duplicates=0,
        class_counts={"train": rng.multinomial(1347, np.full(K, 0.1)), "test": np.bincount(world.labels, minlength=K)},
        examples=pictures(shown, rng),
        example_labels=shown,
    )


def pair(a: Row, b: Row) -> PairTest:
    right_a, right_b = a.predictions == a.labels, b.predictions == b.labels
    only_a, only_b = int(np.sum(right_a & ~right_b)), int(np.sum(right_b & ~right_a))
    p = statistics.mcnemar(only_a, only_b)
    difference = statistics.paired_bootstrap(right_a, right_b, resamples=500)
    return PairTest(a.key, b.key, a.n, only_a, only_b, p, min(1.0, 3 * p), difference, 3 * p < 0.05)


def small() -> Comparison:
    """Return the comparison of a demo: one network, ideal, on a chip, and with the chip's native reset."""
    world = World()
    ann = world.ann_row()
    on = {"deploy.chip": "loihi1", "deploy.reset": "construction"}
    ideal = world.row("ideal", "spiking, ideal, T = 8", 8, {})
    chip = world.row("chip", "on loihi1, T = 8", 8, on)
    native = world.row("native", "on loihi1, T = 8, native reset", 8, on | {"deploy.reset": "native"})
    differ = np.flatnonzero(chip.predictions != world.ann)
    tests = tuple(pair(a, b) for a, b in ((ann, ideal), (ann, chip), (ann, native), (ideal, chip), (chip, native)))
    p = next(t for t in tests if t.b == chip.key).p_holm
    made = Comparison(
        "digits on loihi1",
        "2026-11-24T09:30:00Z",
        f"On loihi1 at T = 8 the spiking network answers {100 * chip.accuracy.value:.1f} % right (95 % interval "
        f"{100 * chip.accuracy.low:.1f} to {100 * chip.accuracy.high:.1f}), its source {100 * ann.accuracy.value:.1f} %; the difference "
        f"is within what {world.n} samples can tell (McNemar, Holm-corrected p = {p:.2g}).",
        chip.key,
        (ann, ideal, chip, native),
        (card(world),),
        (
            NetworkFacts(
                ann.key,
                "64-128-64-10",
                (64, 128, 64, 10),
                (
                    {"name": "hidden1", "kind": "dense", "n_in": 64, "n_out": 128, "parameters": 8320, "activation": "relu"},
                    {"name": "hidden2", "kind": "dense", "n_in": 128, "n_out": 64, "parameters": 8256, "activation": "relu"},
                    {"name": "output", "kind": "dense", "n_in": 64, "n_out": 10, "parameters": 650, "activation": "linear"},
                ),
                17226,
                "ab" * 32,
                {"epochs": 31, "loss": 0.041, "validation_accuracy": 0.981, "seconds": 4.0, "seed": 0},
            ),
        ),
        summaries=tuple(
            SeedSummary(r.label, r.group, r.settings, (r.key,), 1, Range(*[r.accuracy.value] * 3)) for r in (ann, ideal, chip, native)
        ),
        tests=tests,
        pareto=(chip.key,),
        conventional=conventional(ann.key),
        chips=(ChipFacts("loihi1", "Intel Loihi 1", "cd" * 32, FIGURES),),
        disagreements=(
            Disagreements(
                chip.key,
                len(differ),
                differ[:24],
                world.inputs[differ[:24]],
                world.labels[differ[:24]],
                world.ann[differ[:24]],
                chip.predictions[differ[:24]],
            ),
        ),
        omissions=(
            Omission("host computation of the first layer's currents", "8,192 MAC on the host, whose energy is not the chip's", "energy"),
            Omission("reset of state", "no figure is published for one core", "energy, latency"),
        ),
        figures=FIGURES,
        config='[data]\nname = "segments"\n\n[convert]\nmethod = "ltb"\n\n[run]\nn_steps = [8]\n# <script>alert("no")</script>\n',
        versions={"spikeport": "0.1.0", "brian2": "2.9.0", "numpy": "2.3.5", "python": "3.11.7"},
        machine={"processor": "x86_64", "cores": 2, "system": "Linux", "commit": "84829bd"},
        seeds=(0,),
        seconds=4.9,
        peak_memory=3.1e8,
    )
    return replace(made, scorecard=scorecard(made))


def sweep(n_trials: int = 200, seeds: int = 2) -> Comparison:
    """Return a comparison of many trials: methods, T, weight bits and seeds."""
    base = small()
    worlds = [World(seed) for seed in range(seeds)]
    rows: list[Row] = [world.ann_row() for world in worlds]
    per = max(1, n_trials // (3 * seeds))
    grid = [
        (method, t, bits)
        for method in ("ltb", "max_norm", "percentile_norm")
        for t in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48)
        for bits in (8, 6)
    ]
    summaries = []
    for method, t, bits in grid[:per]:
        for group in ("ideal", "chip", "native"):
            label = {"ideal": "ideal", "chip": f"loihi1, {bits} bit", "native": f"loihi1, {bits} bit, native reset"}[group]
            settings: dict[str, Any] = {"convert.method": method}
            if group != "ideal":
                settings |= {
                    "deploy.chip": "loihi1",
                    "deploy.reset": "native" if group == "native" else "construction",
                    "deploy.weight_bits": bits,
                }
            rich = (method, t, bits) == ("ltb", 8, 8)
            made = [
                w.row(group, f"{label}, {method}, T = {t}, seed {w.seed}", t, settings, rich or len(rows) < 9, 8 / bits) for w in worlds
            ]
            rows += made
            mean = statistics.mean_interval([r.accuracy.value for r in made])
            more = {}
            if group != "ideal":
                more["energy"] = statistics.mean_interval([r.energy.total.value for r in made])
                more["latency"] = statistics.mean_interval([r.latency.per_inference.value for r in made])
            summaries.append(
                SeedSummary(
                    f"{label}, {method}, T = {t}",
                    made[0].group,
                    made[0].settings,
                    tuple(r.key for r in made),
                    len(made),
                    mean,
                    statistics.mean_interval([r.loss.value for r in made]),
                    statistics.mean_interval([r.disagreement.value for r in made]),
                    statistics.mean_interval([r.spikes for r in made]),
                    statistics.mean_interval([r.synaptic_operations for r in made]),
                    **more,
                )
            )
    chips = [r for r in rows if r.group == "chip"]
    head = next((r for r in chips if r.settings["run.n_steps"] == 8 and r.settings["convert.method"] == "ltb"), chips[-1])
    costs = np.array([[-r.accuracy.value, r.energy.total.value, r.latency.per_inference.value] for r in chips])
    made = replace(
        base,
        title="digits: methods, steps and weight bits",
        headline=head.key,
        rows=tuple(rows),
        varied=("convert.method", "run.n_steps", "deploy.weight_bits", "deploy.reset"),
        summaries=tuple(summaries),
        tests=(),
        pareto=tuple(r.key for r, on in zip(chips, statistics.pareto(costs), strict=True) if on),
        networks=tuple(replace(base.networks[0], ann=f"ann{s}") for s in range(seeds)),
        conventional=tuple(c for s in range(seeds) for c in conventional(f"ann{s}")),
        disagreements=(),
        not_run=(
            NotRun("loihi1, 4 bit, ltb, T = 8", "failed", "CapacityError: hidden2 needs 1.31 Mbit of synapse memory, a core has 1.05"),
        ),
        seeds=tuple(range(seeds)),
        seconds=512.0,
    )
    return replace(made, scorecard=scorecard(made))


def regression() -> Comparison:
    """Return a comparison of a regression network on an ideal simulator: no classes, no chip, no pictures."""
    ann = Row("ann0", "network (ANN)", "ann", "ann0", {}, 0, 200, r2=0.912, rmse=1.71, macs=640.0, effective_macs=301.0)
    rows = tuple(
        Row(
            f"ideal{t}",
            f"spiking, ideal, T = {t}",
            "ideal",
            "ann0",
            {"run.n_steps": t},
            0,
            200,
            t,
            t + 1,
            r2=0.9 - 0.5 / t,
            rmse=1.8 + 3 / t,
            spikes=11.0 * t,
            synaptic_operations=110.0 * t,
        )
        for t in (8, 32)
    )
    data = DataCard("temperatures", "Daily minimum temperatures", 2900, 200, 20, "regression", ())
    return Comparison(
        "temperatures",
        "2026-11-24T09:30:00Z",
        "At T = 32 the spiking network explains 88.4 % of the variance, its source 91.2 %.",
        "ideal32",
        (ann, *rows),
        (data,),
        (),
    )


def bare() -> Comparison:
    """Return the least a comparison can hold: one ANN."""
    ann = Row("ann0", "network (ANN)", "ann", "ann0", {}, 0, 10, accuracy=Range(0.9, 0.6, 0.98))
    return Comparison("nothing but a network", "2026-11-24T09:30:00Z", "Nothing spiking was run.", "", (ann,), (), ())


def chip_runs() -> Comparison:
    """The small comparison with what needs runs of its own: contests with the ANN of two trainings, faults, quantisation taken apart."""
    base = small()
    main = base[base.headline]
    rows = [replace(r, settings={**r.settings, "train.activity_penalty": 0.0}) for r in base.rows]
    by_key = {r.key: r for r in rows}
    ann, chip = by_key[main.ann], by_key[main.key]
    penalty = {"train.activity_penalty": 0.1}
    dense_macs = ann.macs or 1e4
    rows = [replace(r, effective_macs=0.5 * dense_macs) if r.key == ann.key else r for r in rows]
    rows.append(replace(ann, key="sparse", ann="sparse", effective_macs=0.2 * dense_macs, settings={**ann.settings, **penalty}))
    rows.append(replace(chip, key="on sparse", ann="sparse", label=f"{chip.label}, sparse", settings={**chip.settings, **penalty}))
    share, n = statistics.wilson, 100
    names = ("lost", "spurious", "dead_neurons", "stuck_neurons", "dead_synapses", "stuck_synapses", "threshold_mismatch", "weight_mismatch")
    points = tuple(
        FaultPoint(name, rate, share(round(n * (0.94 - rate)), n), 0.93 - rate, 0.95 - rate) for name in names for rate in (0.01, 0.1)
    )
    steps = (("converted", 99), ("thresholds", 99), ("weights", 97), ("biases", 97), ("potential", 97))
    return replace(
        base,
        rows=tuple(rows),
        varied=(*base.varied, "train.activity_penalty"),
        contests=(_contest(main.key, 3e-7), _contest("on sparse", 1e-7)),
        faults=FaultSweep(main.key, n, 8, 2, 0, share(96, n), points, {"lost": "why it was refused"}),
        rounding=Rounding(
            main.key, n, 8, "the trained network", tuple(RoundedStep(name, "what it adds", share(k, n), share(96, n), 200.0) for name, k in steps)
        ),
    )


def _contest(row: str, energy: float) -> Contest:
    """A chip whose energy follows T, always above an ANN of 200 nJ along the spike rate and below its batches."""
    t = np.array([1.0, 2, 4, 8, 16, 32])
    rates = np.array([0.01, 0.1, 1.0])
    return Contest(
        row=row,
        design="45 nm, int8, zeros skipped, weights in SRAM (1 MiB), batch 1",
        snn=Range(energy, 0.8 * energy, 1.5 * energy),
        ann=Range(2e-7, 2e-7, 2e-7),
        partial=True,
        spike_rate=0.1,
        spikes_per_synapse=0.5,
        n_steps=8,
        meetings=(
            Meeting("spike rate", None, None, None, "never", "the chip costs more at every spike rate"),
            Meeting("steps", 12.0, 10.0, 14.0, "crosses", "below T = 12 the chip costs less"),
            Meeting("batch", None, None, None, "always", "the chip costs less at every batch size"),
        ),
        by_steps=np.stack([t, 2e-7 * t / 12, 1.6e-7 * t / 12, 3e-7 * t / 12], axis=1),
        by_rate=np.stack([rates, 3e-7 + 1e-6 * rates, 2.5e-7 + 1e-6 * rates, 4e-7 + 1e-6 * rates], axis=1),
        by_batch=np.array([[1.0, 2e-7], [32.0, 1.9e-7], [1024.0, 1.8e-7]]),
    )
