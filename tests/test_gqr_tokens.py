"""GQR of queries of many vectors: against torch, against GQR of one vector, and as a search."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from pyserini_ext.encode.__main__ import main as encode
from pyserini_ext.feedback.gqr import GQR
from pyserini_ext.feedback.gqr_tokens import TokenPool
from pyserini_ext.hits import Hits
from pyserini_ext.index.tokens_writer import TokenWriter
from pyserini_ext.plugins import create
from pyserini_ext.rescore.query_tokens import QueryTokens
from pyserini_ext.run import Run
from pyserini_ext.search.__main__ import main as search
from pyserini_ext.search.base import Searcher
from pyserini_ext.search.guided import GuidedSearcher
from pyserini_ext.search.multivector import MultiVectorSearcher

torch = pytest.importorskip("torch")

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import gqr_tokens  # noqa: E402

D = 7
LENGTHS = [3, 6, 0, 2, 5, 1, 4, 9]
DOCIDS = [f"d{i}" for i in range(len(LENGTHS))]


class Store:
    """Token vectors of random documents."""

    def __init__(self, lengths=LENGTHS, dimension=D, seed=0):
        random = np.random.default_rng(seed)
        self.documents = [random.standard_normal((n, dimension)).astype("f4") for n in lengths]

    def tokens(self, docids):
        own = [self.documents[int(d[1:])] for d in docids]
        return np.concatenate(own), np.cumsum([0, *map(len, own)])

    def vectors(self, docids):
        return np.concatenate([self.documents[int(d[1:])] for d in docids])


def maxsim(z, documents):
    """MaxSim over the number of query tokens, in torch."""
    scores = [(z @ torch.tensor(d, dtype=z.dtype).T).amax(dim=1).mean() for d in documents]
    return torch.stack(scores)


def by_autograd(start, documents, guide, method):
    """The optimisation with a graph and torch's Adam; yields z and the gradient of each step."""
    z = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([z], lr=method.lr)
    p2 = torch.softmax(torch.tensor(guide, dtype=torch.float64) / method.guide_temperature, 0)
    mixed = None
    for _ in range(method.steps):
        p1 = torch.softmax(maxsim(z, documents) / method.temperature, 0)
        if mixed is None or method.target == "recomputed":
            mixed = ((1 - method.alpha) * p1 + method.alpha * p2).detach()
        optimiser.zero_grad()
        (mixed * (mixed / p1).log()).sum().backward()
        yield z.detach().numpy().copy(), z.grad.numpy().copy()
        optimiser.step()
    yield z.detach().numpy().copy(), None


def random_pools(sizes, seed=1):
    random = np.random.default_rng(seed)
    pools, guide = [], []
    for size in sizes:
        docids = random.choice(DOCIDS, size, replace=False)
        pools.append(Hits(docids, random.standard_normal(size)))
        guide.append(random.standard_normal(size) * 3)
    return pools, guide


def random_queries(lengths, dimension=D, seed=2):
    """What is masked is not a number, so that nothing can have looked at it."""
    vectors = np.random.default_rng(seed).standard_normal((len(lengths), max(lengths), dimension))
    mask = np.arange(max(lengths)) < np.array(lengths)[:, None]
    mask[0] = mask[0, ::-1]  # masked tokens may come first
    vectors[~mask] = np.nan
    return QueryTokens(vectors.astype(np.float32), mask)


CASES = [
    {"steps": 25, "lr": 1e-3},
    {"steps": 10, "lr": 5e-3, "temperature": 0.1},
    {"steps": 50, "lr": 1e-2, "temperature": 2.0, "guide_temperature": 5.0, "alpha": 0.2},
    {"steps": 25, "lr": 0.05, "alpha": 1.0, "guide_temperature": 0.5},
]


@pytest.mark.parametrize("target", ["frozen", "recomputed"])
@pytest.mark.parametrize("case", CASES)
def test_refined_tokens_are_those_of_torch(target, case):
    """At every step the gradient, and at the end the tokens; documents without any have no part."""
    method, store = GQR(target=target, **case), Store()
    tokens, (pools, guide) = random_queries([2, 5, 1, 3, 0, 4]), random_pools([6, 8, 1, 0, 5, 4])
    before = tokens.vectors.copy()
    refined = method.refine_guided(None, tokens, pools, guide, store)
    assert refined.vectors.dtype == np.float32
    np.testing.assert_array_equal(tokens.vectors, before)
    np.testing.assert_array_equal(refined.mask, tokens.mask)
    np.testing.assert_array_equal(refined.vectors[~tokens.mask], before[~tokens.mask])
    np.testing.assert_array_equal(refined.vectors[3], before[3])
    for row, pool in enumerate(pools):
        own = tokens.mask[row]
        documents = [store.documents[int(d[1:])] for d in pool.docids]
        held = [i for i, document in enumerate(documents) if len(document)]
        if not (own.any() and held):
            continue
        steps = list(
            by_autograd(before[row, own], [documents[i] for i in held], guide[row][held], method)
        )
        np.testing.assert_allclose(refined.vectors[row, own], steps[-1][0], rtol=0, atol=2e-6)
        laid = TokenPool(*store.tokens(pool.docids))
        slopes = iter(steps)

        def checked(z, gradient, lr, steps, slopes=slopes):
            for _ in range(steps):
                point, slope = next(slopes)
                np.testing.assert_allclose(gradient(point[None])[0], slope, rtol=0, atol=1e-13)
            return z

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("pyserini_ext.feedback.gqr.adam", checked)
            start = before[row, own].astype(np.float64)
            method.optimise(start[None], laid, laid.padded([guide[row]]))


