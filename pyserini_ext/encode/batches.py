"""Batches of token sequences of similar length, so that little of the work is padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

SLACK = 0.1
"""A batch's shortest sequence may be this share shorter than its longest."""

FEWEST_TOKENS = 256
"""A batch smaller than this takes longer sequences in than `SLACK` allows: below it the fixed
cost of a forward pass exceeds that of the padding."""


def length_sorted(
    lengths: Sequence[int], batch_size: int, tokens: int | None = None
) -> Iterator[np.ndarray]:
    """Cut sequences into batches by length.

    Parameters
    ----------
    lengths : sequence of int
        Tokens of each sequence.
    batch_size : int
        At most this many sequences in a batch.
    tokens : int, optional
        At most this many tokens in a batch, padding included; a longer sequence stands alone.

    Yields
    ------
    ndarray of intp
        Positions in `lengths`, longest sequences first, so that a batch that does not fit in
        memory fails at once and not after hours.
    """
    sizes = np.asarray(lengths, dtype=np.intp)
    order = np.argsort(-sizes, kind="stable")
    start = 0
    while start < len(order):
        longest = max(1, int(sizes[order[start]]))
        room = batch_size if tokens is None else min(batch_size, max(1, tokens // longest))
        batch = order[start : start + room]
        similar = int(np.count_nonzero(sizes[batch] >= longest * (1 - SLACK)))
        batch = batch[: max(similar, FEWEST_TOKENS // longest)]
        yield batch
        start += len(batch)


def padded(sequences: Sequence[Sequence[int]], pad: int) -> tuple[np.ndarray, np.ndarray]:
    """Put token ids in a rectangle, padded on the right.

    The right side is safe for every model: absolute positions stay what they are, and in a
    decoder no token sees the padding.

    Parameters
    ----------
    sequences : sequence of sequence of int
    pad : int
        Id of the padding token.

    Returns
    -------
    tuple of ndarray of int64, shape (n, longest)
        The ids and the attention mask.
    """
    lengths = np.array([len(sequence) for sequence in sequences])
    mask = np.arange(max(1, lengths.max())) < lengths[:, None]
    ids = np.full(mask.shape, pad, dtype=np.int64)
    ids[mask] = np.concatenate([np.asarray(s, dtype=np.int64) for s in sequences])
    return ids, mask.astype(np.int64)
