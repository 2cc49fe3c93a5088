"""Inference-free sparse retrieval: documents by a model, queries by a tokenizer and a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyserini_ext.errors import InputError
from pyserini_ext.search.impact import ImpactSearcher
from pyserini_ext.search.impact_encoder import find_encoder, read_info
from pyserini_ext.search.lucene import resolve_index


class InferenceFreeSearcher(ImpactSearcher):
    """Learned sparse retrieval in which a query is its tokens, weighted by a table.

    Source: Geng et al., *Towards Competitive Search Relevance For Inference-Free Learned Sparse
    Retrievers*, 2024. No model is loaded.

    Parameters
    ----------
    index : str or Path
        An impact index of this package.
    encoder : str or object, optional
        A registered sparse encoder, a checkpoint, or an object as for
        :class:`~pyserini_ext.search.impact.ImpactSearcher`. By default the one that the index says
        its documents were encoded with.
    missing : float, optional
        Weight of a token that the table does not have, where the index does not say it.
    tf : bool, optional
        Count a repeated token as often as it occurs; not for the mode ``premultiplied``, whose
        queries are sets.

    Raises
    ------
    InputError
        As :class:`~pyserini_ext.search.impact.ImpactSearcher`; also if the index was not made by
        this package, or an option has no meaning on it.

    Examples
    --------
    >>> searcher = InferenceFreeSearcher("indexes/npl.impact")  # doctest: +SKIP
    >>> searcher.search("dielectric constants", k=2)            # doctest: +SKIP
    Hits(2: 5163: 1124, 2210: 981)
    """

    def __init__(
        self,
        index: str | Path,
        encoder: Any = None,
        *,
        missing: float | None = None,
        tf: bool | None = None,
    ) -> None:
        path = resolve_index(index, "impact")
        info = read_info(path)
        if info is None:
            raise InputError(
                f"{path} was not made by python -m pyserini_ext.index; search it with the searcher "
                "impact, which reads Pyserini's indexes"
            )
        given = {"missing": missing, "tf": tf}
        options = {name: value for name, value in given.items() if value is not None}
        if tf and info["mode"] == "premultiplied":
            raise InputError(
                f"tf has no effect on {path}: its impacts are idf * weight and a query is the set "
                "of its tokens; build it with --mode query"
            )
        super().__init__(path, find_encoder(encoder, path, info, **options))
