"""ColBERT-PRF: a corpus worked by hand, and the whole of it in float64 loops."""

from collections import Counter

import numpy as np
import pytest

from pyserini_ext.errors import InputError
from pyserini_ext.feedback.colbert_prf import ColBERTPRF, most_frequent
from pyserini_ext.hits import Hits
from pyserini_ext.index.tokens import TokenStore
from pyserini_ext.index.tokens_writer import TokenWriter
from pyserini_ext.rescore.maxsim import maxsim
from pyserini_ext.rescore.query_tokens import QueryTokens
from pyserini_ext.rescore.rows import listed


class Documents:
    """What a feedback method sees of the searcher."""

    def __init__(self, path):
        self.store = TokenStore(path)

    def tokens(self, docids):
        return self.store.tokens(self.store.rows(docids))


def stored(path, documents, with_ids=True):
    """Write documents, each a list of (token id, vector)."""
    dimension = len(next(own for own in documents.values() if own)[0][1])
    with TokenWriter(path, dimension) as out:
        for docid, tokens in documents.items():
            ids = np.array([i for i, _ in tokens], dtype=np.int32)
            vectors = np.array([v for _, v in tokens], dtype=np.float32).reshape(-1, dimension)
            offsets = np.array([0, len(tokens)])
            out.append_tokens([docid], vectors, offsets, ids if with_ids else None)
    return Documents(path)


def ranked(docids):
    return Hits(docids, -np.arange(len(docids), dtype=np.float32))


def query(*vectors):
    return QueryTokens(np.array([vectors], dtype=np.float32), np.ones((1, len(vectors)), bool))


TOY = {
    "d1": [(1, (8, 0)), (2, (0, 8)), (-1, (-8, 0))],
    "d2": [(1, (8, 2)), (2, (0, 6)), (3, (-8, -2))],
    "d3": [(5, (0, 7)), (2, (0, 1))],
    "d4": [(6, (8, 4)), (3, (-8, -4))],
}
"""-1 is a special token. Feedback from d1 and d2 has three clusters of two vectors:

=========  ==================  =======================================  =====  ============
centroid   of                  its 3 nearest in the collection          token  in documents
(8, 1)     (8, 0), (8, 2)      1 (8, 0), 1 (8, 2), 6 (8, 4)             1      d1, d2
(0, 7)     (0, 8), (0, 6)      5 (0, 7), 2 (0, 8), 2 (0, 6)             2      d1, d2, d3
(-8, -1)   (-8, 0), (-8, -2)   special (-8, 0), 3 (-8, -2), 3 (-8, -4)  3      d2, d4
=========  ==================  =======================================  =====  ============

With N = 4 idf = ln(5 / 3), ln(5 / 4), ln(5 / 3): the first and the last are equal.
"""


@pytest.fixture
def toy(tmp_path):
    return stored(tmp_path / "toy", TOY)


def expanded(method, store, docids, tokens=None):
    found = method.refine_tokens(None, tokens or query((1, 0)), [ranked(docids)], store)
    return found.vectors[0][found.mask[0]]


def test_worked_by_hand(toy):
    method = ColBERTPRF(depth=2, clusters=3, expansions=2, nearest=3, beta=2.0)
    # Of equal idf the cluster comes first whose vector (8, 0) comes first in the feedback.
    w = 2 * np.log(5 / 3)
    wanted = [(1, 0), (8 * w, w), (-8 * w, -w)]
    np.testing.assert_allclose(expanded(method, toy, ["d1", "d2", "d3"]), wanted, rtol=1e-6)


def test_weighted_maxsim_by_hand(toy):
    method = ColBERTPRF(depth=2, clusters=3, expansions=2, nearest=3, beta=2.0)
    found = method.refine_tokens(None, query((1, 0)), [ranked(["d1", "d2"])], toy)
    scores = maxsim(found.vectors, listed([range(4)]), toy.store.documents, found.mask)
    # Best products with (1, 0), (8, 1) and (-8, -1); d3 has (0, 7) and (0, 1).
    w = 2 * np.log(5 / 3)
    wanted = [8 + (64 + 64) * w, 8 + (66 + 66) * w, 0 + (7 - 1) * w, 8 + (68 + 68) * w]
    np.testing.assert_allclose(scores, wanted, rtol=1e-3)


def test_one_expansion_and_the_default_of_beta(toy):
    method = ColBERTPRF(depth=2, clusters=3, expansions=1, nearest=3)
    w = np.log(5 / 3)
    np.testing.assert_allclose(expanded(method, toy, ["d1", "d2"]), [(1, 0), (8 * w, w)], rtol=1e-6)


def test_the_nearest_one_token_may_be_another(toy):
    # (5, (0, 7)) is the nearest of (0, 7) alone, and in d3 only: idf ln(5 / 2). The nearest of
    # (-8, -1) are (-8, 0) and (-8, -2), of which the lower row is a special token: left out.
    method = ColBERTPRF(depth=2, clusters=3, expansions=2, nearest=1)
    rare, common = np.log(5 / 2), np.log(5 / 3)
    wanted = [(1, 0), (0, 7 * rare), (8 * common, common)]
    np.testing.assert_allclose(expanded(method, toy, ["d1", "d2"]), wanted, rtol=1e-6)


