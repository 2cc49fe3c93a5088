"""Rescoring: exact scores of given candidates, by the fastest backend there is."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from pyserini_ext.errors import InputError
from pyserini_ext.rescore.backend import Backend
from pyserini_ext.rescore.rows import Candidates, Ranked, StoredRows, check, listed

BACKENDS = {
    "cuda": "pyserini_ext.rescore.cuda:CudaBackend",
    "numba": "pyserini_ext.rescore.numba_backend:NumbaBackend",
    "numpy": "pyserini_ext.rescore.numpy_backend:NumpyBackend",
}
"""The backends, the one that ``auto`` prefers first."""


def rescore(
    queries: np.ndarray,
    candidates: Candidates | Sequence[Sequence[int] | np.ndarray],
    rows: StoredRows,
    *,
    k: int | None = None,
    metric: str = "ip",
    sparse: np.ndarray | None = None,
    alpha: float = 0.5,
    backend: str | Backend = "auto",
    device: str | None = None,
    threads: int | None = None,
) -> Ranked:
    """Rank the candidates of each query by their exact scores.

    Parameters
    ----------
    queries : array of float, shape (q, dimension)
    candidates : Candidates, or a sequence of q sequences of int
        Rows of the store.
    rows : StoredRows
        E.g. ``store.stored`` of a :class:`~pyserini_ext.index.matrix.MatrixStore`, or what
        :func:`~pyserini_ext.rescore.quantise.quantise` makes of a matrix.
    k : int, optional
        Candidates to keep of each query; all by default.
    metric : {"ip", "cosine", "l2"}
        What a score is: see :class:`StoredRows`.
    sparse : array of float, shape (m,), optional
        A score of the first stage for each candidate. Then the rank is by ``alpha * sparse +
        (1 - alpha) * dense``, in float64.
    alpha : float
        Weight of `sparse`; not used without it.
    backend : {"auto", "cuda", "numba", "numpy"} or Backend
        ``auto`` takes the first of these that works here. On a GPU the rows stay from one call to
        the next, as long as `rows` is the same object.
    device : str, optional
        ``cuda`` or ``cuda:1`` asks for a GPU and for nothing else, ``cpu`` for none.
    threads : int, optional
        On the CPU; all cores by default.

    Returns
    -------
    Ranked

    Raises
    ------
    InputError
        If shapes do not fit, a row is not in the store, or the backend does not work here.

    Examples
    --------
    >>> from pyserini_ext.rescore.quantise import quantise
    >>> rows = quantise(np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), "float32")
    >>> best = rescore(np.array([[2.0, 1.0]]), [[0, 1, 2]], rows, k=2)
    >>> best.positions.tolist(), best.scores.tolist()
    ([2, 0], [3.0, 2.0])
    """
    queries, candidates = _checked(queries, candidates, rows, metric)
    if k is not None and k < 1:
        raise InputError(f"k is {k}; it must be at least 1")
    if sparse is not None:
        sparse = np.ascontiguousarray(sparse, dtype=np.float32)
        if sparse.shape != candidates.rows.shape:
            raise InputError(
                f"{len(candidates.rows)} candidates but sparse scores of shape {sparse.shape}"
            )
        if not np.isfinite(alpha):
            raise InputError(f"alpha is {alpha}; it must be a finite number")
    depth = max(1, len(candidates.rows)) if k is None else k
    worker = _backend(backend, device, threads)
    return worker.best(queries, candidates, rows, metric, depth, sparse, alpha)


def score(
    queries: np.ndarray,
    candidates: Candidates | Sequence[Sequence[int] | np.ndarray],
    rows: StoredRows,
    *,
    metric: str = "ip",
    backend: str | Backend = "auto",
    device: str | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """Score candidates without ranking them.

    Parameters
    ----------
    queries, candidates, rows, metric, backend, device, threads
        As for :func:`rescore`.

    Returns
    -------
    ndarray of float32, shape (m,)
        A score for each candidate, the lists of all queries one after the other.
    """
    queries, candidates = _checked(queries, candidates, rows, metric)
    return _backend(backend, device, threads).score(queries, candidates, rows, metric)


def make_backend(
    name: str = "auto", device: str | None = None, threads: int | None = None
) -> Backend:
    """Make a backend to use for several calls.

    Parameters
    ----------
    name : {"auto", "cuda", "numba", "numpy"}
    device : str, optional
        See :func:`rescore`.
    threads : int, optional
        On the CPU; all cores by default.

    Returns
    -------
    Backend
        Its ``name`` says which one was taken.

    Raises
    ------
    InputError
        If the one asked for does not work here, with the reason; if `name` and `device` contradict
        each other.
    """
    if name != "auto" and name not in BACKENDS:
        raise InputError(f"backend={name!r}; choose one of auto, {', '.join(BACKENDS)}")
    if threads is not None and threads < 1:
        raise InputError(f"threads is {threads}; it must be at least 1")
    kind = None if device is None else device.partition(":")[0]
    if kind not in (None, "cpu", "cuda"):
        raise InputError(f"device={device!r}; choose cpu, cuda or cuda:N")
    if name != "auto" and kind is not None and (name == "cuda") != (kind == "cuda"):
        raise InputError(
            f"backend={name!r} does not run on device={device!r}; leave one of them out"
        )
    if kind == "cuda":
        name = "cuda"
    names = [name] if name != "auto" else [n for n in BACKENDS if n != "cuda" or kind is None]
    for each in names:
        cls = _load(each)
        reason = cls.unavailable()
        if reason is None:
            options: dict[str, Any] = {}
            if each == "cuda":
                options["device"] = device
            elif each == "numba":
                options["threads"] = threads
            return cls(**options)
        if name != "auto":
            raise InputError(reason)
    raise AssertionError("numpy always works")


def unavailable() -> dict[str, str | None]:
    """Return of each backend why it does not work here, None if it does."""
    return {name: _load(name).unavailable() for name in BACKENDS}


def _load(name: str) -> type[Backend]:
    module, _, attribute = BACKENDS[name].partition(":")
    return getattr(import_module(module), attribute)


def _backend(backend: str | Backend, device: str | None, threads: int | None) -> Backend:
    if isinstance(backend, Backend):
        if device is not None or threads is not None:
            raise InputError("device and threads were settled when the backend was made")
        return backend
    # A GPU keeps the rows of a store as long as its backend is there.
    return _shared(backend, device, threads)


_shared = cache(make_backend)


def _checked(
    queries: np.ndarray,
    candidates: Candidates | Sequence[Sequence[int] | np.ndarray],
    rows: StoredRows,
    metric: str,
) -> tuple[np.ndarray, Candidates]:
    queries = np.ascontiguousarray(np.asarray(queries), dtype=np.float32)
    if not isinstance(candidates, Candidates):
        candidates = listed(candidates)
    check(queries, candidates, rows, metric)
    return queries, Candidates(
        np.ascontiguousarray(candidates.rows, dtype=np.int32),
        np.ascontiguousarray(candidates.offsets, dtype=np.int64),
    )
