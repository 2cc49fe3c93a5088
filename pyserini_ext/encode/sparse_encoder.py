"""Inference-free sparse encoders: a model for documents, a tokenizer and a table for queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pyserini_ext.encode.sparse_query import InferenceFreeEncoder

if TYPE_CHECKING:
    from pyserini_ext.encode.sparse_document import SparseDocumentEncoder


class SparseEncoding(Protocol):
    """What a plugin of the group ``pyserini_ext.sparse_encoders`` makes.

    Optional are ``encode_batch(queries)``; ``prepare(texts)``, a pass over all documents before
    the first is encoded; ``tokenizer_name`` and ``idf_sha256``, which say what queries and
    documents must have in common; ``weights``, the table of query tokens that an index can keep.
    """

    def encode(self, query: str) -> dict[str, float]:
        """Return the weights of the query's tokens."""
        ...

    def encode_documents(
        self, texts: Sequence[str], titles: Sequence[str] | None = None
    ) -> list[dict[str, float]]:
        """Return the weights of each document's tokens, above 0."""
        ...


class SparseEncoder:
    """Both sides of an inference-free model; each is loaded when it is first used.

    Searching, which needs the query side only, imports no torch.

    Parameters
    ----------
    checkpoint : str or Path
        Folder, or name on the Hugging Face hub.
    weights, missing, tf, max_length, query_prefix
        Of queries; see :class:`~pyserini_ext.encode.sparse_query.InferenceFreeEncoder`.
    activation, pooling, top_n, prune_ratio, document_prefix, document_max_length, device, dtype, \
batch_size, trust_remote_code
        Of documents; see :class:`~pyserini_ext.encode.sparse_document.SparseDocumentEncoder`.
    special_tokens : bool, optional
        Of both.

    Attributes
    ----------
    tokenizer_name : str
    idf_sha256 : str or None
        Both as those of the query side.

    Examples
    --------
    >>> encoder = SparseEncoder("my-model", top_n=200)          # doctest: +SKIP
    >>> encoder.encode("sound waves")                           # doctest: +SKIP
    {'sound': 5.3, 'waves': 6.1}
    """

    description = "Inference-free sparse model of a checkpoint folder or hub name"

    def __init__(
        self,
        checkpoint: str | Path,
        *,
        weights: str | Path | Mapping[str, float] | None = None,
        missing: float = 0.0,
        tf: bool = False,
        max_length: int | None = None,
        query_prefix: str | None = None,
        special_tokens: bool | None = None,
        activation: str | None = None,
        pooling: str | None = None,
        top_n: int | None = None,
        prune_ratio: float = 0.0,
        document_prefix: str | None = None,
        document_max_length: int | None = None,
        device: str = "cpu",
        dtype: str = "float32",
        batch_size: int = 64,
        trust_remote_code: bool = False,
    ) -> None:
        self.checkpoint = str(checkpoint)
        self._query_options: dict[str, Any] = {
            "weights": weights,
            "missing": missing,
            "tf": tf,
            "max_length": max_length,
            "query_prefix": query_prefix,
            "special_tokens": special_tokens,
        }
        self._document_options: dict[str, Any] = {
            "activation": activation,
            "pooling": pooling,
            "top_n": top_n,
            "prune_ratio": prune_ratio,
            "document_prefix": document_prefix,
            "document_max_length": document_max_length,
            "device": device,
            "dtype": dtype,
            "batch_size": batch_size,
            "trust_remote_code": trust_remote_code,
            "special_tokens": special_tokens,
        }

    @cached_property
    def queries(self) -> InferenceFreeEncoder:
        """The query side."""
        return InferenceFreeEncoder(self.checkpoint, **self._query_options)

    @cached_property
    def documents(self) -> SparseDocumentEncoder:
        """The document side."""
        from pyserini_ext.encode.sparse_document import SparseDocumentEncoder

        return SparseDocumentEncoder(self.checkpoint, **self._document_options)

    @property
    def tokenizer_name(self) -> str:
        """Identifies the tokenizer by its vocabulary."""
        # Neither side is loaded for this where the other one is there.
        side = self.documents if "documents" in self.__dict__ else self.queries
        return side.tokenizer_name

    @property
    def idf_sha256(self) -> str | None:
        """Identifies the table of the query side."""
        return self.queries.idf_sha256

    @property
    def weights(self) -> dict[str, float] | None:
        """The table of the query side; None for ones."""
        return self.queries.weights or None

    def encode(self, query: str) -> dict[str, float]:
        """Encode one query."""
        return self.queries.encode(query)

    def encode_batch(self, queries: Sequence[str]) -> list[dict[str, float]]:
        """Encode queries."""
        return self.queries.encode_batch(queries)

    def encode_documents(
        self, texts: Sequence[str], titles: Sequence[str] | None = None
    ) -> list[dict[str, float]]:
        """Encode documents."""
        return self.documents.encode_documents(texts, titles)

    def __repr__(self) -> str:
        return f"SparseEncoder({self.checkpoint!r})"


def make_sparse_encoder(name_or_path: str | Path, **options: Any) -> Any:
    """Make a sparse encoder from what a user types.

    Parameters
    ----------
    name_or_path : str or Path
        A registered name (``python -m pyserini_ext plugins --kind sparse-encoder``), a checkpoint
        folder, or a name on the Hugging Face hub.
    **options
        Passed to the encoder; those of :class:`SparseEncoder` for a checkpoint.

    Returns
    -------
    SparseEncoding

    Raises
    ------
    InputError
        If there is neither, or an option does not fit.
    """
    from pyserini_ext import plugins

    return plugins.create_or_load("sparse-encoder", str(name_or_path), "inference-free", **options)
