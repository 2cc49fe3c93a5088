"""A synthetic collection of learned sparse vectors, of any size, without any download.

A token of rank r (of `TOKENS`) stands in a part p(r) of the documents, each token independently:

    ln(p / (1 - p)) = c - 0.975 ln r - 4.28e-5 r

The slope and the cut-off are fitted by least squares to the document frequencies of BERT's word
pieces in 30,005 passages of MS MARCO (``msmarco_dl_pool``; ranks spaced evenly in ln r, document
frequencies over 5; root mean square error .27 in the logarithm of the odds). There c is 1.77, for
50 tokens a passage. Here c makes it `LENGTH` tokens a document, what models that expand documents
give.

Weights are gamma-distributed (shape 2, mean 2/3, at most 3.5: about a fifth are above 1), times
100, as whole numbers of at least 1. A query is the distinct tokens of `QUERY` draws with a
probability proportional to p, as words stand in text: its tokens stand in 14 % of the documents on
average, as those of the MS MARCO queries do. The text of a document is its tokens that weigh more
than 0.85 (28 % of them), those over 1.7 twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from pyserini_ext.index.idf import compute_idf

TOKENS, LENGTH, QUERY, SEED, SCALE = 28_000, 116, 6, 13, 100
CHUNK = 10_000
"""Documents made at a time; the first documents of a larger collection are a smaller one."""
HEAVY, TWICE = 85, 170
"""Weights from which a token stands in the text, once and twice."""
RARE = 0.005
"""Tokens below this probability are drawn, the others are tossed for in each document."""


def law() -> np.ndarray:
    """Return p(r), float64 of shape (TOKENS,)."""
    rank = np.arange(1, TOKENS + 1)
    shape = -0.975 * np.log(rank) - 4.28e-5 * rank
    low, high = 0.0, 10.0
    for _ in range(60):
        c = (low + high) / 2
        p = 1 / (1 + np.exp(-c - shape))
        low, high = (c, high) if p.sum() < LENGTH else (low, c)
    return p


def names() -> list[str]:
    """Return the tokens, by rank; no stemmer changes a word that ends in a digit."""
    return [f"w{rank:05d}" for rank in range(1, TOKENS + 1)]


@dataclass(frozen=True)
class Part:
    """Documents in a row: ``tokens[starts[i]:starts[i + 1]]`` and their weights, in hundredths."""

    first: int
    starts: np.ndarray
    tokens: np.ndarray
    weights: np.ndarray


def parts(documents: int, seed: int = SEED) -> Iterator[Part]:
    """Yield the collection, `CHUNK` documents at a time; memory does not grow with it."""
    p = law()
    common = int((p >= RARE).sum())
    rare = p[common:]
    cumulative = np.cumsum(rare)
    for first in range(0, documents, CHUNK):
        rng = np.random.default_rng((seed, first))
        doc, token = np.nonzero(rng.random((CHUNK, common), dtype=np.float32) < p[:common])
        # Poisson draws of rare tokens; the few that fall on one document twice are dropped.
        drawn = rng.poisson(cumulative[-1], CHUNK)
        own = np.repeat(np.arange(CHUNK), drawn)
        draws = np.searchsorted(cumulative, rng.random(len(own)) * cumulative[-1])
        keys = np.concatenate((doc * TOKENS + token, np.unique(own * TOKENS + common + draws)))
        weights = np.clip(rng.gamma(2, SCALE / 3, len(keys)).round(), 1, 3.5 * SCALE)
        order = np.argsort(keys, kind="stable")
        doc, token = np.divmod(keys[order], TOKENS)
        size = min(CHUNK, documents - first)
        starts = np.searchsorted(doc, np.arange(size + 1))
        kept = slice(0, int(starts[-1]))
        yield Part(
            first, starts, token[kept].astype(np.int32), weights[order][kept].astype(np.int32)
        )


def queries(count: int, seed: int = SEED) -> list[list[str]]:
    """Return queries: lists of distinct tokens."""
    p = law()
    rng = np.random.default_rng((seed, 2**31))
    token = names()
    drawn = rng.choice(TOKENS, (count, QUERY), p=p / p.sum())
    return [[token[i] for i in dict.fromkeys(each.tolist())] for each in drawn]


def write(folder: Path, documents: int, scale: int = SCALE) -> Path:
    """Write the collection unless it is there.

    In its folder are ``vectors/`` (a JsonVectorCollection of whole weights), ``texts/`` (a
    JsonCollection) and the idf of the tokens, ``idf.json``.

    Parameters
    ----------
    folder : Path
        ``documents-scale`` is made in it.
    documents : int
    scale : int
        The weight 1 as it is written; 100, or 10 for what the scale costs.

    Returns
    -------
    Path
    """
    made = folder / f"synthetic-{documents}-x{scale}"
    if made.exists():
        return made
    part = made.with_name(f"{made.name}.part")
    for name in ("vectors", "texts"):
        (part / name).mkdir(parents=True, exist_ok=True)
    token = names()
    keys = [f'"{name}":' for name in token]
    numbers = [str(max(1, round(w * scale / SCALE))) for w in range(int(3.5 * SCALE) + 1)]
    df = np.zeros(TOKENS, dtype=np.int64)
    with (
        (part / "vectors" / "documents.jsonl").open("w", encoding="ascii") as vectors,
        (part / "texts" / "documents.jsonl").open("w", encoding="ascii") as texts,
    ):
        for some in parts(documents):
            df += np.bincount(some.tokens, minlength=TOKENS)
            ids, weights, starts = some.tokens.tolist(), some.weights.tolist(), some.starts.tolist()
            for i, (start, stop) in enumerate(pairwise(starts)):
                docid = f"{some.first + i:07d}"
                pairs = list(zip(ids[start:stop], weights[start:stop], strict=True))
                vector = ",".join([keys[t] + numbers[w] for t, w in pairs])
                vectors.write(f'{{"id":"{docid}","contents":"","vector":{{{vector}}}}}\n')
                words = [token[t] for t, w in pairs if w > HEAVY]
                words += [token[t] for t, w in pairs if w > TWICE]
                texts.write(f'{{"id":"{docid}","contents":"{" ".join(words)}"}}\n')
    seen = np.flatnonzero(df)
    table = dict(zip([token[i] for i in seen], compute_idf(df[seen], documents), strict=True))
    (part / "idf.json").write_text(json.dumps({t: round(float(v), 6) for t, v in table.items()}))
    part.rename(made)
    return made
