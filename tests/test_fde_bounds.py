"""MUVERA's guarantees (theorems 2.1 and 2.2 of the paper) on random sets, with its parameters.

Every product of encodings is divided by repetitions and query tokens, and compared with Chamfer
similarity divided by query tokens; all vectors have length 1. Seeds are a hundred apart, so that
no repetition is drawn twice.
"""

import numpy as np
import pytest

from pyserini_ext.index.fde import Muvera

PAPER = (20, 5, 16)
"""Repetitions, bits, projected."""


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def random_sets(queries, documents, tokens, seed=0):
    """Queries and documents of so many tokens; the first documents hold copies, more or less near.

    Returns queries, documents, and their normalised Chamfer similarities.
    """
    random = np.random.default_rng(seed)
    (of_query, of_document), dimension = tokens, 128
    q = unit(random.standard_normal((queries, of_query, dimension)))
    d = unit(random.standard_normal((documents, of_document, dimension)))
    noise = random.uniform(0, 0.2, (queries, 1, 1)) * random.standard_normal(q.shape)
    d[:queries, :of_query] = unit(q + noise)
    exact = np.einsum("qmd,nld->qnml", q, d).max(axis=3).mean(axis=2)
    return q, d, exact


def packed(sets):
    count, tokens, dimension = sets.shape
    return sets.reshape(-1, dimension), np.arange(count + 1) * tokens


def errors(sets, repetitions, bits, projected, seeds, final=None):
    """How far encodings are from the exact similarity: shape (seeds, queries, documents)."""
    q, d, exact = sets
    found = []
    for seed in range(seeds):
        muvera = Muvera(q.shape[2], repetitions, bits, projected, 100 * seed, final)
        products = muvera.queries(*packed(q)) @ muvera.documents(*packed(d)).T
        found.append(products / (repetitions * q.shape[1]) - exact)
    return np.stack(found)


@pytest.fixture(scope="module")
def sets():
    return random_sets(16, 60, (8, 24))


@pytest.mark.parametrize("bits", [0, 1, 3, 5, 8])
@pytest.mark.parametrize("repetitions", [1, 20])
def test_without_projection_never_above(sets, bits, repetitions):
    """A query token meets the mean of document tokens, or one: its best is at least that."""
    assert errors(sets, repetitions, bits, None, 3).max() < 1e-5


@pytest.mark.parametrize(("epsilon", "delta"), [(0.75, 0.1), (0.6, 0.05), (0.5, 0.1)])
def test_theorem_one_with_one_repetition(epsilon, delta):
    """Bits that grow as log(m / delta) / epsilon: within epsilon in all but delta of the cases."""
    tokens = (3, 5)
    small = random_sets(12, 24, tokens, seed=1)
    bits = int(np.ceil(np.log(sum(tokens) / delta) / epsilon))
    off = errors(small, 1, bits, None, 10)
    assert (np.abs(off) > epsilon).mean() < delta
    near = off[:, range(12), range(12)]  # the hard ones: similar sets, where there is much to lose
    assert (np.abs(near) > epsilon).mean() < delta
    assert np.abs(off.mean(axis=0)).max() < epsilon  # in expectation


@pytest.mark.parametrize(
    ("sizes", "found"), [(PAPER, 0.9), ((20, 5, None), 1.0), ((80, 5, 16), 1.0)]
)
def test_the_papers_parameters(sets, sizes, found):
    """Most pairs are within 0.25, and the best document comes first (theorem 2.2): for nearly every
    query, and for every query without projection or with four times the repetitions."""
    exact, off = sets[2], errors(sets, *sizes, 6)
    assert (np.abs(off) > 0.25).mean() < 0.05
    assert ((off + exact).argmax(axis=2) == exact.argmax(axis=1)).mean() >= found


def test_projection_is_noise_without_a_bias(sets):
    """Signs keep products on average; what is lost is lost by the parts."""
    whole, small = errors(sets, 20, 5, None, 12), errors(sets, *PAPER, 12)
    assert abs(whole.mean() - small.mean()) < 0.002
    assert small.std(axis=0).mean() > 2 * whole.std(axis=0).mean()
    sketched = errors(sets, *PAPER, 12, final=4096)
    assert abs(sketched.mean() - small.mean()) < 0.01
    assert small.std(axis=0).mean() < sketched.std(axis=0).mean() < 0.1


@pytest.mark.parametrize("projected", [16, None])
def test_more_repetitions_narrow_the_spread(sets, projected):
    """Four times the repetitions, half the deviation; the mean stays."""
    spread, means = [], []
    for repetitions in (2, 8, 32):
        off = errors(sets, repetitions, 5, projected, 16)
        spread.append(off.std(axis=0, ddof=1).mean())
        means.append(off.mean())
    np.testing.assert_allclose(np.divide(spread[:-1], spread[1:]), 2, rtol=0.15)
    assert np.ptp(means) < 0.01


@pytest.mark.parametrize("projected", [16, None])
def test_more_bits_come_nearer(sets, projected):
    """The more parts, the less a mean of other tokens takes away, above all from similar sets."""
    every, near = [], []
    for bits in (1, 3, 5, 7):
        off = errors(sets, 20, bits, projected, 3)
        every.append(np.abs(off).mean())
        near.append(np.abs(off[:, range(16), range(16)]).mean())
    assert (np.diff(every) < 0).all()
    assert (np.diff(near) < -0.03).all()
