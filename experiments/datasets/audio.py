"""Sound to log-mel features: what the ear's filters let through, on a logarithmic scale, a fixed number of times."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

Array = np.ndarray


def log_mel(
    signal: Array,
    rate: int,
    *,
    n_bands: int = 20,
    n_frames: int = 16,
    window: float = 0.025,
    hop: float = 0.010,
    dynamic_range: float = 60.0,
) -> Array:
    """Return log-mel energies in [0, 1], (n_frames, n_bands) float32.

    E = mel filters applied to the power spectrum of Hann windows;  x = max(0, 1 + 10 log10(E/max E)/dynamic_range).

    The loudest band of the recording is 1, whatever lies ``dynamic_range`` below it is 0; silence is all 0. The windows
    are averaged over ``n_frames`` equal parts of the recording, so that long and short ones give the same number.

    Parameters
    ----------
    signal : (n_samples,) array of sound pressure, any scale.
    rate : samples a second [Hz].
    window, hop : length of a window and distance between two [s].
    dynamic_range : [dB].

    Source
    ------
    S. Davis, P. Mermelstein, IEEE Trans. ASSP 28(4), 1980, doi:10.1109/TASSP.1980.1163420; mel scale of D. O'Shaughnessy
    (1987), 2595 log10(1 + f/700).
    """
    length, step = round(window * rate), round(hop * rate)
    signal = np.asarray(signal, np.float64)
    if len(signal) < length:
        signal = np.pad(signal, (0, length - len(signal)))
    frames = np.lib.stride_tricks.sliding_window_view(signal, length)[::step]
    n_fft = 1 << (length - 1).bit_length()
    power = np.abs(np.fft.rfft(frames * np.hanning(length), n_fft)) ** 2
    energy = _average_parts(power @ mel_filters(rate, n_fft, n_bands).T, n_frames)
    loudest = energy.max()
    if loudest <= 0:
        return np.zeros((n_frames, n_bands), np.float32)
    decibel = 10 * np.log10(np.maximum(energy / loudest, 1e-30))
    return np.maximum(0, 1 + decibel / dynamic_range).astype(np.float32)


@lru_cache(maxsize=8)
def mel_filters(rate: int, n_fft: int, n_bands: int) -> Array:
    """Return triangular filters, evenly spaced in mel from 0 to half the rate, (n_bands, n_fft/2 + 1)."""
    top = 2595 * np.log10(1 + rate / 2 / 700)
    corners = 700 * (10 ** (np.linspace(0, top, n_bands + 2) / 2595) - 1)
    frequency = np.fft.rfftfreq(n_fft, 1 / rate)
    rising = (frequency - corners[:-2, None]) / (corners[1:-1] - corners[:-2])[:, None]
    falling = (corners[2:, None] - frequency) / (corners[2:] - corners[1:-1])[:, None]
    return np.maximum(0, np.minimum(rising, falling))


def _average_parts(rows: Array, n_parts: int) -> Array:
    """Return the averages over n equal parts of the rows, each row counted by the share of it within the part."""
    total = np.concatenate([np.zeros((1, rows.shape[1])), np.cumsum(rows, axis=0)])
    edges = np.linspace(0, len(rows), n_parts + 1)
    below = np.minimum(edges.astype(int), len(rows) - 1)
    reached = total[below] + (edges - below)[:, None] * rows[below]
    return np.maximum(np.diff(reached, axis=0), 0) / np.diff(edges)[:, None]
