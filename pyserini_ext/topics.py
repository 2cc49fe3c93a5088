"""Topics: queries by qid, from files of any usual layout or from Pyserini's names."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from pyserini_ext.errors import InputError
from pyserini_ext.files import open_text

QID_FIELDS = ("_id", "id", "qid", "query_id")
TEXT_FIELDS = ("text", "query", "title", "contents")
ENDINGS = (".tsv", ".txt", ".json", ".jsonl", ".trec", ".gz")
"""Endings of topic files."""


def load_topics(source: str | Path) -> dict[str, str]:
    """Read topics.

    Parameters
    ----------
    source : str or Path
        A TSV file (qid, tab, query), a JSONL file, a BEIR folder (``queries.jsonl``), each also
        with ``.gz``; or any other file or name that Pyserini knows (``dl19-passage``), which is
        handed to Pyserini. The layout is judged by the file's own ending and content, never by
        words in its path.

    Returns
    -------
    dict
        qid to query, in Pyserini's order (numbers by value, anything else by code point), so that
        run files can be compared line by line.

    Raises
    ------
    InputError
        If there is nothing under that name, a line is malformed, a qid comes twice or a query is
        empty.

    Examples
    --------
    >>> load_topics("queries.tsv")  # doctest: +SKIP
    {'1': 'measurement of dielectric constants', ...}
    """
    path = Path(source)
    if path.is_dir():
        path = _queries_of_folder(path)
    if not path.is_file():
        # Pyserini's names hold dots (msmarco-v1-passage.dev) but neither folders nor these endings;
        # asking it costs seconds.
        if len(path.parts) > 1 or path.suffix in ENDINGS:
            raise InputError(f"--topics: no such file: {source}")
        return _from_pyserini(str(source))
    ending = "".join(path.suffixes[-2:]) if path.suffix == ".gz" else path.suffix
    if ending.removesuffix(".gz") in (".tsv", ".txt"):
        pairs = _read_tsv(path)
    elif ending.removesuffix(".gz") == ".jsonl":
        pairs = _read_jsonl(path)
    else:
        return _from_pyserini(str(source))
    return _ordered(path, pairs)


def _queries_of_folder(folder: Path) -> Path:
    for name in ("queries.jsonl", "queries.jsonl.gz", "queries.tsv"):
        if (folder / name).is_file():
            return folder / name
    raise InputError(f"--topics: the folder {folder} has neither queries.jsonl nor queries.tsv")


def _read_tsv(path: Path) -> Iterator[tuple[str, str]]:
    with open_text(path) as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            qid, tab, query = line.rstrip("\r\n").partition("\t")
            if not tab or not query.strip():
                raise InputError(
                    f"{path}, line {number}: expected a query id, a tab and a query, "
                    f"found {line.rstrip()!r}"
                )
            yield qid.strip(), query.strip()


def _read_jsonl(path: Path) -> Iterator[tuple[str, str]]:
    with open_text(path) as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                topic = json.loads(line)
                qid = next(str(topic[field]) for field in QID_FIELDS if field in topic)
                query = next(topic[field] for field in TEXT_FIELDS if topic.get(field))
            except (json.JSONDecodeError, StopIteration, TypeError, AttributeError) as error:
                raise InputError(
                    f"{path}, line {number}: expected a JSON object with one of "
                    f"{'/'.join(QID_FIELDS)} and one of {'/'.join(TEXT_FIELDS)}, "
                    f"found {line.strip()[:80]!r}"
                ) from error
            yield qid, query.strip()


def _from_pyserini(name: str) -> dict[str, str]:
    """Let Pyserini read the topics: its registered names and its other file formats."""
    from pyserini_ext import jvm

    jvm.start()
    with jvm.pyserini_import():
        from jnius import JavaException
        from pyserini.query_iterator import TopicsFormat, get_query_iterator
    try:
        topics = {str(q): text for q, text in get_query_iterator(name, TopicsFormat.DEFAULT)}
    except (ValueError, FileNotFoundError, NotImplementedError) as error:
        raise InputError(
            f"--topics {name}: no such file, and Pyserini knows no topics of that name. Expected "
            "a TSV or JSONL file, a BEIR folder or a name such as dl19-passage"
        ) from error
    except JavaException as error:
        raise InputError(
            f"--topics {name}: Pyserini cannot read or download them ({error.innermessage})"
        ) from error
    for qid, query in topics.items():
        if not query:
            raise InputError(f"--topics {name}: the query of topic {qid!r} is empty")
    return topics


def _ordered(path: Path, pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    topics: dict[str, str] = {}
    for qid, query in pairs:
        if qid in topics:
            raise InputError(f"{path}: query id {qid!r} comes twice; qids must be distinct")
        if not qid or len(qid.split()) != 1:
            raise InputError(f"{path}: query id {qid!r} is empty or contains white space")
        topics[qid] = query
    if not topics:
        raise InputError(f"{path} contains no topics")
    numeric = all(qid.isdecimal() for qid in topics)
    return {qid: topics[qid] for qid in sorted(topics, key=int if numeric else str)}
