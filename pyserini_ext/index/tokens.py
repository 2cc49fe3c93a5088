"""The multi-vector store: token vectors of documents, one after the other, mapped from disk."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

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


@dataclass(frozen=True)
class TokenManifest:
    """The content of ``tokens.json``.

    Attributes
    ----------
    dimension, count, tokens : int
        Of a vector; documents; vectors of all documents.
    sha256 : str
        Over the files of :data:`FILES`, in this order.
    """

    dimension: int
    count: int
    tokens: int
    sha256: str

    def to_json(self) -> dict[str, Any]:
        """Return what is written to ``tokens.json``."""
        return {"format": FORMAT, "version": VERSION, **asdict(self)}


class TokenStore:
    """Token vectors by docid.

    Parameters
    ----------
    path : str or Path
        Folder with ``tokens.json``, ``tokens.npy`` (float16, a row a token, filled up with zeros to
        a multiple of 32 bytes), ``ends.npy`` (int64, a number a document) and ``docids.txt``.

    Attributes
    ----------
    docids : ndarray of object, shape (n,)
    dimension : int
    documents : TokenRows
        What MaxSim takes; the rows are mapped, not read.

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

    def _mapped(self, name: str, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
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
        numbers, bounds = token_numbers(np.asarray(rows, np.int64), self.documents.offsets)
        data = self.documents.rows.data[numbers, : self.dimension]
        return data.astype(np.float32), bounds

    def verify(self) -> None:
        """Read everything and compare it with the manifest's checksum.

        Raises
        ------
        InputError
            If a byte has changed since the store was written.
        """
        if (actual := token_checksum(self.path)) != self.manifest.sha256:
            raise InputError(
                f"{self.path} is damaged: sha256 is {actual}, tokens.json says "
                f"{self.manifest.sha256}; rebuild the store"
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
        return TokenManifest(**{name: found[name] for name in TokenManifest.__dataclass_fields__})
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError(f"{place} is damaged ({error}); rebuild the store") from error


def token_checksum(path: Path) -> str:
    """Return the sha256 over the files of a store."""
    digest = hashlib.sha256()
    for name in FILES:
        with (path / name).open("rb") as source:
            while block := source.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
