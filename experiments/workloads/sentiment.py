"""Sentiment: sentences of film reviews, as bags of words and word by word with learned embeddings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from converters.mlp import MLP, Dense
from converters.train import TrainOptions, train
from experiments.datasets import Dataset, load_dataset, split_indices
from experiments.datasets import sentence_polarity as source
from experiments.datasets.fetch import members, obtain, read
from experiments.datasets.text import TextOptions, decode, tokens
from neuro.errors import SpecError

from .base import Context, Task, card_lines, supervised
from .measures import ACCURACY, right
from .spam import naive_bayes, thirds

Array = np.ndarray
WORDS, EMBEDDING, N_SEQ = 2000, 32, 20
OPTIONS = TextOptions(n_features=WORDS)


def build(context: Context) -> tuple[Task, ...]:
    """Return the bag of words, baseline naive Bayes, and the recurrent network over words, baseline the bag of words."""
    data = load_dataset("sentence_polarity", context.data_dir, options=OPTIONS, progress=context.progress)
    bag = context.network("sentiment-bag", lambda: _fit_bag(context, data))
    table = embedding(bag)
    words = word_sequences(context, data, table)
    recurrent = context.network("sentiment-recurrent", lambda: _fit_recurrent(context, bag, words))
    by_bag = right(data.y_test, bag.forward(data.x_test))
    groups = {
        "words in the vocabulary": thirds(data.x_test.sum(axis=1), "words"),
        "polarity": np.array(data.classes)[data.y_test],
    }
    return (
        Task(
            name="sentiment/bag",
            title="Sentiment, bag of words",
            kind="feed-forward " + "-".join(map(str, bag.sizes)),
            unit="test sentences",
            folds=(supervised(bag, data, right),),
            metric=ACCURACY,
            baselines=(("naive Bayes", right(data.y_test, naive_bayes(data.x_train, data.y_train, data.x_test))),),
            groups=groups,
            card=card_lines(data),
        ),
        Task(
            name="sentiment/recurrent",
            title="Sentiment, word by word",
            kind="recurrent " + "-".join(map(str, recurrent.sizes)) + f", {N_SEQ} words",
            unit="test sentences",
            folds=(supervised(recurrent, words, right, probe=200),),
            metric=ACCURACY,
            baselines=(("bag of words, ANN", by_bag),),
            groups=groups,
            card=card_lines(words),
            steps=(8, 16, 32, 64, 128),
            notes=(
                f"A word's input is its row of the bag of words' first layer ({EMBEDDING} numbers), looked up on the host and in no "
                f"energy here; the last {N_SEQ} known words of a sentence are read, shorter ones are padded in front with zeros.",
            ),
        ),
    )


def embedding(bag: MLP) -> Array:
    """Return the embedding of every word, (words, EMBEDDING) float32: the first layer's weights, scaled to unit deviation."""
    weight = np.asarray(bag.layers[0].weight).T
    return (weight / weight.std()).astype(np.float32)


def word_sequences(context: Context, data: Dataset, table: Array) -> Dataset:
    """Return the same sentences as sequences of embeddings, (n, N_SEQ, EMBEDDING), with the same split.

    Raises
    ------
    SpecError : the texts do not give the bags of words they should, so that the split would not be the same.
    """
    texts, labels = _texts(context)
    unique, first, inverse = np.unique(np.array(texts, dtype=object), return_index=True, return_inverse=True)
    in_test = np.zeros(len(unique), bool)
    in_test[split_indices(len(unique), round(len(unique) * OPTIONS.test_fraction), data.seed or 0, labels[first])[1]] = True
    test = in_test[inverse]
    index = {word: i for i, word in enumerate(data.info["bag_of_words"]["words"])}
    known = [[index[w] for w in tokens(text) if w in index] for text in texts]
    counts = np.array([len(set(k)) for k in known])
    if not (np.array_equal(counts[test], data.x_test.sum(axis=1)) and np.array_equal(labels[test], data.y_test)):
        raise SpecError("sentence polarity: the texts and the bags of words disagree on the split")
    x = np.zeros((len(texts), N_SEQ, table.shape[1]), np.float32)
    for row, k in zip(x, known, strict=True):
        if k:
            row[-len(k[-N_SEQ:]) :] = table[k[-N_SEQ:]]
    return replace(
        data,
        x_train=x[~test],
        x_test=x[test],
        input_shape=(N_SEQ, table.shape[1]),
        input_range=(float(table.min()), float(table.max())),
        info={**data.info, "scaling": "embedding of each word, unit deviation"},
    )


def _texts(context: Context) -> tuple[list[str], Array]:
    paths = obtain("sentence polarity", (source.PUBLISHED,), "sentence_polarity", context.data_dir, instead=source.TEXTS)
    if source.PUBLISHED.name in paths:
        content = read(source.PUBLISHED, paths[source.PUBLISHED.name])
        found = {member.rsplit("/", 1)[-1]: data for member, data in members(content.data).items()}
        parts = [found[name] for name in source.NAMES]
    else:
        parts = [read(file, paths[file.name]).data for file in source.TEXTS]
    sentences = [[line.strip() for line in decode(part).split("\n") if line.strip()] for part in parts]
    return [*sentences[0], *sentences[1]], np.repeat([0, 1], [len(s) for s in sentences])


def _fit_bag(context: Context, data: Dataset) -> MLP:
    options = TrainOptions(epochs=15, patience=4, dropout=0.5, input_dropout=0.3, batch_size=64)
    mlp = train((WORDS, EMBEDDING, 2), data.x_train, data.y_train, options, progress=context.progress)
    return replace(mlp, classes=data.classes)


def _fit_recurrent(context: Context, bag: MLP, data: Dataset) -> MLP:
    """Start as a sum over words, h = relu(e + h), read as the bag of words reads its hidden layer; then train everything."""
    hidden, out = bag.layers
    scale = np.float32(np.asarray(hidden.weight).std())
    eye = np.eye(EMBEDDING, dtype=np.float32)
    start = MLP(
        (
            Dense(eye.copy(), hidden.bias / scale / N_SEQ, recurrent=eye.copy(), name="hidden1"),
            Dense(np.asarray(out.weight) * scale, out.bias, "identity", name="output"),
        ),
        classes=data.classes,
    )
    options = TrainOptions(epochs=12, patience=4, batch_size=64, learning_rate=5e-4, clip_norm=1.0, dropout=0.3)
    return train(start, data.x_train, data.y_train, options, progress=context.progress)
