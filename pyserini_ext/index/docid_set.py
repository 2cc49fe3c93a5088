"""Distinct docids of a collection too large for a Python set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b

import numpy as np

from pyserini_ext.errors import InputError


class DocidSet:
    """Finds a docid that comes twice, exactly, in eight bytes a document.

    Only 64-bit hashes are kept, in a few sorted arrays. A hash seen before is checked against the
    docids themselves, which are read again from where they are stored.

    Parameters
    ----------
    stored : callable
        Returns an iterable over all docids added before.
    """

    def __init__(self, stored: Callable[[], Iterable[str]]) -> None:
        self._stored = stored
        self._blocks: list[np.ndarray] = []

    def add(self, docids: Sequence[str]) -> None:
        """Add docids.

        Raises
        ------
        InputError
            If one is there already, or comes twice in `docids`.
        """
        distinct = set(docids)
        if len(distinct) < len(docids):
            seen: set[str] = set()
            twice = next(docid for docid in docids if docid in seen or seen.add(docid))  # type: ignore[func-returns-value]
            raise InputError(_message(twice))
        hashes = np.fromiter(map(_hash, docids), dtype=np.uint64, count=len(docids))
        hashes.sort()
        if any(_meet(block, hashes) for block in self._blocks):
            for docid in self._stored():
                if docid in distinct:
                    raise InputError(_message(docid))
        # Merging a block with its equals only keeps the work at n log n.
        while self._blocks and len(self._blocks[-1]) <= len(hashes):
            hashes = np.sort(np.concatenate((self._blocks.pop(), hashes)))
        if len(hashes):
            self._blocks.append(hashes)


def _hash(docid: str) -> int:
    return int.from_bytes(blake2b(docid.encode(), digest_size=8).digest(), "little")


def _meet(block: np.ndarray, hashes: np.ndarray) -> bool:
    places = np.searchsorted(block, hashes)
    places[places == len(block)] = 0
    return bool((block[places] == hashes).any())


def _message(docid: str) -> str:
    return f"document id {docid!r} comes twice; the docids of a collection must be distinct"
