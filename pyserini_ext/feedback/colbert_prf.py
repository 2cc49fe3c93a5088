"""ColBERT-PRF: token vectors of the feedback documents, clustered, added to the query's.

Wang, Macdonald, Tonellotto and Ounis, "Pseudo-Relevance Feedback for Multiple Representation Dense
Retrieval", ICTIR 2021 (arXiv 2106.11251). Held to ``ColbertPRF`` in the authors'
``pyterrier_colbert/ranking.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from pyserini_ext.errors import InputError
from pyserini_ext.hits import Docids, Hits
from pyserini_ext.rescore.kmeans import kmeans, squared_distances
from pyserini_ext.rescore.nearest import nearest_rows
from pyserini_ext.rescore.query_tokens import QueryTokens

NEAREST = 10
"""Token vectors of the collection that say what a centroid stands for."""

TOKENS_FROM = ("collection", "feedback")
"""Where the token of a cluster is looked for: see :class:`ColBERTPRF`."""


@dataclass(frozen=True)
class ColBERTPRF:
    """The query with centroids of its feedback documents' token vectors added.

    k-means finds `clusters` among the token vectors of the first `depth` documents. The token that
    a centroid stands for is the most frequent one among the `nearest` token vectors of the
    collection; its ``idf = ln((N + 1) / (df + 1))``, df of the N documents having it. The
    `expansions` centroids of the highest idf become query tokens of weight ``beta * idf``; those of
    the query keep weight 1.

    Parameters
    ----------
    depth : int
        Feedback documents; fb_docs in the paper.
    clusters : int
        k in the paper; more than `expansions`. Fewer distinct token vectors than that are each a
        cluster of their own.
    expansions : int
        Centroids that are added; fb_embs in the paper.
    beta : float
        Weight of the expansion, at least 0.
    nearest : int, optional
        Token vectors that a centroid's token is the most frequent of; 10, as in the authors' code.
    tokens_from : {"collection", "feedback"}
        ``collection``: those are looked for in the whole store, exactly (the authors: in a FAISS
        index). ``feedback``: the token vector of the feedback documents that is closest to the
        centroid takes its place and brings its own token; the store is not searched.
    starts : int
        Seedings of k-means, of which the best is kept; 10 in the scikit-learn of the paper.
    seed : int
        Of k-means; 42 in the authors' code. A query's expansion does not depend on the others.
    search : bool
        True: the expanded query searches again. False: it rescores the documents of the first
        round.

    Raises
    ------
    InputError
        If a number is out of range, there is no such place, or `nearest` is given where nothing
        is looked for.

    Notes
    -----
    Special tokens ([CLS], [SEP], markers) are skipped among the nearest, and a centroid that has
    none but those is left out. Of equally frequent tokens the one that has the nearest vector is
    taken; of equal idf goes first the cluster whose first token stands first in the feedback.
    """

    GRID: ClassVar[dict[str, tuple[float, ...]]] = {"beta": (0.05, 0.1, 0.2, 0.5, 1.0)}
    """What ``python -m pyserini_ext.search.tune`` tries."""

    depth: int = 3
    clusters: int = 24
    expansions: int = 10
    beta: float = 1.0
    nearest: int | None = None
    tokens_from: str = "collection"
    starts: int = 10
    seed: int = 42
    search: bool = True

    def __post_init__(self) -> None:
        if self.nearest is None:
            object.__setattr__(self, "nearest", NEAREST)
        elif self.tokens_from == "feedback":
            raise InputError(
                "nearest of colbert-prf is about the collection's tokens, which tokens_from="
                "'feedback' does not look at; leave one out"
            )
        counts = {"depth": 1, "clusters": 1, "expansions": 0, "nearest": 1, "starts": 1, "seed": 0}
        for name, least in counts.items():
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise InputError(
                    f"{name} of colbert-prf is {value!r}; it must be a whole number of at least "
                    f"{least}"
                )
        if self.clusters <= self.expansions:
            raise InputError(
                f"colbert-prf has {self.clusters} clusters and {self.expansions} expansions; there "
                "must be more clusters, as the expansions are chosen among them"
            )
        if not 0 <= self.beta < np.inf:
            raise InputError(f"beta of colbert-prf is {self.beta}; it must be at least 0")
        choices = {"tokens_from": TOKENS_FROM, "search": (True, False)}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                shown = ", ".join(str(choice) for choice in known)
                raise InputError(
                    f"{name} of colbert-prf is {getattr(self, name)!r}; choose one of {shown}"
                )

    def check_store(self, store: Any) -> None:
        """Refuse a store that does not say which tokens its vectors are of.

        Raises
        ------
        InputError
        """
        store.store.ids(np.empty(0, dtype=np.int64))

    def refine_tokens(
        self,
        queries: Sequence[str] | None,
        tokens: QueryTokens,
        feedback: Sequence[Hits],
        store: Any,
    ) -> QueryTokens:
        """Return the expanded queries.

        Parameters
        ----------
        queries : sequence of str or None
            Not used.
        tokens : QueryTokens
        feedback : sequence of Hits, length q
            Best first; the first ``depth`` count. A query without any keeps its tokens.
        store : MultiVectorSearcher
            ``tokens(docids)``, and ``store``, a multi-vector store with token ids.

        Returns
        -------
        QueryTokens
            Behind the tokens of each query up to ``expansions`` more, multiplied by their weights:
            MaxSim over them is the weighted one.
        """
        self.check_store(store)
        found = [self.representatives(hits.docids[: self.depth], store) for hits in feedback]
        ids = self._tokens(found, store)
        longest = tokens.mask.shape[1]
        shape = (len(tokens), longest + self.expansions, tokens.vectors.shape[2])
        vectors: np.ndarray = np.zeros(shape, dtype=np.float32)
        mask = np.zeros(shape[:2], dtype=bool)
        vectors[:, :longest], mask[:, :longest] = tokens.vectors, tokens.mask
        frequencies = store.store.token_ids.frequencies
        for row, ((own, _), named) in enumerate(zip(found, ids, strict=True)):
            known = np.flatnonzero(named >= 0)
            idf = np.log((len(store.store) + 1) / (frequencies[named[known]] + 1.0))
            best = np.argsort(-idf, kind="stable")[: self.expansions]
            places = slice(longest, longest + len(best))
            vectors[row, places] = self.beta * idf[best, None] * own[known[best]]
            mask[row, places] = True
        return QueryTokens(vectors, mask)

    def representatives(self, docids: Docids, store: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return what may be added to a query: one vector a cluster of its feedback.

        Parameters
        ----------
        docids : sequence of str
            The feedback documents.
        store : MultiVectorSearcher

        Returns
        -------
        ndarray of float32, shape (k, dimension)
            Centroids, or with ``tokens_from="feedback"`` the token vectors closest to them.
        ndarray of int32, shape (k,)
            Token ids of the latter, -1 for special tokens; for centroids all -1.
        """
        vectors, _ = store.tokens(docids)
        centroids = kmeans(vectors, self.clusters, seed=self.seed, starts=self.starts)
        if self.tokens_from == "collection" or not len(centroids):
            return centroids, np.full(len(centroids), -1, dtype=np.int32)
        closest = squared_distances(vectors, centroids).argmin(axis=1)
        rows = store.store.rows(docids)
        return vectors[closest], store.store.ids(rows[rows >= 0])[closest]

    def _tokens(
        self, found: Sequence[tuple[np.ndarray, np.ndarray]], store: Any
    ) -> list[np.ndarray]:
        """Return the token ids that the representatives of each query stand for, -1 for none."""
        if self.tokens_from == "feedback" or not found:
            return [own for _, own in found]
        centroids = np.concatenate([own for own, _ in found])
        assert self.nearest is not None
        rows = nearest_rows(centroids, store.store.documents.rows, self.nearest)
        ids = [most_frequent(own) for own in store.store.token_ids.ids[rows]]
        ends = np.cumsum([len(own) for own, _ in found])
        return np.split(np.array(ids, dtype=np.int32), ends[:-1])


def most_frequent(ids: np.ndarray) -> int:
    """Return the most frequent of token ids, of equals the earliest; -1 where all are negative.

    Examples
    --------
    >>> most_frequent(np.array([7, -1, 5, -1, 5, 7, -1]))
    7
    """
    kept = ids[ids >= 0]
    if not len(kept):
        return -1
    names, first, counts = np.unique(kept, return_index=True, return_counts=True)
    return int(names[np.lexsort((first, -counts))[0]])
