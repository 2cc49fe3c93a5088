"""Collections: documents streamed from files, never held in memory.

What a document's title and text are follows Pyserini's encoding command, with one difference: the
title is used whenever there is one. (Pyserini's default, ``--fields text``, drops it silently;
give ``fields=["text"]`` for that.)
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from pyserini_ext.errors import InputError

JSON_SUFFIXES = (".jsonl", ".json")
TSV_SUFFIXES = (".tsv", ".txt")


class Document(NamedTuple):
    """One document of a collection; `title` and `text` may be empty, never ``None``."""

    docid: str
    title: str
    text: str

    @property
    def contents(self) -> str:
        """Title and text on a line each, as Pyserini's ``contents`` field has them."""
        return f"{self.title}\n{self.text}" if self.title else self.text


@dataclass(frozen=True)
class Collection:
    """A part of a collection; iterating reads the files anew and yields :class:`Document`.

    Made by :func:`open_collection`. Memory: one line.

    Attributes
    ----------
    path : Path
        The file or folder that was opened.
    files : tuple of Path
        The files read, in this order.
    fields : tuple of str or None
        Names of the parts of ``contents``, or of the JSON fields or TSV columns to read.
    docid_field : str or None
        JSON field of the docid instead of the usual ones.
    delimiter : str
        Between the parts of ``contents``.
    start, stop : int, int or None
        The documents covered, counted over all files, `stop` excluded.
    """

    path: Path
    files: tuple[Path, ...]
    fields: tuple[str, ...] | None = None
    docid_field: str | None = None
    delimiter: str = "\n"
    start: int = 0
    stop: int | None = None

    def __iter__(self) -> Iterator[Document]:
        for file, number, line in islice(self._lines(), self.start, self.stop):
            try:
                yield self.parse(file, line, first=number == 1)
            except InputError as error:
                raise InputError(f"{file}, line {number}: {error}") from None

    def parse(self, file: Path, line: bytes, first: bool = False) -> Document:
        """Return the document that a line of one of the files holds.

        Parameters
        ----------
        file : Path
            Its name says the format.
        line : bytes
            Without the line's end.
        first : bool
            The file's first line, before which a byte order mark may stand.

        Raises
        ------
        InputError
            If it is no document.
        """
        parse = self._parse_tsv if _kind(file) in TSV_SUFFIXES else self._parse_json
        try:
            return parse(line.decode("utf-8-sig" if first else "utf-8"))
        except UnicodeDecodeError as error:
            raise InputError(f"not UTF-8 text ({error.reason})") from None
        except ValueError as error:
            raise InputError(str(error)) from None

    def count(self) -> int:
        """Return the number of documents, by counting the lines that are not blank."""
        return sum(1 for _ in islice(self._lines(), self.start, self.stop))

    def skip(self, count: int) -> Collection:
        """Return the collection without its first `count` documents, which are not parsed."""
        return replace(self, start=self.start + count)

    def shard(self, shard_id: int, shard_num: int) -> Collection:
        """Return one of `shard_num` contiguous parts, cut as Pyserini cuts them.

        Every part has ``count // shard_num`` documents and the last one also what remains, so
        that the parts in order make up the collection.

        Parameters
        ----------
        shard_id : int
            From 0.
        shard_num : int
            The number of parts.
        """
        if shard_num < 1 or not 0 <= shard_id < shard_num:
            raise InputError(
                f"shard {shard_id} of {shard_num} does not exist; the shard must be between 0 and "
                "the number of shards - 1"
            )
        if shard_num == 1:
            return self
        total = self.count()
        size = total // shard_num
        stop = total if shard_id == shard_num - 1 else (shard_id + 1) * size
        return replace(self, start=self.start + shard_id * size, stop=self.start + stop)

    def _lines(self) -> Iterator[tuple[Path, int, bytes]]:
        for file in self.files:
            with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as source:
                number = 0
                try:
                    for number, line in enumerate(source, start=1):
                        if line := line.strip(b"\r\n"):
                            yield file, number, line
                except (OSError, EOFError, zlib.error) as error:
                    raise InputError(
                        f"{file}, after line {number}: cannot be read further ({error}); "
                        "is the file complete?"
                    ) from error

    def _parse_json(self, line: str) -> Document:
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"not JSON ({error}); expected one object a line (jq -c)") from None
        if not isinstance(record, dict):
            raise ValueError(f"expected an object with an id and a text, found {line[:40]!r}")
        names = (self.docid_field,) if self.docid_field else ("id", "_id", "docid")
        docid = next((record[name] for name in names if record.get(name) is not None), None)
        if not isinstance(docid, str | int):
            raise ValueError(f"no document id; expected a string under {' or '.join(names)}")
        title, text = self._split(record)
        return _document(str(docid), title, text)

    def _split(self, record: dict[str, Any]) -> tuple[str, str]:
        if self.fields is None:
            if "text" in record:
                return _text(record, "title"), _text(record, "text")
            if "contents" in record:
                return "", _text(record, "contents")
            if "title" in record:
                return _text(record, "title"), ""
            raise ValueError(
                f"no text; expected contents or text (and title), found {', '.join(record)}; "
                "name other fields with fields (--fields)"
            )
        if all(field in record for field in self.fields):
            return _join(self.fields, [_text(record, field) for field in self.fields])
        if "contents" not in record:
            missing = [field for field in self.fields if field not in record]
            raise ValueError(f"no field {', '.join(missing)} and no contents; found {list(record)}")
        contents = str(record["contents"])
        # A closing delimiter after the last part is no part of its own, but where it stands for
        # an empty last part ("title\n") it must be kept.
        if contents.count(self.delimiter) == len(self.fields):
            contents = contents.removesuffix(self.delimiter)
        parts = [part.strip(" ") for part in contents.split(self.delimiter)]
        if len(parts) != len(self.fields):
            raise ValueError(
                f"contents has {len(parts)} parts between {self.delimiter!r}, "
                f"{len(self.fields)} fields are expected ({', '.join(self.fields)})"
            )
        return _join(self.fields, parts)

    def _parse_tsv(self, line: str) -> Document:
        docid, *parts = line.split("\t")
        fields = self.fields or {1: ("text",), 2: ("title", "text")}.get(len(parts))
        if fields is None or len(fields) != len(parts):
            expected = " ".join(self.fields) if self.fields else "text, or title and text"
            raise ValueError(f"{len(parts)} columns after the docid; expected {expected}")
        title, text = _join(fields, [part.strip() for part in parts])
        return _document(docid, title, text)


