"""MNIST: 70,000 handwritten digits, 28x28 pixels."""

from __future__ import annotations

from neuro.progress import ProgressCallback

from .base import DataDir, Dataset
from .idx import data_files, load_images

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist",
    "https://storage.googleapis.com/cvdf-datasets/mnist",
)
# MD5 of the four unpacked files as published.
DIGESTS = (
    "md5:6bbc9ace898e44ae57da46a324031adb",
    "md5:a25bea736e30d166cdddb491f175f624",
    "md5:2646ac647ad5339dbf082846283269ea",
    "md5:27ae3e4e09519cfbb04c329615203637",
)


def load(data_dir: DataDir = None, seed: int = 0, progress: ProgressCallback | None = None) -> Dataset:
    """Load MNIST; pixels in [0, 1], 60,000 training and 10,000 test images as published (``seed`` plays no part).

    Source: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document recognition",
    Proceedings of the IEEE 86(11), 1998, doi:10.1109/5.726791.
    """
    return load_images(
        name="mnist",
        title="MNIST",
        files=data_files(MIRRORS, DIGESTS),
        classes=tuple("0123456789"),
        licence="CC BY-SA 3.0",
        source="Y. LeCun, C. Cortes, C. Burges, The MNIST database of handwritten digits",
        data_dir=data_dir,
        progress=progress,
    )
