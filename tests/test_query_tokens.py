"""Batches of token vectors are cut and changed like arrays of single vectors."""

from itertools import pairwise

import numpy as np
import pytest

from pyserini_ext.errors import InputError
from pyserini_ext.rescore.query_tokens import QueryTokens


def batch(lengths, dimension=3, seed=0):
    random = np.random.default_rng(seed)
    mask = np.arange(max(lengths)) < np.array(lengths)[:, None]
    vectors = random.standard_normal((*mask.shape, dimension)).astype(np.float32)
    return QueryTokens(vectors, mask)


def of(tokens):
    return [own[seen].tolist() for own, seen in zip(tokens.vectors, tokens.mask, strict=True)]


def test_cutting():
    tokens = batch([2, 4, 1])
    assert len(tokens) == 3
    assert tokens.lengths.tolist() == [2, 4, 1]
    assert of(tokens[[2, 0]]) == [of(tokens)[2], of(tokens)[0]]
    assert of(tokens[1:]) == of(tokens)[1:]
    assert len(tokens[[]]) == 0


def test_packed():
    tokens = batch([2, 0, 3])
    vectors, offsets = tokens.packed()
    assert offsets.tolist() == [0, 2, 2, 5]
    assert [vectors[a:b].tolist() for a, b in pairwise(offsets)] == of(tokens)


@pytest.mark.parametrize("lengths", [[6, 1], [1, 1], [3, 4]])
def test_replaced(lengths):
    tokens, others = batch([2, 4, 1]), batch(lengths, seed=1)
    before = of(tokens)
    changed = tokens.replaced([2, 0], others)
    assert of(changed) == [of(others)[1], before[1], of(others)[0]]
    assert of(tokens) == before


def test_shapes_that_do_not_fit():
    with pytest.raises(InputError, match="mask of shape"):
        QueryTokens(np.zeros((2, 3, 4)), np.ones((2, 4), bool))
