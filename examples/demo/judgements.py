"""The demonstration's queries and judgements, cut to what this Python documents.

``queries.tsv`` holds ``qid<TAB>query``, ``qrels.txt`` TREC judgements with two grades: 2 for what
answers the question, 1 for what else helps (a variant, the class or module to start from). Both
name documents of Python 3.11 to 3.13; a Python without one of them has fewer judgements.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
ANSWER = 2


class Judgements(NamedTuple):
    """What is left of queries and judgements, and what is not.

    ``topics`` maps qid to query, ``qrels`` maps qid to {docid: grade}; ``missing`` are the judged
    docids this collection lacks, ``dropped`` the queries that have no answer left in it.
    """

    topics: dict[str, str]
    qrels: dict[str, dict[str, int]]
    missing: list[str]
    dropped: dict[str, str]

    def save(self, folder: Path) -> tuple[Path, Path]:
        """Write ``queries.tsv`` and ``qrels.txt`` into `folder` and return their paths."""
        from pyserini_ext.files import atomic_writer

        topics, qrels = folder / "queries.tsv", folder / "qrels.txt"
        with atomic_writer(topics) as out:
            out.writelines(f"{qid}\t{query}\n" for qid, query in self.topics.items())
        with atomic_writer(qrels) as out:
            for qid, grades in self.qrels.items():
                out.writelines(f"{qid} 0 {docid} {grade}\n" for docid, grade in grades.items())
        return topics, qrels


def docids(corpus: Path) -> set[str]:
    """Return the docids of a collection file."""
    with corpus.open(encoding="utf-8") as lines:
        return {json.loads(line)["id"] for line in lines}


def select(known: Iterable[str]) -> Judgements:
    """Read queries and judgements and keep those about documents in `known`.

    Parameters
    ----------
    known : iterable of str
        The docids of the collection.
    """
    known = set(known)
    topics = dict(line.split("\t") for line in _lines("queries.tsv"))
    qrels: dict[str, dict[str, int]] = {qid: {} for qid in topics}
    missing = []
    for line in _lines("qrels.txt"):
        qid, _, docid, grade = line.split()
        if docid in known:
            qrels[qid][docid] = int(grade)
        else:
            missing.append(docid)
    dropped = {q: text for q, text in topics.items() if ANSWER not in qrels[q].values()}
    return Judgements(
        {qid: text for qid, text in topics.items() if qid not in dropped},
        {qid: grades for qid, grades in qrels.items() if qid not in dropped},
        missing,
        dropped,
    )


def _lines(name: str) -> list[str]:
    return (HERE / name).read_text(encoding="utf-8").splitlines()
