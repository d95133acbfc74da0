"""Sentence polarity: 5,331 negative and 5,331 positive sentences of film reviews, as bags of words."""

from __future__ import annotations

import numpy as np

from neuro.progress import ProgressCallback

from .base import DataDir, Dataset
from .fetch import DataFile, members, obtain, read
from .text import TextOptions, decode, text_dataset

CLASSES = ("negative", "positive")
NAMES = ("rt-polarity.neg", "rt-polarity.pos")
PUBLISHED = DataFile(
    "rt-polaritydata.tar.gz",
    urls=(
        "https://www.cs.cornell.edu/people/pabo/movie-review-data/rt-polaritydata.tar.gz",
        "https://storage.googleapis.com/seldon-datasets/sentence_polarity_v1/rt-polaritydata.tar.gz",
    ),
    packed_digests=("sha256:a05befe52aafda71d458d188a1c54506a998b1308613ba76bbda2e5029409ce9",),
)
# The two text files in UTF-8; those published are in Windows-1252 and load too, marked as not verified.
TEXTS = (
    DataFile(
        NAMES[0],
        digests=("sha256:2d11cfbc790f1cd96d78339f41ce53ced1efa83cd22d37d6788fa3fe3d17e2fd",),
        strict=False,
    ),
    DataFile(
        NAMES[1],
        digests=("sha256:4134882974a28d0c7b5151256f0e33a6169984ee7372c279e673f1114f475d58",),
        strict=False,
    ),
)


def load(
    options: TextOptions | None = None,
    data_dir: DataDir = None,
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> Dataset:
    """Load the sentence polarity data set, version 1.0; inputs in [0, 1].

    Source: B. Pang, L. Lee, "Seeing stars: exploiting class relationships for sentiment categorization with respect to
    rating scales", ACL 2005, doi:10.3115/1219840.1219855.
    """
    options = options or TextOptions()
    paths = obtain("sentence polarity", (PUBLISHED,), "sentence_polarity", data_dir, progress, instead=TEXTS)
    if PUBLISHED.name in paths:
        contents = [read(PUBLISHED, paths[PUBLISHED.name])]
        found = {member.rsplit("/", 1)[-1]: data for member, data in members(contents[0].data).items()}
        parts = [found[name] for name in NAMES]
    else:
        contents = [read(file, paths[file.name]) for file in TEXTS]
        parts = [content.data for content in contents]
    sentences = [[line.strip() for line in decode(part).split("\n") if line.strip()] for part in parts]
    return text_dataset(
        "sentence_polarity",
        [*sentences[0], *sentences[1]],
        np.repeat([0, 1], [len(sentences[0]), len(sentences[1])]),
        CLASSES,
        options,
        seed,
        licence="free for research (no licence stated)",
        source="B. Pang, L. Lee, sentence polarity dataset v1.0, www.cs.cornell.edu/people/pabo/movie-review-data",
        info={
            "files": {path.name: str(path) for path in paths.values()},
            "checksum": ", ".join(content.digest for content in contents),
            "verified": all(content.verified for content in contents),
        },
    )
