"""Maps as bytes: how the explorer's numbers travel in a web page.

A map becomes an entry such as

    {"offset": 0, "shape": [3, 48, 48, 48], "bits": 16, "axes": 3, "zero": -7.5, "precision": 0.01}

that points into one block of bytes (gzip in base64). It is stored as whole numbers,

    code = round((value - zero) / precision)        8 or 16 bits, whichever holds the range

then as differences along the last `axes` axes, one after the other, low bytes before high bytes: smooth maps, as these
are, shrink to a fraction. How many axes is tried out for each map, noise is best left alone.
The value read back is within half a `precision` of the true one. `js/src/data/maps.mjs` undoes this.
"""

import base64
import gzip
import zlib

import numpy as np
from torch import Tensor

LEVEL = 6  # of gzip; 9 saves one percent and takes seconds


class Packer:
    """Collects maps into one block of bytes."""

    def __init__(self):
        self._chunks, self._size = [], 0

    def add(self, values: Tensor | np.ndarray, *, precision: float) -> dict:
        """Append one map and return its entry."""
        values = np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values, dtype=np.float64)
        zero, top = float(values.min()), float(values.max())
        precision = max(precision, (top - zero) / 65535)
        codes = np.rint((values - zero) / precision).astype(np.uint16)
        bits = 8 if codes.max() < 256 else 16
        chunks = [_differences(codes, bits, axes) for axes in range(min(3, codes.ndim) + 1)]
        axes = min(range(len(chunks)), key=lambda n: len(zlib.compress(chunks[n], 1)))
        chunk = chunks[axes]
        entry = {
            "offset": self._size,
            "shape": list(values.shape),
            "bits": bits,
            "axes": axes,
            "zero": zero,
            "precision": precision,
        }
        self._chunks.append(chunk)
        self._size += len(chunk)
        return entry

    def close(self) -> str:
        """The block, gzip in base64."""
        return base64.b64encode(gzip.compress(b"".join(self._chunks), LEVEL, mtime=0)).decode()


def _differences(codes: np.ndarray, bits: int, axes: int) -> bytes:
    for axis in range(1, axes + 1):
        codes = np.diff(codes, axis=-axis, prepend=np.uint16(0)).astype(np.uint16)
    low = (codes & 255).astype(np.uint8).tobytes()
    return low if bits == 8 else low + (codes >> 8).astype(np.uint8).tobytes()


def unpack(payload: dict, entry: dict) -> np.ndarray:
    """Read one map back, as the page does. For tests and for Python readers of a payload."""
    block = gzip.decompress(base64.b64decode(payload["data"]))
    size = int(np.prod(entry["shape"]))
    raw = np.frombuffer(block, np.uint8, size * entry["bits"] // 8, entry["offset"]).astype(np.uint16)
    codes = (raw[:size] + (raw[size:] << 8 if entry["bits"] == 16 else 0)).reshape(entry["shape"])
    for axis in range(1, entry["axes"] + 1):
        codes = np.cumsum(codes, axis=-axis, dtype=np.uint16)
    if entry["bits"] == 8:
        codes &= 255
    return entry["zero"] + codes * entry["precision"]
