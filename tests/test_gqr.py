"""GQR: gradients against torch, searches against a loop in plain float64, and what is refused."""

import json
import re
from pathlib import Path

import faiss
import numpy as np
import pytest

from pyserini_ext.errors import InputError
from pyserini_ext.feedback.adam import adam
from pyserini_ext.feedback.gqr import BLOCK_BYTES, GQR
from pyserini_ext.feedback.gqr_pools import Pools
from pyserini_ext.feedback.vector import Rocchio
from pyserini_ext.fusion import Interpolation
from pyserini_ext.hits import Hits
from pyserini_ext.index.matrix_writer import MatrixWriter
from pyserini_ext.index.open import open_vectors
from pyserini_ext.run import Run
from pyserini_ext.search.__main__ import main as search
from pyserini_ext.search.base import Searcher
from pyserini_ext.search.dense import DenseSearcher
from pyserini_ext.search.feedback import FeedbackSearcher
from pyserini_ext.search.guided import GuidedSearcher
from pyserini_ext.search.options import parse_args

torch = pytest.importorskip("torch")

N, D = 60, 6
DOCIDS = [f"d{i:02}" for i in range(N)]
QUERIES = ["one", "two", "three", "four"]
QIDS = ["1", "2", "3", "4"]
METRICS = ("ip", "cosine", "l2")


class Encoder:
    """A query is the seed of its vector."""

    def encode(self, queries):
        seeds = [sum(q.encode()) for q in queries]
        return np.array([np.random.default_rng(s).standard_normal(D) for s in seeds], np.float32)


class Table(Searcher):
    """Scores from a table; most documents match nothing."""

    def __init__(self, table):
        self.table = table

    def batch_search(self, queries, qids, k=10, threads=1):
        return Run(
            (qid, Hits(list(self.table[q]), np.array(list(self.table[q].values()), np.float32))[:k])
            for q, qid in zip(queries, qids, strict=True)
        )

    def score(self, queries, docids):
        return [
            np.array([self.table[q].get(d, 0) for d in wanted], np.float32)
            for q, wanted in zip(queries, docids, strict=True)
        ]


class Mute(Table):
    """A searcher that cannot score given documents."""

    score = Searcher.score


def random_table(seed):
    random = np.random.default_rng(seed)
    return {
        q: {DOCIDS[i]: float(random.integers(1, 400)) / 40 for i in random.permutation(N)[:15]}
        for q in QUERIES
    }


@pytest.fixture(scope="module")
def documents():
    return np.random.default_rng(11).standard_normal((N, D)).astype(np.float32)


@pytest.fixture(scope="module")
def stores(documents, tmp_path_factory):
    """One store for each metric, and one of signs."""
    found = {}
    for metric, dtype in [*((metric, "float32") for metric in METRICS), ("ip", "binary")]:
        name = "binary" if dtype == "binary" else metric
        folder = tmp_path_factory.mktemp("stores") / name
        with MatrixWriter(folder, dimension=D, dtype=dtype, metric=metric) as writer:
            writer.append(DOCIDS, documents)
        found[name] = open_vectors(folder)
    return found


@pytest.fixture(scope="module")
def dense(stores):
    return DenseSearcher(stores["ip"], Encoder(), backend="numpy")


@pytest.fixture(scope="module")
def guide():
    return Table(random_table(5))


def similarity(metric, documents, z, library):
    """Scores as the stores define them, in NumPy or torch."""
    if metric == "l2":
        return -((documents - z) ** 2).sum(-1)
    products = documents @ z
    if metric == "cosine":
        products = products / library.linalg.norm(documents, axis=-1) / library.linalg.norm(z)
    return products


def by_autograd(start, documents, guide, metric, method):
    """The optimisation as the authors write it: a graph, softmax, KL and torch's Adam."""
    z = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    documents = torch.tensor(documents, dtype=torch.float64)
    optimiser = torch.optim.Adam([z], lr=method.lr)
    p2 = torch.softmax(torch.tensor(guide, dtype=torch.float64) / method.guide_temperature, -1)

    def own():
        return torch.softmax(similarity(metric, documents, z, torch) / method.temperature, -1)

    mixed = None
    for _ in range(method.steps):
        p1 = own()
        if mixed is None or method.target == "recomputed":
            mixed = ((1 - method.alpha) * p1 + method.alpha * p2).detach()
        loss = (mixed * (mixed / p1).log()).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return z.detach().numpy()


