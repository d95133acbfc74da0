"""The data card: what a reader should know of a data set before believing a result on it."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

import numpy as np

from .base import Array, Dataset

EXAMPLES_PER_CLASS = 2


def data_card(data: Dataset) -> dict[str, Any]:
    """Return facts of a data set as plain values that fit JSON.

    Returns
    -------
    ``name``, ``task``, ``licence``, ``source``, ``split``, ``seed``, ``files``, ``checksum``, ``verified``, ``scaling``;
    ``shape`` (of a sample), ``n_train``, ``n_test``;
    ``classes``: [{name, train, test, share_train, share_test}], empty for regression;
    ``majority_share``: share of the test answered right by always saying the most frequent training class (None for
    regression);
    ``targets``: [{train_min, train_max, train_mean, train_std, test_min, test_max}] a value to predict, else empty;
    ``inputs``: {stated_range, train_range, test_range, mean, share_zero, constant, outside}: the range the data set
    states and the ones found, the share of zeros, inputs that never change in training, and test samples with values
    outside the training range;
    ``duplicates``: {train, test, across, conflicting}: samples beyond the first of each kind within a part, test samples
    that also stand in training, and of those the ones with another answer there;
    ``groups``: {name, train, test, shared}: numbers of samples a group and groups in both parts, or None;
    ``examples``: indexes of test samples to show, two a class, or spread over the values to predict.
    """
    info = data.info
    return {
        "name": data.name,
        "task": data.task,
        "licence": data.licence,
        "source": data.source,
        "split": data.split,
        "seed": data.seed,
        "files": dict(info.get("files", {})),
        "checksum": str(info.get("checksum", info.get("sha256", ""))),
        "verified": bool(info.get("verified", False)),
        "scaling": str(info.get("scaling", "")),
        "shape": [int(n) for n in data.input_shape or data.x_train.shape[1:]],
        "n_train": len(data.x_train),
        "n_test": len(data.x_test),
        "classes": _classes(data),
        "majority_share": _majority_share(data),
        "targets": _targets(data),
        "inputs": _inputs(data),
        "duplicates": _duplicates(data),
        "groups": _groups(data),
        "examples": _examples(data),
    }


def _classes(data: Dataset) -> list[dict[str, Any]]:
    if data.task != "classification":
        return []
    train, test = (np.bincount(y, minlength=data.n_out) for y in (data.y_train, data.y_test))
    return [
        {
            "name": name,
            "train": int(train[i]),
            "test": int(test[i]),
            "share_train": float(train[i] / train.sum()),
            "share_test": float(test[i] / test.sum()),
        }
        for i, name in enumerate(data.classes)
    ]


def _majority_share(data: Dataset) -> float | None:
    if data.task != "classification":
        return None
    return float(np.mean(data.y_test == np.bincount(data.y_train).argmax()))


def _targets(data: Dataset) -> list[dict[str, float]]:
    if data.task != "regression":
        return []
    return [
        {
            "train_min": float(train.min()),
            "train_max": float(train.max()),
            "train_mean": float(train.mean(dtype=np.float64)),
            "train_std": float(train.std(dtype=np.float64)),
            "test_min": float(test.min()),
            "test_max": float(test.max()),
        }
        for train, test in zip(data.y_train.T, data.y_test.T, strict=True)
    ]


def _inputs(data: Dataset) -> dict[str, Any]:
    train, test = data.x_train, data.x_test
    low, high = float(train.min()), float(train.max())
    each = train.reshape(-1, data.n_in)
    outside = ((test < low) | (test > high)).reshape(len(test), -1).any(axis=1)
    return {
        "stated_range": [float(value) for value in data.input_range],
        "train_range": [low, high],
        "test_range": [float(test.min()), float(test.max())],
        "mean": float(train.mean(dtype=np.float64)),
        "share_zero": 1 - np.count_nonzero(train) / train.size,
        "constant": int(np.count_nonzero(each.min(axis=0) == each.max(axis=0))),
        "outside": int(np.count_nonzero(outside)),
    }


def _keys(x: Array) -> list[bytes]:
    # Adding 0.0 turns -0.0 into 0.0, which compares equal but has other bytes.
    return [hashlib.blake2b((row + 0.0).tobytes(), digest_size=16).digest() for row in x]


def _duplicates(data: Dataset) -> dict[str, int]:
    train, test = _keys(data.x_train), _keys(data.x_test)
    answers: dict[bytes, set[bytes]] = {}
    for key, answer in zip(train, data.y_train, strict=True):
        answers.setdefault(key, set()).add(answer.tobytes())
    across = [(key, answer.tobytes()) for key, answer in zip(test, data.y_test, strict=True) if key in answers]
    return {
        "train": len(train) - len(answers),
        "test": len(test) - len(set(test)),
        "across": len(across),
        "conflicting": sum(answer not in answers[key] for key, answer in across),
    }


def _groups(data: Dataset) -> dict[str, Any] | None:
    if data.groups_train is None or data.groups_test is None:
        return None
    train, test = (Counter(str(name) for name in groups) for groups in (data.groups_train, data.groups_test))
    return {
        "name": str(data.info.get("groups", "group")),
        "train": dict(sorted(train.items())),
        "test": dict(sorted(test.items())),
        "shared": sorted(set(train) & set(test)),
    }


def _examples(data: Dataset) -> list[int]:
    if data.task == "classification":
        chosen = [np.flatnonzero(data.y_test == label)[:EXAMPLES_PER_CLASS] for label in range(data.n_out)]
        return [int(i) for part in chosen for i in part]
    order = np.argsort(data.y_test[:, 0], kind="stable")
    ranks = np.linspace(0, len(order) - 1, min(8, len(order))).round().astype(int)
    return [int(i) for i in order[ranks]]
