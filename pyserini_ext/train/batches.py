"""Batches of queries by their number alone, and what each query is contrasted with."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Generic, Protocol, TypeVar

import numpy as np


class Query(Protocol):
    """What a batch is made of."""

    @property
    def topic(self) -> bool:
        """Not a pseudo-query."""
        ...


class Ranked(Protocol):
    """What hard negatives are chosen from."""

    @property
    def rows(self) -> np.ndarray:
        """Rows that were retrieved."""
        ...

    @property
    def positives(self) -> np.ndarray:
        """Rows known to be relevant."""
        ...


E = TypeVar("E", bound=Query)


class Batches(Generic[E]):
    """Batches by their number alone, so that a resumed run needs nothing else.

    Parameters
    ----------
    examples : sequence
        With ``topic`` (not a pseudo-query).
    queries : int
        Of a batch.
    topic_share : float
        Share of them that are topics, at least one; where there are both kinds of queries.
    seed : int
    """

    def __init__(self, examples: Sequence[E], queries: int, topic_share: float, seed: int) -> None:
        self.seed = seed
        topics = [example for example in examples if example.topic]
        pseudo = [example for example in examples if not example.topic]
        of_topics = queries if not pseudo else 0
        if topics and pseudo and topic_share:
            of_topics = min(queries, max(1, round(queries * topic_share)))
        self._streams: list[tuple[list[E], int]] = [
            (topics, of_topics),
            (pseudo, queries - of_topics),
        ]
        self._order = lru_cache(4)(self._permutation)

    def numbers(self, batch: int) -> np.random.Generator:
        """Return the random numbers of a batch."""
        return np.random.default_rng([self.seed, 1, batch])

    def examples(self, batch: int) -> list[E]:
        """Return the queries of a batch; each kind is gone through in a new order every time."""
        out = []
        for stream, (kind, count) in enumerate(self._streams):
            for place in range(batch * count, (batch + 1) * count):
                turn, position = divmod(place, len(kind))
                out.append(kind[self._order(stream, turn, len(kind))[position]])
        return out

    def _permutation(self, stream: int, turn: int, count: int) -> np.ndarray:
        return np.random.default_rng([self.seed, 2, stream, turn]).permutation(count)


def choose_negatives(example: Ranked, count: int, numbers: np.random.Generator) -> np.ndarray:
    """Choose a relevant document and hard negatives from the retrieved ones; rows."""
    positive = numbers.choice(example.positives, 1)
    others = np.setdiff1d(example.rows, example.positives)
    few = len(others) < count - 1
    return np.concatenate([positive, numbers.choice(others, count - 1, replace=few)])
