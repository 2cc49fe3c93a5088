"""Rescoring by rows: from Lucene's numbers to rows of the vector store, without docids between."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from pyserini_ext.fusion.interpolation import Interpolation
from pyserini_ext.fusion.normalise import NORMALISERS
from pyserini_ext.hits import Hits
from pyserini_ext.rescore.rows import Candidates
from pyserini_ext.rescore.top import rank
from pyserini_ext.search.dense import DenseSearcher
from pyserini_ext.search.lucene import LuceneIndexSearcher

BY_ROWS = ("none", "min-max")
"""Normalisations that do not depend on how a list is sorted, not even in their last bit."""


class RowRescorer:
    """Rescores the hits of one index with the vectors of one store.

    Docids cost more than the scores do: at a thousand candidates a query, cutting them out of
    Java's reply, looking them up and sorting takes several times what the vectors take. Here the
    table from Lucene's numbers to rows is made once, and only the hits that are returned get
    docids.

    Parameters
    ----------
    first_stage : LuceneIndexSearcher
    dense : DenseSearcher

    Attributes
    ----------
    complete : bool
        Whether every document of the index has a vector. Otherwise it is not for this class to say
        what becomes of the others, and it must not be asked to search.
    """

    def __init__(self, first_stage: LuceneIndexSearcher, dense: DenseSearcher) -> None:
        self.first_stage, self.dense = first_stage, dense
        self._rows = dense.store.rows(first_stage.docids())
        self.complete = not (self._rows < 0).any()

    def search(
        self,
        queries: Sequence[str],
        k: int,
        depth: int,
        rule: Interpolation | None,
        threads: int = 1,
    ) -> tuple[list[Hits], int]:
        """Retrieve `depth` candidates and return the best `k` by their dense or mixed scores.

        Parameters
        ----------
        queries : sequence of str
        k, depth : int
        rule : Interpolation or None
            None: dense scores alone.
        threads : int

        Returns
        -------
        list of Hits, length q
        int
            Candidates that were scored.
        """
        numbers, sparse, offsets = self.first_stage.search_numbers(queries, depth, threads)
        candidates = Candidates(self._rows[numbers], offsets)
        store, backend, vectors = self.dense.store, self.dense.backend, self.dense.encode(queries)

        def score_all() -> np.ndarray:
            scores = store.score(vectors, candidates, backend)
            return scores if rule is None else _interpolated(sparse, scores, offsets, rule)

        # One more than is wanted tells whether documents tie across the cut.
        every: np.ndarray | None = None
        if rule is None:
            best = store.rescore(vectors, candidates, k + 1, backend=backend)
        elif rule.normalise == "none":
            best = store.rescore(vectors, candidates, k + 1, sparse, rule.alpha, backend)
        else:
            every = score_all()
            best = rank(every, offsets, k + 1)
        found = []
        for i in range(len(queries)):
            rows = candidates.rows[offsets[i] : offsets[i + 1]]
            kept = slice(best.offsets[i], best.offsets[i + 1])
            top = best.scores[kept]
            if len(top) > k and top[k] == top[k - 1]:
                # Which of the tied ones stay their docids decide.
                every = score_all() if every is None else every
                hits = Hits(store.docids[rows], every[offsets[i] : offsets[i + 1]])
            else:
                hits = Hits(store.docids[rows[best.positions[kept]]], top)
            found.append(hits.head(k))
        return found, len(numbers)


def works_by_rows(rule: Interpolation | None) -> bool:
    """Whether :class:`RowRescorer` gives what the fusion of ranked lists gives."""
    return rule is None or (
        rule.normalise in BY_ROWS and not rule.convention.startswith("pyserini-hybrid")
    )


def _interpolated(
    sparse: np.ndarray, dense: np.ndarray, offsets: np.ndarray, rule: Interpolation
) -> np.ndarray:
    """Return the weighted sum of the normalised scores of each query, as fusion computes it."""
    normalise = NORMALISERS[str(rule.normalise)]
    mixed = np.empty(len(dense))
    for start, stop in pairwise(offsets):
        if start < stop:
            own = slice(start, stop)
            mixed[own] = rule.alpha * normalise(sparse[own].astype(np.float64))
            mixed[own] += (1 - rule.alpha) * normalise(dense[own].astype(np.float64))
    return mixed
