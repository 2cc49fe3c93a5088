"""Training queries: topics, and pseudo-queries made from the documents themselves."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from pyserini_ext.collection import Document
from pyserini_ext.errors import InputError

WORDS = 12
"""Words of a pseudo-query at most: the length of a long question. Without punctuation a whole
document is one sentence."""

FEWEST = 2
"""Words of a pseudo-query at least."""

SENTENCE = re.compile(r"(?<=[.!?])\s")


class Query(NamedTuple):
    """A query to train on, and the documents that are known to be relevant to it."""

    qid: str
    text: str
    positives: tuple[str, ...] = ()


def training_queries(
    documents: Iterable[Document],
    topics: str | None,
    qrels: str | None,
    pseudo: int,
    seed: int,
) -> list[Query]:
    """Gather the queries to train on.

    Parameters
    ----------
    documents : iterable of Document
    topics, qrels : str, optional
        What :func:`~pyserini_ext.topics.load_topics` and
        :func:`~pyserini_ext.evaluate.qrels.read_qrels` read.
    pseudo : int
        Pseudo-queries to make.
    seed : int

    Returns
    -------
    list of Query
        Topics, then pseudo-queries; qids begin with ``topic:`` and ``pseudo:``.

    Raises
    ------
    InputError
        If there are none.
    """
    from pyserini_ext.evaluate.qrels import read_qrels
    from pyserini_ext.topics import load_topics

    if pseudo < 0:
        raise InputError(f"--pseudo-queries is {pseudo}; it must be at least 0")
    if not topics and not pseudo:
        raise InputError("no queries to train on; give --topics, --pseudo-queries, or both")
    judged = read_qrels(qrels) if qrels else {}
    known = {document.docid for document in documents} if judged else set()
    out = []
    for qid, text in (load_topics(topics) if topics else {}).items():
        good = (docid for docid, grade in judged.get(qid, {}).items() if grade > 0)
        out.append(Query(f"topic:{qid}", text, tuple(d for d in good if d in known)))
    out += pseudo_queries(documents, pseudo, seed)
    if not out:
        raise InputError("no document has a title or two words to make a pseudo-query of")
    return out


def pseudo_queries(documents: Iterable[Document], count: int, seed: int) -> list[Query]:
    """Make queries of randomly chosen documents, in their order.

    Returns
    -------
    list of Query
        At most `count`; the document is the one that is known to be relevant.
    """
    numbers = np.random.default_rng(seed)
    # Of a stream of unknown length: those with the smallest random numbers.
    chosen: list[tuple[float, int, Query]] = []
    for place, document in enumerate(documents):
        draw, text = float(numbers.random()), pseudo_query(document)
        if text:
            chosen.append((draw, place, Query(f"pseudo:{document.docid}", text, (document.docid,))))
            if len(chosen) > 2 * count + 1000:
                chosen = sorted(chosen)[:count]
    return [query for _, _, query in sorted(sorted(chosen)[:count], key=lambda each: each[1])]


def pseudo_query(document: Document) -> str:
    """Return a document's title, else its first sentence, cut to the first words; may be empty.

    Examples
    --------
    >>> pseudo_query(Document("d1", "", "Sound is a wave. It travels."))
    'Sound is a wave.'
    """
    text = document.title or SENTENCE.split(document.text, maxsplit=1)[0]
    words = text.split()
    return " ".join(words[:WORDS]) if len(words) >= FEWEST else ""
