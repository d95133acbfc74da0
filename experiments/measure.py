"""What a trial leaves in the store: its row of the comparison, and the facts behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from converters.explain import explain
from converters.mlp import MLP
from converters.verify import observed
from neuro.activity import Activity, activity
from neuro.charges import HOST
from neuro.chip import load_chip
from neuro.conventional import AnnWork, ConventionalOptions, ann_work
from neuro.deploy import Deployment
from neuro.digital import Design, DigitalOptions, design
from neuro.energy import EnergyOptions
from neuro.errors import SpecError
from neuro.network import SpikingNetwork
from neuro.recording import Recording

from . import contest, costs, diagnosis, metrics
from .comparison import (
    Conventional,
    DataCard,
    Disagreements,
    LayerCounts,
    NetworkFacts,
    Omission,
    Range,
    Row,
    pack,
)
from .config import Trial
from .datasets import Dataset
from .datasets.card import data_card as facts_of

Array = np.ndarray
PREDICTIONS_KEPT = 20_000
SHOWN = 24  # samples on which a network and its ANN disagree
ACTIVATION_SAMPLES = 500  # of the test set, for the histograms of activations
DESIGNS = ConventionalOptions(batches=(1,))


@dataclass(frozen=True)
class Measured:
    """JSON-able numbers and arrays of a trial; accuracy for the progress line."""

    result: dict[str, Any]
    arrays: dict[str, Array]
    accuracy: float | None = None


def ann(trial: Trial, key: str, mlp: MLP, outputs: Array, data: Dataset) -> Measured:
    """Return the row of the ANN itself, the data card, the network's facts and its cost on conventional hardware."""
    predictions = np.argmax(outputs, axis=1)
    work = ann_work(mlp, data.x_test)
    row = Row(
        key=key,
        label="network (ANN)",
        group="ann",
        ann=key,
        settings=trial.settings,
        seed=trial.seed,
        n=len(data.x_test),
        macs=work.dense_macs,
        effective_macs=work.effective_macs,
        layers=tuple(LayerCounts(name) for name in work.by_layer()),
        **_answers(data, outputs, predictions, None),
    )
    conventional, omitted = _conventional(work, key)
    parts = {
        "row": row,
        "data": data_card(data),
        "network": network_facts(mlp, key),
        "conventional": conventional,
        "machines": contest.machine_rows(work, key),
        "here": contest.here_now(mlp, data.x_test, key),
        "omissions": omitted,
    }
    return _measured(parts, row)


