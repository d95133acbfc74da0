"""Speech synthesis: digit, speaker and time in, one log-mel frame out; sound by Griffin-Lim; judged by ear and by the recogniser."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from scipy.io import wavfile

from converters.mlp import MLP
from converters.train import TrainOptions, train
from experiments.datasets import Dataset, load_dataset
from experiments.datasets.audio import log_mel
from experiments.datasets.fetch import members
from experiments.datasets.spoken_digits import SpokenDigitsOptions
from neuro.network import SpikingNetwork

from . import measures
from .base import Clip, Context, Extra, Fold, Metric, Respond, Task, card_lines
from .sound import griffin_lim
from .speech import recogniser
from .words import percent

Array = np.ndarray
FRAMES, BANDS, KNOTS, RATE, SECONDS = 24, 32, 12, 8000, 0.45
RANGE = 60.0  # dB between 0 and 1 of a feature
PLAYED = "george"
DISTANCE = Metric("mel distance", measures.mean, "dB", "lower")


def build(context: Context) -> tuple[Task, ...]:
    """Return the synthesis of ten digits in six voices. Baselines: the speaker's average word, the average recording, another recording."""
    options = SpokenDigitsOptions(form="sequence", n_frames=FRAMES, n_bands=BANDS)
    data = load_dataset("spoken_digits", context.data_dir, options=options, progress=context.progress)
    assert data.groups_train is not None and data.groups_test is not None
    speakers = sorted(set(data.groups_train.tolist()))
    pairs = [(digit, speaker) for speaker in range(len(speakers)) for digit in range(10)]
    voice = np.array([speakers.index(s) for s in data.groups_train])
    mean = np.stack([data.x_train[(data.y_train == d) & (voice == s)].mean(axis=0) for d, s in pairs])
    inputs = encode(pairs, len(speakers))

    def fit() -> MLP:
        target = np.concatenate(list(mean)).astype(np.float32)
        options = TrainOptions(
            epochs=250, patience=0, validation=0.0, batch_size=32, learning_rate=2e-3, learning_rate_decay=0.985, weight_decay=1e-4
        )
        return train((inputs.shape[1], 96, 64, BANDS), inputs, target, options, progress=context.progress)

    mlp = context.network("synthesis", fit)
    of = np.array([pairs.index((int(d), speakers.index(s))) for d, s in zip(data.y_test, data.groups_test, strict=True)])

    def spectra(respond: Respond) -> Array:
        return respond(inputs).reshape(len(pairs), FRAMES, BANDS)

    def play(respond: Respond) -> Array:
        return distance(np.clip(spectra(respond), 0, 1)[of], data.x_test)

    def extras(ann: Respond, snn: Respond, network: SpikingNetwork, n_steps: int) -> tuple[Extra, ...]:
        return _listen(context, data, pairs, speakers, {"ANN": spectra(ann), f"spiking, T = {n_steps}": spectra(snn)}, mean)

    average = np.stack([mean[[k for k, p in enumerate(pairs) if p[1] == s]].mean(axis=0) for _, s in pairs])
    other = np.stack([data.x_train[np.flatnonzero((data.y_train == d) & (voice == s))[0]] for d, s in pairs])
    return (
        Task(
            name="synthesis",
            title="Speech synthesis, spoken digits",
            kind="feed-forward " + "-".join(map(str, mlp.sizes)) + f", {FRAMES} frames a word",
            unit="test recordings",
            folds=(Fold(mlp, inputs, play, inputs[::3]),),
            metric=DISTANCE,
            baselines=(
                ("average of the training recordings", distance(mean[of], data.x_test)),
                ("another recording of the same word and speaker", distance(other[of], data.x_test)),
                ("the speaker's average over all words", distance(average[of], data.x_test)),
            ),
            groups={"speaker": data.groups_test, "digit": np.array(data.classes)[data.y_test]},
            card=card_lines(data),
            steps=(4, 8, 16, 32, 64, 128),
            extras=extras,
            notes=(
                "Energy and latency are of one frame. Input: one of 10 digits, one of 6 speakers, time as 12 hat functions; target: the mean of "
                "the training recordings, 24 frames of 32 bands.",
                f"Every word is made {SECONDS:g} s long; the recogniser measures time in shares of the recording and does not mind.",
            ),
        ),
    )


