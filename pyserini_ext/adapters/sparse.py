"""Sparse encoder plugins in the shape that Pyserini's command expects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyserini_ext.adapters.encoders import check_fields, present
from pyserini_ext.errors import InputError


class SparseDocumentAdapter:
    """A sparse encoder plugin as one of Pyserini's document encoders, which may give dictionaries.

    Parameters
    ----------
    encoder : SparseEncoding
        Has ``encode_documents(texts, titles) -> {token: weight}`` of each.

    Raises
    ------
    InputError
        If it cannot encode documents as they come.
    """

    def __init__(self, encoder: Any) -> None:
        self.encoder = encoder
        try:
            encoder.encode_documents([])  # loads the model: mistakes show before the work begins
        except InputError as error:
            if not hasattr(encoder, "prepare"):
                raise
            raise InputError(
                f"{error} (--encoder-arg; Pyserini's command makes no pass over all documents "
                "first, python -m pyserini_ext.encode.sparse does)"
            ) from None

    def encode(
        self,
        texts: Sequence[str],
        titles: Sequence[str] | None = None,
        fp16: bool = False,
        max_length: int | None = None,
        add_sep: bool = False,
        **fields: Any,
    ) -> list[dict[str, float]]:
        """Return the token weights of documents, as :meth:`DocumentAdapter.encode` vectors."""
        from pyserini_ext.encode.vector_file import float32_digits

        check_fields(fields)
        vectors = self.encoder.encode_documents(*present(texts, titles))
        try:
            return [float32_digits(vector) for vector in vectors]
        except InputError as error:
            raise InputError(f"{type(self.encoder).__name__} gave {error}") from None
