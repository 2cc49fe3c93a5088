"""From text to vectors: encoders, presets, and the command that encodes a collection."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np


class Encoder(Protocol):
    """What every encoder can do; documents are encoded by the same method unless it has
    ``encode_documents(texts, titles=None)``.
    """  # noqa: D205

    def encode(self, queries: Sequence[str]) -> np.ndarray:
        """Encode n queries to float32 of shape (n, dimension)."""
        ...


def make_encoder(name_or_path: str | Path, **options: Any) -> Any:
    """Make an encoder from what a user types.

    Parameters
    ----------
    name_or_path : str or Path
        A registered name (``python -m pyserini_ext plugins`` lists them), a checkpoint folder, or
        a name on the Hugging Face hub.
    **options
        Passed to the encoder; those of :class:`~pyserini_ext.encode.dense.BiEncoder` for a
        checkpoint.

    Returns
    -------
    Encoder

    Raises
    ------
    InputError
        If there is neither, or an option does not fit.
    """
    from pyserini_ext import plugins

    return plugins.create_or_load("encoder", str(name_or_path), "bi-encoder", **options)


def encode_documents(encoder: Any, texts: Sequence[str], titles: Sequence[str]) -> np.ndarray:
    """Encode documents by any encoder of the protocol.

    Returns
    -------
    ndarray of float32, shape (n, dimension)
    """
    if hasattr(encoder, "encode_documents"):
        return np.asarray(encoder.encode_documents(texts, titles), dtype=np.float32)
    joined = [" ".join(part for part in pair if part) for pair in zip(titles, texts, strict=True)]
    return np.asarray(encoder.encode(joined), dtype=np.float32)