def by_loop(start, documents, guide, method):
    """The same for inner products, number by number in Python."""
    z, first = [float(x) for x in start], None
    mean, square = [0.0] * len(z), [0.0] * len(z)

    def softmax(scores, temperature):
        powers = [np.exp((s - max(scores)) / temperature) for s in scores]
        return [p / sum(powers) for p in powers]

    for step in range(1, method.steps + 1):
        scores = [sum(float(x) * y for x, y in zip(d, z, strict=True)) for d in documents]
        p1 = softmax(scores, method.temperature)
        p2 = softmax([float(s) for s in guide], method.guide_temperature)
        if first is None or method.target == "recomputed":
            first = p1
        m = [(1 - method.alpha) * a + method.alpha * b for a, b in zip(first, p2, strict=True)]
        for j in range(len(z)):
            slope = (
                sum((p - t) * float(d[j]) for p, t, d in zip(p1, m, documents, strict=True))
                / method.temperature
            )
            mean[j] = 0.9 * mean[j] + 0.1 * slope
            square[j] = 0.999 * square[j] + 0.001 * slope**2
            large = np.sqrt(square[j] / (1 - 0.999**step)) + 1e-8
            z[j] -= method.lr * mean[j] / (1 - 0.9**step) / large
    return np.array(z)


def test_adam_follows_torchs_step_by_step():
    random = np.random.default_rng(0)
    start, slopes = random.standard_normal((3, 5)), random.standard_normal((20, 3, 5)) ** 3
    slopes[7] = 0
    point = torch.tensor(start, requires_grad=True)
    optimiser = torch.optim.Adam([point], lr=0.01)
    for steps in range(21):
        given = iter(slopes)
        mine = adam(start, lambda _, given=given: next(given), lr=0.01, steps=steps)
        np.testing.assert_allclose(mine, point.detach().numpy(), rtol=0, atol=1e-14)
        if steps < 20:
            point.grad = torch.tensor(slopes[steps])
            optimiser.step()


@pytest.mark.parametrize("metric", METRICS)
def test_the_gradient_is_that_of_autograd(metric):
    random = np.random.default_rng(1)
    sizes = (1, 7, 4)
    documents = [random.standard_normal((n, D)) for n in sizes]
    pools, z = Pools(documents, metric), random.standard_normal((3, D))
    weights = [random.standard_normal(n) for n in sizes]
    # An l2 store leaves a number out that is the same for the whole pool.
    weights = [own - own.mean() for own in weights] if metric == "l2" else weights
    found_scores, pull = pools.scores(z)
    found = pull(pools.padded(weights))
    for row, own in enumerate(documents):
        point = torch.tensor(z[row], requires_grad=True)
        scores = similarity(metric, torch.tensor(own), point, torch)
        (scores * torch.tensor(weights[row])).sum().backward()
        np.testing.assert_allclose(found[row], point.grad.numpy(), rtol=0, atol=1e-13)
        mine = found_scores[row, : len(own)]
        np.testing.assert_allclose(
            mine - mine.mean(), (scores - scores.mean()).detach().numpy(), atol=1e-13
        )


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("target", ["frozen", "recomputed"])
@pytest.mark.parametrize(
    ("temperature", "guide_temperature", "alpha", "steps", "lr"),
    [
        (1.0, None, 0.5, 25, 1e-3),
        (0.1, None, 0.5, 10, 5e-3),
        (2.0, 5.0, 0.2, 50, 1e-2),
        (1.0, 0.5, 1.0, 25, 0.05),
    ],
)
def test_refined_vectors_are_those_of_torch(
    stores, documents, metric, target, temperature, guide_temperature, alpha, steps, lr
):
    method = GQR(3, alpha, temperature, guide_temperature, lr, steps, target)
    random = np.random.default_rng(2)
    pools, guide = [], []
    for size in (6, 1, 4, 0, 6):
        rows = random.choice(N, size, replace=False)
        pools.append(Hits([DOCIDS[r] for r in rows], random.standard_normal(size)))
        guide.append(random.standard_normal(size) * 3)
    vectors = random.standard_normal((5, D)).astype(np.float32)
    before = vectors.copy()
    refined = method.refine_guided(None, vectors, pools, guide, stores[metric])
    assert refined.dtype == np.float32
    np.testing.assert_array_equal(vectors, before)
    np.testing.assert_array_equal(refined[3], vectors[3])
    for row, pool in enumerate(pools):
        if len(pool):
            own = documents[[DOCIDS.index(d) for d in pool.docids]]
            expected = by_autograd(vectors[row], own, guide[row], metric, method)
            np.testing.assert_allclose(refined[row], expected, rtol=0, atol=2e-6)


