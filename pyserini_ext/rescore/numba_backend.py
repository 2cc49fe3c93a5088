"""Rescoring on the CPU at about the speed of its memory, with loops compiled by numba."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, cached_property
from importlib import metadata
from itertools import pairwise

import numpy as np

from pyserini_ext.rescore.backend import Backend
from pyserini_ext.rescore.numpy_backend import of_signs
from pyserini_ext.rescore.quantise import signs
from pyserini_ext.rescore.rows import Candidates, Ranked, StoredRows
from pyserini_ext.rescore.top import interpolated, offsets_after

ALONE = 1 << 18
"""Bytes of rows under which a second thread is not worth starting."""

REMEDY = "pip install 'pyserini-ext[fast]', or leave the backend to auto, which goes on with NumPy"

PIECES = 4
"""Pieces of work for each thread, so that none waits long for another."""


class NumbaBackend(Backend):
    """Several rows in flight on several threads.

    Parameters
    ----------
    threads : int, optional
        All cores of this process by default.

    Notes
    -----
    The threads are Python's, since compiled loops run beside each other without its lock: they
    do not spin when idle, and no OpenMP library of torch or FAISS meets another one.
    """

    name = "numba"

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or _cores()

    @classmethod
    def unavailable(cls) -> str | None:
        """Return why numba does not work here, or None."""
        return _unavailable()

    def score(
        self, queries: np.ndarray, candidates: Candidates, rows: StoredRows, metric: str
    ) -> np.ndarray:
        """Score every candidate (see :meth:`Backend.score`)."""
        from pyserini_ext.rescore import numba_kernels

        wanted, offsets = map(sealed, candidates)
        queries, data = sealed(queries), sealed(np.asarray(rows.data))
        pieces = self.pieces(len(wanted), data.strides[0])
        if rows.dtype == "binary":
            bits, words = map(sealed, _words(signs(queries), data))
            different = np.empty(len(wanted), dtype=np.int64)
            self.run(
                lambda start, stop: numba_kernels.score_signs(
                    bits, wanted, offsets, words, start, stop, different
                ),
                pieces,
            )
            return of_signs(rows.dimension - 2 * different, rows.dimension, metric)
        if rows.dtype == "float16":
            data = data.view(np.uint16)
        # The cosine of a row does not depend on its scale.
        scaled = rows.scales is not None
        scales = sealed(np.asarray(rows.scales) if scaled else np.empty(0, dtype=np.float32))
        scores = np.empty(len(wanted), dtype=np.float32)
        cosine, l2 = (True if metric == name else None for name in ("cosine", "l2"))
        self.run(
            lambda start, stop: numba_kernels.score_numbers(
                queries, wanted, offsets, data, scales, cosine, l2, start, stop, scores
            ),
            pieces,
        )
        return scores

    def best(
        self,
        queries: np.ndarray,
        candidates: Candidates,
        rows: StoredRows,
        metric: str,
        k: int,
        sparse: np.ndarray | None = None,
        alpha: float = 0.0,
    ) -> Ranked:
        """Score every candidate and keep the best (see :meth:`Backend.best`)."""
        from pyserini_ext.rescore.numba_top import rank_lists

        scores = interpolated(self.score(queries, candidates, rows, metric), sparse, alpha)
        offsets, kept = candidates.offsets, offsets_after(candidates.offsets, k)
        positions = np.empty(kept[-1], dtype=np.int32)
        best = np.empty(kept[-1], dtype=scores.dtype)
        bytes_each = len(scores) * 8 // max(1, len(queries))
        self.run(
            lambda first, last: rank_lists(scores, offsets, kept, first, last, positions, best),
            self.pieces(len(queries), bytes_each),
        )
        return Ranked(positions, best, kept)

    def pieces(self, count: int, bytes_each: int) -> list[tuple[int, int]]:
        """Cut `count` items of so many bytes each into pieces of work, (start, stop)."""
        alone = self.threads == 1 or count * bytes_each < ALONE
        edges = np.linspace(0, count, 2 if alone else self.threads * PIECES + 1).astype(np.int64)
        return [(int(a), int(b)) for a, b in pairwise(edges) if a < b]

    def run(self, work: Callable[[int, int], None], pieces: list[tuple[int, int]]) -> None:
        """Call `work` for every piece, on all threads."""
        if len(pieces) < 2:
            for piece in pieces:
                work(*piece)
            return
        todo = iter(pieces)

        def take_turns() -> None:
            for piece in todo:
                work(*piece)

        others = [self._pool.submit(take_turns) for _ in range(self.threads - 1)]
        take_turns()
        for other in others:
            other.result()

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.threads - 1, "rescore")


def sealed(array: np.ndarray) -> np.ndarray:
    """Return a view that cannot be written: numba compiles once for these and once for others."""
    view = array.view()
    view.flags.writeable = False
    return view


def _words(bits: np.ndarray, data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return query bits and rows as words of 64 bits, or as bytes where rows do not allow it."""
    if data.shape[1] % 8 or data.strides[1] != 1:
        return bits, data
    used = (bits.shape[1] + 7) // 8
    filled = np.zeros((len(bits), 8 * used), dtype=np.uint8)
    filled[:, : bits.shape[1]] = bits
    return filled.view(np.uint64), data.view(np.uint64)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def _unavailable() -> str | None:
    # Importing numba to find out would cost every command that may rescore a third of a second.
    try:
        needs = metadata.requires("numba") or []
    except metadata.PackageNotFoundError:
        return f"numba is not installed; {REMEDY}"
    limit = re.search(r"^numpy\b[^;]*<(\d+)\.(\d+)", "\n".join(needs), re.MULTILINE)
    if limit and tuple(map(int, np.__version__.split(".")[:2])) >= (int(limit[1]), int(limit[2])):
        return f"this numba works with NumPy below {limit[1]}.{limit[2]} only; {REMEDY}"
    return None
