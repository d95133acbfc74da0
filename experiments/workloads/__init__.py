"""WORKLOADS: what learned software is used for, each moved to a spiking chip; one file a workload.

A workload is a function ``(context) -> tuple[Task, ...]``: data, network, metric and the baseline a sceptic would ask
for. :func:`experiments.workloads.suite.run` does the rest, the same for all.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

from neuro.errors import SpecError, nearest

from .base import Context, Task


@dataclass(frozen=True)
class Entry:
    """One workload: ``module:function`` in this package, its title, one line for lists, and what it needs.

    packages : optional packages that the extra ``workloads`` brings.
    """

    builder: str
    title: str
    summary: str
    packages: tuple[str, ...] = ()


WORKLOADS: dict[str, Entry] = {
    "ocr": Entry("ocr:build", "OCR", "handwritten digits: 8x8 pixels, and MNIST"),
    "spam": Entry("spam:build", "Spam detection", "short messages, wanted or spam, as bags of words"),
    "speech": Entry("speech:build", "Speech recognition", "spoken digits: known speakers, new speakers, frame by frame"),
    "sentiment": Entry("sentiment:build", "Sentiment", "film reviews, sentence by sentence, word by word"),
    "series": Entry("series:build", "Time series", "who will change room; next month's sunspots"),
    "synthesis": Entry("synthesis:build", "Speech synthesis", "digit, speaker and time in, spectrum out, sound by Griffin-Lim"),
    "translation": Entry("translation:build", "Machine translation", "numbers in words, English to German", ("num2words",)),
    "games": Entry("games:build", "Games", "balancing a pole and tic-tac-toe, in closed loop", ("gymnasium",)),
    "index": Entry("index:build", "Databases", "a learned index: from key to position, against a B-tree"),
}


def build(name: str, context: Context) -> tuple[Task, ...]:
    """Return the tasks of a workload, data loaded and networks loaded or trained.

    Raises
    ------
    SpecError : an unknown name (with the nearest), data or an optional package that is absent.
    """
    if name not in WORKLOADS:
        raise SpecError(f"unknown workload {name!r}{nearest(name, WORKLOADS)}")
    entry = WORKLOADS[name]
    lacking = [package for package in entry.packages if importlib.util.find_spec(package) is None]
    if lacking:
        raise SpecError(f"workload {name!r} needs {' and '.join(lacking)}: pip install 'spikeport[workloads]'")
    module, function = entry.builder.split(":")
    builder: Callable[[Context], tuple[Task, ...]] = getattr(importlib.import_module(f".{module}", __name__), function)
    return builder(context)


__all__ = ["WORKLOADS", "Context", "Entry", "Task", "build"]
