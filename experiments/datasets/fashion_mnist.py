"""Fashion-MNIST: 70,000 pictures of clothes, 28x28 pixels, in the files of MNIST."""

from __future__ import annotations

from neuro.progress import ProgressCallback

from . import mnist
from .base import DataDir, Dataset
from .idx import data_files, load_images

MIRRORS = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
)
# MD5 of the four gzip files as published; downloads must have them.
PACKED_DIGESTS = (
    "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "md5:25c81989df183df01b3e8a0aad5dffbe",
    "md5:bef4ecab320f06d8554ea6380940ec79",
    "md5:bb300cfdad3c16e7a12a480ee83cd310",
)
CLASSES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")


def load(data_dir: DataDir = None, seed: int = 0, progress: ProgressCallback | None = None) -> Dataset:
    """Load Fashion-MNIST; pixels in [0, 1], 60,000 training and 10,000 test images as published (``seed`` plays no part).

    Files that were unpacked or packed anew load too, marked as not verified, unless they are those of MNIST.

    Source: H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning
    algorithms", 2017, arXiv:1708.07747.
    """
    return load_images(
        name="fashion_mnist",
        title="Fashion-MNIST",
        files=data_files(MIRRORS, packed_digests=PACKED_DIGESTS, foreign=dict.fromkeys(mnist.DIGESTS, "MNIST")),
        classes=CLASSES,
        licence="MIT",
        source="H. Xiao, K. Rasul, R. Vollgraf (Zalando Research), github.com/zalandoresearch/fashion-mnist",
        data_dir=data_dir,
        progress=progress,
    )
