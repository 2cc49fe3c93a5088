"""Inference-free query encoding: a tokenizer and a table of token weights, no model."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from pyserini_ext.encode.fast_tokenizer import FastTokenizer
from pyserini_ext.encode.model_files import prompt_of
from pyserini_ext.encode.token_weights import model_weights, static_folder
from pyserini_ext.errors import InputError
from pyserini_ext.index.idf import check_idf, idf_sha256, read_idf


class InferenceFreeEncoder:
    """Encodes a query as its distinct tokens, each with the weight that a table gives it.

    Source: Geng et al., *Towards Competitive Search Relevance For Inference-Free Learned Sparse
    Retrievers*, 2024. Neither torch nor transformers is imported.

    Parameters
    ----------
    checkpoint : str or Path
        Folder or hub name of a model with a table: a sentence-transformers SparseEncoder whose
        query side is a ``SparseStaticEmbedding``, or an OpenSearch doc-only model (``idf.json`` or
        ``query_token_weights.txt`` beside the tokenizer). With `weights`, anything that has a
        ``tokenizer.json``, or such a file.
    weights : str, Path or mapping of str to float, optional
        Instead of the model's table: ``"ones"`` (SPLADE-v3-Doc), a file (JSON ``{token: weight}``
        or lines ``token<TAB>weight``), or the table itself.
    missing : float
        Weight of a token that the table does not have. 0 leaves it out, as sentence-transformers
        does; the code of the paper has 1.
    tf : bool
        Multiply by how often the token occurs. The default counts a repeated token once.
    special_tokens : bool, optional
        Keep special tokens that occur in the text (``[UNK]`` stands for every unknown word). By
        default they are left out, except for a sentence-transformers model, where the table
        decides.
    max_length : int, optional
        Tokens that are read of a query. Default: all; for a sentence-transformers model as many
        as its tokenizer says.
    query_prefix : str, optional
        Put before the query as it is; a sentence-transformers model may have its own.

    Attributes
    ----------
    tokenizer_name : str
        Identifies the tokenizer by its vocabulary; documents must have been encoded with it.
    idf_sha256 : str or None
        Identifies the table (:func:`~pyserini_ext.index.idf.idf_sha256`); None for
        ones.
    missing : float
    weights : dict of str to float
        The table; empty for ones.

    Raises
    ------
    InputError
        If there is no such checkpoint, tokenizer or table, or a weight is no weight.

    Examples
    --------
    >>> encoder = InferenceFreeEncoder("tokenizer.json", weights="idf.json")  # doctest: +SKIP
    >>> encoder.encode("the violin, the piano")                              # doctest: +SKIP
    {'the': 0.09, 'violin': 8.1, ',': 0.05, 'piano': 6.9}
    """

    def __init__(
        self,
        checkpoint: str | Path,
        *,
        weights: str | Path | Mapping[str, float] | None = None,
        missing: float = 0.0,
        tf: bool = False,
        special_tokens: bool | None = None,
        max_length: int | None = None,
        query_prefix: str | None = None,
    ) -> None:
        self.checkpoint, self.tf = str(checkpoint), tf
        if max_length is not None and max_length < 1:
            raise InputError(f"max_length is {max_length}; it must be at least 1")
        if not 0 <= missing < math.inf:
            raise InputError(f"missing is {missing}; expected a finite number, 0 or more")
        self.missing = missing
        static = None
        if weights is None and not Path(self.checkpoint).is_file():
            static = static_folder(self.checkpoint)
        self._tokenizer = FastTokenizer(self.checkpoint, static or "")
        if static is not None:
            special_tokens = True if special_tokens is None else special_tokens
            max_length = max_length or self._tokenizer.model_max_length
            if query_prefix is None:
                query_prefix = prompt_of(self.checkpoint, "query")
        self.query_prefix, self.max_length = query_prefix or "", max_length
        ones = isinstance(weights, str) and weights == "ones"
        self.weights = {} if ones else self._table(weights)
        self.tokenizer_name = self._tokenizer.name
        self.idf_sha256 = None if ones else idf_sha256(self.weights)
        default = 1.0 if ones else self.missing
        left_out = frozenset() if special_tokens else self._tokenizer.special
        self._terms: list[tuple[str, float] | None] = [
            (token, weight)
            if token is not None
            and number not in left_out
            and (weight := self.weights.get(token, default))
            else None
            for number, token in enumerate(self._tokenizer.tokens)
        ]
        if not any(self._terms):
            raise InputError(
                f"the table has a weight for none of the tokens of {self.checkpoint}; it belongs "
                "to another tokenizer"
            )

    def _table(self, weights: str | Path | Mapping[str, float] | None) -> dict[str, float]:
        if isinstance(weights, Mapping):
            return check_idf(weights, "weights")
        if weights is not None:
            return read_idf(weights)
        found = None
        if not Path(self.checkpoint).is_file():
            found = model_weights(self.checkpoint, self._tokenizer.tokens)
        if found is None:
            raise InputError(
                f"{self.checkpoint} has no table of token weights; give weights: ones, or a file "
                "{token: weight} such as the idf.json that encoding a collection writes"
            )
        return found

    def encode(self, query: str) -> dict[str, float]:
        """Encode one query.

        Parameters
        ----------
        query : str

        Returns
        -------
        dict of str to float
            Tokens of a weight above 0, in the order of their first occurrence.
        """
        return self._weigh(self._tokenizer.ids(self.query_prefix + query))

    def encode_batch(self, queries: Sequence[str]) -> list[dict[str, float]]:
        """Encode queries.

        Parameters
        ----------
        queries : sequence of str

        Returns
        -------
        list of dict of str to float
            In the order of `queries`, each as :meth:`encode` gives it.
        """
        if isinstance(queries, str):
            raise InputError(f"expected a list of queries, got the one string {queries[:40]!r}")
        if self.query_prefix:
            queries = [self.query_prefix + query for query in queries]
        return [self._weigh(ids) for ids in self._tokenizer.batch(queries)]

    def _weigh(self, ids: list[int]) -> dict[str, float]:
        terms, ids = self._terms, ids[: self.max_length]
        if not self.tf:
            return dict(term for number in ids if (term := terms[number]) is not None)
        counts = Counter(ids)
        return {t[0]: t[1] * n for i, n in counts.items() if (t := terms[i]) is not None}

    def __repr__(self) -> str:
        table = f"{len(self.weights)} weights" if self.weights else "ones"
        return f"InferenceFreeEncoder({self.checkpoint!r}, {table}, tf={self.tf})"
