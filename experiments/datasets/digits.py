"""The small data set that ships with the package: 1,797 handwritten digits of 8x8 pixels."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from neuro.errors import SpecError
from neuro.progress import ProgressCallback

from .base import DataDir, Dataset, sha256_file, split_indices

FILE = Path(__file__).parent / "files" / "digits.npz"
SHA256 = "b3b9c8cc11d765ce4264d8748bf3edbafa5038d91c93cf713ddbd6ae8652b410"
N_TEST = 450


def load(data_dir: DataDir = None, seed: int = 0, progress: ProgressCallback | None = None) -> Dataset:
    """Load the digits; values 0 to 16 divided by 16; 1,347 training and 450 test images drawn by ``seed``, stratified.

    Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998,
    doi:10.24432/C50P49 (its test part of 1,797 images).
    """
    if not FILE.is_file():
        raise SpecError(f"{FILE}: not found; it is part of the package, install spikeport again")
    found = sha256_file(FILE)
    if found != SHA256:
        raise SpecError(f"{FILE}: SHA-256 is {found}, expected {SHA256}: damaged; install spikeport again")
    with np.load(io.BytesIO(FILE.read_bytes()), allow_pickle=False) as arrays:
        images, labels = arrays["images"], arrays["labels"].astype(np.int64)
    x = images.reshape(len(images), -1).astype(np.float32) / np.float32(16)
    train, test = split_indices(len(x), N_TEST, seed, labels)
    return Dataset(
        name="digits",
        x_train=x[train],
        y_train=labels[train],
        x_test=x[test],
        y_test=labels[test],
        classes=tuple("0123456789"),
        input_shape=(8, 8),
        input_range=(0.0, 1.0),
        licence="CC BY 4.0",
        source="E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI 1998, doi:10.24432/C50P49",
        split=f"{N_TEST} of {len(x):,} drawn at random for the test, the same share of every class",
        seed=seed,
        info={"files": {FILE.name: str(FILE)}, "checksum": f"sha256:{found}", "verified": True, "scaling": "value / 16"},
    )
