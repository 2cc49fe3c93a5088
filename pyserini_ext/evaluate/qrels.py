"""Relevance judgements, from TREC or BEIR files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pyserini_ext.errors import InputError
from pyserini_ext.files import open_text

BEIR_HEADER = ["query-id", "corpus-id", "score"]


def read_qrels(path: str | Path) -> dict[str, dict[str, int]]:
    """Read relevance judgements.

    Parameters
    ----------
    path : str or Path
        TREC qrels (``qid iteration docid relevance``) or BEIR qrels (tab-separated, first line
        ``query-id corpus-id score``); ``.gz`` allowed.

    Returns
    -------
    dict of str to dict of str to int
        qid to docid to relevance, queries in the order of the file. Negative relevance is kept.

    Raises
    ------
    InputError
        With file and line: a malformed line, a relevance that is no whole number, one document
        judged twice with different relevance. Also for a file without judgements.
    """
    qrels: dict[str, dict[str, int]] = {}
    for number, qid, docid, relevance in _lines(path):
        judged = qrels.setdefault(qid, {})
        if judged.setdefault(docid, relevance) != relevance:
            raise InputError(
                f"{path}, line {number}: query {qid!r} judges document {docid!r} as {relevance} "
                f"after {judged[docid]}; keep one of the two lines"
            )
    if not qrels:
        raise InputError(f"{path} holds no judgements; expected TREC or BEIR qrels")
    return qrels


def _lines(path: str | Path) -> Iterator[tuple[int, str, str, int]]:
    """Parse a qrels file into (line number, qid, docid, relevance)."""
    beir: bool | None = None
    with open_text(path) as source:
        try:
            for number, line in enumerate(source, start=1):
                if not line.strip():
                    continue
                if beir is None:
                    beir = line.removeprefix("\ufeff").split() == BEIR_HEADER
                    if beir:
                        continue
                fields = line.strip().split("\t") if beir else line.split()
                if len(fields) != (3 if beir else 4):
                    raise InputError(
                        f"{path}, line {number}: {len(fields)} columns in {line.strip()!r}; "
                        "expected four (qid iteration docid relevance) or, under the BEIR header "
                        "'query-id corpus-id score', three separated by tabs"
                    )
                try:
                    yield number, fields[0], fields[-2], int(fields[-1])
                except ValueError as error:
                    raise InputError(
                        f"{path}, line {number}: relevance {fields[-1]!r} in {line.strip()!r} is "
                        "not a whole number"
                    ) from error
        except (UnicodeDecodeError, EOFError, OSError) as error:
            raise InputError(f"{path} cannot be read as UTF-8 text: {error}") from error
