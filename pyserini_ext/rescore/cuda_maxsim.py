"""MaxSim on a GPU: the launch of its kernel, and documents that do not fit at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from pyserini_ext.rescore import cuda_plan
from pyserini_ext.rescore.cuda_launch import NULL, THREADS, Device, DeviceRows, Launch
from pyserini_ext.rescore.maxsim import TokenRows, rounded, token_numbers
from pyserini_ext.rescore.rows import Candidates

AT_ONCE = 32
"""Query tokens that lie in shared memory (``maxsim.cu``)."""


def packed(queries: np.ndarray) -> np.ndarray:
    """Return query tokens in float16, each filled up to whole 16 bytes.

    Parameters
    ----------
    queries : ndarray of float, shape (q, t, dimension)

    Returns
    -------
    ndarray of float16, shape (q, t, padded)
    """
    padded = np.zeros((*queries.shape[:2], -(-queries.shape[2] // 8) * 8), dtype=np.float16)
    padded[:, :, : queries.shape[2]] = rounded(queries)
    return padded


def staged_bytes(dimension: int) -> int:
    """Return the shared memory of a query: as ``pitch`` in ``maxsim.cu``."""
    fours = -(-dimension // 32)
    return AT_ONCE * (fours * 4 + (0 if fours % 2 else 4)) * cuda_plan.PIECE


def launch(
    device: Device,
    queries: np.ndarray,
    query_mask: np.ndarray | None,
    candidates: Candidates,
    stored: DeviceRows,
    dimension: int,
    bounds: np.ndarray,
    mask: np.ndarray | None,
    scores: Any,
) -> Launch:
    """Score documents (``maxsim.cu``).

    Parameters
    ----------
    device : Device
    queries : ndarray of float16, shape (q, t, padded)
        From :func:`packed`.
    query_mask : ndarray of bool, shape (q, t), optional
    candidates : Candidates
    stored : DeviceRows
        The tokens.
    dimension : int
    bounds : ndarray of int64, shape (n + 1,)
        Where the documents begin among the tokens.
    mask : ndarray of bool, shape (tokens,), optional
    scores : array of float32, shape (m,)
        On the device; is written.
    """
    pairs = len(candidates.rows)
    # At least a document for each warp of a block.
    size = int(np.clip(pairs // max(1, device.multiprocessors * 4), THREADS // 32, 64))
    tiles = cuda_plan.tiles(candidates.offsets, size)
    room = staged_bytes(dimension)
    staged = room <= device.shared_bytes - 4096
    masks = [
        NULL if each is None else device.put(np.ascontiguousarray(each).view(np.uint8))
        for each in (query_mask, mask)
    ]
    arguments = (
        *(device.put(queries), masks[0], np.int32(queries.shape[1])),
        *(np.int32(queries.shape[2] // 8), stored.data, np.int64(stored.stride)),
        *(np.int32(dimension), device.put(bounds), masks[1], device.put(candidates.rows)),
        *(device.put(candidates.offsets), device.put(tiles.query), device.put(tiles.first)),
        *(np.int32(size), scores),
    )
    name = "maxsim_staged" if staged else "maxsim_direct"
    return Launch(name, len(tiles.query), THREADS, arguments, room if staged else 0)


def parts(
    candidates: Candidates, documents: TokenRows, most: int
) -> Iterator[tuple[cuda_plan.Block, np.ndarray, np.ndarray]]:
    """Cut candidates by their documents, for a device that holds `most` tokens and a document.

    Yields
    ------
    Block
        ``stored`` are documents.
    ndarray of int64, shape (tokens,)
        Their tokens among all.
    ndarray of int64, shape (len(stored) + 1,)
        Where each of them begins among these.
    """
    distinct = np.unique(candidates.rows).astype(np.int64)
    lengths = documents.offsets[distinct + 1] - documents.offsets[distinct]
    cuts = (np.cumsum(lengths) - lengths) // most
    for block in cuda_plan.blocks(candidates, cuts):
        yield (block, *token_numbers(block.stored, documents.offsets))
