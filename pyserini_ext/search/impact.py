"""Learned sparse retrieval over impact indexes, those of Pyserini and those of this package."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pyserini_ext import javabytes, jvm
from pyserini_ext.errors import InputError
from pyserini_ext.index.idf import read_idf
from pyserini_ext.index.impact import IDF_FILE
from pyserini_ext.run import Run
from pyserini_ext.search.base import check_batch
from pyserini_ext.search.impact_encoder import check_encoder, find_encoder, read_info
from pyserini_ext.search.lucene import MOST, LuceneIndexSearcher, resolve_index

__all__ = ["Contribution", "ImpactSearcher", "read_info"]


class Contribution(NamedTuple):
    """What one query token adds to a document's score."""

    token: str
    weight: float
    impact: int
    score: float


class ImpactSearcher(LuceneIndexSearcher):
    """Learned sparse retrieval: a document scores the sum of query weight * impact.

    Parameters
    ----------
    index : str or Path
        An impact index of this package (``python -m pyserini_ext.index``) or of Pyserini
        (``--impact --pretokenized``), or the name of a prebuilt one.
    encoder : str or object, optional
        An object with ``encode(query) -> {token: weight}`` and possibly ``encode_batch(queries)``;
        or the name of a registered sparse encoder or of a checkpoint; or, for an index of
        Pyserini, what ``LuceneImpactSearcher`` takes. A named encoder gets the idf table of an
        index whose idf was computed from the collection. By default the one that the index says
        its documents were encoded with.
    min_idf : float, optional
        Query tokens whose ln(N / df) is not above this are left out. Pyserini's default is 0, which
        leaves out a token that stands in every document; it is the default with `compatible`.
        Otherwise no token is left out by default.
    compatible : bool, optional
        Give the hits and scores of Pyserini's ``LuceneImpactSearcher``: query weights are cut to
        whole numbers, and tied scores told apart as Anserini does. The default for an index that
        was not made by this package. Otherwise weights are used as they are, in float32, and with
        an index of the mode ``premultiplied`` the query is the set of its tokens.

    Attributes
    ----------
    info : dict or None
        What an index of this package says of itself: ``mode``, ``scale``, ``idf_sha256``,
        ``tokenizer``, ``pruning``, ``report`` and more. Scores divided by ``scale`` are those of
        the model.

    Raises
    ------
    InputError
        If there is no such index, the encoder cannot encode, none is given and the index says
        none, or the index was made with another tokenizer or idf than the encoder has.

    Examples
    --------
    >>> searcher = ImpactSearcher("indexes/npl.impact", encoder)  # doctest: +SKIP
    >>> searcher.search("dielectric constants", k=2)              # doctest: +SKIP
    Hits(2: 5163: 1124, 2210: 981)
    """

    def __init__(
        self,
        index: str | Path,
        encoder: Any = None,
        min_idf: float | None = None,
        compatible: bool | None = None,
    ) -> None:
        self.path = resolve_index(index, "impact")
        self.info = read_info(self.path)
        self.encoder = find_encoder(encoder, self.path, self.info)
        self.compatible = self.info is None if compatible is None else compatible
        if min_idf is None:
            min_idf = 0.0 if self.compatible else math.nan
        self.min_idf = float(min_idf)
        check_encoder(self.encoder, self.path, self.info)
        with jvm.java_errors():
            self._java = jvm.autoclass("io.pyseriniext.Impacts")(str(self.path.absolute()))

    @property
    def idf(self) -> dict[str, float]:
        """The IDF table that lies in the index; empty if there is none."""
        path = self.path / IDF_FILE
        return read_idf(path) if path.is_file() else {}

    def encode(self, queries: Sequence[str]) -> list[dict[str, float]]:
        """Return the tokens and weights that queries are searched with.

        Raises
        ------
        InputError
            If the encoder gives something else than tokens and finite weights of at least 0.
        """
        batch = getattr(self.encoder, "encode_batch", None)
        if callable(batch) and not type(self.encoder).__module__.startswith("pyserini."):
            encoded = list(batch(list(queries)))
        else:
            encoded = [self.encoder.encode(query) for query in queries]
        if len(encoded) != len(queries) or not all(isinstance(one, Mapping) for one in encoded):
            raise InputError(
                f"{type(self.encoder).__name__} gave no {{token: weight}} for each query; is it a "
                "dense encoder?"
            )
        for query, one in zip(queries, encoded, strict=True):
            _check_weights(one, f"query {query[:60]!r}")
        return [self._weights(one) for one in encoded]

    def _weights(self, encoded: Mapping[str, float]) -> dict[str, float]:
        if self.compatible:
            # Pyserini keeps a token whose weight is cut to 0: its documents are hits of score 0.
            return {token: float(int(weight)) for token, weight in encoded.items()}
        if self.info is not None and self.info["mode"] == "premultiplied":
            return {token: 1.0 for token, weight in encoded.items() if weight}
        return {token: float(weight) for token, weight in encoded.items() if weight}

    def batch_search(
        self, queries: Sequence[str], qids: Sequence[str], k: int = 10, threads: int = 1
    ) -> Run:
        """Search for a batch of queries (see :meth:`Searcher.batch_search`).

        A query of which no token is in the index has no hits.
        """
        check_batch(queries, qids, k, threads)
        return self.search_weights(self.encode(queries), qids, k, threads)

    def search_weights(
        self,
        weights: Sequence[Mapping[str, float]],
        qids: Sequence[str],
        k: int = 10,
        threads: int = 1,
    ) -> Run:
        """Search for a batch of queries that are weights of tokens already.

        Parameters
        ----------
        weights : sequence of mapping of str to float
            Token to weight, for each query. They are used as they are, in float32, whatever the
            mode of the index: with ``premultiplied``, 1 is what :meth:`encode` gives every token.
        qids : sequence of str
        k, threads : int

        Returns
        -------
        Run

        Raises
        ------
        InputError
            If a weight is negative or not finite, or a query has more tokens than Lucene takes.
        """
        check_batch(weights, qids, k, threads)
        for qid, one in zip(qids, weights, strict=True):
            _check_weights(one, f"query {qid}")
        packed = self._pack(weights)
        with jvm.java_errors():
            message = self._java.search(*packed, min(int(k), MOST), int(threads), self.compatible)
        hits = javabytes.ranked(javabytes.unpack_hits(message, len(weights)))
        return Run(zip(qids, hits, strict=True), tag="impact")

    def search_numbers(
        self, queries: Sequence[str], k: int, threads: int = 1
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Search without docids (see :meth:`LuceneIndexSearcher.search_numbers`)."""
        packed = self._pack(self.encode(queries))
        with jvm.java_errors():
            message = self._java.numbers(*packed, min(int(k), MOST), int(threads), self.compatible)
        return javabytes.unpack_numbers(message, len(queries))

    def score(
        self, queries: Sequence[str], docids: Sequence[Sequence[str]], threads: int = 1
    ) -> list[np.ndarray]:
        """Return the scores of given documents (see :meth:`Searcher.score`).

        A document that holds no token of the query scores 0; so does one that is not in the index,
        because Anserini leaves documents without tokens out of it. The scores are those of a search
        before ties are told apart.

        Raises
        ------
        InputError
            If not one of the documents is in the index: it holds another collection.
        """
        return self.score_weights(self.encode(queries), docids, threads)

    def score_weights(
        self,
        weights: Sequence[Mapping[str, float]],
        docids: Sequence[Sequence[str]],
        threads: int = 1,
    ) -> list[np.ndarray]:
        """Return the scores of given documents as :meth:`score` does, for weights of tokens.

        Parameters
        ----------
        weights : sequence of mapping of str to float
            As :meth:`search_weights` takes them.
        docids : sequence of sequence of str
        threads : int

        Returns
        -------
        list of ndarray of float32
        """
        if len(weights) != len(docids):
            raise InputError(f"{len(weights)} queries but {len(docids)} lists of docids")
        packed = self._pack(weights)
        flat = [docid for some in docids for docid in some]
        with jvm.java_errors():
            message = self._java.score(
                *packed,
                javabytes.pack_ints([len(some) for some in docids]),
                javabytes.pack_strings(flat),
                int(threads),
            )
        return self._scores(message, docids)

    def _pack(self, encoded: Sequence[Mapping[str, float]]) -> tuple[bytes, bytes, bytes, float]:
        return (
            javabytes.pack_ints([len(one) for one in encoded]),
            javabytes.pack_strings([token for one in encoded for token in one]),
            javabytes.pack_floats([weight for one in encoded for weight in one.values()]),
            self.min_idf,
        )

    def document_vectors(self, docids: Sequence[str]) -> list[dict[str, int] | None]:
        """Return the tokens and impacts of documents, as they stand in the index.

        Fast from an index built with ``--store-docvectors``; otherwise the whole dictionary is
        walked, which takes milliseconds a document.

        Returns
        -------
        list of dict or None
            None where the docid is not in the index.
        """
        message = self._java.vectors(javabytes.pack_strings(docids))
        data = message.tostring()
        counts = np.frombuffer(data, dtype="<i4", count=len(docids))
        total = int(np.maximum(counts, 0).sum())
        impacts = np.frombuffer(data, dtype="<i4", count=total, offset=4 * len(docids)).tolist()
        tokens = javabytes.split_texts(data[4 * (len(docids) + total) :], total)
        vectors: list[dict[str, int] | None] = []
        start = 0
        for count in counts.tolist():
            stop = start + max(count, 0)
            pairs = zip(tokens[start:stop], impacts[start:stop], strict=True)
            vectors.append({str(t): i for t, i in pairs} if count >= 0 else None)
            start = stop
        return vectors

    def explain(self, query: str, docid: str) -> list[Contribution]:
        """Return what each token adds to the score of a document, the largest first.

        Raises
        ------
        InputError
            If there is no such document.
        """
        (vector,) = self.document_vectors([docid])
        if vector is None:
            raise InputError(f"{self.path} holds no document {docid!r}")
        (weights,) = self.encode([query])
        found = [
            Contribution(token, weight, vector[token], weight * vector[token])
            for token, weight in weights.items()
            if token in vector
        ]
        return sorted(found, key=lambda each: (-each.score, each.token))


def _check_weights(weights: Mapping[str, float], query: str) -> None:
    for token, weight in weights.items():
        if not 0 <= weight < math.inf:
            raise InputError(
                f"{query}: the weight of {token!r} is {weight}; expected a finite number that is "
                "not negative"
            )
