"""Tables of query token weights: read from a model or a file, checked, and identified."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path

from pyserini_ext.encode.model_files import find_file, inside, modules_of, read_json
from pyserini_ext.errors import InputError

TABLE_FILES = ("idf.json", "query_token_weights.txt")
"""Names under which OpenSearch's doc-only models carry their table, in the order of preference."""

STATIC_MODULES = ("SparseStaticEmbedding", "IDF")
"""Classes of sentence-transformers that hold a table; the second name is that of 5.0's drafts."""


def read_weights(path: str | Path) -> dict[str, float]:
    """Read a table of token weights.

    Parameters
    ----------
    path : str or Path
        ``.json``: one object ``{token: weight}``; anything else: a line ``token<TAB>weight`` each.

    Returns
    -------
    dict of str to float

    Raises
    ------
    InputError
        If the file is not such a table, or a weight is negative, infinite or not a number.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no such table of token weights: {path}")
    if path.suffix == ".json":
        return checked(read_json(path), str(path))
    table: dict[str, float] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        token, _, weight = line.rpartition("\t")
        try:
            table[token] = float(weight)
        except ValueError:
            token = ""
        if not token:
            raise InputError(
                f"{path}, line {number}: expected token<TAB>weight, found {line[:60]!r}"
            )
    return checked(table, str(path))


def checked(table: object, source: str) -> dict[str, float]:
    """Return a table as ``{str: float}``, or say which entry of which source is wrong."""
    if not isinstance(table, Mapping):
        raise InputError(f"{source} is not a table of token weights; expected {{token: weight}}")
    out: dict[str, float] = {}
    for token, weight in table.items():
        right = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not right or not math.isfinite(weight) or weight < 0:
            raise InputError(
                f"{source}: the weight of {token!r} is {weight!r}; expected a finite number, 0 or "
                "more (an inverted index cannot score below zero)"
            )
        out[token] = float(weight)
    if not out:
        raise InputError(f"{source} is an empty table of token weights")
    return out


def table_sha256(table: Mapping[str, float]) -> str:
    """Identify a table by what it says, not by its file.

    Parameters
    ----------
    table : mapping of str to float

    Returns
    -------
    str
        SHA-256 of the JSON object of the weights that are not 0, tokens in the order of their code
        points, no spaces, UTF-8: the same for ``idf.json`` and ``query_token_weights.txt``.
    """
    said = {token: float(table[token]) for token in sorted(table) if table[token]}
    text = json.dumps(said, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def static_folder(checkpoint: str) -> str | None:
    """Return the folder of the table module of a sentence-transformers checkpoint.

    Returns
    -------
    str or None
        Within the checkpoint; None if it is no such checkpoint.

    Raises
    ------
    InputError
        If its queries need a model.
    """
    modules = modules_of(checkpoint, "query")
    if not any(module.kind in (*STATIC_MODULES, "SpladePooling") for module in modules):
        return None
    if len(modules) == 1 and modules[0].kind in STATIC_MODULES:
        return modules[0].path
    if all(find_file(checkpoint, name) is None for name in TABLE_FILES):
        kinds = " and ".join(module.kind for module in modules)
        raise InputError(
            f"queries of {checkpoint} go through {kinds}: it is not inference-free; give weights "
            "(ones, or a table) to search it by tokens all the same"
        )
    return None


def model_weights(checkpoint: str, tokens: list[str | None]) -> dict[str, float] | None:
    """Read the table that belongs to a model.

    Parameters
    ----------
    checkpoint : str
        Folder, or name on the hub: of sentence-transformers with a table for its query side, or
        with ``idf.json`` or ``query_token_weights.txt`` as OpenSearch's doc-only models have it.
    tokens : list of str or None
        The tokenizer's tokens by id.

    Returns
    -------
    dict of str to float, or None
        None if the model has no table.
    """
    folder = static_folder(checkpoint)
    if folder is not None:
        return _static_weights(checkpoint, folder, tokens)
    for name in TABLE_FILES:
        found = find_file(checkpoint, name)
        if found is not None:
            return read_weights(found)
    return None


def _static_weights(checkpoint: str, folder: str, tokens: list[str | None]) -> dict[str, float]:
    config = find_file(checkpoint, inside(folder, "config.json"))
    path = str((read_json(config) if config else {}).get("path") or "")
    if path.endswith(".json"):
        for place in (inside(folder, path), path):
            found = find_file(checkpoint, place)
            if found is not None:
                return read_weights(found)
        raise InputError(f"{checkpoint} names {path} as its table, and has no such file")
    found = find_file(checkpoint, inside(folder, "model.safetensors"))
    if found is None:
        raise InputError(f"{checkpoint} has no {inside(folder, 'model.safetensors')}")
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        weights = load_file(found)["weight"]
    except (SafetensorError, KeyError, OSError) as error:
        raise InputError(f"{found} holds no table of token weights: {error}") from error
    if weights.ndim != 1 or len(weights) < len(tokens):
        raise InputError(
            f"{found} holds weights of shape {weights.shape} for {len(tokens)} tokens; expected "
            "one weight a token"
        )
    pairs = zip(tokens, weights.astype(float).tolist(), strict=False)
    return checked({token: weight for token, weight in pairs if token is not None}, str(found))
