"""Small inline pictures of inputs: PNG for images, an SVG profile for everything else."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np

Array = np.ndarray
PROFILE = (96, 32)


def picture(values: Array, shape: tuple[int, ...], low: float, high: float) -> str:
    """Return a ``data:`` URI of one input.

    values : (n_in,) array; shape : (height, width) or (height, width, 3) of a picture, anything else draws a profile;
    low, high : range of the inputs. A grey picture is drawn as ink on paper: high is black.
    """
    scaled = np.clip((np.asarray(values, dtype=np.float64) - low) / (high - low if high > low else 1.0), 0, 1)
    if len(shape) == 3 and shape[2] == 1:
        shape = shape[:2]
    if len(shape) == 2 and min(shape) > 1:
        return _uri("image/png", png(np.rint(255 * (1 - scaled)).astype(np.uint8).reshape(shape)))
    if len(shape) == 3 and shape[2] == 3:
        return _uri("image/png", png(np.rint(255 * scaled).astype(np.uint8).reshape(shape)))
    return _uri("image/svg+xml", profile(scaled).encode())


def png(pixels: Array) -> bytes:
    """Encode (height, width) grey or (height, width, 3) colour bytes as PNG.

    Source: W3C PNG specification, sections 5 and 9 (no filter).
    """
    height, width = pixels.shape[:2]
    rows = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if pixels.ndim == 3 else 0, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def profile(scaled: Array) -> str:
    """Return an SVG line of the values in [0, 1]; more values than pixels are shown by the largest of each pixel."""
    width, height = PROFILE
    values = np.asarray(scaled, dtype=np.float64).ravel()
    if len(values) > width:
        values = np.array([part.max() for part in np.array_split(values, width)])
    x = np.linspace(1, width - 1, len(values)) if len(values) > 1 else np.array([width / 2])
    points = " ".join(f"{a:.1f},{height - 2 - b * (height - 4):.1f}" for a, b in zip(x, values, strict=True))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
        f'<rect width="{width}" height="{height}" fill="#fff"/>'
        f'<polyline points="{points}" fill="none" stroke="#1f2328" stroke-width="1"/></svg>'
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