def open_collection(
    path: str | Path,
    fields: Sequence[str] | None = None,
    *,
    docid_field: str | None = None,
    delimiter: str = "\n",
) -> Collection:
    """Open a collection for streaming.

    Parameters
    ----------
    path : str or Path
        A ``.jsonl``/``.json`` file of one object a line (docid under ``id``, ``_id`` or ``docid``;
        ``contents``, or ``text`` and possibly ``title``); a ``.tsv``/``.txt`` file of
        ``docid<TAB>text`` or ``docid<TAB>title<TAB>text``; either with ``.gz``; a BEIR folder (its
        ``corpus.jsonl`` is read); or a folder of such files, read in the order of their names.
    fields : sequence of str, optional
        As Pyserini's ``--fields``: the JSON fields to read or, in documents without them, the
        parts of ``contents``; for TSV the columns. The one called ``title`` is the title, the
        others joined by a space are the text. By default all of title and text that there is.
    docid_field : str, optional
        JSON field of the docid.
    delimiter : str
        Between the parts of ``contents``.

    Returns
    -------
    Collection

    Raises
    ------
    InputError
        When there is nothing to read; while iterating, with file and line, for a line that is not
        a document: bad JSON, no docid, a docid with white space (no run file could hold it), no
        text. Whether docids are distinct is checked by who stores them.

    Examples
    --------
    >>> for document in open_collection("corpus.jsonl"):     # doctest: +SKIP
    ...     print(document.docid, document.title)
    """
    path = Path(path)
    if path.is_dir():
        beir = [path / name for name in ("corpus.jsonl", "corpus.jsonl.gz")]
        files = [file for file in beir if file.is_file()][:1] or sorted(
            file for file in path.iterdir() if file.is_file() and _kind(file)
        )
        if not files:
            raise InputError(f"{path} holds no {', '.join(JSON_SUFFIXES + TSV_SUFFIXES)} file")
    elif not path.is_file():
        raise InputError(f"no such file or folder: {path}")
    elif not _kind(path):
        raise InputError(
            f"{path}: cannot tell the format; expected a name ending in "
            f"{', '.join(JSON_SUFFIXES + TSV_SUFFIXES)}, possibly with .gz"
        )
    else:
        files = [path]
    return Collection(path, tuple(files), tuple(fields) if fields else None, docid_field, delimiter)


def _kind(file: Path) -> str | None:
    name = file.name.removesuffix(".gz")
    return next((s for s in JSON_SUFFIXES + TSV_SUFFIXES if name.endswith(s)), None)


def _text(record: dict[str, Any], field: str) -> str:
    value = record.get(field)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{field} is {value!r}; expected a string")
    return (value or "").strip()


def _join(fields: Sequence[str], parts: Sequence[str]) -> tuple[str, str]:
    named = list(zip(fields, parts, strict=True))
    title = " ".join(part for field, part in named if field == "title")
    return title, " ".join(part for field, part in named if field != "title" and part)


def _document(docid: str, title: str, text: str) -> Document:
    if not docid or docid.split() != [docid]:
        raise ValueError(f"document id {docid!r} is empty or contains white space")
    return Document(_encodable(docid), _encodable(title), _encodable(text))


def _encodable(text: str) -> str:
    """Replace halves of surrogate pairs, which JSON can spell but UTF-8 cannot."""
    if text.isascii():
        return text
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
