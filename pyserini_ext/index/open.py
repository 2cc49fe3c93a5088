"""Opening the vectors that lie in a folder, whatever made them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyserini_ext.errors import InputError
from pyserini_ext.index.vectors import VectorStore


def open_vectors(path: str | Path, **options: Any) -> VectorStore:
    """Open the vectors that lie in a folder, whatever made them.

    Parameters
    ----------
    path : str or Path
        A FAISS folder of Pyserini (``index`` and ``docid``), a Lucene HNSW or flat vector index,
        or a vector store of this package (``store.json``).
    **options
        ``ef_search`` (HNSW, FAISS or Lucene) and ``nprobe`` (FAISS IVF); ``None`` means unset.

    Returns
    -------
    VectorStore

    Raises
    ------
    InputError
        If the folder holds none of these, or an option does not apply to what it holds.

    Examples
    --------
    >>> store = open_vectors("indexes/npl.faiss")  # doctest: +SKIP
    >>> store.vectors(["7", "12"]).shape  # doctest: +SKIP
    (2, 384)
    """
    path = Path(path)
    options = {name: value for name, value in options.items() if value is not None}
    if not path.is_dir():
        raise InputError(f"no such index folder: {path}")
    if (path / "store.json").is_file():
        from pyserini_ext.index.matrix import MatrixStore

        _refuse(options, set(), path, "a vector store")
        return MatrixStore(path)
    if (path / "index").is_file() and (path / "docid").is_file():
        from pyserini_ext.index.faiss_index import FaissStore

        _refuse(options, {"ef_search", "nprobe"}, path, "a FAISS index")
        return FaissStore(path, **options)
    if any(path.glob("segments_*")):
        from pyserini_ext.index.lucene_vectors import LuceneVectorStore

        _refuse(options, {"ef_search"}, path, "a Lucene index")
        return LuceneVectorStore(path, **options)
    raise InputError(
        f"{path} holds no vectors: expected a FAISS folder (index + docid), a Lucene vector index "
        "(segments_*) or a vector store (store.json). Build one with python -m pyserini_ext.encode"
    )


def _refuse(options: dict[str, Any], known: set[str], path: Path, kind: str) -> None:
    for name in options.keys() - known:
        raise InputError(f"{name}={options[name]} does not apply to {path}, which is {kind}")