def spiking(
    trial: Trial,
    ann_key: str,
    mlp: MLP,
    ann_outputs: Array,
    data: Dataset,
    target: SpikingNetwork | Deployment,
    recording: Recording,
    watched: Recording | None,
) -> Measured:
    """Return the row of a spiking run.

    target : what ran, ideal or deployed; watched : a run of the first test samples with rates and spikes recorded.
    """
    deployment = target if isinstance(target, Deployment) else None
    network = target.network if isinstance(target, Deployment) else target
    counts = activity(recording, target, inputs=data.x_test)
    predictions = recording.predictions
    classes = data.task == "classification"
    ann_predictions = np.argmax(ann_outputs, axis=1)
    extra = recording.total_steps - recording.n_steps
    curve = None
    if classes and recording.predictions_at is not None:
        curve = metrics.accuracy_curve(data.y_test, ann_predictions, recording.predictions_at, extra)
    early = bool(np.any(recording.decided_at != recording.n_steps))
    n = counts.n_inferences
    row = Row(
        key=trial.key,
        label="",
        group=trial.group,  # type: ignore[arg-type]
        ann=ann_key,
        settings=trial.settings,
        seed=trial.seed,
        n=len(data.x_test),
        n_steps=recording.n_steps,
        total_steps=recording.total_steps,
        disagreement=metrics.disagreement(ann_predictions, predictions) if classes else None,
        tied=float(np.mean(recording.tied)),
        silent=float(np.mean(predictions < 0)),
        curve=curve,
        spikes=counts.spikes / n,
        synaptic_operations=counts.synaptic_operations / n,
        neuron_updates=sum(counts.updates(p, "single") for p in counts.populations) / n,
        macs=counts.input_macs / n,
        layers=_layers(counts, recording),
        synop_spread=_spread(recording, counts),
        decided_at=recording.decided_at.astype(np.int32) if early else None,
        engine={name: value for name, value in recording.info.items() if name != "network"},
        **_answers(data, recording.outputs, predictions, recording.predictions),
        **({} if deployment is None else costs.of_deployment(counts, deployment)),
        **_diagnosis(network, mlp, data, watched, deployment is None),
    )
    parts: dict[str, Any] = {"row": row}
    if classes:
        parts["disagreements"] = _disagreements(trial.key, data, ann_outputs, ann_predictions, predictions)
    if deployment is not None:
        used = costs.used_figures(counts, deployment)
        parts["chip"] = costs.chip_facts(deployment.chip, used)
        parts["figures"] = [
            *costs.figures(deployment.chip, used),
            *(contest.design_figures(EnergyOptions().host, (HOST,)) if counts.input_macs else ()),
            *costs.figures_beside(),
        ]
        parts["omissions"] = costs.omissions(row)
        parts["contest"] = contest.contest(trial.key, counts, deployment, mlp, data)
        if classes and trial.group == "chip" and not mlp.recurrent:
            rivals, omitted = contest.rival_rows(ann_key, mlp, data, deployment.report.weight_bits, recording.n_steps)
            parts["rivals"] = rivals
            parts["omissions"] += omitted
    return _measured(parts, row)


def data_card(data: Dataset) -> DataCard:
    """Return the facts of a data set: balance, range, duplicates across the split, two examples of each class."""
    counts: dict[str, Array] = {}
    examples: Array = np.arange(min(8, len(data.x_test)))
    if data.task == "classification":
        k = len(data.classes)
        counts = {"train": np.bincount(data.y_train, minlength=k), "test": np.bincount(data.y_test, minlength=k)}
        examples = np.concatenate([np.flatnonzero(data.y_test == c)[:2] for c in range(k)])
    groups = None if data.groups_test is None else np.unique(np.asarray(data.groups_test, dtype=str), return_inverse=True)
    card = facts_of(data)
    info = {name: value for name, value in data.info.items() if isinstance(value, str | int | float | bool)}
    info |= _card_extra(card)
    return DataCard(
        name=data.name,
        title=data.describe(),
        n_train=len(data.x_train),
        n_test=len(data.x_test),
        n_inputs=int(np.prod(data.x_test.shape[1:])),
        task=data.task,
        classes=data.classes,
        licence=data.licence,
        source=data.source,
        split=data.split,
        checksum=str(data.info.get("sha256", data.info.get("checksum", ""))),
        input_shape=data.input_shape,
        input_range=(float(data.input_range[0]), float(data.input_range[1])),
        duplicates=card["duplicates"]["across"],
        class_counts=counts,
        examples=data.x_test[examples].reshape(len(examples), int(np.prod(data.x_test.shape[1:]))),
        example_labels=data.y_test[examples] if data.task == "classification" else None,
        group_name="" if groups is None else str(data.info.get("groups", "group")),
        group_names=() if groups is None else tuple(groups[0].tolist()),
        test_groups=None if groups is None else groups[1].astype(np.int32),
        extra=info,
    )


def _card_extra(card: Mapping[str, Any]) -> dict[str, str | int | float | bool]:
    """Return what a reader should know of a data set beside its sizes, in words or as a number, by name."""
    inputs, again, groups = card["inputs"], card["duplicates"], card["groups"]
    found: dict[str, str | int | float | bool] = {
        "range of training inputs": "{:.4g} to {:.4g}".format(*inputs["train_range"]),
        "range of test inputs": "{:.4g} to {:.4g}".format(*inputs["test_range"]),
        "inputs that are zero": f"{100 * inputs['share_zero']:.1f} %",
        "inputs that never change": inputs["constant"],
        "test samples outside the training range": inputs["outside"],
        "repeated samples within training": again["train"],
        "repeated samples within test": again["test"],
        "test samples found in training with another answer": again["conflicting"],
    }
    if card["majority_share"] is not None:
        found["right by always saying the most frequent class"] = f"{100 * card['majority_share']:.1f} %"
    if groups is not None:
        found[f"{groups['name']} in both parts"] = ", ".join(groups["shared"]) or "none"
    return found


