"""Rescoring on a GPU: the store is kept there where it fits, and streamed through where not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from pyserini_ext.errors import InputError
from pyserini_ext.rescore import (
    cuda_feedback,
    cuda_grouped,
    cuda_launch,
    cuda_maxsim,
    cuda_plan,
    cuda_topk,
)
from pyserini_ext.rescore.backend import Backend
from pyserini_ext.rescore.cuda_device import CudaDevice
from pyserini_ext.rescore.cuda_launch import NULL, Device, DeviceRows
from pyserini_ext.rescore.cuda_rows import RowsOnDevice, row_stride
from pyserini_ext.rescore.maxsim import TokenRows, check_tokens
from pyserini_ext.rescore.rows import Candidates, Ranked, StoredRows, check
from pyserini_ext.rescore.top import offsets_after

LARGEST_BATCH = 1 << 26
"""Candidates scored at once; more are taken in batches of whole queries."""


class CudaBackend(Backend):
    """Scores on one GPU, through CuPy.

    Rows are brought to the GPU at the first use of a :class:`StoredRows` and stay until that object
    is gone or :meth:`free` is called: keep the object to keep them. A store that is too large for
    what is free goes through in blocks of those rows that are wanted, with the same results to the
    bit.

    Parameters
    ----------
    device : str, optional
        ``cuda`` or ``cuda:1``.
    memory : int, optional
        Bytes to use at most; what is free on the GPU by default.
    grouped : bool, optional
        Whether rows that queries share are read once for several of them (where there is a kernel
        for it); by default where it pays. The scores are the same to the bit.
    on : Device, optional
        In place of a GPU: the emulation of the tests.

    Raises
    ------
    InputError
        If there is no such device.
    """

    name = "cuda"

    def __init__(
        self,
        device: str | None = None,
        memory: int | None = None,
        grouped: bool | None = None,
        on: Device | None = None,
    ) -> None:
        if on is None:
            number = _number(device)
            if reason := CudaDevice.unavailable(number):
                raise InputError(reason)
            on = CudaDevice(number)
        self._on = on
        self._grouped = grouped
        self._rows = RowsOnDevice(on, memory)

    @classmethod
    def unavailable(cls) -> str | None:
        """Return why no GPU can be used here, or None if one can."""
        return CudaDevice.unavailable()

    def free(self) -> None:
        """Give the memory of all stores on the GPU back."""
        self._rows.clear()

    def score(
        self, queries: np.ndarray, candidates: Candidates, rows: StoredRows, metric: str
    ) -> np.ndarray:
        """Score every candidate (see :meth:`Backend.score`)."""
        scores = np.empty(len(candidates.rows), dtype=np.float32)
        for batch, pairs, part in _batches(candidates):
            scores[pairs] = self._on.get(self._scores(queries[batch], part, rows, metric))
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
        found = []
        for batch, pairs, part in _batches(candidates):
            scores = self._scores(queries[batch], part, rows, metric)
            own = None if sparse is None else sparse[pairs]
            steps = cuda_topk.Steps(self._on, scores, part.offsets, k, own, alpha)
            steps.launch()
            found.append(steps.result())
        kept = offsets_after(candidates.offsets, k)
        if not found:
            dtype = np.float32 if sparse is None else np.float64
            return Ranked(np.empty(0, np.int32), np.empty(0, dtype), kept)
        positions, values = (np.concatenate([each[i] for each in found]) for i in (0, 1))
        return Ranked(positions, values, kept)

    def feedback(
        self,
        queries: np.ndarray,
        candidates: Candidates,
        rows: StoredRows,
        query_weights: np.ndarray,
        weights: np.ndarray,
    ) -> np.ndarray:
        """Return weighted sums of queries and rows.

        Parameters
        ----------
        queries : ndarray of float32, shape (q, dimension)
        candidates : Candidates
            The feedback rows of each query.
        rows : StoredRows
        query_weights, weights : ndarray of float32, shapes (q,) and (m,)
            As :func:`~pyserini_ext.rescore.cuda_feedback.average_weights` and
            :func:`~pyserini_ext.rescore.cuda_feedback.rocchio_weights` make them.

        Returns
        -------
        ndarray of float32, shape (q, dimension)

        Raises
        ------
        InputError
            For rows of signs, whose sums say nothing; if shapes do not fit or a row is not in the
            store.
        """
        check(queries, candidates, rows, "ip")
        if (len(query_weights), len(weights)) != (len(queries), len(candidates.rows)):
            raise InputError(
                f"{len(query_weights)} and {len(weights)} weights for {len(queries)} queries and "
                f"{len(candidates.rows)} rows"
            )
        if rows.dtype == "binary":
            raise InputError(
                "feedback from binary rows; a weighted sum needs float32, float16 or int8"
            )
        on, chosen = self._on, candidates
        stored = self._rows.get(rows, len(candidates.rows))
        if stored is None:
            distinct, place = np.unique(candidates.rows, return_inverse=True)
            stored = on.put_rows(rows, row_stride(rows), distinct)
            chosen = Candidates(place.astype(np.int32), candidates.offsets)
        updated = on.empty(queries.shape, np.float32)
        vectors = on.put(np.ascontiguousarray(queries, dtype=np.float32))
        own, others = (on.put(each.astype(np.float32)) for each in (query_weights, weights))
        wanted, offsets = on.put(chosen.rows), on.put(chosen.offsets)
        on.launch(
            cuda_feedback.launch(vectors, own, rows, stored, wanted, others, offsets, updated)
        )
        return on.get(updated)

    def maxsim(
        self,
        queries: np.ndarray,
        candidates: Candidates,
        documents: TokenRows,
        query_mask: np.ndarray | None = None,
    ) -> np.ndarray:
        """Score candidates by MaxSim.

        Parameters
        ----------
        queries, candidates, documents, query_mask
            As for :func:`~pyserini_ext.rescore.maxsim.maxsim`, whose scores these are to float32
            rounding.

        Returns
        -------
        ndarray of float32, shape (m,)
        """
        check_tokens(queries, candidates, documents, query_mask)
        on, rows, pairs = self._on, documents.rows, len(candidates.rows)
        scores = np.empty(pairs, dtype=np.float32)
        if not pairs:
            return scores
        tokens = cuda_maxsim.packed(queries)
        if (stored := self._rows.get(rows, pairs)) is not None:
            found = on.empty(pairs, np.float32)
            on.launch(
                cuda_maxsim.launch(
                    *(on, tokens, query_mask, candidates, stored),
                    *(rows.dimension, documents.offsets, documents.mask, found),
                )
            )
            return on.get(found)
        for block, numbers, bounds in cuda_maxsim.parts(
            candidates, documents, self._rows.most(rows, pairs)
        ):
            stored = on.put_rows(rows, row_stride(rows), numbers)
            mask = None if documents.mask is None else documents.mask[numbers]
            found = on.empty(len(block.pairs), np.float32)
            on.launch(
                cuda_maxsim.launch(
                    *(on, tokens, query_mask, block.candidates, stored),
                    *(rows.dimension, bounds, mask, found),
                )
            )
            scores[block.pairs] = on.get(found)
        return scores

    def _scores(
        self, queries: np.ndarray, candidates: Candidates, rows: StoredRows, metric: str
    ) -> Any:
        """Return the scores, on the device."""
        if not len(candidates.rows):
            return self._on.empty(0, np.float32)
        if cuda_plan.staged_bytes(rows) > self._on.shared_bytes - 4096:
            raise InputError(
                f"vectors of {rows.dimension} dimensions are too long for a GPU, whose blocks have "
                f"{self._on.shared_bytes} bytes of shared memory; use device cpu"
            )
        vectors = self._on.put(np.ascontiguousarray(queries, dtype=np.float32))
        norms: Any = NULL
        if metric == "cosine":
            lengths = np.linalg.norm(queries.astype(np.float64), axis=1)
            norms = self._on.put(lengths.astype(np.float32))
        stored = self._rows.get(rows, len(candidates.rows))
        if stored is not None:
            return self._launched(vectors, norms, candidates, rows, stored, metric)
        scores = np.empty(len(candidates.rows), dtype=np.float32)
        for block in cuda_plan.blocks(candidates, self._rows.most(rows, len(candidates.rows))):
            stored = self._on.put_rows(rows, row_stride(rows), block.stored)
            part = self._launched(vectors, norms, block.candidates, rows, stored, metric)
            scores[block.pairs] = self._on.get(part)
        return self._on.put(scores)

    def _launched(
        self,
        vectors: Any,
        norms: Any,
        candidates: Candidates,
        rows: StoredRows,
        stored: DeviceRows,
        metric: str,
    ) -> Any:
        on = self._on
        pairs = len(candidates.rows)
        scores = on.empty(pairs, np.float32)
        wanted, offsets = on.put(candidates.rows), on.put(candidates.offsets)
        grouped = self._grouped and cuda_grouped.possible(rows)
        if grouped or (self._grouped is None and cuda_grouped.pays(candidates, rows)):
            groups, tile = cuda_grouped.group(on, wanted, offsets, len(vectors), rows)
            on.launch(
                cuda_grouped.launch(on, vectors, norms, rows, stored, groups, tile, metric, scores)
            )
            return scores
        tiles = cuda_plan.tiles(candidates.offsets, cuda_plan.tile_size(pairs, on.multiprocessors))
        on.launch(
            cuda_launch.gather(
                on, vectors, norms, rows, stored, wanted, offsets, tiles, metric, scores
            )
        )
        return scores


def _batches(candidates: Candidates) -> Iterator[tuple[slice, slice, Candidates]]:
    """Yield the queries of a batch, its candidates among all, and these by themselves."""
    for batch in cuda_plan.batches(candidates.offsets, LARGEST_BATCH):
        offsets = candidates.offsets[batch.start : batch.stop + 1]
        pairs = slice(int(offsets[0]), int(offsets[-1]))
        yield batch, pairs, Candidates(candidates.rows[pairs], offsets - offsets[0])


def _number(device: str | None) -> int:
    found = re.fullmatch(r"cuda(?::(\d+))?", device or "cuda")
    if not found:
        raise InputError(f"device={device!r}; choose cuda or cuda:N")
    return int(found[1] or 0)
