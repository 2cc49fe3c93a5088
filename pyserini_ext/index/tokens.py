"""The multi-vector store: token vectors of documents, one after the other, mapped from disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pyserini_ext.errors import InputError
from pyserini_ext.hits import Docids, as_docids
from pyserini_ext.rescore.maxsim import TokenRows, token_numbers
from pyserini_ext.rescore.quantise import stride_of
from pyserini_ext.rescore.rows import StoredRows

FORMAT = "pyserini-ext token vectors"
VERSION = 1
FILES = ("tokens.npy", "ends.npy", "docids.txt")
"""The vectors; behind which row each document ends; the docids."""

ID_FILES = ("ids.npy", "frequencies.npy")
"""Which token each vector is of; in how many documents each token is. Not in every store."""


@dataclass(frozen=True)
class TokenManifest:
    """The content of ``tokens.json``.

    Attributes
    ----------
    dimension, count, tokens : int
        Of a vector; documents; vectors of all documents.
    sha256 : str
        Over the files of :data:`FILES`, in this order; ids do not change it.
    vocabulary : int, optional
        Entries of ``frequencies.npy``; absent from a store without token ids.
    ids_sha256 : str, optional
        Over the files of :data:`ID_FILES`.
    """

    dimension: int
    count: int
    tokens: int
    sha256: str
    vocabulary: int | None = None
    ids_sha256: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what is written to ``tokens.json``."""
        stated = {name: value for name, value in asdict(self).items() if value is not None}
        return {"format": FORMAT, "version": VERSION, **stated}


class TokenIds(NamedTuple):
    """Which tokens the vectors of a store are of.

    Attributes
    ----------
    ids : ndarray of int32, shape (tokens,)
        The id of each vector's token, -1 for the special ones, such as [CLS] and markers.
    frequencies : ndarray of int32, shape (vocabulary,)
        The number of documents in which each token is.
    """

    ids: np.ndarray
    frequencies: np.ndarray


