"""Documents to weights of vocabulary tokens, by the head of a language model (SPLADE)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from pyserini_ext.encode.batches import length_sorted, padded
from pyserini_ext.encode.checkpoint import longest_input
from pyserini_ext.encode.dense import CPU_TOKENS, DEFAULT_LENGTH, DTYPES, LONG_JOB, torch_device
from pyserini_ext.encode.fast_tokenizer import by_id, vocabulary_name
from pyserini_ext.encode.language_model import load_language_model
from pyserini_ext.encode.model_files import prompt_of, splade_settings
from pyserini_ext.encode.texts import joined
from pyserini_ext.errors import InputError

ACTIVATIONS = {"log1p": 1, "log1p-log1p": 2}
"""How often log(1 + x) is applied to max(0, logit): once in SPLADE and OpenSearch's v1 and v2,
twice in its v3."""

POOLINGS = ("max", "sum")

CPU_LOGITS, GPU_LOGITS = 1 << 25, 1 << 30
"""Logits of a batch at most (128 MB, 4 GB in float32): a vocabulary wide for every token."""


class SparseRows(NamedTuple):
    """Sparse vectors as three arrays (CSR).

    Attributes
    ----------
    indptr : ndarray of int64, shape (n + 1,)
        Row i lies in ``indptr[i]:indptr[i + 1]`` of the other two.
    ids : ndarray of int32
        Token ids, ascending in a row.
    weights : ndarray of float32
        Above 0.
    """

    indptr: np.ndarray
    ids: np.ndarray
    weights: np.ndarray


class SparseDocumentEncoder:
    """Encodes documents as weights of vocabulary tokens.

    The weight of a token is the largest of its logits over the positions of the document, through
    log(1 + max(0, x)). Results do not depend on the batch a document is in (to 1e-5 in float32).

    Sources: Formal et al., *SPLADE v2*, 2021; Geng et al., 2024 and 2025 (OpenSearch's v1 to v3);
    Doshi et al., *Mistral-SPLADE*, 2024, for decoders.

    Parameters
    ----------
    checkpoint : str or Path
        Folder, or name on the Hugging Face hub: a masked language model, a decoder with its head,
        an OpenSearch model, or a SparseEncoder of sentence-transformers, whose files say the
        activation, pooling, prompt and length.
    device : str
        As torch names it: ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
    activation : {"log1p", "log1p-log1p"}, optional
        Default ``log1p`` where the checkpoint does not say.
    pooling : {"max", "sum"}, optional
        Over positions. Default ``max``, as above.
    special_tokens : bool, optional
        Keep the weights of special tokens. Default False, but True for a checkpoint of
        sentence-transformers, which keeps them.
    top_n : int, optional
        Keep the `top_n` largest weights of a document (of equal ones the smaller id).
    prune_ratio : float
        Drop weights of at most this share of the document's largest.
    document_prefix : str, optional
        Put before the text as it is.
    document_max_length : int, optional
        Tokens of a document, special tokens included; the rest is cut off. Default 512, or as many
        as the model has positions.
    dtype : {"float32", "bfloat16", "float16"}
        Of the model; weights are float32 always.
    batch_size : int
        Texts in a forward pass, at most.
    trust_remote_code : bool
        Run Python code that comes with the checkpoint.

    Attributes
    ----------
    tokens : list of str
        By id; empty for ids that are never in a vector.
    tokenizer_name : str
        Identifies the tokenizer by its vocabulary; queries must be encoded with it.

    Raises
    ------
    InputError
        If an option has no such value, the checkpoint cannot be loaded or the device is absent.
    """

    def __init__(
        self,
        checkpoint: str | Path,
        *,
        device: str = "cpu",
        activation: str | None = None,
        pooling: str | None = None,
        special_tokens: bool | None = None,
        top_n: int | None = None,
        prune_ratio: float = 0.0,
        document_prefix: str | None = None,
        document_max_length: int | None = None,
        dtype: str = "float32",
        batch_size: int = 64,
        trust_remote_code: bool = False,
    ) -> None:
        self.checkpoint = str(checkpoint)
        self.batch_size, self.dtype = batch_size, dtype
        self.top_n, self.prune_ratio = top_n, prune_ratio
        stated = splade_settings(self.checkpoint)
        self.activation = activation or stated.get("activation", "log1p")
        self.pooling = pooling or stated.get("pooling", "max")
        if document_prefix is None:
            document_prefix = prompt_of(self.checkpoint, "document")
        self.document_prefix = document_prefix
        self._check(document_max_length)
        self.device = torch_device(device)
        model, self._tokenizer = load_language_model(
            self.checkpoint, stated.get("folder", ""), trust_remote_code
        )
        wanted = document_max_length or stated.get("max_length")
        self.document_max_length = self._length(wanted, longest_input(model.base_model))
        self._model = model.to(self.device, getattr(torch, dtype))
        pad = self._tokenizer.pad_token_id
        self._pad = 0 if pad is None else pad
        if special_tokens is None:
            special_tokens = bool(stated)
        head = model.get_output_embeddings()
        width = model.config.vocab_size if head is None else head.weight.shape[0]
        self.tokens = self._vocabulary(width, special_tokens)
        self.tokenizer_name = vocabulary_name(by_id(self._tokenizer.get_vocab()))
        # A head may be wider than the vocabulary, for the sake of the hardware.
        nameless = np.array([not token for token in self.tokens])
        self._nameless = torch.from_numpy(nameless).to(self.device)

    def _check(self, document_max_length: int | None) -> None:
        choices = (
            ("activation", self.activation, ACTIVATIONS),
            ("pooling", self.pooling, POOLINGS),
            ("dtype", self.dtype, DTYPES),
        )
        for name, value, known in choices:
            if value not in known:
                raise InputError(f"unknown {name} {value!r}; choose from {', '.join(known)}")
        sizes = {
            "batch_size": self.batch_size,
            "top_n": self.top_n,
            "document_max_length": document_max_length,
        }
        for name, size in sizes.items():
            if size is not None and size < 1:
                raise InputError(f"{name} is {size}; it must be at least 1")
        if not 0 <= self.prune_ratio < 1:
            raise InputError(f"prune_ratio is {self.prune_ratio}; expected 0 or more, and below 1")

    def _length(self, wanted: int | None, limit: int | None) -> int:
        if wanted is None:
            return min(DEFAULT_LENGTH, limit or DEFAULT_LENGTH, self._tokenizer.model_max_length)
        if limit is not None and wanted > limit:
            raise InputError(
                f"a maximum length of {wanted} tokens, but {self.checkpoint} has {limit} positions"
            )
        return wanted

    def _vocabulary(self, width: int, special_tokens: bool) -> list[str]:
        tokens = [""] * width
        left_out = set() if special_tokens else set(self._tokenizer.all_special_ids)
        for number, token in enumerate(by_id(self._tokenizer.get_vocab())[:width]):
            if number not in left_out:
                tokens[number] = token or ""
        return tokens

    def encode_documents(
        self, texts: Sequence[str], titles: Sequence[str] | None = None
    ) -> list[dict[str, float]]:
        """Encode documents.

        Parameters
        ----------
        texts : sequence of str
        titles : sequence of str, optional
            A title that is not empty stands before its text, separated by a space.

        Returns
        -------
        list of dict of str to float
            In the order of `texts`: tokens of a weight above 0, by id.
        """
        rows = self.encode_rows(texts, titles)
        names = [self.tokens[number] for number in rows.ids.tolist()]
        weights, ends = rows.weights.tolist(), rows.indptr.tolist()
        return [
            dict(zip(names[start:end], weights[start:end], strict=True))
            for start, end in pairwise(ends)
        ]

    def encode_rows(self, texts: Sequence[str], titles: Sequence[str] | None = None) -> SparseRows:
        """Encode documents into arrays; see :meth:`encode_documents`."""
        texts = [f"{self.document_prefix}{text}" for text in joined(texts, titles)]
        rows: list[tuple[np.ndarray, np.ndarray]] = [_EMPTY] * len(texts)
        tokens = self._tokenise(texts)
        cpu = self.device.type == "cpu"
        budget = max(1, (CPU_LOGITS if cpu else GPU_LOGITS) // len(self.tokens))
        if cpu:
            budget = min(budget, CPU_TOKENS)
        bar = tqdm(total=len(texts), unit="text", disable=len(texts) < LONG_JOB, leave=False)
        with bar, torch.inference_mode():
            for batch in length_sorted([len(ids) for ids in tokens], self.batch_size, budget):
                if not tokens[batch[0]]:
                    break  # the longest that is left is empty
                ids, mask = padded([tokens[position] for position in batch], self._pad)
                for position, row in zip(batch, self._forward(ids, mask), strict=True):
                    rows[position] = row
                bar.update(len(batch))
        indptr = np.cumsum([0, *(len(ids) for ids, _ in rows)], dtype=np.int64)
        ids, weights = (np.concatenate([_EMPTY[i], *(row[i] for row in rows)]) for i in (0, 1))
        return SparseRows(indptr, ids, weights)

    def _tokenise(self, texts: list[str]) -> list[list[int]]:
        if not texts:
            return []
        return self._tokenizer(
            texts,
            truncation=True,
            max_length=self.document_max_length,
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )["input_ids"]

    def _forward(self, ids: np.ndarray, mask: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        on_device = torch.from_numpy(ids).to(self.device)
        attention = torch.from_numpy(mask).to(self.device)
        full = mask.all()
        arguments: dict[str, Any] = {} if full else {"attention_mask": attention}
        logits = self._model(input_ids=on_device, **arguments).logits
        if not full:
            logits.masked_fill_(attention[..., None] == 0, 0)
        times = ACTIVATIONS[self.activation]
        if self.pooling == "max":
            # The activation grows with the logit: it is the same behind the maximum.
            weights = _activate(logits.amax(1).float(), times)
        else:
            weights = _activate(logits.float(), times).sum(1)
        if not torch.isfinite(weights).all():
            raise InputError(
                f"{self.checkpoint} in {self.dtype} gives weights that are no finite numbers; "
                "try dtype float32"
            )
        weights[:, self._nameless] = 0
        if self.prune_ratio:
            weights[weights <= self.prune_ratio * weights.amax(1, keepdim=True)] = 0
        row, column = torch.nonzero(weights, as_tuple=True)
        values = weights[row, column].cpu().numpy()
        columns = column.to(torch.int32).cpu().numpy()
        ends = np.cumsum(np.bincount(row.cpu().numpy(), minlength=len(ids)))[:-1]
        pairs = zip(np.split(columns, ends), np.split(values, ends), strict=True)
        return [_largest(*pair, self.top_n) for pair in pairs]

    def __repr__(self) -> str:
        return (
            f"SparseDocumentEncoder({self.checkpoint!r}, activation={self.activation!r}, "
            f"top_n={self.top_n}, prune_ratio={self.prune_ratio}, device='{self.device}')"
        )


_EMPTY = (np.empty(0, dtype=np.int32), np.empty(0, dtype=np.float32))


def _activate(logits: torch.Tensor, times: int) -> torch.Tensor:
    logits = logits.clamp_(min=0)
    for _ in range(times):
        logits = logits.log1p_()
    return logits


def _largest(
    ids: np.ndarray, weights: np.ndarray, count: int | None
) -> tuple[np.ndarray, np.ndarray]:
    if count is None or len(ids) <= count:
        return ids, weights
    kept = np.sort(np.lexsort((ids, -weights))[:count])
    return ids[kept], weights[kept]