def test_a_batch_is_each_query_by_itself_over_several_blocks():
    random = np.random.default_rng(3)
    dimension = 384
    count = 2 * BLOCK_BYTES // (8 * 20 * dimension)
    vectors = random.standard_normal((3000, dimension)).astype(np.float32) / 20

    class Store:
        def vectors(self, docids):
            return vectors[[int(d) for d in docids]]

    pools, guide = [], []
    for _ in range(count):
        rows = random.choice(3000, random.integers(1, 21), replace=False)
        pools.append(Hits([str(r) for r in rows], random.standard_normal(len(rows))))
        guide.append(random.standard_normal(len(rows)) * 4)
    queries = random.standard_normal((count, dimension)).astype(np.float32)
    whole = GQR().refine_guided(None, queries, pools, guide, Store())
    for row in range(count):
        part = slice(row, row + 1)
        alone = GQR().refine_guided(None, queries[part], pools[part], guide[part], Store())
        np.testing.assert_allclose(alone[0], whole[row], rtol=0, atol=1e-7)


def test_equal_documents_and_a_guide_that_agrees():
    class Store:
        def vectors(self, docids):
            return np.array([[1.0, 0.0] if d != "c" else [0.0, 1.0] for d in docids], np.float32)

    pool, query = Hits(["a", "b", "c"], [3, 2, 1]), np.array([[0.5, 0.25]], np.float32)
    agreed = np.array([0.5, 0.5, 0.25])
    same = GQR().refine_guided(None, query, [pool], [agreed], Store())
    np.testing.assert_allclose(same, query, atol=1e-3 * 25)
    unmoved = GQR(alpha=0).refine_guided(None, query, [pool], [agreed * 9], Store())
    np.testing.assert_array_equal(unmoved, query)
    twins = Hits(["a", "b"], [2, 1])
    stuck = GQR().refine_guided(None, query, [twins], [np.array([9.0, 0.0])], Store())
    np.testing.assert_allclose(stuck, query, atol=1e-6)  # nothing tells the two apart


def ranked(scores):
    return sorted(scores, key=lambda docid: (-scores[docid], docid))


def mix(dense, sparse, alpha, k):
    """Interpolate two top-k lists, both completed with exact scores, min-max."""
    pool = {*ranked(dense)[:k], *ranked(sparse)[:k]}

    def scaled(scores):
        own = {d: scores.get(d, 0.0) for d in pool}
        low, high = min(own.values()), max(own.values())
        return {d: (s - low) / (high - low) for d, s in own.items()}

    a, b = scaled(sparse), scaled(dense)
    return {d: alpha * a[d] + (1 - alpha) * b[d] for d in pool}


def reference(documents, table, query, method, when, k):
    """The docids of the whole search over all documents, in dictionaries."""
    z = Encoder().encode([query])[0].astype(np.float64)
    first = dict(zip(DOCIDS, (documents @ z).tolist(), strict=True))
    depth = method.depth
    if when in ("before", "both"):
        source = ranked(mix(first, table, 0.3, k))
        pool = source[: 2 * depth]
    else:
        source = ranked(first)
        pool = sorted({*source[:depth], *ranked(table)[:depth]})
    rows = [DOCIDS.index(d) for d in pool]
    z = by_loop(z, documents[rows], [table.get(d, 0.0) for d in pool], method)
    scores = dict(zip(DOCIDS, (documents @ z).tolist(), strict=True))
    if not method.search:
        ahead = ranked({d: scores[d] for d in pool})
        return (ahead + [d for d in source if d not in pool])[:k], scores
    if when in ("after", "both"):
        scores = mix(scores, table, 0.3, k)
    return ranked(scores)[:k], scores


@pytest.mark.parametrize(
    ("again", "when"),
    [
        (False, None),
        (True, None),
        (False, "before"),
        (True, "before"),
        (True, "after"),
        (True, "both"),
    ],
)
@pytest.mark.parametrize("target", ["frozen", "recomputed"])
@pytest.mark.parametrize(
    ("temperature", "alpha", "steps", "k"),
    [(1.0, 0.5, 25, 20), (0.5, 0.9, 50, 6), (1, 0.5, 0, 30)],
)
def test_a_search_is_that_of_the_loop(
    dense, documents, guide, again, when, target, temperature, alpha, steps, k
):
    method = GQR(4, alpha, temperature, None, 0.02, steps, target, again)
    searcher = GuidedSearcher(dense, method, guide, when, alpha=0.3 if when else None)
    run = searcher.batch_search(QUERIES, QIDS, k)
    documents = documents.astype(np.float64)
    for query, qid in zip(QUERIES, QIDS, strict=True):
        expected, scores = reference(documents, guide.table[query], query, method, when, k)
        assert run[qid].docids.tolist() == expected
        known = expected[:8] if not again else expected
        found = run[qid].scores[: len(known)]
        np.testing.assert_allclose(found, [scores[d] for d in known], atol=2e-5)
        assert (np.diff(run[qid].scores) <= 0).all()