def network_facts(mlp: MLP, key: str) -> NetworkFacts:
    """Return widths, layers and training of a network."""
    layers = tuple(
        {
            "name": layer.name or f"layer{i + 1}",
            "kind": layer.kind,
            "n_in": layer.n_in,
            "n_out": layer.n_out,
            "parameters": layer.n_parameters,
            "activation": layer.activation,
        }
        for i, layer in enumerate(mlp.layers)
    )
    training = dict(mlp.info.get("training", {}))
    history = training.get("history", {})
    best = int(training.get("best_epoch", 0)) - 1
    training |= {name: values[best] for name, values in history.items() if values and best < len(values)}
    if "file" in mlp.info:
        training["file"] = mlp.info["file"]
    return NetworkFacts(
        ann=key,
        label="-".join(map(str, mlp.sizes)),
        sizes=mlp.sizes,
        layers=layers,
        parameters=sum(layer.n_parameters for layer in mlp.layers),
        sha256=mlp.sha256,
        training=training,
    )


def _answers(data: Dataset, outputs: Array, predictions: Array, given: Array | None) -> dict[str, Any]:
    """Return what follows from outputs and answers alone; ``given`` is None for the ANN."""
    if data.task == "regression":
        return {"r2": metrics.r2(data.y_test, outputs), "rmse": metrics.rmse(data.y_test, outputs)}
    k = len(data.classes)
    table, silent = metrics.confusion(data.y_test, predictions, k)
    found: dict[str, Any] = {
        "accuracy": metrics.accuracy(data.y_test, predictions),
        "confusion": table,
        "silent_answers": silent,
        "per_class": metrics.per_class(data.y_test, predictions, k),
    }
    if len(predictions) <= PREDICTIONS_KEPT:
        found["predictions"] = predictions.astype(np.int32)
        found["margins"] = metrics.margins(outputs)
        found["calibration_error"] = metrics.calibration_error(data.y_test, outputs, predictions)
        if given is None:  # labels are those of the ANN's row; compare puts them into the others
            found["labels"] = data.y_test.astype(np.int32)
    return found


def _spread(recording: Recording, counts: Activity) -> tuple[float, float, float, float]:
    each = (
        np.sum(list(recording.synaptic_operations.values()), axis=0) if recording.synaptic_operations else np.zeros(1)
    )
    each = each + (counts.mean(counts.synaptic_operations) - np.mean(each))  # pre-steps, which are counted over all samples
    low, high = np.percentile(each, [5, 95])
    return float(np.mean(each)), float(np.std(each)), float(low), float(high)


def _layers(counts: Activity, recording: Recording) -> tuple[LayerCounts, ...]:
    n = counts.n_inferences
    found = []
    for p in counts.populations:
        for name, operations in p.synaptic_operations.items():
            found.append(LayerCounts(name, synaptic_operations=operations / n))
        steps = counts.steps_window
        by_step = recording.step_counts.get(p.name)
        found.append(
            LayerCounts(
                p.name,
                size=p.size,
                spikes=p.spikes / n,
                synaptic_operations=p.synops / n,
                neuron_updates=counts.updates(p, "single") / n,
                rate=p.spikes / (p.size * steps) if steps else 0.0,
                by_step=None if by_step is None else by_step / n,
            )
        )
    return tuple(found)


