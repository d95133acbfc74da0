"""Texts to bags of words: each input tells whether, or how much, one word occurs."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import numpy as np

from neuro.errors import SpecError, problems

from .base import Array, Dataset, split_indices

# Words with an inner apostrophe, runs of digits, and the marks that carry meaning in messages.
TOKEN = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?|\d+|[!?£$€%]")
LONGEST_NUMBER = 12


class TextOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings of a bag of words.

    Parameters
    ----------
    vocabulary : ``"fitted"`` takes the words in most training texts; ``"hashed"`` needs no list: a word's input is its
        CRC-32 modulo ``n_features``, and words may share one.
    n_features : number of inputs (of a fitted vocabulary: at most).
    weighting : ``"binary"`` is 1 where a word occurs; ``"tfidf"`` weighs rare words more and gives texts unit length
        (needs a fitted vocabulary).
    test_fraction : share of the texts set aside for the test.
    """

    vocabulary: Literal["fitted", "hashed"] = "fitted"
    n_features: int = 2000
    weighting: Literal["binary", "tfidf"] = "binary"
    test_fraction: float = 0.2

    def __post_init__(self) -> None:
        causes = []
        if self.n_features < 1:
            causes.append(f"n_features is {self.n_features}, expected 1 or more")
        if not 0 < self.test_fraction < 1:
            causes.append(f"test_fraction is {self.test_fraction}, expected a number between 0 and 1")
        if self.vocabulary == "hashed" and self.weighting == "tfidf":
            causes.append("weighting tfidf needs a fitted vocabulary: hashed words have no counts of their own")
        if causes:
            raise SpecError(problems("settings of the bag of words:", causes))


def tokens(text: str) -> list[str]:
    """Return the words of a text in lower case; a number becomes as many zeros as it has digits."""
    found = TOKEN.findall(text.lower().replace("’", "'"))
    return ["0" * min(len(word), LONGEST_NUMBER) if word[0].isdigit() else word for word in found]


@dataclass(frozen=True, eq=False)
class BagOfWords:
    """How a text becomes inputs.

    Parameters
    ----------
    n_features : number of inputs.
    words : word of each input; empty when hashed.
    weight : (n_features,) inverse document frequency of each word, or None for binary inputs.
    """

    n_features: int
    words: tuple[str, ...] = ()
    weight: Array | None = None

    @classmethod
    def fit(cls, texts: Sequence[str], options: TextOptions) -> BagOfWords:
        """Choose the words in most texts (ties in alphabetical order); idf = ln((1 + n)/(1 + texts with it)) + 1."""
        if options.vocabulary == "hashed":
            return cls(options.n_features)
        frequency = Counter(word for text in texts for word in set(tokens(text)))
        chosen = sorted(frequency, key=lambda word: (-frequency[word], word))[: options.n_features]
        if not chosen:
            raise SpecError("the training texts hold no words to build a vocabulary from")
        counts = np.array([frequency[word] for word in chosen])
        weight = np.log((1 + len(texts)) / (1 + counts)) + 1 if options.weighting == "tfidf" else None
        return cls(len(chosen), tuple(chosen), weight)

    @classmethod
    def from_info(cls, info: Mapping[str, Any]) -> BagOfWords:
        """Return the bag of words that a data set's ``info["bag_of_words"]`` tells of."""
        weight = None if info["weight"] is None else np.array(info["weight"])
        return cls(int(info["n_features"]), tuple(info["words"]), weight)

    @property
    def info(self) -> dict[str, Any]:
        """Plain values from which :meth:`from_info` makes it again."""
        weight = None if self.weight is None else [float(w) for w in self.weight]
        return {"n_features": self.n_features, "words": list(self.words), "weight": weight}

    def encode(self, texts: Sequence[str]) -> Array:
        """Return the inputs of texts, (n_texts, n_features) float32 in [0, 1]; unknown words are left out."""
        index = {word: i for i, word in enumerate(self.words)}
        x = np.zeros((len(texts), self.n_features), np.float32)
        for row, text in zip(x, texts, strict=True):
            for word, count in Counter(tokens(text)).items():
                i = index.get(word) if self.words else zlib.crc32(word.encode()) % self.n_features
                if i is not None:
                    row[i] = 1 if self.weight is None else count * self.weight[i]
        if self.weight is not None:
            x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
        return x


def text_dataset(
    name: str,
    texts: Sequence[str],
    labels: Array,
    classes: tuple[str, ...],
    options: TextOptions,
    seed: int,
    *,
    licence: str,
    source: str,
    info: Mapping[str, Any],
) -> Dataset:
    """Split texts, fit the vocabulary on the training part and encode both; texts that are equal stay in one part."""
    unique, first, inverse = np.unique(np.array(texts, dtype=object), return_index=True, return_inverse=True)
    n_test = round(len(unique) * options.test_fraction)
    in_test = np.zeros(len(unique), bool)
    in_test[split_indices(len(unique), n_test, seed, labels[first])[1]] = True
    test = in_test[inverse]
    parts = [[text for text, chosen in zip(texts, test, strict=True) if chosen == part] for part in (False, True)]
    bag = BagOfWords.fit(parts[0], options)
    return Dataset(
        name=name,
        x_train=bag.encode(parts[0]),
        y_train=labels[~test],
        x_test=bag.encode(parts[1]),
        y_test=labels[test],
        classes=classes,
        input_shape=(bag.n_features,),
        input_range=(0.0, 1.0),
        licence=licence,
        source=source,
        split=(
            f"{options.test_fraction:.0%} of the different texts drawn at random for the test, the same share of every "
            "class; equal texts stay together"
        ),
        seed=seed,
        info={**info, "bag_of_words": bag.info, "options": msgspec.to_builtins(options)},
    )


def decode(data: bytes) -> str:
    """Return the text of a file in UTF-8, or else in Windows-1252, which old Latin-1 collections really use."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")
