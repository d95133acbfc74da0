"""Who takes part."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

from ours import Run, engine, plain_brian2
from peers import dense, norse, sinabs, snntorch, spikingjelly
from work import Work


@dataclass(frozen=True)
class Party:
    """``single``: one image at a time, measured on a few; ``slow``: measured on one batch; ``ours``: of this project."""

    title: str
    package: str
    build: Callable[[Work, int], Run]
    single: bool = False
    slow: bool = False
    ours: bool = False


PARTIES = {
    "batched": Party("batched", "neuro", engine(), ours=True),
    "batched-loihi1": Party("batched, deployed on loihi1", "neuro", engine(chip=True), ours=True),
    "batched-target-cython": Party("batched, target cython", "Cython", engine(target="cython"), ours=True),
    "batched-numpy": Party("batched, thresholds by Brian2 (numpy)", "neuro", engine(neurons="brian2"), ours=True),
    "batched-cython": Party("batched, thresholds by Brian2 (cython)", "Cython", engine(neurons="brian2", target="cython"), ours=True),
    "synapses": Party("synapses, one replica", "neuro", engine("synapses"), single=True, ours=True),
    "spikingjelly": Party("SpikingJelly", "spikingjelly", spikingjelly),
    "snntorch": Party("snnTorch", "snntorch", snntorch),
    "norse": Party("Norse, own soft-reset cell", "norse", norse),
    "sinabs": Party("sinabs, one spike a step", "sinabs", sinabs),
    "torch-float32": Party("dense PyTorch loop, float32", "torch", dense("float32")),
    "torch-bfloat16": Party("dense PyTorch loop, bfloat16", "torch", dense("bfloat16"), slow=True),
    "brian2": Party("plain Brian2, one image a run", "brian2", plain_brian2, single=True),
}


def images(name: str, wanted: int, few: int, batch: int) -> int:
    """Return on how many images a party is measured."""
    party = PARTIES[name]
    return min(wanted, few if party.single else batch if party.slow else wanted)


def installed(name: str) -> bool:
    return importlib.util.find_spec(PARTIES[name].package) is not None
