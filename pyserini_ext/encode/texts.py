"""What an encoder is given: a list of texts, titles before them."""

from __future__ import annotations

from collections.abc import Sequence

from pyserini_ext.errors import InputError


def joined(texts: Sequence[str], titles: Sequence[str] | None = None) -> list[str]:
    """Put each title before its text.

    Parameters
    ----------
    texts : sequence of str
    titles : sequence of str, optional
        Either may be empty; between two that are not stands a space, as in Pyserini's encoders.

    Returns
    -------
    list of str

    Raises
    ------
    InputError
        If one string is given instead of a list, or as many titles as there are texts are not.
    """
    if isinstance(texts, str):
        raise InputError(f"expected a list of texts, got the one string {texts[:40]!r}")
    if titles is None:
        return list(texts)
    if len(titles) != len(texts):
        raise InputError(f"{len(titles)} titles for {len(texts)} texts")
    pairs = zip(titles, texts, strict=True)
    return [f"{title} {text}" if title and text else title or text for title, text in pairs]


def lowercase(text: str) -> str:
    """Lower-case as tokenizers of transformers 4 did: character by character, without context."""
    return "".join(map(str.lower, text))
