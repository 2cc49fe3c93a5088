"""Writing vectors to disk as they are made: appended, resumable, and never half under its name."""

from __future__ import annotations

import json
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import numpy as np

from pyserini_ext.errors import InputError
from pyserini_ext.files import write_json
from pyserini_ext.index.docid_set import DocidSet

STATE = "build.json"
"""How the vectors were made and how far it got; stays in the finished folder."""


class VectorWriter(ABC):
    """Appends vectors to files in ``<path>.part``, which is renamed to `path` when it is complete.

    Each :meth:`append` is on disk when it returns: after a crash a writer made with ``resume``
    goes on behind the last one. Memory: the matrix being appended, and eight bytes a document to
    find docids that come twice.

    Parameters
    ----------
    path : str or Path
        The folder to make.
    dimension : int
        Of the vectors.
    resume : bool
        Go on with an unfinished folder, if there is one; otherwise it is started again.
    overwrite : bool
        Replace a finished folder, when the new one is complete.
    request : mapping, optional
        What the vectors are made from, as JSON. Kept in ``build.json``; an unfinished folder is
        gone on with only if its request is the same.

    Attributes
    ----------
    count : int
        Vectors on disk.

    Raises
    ------
    InputError
        If the folder exists, another process writes it, or the request or dimension differ.
    """

    VECTORS: ClassVar[str]
    DOCIDS: ClassVar[str]

    def __init__(
        self,
        path: str | Path,
        dimension: int,
        resume: bool = False,
        *,
        overwrite: bool = False,
        request: Mapping[str, Any] | None = None,
    ) -> None:
        self.path, self.dimension = Path(path), dimension
        self.part = part_of(self.path)
        self.request = json.loads(json.dumps(request or {}))
        state = self.check(self.path, resume=resume, overwrite=overwrite, request=request)
        if state is not None and state["dimension"] != dimension:
            raise InputError(
                f"{self.part} holds vectors of dimension {state['dimension']}, not {dimension}"
            )
        try:
            self.part.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot create the folder {self.part}: {error.strerror}") from error
        self._arrays = {name: (self.part / name).open("ab+") for name in self.row_bytes()}
        lock(self._arrays[self.VECTORS].fileno(), self.part)
        self._docids = (self.part / self.DOCIDS).open("ab+")
        self._seen = DocidSet(self._stored)
        self.count: int
        self.count, docid_bytes = (state["count"], state["docid_bytes"]) if state else (0, 0)
        self._docids.truncate(docid_bytes)
        # What a crash left behind the last commit goes; a new file gets room for its header.
        for name, row_bytes in self.row_bytes().items():
            self._arrays[name].truncate(len(self.header(0, name)) + self.count * row_bytes)
        self._seen.add(list(self._stored()))
        self._commit(complete=False)

    @classmethod
    def check(
        cls,
        path: str | Path,
        *,
        resume: bool = False,
        overwrite: bool = False,
        request: Mapping[str, Any] | None = None,
    ) -> dict[str, Any] | None:
        """Refuse early what the constructor would refuse, without touching anything.

        Returns
        -------
        dict or None
            The state of the unfinished folder that would be gone on with: ``count`` and more.
        """
        path = Path(path)
        if path.exists() and not overwrite:
            raise InputError(f"{path} exists already; choose another name or pass --overwrite")
        ours = path.is_dir() and (cls.finished(path) or not any(path.iterdir()))
        if path.exists() and not ours:
            raise InputError(f"{path} is not an index of this kind and will not be overwritten")
        state = _state(part_of(path))
        if not resume or state is None:
            return None
        changed = _differences(state["request"], json.loads(json.dumps(request or {})))
        if changed:
            raise InputError(
                f"{part_of(path)} was begun otherwise and cannot be gone on with: "
                f"{'; '.join(changed)}; repeat the first command or pass --overwrite to start again"
            )
        return state

    @classmethod
    def finished(cls, path: Path) -> bool:
        """Say whether a folder is a finished index of this kind, which may be overwritten."""
        return (path / cls.VECTORS).is_file()

    def row_bytes(self) -> dict[str, int]:
        """Return the files that :meth:`encode` fills, and the bytes of a document in each."""
        return {self.VECTORS: 4 * self.dimension}

    @abstractmethod
    def header(self, count: int, name: str) -> bytes:
        """Return what stands in a file before the `count` documents; its length is constant."""

    def encode(self, docids: Sequence[str], matrix: np.ndarray) -> list[np.ndarray]:
        """Return what is written of vectors: an array in C order for each file.

        Parameters
        ----------
        docids : sequence of str, length n
            For messages.
        matrix : ndarray of float32, shape (n, dimension)
            All finite.

        Raises
        ------
        InputError
            If a vector cannot be kept.
        """
        return [matrix]

    def finish(self) -> None:
        """Write what else the folder needs; all vectors and docids are on disk."""

    def append(self, docids: Sequence[str], matrix: np.ndarray) -> None:
        """Add vectors, on disk when this returns.

        Parameters
        ----------
        docids : sequence of str, length n
        matrix : array of float, shape (n, dimension)

        Raises
        ------
        InputError
            For a docid that was there before or cannot stand on a line, another shape, or a value
            that is not finite. Nothing is added then.
        """
        matrix = np.ascontiguousarray(matrix, dtype="<f4")
        if matrix.shape != (len(docids), self.dimension):
            raise InputError(
                f"{len(docids)} docids and vectors of shape {matrix.shape}; "
                f"expected ({len(docids)}, {self.dimension})"
            )
        for docid in docids:
            if not docid or docid != docid.strip() or len(docid.splitlines()) != 1:
                raise InputError(f"document id {docid!r} cannot stand on a line of its own")
        bad = ~np.isfinite(matrix).all(axis=1)
        if bad.any():
            raise InputError(
                f"the vector of document {docids[int(bad.argmax())]!r} has values that are not "
                "finite; encode with float32 or bfloat16"
            )
        arrays = self.encode(docids, matrix)
        self._seen.add(docids)
        for file, array in zip(self._arrays.values(), arrays, strict=True):
            file.write(array.data)
        self._docids.write("".join(f"{docid}\n" for docid in docids).encode())
        self.count += len(docids)
        self._commit(complete=False)

    def close(self) -> None:
        """Complete the folder and give it its name."""
        self._release()
        for name in self._arrays:
            with (self.part / name).open("r+b") as file:
                file.write(self.header(self.count, name))
                _sync(file)
        self.finish()
        self._write_state(complete=True)
        if self.path.exists():
            shutil.rmtree(self.path)
        self.part.rename(self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._release()

    def _commit(self, *, complete: bool) -> None:
        for file in (*self._arrays.values(), self._docids):
            _sync(file)
        self._docid_bytes = self._docids.seek(0, os.SEEK_END)
        self._write_state(complete=complete)

    def _write_state(self, *, complete: bool) -> None:
        state = {
            "complete": complete,
            "count": self.count,
            "dimension": self.dimension,
            "docid_bytes": self._docid_bytes,
            "request": self.request,
        }
        write_json(self.part / STATE, state)

    def _stored(self) -> Iterator[str]:
        with (self.part / self.DOCIDS).open(encoding="utf-8", newline="\n") as lines:
            for line in lines:
                yield line.removesuffix("\n")

    def _release(self) -> None:
        for file in (*self._arrays.values(), self._docids):
            file.close()


def part_of(path: Path) -> Path:
    """Return the folder in which `path` is made."""
    return path.with_name(f"{path.name}.part")


def _state(part: Path) -> dict[str, Any] | None:
    try:
        return json.loads((part / STATE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise InputError(f"{part / STATE} is damaged ({error}); pass --overwrite") from error


def _differences(before: Any, now: Any, name: str = "") -> list[str]:
    """List what differs between two nested dictionaries."""
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return [] if before == now else [f"{name} was {before!r}, now {now!r}"]
    return [
        difference
        for key in {**before, **now}
        for difference in _differences(before.get(key), now.get(key), f"{name} {key}".strip())
    ]


def _sync(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


def lock(descriptor: int, part: Path) -> None:
    """Keep a second process out; the lock goes with the file, however the process ends."""
    with suppress(ImportError):
        import fcntl

        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(f"another process is writing {part}") from error