def test_the_closest_tokens_of_the_feedback_by_hand(toy):
    # Of (8, 0) and (8, 2), (0, 8) and (0, 6), (-8, 0) and (-8, -2) the first, each 1 away from its
    # centroid; the last is a special token.
    method = ColBERTPRF(depth=2, clusters=3, expansions=2, tokens_from="feedback")
    wanted = [(1, 0), (8 * np.log(5 / 3), 0), (0, 8 * np.log(5 / 4))]
    np.testing.assert_allclose(expanded(method, toy, ["d1", "d2"]), wanted, rtol=1e-6)


def test_fewer_tokens_than_clusters_are_clusters_of_their_own(toy):
    method = ColBERTPRF(depth=1, nearest=1)
    # 5 is in d3 only; 2 in d1, d2 and d3.
    wanted = [(1, 0), (0, 7 * np.log(5 / 2)), (0, np.log(5 / 4))]
    np.testing.assert_allclose(expanded(method, toy, ["d3"]), wanted, rtol=1e-6)


@pytest.mark.parametrize("tokens_from", ["collection", "feedback"])
def test_without_feedback_a_query_keeps_its_tokens(tmp_path, tokens_from):
    store = stored(tmp_path / "s", {**TOY, "empty": []})
    method = ColBERTPRF(depth=2, clusters=3, expansions=2, tokens_from=tokens_from)
    tokens = QueryTokens(np.ones((3, 2, 2), np.float32), np.array([[1, 0], [1, 1], [0, 0]], bool))
    feedback = [ranked([]), ranked(["d1"]), ranked(["empty"])]
    found = method.refine_tokens(["a", "b", "c"], tokens, feedback, store)
    assert found.lengths.tolist() == [1, 4, 0]
    np.testing.assert_array_equal(found.vectors[:, :2], tokens.vectors)
    assert method.refine_tokens(None, tokens[:0], [], store).vectors.shape[0] == 0
    all_empty = method.refine_tokens(None, tokens, [ranked([])] * 3, store)
    np.testing.assert_array_equal(all_empty.lengths, tokens.lengths)


def test_a_collection_of_special_tokens_expands_nothing(tmp_path):
    store = stored(tmp_path / "s", {"d1": [(-1, (1, 0)), (-1, (0, 1))]})
    for tokens_from in ("collection", "feedback"):
        method = ColBERTPRF(tokens_from=tokens_from)
        assert expanded(method, store, ["d1"]).tolist() == [[1, 0]]


def test_beta_of_nothing_changes_no_score(toy):
    method = ColBERTPRF(depth=2, clusters=3, expansions=2, beta=0.0)
    found = method.refine_tokens(None, query((1, 0)), [ranked(["d1", "d2"])], toy)
    scores = maxsim(found.vectors, listed([range(4)]), toy.store.documents, found.mask)
    assert scores.tolist() == [8, 8, 0, 8]


