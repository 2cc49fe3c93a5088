"""A file of sparse vectors, one JSON object a line, that an interrupted run goes on with."""

from __future__ import annotations

import gzip
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pyserini_ext.errors import InputError
from pyserini_ext.files import write_json

FORMAT = "pyserini-ext sparse vectors"


class VectorFileWriter:
    """Writes what Pyserini calls a JsonVectorCollection: ``{"id", "contents", "vector"}`` a line.

    The work is done in ``<path>.part``, and ``<path>.state`` says after each batch how much of it
    is good; both make place for `path` and ``<path>.about`` when it is complete.

    Parameters
    ----------
    path : str or Path
        File to make, ``.jsonl`` or ``.jsonl.gz``.
    request : mapping
        What the work is to be, as JSON; unfinished work of another request is refused.
    overwrite : bool
        Replace `path`, and begin unfinished work again.

    Attributes
    ----------
    count : int
        Documents written, those of an interrupted run included.

    Raises
    ------
    InputError
        If the file is there already, or unfinished work is not of this request.
    """

    def __init__(
        self, path: str | Path, request: Mapping[str, Any], *, overwrite: bool = False
    ) -> None:
        self.path = self.check(path, overwrite)
        self.part = self.path.with_name(f"{self.path.name}.part")
        self.state = self.path.with_name(f"{self.path.name}.state")
        self.request = json.loads(json.dumps(request))
        self.count = good = 0
        if self.state.is_file() and self.part.is_file() and not overwrite:
            found = json.loads(self.state.read_text(encoding="utf-8"))
            if found["request"] != self.request:
                raise InputError(
                    f"{self.part} is unfinished work of another command; give that one again, or "
                    "--overwrite to begin anew"
                )
            self.count, good = found["count"], found["bytes"]
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._out = self.part.open("ab")
            self._out.truncate(good)
        except OSError as error:
            raise InputError(f"cannot write {self.part}: {error.strerror}") from error
        self._save()

    @staticmethod
    def check(path: str | Path, overwrite: bool) -> Path:
        """Return the path, if it is one that may be written."""
        path = Path(path)
        if not path.name.endswith((".jsonl", ".jsonl.gz")):
            raise InputError(f"{path} must end in .jsonl or .jsonl.gz")
        if path.exists() and (path.is_dir() or not overwrite):
            raise InputError(f"{path} exists already; choose another name or pass --overwrite")
        return path

    def append(
        self,
        docids: Iterable[str],
        contents: Iterable[str] | None,
        vectors: Iterable[Mapping[str, float]],
    ) -> None:
        """Write documents; they are safe when this returns.

        Parameters
        ----------
        docids : iterable of str
        contents : iterable of str, optional
            Texts to keep for methods that read them.
        vectors : iterable of mapping of str to float
            Weights are written with the digits of float32.
        """
        docids = list(docids)
        texts = [None] * len(docids) if contents is None else list(contents)
        lines = []
        for docid, text, vector in zip(docids, texts, vectors, strict=True):
            record: dict[str, Any] = {"id": docid}
            if text is not None:
                record["contents"] = text
            try:
                record["vector"] = float32_digits(vector)
            except InputError as error:
                raise InputError(f"the vector of {docid} has {error}") from None
            lines.append(json.dumps(record, ensure_ascii=False) + "\n")
        data = "".join(lines).encode("utf-8", "replace")
        if self.path.suffix == ".gz":
            # One member a batch, so that the file can be cut behind any of them.
            data = gzip.compress(data, compresslevel=6, mtime=0)
        try:
            self._out.write(data)
            self._out.flush()
            os.fsync(self._out.fileno())
            self.count += len(docids)
            self._save()
        except OSError as error:
            raise InputError(
                f"cannot write {self.part}: {error.strerror}; the same command goes on there"
            ) from error

    def finish(self, about: Mapping[str, Any]) -> None:
        """Put the file in its place, and beside it what it is.

        Parameters
        ----------
        about : mapping
            For ``<path>.about``, JSON; the request and the count are added.
        """
        self._out.close()
        place = self.path.with_name(f"{self.path.name}.about")
        write_json(place, {"format": FORMAT, **about, "request": self.request, "count": self.count})
        self.part.replace(self.path)
        self.state.unlink()

    def frequencies(self) -> Counter[str]:
        """Count in how many of the documents written each token has a weight above 0.

        The file is read for this, one line at a time: what an interrupted run wrote counts too.
        """
        df: Counter[str] = Counter()
        packed = self.path.suffix == ".gz"
        with gzip.open(self.part) if packed else self.part.open("rb") as source:
            for line in source:
                vector = json.loads(line)["vector"]
                df.update(token for token, weight in vector.items() if weight > 0)
        return df

    def close(self) -> None:
        """Close the file; unfinished work stays."""
        self._out.close()

    def _save(self) -> None:
        size = self._out.seek(0, os.SEEK_END)
        write_json(self.state, {"request": self.request, "count": self.count, "bytes": size})


def float32_digits(vector: Mapping[str, float]) -> dict[str, float]:
    """Return weights as the shortest numbers that float32 tells apart.

    Raises
    ------
    InputError
        If a weight is negative or not finite.
    """
    weights = np.fromiter(vector.values(), dtype=np.float32, count=len(vector))
    if not np.all(np.isfinite(weights) & (weights >= 0)):
        raise InputError("a weight that is negative or no number")
    return dict(zip(vector, map(float, weights.astype(str)), strict=True))
