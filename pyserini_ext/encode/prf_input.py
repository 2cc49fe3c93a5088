"""What a PRF query encoder reads: query and feedback documents as one text, and what records it.

Sources: ANCE, Yu et al., CIKM 2021, held to Pyserini's ``search/faiss/_prf.py``; the others, Li et
al., *Improving Query Representations for Dense Retrieval with Pseudo Relevance Feedback: A
Reproducibility Study*, ECIR 2022, and their code (``ielab/APR``: ``pyserini/dsearch/_prf.py`` and
``_dsearcher.py``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from pyserini_ext.encode.model_files import find_file, read_json
from pyserini_ext.encode.texts import lowercase
from pyserini_ext.errors import InputError
from pyserini_ext.files import write_json

SETTINGS = "prf.json"
"""The file in a checkpoint that records its k, its family and what differs from the family."""

PLACE = re.compile(r"\{(\w*)\}")


def _check_places(name: str, text: str, known: Sequence[str]) -> None:
    for place in PLACE.findall(text):
        if place not in known:
            shown = ", ".join(f"{{{each}}}" for each in known)
            raise InputError(f"{name} {text!r} has {{{place}}}; known are {shown}")


@dataclass(frozen=True)
class PrfInput:
    """How a query and its feedback documents become one text.

    In all three templates ``{cls}``, ``{sep}``, ``{mask}`` and ``{eos}`` stand for the tokenizer's
    special tokens. A template that writes one of them writes all: the tokenizer adds none.

    Attributes
    ----------
    template : str
        With ``{query}`` and ``{documents}``.
    document : str
        Each document, with ``{text}``.
    separator : str
        Between documents.
    max_length : int
        Tokens; what is beyond is cut off at the end, the last special token with it, as in
        Pyserini.
    lowercase : bool
        Lower-case query and documents.
    fill : bool
        Put mask tokens behind the text, up to `max_length`.

    Examples
    --------
    >>> class Tokenizer:
    ...     cls_token, sep_token, mask_token, eos_token = "[CLS]", "[SEP]", "[MASK]", None
    >>> PrfInput().compose("a query", ["one", "two"], Tokenizer())
    '[CLS]a query[SEP]one[SEP]two[SEP]'
    """

    template: str = "{cls}{query}{sep}{documents}{sep}"
    document: str = "{text}"
    separator: str = "{sep}"
    max_length: int = 512
    lowercase: bool = False
    fill: bool = False

    def __post_init__(self) -> None:
        special = ("cls", "sep", "mask", "eos")
        for name, own in (("template", ("query", "documents")), ("document", ("text",))):
            text = getattr(self, name)
            for place in own:
                if text.count(f"{{{place}}}") != 1:
                    raise InputError(f"{name} {text!r} must name {{{place}}} once")
            _check_places(name, text, (*own, *special))
        _check_places("separator", self.separator, special)
        if self.max_length < 1:
            raise InputError(f"max_length is {self.max_length}; it must be at least 1")

    @property
    def special_tokens(self) -> bool:
        """Whether the tokenizer is to add its special tokens."""
        places = PLACE.findall(self.template + self.document + self.separator)
        return not {"cls", "sep", "mask", "eos"} & set(places) and not self.fill

    def compose(self, query: str, documents: Sequence[str], tokenizer: Any) -> str:
        """Return the text that the encoder's tokenizer is given.

        Parameters
        ----------
        query : str
        documents : sequence of str
            Best first.
        tokenizer : PreTrainedTokenizer

        Raises
        ------
        InputError
            If a template names a token that the tokenizer does not have.
        """
        if self.lowercase:
            query, documents = lowercase(query), [lowercase(text) for text in documents]
        separator = _put(self.separator, {}, tokenizer)
        joined = separator.join(
            _put(self.document, {"text": text}, tokenizer) for text in documents
        )
        text = _put(self.template, {"query": query, "documents": joined}, tokenizer)
        return text + _put("{mask}", {}, tokenizer) * self.max_length if self.fill else text


@dataclass(frozen=True)
class Family:
    """A kind of bi-encoder: its input, and how its token vectors become one vector.

    Attributes
    ----------
    input : PrfInput
    pooling : str or None
        None: as the checkpoint says.
    normalise : bool or None
        None: as the checkpoint says.
    head : str or None
    skip_tokens : int
        See :class:`~pyserini_ext.encode.dense.BiEncoder`.
    """

    input: PrfInput = field(default_factory=PrfInput)
    pooling: str | None = None
    normalise: bool | None = None
    head: str | None = None
    skip_tokens: int = 0


FAMILIES: dict[str, Family] = {
    # The published checkpoint was made with a lower-casing RoBERTa tokenizer.
    "ance": Family(PrfInput(lowercase=True), pooling="cls", normalise=False, head="ance"),
    "tas-b": Family(pooling="cls", normalise=False),
    "tct-colbert-v2": Family(
        PrfInput("{cls} [Q] {query}{sep}{documents}", fill=True),
        pooling="mean",
        normalise=False,
        skip_tokens=4,
    ),
    "bi-encoder": Family(),
}
"""Families by name."""


@dataclass(frozen=True)
class PrfSettings:
    """Everything that must be right to use the checkpoint of a PRF query encoder.

    Attributes
    ----------
    family : Family
        With what the checkpoint or the user replaced.
    k : int or None
        Feedback documents the checkpoint was trained with; None if nobody said.
    name : str
        Of the family.
    """

    family: Family
    k: int | None
    name: str


def settings_of(checkpoint: str, **given: Any) -> PrfSettings:
    """Read the settings that a checkpoint records, and put those of the user over them.

    Parameters
    ----------
    checkpoint : str
        Folder, or name on the Hugging Face hub.
    **given
        ``family`` (a key of `FAMILIES`; ``"ance"`` by default), ``k``, ``pooling``, ``normalise``
        and the attributes of :class:`PrfInput`; None counts as not given.

    Returns
    -------
    PrfSettings

    Raises
    ------
    InputError
        For an unknown name or value, and for a k that is not the recorded one.
    """
    found = find_file(checkpoint, SETTINGS)
    recorded = read_json(found) if found else {}
    if not isinstance(recorded, dict):
        raise InputError(f"{found} must be a JSON object")
    _check_names(f"{found}:", recorded)
    given = {name: value for name, value in given.items() if value is not None}
    if "k" in given and recorded.get("k", given["k"]) != given["k"]:
        raise InputError(
            f"k={given['k']}, but {checkpoint} was trained with k={recorded['k']} ({SETTINGS}); "
            "leave k out"
        )
    both = {**recorded, **given}
    k, name = both.pop("k", None), both.pop("family", "ance")
    if k is not None and (not isinstance(k, int) or k < 1):
        raise InputError(f"k is {k!r}; it must be a number of documents, at least 1")
    if name not in FAMILIES:
        raise InputError(f"no family is called {name!r}; choose one of {', '.join(FAMILIES)}")
    family = FAMILIES[name]
    for attribute in ("pooling", "normalise"):
        if attribute in both:
            family = replace(family, **{attribute: both.pop(attribute)})
    return PrfSettings(replace(family, input=replace(family.input, **both)), k, name)


def write_settings(folder: str | Path, k: int, family: str = "bi-encoder", **others: Any) -> None:
    """Record k and the input in a checkpoint, for :func:`settings_of`.

    Parameters
    ----------
    folder : str or Path
    k : int
    family : str
        A key of `FAMILIES`.
    **others
        What differs from the family: ``pooling``, ``normalise``, attributes of :class:`PrfInput`.
    """
    record = {"k": k, "family": family, **others}
    _check_names("settings:", record)
    write_json(Path(folder) / SETTINGS, record)


def _check_names(where: str, settings: Mapping[str, Any]) -> None:
    known = ("k", "family", "pooling", "normalise", *(each.name for each in fields(PrfInput)))
    for name in settings:
        if name not in known:
            raise InputError(f"{where} unknown setting {name!r}; known are {', '.join(known)}")


def _put(template: str, values: Mapping[str, str], tokenizer: Any) -> str:
    """Fill a template; braces in the values stay what they are."""

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name in values:
            return values[name]
        token = getattr(tokenizer, f"{name}_token", None)
        if token is None:
            raise InputError(
                f"the template names {{{name}}}, but the tokenizer of the checkpoint has no such "
                "token; give another template"
            )
        return str(token)

    return PLACE.sub(value, template)
