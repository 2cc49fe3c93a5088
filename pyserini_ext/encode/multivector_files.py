"""How a late-interaction checkpoint is to be used, as its own files say: ColBERT's, or PyLate's."""

from __future__ import annotations

import string
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from pyserini_ext.encode.checkpoint import one_line_errors, read_weights
from pyserini_ext.encode.model_files import find_file, inside, modules_of, read_json
from pyserini_ext.errors import InputError

PUNCTUATION = tuple(string.punctuation)

IDENTITY = ("Identity", "")


@dataclass(frozen=True)
class TokenSettings:
    """From text to token vectors.

    Attributes
    ----------
    query_marker, document_marker : str or None
        One token put behind the first one of the sequence ([CLS]).
    query_length, document_length : int or None
        Tokens at most, marker and special tokens included.
    expand : bool
        Fill queries up to `query_length` with [MASK], whose vectors count like any other.
    attend : bool
        Whether the query's own tokens see those [MASK] tokens.
    skip : tuple of str
        Tokens whose vectors documents leave out.
    """

    query_marker: str | None = None
    document_marker: str | None = None
    query_length: int | None = None
    document_length: int | None = None
    expand: bool = False
    attend: bool = False
    skip: tuple[str, ...] = PUNCTUATION


def token_settings(checkpoint: str) -> TokenSettings:
    """Read how a checkpoint was trained.

    Parameters
    ----------
    checkpoint : str
        Folder, or name on the hub. With ``artifact.metadata`` it is one of ColBERT (Santhanam et
        al. 2022; ``colbert/infra/config`` and ``colbert/modeling/tokenization`` of its code); with
        ``modules.json`` and a Dense layer one of PyLate (``pylate/models/colbert.py``); anything
        else is a body without markers, queries not expanded.

    Raises
    ------
    InputError
        If there is no such checkpoint, or one of its files is damaged.
    """
    found = find_file(checkpoint, "artifact.metadata")
    if found is not None:
        return _of_colbert(read_json(found))
    if any(module.kind == "Dense" for module in modules_of(checkpoint, "document")):
        config = find_file(checkpoint, "config_sentence_transformers.json")
        return _of_pylate(read_json(config) if config else {})
    return TokenSettings()


def projections(checkpoint: str) -> list[torch.Tensor]:
    """Read the linear layers behind the body, in their order; none for a plain body.

    Returns
    -------
    list of Tensor of float32, shape (out, in)

    Raises
    ------
    InputError
        If a layer has a bias, an activation or a residual, which no layer here has.
    """
    with one_line_errors(checkpoint):
        if find_file(checkpoint, "artifact.metadata") is not None:
            weights = read_weights(checkpoint)
            if "linear.weight" not in weights:
                raise InputError(f"{checkpoint} has artifact.metadata but no linear.weight")
            return [weights["linear.weight"].float()]
        dense = [m.path for m in modules_of(checkpoint, "document") if m.kind == "Dense"]
        return [_dense(checkpoint, path) for path in dense]


def marker_id(tokenizer: Any, marker: str | None) -> int | None:
    """Return the id of a marker.

    A token that the vocabulary lacks is the unknown token, as in the code these checkpoints were
    trained with.

    Raises
    ------
    InputError
        If there is no unknown token either.
    """
    if marker is None:
        return None
    found = tokenizer.convert_tokens_to_ids(marker)
    if found is None:
        raise InputError(f"the marker {marker!r} is no token of this checkpoint's vocabulary")
    return int(found)


def set_language(model: Any, language: str) -> None:
    """Choose the adapters of a modular body such as X-MOD (ColBERT-XM); others have none."""
    if isinstance(model, transformers.XmodModel) and model.config.default_language is None:
        try:
            model.set_default_language(language)
        except ValueError as error:
            known = ", ".join(model.config.languages)
            raise InputError(f"language={language!r}; this model knows {known}") from error


def _of_colbert(stated: dict[str, Any]) -> TokenSettings:
    return TokenSettings(
        query_marker=stated.get("query_token_id", "[unused0]"),
        document_marker=stated.get("doc_token_id", "[unused1]"),
        query_length=stated.get("query_maxlen", 32),
        document_length=stated.get("doc_maxlen", 220),
        expand=True,
        attend=bool(stated.get("attend_to_mask_tokens", False)),
        skip=PUNCTUATION if stated.get("mask_punctuation", True) else (),
    )


def _of_pylate(stated: dict[str, Any]) -> TokenSettings:
    words = stated.get("skiplist_words")
    return TokenSettings(
        query_marker=stated.get("query_prefix", "[Q] ") or None,
        document_marker=stated.get("document_prefix", "[D] ") or None,
        query_length=stated.get("query_length", 32),
        document_length=stated.get("document_length", 180),
        expand=bool(stated.get("do_query_expansion", True)),
        attend=bool(stated.get("attend_to_expansion_tokens", False)),
        skip=PUNCTUATION if words is None else tuple(words),
    )


def _dense(checkpoint: str, folder: str) -> torch.Tensor:
    place = find_file(checkpoint, inside(folder, "config.json"))
    config = read_json(place) if place else {}
    activation = str(config.get("activation_function", "")).rsplit(".", 1)[-1]
    if config.get("bias") or config.get("use_residual") or activation not in IDENTITY:
        raise InputError(
            f"{checkpoint}: the layer {folder} has a bias, a residual or the activation "
            f"{activation}; supported are linear layers alone"
        )
    for name in ("model.safetensors", "pytorch_model.bin"):
        file = find_file(checkpoint, inside(folder, name))
        if file is not None:
            return read_weights(str(Path(file).parent))["linear.weight"].float()
    raise InputError(f"{checkpoint}: the layer {folder} has no weights")