def test_no_steps_are_the_plain_search_and_the_pool_is_a_part_of_it(dense, guide):
    plain = dense.batch_search(QUERIES, QIDS, 40)
    again = GuidedSearcher(dense, GQR(steps=0, search=True), guide).batch_search(QUERIES, QIDS, 40)
    assert again == plain
    found = GuidedSearcher(dense, GQR(depth=5), guide).batch_search(QUERIES, QIDS, 40)
    for query, qid in zip(QUERIES, QIDS, strict=True):
        pool = {*plain[qid].docids[:5], *ranked(guide.table[query])[:5]}
        assert set(found[qid].docids[: len(pool)]) == pool
        rest = [d for d in plain[qid].docids if d not in pool]
        assert found[qid].docids[len(pool) :].tolist() == rest[: 40 - len(pool)]


def test_stages_and_a_grid_of_weights(dense, guide):
    searcher = GuidedSearcher(dense, GQR(depth=3, search=True), guide, "both", alpha=0.3)
    rules = [Interpolation(alpha) for alpha in (0.0, 0.3, 1.0)]
    grid = searcher.batch_stages(QUERIES, QIDS, 10, rules=rules, every=True)
    assert [list(stages) for stages in grid] == [
        ["dense", "sparse", "before", "feedback", "after"]
    ] * 3
    assert all(
        len(hits) == 10 for stages in grid for run in stages.values() for hits in run.values()
    )
    assert grid[0]["after"]["1"].docids.tolist() == grid[0]["feedback"]["1"].docids.tolist()
    assert searcher.batch_search(QUERIES, QIDS, 10) == grid[1]["after"]


def test_rescoring_the_guides_documents(dense, documents, guide):
    method = GQR(depth=4, lr=0.02, search=True)
    found = GuidedSearcher(dense, method, guide, rescore=True).batch_search(QUERIES, QIDS, 50)
    documents = documents.astype(np.float64)
    for query, qid in zip(QUERIES, QIDS, strict=True):
        table = guide.table[query]
        z = Encoder().encode([query])[0].astype(np.float64)
        rows = {d: documents[DOCIDS.index(d)] for d in table}
        first = {d: float(row @ z) for d, row in rows.items()}
        pool = sorted({*ranked(first)[:4], *ranked(table)[:4]})
        z = by_loop(z, [rows[d] for d in pool], [table[d] for d in pool], method)
        assert found[qid].docids.tolist() == ranked({d: float(r @ z) for d, r in rows.items()})


def test_a_silent_guide_changes_nothing(dense, guide):
    silent = Table({**guide.table, "two": {}})
    for again in (False, True):
        found = GuidedSearcher(dense, GQR(search=again), silent).batch_search(QUERIES, QIDS, 20)
        whole = GuidedSearcher(dense, GQR(search=again), guide).batch_search(QUERIES, QIDS, 20)
        assert found["2"] == dense.search("two", 20)
        assert found["1"] == whole["1"]
        nobody = GuidedSearcher(dense, GQR(search=again), Table({query: {} for query in QUERIES}))
        assert nobody.batch_search(QUERIES, QIDS, 20) == dense.batch_search(QUERIES, QIDS, 20)


@pytest.mark.parametrize(("policy", "invented"), [("minimum", None), ("zero", 0.0)])
def test_a_guide_that_cannot_score(dense, documents, guide, policy, invented):
    mute = Mute(guide.table)
    with pytest.raises(InputError, match=r"Mute cannot score given documents.*missing=minimum"):
        GuidedSearcher(dense, GQR(), mute)
    method = GQR(depth=4, lr=0.02, missing=policy, search=True)
    found = GuidedSearcher(dense, method, mute).search("one", 20)
    best = {d: guide.table["one"][d] for d in ranked(guide.table["one"])[:4]}
    z = Encoder().encode(["one"])[0].astype(np.float64)
    first = dict(zip(DOCIDS, documents.astype(np.float64) @ z, strict=True))
    pool = sorted({*ranked(first)[:4], *best})
    other = min(best.values()) if invented is None else invented
    rows = [DOCIDS.index(d) for d in pool]
    z = by_loop(z, documents[rows], [best.get(d, other) for d in pool], method)
    scores = dict(zip(DOCIDS, documents.astype(np.float64) @ z, strict=True))
    assert found.docids.tolist() == ranked(scores)[:20]