def test_scores_and_gradient_by_hand():
    """Two query tokens, and documents of two tokens, none and one."""
    tokens = np.array([[1, 0], [0, 2], [3, 0]], np.float32)
    pool = TokenPool(tokens, np.array([0, 2, 2, 3]))
    assert pool.present.tolist() == [[True, False, True]]
    scores, pull = pool.scores(np.array([[[1.0, 0.0], [1.0, 1.0]]]))
    # (1 + 2) / 2; nothing; (3 + 3) / 2
    assert scores.tolist() == [[1.5, 0, 3]]
    assert pull(np.array([[1.0, 0.0, 10.0]])).tolist() == [[[15.5, 0], [15, 1]]]
    assert pool.softmax(scores, 1.0)[0, 1] == 0
    np.testing.assert_allclose(pool.softmax(scores, 1.0).sum(), 1)


def test_of_equally_near_tokens_the_first():
    tokens = np.array([[0, 4, 0], [1, 2, 0], [2, 1, 0], [1, 2, 9]], np.float32)
    scores, pull = TokenPool(tokens, np.array([0, 1, 4])).scores(np.array([[[1.0, 1.0, 0.0]]]))
    assert scores.tolist() == [[4, 3]]
    assert pull(np.array([[0.0, 1.0]])).tolist() == [[[1, 2, 0]]]


def test_one_token_a_query_and_a_document_is_gqr_of_single_vectors():
    store = Store([1] * 8)
    pools, guide = random_pools([6, 8, 1, 0, 5])
    vectors = np.random.default_rng(4).standard_normal((5, D)).astype(np.float32)
    tokens = QueryTokens(vectors[:, None], np.ones((5, 1), bool))
    for target in ("frozen", "recomputed"):
        method = GQR(target=target, lr=5e-3)
        single = method.refine_guided(None, vectors, pools, guide, store)
        many = method.refine_guided(None, tokens, pools, guide, store)
        # Products may be added up in another order before the last rounding to float32.
        np.testing.assert_array_max_ulp(many.vectors[:, 0], single, maxulp=1)
        assert (many.vectors[:, 0] == single).mean() > 0.95


def test_a_batch_is_each_query_by_itself():
    store, tokens = Store(), random_queries([4, 2, 3, 1])
    pools, guide = random_pools([5, 8, 2, 4])
    whole = GQR(lr=0.01).refine_guided(None, tokens, pools, guide, store)
    for row in range(4):
        part = slice(row, row + 1)
        alone = GQR(lr=0.01).refine_guided(None, tokens[part], pools[part], guide[part], store)
        np.testing.assert_array_equal(alone.vectors[0], whole.vectors[row])


@pytest.mark.parametrize("method", [GQR(alpha=0), GQR(steps=0)])
def test_without_a_guide_or_steps_the_tokens_stay(method):
    tokens, (pools, guide) = random_queries([4, 2, 3]), random_pools([5, 8, 2])
    same = method.refine_guided(None, tokens, pools, guide, Store())
    np.testing.assert_array_equal(same.vectors, tokens.vectors)


def test_a_pool_of_documents_without_tokens_changes_nothing():
    tokens, pool = random_queries([2, 2]), Hits(["d2"], [1.0])
    same = GQR().refine_guided(None, tokens, [pool, pool], [np.ones(1)] * 2, Store())
    np.testing.assert_array_equal(same.vectors, tokens.vectors)


class Words:
    """A token for each word, by its length."""

    def encode_queries(self, queries):
        counts = [len(query.split()) for query in queries]
        vectors = np.zeros((len(queries), max(counts), D), np.float32)
        for row, query in enumerate(queries):
            for place, word in enumerate(query.split()):
                vectors[row, place] = np.random.default_rng(len(word)).standard_normal(D)
        return QueryTokens(vectors, np.arange(max(counts)) < np.array(counts)[:, None])


QUERIES = ["one", "three words here", "a query"]


class Guide(Searcher):
    """Scores from a table; the rest is 0."""

    TABLE = {"d0": 3.0, "d2": 2.5, "d4": 2.0, "d7": 0.5}  # noqa: RUF012

    def batch_search(self, queries, qids, k=10, threads=1):
        return Run({q: Hits([*self.TABLE], [*self.TABLE.values()]).head(k) for q in qids})

    def score(self, queries, docids):
        return [np.array([self.TABLE.get(d, 0) for d in own], np.float32) for own in docids]


