"""Candidates for distillation: what teachers find for training queries, with all their scores."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pyserini_ext.collection import open_collection
from pyserini_ext.errors import InputError
from pyserini_ext.files import fingerprint
from pyserini_ext.plugins import create, read_options
from pyserini_ext.train.queries import Query, training_queries

FORMAT = "pyserini-ext candidates"

BATCH = 256
"""Queries searched and written at a time."""

DESCRIPTION = """\
Search for training queries with every teacher, and write for each query the documents that any of
them finds among its first --hits, with the scores that all of them give these documents. Queries
come from --topics, and from the documents themselves (--pseudo-queries). An interrupted run goes on
where it stopped when the same command is given again.

example:
  python -m pyserini_ext.train candidates --corpus corpus.jsonl --pseudo-queries 4000 \\
      --teacher bm25 index=indexes/lucene --teacher dense index=indexes/faiss encoder=minilm \\
      --output candidates.jsonl"""


class Candidates(NamedTuple):
    """The candidates of one query.

    Attributes
    ----------
    qid, query : str
    positives : tuple of str
        Documents known to be relevant; they are among the candidates.
    docids : list of str
    scores : ndarray of float64, shape (teachers, len(docids))
    """

    qid: str
    query: str
    positives: tuple[str, ...]
    docids: list[str]
    scores: np.ndarray


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the subcommand."""
    add = parser.add_argument
    add("--corpus", required=True, help="collection: JSONL, TSV, BEIR folder")
    add("--topics", help="training queries: a file, BEIR folder, or name that Pyserini knows")
    add("--qrels", help="relevant documents of --topics, for the contrastive loss")
    add(
        "--pseudo-queries",
        type=int,
        default=0,
        metavar="N",
        help="take the title, else the first words, of N random documents as queries",
    )
    add(
        "--teacher",
        nargs="+",
        action="append",
        required=True,
        metavar=("SEARCHER", "NAME=VALUE"),
        help="registered searcher and its options; repeat for an ensemble",
    )
    add("--hits", type=int, default=100, help="depth of each teacher's list (default: %(default)s)")
    add("--seed", type=int, default=0, help="of the choice of documents (default: %(default)s)")
    add("--threads", type=int, default=1, help="of the search (default: %(default)s)")
    add("--output", required=True, metavar="FILE", help="to make: .jsonl")


def main(args: argparse.Namespace) -> int:
    """Run the subcommand."""
    output = Path(args.output)
    if output.suffix != ".jsonl":
        raise InputError(f"{output} must end in .jsonl")
    if output.exists():
        raise InputError(f"{output} exists already; choose another name")
    for name in ("hits", "threads"):
        if getattr(args, name) < 1:
            raise InputError(f"--{name} is {getattr(args, name)}; it must be at least 1")
    if args.qrels and not args.topics:
        raise InputError("--qrels judges --topics; give these, or leave it out")
    queries = training_queries(
        open_collection(args.corpus), args.topics, args.qrels, args.pseudo_queries, args.seed
    )
    teachers = [make_teacher(words) for words in args.teacher]
    request = {
        "corpus": fingerprint(args.corpus),
        "topics": _identity(args.topics),
        "qrels": _identity(args.qrels),
        "pseudo_queries": args.pseudo_queries,
        "seed": args.seed,
        "teachers": [" ".join(words) for words in args.teacher],
        "hits": args.hits,
        "queries": len(queries),
    }
    write_candidates(output, request, queries, teachers, args.hits, args.threads)
    print(f"{len(queries)} queries in {output}")
    return 0


def _identity(name: str | None) -> Any:
    return fingerprint(name)["sha256"] if name and Path(name).exists() else name


def make_teacher(words: Sequence[str]) -> Any:
    """Make a searcher from its registered name and its options, ``name=value`` each."""
    name, *options = words
    return create("searcher", name, **read_options(options))