def test_documents_without_a_vector(stores, guide):
    table = Table({q: {**own, "unknown": 99.0} for q, own in guide.table.items()})
    strict = DenseSearcher(stores["ip"], Encoder(), backend="numpy")
    with pytest.raises(InputError, match=r"'unknown' has no vector"):
        GuidedSearcher(strict, GQR(), table).search("one")
    skip = DenseSearcher(stores["ip"], Encoder(), missing_vector="skip", backend="numpy")
    found = GuidedSearcher(skip, GQR(depth=4), table).search("one", 60)
    assert "unknown" not in found.docids
    assert len(found) == 60


def test_renormalise_and_a_dense_guide(dense, stores):
    other = DenseSearcher(stores["l2"], Encoder(), backend="numpy")
    searcher = GuidedSearcher(dense, GQR(search=True, lr=0.05), other, renormalise=True)
    hits = searcher.search("one", 5)
    plain = GuidedSearcher(dense, GQR(search=True, lr=0.05), other).search("one", 5)
    assert hits.docids.tolist() == plain.docids.tolist()
    ratio = hits.scores / plain.scores
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)
    assert not np.isclose(ratio[0], 1, rtol=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 0}, "depth of gqr is 0"),
        ({"steps": -1}, "steps of gqr is -1"),
        ({"steps": 2.5}, "whole number"),
        ({"alpha": 1.1}, "from 0 to 1"),
        ({"alpha": float("nan")}, "from 0 to 1"),
        ({"temperature": 0}, "temperature of gqr is 0"),
        ({"guide_temperature": float("inf")}, "guide_temperature of gqr is inf"),
        ({"lr": -1e-3}, "above 0"),
        ({"lr": float("nan")}, "above 0"),
        ({"target": "moving"}, "frozen, recomputed"),
        ({"search": "maybe"}, "True, False"),
        ({"missing": "guess"}, "rescore, minimum, zero"),
    ],
)
def test_bad_parameters_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        GQR(**options)


def test_what_does_not_fit_together_is_refused(dense, stores, guide):
    cases = [
        ((dense, Rocchio(), guide), {}, "does not take the scores of a guide"),
        ((guide, GQR(), guide), {}, "give a DenseSearcher"),
        ((dense, GQR(), None), {}, "the guide is None"),
        ((dense, GQR(), guide, "after"), {}, "only reorders the pool"),
        ((dense, GQR(), guide, "both"), {}, "only reorders the pool"),
        ((dense, GQR(search=True), guide, "never"), {}, "choose one of before"),
        ((dense, GQR(), guide), {"alpha": 0.5}, "would be ignored"),
        ((DenseSearcher(stores["binary"], Encoder()), GQR(), guide), {}, "have no gradient"),
    ]
    for given, options, message in cases:
        with pytest.raises(InputError, match=message):
            GuidedSearcher(*given, **options)
    with pytest.raises(InputError, match="does not refine query vectors"):
        FeedbackSearcher(dense, GQR())

    class Broken:
        depth = 3

        def refine_guided(self, queries, vectors, pools, guide, store):
            return vectors * np.nan

    with pytest.raises(InputError, match="Broken returned a vector that is not finite"):
        GuidedSearcher(dense, Broken(), guide).search("one")