def _diagnosis(
    network: SpikingNetwork, mlp: MLP, data: Dataset, watched: Recording | None, ideal: bool
) -> dict[str, Any]:
    if network.recurrent or watched is None:
        return {}
    names = diagnosis.hidden(network)
    layers = mlp.activations(data.x_test[:ACTIVATION_SAMPLES])
    activations = dict(zip(names, layers, strict=False))
    samples = tuple(range(len(next(iter(watched.potentials.values()), ())))) if watched.potentials else ()
    found: dict[str, Any] = {
        "findings": _findings(network, mlp, data, watched, ideal),
        "rates": diagnosis.rates(network, watched, activations),
        "traces": diagnosis.traces(network, watched, samples, data.y_test),
    }
    if ideal:
        found["thresholds"] = diagnosis.thresholds(network, activations)
        constant = all(p.encoder is None for p in network.populations)
        if constant:
            found["decomposition"] = diagnosis.decompositions(network, watched, activations, data.x_test)
    return found


def _findings(network: SpikingNetwork, mlp: MLP, data: Dataset, watched: Recording, ideal: bool) -> tuple[str, ...]:
    """Say what stands out in an ideal conversion with constant current, on the watched samples."""
    if not ideal or any(p.encoder is not None for p in network.populations) or network.output.reset is not None:
        return ()
    x = data.x_test[: len(next(iter(watched.sample_rates.values()), ()))]
    if not len(x):
        return ()
    # With an early exit the rates are of windows cut short; else they are what a run of these samples would give again.
    whole = data.x_test.ndim == 2 and bool(np.all(watched.decided_at == watched.n_steps))
    return explain(network, mlp, x, watched.n_steps, observed(network, watched, x) if whole else None).findings


def _disagreements(key: str, data: Dataset, outputs: Array, ann_answers: Array, answers: Array) -> Disagreements:
    differ = np.flatnonzero(ann_answers != answers)
    order = np.argsort(-metrics.margins(outputs[differ]), kind="stable") if len(differ) else np.zeros(0, np.int64)
    shown = differ[order][:SHOWN]
    return Disagreements(
        row=key,
        total=len(differ),
        samples=shown,
        inputs=data.x_test[shown].reshape(len(shown), int(np.prod(data.x_test.shape[1:]))),
        labels=data.y_test[shown],
        ann=ann_answers[shown],
        snn=answers[shown],
    )


def _conventional(work: AnnWork, key: str) -> tuple[list[Conventional], list[Omission]]:
    found, omitted = [], []
    o = DESIGNS
    for node in o.nodes:
        chip = load_chip(node)
        for memory in o.memories:
            for precision in o.precisions:
                for counting in o.countings:
                    options = DigitalOptions(node=node, precision=precision, counting=counting, weights=memory)
                    try:
                        made = design(work, options, chip)
                    except SpecError as error:
                        omitted.append(
                            Omission(f"the ANN at {node}, {precision}, {memory}", str(error), "conventional")
                        )
                        continue
                    found.append(_conventional_row(made, key))
    return found, omitted


def _conventional_row(made: Design, key: str) -> Conventional:
    o = made.options
    skipped = o.counting == "zero_skipping"
    node = contest.node_of(o)
    return Conventional(
        label=f"{node:g} nm, {o.precision}, {'zeros skipped' if skipped else 'dense'}, weights in {contest.MEMORY[o.weights]}",
        ann=key,
        node_nm=node,
        precision=o.precision,
        sparse=skipped,
        macs=made.macs,
        energy=costs.as_range(made.total),
        by_component={name: costs.as_range(value) for name, value in made.by_component.items()},
        memory=contest.MEMORY[o.weights],
        batch=o.batch,
        missing=made.not_counted,
        figures=contest.design_figures(o),
    )


def _measured(parts: Mapping[str, Any], row: Row) -> Measured:
    arrays: dict[str, Array] = {}
    result = {name: pack(value, arrays) for name, value in parts.items()}
    score = row.accuracy.value if row.accuracy is not None else row.r2
    return Measured(result, arrays, score)


__all__ = ["Measured", "Range", "ann", "data_card", "network_facts", "spiking"]
