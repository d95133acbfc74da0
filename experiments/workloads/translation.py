"""Machine translation at toy scale: numbers written out in English, into German; an encoder and a decoder, a word at a time."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from converters.mlp import MLP, Dense
from converters.train import TrainOptions, train
from neuro.network import SpikingNetwork

from . import measures
from .base import Context, Extra, Fold, Metric, Respond, Task
from .limits import limited
from .noisy import how, in_noise
from .words import percent

Array = np.ndarray
TOP, TRAINED = 1000, 700
EXACT = Metric("exact matches", measures.mean, "%", share=True)
MORE = (Metric("edit distance", lambda f: float(f[:, 1].mean()), "tokens a number", "lower"),)
# Parts that German number words are made of, longest first, so that "sechzehn" is not read as "sechs".
PARTS = sorted(
    "null eins ein zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn sechzehn siebzehn achtzehn "
    "neunzehn zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig hundert und".split(),
    key=lambda part: (-len(part), part),
)
END, GO = "<end>", "<go>"
MOST_SOURCE, MOST_TARGET = 5, 6
ENCODER = DECODER = 64
FIRST = TrainOptions(
    epochs=15, patience=0, batch_size=64, learning_rate=2e-3, learning_rate_decay=0.97, clip_norm=1.0, keep_zeros=True, dropout=0.05
)
NOISY = msgspec.structs.replace(FIRST, epochs=45, dropout=0.0, levels=16)
LENGTH = MOST_SOURCE + MOST_TARGET  # source words, <go>, and the words said so far


def english(number: int) -> list[str]:
    """Return the words: 345 is three, hundred, and, forty, five."""
    from num2words import num2words

    return str(num2words(number, lang="en")).replace("-", " ").split()


def german(number: int) -> list[str]:
    """Return the parts of the word: 345 is drei, hundert, fünf, und, vierzig."""
    from num2words import num2words

    word, parts = str(num2words(number, lang="de")), []
    while word:
        part = next(p for p in PARTS if word.startswith(p))
        parts.append(part)
        word = word[len(part) :]
    return parts


def build(context: Context) -> tuple[Task, ...]:
    """Return the translation of 300 numbers below 1,000 that were not trained. Baseline: the nearest training number."""
    order = np.argsort(np.random.Generator(np.random.Philox(0)).random(TOP), kind="stable").tolist()
    known, asked = sorted(order[:TRAINED]), sorted(order[TRAINED:])
    source = {n: english(n) for n in range(TOP)}
    target = {n: german(n) for n in range(TOP)}
    words_in = sorted({w for words in source.values() for w in words})
    words_out = [END, *sorted({w for words in target.values() for w in words})]
    coder = Coder(words_in, words_out)

    pairs = [(n, k) for n in known for k in range(len(target[n]) + 1)]
    x = coder.encode([source[n] for n, _ in pairs], [target[n][:k] for n, k in pairs])
    y = np.array([words_out.index(target[n][k] if k < len(target[n]) else END) for n, k in pairs])

    def fit() -> MLP:
        first = train(encoder_decoder(len(words_in), coder.n_in, len(words_out)), x, y, FIRST, progress=context.progress)
        return in_noise(first, x, y, NOISY, context.progress)

    mlp = context.network("translation", fit)

    def say(respond: Respond) -> list[list[str]]:
        return coder.decode(respond, [source[n] for n in asked])

    def judge(said: Sequence[Sequence[str]]) -> Array:
        pairs = [(list(s), target[n]) for s, n in zip(said, asked, strict=True)]
        return np.array([[s == t, measures.edit_distance(s, t)] for s, t in pairs], np.float64)

    nearest = [target[min(known, key=lambda k: (abs(k - n), k))] for n in asked]

    def extras(ann: Respond, snn: Respond, network: SpikingNetwork, n_steps: int) -> tuple[Extra, ...]:
        by_ann, by_snn = say(ann), say(snn)
        rows = [
            (n, " ".join(source[n]), "".join(target[n]), "".join(a), "".join(s))
            for n, a, s in zip(asked, by_ann, by_snn, strict=True)
            if s != target[n] or a != target[n]
        ]
        right = [(n, " ".join(source[n]), "".join(target[n]), "".join(a), "".join(s)) for n, a, s in zip(asked, by_ann, by_snn, strict=True)]
        text = (
            f"{len(rows)} of {len(asked)} numbers are wrong in one of the two; the first ten, then three right ones. "
            f"Edit distance of the nearest training number: {judge(nearest)[:, 1].mean():.2f} tokens."
        )
        levels = []
        for count in (4, 8, 16, 32, 64, 128):
            made = judge(say(limited(mlp, network, count).forward))
            levels.append((count, percent(float(made[:, 0].mean())), f"{made[:, 1].mean():.2f}"))
        told = "The ANN with its activations in so many levels, as many as a neuron can count in so many steps, and no other limit of spikes."
        needed = Extra("Levels an activation needs", told, ("Levels", "exact matches", "edit distance [tokens]"), tuple(levels))
        columns = ("Number", "English", "German", "ANN", f"spiking, T = {n_steps}")
        return needed, Extra("Translations", text, columns, tuple(rows[:10] + [r for r in right if r not in rows][:3]))

    facts = [(source[n], target[n]) for n in asked]
    probe = coder.encode([s for s, t in facts for _ in range(len(t) + 1)], [t[:k] for _, t in facts for k in range(len(t) + 1)])
    train_probe = coder.encode([source[n] for n in known for _ in range(len(target[n]) + 1)], [target[n][:k] for n in known for k in range(len(target[n]) + 1)])
    return (
        Task(
            name="translation",
            title="Translation, numbers English to German",
            kind=f"recurrent encoder ({ENCODER}) and decoder ({DECODER}), up to {MOST_SOURCE} words in and {MOST_TARGET - 1} out",
            unit="test numbers",
            folds=(Fold(mlp, train_probe[::4], lambda respond: judge(say(respond)), probe[::8]),),
            metric=EXACT,
            more=MORE,
            baselines=(("nearest training number", judge(nearest)),),
            groups={"parts of the German word": np.array([f"{len(target[n])}" for n in asked])},
            card=(
                ("Numbers", f"0 to {TOP - 1}: {len(known)} train, {len(asked)} test, drawn at random with a fixed seed"),
                ("Words", f"{len(words_in)} English, {len(words_out) - 1} German parts; {_unheard(source, known, asked)} words of test numbers stand in no training number"),
            ("Classes", f"{len(words_out)}: the German parts and the end; numbers by parts (train/test): {_lengths(target, known, asked)}"),
            ("Groups", "numbers by the parts of their German word"),
            ("Duplicates", f"{TOP - len({tuple(words) for words in source.values()})}: every number has words of its own"),
                ("Leakage", f"no test number is trained; its words are, in other numbers: {_neighbours(known, asked):.0%} have a trained number beside them"),
                ("Licence", "made here; num2words, which says the words, is under the LGPL"),
            ("Source", "num2words; the corpus is made when it is needed"),
            ),
            method="max_norm",
            steps=(8, 16, 32, 64, 128),
            extras=extras,
            notes=(
                "The encoder hears the English words, the decoder <go> and the German parts said so far; each has weights of its own, and the "
                "decoder hears the encoder's state of the word before. Each further part reads the sequence again from its start.",
                how(NOISY),
                "Energy and latency are of one German part.",
            ),
        ),
    )


def encoder_decoder(n_source: int, n_in: int, n_out: int, seed: int = 0) -> MLP:
    """Return a network to start from: one recurrent layer whose zeros keep encoder and decoder apart.

    With e the encoder's and d the decoder's state, x the one-hot source word and y the one-hot word said:

        e_k = f(W_e x_k + R_e e_(k-1) + b_e),    d_k = f(W_d y_k + R_d d_(k-1) + C e_(k-1) + b_d),    answer = V d_k + b

    Source: K. Cho et al., EMNLP 2014, arXiv:1406.1078, whose decoder hears the encoder's summary at every word too.
    Departs: ReLU units without gates; the encoder goes on with its own state while the decoder speaks.
    """
    rng, e, n = np.random.Generator(np.random.Philox(seed)), slice(ENCODER), ENCODER + DECODER
    d = slice(ENCODER, n)
    weight, recurrent, out = np.zeros((n, n_in)), np.zeros((n, n)), np.zeros((n_out, n))

    def fill(block: Array, deviation: float) -> None:
        block[:] = deviation * rng.standard_normal(block.shape)

    fill(weight[e, :n_source], np.sqrt(2 / n_source))
    fill(weight[d, n_source:], np.sqrt(2 / (n_in - n_source)))
    for own, size in ((e, ENCODER), (d, DECODER)):
        fill(recurrent[own, own], 0.3 / np.sqrt(size))
        recurrent[own, own] += 0.7 * np.eye(size)
    fill(recurrent[d, e], np.sqrt(1 / ENCODER))
    fill(out[:, d], np.sqrt(1 / DECODER))
    hidden = Dense(weight.astype(np.float32), np.zeros(n, np.float32), recurrent=recurrent.astype(np.float32), name="encoder_decoder")
    return MLP((hidden, Dense(out.astype(np.float32), np.zeros(n_out, np.float32), "identity", name="output")))


class Coder:
    """Words to one-hot inputs and outputs to words."""

    def __init__(self, words_in: list[str], words_out: list[str]) -> None:
        self.words_out = words_out
        self.at = {("in", w): i for i, w in enumerate(words_in)}
        self.at |= {("out", w): len(words_in) + i for i, w in enumerate([GO, *words_out[1:]])}
        self.n_in = len(self.at)

    def encode(self, sources: Sequence[Sequence[str]], prefixes: Sequence[Sequence[str]]) -> Array:
        """Return (n, LENGTH, n_in): source words, <go>, words said; padded in front with zeros."""
        x = np.zeros((len(sources), LENGTH, self.n_in), np.float32)
        for row, source, prefix in zip(x, sources, prefixes, strict=True):
            places = [self.at["in", w] for w in source] + [self.at["out", w] for w in (GO, *prefix)]
            row[np.arange(LENGTH - len(places), LENGTH), places] = 1
        return x

    def decode(self, respond: Respond, sources: Sequence[Sequence[str]]) -> list[list[str]]:
        """Return what is said, the likeliest part at a time, until the end or MOST_TARGET - 1 parts."""
        said: list[list[str]] = [[] for _ in sources]
        open_ = list(range(len(sources)))
        for _ in range(MOST_TARGET):
            if not open_:
                break
            answers = respond(self.encode([sources[i] for i in open_], [said[i] for i in open_])).argmax(axis=1)
            going = []
            for i, answer in zip(open_, answers, strict=True):
                if self.words_out[answer] != END and len(said[i]) < MOST_TARGET - 1:
                    said[i].append(self.words_out[answer])
                    going.append(i)
            open_ = going
        return said


def _neighbours(known: Sequence[int], asked: Sequence[int]) -> float:
    trained = set(known)
    return float(np.mean([n - 1 in trained or n + 1 in trained for n in asked]))


def _unheard(source: dict[int, list[str]], known: Sequence[int], asked: Sequence[int]) -> int:
    """Return how many words of the asked numbers no known number has."""
    return len({w for n in asked for w in source[n]} - {w for n in known for w in source[n]})


def _lengths(target: dict[int, list[str]], known: Sequence[int], asked: Sequence[int]) -> str:
    """Return how many numbers have so many parts: "1: 20/8, 2: 10/3"."""
    counts = [np.bincount([len(target[n]) for n in numbers], minlength=MOST_TARGET) for numbers in (known, asked)]
    return ", ".join(f"{k}: {a}/{b}" for k, (a, b) in enumerate(zip(*counts, strict=True)) if a or b)
