"""What a user may say about a model that its file does not say itself, and the bounds of reading."""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from neuro.errors import SpecError, problems

MEGABYTE = 1 << 20


class LoadOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings of :func:`converters.load`.

    Parameters
    ----------
    input_shape : shape of one sample as the source model takes it, without the batch; needed for torch modules
        that do not begin with a linear layer, and wherever a file leaves it open.
    layout : how the user's images lie in memory: ``"NCHW"`` or ``"NHWC"``; empty for "as the model takes them".
        The layout the model takes is known from its format (torch and ONNX: NCHW, Keras: NHWC).
    mean, scale : input pre-processing, (x - mean) / scale, one number, one per channel or one per input value;
        folded into the first layer, so that the loaded network takes raw inputs.
    orientation : of the matrices of a plain ``.npz`` file: ``"in_out"`` (n_in, n_out), ``"out_in"``, or ``"auto"``.
    activation : what follows every layer but the last of a file that names no activations (a torch state_dict).
    classes : names of the outputs.
    task : ``"classification"`` or ``"regression"``; None for what the source says, classification if it says nothing.
    nir_dt : length of one step of a NIR graph, in the unit of its time constants (snnTorch and SpikingJelly: 1e-4, Norse:
        1e-6, since it writes tau times 1e-3; sinabs: 1); None where the graph has no time constants, or says it itself.
    nir_leak : how NIR's differential equations become steps: ``"euler"`` (snnTorch, SpikingJelly, Norse) or ``"exact"`` (sinabs).
    nir_reset : ``"file"`` (NIR's own: v is set to v_reset in the step of the spike), or what simulators do and their files lose:
        ``"subtract"`` (v_threshold is taken off in the step of the spike: sinabs), ``"subtract_next"`` (taken off in the next
        step, after the decay: snnTorch's default), ``"zero_next"`` (the next step is spent at v_reset and takes nothing in: ``"zero"``
        of snnTorch's recurrent layers with their default ``reset_delay``).
    nir_input : lowest and highest input, which NIR does not state; deploying and spike coding scale by it.
    verify : compare the loaded network with its source on samples, where the source can be run.
    check : path of an ``.npz`` file with inputs ``check_x`` and the outputs ``check_y`` (before any softmax) that the
        source gave for them; the loaded network must give the same, whatever can be run here.
    max_bytes : most bytes that a file may unpack to.
    max_synapses : most stored weights of all convolutions, unrolled.
    """

    input_shape: tuple[int, ...] = ()
    layout: Literal["", "NCHW", "NHWC"] = ""
    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    orientation: Literal["auto", "in_out", "out_in"] = "auto"
    activation: Literal["", "relu"] = ""
    classes: tuple[str, ...] = ()
    task: Literal["classification", "regression"] | None = None
    nir_dt: float | None = None
    nir_leak: Literal["euler", "exact"] = "euler"
    nir_reset: Literal["file", "subtract", "subtract_next", "zero_next"] = "file"
    nir_input: tuple[float, float] = (0.0, 1.0)
    verify: bool = True
    check: str = ""
    max_bytes: int = 4096 * MEGABYTE
    max_synapses: int = 20_000_000

    def __post_init__(self) -> None:
        causes = []
        if any(n < 1 for n in self.input_shape):
            causes.append(f"input_shape {self.input_shape}: every axis must be 1 or more")
        if any(not 0 < s < math.inf for s in self.scale):
            causes.append("scale: every value must be positive and finite")
        if any(not math.isfinite(m) for m in self.mean):
            causes.append("mean: every value must be finite")
        if self.nir_dt is not None and not 0 < self.nir_dt < math.inf:
            causes.append(f"nir_dt {self.nir_dt}: expected a positive number")
        if not -math.inf < self.nir_input[0] < self.nir_input[1] < math.inf:
            causes.append(f"nir_input {self.nir_input}: expected the lowest and the highest input")
        if self.max_bytes < 1 or self.max_synapses < 1:
            causes.append("max_bytes and max_synapses must be 1 or more")
        if causes:
            raise SpecError(problems("the options of load cannot be used:", causes))


__all__ = ["MEGABYTE", "LoadOptions"]