def test_another_method_of_the_same_shape(dense, guide):
    """It gets what the page on plugins says, and searches again without asking for it."""
    seen = {}

    class Weighted:
        depth = 2

        def refine_guided(self, queries, vectors, pools, guide, store):
            seen.update(queries=queries, pools=pools, guide=guide)
            return np.array([store.vectors(pool.docids).mean(axis=0) for pool in pools])

    found = GuidedSearcher(dense, Weighted(), guide).batch_search(QUERIES, QIDS, 6)
    assert seen["queries"] == QUERIES
    for query, pool, own in zip(QUERIES, seen["pools"], seen["guide"], strict=True):
        np.testing.assert_allclose(own, [guide.table[query].get(d, 0) for d in pool.docids])
        (exact,) = dense.score([query], [pool.docids.tolist()])
        np.testing.assert_allclose(pool.scores, exact, atol=1e-5)
    middle = dense.vectors(seen["pools"][0].docids).mean(axis=0)
    assert found["1"] == dense.search_vectors(middle[None], ["1"], 6)["1"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("--index x --encoder minilm --prf gqr", "needs a second searcher as its guide"),
        ("--sparse-index x --prf gqr", "add --index"),
        (
            "--index x --encoder minilm --sparse-index y --prf gqr --prf-iterations 2",
            "--prf-iterations does not apply",
        ),
        ("--index x --encoder minilm --sparse-index y --prf gqr --alpha 0.3", "--interpolate"),
        ("--index x --encoder minilm --sparse-index y --prf rocchio", "say --interpolate as well"),
    ],
)
def test_the_command_refuses(given, message):
    with pytest.raises(InputError, match=message):
        parse_args(["--topics", "t.tsv", "--output", "o.txt", *given.split()])


def test_the_command_refuses_before_it_opens_anything(tmp_path):
    topics = tmp_path / "topics.tsv"
    topics.write_text("1\tone\n")
    given = f"--topics {topics} --output {tmp_path}/o.txt --index nowhere --encoder minilm"
    given += " --sparse-index nowhere --prf gqr"
    for more, message in (("--interpolate", "search=true"), ("--prf-arg lr=0", "lr of gqr")):
        with pytest.raises(InputError, match=message):
            search([*given.split(), *more.split()])


def test_the_command_writes_the_run_of_the_class(minilm_path, tmp_path):
    random = np.random.default_rng(9)
    for name, metric in (("dense", faiss.IndexFlatIP), ("guide", faiss.IndexFlatL2)):
        index = metric(384)
        index.add((random.standard_normal((N, 384)) / 20).astype(np.float32))
        (tmp_path / name).mkdir()
        faiss.write_index(index, str(tmp_path / name / "index"))
        (tmp_path / name / "docid").write_text("".join(f"{d}\n" for d in DOCIDS))
    topics = dict(zip(QIDS, QUERIES, strict=True))
    (tmp_path / "topics.tsv").write_text("".join(f"{i}\t{q}\n" for i, q in topics.items()))
    given = f"--topics {tmp_path}/topics.tsv --output {tmp_path}/run.txt --quiet --save-stages"
    given += f" --index {tmp_path}/dense --encoder minilm --sparse-index {tmp_path}/guide"
    given += " --sparse-searcher dense --sparse-arg encoder=minilm --prf gqr --prf-depth 5"
    given += " --prf-arg steps=10 --prf-arg search=true --prf-arg temperature=0.1"
    search([*given.split(), "--interpolate", "--alpha", "0.25", "--hits", "30"])
    dense = DenseSearcher(tmp_path / "dense", "minilm")
    guide = DenseSearcher(tmp_path / "guide", dense.encoder)
    method = GQR(depth=5, steps=10, search=True, temperature=0.1)
    searcher = GuidedSearcher(dense, method, guide, "after", alpha=0.25)
    stages = searcher.batch_stages(QUERIES, QIDS, 30, every=True)[0]
    files = {"dense": "run.dense.txt", "sparse": "run.sparse.txt", "feedback": "run.feedback.txt"}
    for stage, name in {**files, "after": "run.txt"}.items():
        written = Run.read(tmp_path / name)
        for qid in QIDS:
            ours, theirs = written[qid].as_dict(), stages[stage][qid].as_dict()
            assert ours.keys() == theirs.keys()
            assert max(abs(ours[d] - theirs[d]) for d in ours) < 5e-6
    record = json.loads((tmp_path / "run.txt.json").read_text())
    assert "steps=10" in json.dumps(record)


def test_the_page_holds_the_numbers_that_are_kept():
    root = Path(__file__).parents[1]
    kept = json.loads((root / "benchmarks" / "results" / "gqr.json").read_text())
    page = (root / "docs" / "gqr.md").read_text(encoding="utf-8")
    for found in kept["collections"].values():
        for row in found["against dense"]["runs"]:
            cells = [f"{result['value']:.4f}" for result in row["results"].values()]
            assert re.search(rf"^\| {row['run']} \|.*" + ".*".join(cells), page, re.MULTILINE)
    for row in kept["milliseconds"]:
        cells = [f"{row[name]:.2f}" for name in ("batch", "one by one", "torch")]
        shape = f"{row['pool']}, {row['steps']}, {row['dimension']}"
        assert f"| {' | '.join([shape, *cells])} |" in page
