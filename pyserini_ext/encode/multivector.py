"""Late interaction (ColBERT): a vector for each token of a query or document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from pyserini_ext.encode.batches import length_sorted, padded
from pyserini_ext.encode.checkpoint import load_model, longest_input
from pyserini_ext.encode.dense import CPU_TOKENS, DEFAULT_LENGTH, DTYPES, LONG_JOB, torch_device
from pyserini_ext.encode.multivector_files import (
    PUNCTUATION,
    TokenSettings,
    marker_id,
    projections,
    set_language,
    token_settings,
)
from pyserini_ext.encode.texts import joined
from pyserini_ext.errors import InputError
from pyserini_ext.rescore.query_tokens import QueryTokens


class DocumentTokens(NamedTuple):
    """The token vectors of documents, one after the other.

    Attributes
    ----------
    vectors : ndarray of float32, shape (tokens, dimension)
    offsets : ndarray of int64, shape (n + 1,)
        Document i has the rows ``offsets[i]`` to ``offsets[i + 1]``.
    ids : ndarray of int32, shape (tokens,), or None
        Which token of the vocabulary each vector is of, -1 for the special ones: [CLS], [SEP],
        [UNK], markers.
    """

    vectors: np.ndarray
    offsets: np.ndarray
    ids: np.ndarray | None = None


class MultiVectorEncoder:
    """Encodes queries and documents as ColBERT does.

    A sequence is [CLS], a marker that tells queries from documents, the text, [SEP]; queries are
    filled up with [MASK]. The body's last hidden states go through a linear layer and are scaled
    to length 1; documents leave punctuation out (Khattab and Zaharia, SIGIR 2020, section 3.2).

    Parameters
    ----------
    checkpoint : str or Path
        Folder, or name on the Hugging Face hub: of ColBERT (v2, XM), of PyLate, or any body, whose
        token vectors are then taken as they are. The first two say themselves what the options
        from `query_length` to `skip` are; one that is given goes before.
    device, dtype, batch_size, trust_remote_code
        As for :class:`~pyserini_ext.encode.dense.BiEncoder`.
    query_length, document_max_length : int, optional
        Tokens of a query and of a document, marker and special tokens included. For a plain body
        512, or as many as it has positions.
    query_marker, document_marker : str, optional
        A token of the vocabulary; an empty string for none.
    expand : bool, optional
        Fill queries up to `query_length` with [MASK].
    attend : bool, optional
        Whether the other tokens see those.
    skip : {"punctuation", "nothing"}, or sequence of str, optional
        Tokens that documents leave out. A plain body leaves punctuation out.
    normalise : bool
        Scale token vectors to length 1.
    language : str
        For X-MOD bodies, whose configuration names none.

    Attributes
    ----------
    dimension : int
    settings : TokenSettings

    Raises
    ------
    InputError
        If the checkpoint cannot be loaded, or an option does not fit it.

    Examples
    --------
    >>> encoder = MultiVectorEncoder("colbert-ir/colbertv2.0")           # doctest: +SKIP
    >>> encoder.encode_queries(["what is late interaction"]).vectors.shape  # doctest: +SKIP
    (1, 32, 128)
    """

    def __init__(
        self,
        checkpoint: str | Path,
        *,
        device: str = "cpu",
        dtype: str = "float32",
        batch_size: int = 64,
        trust_remote_code: bool = False,
        query_length: int | None = None,
        document_max_length: int | None = None,
        query_marker: str | None = None,
        document_marker: str | None = None,
        expand: bool | None = None,
        attend: bool | None = None,
        skip: str | Sequence[str] | None = None,
        normalise: bool = True,
        language: str = "en_XX",
    ) -> None:
        self.checkpoint = str(checkpoint)
        if dtype not in DTYPES:
            raise InputError(f"unknown dtype {dtype!r}; choose from {', '.join(DTYPES)}")
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}; it must be at least 1")
        self.batch_size, self.normalise = batch_size, normalise
        self.device = torch_device(device)
        given: dict[str, Any] = {
            "query_length": query_length,
            "document_length": document_max_length,
            "query_marker": query_marker,
            "document_marker": document_marker,
            "expand": expand,
            "attend": attend,
            "skip": _skipped(skip),
        }
        given = {name: value for name, value in given.items() if value is not None}
        self.settings: TokenSettings = replace(token_settings(self.checkpoint), **given)
        layers = projections(self.checkpoint)
        model, self._tokenizer = load_model(self.checkpoint, trust_remote_code)
        set_language(model, language)
        width = model.config.hidden_size
        for layer in layers:
            if layer.shape[1] != width:
                raise InputError(
                    f"{checkpoint}: a projection from {layer.shape[1]} dimensions behind "
                    f"vectors of {width}"
                )
            width = layer.shape[0]
        self.dimension: int = width
        kind = getattr(torch, dtype)
        self._model = model.to(self.device, kind)
        self._layers = [layer.to(self.device, kind) for layer in layers]
        self._lengths()
        self._markers = [
            marker_id(self._tokenizer, marker or None)
            for marker in (self.settings.query_marker, self.settings.document_marker)
        ]
        skip_ids = [self._tokenizer.convert_tokens_to_ids(word) for word in self.settings.skip]
        self._skip = np.array([i for i in skip_ids if i is not None], dtype=np.int64)
        self._pad = self._tokenizer.pad_token_id or 0
        self._special = _special_ids(self._tokenizer, self._markers)

    def _lengths(self) -> None:
        settings, limit = self.settings, longest_input(self._model)
        if settings.expand and self._tokenizer.mask_token_id is None:
            raise InputError(
                f"{self.checkpoint} has no mask token to fill queries up with; give expand=False"
            )
        if settings.expand and settings.query_length is None:
            raise InputError("expand fills queries up to query_length; give query_length=32")
        if settings.attend and not settings.expand:
            raise InputError("attend is about the tokens that expand adds; give expand=True")
        lengths = []
        for length in (settings.query_length, settings.document_length):
            if length is not None and length < 4:
                raise InputError(f"a maximum length of {length} tokens; it must be at least 4")
            if length is not None and limit is not None and length > limit:
                raise InputError(
                    f"a maximum length of {length} tokens, but {self.checkpoint} has {limit} "
                    "positions"
                )
            lengths.append(length or min(DEFAULT_LENGTH, limit or DEFAULT_LENGTH))
        self.query_length, self.document_length = lengths

    def encode_queries(self, queries: Sequence[str]) -> QueryTokens:
        """Encode queries.

        Parameters
        ----------
        queries : sequence of str

        Returns
        -------
        QueryTokens
            With `expand`, ``query_length`` tokens each and nothing masked.
        """
        tokens = self._tokenized(joined(queries), self.query_length, self._markers[0])
        real = [len(ids) for ids in tokens]
        if self.settings.expand:
            mask_token = self._tokenizer.mask_token_id
            tokens = [ids + [mask_token] * (self.query_length - len(ids)) for ids in tokens]
        longest = max(map(len, tokens), default=0)
        vectors = np.zeros((len(tokens), longest, self.dimension), dtype=np.float32)
        mask = np.zeros((len(tokens), longest), dtype=bool)
        seen = [len(ids) for ids in tokens] if self.settings.attend else real
        for position, own in self._encoded(tokens, seen, len(tokens)):
            vectors[position, : len(own)] = own
            mask[position, : len(own)] = True
        return QueryTokens(vectors, mask)

    def encode_documents(
        self, texts: Sequence[str], titles: Sequence[str] | None = None
    ) -> DocumentTokens:
        """Encode documents.

        Parameters
        ----------
        texts : sequence of str
        titles : sequence of str, optional
            Put before the texts: see :func:`~pyserini_ext.encode.texts.joined`.

        Returns
        -------
        DocumentTokens
            In the order of `texts`; without the tokens of ``settings.skip``.
        """
        tokens = self._tokenized(joined(texts, titles), self.document_length, self._markers[1])
        kept = [~np.isin(ids, self._skip) for ids in tokens]
        offsets = np.concatenate(([0], np.cumsum([k.sum() for k in kept]))).astype(np.int64)
        ids = np.array([i for own in tokens for i in own], dtype=np.int32)
        ids = ids[np.concatenate([*kept, np.empty(0, dtype=bool)])]
        ids[np.isin(ids, self._special)] = -1
        vectors = np.empty((offsets[-1], self.dimension), dtype=np.float32)
        for position, own in self._encoded(tokens, [len(ids) for ids in tokens], LONG_JOB):
            vectors[offsets[position] : offsets[position + 1]] = own[kept[position]]
        return DocumentTokens(vectors, offsets, ids)

    def encode(self, queries: Sequence[str]) -> np.ndarray:
        """Refuse: there is no single vector for a text.

        Raises
        ------
        InputError
        """
        raise InputError(
            f"{self.checkpoint} gives a vector for each token; use --to multivector and the "
            "searcher multi-vector, or another encoder"
        )

    def _tokenized(self, texts: list[str], length: int, marker: int | None) -> list[list[int]]:
        if not texts:
            return []
        tokens: list[list[int]] = self._tokenizer(
            texts,
            truncation=True,
            max_length=length - (marker is not None),
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )["input_ids"]
        if marker is None:
            return tokens
        return [[*ids[:1], marker, *ids[1:]] for ids in tokens]

    def _encoded(self, tokens: list[list[int]], seen: list[int], bar_from: int) -> Any:
        """Yield each sequence's position and vectors; its first `seen` tokens are attended to."""
        budget = CPU_TOKENS if self.device.type == "cpu" else None
        bar = tqdm(total=len(tokens), unit="text", disable=len(tokens) <= bar_from, leave=False)
        with bar, torch.inference_mode():
            for batch in length_sorted([len(ids) for ids in tokens], self.batch_size, budget):
                ids, _ = padded([tokens[position] for position in batch], self._pad)
                attention = np.arange(ids.shape[1]) < np.array([seen[p] for p in batch])[:, None]
                vectors = self._forward(ids, attention)
                for position, own in zip(batch, vectors, strict=True):
                    yield position, own[: len(tokens[position])]
                bar.update(len(batch))

    def _forward(self, ids: np.ndarray, attention: np.ndarray) -> np.ndarray:
        on_device = torch.from_numpy(ids).to(self.device)
        arguments: dict[str, Any] = {}
        if not attention.all():
            mask = torch.from_numpy(attention.astype(np.int64))
            arguments["attention_mask"] = mask.to(self.device)
        hidden = self._model(input_ids=on_device, **arguments)[0]
        for layer in self._layers:
            hidden = hidden @ layer.T
        hidden = hidden.float()
        if self.normalise:
            hidden = torch.nn.functional.normalize(hidden, dim=2)
        return hidden.cpu().numpy()


def _special_ids(tokenizer: Any, markers: Sequence[int | None]) -> np.ndarray:
    """Return the ids that stand for no word: those that BERT leaves unused are among them."""
    unused = [i for word, i in tokenizer.get_vocab().items() if word.startswith("[unused")]
    found = {*tokenizer.all_special_ids, *unused, *(i for i in markers if i is not None)}
    return np.array(sorted(found), dtype=np.int64)


def _skipped(skip: str | Sequence[str] | None) -> tuple[str, ...] | None:
    if skip is None:
        return None
    if isinstance(skip, str):
        named = {"punctuation": PUNCTUATION, "nothing": ()}
        if skip not in named:
            raise InputError(
                f"skip={skip!r}; choose punctuation, nothing, or give a list of tokens"
            )
        return named[skip]
    return tuple(skip)