class TokenStore:
    """Token vectors by docid.

    Parameters
    ----------
    path : str or Path
        Folder with ``tokens.json``, ``tokens.npy`` (float16, a row a token, filled up with zeros to
        a multiple of 32 bytes), ``ends.npy`` (int64, a number a document) and ``docids.txt``;
        where token ids are kept ``ids.npy`` and ``frequencies.npy``, too (both int32).

    Attributes
    ----------
    docids : ndarray of object, shape (n,)
    dimension : int
    documents : TokenRows
        What MaxSim takes; the rows are mapped, not read.
    token_ids : TokenIds or None
        None for a store of pooled vectors, or one that was made before ids were kept.

    Raises
    ------
    InputError
        If a file is missing or the manifest and the files disagree.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        for name in ("tokens.json", *FILES):
            if not (self.path / name).is_file():
                raise InputError(
                    f"{self.path} is not a multi-vector store: {name} is missing; make one with "
                    "python -m pyserini_ext.encode --to multivector"
                )
        self.manifest = manifest = read_token_manifest(self.path)
        rows = (manifest.tokens, stride_of("float16", manifest.dimension))
        tokens = self._mapped("tokens.npy", np.dtype("<f2"), rows)
        ends = self._mapped("ends.npy", np.dtype("<i8"), (manifest.count,))
        with (self.path / "docids.txt").open(encoding="utf-8") as lines:
            self.docids = as_docids([line.rstrip("\n") for line in lines])
        if len(self.docids) != manifest.count:
            raise InputError(
                f"{self.path}: {manifest.count} documents but {len(self.docids)} docids"
            )
        offsets = np.concatenate(([0], ends)).astype(np.int64)
        if offsets[-1] != manifest.tokens or (np.diff(offsets) < 0).any():
            raise InputError(
                f"{self.path}: ends.npy does not grow to {manifest.tokens}; rebuild it"
            )
        self.dimension = manifest.dimension
        self.documents = TokenRows(StoredRows(tokens, "float16", manifest.dimension), offsets)
        self.token_ids: TokenIds | None = None
        if manifest.vocabulary is not None:
            sizes = (manifest.tokens, manifest.vocabulary)
            files = zip(ID_FILES, sizes, strict=True)
            self.token_ids = TokenIds(
                *(self._mapped(name, np.dtype("<i4"), (size,)) for name, size in files)
            )

    def _mapped(self, name: str, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
        if not (self.path / name).is_file():
            raise InputError(f"{self.path}: {name} is missing; rebuild the store")
        # A file without rows cannot be mapped.
        mode: Any = "r" if shape[0] else None
        array = np.load(self.path / name, mmap_mode=mode, allow_pickle=False)
        if (array.dtype, array.shape) != (dtype, shape):
            raise InputError(
                f"{self.path}: {name} is {array.dtype} of shape {array.shape}, tokens.json says "
                f"{dtype} of shape {shape}; rebuild the store"
            )
        return np.asarray(array)

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {docid: row for row, docid in enumerate(self.docids)}

    def rows(self, docids: Docids) -> np.ndarray:
        """Return the numbers of documents, -1 for one that is not there: int32, shape (n,)."""
        get = self._row_of.get
        return np.fromiter((get(docid, -1) for docid in docids), np.int32, count=len(docids))

    def tokens(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Read the token vectors of documents.

        Parameters
        ----------
        rows : ndarray of int, shape (m,)

        Returns
        -------
        ndarray of float32, shape (tokens, dimension)
        ndarray of int64, shape (m + 1,)
            Where each of the documents begins among these.
        """
        numbers, bounds = self._numbers(rows)
        data = self.documents.rows.data[numbers, : self.dimension]
        return data.astype(np.float32), bounds

    def ids(self, rows: np.ndarray) -> np.ndarray:
        """Return the token ids of documents, as :meth:`tokens` returns their vectors.

        Parameters
        ----------
        rows : ndarray of int, shape (m,)

        Returns
        -------
        ndarray of int32, shape (tokens,)

        Raises
        ------
        InputError
            If the store has none.
        """
        if self.token_ids is None:
            raise InputError(
                f"{self.path} does not say which tokens its vectors are of: they are pooled, or "
                "the store was made before that was kept; encode again with python -m "
                "pyserini_ext.encode --to multivector, without --clusters"
            )
        return np.array(self.token_ids.ids[self._numbers(rows)[0]])

    def _numbers(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return token_numbers(np.asarray(rows, np.int64), self.documents.offsets)

    def verify(self) -> None:
        """Read everything and compare it with the manifest's checksum.

        Raises
        ------
        InputError
            If a byte has changed since the store was written.
        """
        stated: list[tuple[Sequence[str], str]] = [(FILES, self.manifest.sha256)]
        if self.manifest.ids_sha256 is not None:
            stated.append((ID_FILES, self.manifest.ids_sha256))
        for names, wanted in stated:
            if (actual := token_checksum(self.path, names)) != wanted:
                raise InputError(
                    f"{self.path} is damaged: the sha256 of {', '.join(names)} is {actual}, "
                    f"tokens.json says {wanted}; rebuild the store"
                )

    def __len__(self) -> int:
        return len(self.docids)


def read_token_manifest(path: Path) -> TokenManifest:
    """Read and check ``tokens.json``.

    Raises
    ------
    InputError
        If it is not JSON, of another format or version, or incomplete.
    """
    place = path / "tokens.json"
    try:
        found = json.loads(place.read_text(encoding="utf-8"))
        if (found["format"], found["version"]) != (FORMAT, VERSION):
            raise InputError(
                f"{place}: {found['format']!r} of version {found['version']}, expected {FORMAT!r} "
                f"of version {VERSION}; encode again, or use the release that wrote it"
            )
        fields = TokenManifest.__dataclass_fields__
        optional = {"vocabulary", "ids_sha256"} - found.keys()
        return TokenManifest(**{name: found[name] for name in fields if name not in optional})
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError(f"{place} is damaged ({error}); rebuild the store") from error


def token_checksum(path: Path, names: Sequence[str] = FILES) -> str:
    """Return the sha256 over files of a store."""
    digest = hashlib.sha256()
    for name in names:
        with (path / name).open("rb") as source:
            while block := source.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
