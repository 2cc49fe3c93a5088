"""The table of query token weights that belongs to an inference-free model."""

from __future__ import annotations

from pyserini_ext.encode.model_files import find_file, inside, modules_of, read_json
from pyserini_ext.errors import InputError
from pyserini_ext.index.idf import check_idf, read_idf

TABLE_FILES = ("idf.json", "query_token_weights.txt")
"""Names under which OpenSearch's doc-only models carry their table, in the order of preference."""

STATIC_MODULES = ("SparseStaticEmbedding", "IDF")
"""Classes of sentence-transformers that hold a table; the second name is that of 5.0's drafts."""


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
            return read_idf(found)
    return None


def _static_weights(checkpoint: str, folder: str, tokens: list[str | None]) -> dict[str, float]:
    config = find_file(checkpoint, inside(folder, "config.json"))
    path = str((read_json(config) if config else {}).get("path") or "")
    if path.endswith(".json"):
        for place in (inside(folder, path), path):
            found = find_file(checkpoint, place)
            if found is not None:
                return read_idf(found)
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
    return check_idf({token: weight for token, weight in pairs if token is not None}, str(found))
