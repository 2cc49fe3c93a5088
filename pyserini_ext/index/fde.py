"""MUVERA: fixed-dimensional encodings, single vectors in the place of a vector for each token.

Dhulipala et al., "MUVERA: Multi-Vector Retrieval via Fixed Dimensional Encodings", 2024, section
2.1; details as in google/graph-mining, ``fixed_dimensional_encoding.cc``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pyserini_ext.errors import InputError


@dataclass(frozen=True)
class Muvera:
    """Makes fixed-dimensional encodings of token vectors.

    The space is cut into ``2 ** bits`` parts by random hyperplanes. A query's encoding has the sum
    of its tokens in each part, a document's the mean of its own; a part without a document token is
    given the document's token that lies nearest, by the number of hyperplanes between. Each block
    is then projected by random signs, and all of it is repeated with other hyperplanes. A final
    projection, a count sketch, makes whatever width is wanted of that.

    Parameters
    ----------
    dimension : int
        Of the token vectors.
    repetitions, bits : int
        The paper's R_reps and k_sim.
    projected : int, optional
        The paper's d_proj: dimensions of a part after the projection; None for no projection.
    seed : int
        Repetition r draws from ``seed + r``.
    final : int, optional
        Numbers of an encoding after the final projection; None for no such projection.

    Raises
    ------
    InputError
        If a number is out of range.

    Examples
    --------
    >>> muvera = Muvera(2, repetitions=1, bits=0, projected=None)
    >>> tokens, offsets = np.array([[1.0, 0.0], [0.0, 3.0]]), np.array([0, 2])
    >>> muvera.queries(tokens, offsets).tolist(), muvera.documents(tokens, offsets).tolist()
    ([[1.0, 3.0]], [[0.5, 1.5]])
    """

    dimension: int
    repetitions: int = 20
    bits: int = 5
    projected: int | None = 16
    seed: int = 42
    final: int | None = None

    def __post_init__(self) -> None:
        for name, low, high in (
            ("dimension", 1, None),
            ("repetitions", 1, None),
            ("bits", 0, 20),
            ("projected", 1, self.dimension),
        ):
            self._check(name, low, high)
        self._check("final", 1, self.inner)

    def _check(self, name: str, low: int, high: int | None) -> None:
        value = getattr(self, name)
        if value is not None and (value < low or (high is not None and value > high)):
            limit = f"from {low} to {high}" if high is not None else f"at least {low}"
            raise InputError(f"{name} is {value}; it must be {limit}")

    @property
    def width(self) -> int:
        """Numbers of an encoding."""
        return self.final or self.inner

    @property
    def inner(self) -> int:
        """Numbers of an encoding before the final projection."""
        return self.repetitions * (1 << self.bits) * (self.projected or self.dimension)

    def queries(self, tokens: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """Encode queries.

        Parameters
        ----------
        tokens : ndarray of float, shape (tokens, dimension)
        offsets : ndarray of int64, shape (q + 1,)
            Query i has the rows ``offsets[i]`` to ``offsets[i + 1]``.

        Returns
        -------
        ndarray of float32, shape (q, width)
        """
        return self._encoded(tokens, offsets, documents=False)

    def documents(self, tokens: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """Encode documents.

        Parameters
        ----------
        tokens : ndarray of float, shape (tokens, dimension)
        offsets : ndarray of int64, shape (n + 1,)

        Returns
        -------
        ndarray of float32, shape (n, width)
            Zeros for a document without tokens.
        """
        return self._encoded(tokens, offsets, documents=True)

    def parts(self, tokens: np.ndarray, repetition: int) -> np.ndarray:
        """Return the part that each token lies in.

        Returns
        -------
        ndarray of int64, shape (tokens,)
            The signs of its products with the hyperplanes, read as a Gray code: parts that follow
            one another differ in one sign.
        """
        return _from_gray(self._signs(tokens, repetition))

    def _signs(self, tokens: np.ndarray, repetition: int) -> np.ndarray:
        planes = self._random(repetition).standard_normal((self.dimension, self.bits))
        above = tokens @ planes.astype(np.float32) > 0
        return above @ (1 << np.arange(self.bits)[::-1])

    def _random(self, repetition: int) -> np.random.Generator:
        return np.random.default_rng(self.seed + repetition)

    def _projection(self, repetition: int) -> tuple[np.ndarray, np.ndarray]:
        """Return of each dimension the one it goes to, and its sign (AMS: one +-1 a row)."""
        random = self._random(repetition)
        random.standard_normal((self.dimension, self.bits))
        goes = random.integers(0, self.projected or self.dimension, self.dimension)
        return goes, random.integers(0, 2, self.dimension) * 2 - 1

    def _encoded(self, tokens: np.ndarray, offsets: np.ndarray, *, documents: bool) -> np.ndarray:
        tokens = np.ascontiguousarray(tokens, dtype=np.float32)
        if tokens.ndim != 2 or tokens.shape[1] != self.dimension or offsets[-1] != len(tokens):
            raise InputError(
                f"token vectors of shape {tokens.shape} and offsets to {offsets[-1]}; expected "
                f"(tokens, {self.dimension}) and an offset for each document up to its last token"
            )
        count, parts = len(offsets) - 1, 1 << self.bits
        size = self.projected or self.dimension
        owner = np.repeat(np.arange(count), np.diff(offsets))
        out = np.empty((count, self.repetitions, parts, size), dtype=np.float32)
        for repetition in range(self.repetitions):
            codes = self._signs(tokens, repetition)
            place = owner * parts + _from_gray(codes)
            small = self._projected(tokens, repetition)
            block = np.zeros((count * parts, size), dtype=np.float32)
            order = np.argsort(place, kind="stable")
            filled, first = np.unique(place[order], return_index=True)
            if len(order):
                block[filled] = np.add.reduceat(small[order], first, axis=0)
            if documents:
                held = np.bincount(place, minlength=count * parts)
                block /= np.maximum(held, 1)[:, None]
                self._fill(block, held.reshape(count, parts), codes, small, offsets)
            out[:, repetition] = block.reshape(count, parts, size)
        return self._sketched(out.reshape(count, -1))

    def _projected(self, tokens: np.ndarray, repetition: int) -> np.ndarray:
        if self.projected is None:
            return tokens
        goes, sign = self._projection(repetition)
        matrix = np.zeros((self.dimension, self.projected), dtype=np.float32)
        matrix[np.arange(self.dimension), goes] = sign
        return tokens @ matrix

    def _sketched(self, encodings: np.ndarray) -> np.ndarray:
        """Add up the numbers that fall into one place of the final projection, by random signs."""
        if self.final is None:
            return encodings
        random = np.random.default_rng((self.seed, self.final))
        goes = random.integers(0, self.final, self.inner)
        signs = (random.integers(0, 2, self.inner) * 2 - 1).astype(np.float32)
        order = np.argsort(goes, kind="stable")
        filled, first = np.unique(goes[order], return_index=True)
        out = np.zeros((len(encodings), self.final), dtype=np.float32)
        encodings *= signs
        out[:, filled] = np.add.reduceat(encodings[:, order], first, axis=1)
        return out

    def _fill(
        self,
        block: np.ndarray,
        held: np.ndarray,
        codes: np.ndarray,
        small: np.ndarray,
        offsets: np.ndarray,
    ) -> None:
        """Give each empty part of a document its nearest token, of equally near ones the first."""
        parts = held.shape[1]
        numbers = np.arange(parts)
        of_part = numbers ^ (numbers >> 1)
        for document in np.flatnonzero((held == 0).any(axis=1) & (np.diff(offsets) > 0)):
            start, stop = offsets[document], offsets[document + 1]
            empty = np.flatnonzero(held[document] == 0)
            apart = np.bitwise_count(of_part[empty][:, None] ^ codes[start:stop][None])
            block[document * parts + empty] = small[start + apart.argmin(axis=1)]


def _from_gray(codes: np.ndarray) -> np.ndarray:
    """Return the numbers whose Gray codes these are."""
    numbers = codes.astype(np.int64)
    shift = numbers >> 1
    while shift.any():
        numbers = numbers ^ shift
        shift = shift >> 1
    return numbers
