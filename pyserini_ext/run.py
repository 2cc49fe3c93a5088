"""Runs: the hits of many queries, and the files they are kept in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from pyserini_ext.errors import InputError
from pyserini_ext.files import atomic_writer, open_text
from pyserini_ext.hits import Hits

FORMATS = ("trec", "msmarco")


class Run(Mapping[str, Hits]):
    """The hits of many queries, by qid, in the order of the topics.

    Parameters
    ----------
    hits : mapping or iterable of pairs, optional
        qid to :class:`Hits` (or to anything that Pyserini returns for a query).
    tag : str
        The name written into the last column of a TREC run.

    Raises
    ------
    InputError
        If a qid comes twice.

    Examples
    --------
    >>> run = Run({"q1": Hits(["d1"], [0.5])}, tag="dense")
    >>> run["q1"][0].docid
    'd1'
    """

    def __init__(
        self, hits: Mapping[str, Any] | Iterable[tuple[str, Any]] = (), tag: str = "pyserini-ext"
    ) -> None:
        self.tag = tag
        self._hits: dict[str, Hits] = {}
        for qid, value in hits.items() if isinstance(hits, Mapping) else hits:
            self.add(qid, value)

    def add(self, qid: str, hits: Any) -> None:
        """Add the hits of one more query."""
        if qid in self._hits:
            raise InputError(f"query id {qid!r} comes twice; qids must be distinct")
        self._hits[qid] = Hits.from_pyserini(hits)

    def update(self, other: Mapping[str, Any]) -> None:
        """Add the hits of the queries of another run."""
        for qid, hits in other.items():
            self.add(qid, hits)

    def head(self, k: int) -> Run:
        """Return the run cut to `k` hits a query."""
        return Run({qid: hits.head(k) for qid, hits in self.items()}, tag=self.tag)

    def __getitem__(self, qid: str) -> Hits:
        return self._hits[qid]

    def __iter__(self) -> Iterator[str]:
        return iter(self._hits)

    def __len__(self) -> int:
        return len(self._hits)

    def __repr__(self) -> str:
        return f"Run({self.tag!r}: {len(self)} queries, {sum(map(len, self.values()))} hits)"

    @classmethod
    def read(cls, path: str | Path, *, keep_ranks: bool = False) -> Run:
        """Read a TREC run, or an MS MARCO run of three columns.

        Parameters
        ----------
        path : str or Path
            A run file, ``.gz`` allowed. The lines of a query need not stand together.
        keep_ranks : bool
            Keep the order of the file's rank column (as Pyserini's fusion does) instead of the
            total order of :class:`~pyserini_ext.hits.Hits`.

        Returns
        -------
        Run
            Scores as float64: a file holds decimals, not float32. MS MARCO runs have no scores;
            ``1 / rank`` stands for them.

        Raises
        ------
        InputError
            With file and line, for a malformed line or a document that a query lists twice.
        """
        rows: dict[str, list[tuple[str, float, int]]] = {}
        tag = "pyserini-ext"
        for qid, docid, position, score, tag in _lines(path):  # noqa: B007
            rows.setdefault(qid, []).append((docid, score, position))
        return cls(
            ((qid, _hits(path, qid, query_rows, keep_ranks)) for qid, query_rows in rows.items()),
            tag=tag,
        )

    def save(self, path: str | Path, *, format: str = "trec", tag: str | None = None) -> None:
        """Write the run to a file, whole or not at all.

        Parameters
        ----------
        path : str or Path
            The file; missing folders are created.
        format : {"trec", "msmarco"}
            TREC's six columns, or MS MARCO's ``qid docid rank``.
        tag : str, optional
            Instead of the run's own tag.
        """
        with RunWriter(path, format=format, tag=tag or self.tag) as out:
            for qid, hits in self.items():
                out.write(qid, hits)


class RunWriter:
    """Writes a run query by query; the file appears under its name when the block succeeds.

    float32 scores are written with six decimals, exactly as Pyserini writes them. float64 scores,
    which only fusion makes, are written in full, because six decimals would make new ties.

    Parameters
    ----------
    path : str or Path
        The run file.
    format : {"trec", "msmarco"}
    tag : str
        Last column of a TREC run; white space is not allowed in it.
    """

    def __init__(
        self, path: str | Path, *, format: str = "trec", tag: str = "pyserini-ext"
    ) -> None:
        if format not in FORMATS:
            raise InputError(f"unknown run format {format!r}; choose from {', '.join(FORMATS)}")
        if not tag or len(tag.split()) != 1:
            raise InputError(f"run tag {tag!r} must be one word without white space")
        self.path, self.format, self.tag = Path(path), format, tag
        self._seen: set[str] = set()
        self._context = atomic_writer(self.path)

    def __enter__(self) -> Self:
        self._out = self._context.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._context.__exit__(kind, error, trace)

    def write(self, qid: str, hits: Any) -> None:
        """Write the hits of one query.

        Raises
        ------
        InputError
            If the qid was written before, or qid or docid contain white space (the file could
            not be read back).
        """
        if qid in self._seen:
            raise InputError(f"query id {qid!r} comes twice; qids must be distinct")
        self._seen.add(qid)
        hits = Hits.from_pyserini(hits)
        _check_words("query id", [qid])
        _check_words("document id", hits.docids)
        docids, ranks = hits.docids.tolist(), range(1, len(hits) + 1)
        if self.format == "msmarco":
            lines = [f"{qid}\t{d}\t{r}\n" for d, r in zip(docids, ranks, strict=True)]
        elif hits.scores.dtype == np.float32:
            lines = [
                f"{qid} Q0 {d} {r} {s:.6f} {self.tag}\n"
                for d, r, s in zip(docids, ranks, hits.scores.tolist(), strict=True)
            ]
        else:
            lines = [
                f"{qid} Q0 {d} {r} {s!r} {self.tag}\n"
                for d, r, s in zip(docids, ranks, hits.scores.tolist(), strict=True)
            ]
        self._out.writelines(lines)


def iter_run(path: str | Path, *, keep_ranks: bool = False) -> Iterator[tuple[str, Hits]]:
    """Stream a run file query by query, holding one query at a time.

    Parameters
    ----------
    path : str or Path
        A TREC or MS MARCO run in which the lines of a query stand together.
    keep_ranks : bool
        As in :meth:`Run.read`.

    Yields
    ------
    tuple of (str, Hits)

    Raises
    ------
    InputError
        As :meth:`Run.read`, and when a query's lines are scattered.
    """
    current: str | None = None
    rows: list[tuple[str, float, int]] = []
    done = set[str]()
    for qid, docid, position, score, _ in _lines(path):
        if qid != current:
            if current is not None:
                yield current, _hits(path, current, rows, keep_ranks)
                done.add(current)
            if qid in done:
                raise InputError(
                    f"{path}: the lines of query {qid!r} are scattered; sort the file by query "
                    "(sort -s -k1,1) or read it with Run.read"
                )
            current, rows = qid, []
        rows.append((docid, score, position))
    if current is not None:
        yield current, _hits(path, current, rows, keep_ranks)


def _lines(path: str | Path) -> Iterator[tuple[str, str, int, float, str]]:
    """Parse a run file into (qid, docid, rank, score, tag)."""
    columns = None
    with open_text(path) as source:
        for number, line in enumerate(source, start=1):
            fields = line.split()
            if not fields:
                continue
            columns = columns or len(fields)
            if columns not in (3, 6) or len(fields) != columns:
                raise InputError(
                    f"{path}, line {number}: {len(fields)} columns in {line.strip()!r}; expected "
                    "six (qid Q0 docid rank score tag) or, in every line, three (qid docid rank)"
                )
            try:
                if columns == 6:
                    qid, _, docid, position, score, tag = fields
                    yield qid, docid, int(position), float(score), tag
                else:
                    qid, docid, position = fields
                    yield qid, docid, int(position), 1.0 / int(position), "pyserini-ext"
            except (ValueError, ZeroDivisionError) as error:
                raise InputError(
                    f"{path}, line {number}: rank or score is not a number in {line.strip()!r}"
                ) from error


def _hits(path: str | Path, qid: str, rows: list[tuple[str, float, int]], keep_ranks: bool) -> Hits:
    if keep_ranks:
        rows = sorted(rows, key=lambda row: row[2])
    docids = [docid for docid, _, _ in rows]
    if len(set(docids)) < len(docids):
        docid = next(d for i, d in enumerate(docids) if d in docids[:i])
        raise InputError(f"{path}: query {qid!r} lists document {docid!r} twice; remove one")
    scores = np.array([score for _, score, _ in rows], dtype=np.float64)
    if np.isnan(scores).any():
        raise InputError(f"{path}: query {qid!r} has a NaN score; scores must be numbers")
    return Hits(docids, scores, ranked=keep_ranks)


def _check_words(what: str, words: Iterable[str]) -> None:
    for word in words:
        if not word or len(word.split()) != 1:
            raise InputError(
                f"{what} {word!r} is empty or contains white space, which a run file cannot hold"
            )