def write_candidates(
    path: Path,
    request: Mapping[str, Any],
    queries: Sequence[Query],
    teachers: Sequence[Any],
    hits: int,
    threads: int = 1,
) -> None:
    """Search and write, or go on with what an interrupted run wrote.

    Lines are appended to ``<path>.part``, whose first line is the request; a torn last line is
    cut off.

    Parameters
    ----------
    path : Path
    request : mapping
        JSON; unfinished work of another request is refused.
    queries : sequence of Query
    teachers : sequence of Searcher
    hits, threads : int

    Raises
    ------
    InputError
        If unfinished work is not of this request, or a teacher cannot score given documents.
    """
    from tqdm import tqdm

    part = path.with_name(f"{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    header = json.dumps({"format": FORMAT, "request": request}) + "\n"
    done = _resume(part, header)
    with part.open("a", encoding="utf-8") as out:
        bar = tqdm(total=len(queries), initial=done, unit="query", desc="teachers")
        with bar:
            for start in range(done, len(queries), BATCH):
                batch = queries[start : start + BATCH]
                for found in search_teachers(teachers, batch, hits, threads):
                    record = found._asdict() | {
                        "scores": [[float(f"{s:.7g}") for s in row] for row in found.scores]
                    }
                    out.write(json.dumps(record, ensure_ascii=False) + "\n")
                out.flush()
                os.fsync(out.fileno())
                bar.update(len(batch))
    part.replace(path)


def _resume(part: Path, header: str) -> int:
    """Return how many queries of this request are in `part`, which is made where it is not."""
    if part.is_file():
        data = part.read_bytes()
        good = data.rfind(b"\n") + 1
        if good:
            if not data.startswith(header.encode()):
                raise InputError(f"{part} is unfinished work of another command; remove it first")
            os.truncate(part, good)
            return data.count(b"\n") - 1
    part.write_text(header, encoding="utf-8")
    return 0


def search_teachers(
    teachers: Sequence[Any], queries: Sequence[Query], hits: int, threads: int = 1
) -> list[Candidates]:
    """Return the union of what the teachers find, each scored by all of them.

    Parameters
    ----------
    teachers : sequence of Searcher
    queries : sequence of Query
    hits : int
        Of each teacher.
    threads : int
    """
    texts, qids = [query.text for query in queries], [query.qid for query in queries]
    lists, scorers = [], []
    for teacher in teachers:
        if hasattr(teacher, "search_vectors"):  # a model encodes the queries once for both
            vectors = teacher.encode(texts)
            lists.append(teacher.search_vectors(vectors, qids, hits, threads))
            scorers.append(partial(teacher.score_vectors, vectors))
        else:
            lists.append(teacher.batch_search(texts, qids, hits, threads))
            scorers.append(partial(teacher.score, texts))
    union = [
        list(
            dict.fromkeys([*query.positives, *(d for run in lists for d in run[query.qid].docids)])
        )
        for query in queries
    ]
    columns = [scorer(union) for scorer in scorers]
    return [
        Candidates(
            query.qid,
            query.text,
            query.positives,
            union[number],
            np.array([column[number] for column in columns], dtype=np.float64),
        )
        for number, query in enumerate(queries)
    ]


def read_candidates(path: str | Path, docids: Mapping[str, int]) -> Iterator[Candidates]:
    """Read a file of candidates.

    Parameters
    ----------
    path : str or Path
    docids : mapping of str to int
        Of the collection that is trained on; another docid is an error.

    Raises
    ------
    InputError
        If it is no such file, or belongs to another collection.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no such file: {path}; python -m pyserini_ext.train candidates makes it")
    with path.open(encoding="utf-8") as lines:
        first = next(lines, "")
        if f'"{FORMAT}"' not in first:
            raise InputError(f"{path} holds no candidates; python -m pyserini_ext.train candidates")
        for number, line in enumerate(lines, start=2):
            try:
                record = json.loads(line)
                found = Candidates(**record)._replace(
                    positives=tuple(record["positives"]), scores=np.array(record["scores"])
                )
            except (ValueError, TypeError, KeyError) as error:
                raise InputError(f"{path}, line {number}: no candidates ({error})") from None
            for docid in found.docids:
                if docid not in docids:
                    raise InputError(
                        f"{path}, line {number}: document {docid!r} is not in the corpus; the "
                        "candidates were made for another one"
                    )
            yield found
