"""What a sparse encoder is trained on: documents as token ids, queries with targets, batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pyserini_ext.collection import open_collection
from pyserini_ext.encode.corpus import chunks
from pyserini_ext.encode.sparse_query import InferenceFreeEncoder
from pyserini_ext.encode.texts import joined
from pyserini_ext.errors import InputError
from pyserini_ext.index.idf import compute_idf
from pyserini_ext.train.candidates import Candidates, read_candidates

READ = 2048
"""Documents tokenised at a time."""

BEST = 10
"""Half of a query's documents come from the first so many of its teachers' list: there the order
matters; the other half from the rest."""


class Documents:
    """A collection as token ids, 4 bytes a token.

    Parameters
    ----------
    corpus : str
        What :func:`~pyserini_ext.collection.open_collection` opens.
    tokenizer : PreTrainedTokenizer
    max_length : int
        Tokens of a document, special ones included.

    Attributes
    ----------
    rows : dict of str to int
        By docid.
    df : ndarray of int64, shape (vocabulary,)
        In how many documents each token stands, of the part of them that is kept.
    """

    def __init__(self, corpus: str, tokenizer: Any, max_length: int) -> None:
        from tqdm import tqdm

        self.rows: dict[str, int] = {}
        self.df = np.zeros(len(tokenizer), dtype=np.int64)
        parts: list[np.ndarray] = []
        lengths: list[int] = []
        collection = open_collection(corpus)
        with tqdm(desc="reading", unit="doc", delay=5, leave=False) as bar:
            for documents in chunks(collection, READ):
                texts = joined([d.text for d in documents], [d.title for d in documents])
                for document, ids in zip(
                    documents, tokenised(tokenizer, texts, max_length), strict=True
                ):
                    if self.rows.setdefault(document.docid, len(self.rows)) != len(lengths):
                        raise InputError(f"{corpus} has the docid {document.docid!r} twice")
                    self.df[list(set(ids))] += 1
                    parts.append(np.array(ids, dtype=np.int32))
                    lengths.append(len(ids))
                bar.update(len(documents))
        if not lengths:
            raise InputError(f"{corpus} holds no documents")
        self._ids = np.concatenate(parts)
        self._ends = np.cumsum([0, *lengths])

    def __getitem__(self, row: int) -> np.ndarray:
        return self._ids[self._ends[row] : self._ends[row + 1]]

    def __len__(self) -> int:
        return len(self._ends) - 1


def tokenised(tokenizer: Any, texts: Sequence[str], max_length: int) -> list[list[int]]:
    """Return token ids as ``SparseDocumentEncoder`` gives them to the model."""
    return tokenizer(
        list(texts),
        truncation=True,
        max_length=max_length,
        padding=False,
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,
    )["input_ids"]


def corpus_idf(documents: Documents, tokenizer: Any) -> dict[str, float]:
    """Return the idf of the tokens that stand in documents; special tokens are left out."""
    special = set(tokenizer.all_special_ids)
    ids = [i for i in np.flatnonzero(documents.df).tolist() if i not in special]
    values = compute_idf(documents.df[ids], len(documents)).tolist()
    return dict(zip(tokenizer.convert_ids_to_tokens(ids), values, strict=True))


class Example(NamedTuple):
    """A query to train on.

    Attributes
    ----------
    tokens : ndarray of int64, shape (n,)
        Distinct token ids.
    weights : ndarray of float32, shape (n,)
        Their idf.
    rows : ndarray of int64, shape (m,)
        Candidates, the best by the mixed teachers first.
    target : ndarray of float64, shape (m,)
        Mixed scores.
    positives : ndarray of int64
        Rows of documents known to be relevant.
    topic : bool
        Not a pseudo-query.
    """

    tokens: np.ndarray
    weights: np.ndarray
    rows: np.ndarray
    target: np.ndarray
    positives: np.ndarray
    topic: bool


def read_examples(
    path: str | Path,
    documents: Documents,
    encoder: InferenceFreeEncoder,
    token_ids: dict[str, int],
    mix: Callable[[np.ndarray], np.ndarray],
    least: int,
    positives: bool,
) -> list[Example]:
    """Read candidates and leave out what nothing can be learnt from.

    Parameters
    ----------
    path : str or Path
    documents : Documents
    encoder : InferenceFreeEncoder
        The query side, with the table that the model is trained for.
    token_ids : dict of str to int
    mix : callable
        Scores of shape (teachers, m) to the target.
    least : int
        Queries of fewer candidates are left out,
    positives : bool
        or instead those without a relevant document and another.

    Raises
    ------
    InputError
        If nothing is left.
    """
    out = []
    for found in read_candidates(path, documents.rows):
        weights = encoder.encode(found.query)
        usable = len(found.docids) >= least
        if positives:
            usable = bool(found.positives) and len(found.docids) > len(found.positives)
        if weights and usable:
            out.append(_example(found, weights, documents.rows, token_ids, mix))
    if not out:
        lacks = "a relevant document (--qrels) and another" if positives else f"{least} candidates"
        raise InputError(
            f"{path} has no query to train on: none has a token with a weight, and {lacks}"
        )
    return out


def _example(
    found: Candidates,
    weights: dict[str, float],
    rows: dict[str, int],
    token_ids: dict[str, int],
    mix: Callable[[np.ndarray], np.ndarray],
) -> Example:
    target = mix(found.scores)
    order = np.argsort(-target, kind="stable")
    return Example(
        np.array([token_ids[token] for token in weights]),
        np.array(list(weights.values()), dtype=np.float32),
        np.array([rows[docid] for docid in found.docids])[order],
        target[order],
        np.array([rows[docid] for docid in found.positives], dtype=np.int64),
        found.qid.startswith("topic:"),
    )


def choose_ranked(example: Example, count: int, numbers: np.random.Generator) -> np.ndarray:
    """Choose candidates to distil: half from the head of the list; positions in it."""
    head = min(BEST, len(example.rows) - (count - count // 2))
    head = max(head, count // 2)
    first = numbers.choice(head, count // 2, replace=False)
    rest = numbers.choice(np.arange(head, len(example.rows)), count - count // 2, replace=False)
    return np.concatenate([first, rest])


def choose_columns(
    documents: Sequence[np.ndarray],
    queries: Sequence[np.ndarray],
    allowed: np.ndarray,
    count: int,
    numbers: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Choose the tokens whose weights are computed in a batch.

    The head is half of the cost of a small model. A batch's score needs the tokens of its queries,
    and FLOPS is an unbiased estimate from the tokens that stand in the batch and a sample of
    the rest.

    Parameters
    ----------
    documents, queries : sequence of ndarray of int
        Token ids.
    allowed : ndarray of int64
        Ids that may have a weight, ascending.
    count : int
        To sample.
    numbers : Generator

    Returns
    -------
    tuple of (ndarray of int64, ndarray of float32)
        Ids, and how many tokens each stands for in a sum over the vocabulary.
    """
    present = np.intersect1d(np.concatenate([*documents, *queries]), allowed)
    rest = np.setdiff1d(allowed, present, assume_unique=True)
    sample = rest if len(rest) <= count else np.sort(numbers.choice(rest, count, replace=False))
    shares = np.ones(len(present) + len(sample), dtype=np.float32)
    if len(sample):
        shares[len(present) :] = len(rest) / len(sample)
    return np.concatenate([present, sample]).astype(np.int64), shares
