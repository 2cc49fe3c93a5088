"""What every searcher of this package does, whatever it searches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np

from pyserini_ext.errors import InputError
from pyserini_ext.hits import Hits
from pyserini_ext.run import Run


class Searcher(ABC):
    """Retrieves documents for queries, with the methods of Pyserini's searchers.

    A subclass writes :meth:`batch_search`; everything else follows from it. The hits of a searcher
    have ``.docid`` and ``.score``, so they fit wherever Pyserini's hits do.
    """

    @abstractmethod
    def batch_search(
        self, queries: Sequence[str], qids: Sequence[str], k: int = 10, threads: int = 1
    ) -> Run:
        """Search for a batch of queries.

        Parameters
        ----------
        queries : sequence of str
        qids : sequence of str
            As many as queries, all distinct.
        k : int
            Hits a query.
        threads : int
            Threads the search itself may use.

        Returns
        -------
        Run
            In the order of `qids`.
        """

    def search(self, query: str, k: int = 10) -> Hits:
        """Search for one query and return its best `k` hits."""
        return self.batch_search([query], ["query"], k)["query"]

    def score(self, queries: Sequence[str], docids: Sequence[Sequence[str]]) -> list[np.ndarray]:
        """Return the exact scores of given documents.

        Parameters
        ----------
        queries : sequence of str
        docids : sequence of sequence of str
            The documents to score, for each query.

        Returns
        -------
        list of ndarray of float32
            One score for each docid, in the order given. A document that matches nothing of the
            query scores what the retrieval model gives it, which is 0 for the sparse ones.

        Raises
        ------
        InputError
            If this searcher cannot score given documents, or a docid is not in its index.
        """
        raise InputError(
            f"{type(self).__name__} cannot score given documents; choose another policy for "
            "missing scores (zero or minimum)"
        )

    def run(
        self,
        topics: Mapping[str, str],
        k: int = 1000,
        threads: int = 1,
        batch_size: int = 64,
        progress: bool = True,
    ) -> Run:
        """Search for all topics, in batches.

        Parameters
        ----------
        topics : mapping
            qid to query.
        k : int
            Hits a query.
        threads, batch_size : int
        progress : bool
            Draw a progress bar on a terminal.

        Returns
        -------
        Run
        """
        from tqdm import tqdm

        qids = list(topics)
        run = Run()
        with tqdm(total=len(qids), unit="query", disable=None if progress else True) as bar:
            for start in range(0, len(qids), batch_size):
                batch = qids[start : start + batch_size]
                run.update(self.batch_search([topics[qid] for qid in batch], batch, k, threads))
                bar.update(len(batch))
        return run

    def close(self) -> None:
        """Release what the searcher holds open."""


def check_batch(queries: Sequence[object], qids: Sequence[str], k: int, threads: int) -> None:
    """Refuse a batch that could lose results.

    Raises
    ------
    InputError
        If the lengths differ, a qid comes twice, or `k` or `threads` is under 1.
    """
    if len(queries) != len(qids):
        raise InputError(f"{len(queries)} queries but {len(qids)} qids; give one qid per query")
    if len(set(qids)) < len(qids):
        twice = next(qid for i, qid in enumerate(qids) if qid in qids[:i])
        raise InputError(f"query id {twice!r} comes twice in the batch; qids must be distinct")
    for name, value in (("k", k), ("threads", threads)):
        if value < 1:
            raise InputError(f"{name} is {value}; it must be at least 1")