def encode(pairs: list[tuple[int, int]], n_speakers: int) -> Array:
    """Return the inputs of every frame of every pair, (pairs x FRAMES, 10 + speakers + KNOTS)."""
    at = np.linspace(0, KNOTS - 1, FRAMES)
    hats = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(KNOTS)))
    rows = [np.concatenate([np.tile(np.r_[np.eye(10)[d], np.eye(n_speakers)[s]], (FRAMES, 1)), hats], axis=1) for d, s in pairs]
    return np.concatenate(rows).astype(np.float32)


def distance(made: Array, real: Array) -> Array:
    """Return the root mean square difference of log-mel features of every recording [dB], (n, 1)."""
    return np.asarray(RANGE * np.sqrt(((made - real) ** 2).mean(axis=(1, 2))))[:, None]


def _listen(
    context: Context, data: Dataset, pairs: list[tuple[int, int]], speakers: list[str], spectra: dict[str, Array], mean: Array
) -> tuple[Extra, ...]:
    """Make sound of every spectrum, let the recogniser of the speech workload listen, and keep one voice to play."""
    known = load_dataset("spoken_digits", context.data_dir, options=SpokenDigitsOptions(), progress=context.progress)
    listener = recogniser(context, known)
    rows, clips = [], []
    digits = np.array([d for d, _ in pairs])
    real = _recordings(data)
    rows.append(("real test recordings", percent(float((listener.predict(known.x_test) == known.y_test).mean())), len(known.y_test), "-"))
    sounds: dict[str, list[Array]] = {}
    for name, frames in {"average of the training recordings": mean, **spectra}.items():
        sounds[name] = [griffin_lim(f, RATE, SECONDS) for f in frames]
        heard = np.stack([log_mel(s, RATE).ravel() for s in sounds[name]])
        again = np.stack([log_mel(s, RATE, n_bands=BANDS, n_frames=FRAMES) for s in sounds[name]])
        lost = RANGE * np.sqrt(((again - np.clip(frames, 0, 1)) ** 2).mean(axis=(1, 2))).mean()
        rows.append((name, percent(float((listener.predict(heard) == digits).mean())), len(digits), f"{lost:.1f}"))
    for digit in range(10):
        k = pairs.index((digit, speakers.index(PLAYED)))
        clips.append(Clip(f"{digit}, real", real[f"{digit}_{PLAYED}_0.wav"], RATE))
        clips += [Clip(f"{digit}, {name}", sounds[name][k], RATE) for name in spectra]
    columns = ("Sound", "recognised right", "sounds", "lost in making sound [dB]")
    text = (
        "The recogniser of the official split listens to the sound that Griffin-Lim makes of the spectra; what it loses already with the "
        "average of real recordings is Griffin-Lim's, not the network's."
    )
    return (
        Extra("The recogniser listens", text, columns, tuple(rows)),
        Extra("Listen", f"Speaker {PLAYED}; real recording, ANN, spiking network.", clips=tuple(clips)),
    )


def _recordings(data: Dataset) -> dict[str, Array]:
    (path,) = data.info["files"].values()
    found = {name.rsplit("/", 1)[-1]: body for name, body in members(_unpacked(Path(path)), ".wav").items() if f"_{PLAYED}_0.wav" in name}
    return {name: np.asarray(wavfile.read(io.BytesIO(body))[1], np.float64) for name, body in found.items()}


def _unpacked(path: Path) -> bytes:
    import gzip

    raw = path.read_bytes()
    return gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