def blobs(seed, queries=5, clusters=6, dimension=5):
    """A store whose feedback has clusters far apart, which any k-means finds."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((clusters, dimension)) * 10
    documents = {}
    for n in range(30):
        # Each has a token of every blob, so that three of them have at least three: the token
        # closest to a mean of two would be a matter of rounding.
        blob = rng.permutation([*range(clusters), *rng.integers(clusters, size=rng.integers(6))])
        length = len(blob)
        vectors = centres[blob] + 0.3 * rng.standard_normal((length, dimension))
        # Ids belong to blobs, loosely, and some are special.
        ids = np.where(rng.random(length) < 0.7, blob, rng.integers(-1, 14, length))
        documents[f"d{n}"] = [
            (int(i), v.astype(np.float16)) for i, v in zip(ids, vectors, strict=True)
        ]
    feedback = [
        [f"d{n}" for n in rng.choice(30, rng.integers(3, 6), replace=False)] for _ in range(queries)
    ]
    tokens = QueryTokens(
        rng.standard_normal((queries, 4, dimension)).astype(np.float32),
        np.arange(4) < rng.integers(1, 5, queries)[:, None],
    )
    return documents, centres, feedback, tokens


def by_loops(documents, centres, docids, own, *, depth, expansions, beta, nearest, tokens_from):
    """One query from the definitions, in float64; the clusters are known."""
    pool = [token for docid in docids[:depth] for token in documents[docid]]
    groups = {}
    for number, vector in pool:
        blob = min(
            range(len(centres)), key=lambda b: ((centres[b] - vector.astype(float)) ** 2).sum()
        )
        groups.setdefault(blob, []).append((number, vector.astype(float)))
    everything = [(n, v.astype(float)) for tokens in documents.values() for n, v in tokens]
    found = []
    for group in groups.values():
        centroid = sum(v for _, v in group) / len(group)
        if tokens_from == "feedback":
            number, vector = min(
                ((n, v.astype(float)) for n, v in pool),
                key=lambda t: ((t[1] - centroid) ** 2).sum(),
            )
            counts = Counter() if number < 0 else Counter([number])
        else:
            near = sorted(everything, key=lambda t: ((t[1] - centroid) ** 2).sum())[:nearest]
            vector, counts = centroid, Counter(n for n, _ in near if n >= 0)
        if counts:
            # Counter keeps the order of insertion among equals: the nearest first.
            token = counts.most_common(1)[0][0]
            df = sum(any(n == token for n, _ in tokens) for tokens in documents.values())
            found.append((np.log((1 + len(documents)) / (df + 1)), vector))
    found.sort(key=lambda pair: -pair[0])
    return [*own.astype(float), *(beta * idf * v for idf, v in found[:expansions])]


@pytest.mark.parametrize("tokens_from", ["collection", "feedback"])
@pytest.mark.parametrize("seed", range(12))
def test_random_collections_against_loops(tmp_path, seed, tokens_from):
    documents, centres, feedback, tokens = blobs(seed)
    store = stored(tmp_path / "s", documents)
    options = {"depth": 3, "expansions": 4, "beta": 0.7, "nearest": 7, "tokens_from": tokens_from}
    given = dict(options) if tokens_from == "collection" else options | {"nearest": None}
    method = ColBERTPRF(clusters=6, **given)
    hits = [ranked(docids) for docids in feedback]
    found = method.refine_tokens(None, tokens, hits, store)
    for row, docids in enumerate(feedback):
        own = tokens.vectors[row][tokens.mask[row]]
        wanted = by_loops(documents, centres, docids, own, **options)
        np.testing.assert_allclose(
            found.vectors[row][found.mask[row]], np.array(wanted), rtol=1e-4, atol=1e-3
        )


@pytest.mark.parametrize("tokens_from", ["collection", "feedback"])
def test_a_batch_equals_one_by_one_and_the_seed_repeats(tmp_path, tokens_from):
    rng = np.random.default_rng(5)
    documents = {
        f"d{n}": [(int(rng.integers(40)), rng.standard_normal(6)) for _ in range(20)]
        for n in range(25)
    }
    store = stored(tmp_path / "s", documents)
    tokens = QueryTokens(rng.standard_normal((6, 3, 6)).astype(np.float32), np.ones((6, 3), bool))
    hits = [ranked([f"d{n}" for n in rng.choice(25, 3, replace=False)]) for _ in range(6)]
    method = ColBERTPRF(tokens_from=tokens_from)
    together = method.refine_tokens(None, tokens, hits, store)
    assert together.lengths.tolist() == [13] * 6
    for row in range(6):
        alone = method.refine_tokens(None, tokens[[row]], [hits[row]], store)
        np.testing.assert_allclose(alone.vectors[0], together.vectors[row], rtol=1e-5)
    again = ColBERTPRF(tokens_from=tokens_from).refine_tokens(None, tokens, hits, store)
    np.testing.assert_array_equal(again.vectors, together.vectors)
    other = ColBERTPRF(tokens_from=tokens_from, seed=1, starts=1)
    assert not np.allclose(other.refine_tokens(None, tokens, hits, store).vectors, together.vectors)


def test_a_store_without_ids_is_refused(tmp_path):
    store = stored(tmp_path / "s", TOY, with_ids=False)
    with pytest.raises(InputError, match=r"encode again with .* without --clusters"):
        ColBERTPRF().refine_tokens(None, query((1, 0)), [ranked(["d1"])], store)
    with pytest.raises(InputError, match="does not say which tokens"):
        ColBERTPRF().check_store(store)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clusters": 10}, "10 clusters and 10 expansions; there must be more clusters"),
        ({"clusters": 5}, "5 clusters and 10 expansions"),
        ({"beta": -0.1}, r"beta of colbert-prf is -0\.1; it must be at least 0"),
        ({"beta": float("nan")}, "beta of colbert-prf is nan"),
        ({"depth": 0}, "depth of colbert-prf is 0; it must be a whole number of at least 1"),
        ({"nearest": 0}, "nearest of colbert-prf is 0"),
        ({"nearest": 5, "tokens_from": "feedback"}, "leave one out"),
        ({"starts": 0}, "starts of colbert-prf is 0"),
        ({"seed": -1}, "seed of colbert-prf is -1"),
        ({"expansions": 2.5}, "expansions of colbert-prf is 2.5"),
        ({"tokens_from": "corpus"}, "choose one of collection, feedback"),
        ({"search": "yes"}, "choose one of True, False"),
    ],
)
def test_what_is_out_of_range(options, message):
    with pytest.raises(InputError, match=message):
        ColBERTPRF(**options)


def test_the_most_frequent_token():
    assert most_frequent(np.array([3, 9, 9, 3, 1])) == 3
    assert most_frequent(np.array([-1, -1, -1, 4])) == 4
    assert most_frequent(np.array([-1])) == -1
    assert most_frequent(np.array([], dtype=np.int32)) == -1
