"""A query encoder that reads the query together with its feedback documents."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pyserini_ext.encode.dense import BiEncoder
from pyserini_ext.encode.prf_input import Family
from pyserini_ext.errors import InputError


class PrfEncoder(BiEncoder):
    """A bi-encoder's query side that was trained on queries with feedback documents.

    Parameters
    ----------
    checkpoint : str or Path
        Folder, or name on the Hugging Face hub.
    family : Family
        Input and pooling.
    device, dtype, batch_size, trust_remote_code
        See :class:`~pyserini_ext.encode.dense.BiEncoder`.

    Raises
    ------
    InputError
        If the checkpoint cannot be loaded or is none of the family.
    """

    def __init__(self, checkpoint: str | Path, family: Family, **options: Any) -> None:
        self.input = family.input
        super().__init__(
            checkpoint,
            pooling=family.pooling,
            normalise=family.normalise,
            head=family.head,
            skip_tokens=family.skip_tokens,
            special_tokens=family.input.special_tokens,
            max_length=family.input.max_length,
            # The template writes what stands before a query.
            query_prefix="",
            document_prefix="",
            **options,
        )

    def texts(self, queries: Sequence[str], documents: Sequence[Sequence[str]]) -> list[str]:
        """Return what the tokenizer is given, for each query and its documents."""
        if len(queries) != len(documents):
            raise InputError(f"{len(queries)} queries but {len(documents)} lists of documents")
        return [
            self.input.compose(query, own, self._tokenizer)
            for query, own in zip(queries, documents, strict=True)
        ]

    def encode_feedback(
        self, queries: Sequence[str], documents: Sequence[Sequence[str]]
    ) -> np.ndarray:
        """Encode queries with their feedback documents.

        Parameters
        ----------
        queries : sequence of str, length n
        documents : sequence of sequence of str, length n
            Texts, best first.

        Returns
        -------
        ndarray of float32, shape (n, dimension)
        """
        return self.encode(self.texts(queries, documents))
