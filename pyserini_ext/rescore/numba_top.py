"""The best of many lists of scores, compiled by numba: imported only where it is used."""

from __future__ import annotations

import numpy as np

from pyserini_ext.rescore.numba_kernels import compiled


@compiled()
def precedes(score: float, place: int, other: float, elsewhere: int) -> bool:
    """Whether a score comes before another: the greater, of equals the earlier, NaN last."""
    if score > other:
        return True
    if score < other:
        return False
    if score != other:  # NaN is among them
        first, second = score != score, other != other
        if first != second:
            return second
    return place < elsewhere


@compiled()
def sink(scores: np.ndarray, heap: np.ndarray, size: int) -> None:
    """Restore the heap of places below its root; the last in order stands at the root."""
    at = 0
    while True:
        below = 2 * at + 1
        if below >= size:
            return
        right = below + 1
        if right < size and precedes(
            scores[heap[below]], heap[below], scores[heap[right]], heap[right]
        ):
            below = right
        if not precedes(scores[heap[at]], heap[at], scores[heap[below]], heap[below]):
            return
        heap[at], heap[below] = heap[below], heap[at]
        at = below


@compiled()
def rank_lists(
    scores: np.ndarray,
    offsets: np.ndarray,
    kept: np.ndarray,
    first: int,
    last: int,
    positions: np.ndarray,
    best: np.ndarray,
) -> None:
    """Rank the lists `first` to `last`: as many of each as `kept` leaves room for.

    A heap of the best so far has the last of them at its root, so that most scores cost one
    comparison.
    """
    for i in range(first, last):
        own = scores[offsets[i] : offsets[i + 1]]
        heap = positions[kept[i] : kept[i + 1]]
        k = len(heap)
        if not k:
            continue
        for place in range(k):
            at = place
            heap[at] = place
            while at:
                above = (at - 1) // 2
                if not precedes(own[heap[above]], heap[above], own[heap[at]], heap[at]):
                    break
                heap[at], heap[above] = heap[above], heap[at]
                at = above
        for place in range(k, len(own)):
            worst = own[heap[0]]
            # What comes later never displaces its equal.
            if own[place] > worst or (worst != worst and own[place] == own[place]):
                heap[0] = place
                sink(own, heap, k)
        for size in range(k - 1, 0, -1):
            heap[0], heap[size] = heap[size], heap[0]
            sink(own, heap, size)
        for rank in range(k):
            best[kept[i] + rank] = own[heap[rank]]
