"""Bi-encoders: queries and documents to vectors, by any model that transformers loads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from pyserini_ext.encode.batches import length_sorted, padded
from pyserini_ext.encode.checkpoint import (
    load_ance,
    load_model,
    longest_input,
    sentence_transformers_settings,
)
from pyserini_ext.encode.pooling import POOLINGS, pool
from pyserini_ext.encode.texts import lowercase
from pyserini_ext.errors import InputError

DTYPES = ("float32", "bfloat16", "float16")
DEFAULT_LENGTH = 512
"""Tokens of a text where neither the user nor the checkpoint says how many."""
CPU_TOKENS = 2048
"""Tokens of a batch on the CPU: more leaves its caches."""
LONG_JOB = 20_000
"""Texts from which a progress bar is worth its line."""


class BiEncoder:
    """Encodes queries and documents with one transformer.

    Results do not depend on the batch a text is in (to 1e-5 in float32): padding is masked, in
    pooling too.

    Parameters
    ----------
    checkpoint : str or Path
        Folder, or name on the Hugging Face hub.
    device : str
        As torch names it: ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
    pooling : {"cls", "mean", "last"}, optional
        How token vectors become one. Needed unless the checkpoint says it in the files of
        sentence-transformers, from which the next five are taken too where they are not given.
    normalise : bool, optional
        Scale vectors to length 1, so that the inner product is the cosine. Default False.
    query_prefix, document_prefix : str, optional
        Put before the text as they are.
    max_length, document_max_length : int, optional
        Tokens of a query and of a document, special tokens included; the rest is cut off.
        Default 512, or as many as the model has positions.
    dtype : {"float32", "bfloat16", "float16"}
        Of the model; vectors are float32 always.
    batch_size : int
        Texts in a forward pass, at most.
    trust_remote_code : bool
        Run Python code that comes with the checkpoint.
    query_suffix : str
        Put after a query.
    special_tokens : bool
        Let the tokenizer add its special tokens.
    skip_tokens : int
        Tokens at the start that mean pooling leaves out.
    lowercase_queries : bool
        Lower-case queries, though not documents; for tokenizers that tell cases apart.
    head : {None, "ance"}
        Layer on top of the pooled vector.

    Attributes
    ----------
    dimension : int

    Raises
    ------
    InputError
        If an option has no such value, the checkpoint cannot be loaded or the device is absent.

    Examples
    --------
    >>> encoder = BiEncoder("intfloat/e5-base-v2", query_prefix="query: ")  # doctest: +SKIP
    >>> encoder.encode(["what is a bi-encoder"]).shape                      # doctest: +SKIP
    (1, 768)
    """

    def __init__(
        self,
        checkpoint: str | Path,
        *,
        device: str = "cpu",
        pooling: str | None = None,
        normalise: bool | None = None,
        query_prefix: str | None = None,
        document_prefix: str | None = None,
        max_length: int | None = None,
        document_max_length: int | None = None,
        dtype: str = "float32",
        batch_size: int = 64,
        trust_remote_code: bool = False,
        query_suffix: str = "",
        special_tokens: bool = True,
        skip_tokens: int = 0,
        lowercase_queries: bool = False,
        head: str | None = None,
    ) -> None:
        self.checkpoint = str(checkpoint)
        self.batch_size, self.dtype = batch_size, dtype
        self.query_suffix, self.special_tokens = query_suffix, special_tokens
        self.skip_tokens, self.lowercase_queries = skip_tokens, lowercase_queries
        self._check(pooling, head, max_length, document_max_length)
        self.device = torch_device(device)
        given = {
            "pooling": pooling,
            "normalise": normalise,
            "query_prefix": query_prefix,
            "document_prefix": document_prefix,
            "max_length": max_length,
        }
        given = {option: value for option, value in given.items() if value is not None}
        # A complete set of options, as presets have, needs no look at the checkpoint's own.
        stated = sentence_transformers_settings(self.checkpoint) if len(given) < 5 else {}
        settings = {**stated, **given}
        if "pooling" not in settings:
            raise InputError(
                f"{checkpoint} does not say how token vectors are pooled; give pooling: "
                f"{', '.join(POOLINGS)}"
            )
        self.pooling: str = settings["pooling"]
        self.normalise: bool = settings.get("normalise", False)
        self.query_prefix: str = settings.get("query_prefix", "")
        self.document_prefix: str = settings.get("document_prefix", "")
        self._load(head, trust_remote_code)
        limit = longest_input(self._model)
        self.max_length = self._length(settings.get("max_length"), limit)
        self.document_max_length = self._length(
            document_max_length or stated.get("max_length"), limit
        )

    def _check(self, pooling: str | None, head: str | None, *lengths: int | None) -> None:
        if pooling not in (None, *POOLINGS):
            raise InputError(f"unknown pooling {pooling!r}; choose from {', '.join(POOLINGS)}")
        if self.dtype not in DTYPES:
            raise InputError(f"unknown dtype {self.dtype!r}; choose from {', '.join(DTYPES)}")
        if head not in (None, "ance"):
            raise InputError(f"unknown head {head!r}; the only one is 'ance'")
        if self.batch_size < 1:
            raise InputError(f"batch_size is {self.batch_size}; it must be at least 1")
        for length in lengths:
            if length is not None and length < 1:
                raise InputError(f"a maximum length of {length} tokens; it must be at least 1")

    def _load(self, head: str | None, trust_remote_code: bool) -> None:
        self._head: torch.nn.Module | None = None
        if head == "ance":
            model, self._tokenizer, self._head, dimension = load_ance(self.checkpoint)
            self._head = self._head.to(self.device)
            self.dimension = dimension
        else:
            model, self._tokenizer = load_model(self.checkpoint, trust_remote_code)
            self.dimension = model.config.hidden_size
        self._model = model.to(self.device, getattr(torch, self.dtype))
        pad = self._tokenizer.pad_token_id
        # Padding is masked, so a tokenizer without a padding token (many decoders) is no obstacle.
        self._pad = 0 if pad is None else pad

    def _length(self, wanted: int | None, limit: int | None) -> int:
        if wanted is None:
            return min(DEFAULT_LENGTH, limit or DEFAULT_LENGTH)
        if limit is not None and wanted > limit:
            raise InputError(
                f"a maximum length of {wanted} tokens, but {self.checkpoint} has {limit} positions"
            )
        return wanted

    def encode(self, queries: Sequence[str]) -> np.ndarray:
        """Encode queries.

        Parameters
        ----------
        queries : sequence of str
            An empty query is encoded like any other.

        Returns
        -------
        ndarray of float32, shape (n, dimension)
            In the order of `queries`.
        """
        prefix, suffix = self.query_prefix, self.query_suffix
        queries = _texts(queries)
        if self.lowercase_queries:
            queries = [lowercase(query) for query in queries]
        return self._encode([f"{prefix}{query}{suffix}" for query in queries], self.max_length)

    def encode_documents(
        self, texts: Sequence[str], titles: Sequence[str] | None = None
    ) -> np.ndarray:
        """Encode documents.

        Parameters
        ----------
        texts : sequence of str
        titles : sequence of str, optional
            A title that is not empty stands before its text, separated by a space, as in
            Pyserini's encoders.

        Returns
        -------
        ndarray of float32, shape (n, dimension)
            In the order of `texts`; a document without any text has a vector too.
        """
        texts = _texts(texts)
        if titles is not None:
            if len(titles) != len(texts):
                raise InputError(f"{len(titles)} titles for {len(texts)} texts")
            pairs = zip(titles, texts, strict=True)
            texts = [
                f"{title} {text}" if title and text else title or text for title, text in pairs
            ]
        return self._encode(
            [f"{self.document_prefix}{text}" for text in texts], self.document_max_length
        )

    def _encode(self, texts: list[str], max_length: int) -> np.ndarray:
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        if not texts:
            return vectors
        tokens = self.token_ids(texts, max_length)
        budget = CPU_TOKENS if self.device.type == "cpu" else None
        bar = tqdm(total=len(texts), unit="text", disable=len(texts) < LONG_JOB, leave=False)
        with bar, torch.inference_mode():
            for batch in length_sorted([len(ids) for ids in tokens], self.batch_size, budget):
                ids, mask = padded([tokens[position] for position in batch], self._pad)
                vectors[batch] = self._forward(ids, mask)
                bar.update(len(batch))
        return vectors

    def token_ids(self, texts: list[str], max_length: int) -> list[list[int]]:
        """Return what the model is given for texts whose prefixes are written out."""
        ids: list[list[int]] = self._tokenizer(
            texts,
            truncation=True,
            max_length=max_length,
            padding=False,
            add_special_tokens=self.special_tokens,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )["input_ids"]
        return ids

    def pooled(self, ids: np.ndarray, mask: np.ndarray) -> torch.Tensor:
        """Return the vectors of token ids on the device, with their gradients unless disabled.

        Parameters
        ----------
        ids, mask : ndarray of int64, shape (n, tokens)
            As :func:`~pyserini_ext.encode.batches.padded` makes them.

        Returns
        -------
        tensor of float32, shape (n, dimension)
        """
        on_device = torch.from_numpy(ids).to(self.device)
        attention = torch.from_numpy(mask).to(self.device)
        # Without padding the mask says nothing, and attention without one is faster.
        arguments: dict[str, Any] = {} if mask.all() else {"attention_mask": attention}
        hidden = self._model(input_ids=on_device, **arguments)[0]
        pooled = pool(hidden, attention, self.pooling, self.skip_tokens)
        if self._head is not None:
            pooled = self._head(pooled)
        if self.normalise:
            pooled = torch.nn.functional.normalize(pooled, dim=1)
        return pooled

    def _forward(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return self.pooled(ids, mask).cpu().numpy()

    def __repr__(self) -> str:
        return (
            f"BiEncoder({self.checkpoint!r}, pooling={self.pooling!r}, "
            f"normalise={self.normalise}, dimension={self.dimension}, device='{self.device}')"
        )


def _texts(texts: Sequence[str]) -> Sequence[str]:
    if isinstance(texts, str):
        raise InputError(f"expected a list of texts, got the one string {texts[:40]!r}")
    return texts


def torch_device(name: str) -> torch.device:
    """Return a device that works, or raise InputError naming it."""
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device {name!r} cannot be used here: {reason}") from error
    return device