@pytest.fixture(scope="module")
def late(tmp_path_factory):
    folder, store = tmp_path_factory.mktemp("late") / "tokens", Store()
    with TokenWriter(folder, D) as out:
        out.append_tokens(DOCIDS, *store.tokens(DOCIDS))
    return MultiVectorSearcher(folder, Words())


def ranked(scores):
    return sorted(scores, key=lambda docid: (-scores[docid], docid))


def exact(late, z):
    """MaxSim of every document that has tokens, by loops over rounded query tokens."""
    found, rounded = {}, np.asarray(z, np.float32).astype(np.float16).astype(float)
    for docid in DOCIDS:
        tokens, _ = late.tokens([docid])
        if len(tokens):
            found[docid] = sum(max(float(q @ t) for t in tokens) for q in rounded)
    return found


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("target", ["frozen", "recomputed"])
def test_a_search_is_that_of_the_loop(late, again, target):
    method = GQR(depth=2, lr=0.05, target=target, search=again)
    found = GuidedSearcher(late, method, Guide()).batch_search(QUERIES, "abc", 8)
    for query, hits in zip(QUERIES, found.values(), strict=True):
        tokens = Words().encode_queries([query])
        first = exact(late, tokens.vectors[0])
        pool = sorted({*ranked(first)[:2], "d0"})  # d2, the guide's second, has no tokens
        documents = [late.tokens([docid])[0] for docid in pool]
        guided = [Guide.TABLE.get(docid, 0.0) for docid in pool]
        *_, (z, _) = by_autograd(tokens.vectors[0], documents, guided, method)
        scores = exact(late, z)
        expected = ranked(scores)
        if not again:
            ahead = ranked({docid: scores[docid] for docid in pool})
            expected = ahead + [docid for docid in ranked(first) if docid not in pool]
        assert hits.docids.tolist() == expected
        known = expected if again else ahead
        np.testing.assert_allclose(hits.scores[: len(known)], [scores[d] for d in known], atol=5e-3)


def test_interpolation_and_a_method_that_does_nothing(late):
    plain = late.batch_search(QUERIES, "abc", 8)
    again = GuidedSearcher(late, GQR(steps=0, search=True), Guide())
    assert again.batch_search(QUERIES, "abc", 8) == plain
    both = GuidedSearcher(late, GQR(search=True, lr=0.05), Guide(), "both", alpha=0.5)
    stages = both.batch_stages(QUERIES, "abc", 8, every=True)[0]
    assert list(stages) == ["dense", "sparse", "before", "feedback", "after"]
    assert stages["after"] != stages["feedback"] != plain


def test_the_command_writes_the_run_of_the_class(tmp_path, minilm_path):
    texts = ["sound is a wave", "the moon turns around the earth", "bread is baked from flour"]
    lines = [json.dumps({"id": f"d{i}", "contents": text}) for i, text in enumerate(texts)]
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines))
    topics = {"1": "waves of the earth", "2": "baking bread"}
    (tmp_path / "topics.tsv").write_text("".join(f"{i}\t{q}\n" for i, q in topics.items()))
    for to, name in (("multivector", "tokens"), ("faiss", "dense")):
        given = f"--corpus {tmp_path}/corpus.jsonl --output {tmp_path}/{name} --encoder minilm"
        assert encode([*given.split(), "--to", to]) == 0
    given = f"--topics {tmp_path}/topics.tsv --output {tmp_path}/run.txt --quiet"
    given += f" --index {tmp_path}/tokens --sparse-index {tmp_path}/dense"
    given += " --sparse-searcher dense --sparse-arg encoder=minilm"
    given += " --prf gqr --prf-depth 2 --prf-arg lr=0.01 --prf-arg guide_temperature=0.05"
    search(given.split())
    late = MultiVectorSearcher(tmp_path / "tokens")
    guide = create("searcher", "dense", index=str(tmp_path / "dense"), encoder="minilm")
    method = GQR(depth=2, lr=0.01, guide_temperature=0.05)
    expected = GuidedSearcher(late, method, guide).batch_search([*topics.values()], [*topics], 3)
    written = Run.read(tmp_path / "run.txt")
    plain = late.batch_search([*topics.values()], [*topics], 3)
    for qid in topics:
        assert written[qid].docids.tolist() == expected[qid].docids.tolist()
        np.testing.assert_allclose(written[qid].scores, expected[qid].scores, atol=1e-4)
        assert np.abs(plain[qid].scores[0] - written[qid].scores[0]) > 1e-3


def test_the_benchmark_times_what_it_has_compared():
    ways = gqr_tokens.contestants(pool=5, length=6, of_query=4, dimension=16, batch=2)
    np.testing.assert_allclose(ways["gqr"](), ways["torch"](), atol=1e-3)


def test_the_page_holds_the_numbers_that_are_kept():
    root = Path(__file__).parents[1]
    kept = json.loads((root / "benchmarks" / "results" / "gqr_tokens.json").read_text())
    page = (root / "docs" / "gqr.md").read_text(encoding="utf-8")
    assert gqr_tokens.qualities(kept["collections"]) in page
    assert gqr_tokens.times(kept["milliseconds"]) in page
