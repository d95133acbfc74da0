"""SMS spam: short messages, wanted ("ham") or not ("spam"), as bags of words."""

from __future__ import annotations

import numpy as np

from neuro.errors import SpecError
from neuro.progress import ProgressCallback

from .base import DataDir, Dataset
from .fetch import DataFile, members, obtain, read
from .text import TextOptions, decode, text_dataset

CLASSES = ("ham", "spam")
PUBLISHED = DataFile(
    "smsspamcollection.zip",
    urls=(
        "https://archive.ics.uci.edu/static/public/228/sms+spam+collection.zip",
        "https://archive.ics.uci.edu/ml/machine-learning-databases/00228/smsspamcollection.zip",
    ),
    digests=("sha256:1587ea43e58e82b14ff1f5425c88e17f8496bfcdb67a583dbff9eefaf9963ce3",),
    other_names=("sms+spam+collection.zip",),
)
# The text file alone: as published (5,574 messages), and an edition of 5,549.
TEXT = DataFile(
    "SMSSpamCollection",
    digests=(
        "sha256:7d039a24a6083ed9ef0f806ebad56bbb976e3aeb8de05669173bfdc4996c239d",
        "sha256:1093dd5fbe517709153ef79541e54b0186315b42e7978383928a4ae5d8222ff6",
    ),
)


def load(
    options: TextOptions | None = None,
    data_dir: DataDir = None,
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> Dataset:
    """Load the SMS Spam Collection; inputs in [0, 1].

    Source: T. Almeida, J. Gómez Hidalgo, A. Yamakami, "Contributions to the study of SMS spam filtering", DocEng 2011,
    doi:10.1145/2034691.2034742; data doi:10.24432/C5CC84.
    """
    options = options or TextOptions()
    paths = obtain("SMS spam", (PUBLISHED,), "sms_spam", data_dir, progress, instead=(TEXT,))
    (name, path), *_ = paths.items()
    content = read(PUBLISHED if name == PUBLISHED.name else TEXT, path)
    data = content.data
    if name == PUBLISHED.name:
        data = members(content.data, "SMSSpamCollection")["SMSSpamCollection"]
    texts, labels = [], []
    for number, line in enumerate(decode(data).split("\n"), 1):
        if not line.strip():
            continue
        label, tab, text = line.rstrip("\r").partition("\t")
        if label not in CLASSES or not tab:
            raise SpecError(f"{path}, line {number}: expected 'ham' or 'spam', a tab and the text, found {line[:40]!r}")
        texts.append(text)
        labels.append(CLASSES.index(label))
    return text_dataset(
        "sms_spam",
        texts,
        np.array(labels),
        CLASSES,
        options,
        seed,
        licence="CC BY 4.0",
        source="T. Almeida, J. Gómez Hidalgo, SMS Spam Collection, UCI 2011, doi:10.24432/C5CC84",
        info={"files": {path.name: str(path)}, "checksum": content.digest, "verified": content.verified},
    )
