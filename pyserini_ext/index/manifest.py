"""What a vector store says of itself, and whether its files agree."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pyserini_ext.errors import InputError
from pyserini_ext.rescore.quantise import DTYPES, stride_of
from pyserini_ext.rescore.rows import METRICS

FORMAT = "pyserini-ext vectors"
VERSION = 2
"""Version 1 was float32 with rows as long as the vector, for inner products; it is still read."""


@dataclass(frozen=True)
class Manifest:
    """The content of ``store.json``.

    Attributes
    ----------
    dtype : {"float32", "float16", "int8", "binary"}
    dimension, count : int
    stride : int
        Numbers in a row of ``vectors.npy``.
    metric : {"ip", "cosine", "l2"}
        What documents are scored by.
    sha256 : str
        Over the files that hold the vectors, the scales and the docids, in this order.
    """

    dtype: str
    dimension: int
    count: int
    stride: int
    metric: str
    sha256: str

    @property
    def arrays(self) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
        """The arrays of the store by file name: type and shape."""
        return {
            name: (dtype, (self.count, *shape))
            for name, (dtype, shape) in arrays_of(self.dtype, self.stride).items()
        }

    def to_json(self) -> dict[str, Any]:
        """Return what is written to ``store.json``."""
        return {"format": FORMAT, "version": VERSION, **asdict(self)}


def arrays_of(dtype: str, stride: int) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
    """Return the arrays of a store by file name: type, and shape of what belongs to one row."""
    arrays: dict[str, tuple[np.dtype, tuple[int, ...]]] = {
        "vectors.npy": (np.dtype(DTYPES[dtype]), (stride,))
    }
    if dtype == "int8":
        arrays["scales.npy"] = (np.dtype("<f4"), ())
    return arrays


def read_manifest(path: Path) -> Manifest:
    """Read and check ``store.json``.

    Raises
    ------
    InputError
        If it is not JSON, of another format or version, or incomplete.
    """
    try:
        found = json.loads((path / "store.json").read_text(encoding="utf-8"))
        if found["format"] != FORMAT:
            raise InputError(f"{path / 'store.json'}: format is {found['format']!r}")
        if found["version"] not in (1, VERSION):
            raise InputError(
                f"{path}: the store has version {found['version']}, this pyserini-ext reads 1 and "
                f"{VERSION}; use the release that wrote it or encode again"
            )
        if found["version"] == 1:
            found |= {"stride": found["dimension"], "metric": "ip"}
        manifest = Manifest(**{name: found[name] for name in Manifest.__dataclass_fields__})
        if manifest.dtype not in DTYPES or manifest.metric not in METRICS:
            raise KeyError(f"{manifest.dtype}, {manifest.metric}")
        narrow = manifest.stride < stride_of(manifest.dtype, manifest.dimension)
        if narrow and found["version"] != 1:
            raise KeyError(f"stride {manifest.stride}")
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError(
            f"{path / 'store.json'} is damaged ({error}); rebuild the store"
        ) from error
    return manifest


def checksum(path: Path, dtype: str = "float32") -> str:
    """Return the sha256 over the arrays of a store, in their order, and ``docids.txt``."""
    digest = hashlib.sha256()
    for name in (*arrays_of(dtype, 0), "docids.txt"):
        with (path / name).open("rb") as source:
            while block := source.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
