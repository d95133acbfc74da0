"""Spoken digits: 3,000 recordings of "zero" to "nine" by six speakers, as log-mel features."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Mapping
from typing import Literal

import msgspec
import numpy as np
from scipy.io import wavfile

from neuro.errors import SpecError, nearest, problems
from neuro.progress import Progress, ProgressCallback

from .audio import log_mel
from .base import Array, DataDir, Dataset
from .fetch import DataFile, members, obtain, read

NAME = re.compile(r"(\d)_([a-z]+)_(\d+)\.wav$")
OFFICIAL_TEST = range(5)


def fingerprint(archive: bytes) -> bytes:
    """Return names and SHA-256 of all recordings, sorted: the same for every archive of the same recordings."""
    recordings = {path.rsplit("/", 1)[-1]: content for path, content in members(archive, ".wav").items()}
    return b"".join(name.encode() + b"\0" + hashlib.sha256(recordings[name]).digest() for name in sorted(recordings))


DIGEST = ("sha256:a2e8a660492f28d9eed6270b290d26cbc5c81d6077ce87d3c0ad5adf4d4ee696",)
PUBLISHED = DataFile(
    "free-spoken-digit-dataset-1.0.10.tar.gz",
    urls=("https://github.com/Jakobovski/free-spoken-digit-dataset/archive/v1.0.10.tar.gz",),
    digests=DIGEST,
    fingerprint=fingerprint,
    other_names=("v1.0.10.tar.gz",),
)
RECORDINGS = DataFile("recordings.tar.gz", digests=DIGEST, fingerprint=fingerprint)


class SpokenDigitsOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings of the spoken digits.

    Parameters
    ----------
    split : ``"official"`` tests on recordings 0 to 4 of every digit and speaker; ``"speaker"`` on all of one speaker,
        who is not heard in training.
    test_speaker : that speaker.
    form : ``"vector"`` for an MLP, (n_frames n_bands,); ``"sequence"`` for a recurrent network, (n_frames, n_bands).
    n_frames, n_bands : times and mel bands of the features.
    """

    split: Literal["official", "speaker"] = "official"
    test_speaker: str = "theo"
    form: Literal["vector", "sequence"] = "vector"
    n_frames: int = 16
    n_bands: int = 20

    def __post_init__(self) -> None:
        causes = []
        if not 1 <= self.n_frames <= 100:
            causes.append(f"n_frames is {self.n_frames}, expected 1 to 100")
        if not 2 <= self.n_bands <= 40:
            causes.append(f"n_bands is {self.n_bands}, expected 2 to 40")
        if causes:
            raise SpecError(problems("settings of the spoken digits:", causes))


def load(
    options: SpokenDigitsOptions | None = None,
    data_dir: DataDir = None,
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> Dataset:
    """Load the spoken digits; features in [0, 1], groups are the speakers (``seed`` plays no part).

    Source: Z. Jackson et al., Free Spoken Digit Dataset, version 1.0.10, doi:10.5281/zenodo.1342401.
    """
    options = options or SpokenDigitsOptions()
    paths = obtain("the Free Spoken Digit Dataset", (PUBLISHED,), "fsdd", data_dir, progress, instead=(RECORDINGS,))
    (name, path), *_ = paths.items()
    content = read(PUBLISHED if name == PUBLISHED.name else RECORDINGS, path)
    recordings = {member.rsplit("/", 1)[-1]: wav for member, wav in members(content.data, ".wav").items()}
    x, labels, speakers, numbers = _features(recordings, options, progress)
    known = sorted(set(speakers.tolist()))
    if options.split == "official":
        test = np.isin(numbers, OFFICIAL_TEST)
        rule = "official: recordings 0 to 4 of every digit and speaker are the test"
    else:
        if options.test_speaker not in known:
            raise SpecError(f"unknown speaker {options.test_speaker!r}{nearest(options.test_speaker, known)}")
        test = speakers == options.test_speaker
        rule = f"by speaker: all recordings of {options.test_speaker} are the test, none of them is in training"
    if options.form == "vector":
        x = x.reshape(len(x), -1)
    return Dataset(
        name="spoken_digits",
        x_train=x[~test],
        y_train=labels[~test],
        x_test=x[test],
        y_test=labels[test],
        classes=tuple("0123456789"),
        input_shape=(options.n_frames, options.n_bands),
        input_range=(0.0, 1.0),
        licence="CC BY-SA 4.0",
        source="Z. Jackson et al., github.com/Jakobovski/free-spoken-digit-dataset, doi:10.5281/zenodo.1342401",
        split=rule,
        groups_train=speakers[~test],
        groups_test=speakers[test],
        info={
            "files": {path.name: str(path)},
            "checksum": content.digest,
            "verified": content.verified,
            "groups": "speaker",
            "scaling": "log-mel energy, 0 dB (loudest of the recording) to -60 dB as 1 to 0",
            "options": msgspec.to_builtins(options),
        },
    )


def _features(
    recordings: Mapping[str, bytes], options: SpokenDigitsOptions, progress: ProgressCallback | None
) -> tuple[Array, Array, Array, Array]:
    """Return features (n, n_frames, n_bands), digits, speakers and numbers of all recordings, in the order of names."""
    x = np.empty((len(recordings), options.n_frames, options.n_bands), np.float32)
    facts = []
    for i, name in enumerate(sorted(recordings)):
        match = NAME.search(name)
        if match is None:
            raise SpecError(f"recording {name!r}: expected a name like 7_theo_12.wav")
        try:
            rate, signal = wavfile.read(io.BytesIO(recordings[name]))
        except (ValueError, EOFError) as error:
            raise SpecError(f"recording {name!r}: not a readable WAV file ({error})") from error
        x[i] = log_mel(signal, rate, n_bands=options.n_bands, n_frames=options.n_frames)
        facts.append((int(match[1]), match[2], int(match[3])))
        if progress is not None and (i + 1) % 500 == 0:
            progress(Progress("computing log-mel features", i + 1, len(recordings)))
    digits, speakers, numbers = zip(*facts, strict=True)
    return x, np.array(digits, np.int64), np.array(speakers), np.array(numbers)
