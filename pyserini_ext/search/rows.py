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
    """

    def __init__(self, first_stage: LuceneIndexSearcher, dense: DenseSearcher) -> None:
        self.first_stage, self.dense = first_stage, dense
        self._rows = dense.store.rows(first_stage.docids())

    def search(
        self,
        queries: Sequence[str],
        k: int,
        depth: int,
        rule: Interpolation | None,
        threads: int = 1,
    ) -> list[Hits] | None:
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
        list of Hits, or None
            None where a candidate has no vector: what then happens is for the searcher to say.
        """
        numbers, sparse, offsets = self.first_stage.search_numbers(queries, depth, threads)
        rows = self._rows[numbers]
        if (rows < 0).any():
            return None
        candidates = Candidates(rows, offsets)
        scores = self.dense.store.score(self.dense.encode(queries), candidates, self.dense.backend)
        if rule is not None:
            scores = _interpolated(sparse, scores, offsets, rule)
        # One more than is wanted tells whether documents tie across the cut.
        best = rank(scores, offsets, k + 1)
        docids = self.dense.store.docids
        found = []
        for i in range(len(queries)):
            own = slice(offsets[i], offsets[i + 1])
            kept = slice(best.offsets[i], best.offsets[i + 1])
            top = best.scores[kept]
            if len(top) > k and top[k] == top[k - 1]:
                hits = Hits(docids[rows[own]], scores[own])
            else:
                hits = Hits(docids[rows[own][best.positions[kept]]], top)
            found.append(hits.head(k))
        return found


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
