"""The ranked list: docids and scores as two arrays, in one total order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from pyserini_ext.errors import InputError

Docids = Sequence[str] | np.ndarray
"""Document ids: strings, or an object array of them."""


class Hit(NamedTuple):
    """One retrieved document, shaped as Pyserini's hits are."""

    docid: str
    score: float


class Hits(Sequence[Hit]):
    """The documents retrieved for one query, best first.

    The order is total: score descending, then docid ascending (by code point, as Lucene orders
    docids), so that equal input gives equal output everywhere. A docid stands once: of duplicates
    the best score is kept.

    Parameters
    ----------
    docids : sequence of str
        In any order.
    scores : array_like
        One score per docid. float32 is kept (what retrieval gives), anything else becomes float64
        (what fusion gives). Infinite scores are allowed.
    ranked : bool
        The caller vouches that the order is final and the docids are distinct; nothing is checked.
        Used to keep the ranks of a run file whose ties are ordered otherwise.

    Attributes
    ----------
    docids : ndarray of object, shape (n,)
        Python strings.
    scores : ndarray of float32 or float64, shape (n,)

    Raises
    ------
    InputError
        If the lengths differ or a score is NaN.

    Examples
    --------
    >>> hits = Hits(["d2", "d1", "d3"], [1.0, 1.0, 2.0])
    >>> [hit.docid for hit in hits]
    ['d3', 'd1', 'd2']
    >>> hits[0]
    Hit(docid='d3', score=2.0)
    """

    __slots__ = ("docids", "scores")

    def __init__(self, docids: Docids, scores: Any, *, ranked: bool = False) -> None:
        self.docids = as_docids(docids)
        scores = np.asarray(scores)
        self.scores = scores if scores.dtype == np.float32 else scores.astype(np.float64)
        if not ranked:
            self._rank()

    def _rank(self) -> None:
        if self.docids.shape != self.scores.shape:
            raise InputError(f"{len(self.docids)} docids but scores of shape {self.scores.shape}")
        if np.isnan(self.scores).any():
            docid = self.docids[np.isnan(self.scores)][0]
            raise InputError(f"the score of document {docid!r} is NaN; scores must be numbers")
        order = rank(self.docids, self.scores)
        self.docids, self.scores = self.docids[order], self.scores[order]
        if len(set(self.docids)) < len(self.docids):
            first: dict[str, int] = {}
            for position, docid in enumerate(self.docids):
                first.setdefault(docid, position)
            keep = np.fromiter(first.values(), dtype=np.intp, count=len(first))
            self.docids, self.scores = self.docids[keep], self.scores[keep]

    @classmethod
    def from_pyserini(cls, hits: Iterable[Any]) -> Hits:
        """Read any iterable of objects with ``.docid`` and ``.score``.

        Parameters
        ----------
        hits : iterable
            What a Pyserini searcher returns for one query; a :class:`Hits` is returned as it is.

        Returns
        -------
        Hits
            Scores as float32 (Lucene's and FAISS's own precision).
        """
        if isinstance(hits, Hits):
            return hits
        pairs = [(hit.docid.strip(), hit.score) for hit in hits]
        return cls([d for d, _ in pairs], np.array([s for _, s in pairs], dtype=np.float32))

    def head(self, k: int) -> Hits:
        """Return the best `k` hits."""
        if k >= len(self):
            return self
        return Hits(self.docids[:k], self.scores[:k], ranked=True)

    def without(self, docids: Iterable[str]) -> Hits:
        """Return the hits whose docid is not in `docids`."""
        excluded = set(docids)
        keep = np.array([docid not in excluded for docid in self.docids], dtype=bool)
        return Hits(self.docids[keep], self.scores[keep], ranked=True)

    def as_dict(self) -> dict[str, float]:
        """Return ``{docid: score}`` in rank order."""
        return dict(zip(self.docids.tolist(), self.scores.tolist(), strict=True))

    def __len__(self) -> int:
        return len(self.docids)

    def __iter__(self) -> Iterator[Hit]:
        return map(Hit, self.docids.tolist(), self.scores.tolist())

    def __getitem__(self, item: Any) -> Any:
        if isinstance(item, slice | np.ndarray):
            return Hits(self.docids[item], self.scores[item], ranked=True)
        return Hit(self.docids[item], float(self.scores[item]))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Hits):
            return NotImplemented
        return np.array_equal(self.docids, other.docids) and np.array_equal(
            self.scores, other.scores
        )

    def __hash__(self) -> int:
        raise TypeError("Hits are not hashable")

    def __repr__(self) -> str:
        shown = ", ".join(f"{hit.docid}: {hit.score:.6g}" for hit in self[:3])
        return f"Hits({len(self)}: {shown}{', …' if len(self) > 3 else ''})"


def as_docids(docids: Docids) -> np.ndarray:
    """Return `docids` as a one-dimensional object array of ``str``."""
    if isinstance(docids, np.ndarray) and docids.dtype == object:
        return docids
    array = np.empty(len(docids), dtype=object)
    array[:] = list(docids)
    return array


def rank(docids: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return the permutation into the total order: score descending, then docid ascending.

    Parameters
    ----------
    docids : ndarray of object, shape (n,)
    scores : ndarray of float, shape (n,)
        Without NaN.

    Returns
    -------
    ndarray of intp, shape (n,)

    Notes
    -----
    Strings are compared only inside groups of equal scores, which are rare: sorting all strings
    would cost more than the retrieval.
    """
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    tied = np.flatnonzero(ordered[1:] == ordered[:-1])
    if not len(tied):
        return order
    breaks = np.flatnonzero(np.diff(tied) > 1)
    starts = tied[np.concatenate(([0], breaks + 1))]
    stops = tied[np.concatenate((breaks, [len(tied) - 1]))] + 2
    for start, stop in zip(starts, stops, strict=True):
        group = order[start:stop]
        order[start:stop] = group[np.argsort(docids[group], kind="stable")]
    return order
