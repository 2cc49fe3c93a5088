"""IDF tables: token to weight, as files and as computed from a collection."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pyserini_ext.errors import InputError
from pyserini_ext.files import open_text


def compute_idf(frequencies: Any, documents: int) -> np.ndarray:
    """Return the inverse document frequency of tokens: ln(1 + (N - df + 0.5) / (df + 0.5)).

    Parameters
    ----------
    frequencies : array_like of int, shape (n,)
        In how many documents each token stands (df).
    documents : int
        Documents of the collection (N).

    Returns
    -------
    ndarray of float64, shape (n,)
        Above 0 for every token.

    Notes
    -----
    The formula of Lucene's ``BM25Similarity`` and of the ``idf.json`` of inference-free models.
    """
    df = np.asarray(frequencies, dtype=np.float64)
    return np.log(1 + (documents - df + 0.5) / (df + 0.5))


def read_idf(path: str | Path) -> dict[str, float]:
    """Read a table of idf, or of learned token weights, as models carry them.

    Parameters
    ----------
    path : str or Path
        ``.json``: ``{token: weight}`` (a model's ``idf.json``); anything else: a line
        ``token<TAB>weight`` each (``query_token_weights.txt``).

    Raises
    ------
    InputError
        If the file is missing or is no such table, or a weight is negative or not finite.
    """
    table: Any = {}
    with open_text(path) as source:
        if Path(path).suffix == ".json":
            try:
                table = json.load(source)
            except ValueError as error:
                raise InputError(f"{path} is not JSON ({error}); expected {{token: idf}}") from None
        else:
            for number, line in enumerate(source, start=1):
                token, _, weight = line.rstrip("\n").rpartition("\t")
                try:
                    table[token] = float(weight)
                except ValueError:
                    raise InputError(
                        f"{path}, line {number}: expected token<TAB>weight, found {line[:60]!r}"
                    ) from None
    return check_idf(table, str(path))


def check_idf(table: object, source: str) -> dict[str, float]:
    """Return a table as ``{str: float}``, or say which entry of which source is wrong."""
    if not isinstance(table, Mapping) or not table:
        raise InputError(f"{source} is no table, or an empty one; expected {{token: idf}}")
    for token, value in table.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 <= value < float("inf"):
            raise InputError(
                f"{source}: the idf of {token!r} is {value!r}; expected a finite number that is "
                "not negative"
            )
    return {str(token): float(value) for token, value in table.items()}


def idf_sha256(table: Mapping[str, float]) -> str:
    """Identify a table by what it says, not by its file.

    Returns
    -------
    str
        SHA-256 of the JSON object of the weights that are not 0, tokens in the order of their code
        points, no spaces, UTF-8; ``InferenceFreeEncoder.idf_sha256`` is the same.
    """
    said = {token: float(table[token]) for token in sorted(table) if table[token]}
    text = json.dumps(said, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
