"""Progress leaves long work as a callback; only the command line draws it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Progress:
    """One report of a long piece of work: ``done`` of ``total`` units of ``stage``."""

    stage: str
    done: int
    total: int
    info: Mapping[str, float] = field(default_factory=dict)


ProgressCallback = Callable[[Progress], None]
