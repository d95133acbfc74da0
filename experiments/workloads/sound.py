"""Spectra to sound: Griffin and Lim's search for the phase, and WAV files as data addresses."""

from __future__ import annotations

import base64
import io

import numpy as np
from scipy.io import wavfile
from scipy.signal import istft, stft

from experiments.datasets.audio import mel_filters

Array = np.ndarray


def wav_uri(signal: Array, rate: int) -> str:
    """Return a mono WAV file, 16 bits, its loudest sample at 90 %, as a ``data:`` address."""
    peak = float(np.abs(signal).max(initial=0.0))
    scaled = np.asarray(signal) * (0.9 * 32767 / peak if peak > 0 else 0.0)
    stream = io.BytesIO()
    wavfile.write(stream, rate, np.rint(scaled).astype(np.int16))
    return "data:audio/wav;base64," + base64.b64encode(stream.getvalue()).decode()


def griffin_lim(features: Array, rate: int, seconds: float, *, dynamic_range: float = 60.0, iterations: int = 40, seed: int = 0) -> Array:
    """Return sound whose log-mel features come close to the given ones, (n_samples,) float in [-1, 1].

    The features are spread over the duration, undone to mel energies, 10^(R (x - 1) / 10), brought to a power spectrum by
    the pseudo-inverse of the mel filters (negative values to zero); then the phase is sought by going to sound and back.

    Parameters
    ----------
    features : (n_frames, n_bands) as of ``log_mel``; values outside [0, 1] are clipped.
    rate : [Hz]. seconds : duration [s]. dynamic_range : R [dB].

    Source: D. Griffin, J. Lim, IEEE Trans. ASSP 32(2), 1984, doi:10.1109/TASSP.1984.1164317.
    """
    window, hop, n_fft = round(0.025 * rate), round(0.010 * rate), 256
    n = 1 + round(seconds * rate / hop)
    x = np.clip(np.asarray(features, np.float64), 0, 1)
    at = np.clip((np.arange(n) + 0.5) / n * len(x) - 0.5, 0, len(x) - 1)
    spread = np.stack([np.interp(at, np.arange(len(x)), band) for band in x.T], axis=1)
    energy = np.where(spread > 0, 10 ** (dynamic_range * (spread - 1) / 10), 0.0)
    power = np.maximum(energy @ np.linalg.pinv(mel_filters(rate, n_fft, x.shape[1])).T, 0)
    magnitude = np.sqrt(power).T
    phase = np.exp(2j * np.pi * np.random.default_rng(seed).random(magnitude.shape))
    shape = {"fs": rate, "nperseg": window, "noverlap": window - hop, "nfft": n_fft}
    for _ in range(iterations):
        _, sound = istft(magnitude * phase, **shape)
        _, _, again = stft(sound, **shape)
        again = again[:, : magnitude.shape[1]]
        padded = np.zeros(magnitude.shape, complex)
        padded[:, : again.shape[1]] = again
        phase = np.exp(1j * np.angle(padded))
    _, sound = istft(magnitude * phase, **shape)
    peak = np.abs(sound).max(initial=0.0)
    return np.asarray(sound / peak if peak > 0 else sound)
