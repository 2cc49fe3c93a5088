"""k-means: what its clusters must be, and that they are as good as scikit-learn's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyserini_ext.rescore.kmeans import kmeans, lloyd, plus_plus, squared_distances


def spread(vectors, centroids):
    """The sum of squared distances to the nearest centroid, in float64."""
    vectors, centroids = vectors.astype(np.float64), centroids.astype(np.float64)
    return sum(min(((v - c) ** 2).sum() for c in centroids) for v in vectors)


def lloyd_by_loops(vectors, centres):
    """Lloyd's algorithm as one would write it down, in float64."""
    vectors, centres = vectors.astype(np.float64), list(centres.astype(np.float64))
    owner = None
    while True:
        now = [int(np.argmin([((v - c) ** 2).sum() for c in centres])) for v in vectors]
        if now == owner:
            break
        owner = now
        for j in range(len(centres)):
            own = [v for v, o in zip(vectors, owner, strict=True) if o == j]
            centres[j] = np.mean(own, axis=0) if own else centres[j]
    order = list(dict.fromkeys(owner))
    return np.array([centres[j] for j in order]), [order.index(o) for o in owner]


@pytest.mark.parametrize("seed", range(8))
def test_lloyd_equals_loops(seed):
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((40, 6)).astype(np.float32)
    begin = vectors[rng.choice(40, 7, replace=False)]
    centres, owner = lloyd(vectors, begin, 300)
    wanted, owners = lloyd_by_loops(vectors, begin)
    np.testing.assert_allclose(centres, wanted, atol=1e-5)
    assert owner.tolist() == owners


def test_a_centre_without_members_is_left_out():
    vectors = np.array([[5, 0], [0, 0], [0, 1]], dtype=np.float32)
    begin = np.array([[0, 0], [9, 9], [5, 5]], dtype=np.float32)
    centres, owner = lloyd(vectors, begin, 300)
    # (5, 0) is as near to (0, 0) as to (5, 5) and goes to the first; then the last two are empty.
    assert centres.tolist() == [[np.float32(5 / 3), np.float32(1 / 3)]]
    assert owner.tolist() == [0, 0, 0]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(*[st.integers(-3, 3)] * 2), min_size=1, max_size=12),
    st.integers(1, 8),
    st.integers(0, 99),
)
def test_every_vector_is_with_its_nearest_centroid(points, clusters, seed):
    vectors = np.array(points, dtype=np.float32)
    distinct = len(set(points))
    begin = plus_plus(vectors, clusters, np.random.default_rng(seed))
    assert len(begin) == min(clusters, distinct)
    centroids, owner = lloyd(vectors, begin, 300)
    distances = squared_distances(vectors, centroids)
    own = distances[owner, range(len(vectors))]
    np.testing.assert_allclose(own, distances.min(axis=0), atol=1e-5)
    for i, centroid in enumerate(centroids):
        np.testing.assert_allclose(centroid, vectors[owner == i].mean(axis=0), atol=1e-5)
    assert list(dict.fromkeys(owner.tolist())) == list(range(len(centroids)))
    if clusters >= distinct:
        found = kmeans(vectors, clusters, seed=seed, starts=2)
        assert [tuple(c) for c in found] == list(dict.fromkeys(points))


def test_vectors_drawn_to_begin_with_differ():
    vectors = np.repeat(np.arange(5, dtype=np.float32)[:, None], 4, axis=0)
    for seed in range(20):
        begin = plus_plus(vectors, 9, np.random.default_rng(seed))
        assert sorted(begin[:, 0].tolist()) == [0, 1, 2, 3, 4]


def test_the_seed_decides():
    vectors = np.random.default_rng(0).standard_normal((60, 4)).astype(np.float32)
    one, same, other = (kmeans(vectors, 8, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_more_starts_are_never_worse():
    vectors = np.random.default_rng(3).standard_normal((80, 5)).astype(np.float32)
    found = [spread(vectors, kmeans(vectors, 9, seed=7, starts=starts)) for starts in (1, 3, 9)]
    assert found[0] >= found[1] - 1e-3 >= found[2] - 2e-3


def test_no_vectors():
    assert kmeans(np.empty((0, 3), np.float32), 4, seed=0).shape == (0, 3)


@pytest.mark.parametrize("seed", range(3))
def test_as_good_as_scikit_learn(seed):
    cluster = pytest.importorskip("sklearn.cluster")
    rng = np.random.default_rng(seed)
    blobs = rng.standard_normal((30, 16)).astype(np.float32) * 2
    vectors = blobs[rng.integers(30, size=200)] + rng.standard_normal((200, 16))
    vectors = vectors.astype(np.float32)
    theirs = cluster.KMeans(24, n_init=10, random_state=seed).fit(vectors).inertia_
    assert spread(vectors, kmeans(vectors, 24, seed=seed, starts=10)) < 1.03 * theirs
