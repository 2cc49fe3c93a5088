"""The searcher of late interaction: everything, candidates by MUVERA, and as one side of others."""

import json
from itertools import pairwise
from typing import ClassVar

import numpy as np
import pytest

from pyserini_ext.encode.__main__ import main as encode
from pyserini_ext.errors import InputError
from pyserini_ext.fusion.interpolation import Interpolation
from pyserini_ext.hits import Hits
from pyserini_ext.index import muvera
from pyserini_ext.index.tokens_writer import TokenWriter
from pyserini_ext.plugins import create
from pyserini_ext.rescore.query_tokens import QueryTokens
from pyserini_ext.run import Run
from pyserini_ext.search.__main__ import main as search
from pyserini_ext.search.base import Searcher
from pyserini_ext.search.feedback import FeedbackSearcher
from pyserini_ext.search.guided import GuidedSearcher
from pyserini_ext.search.multivector import MultiVectorSearcher
from pyserini_ext.search.options import parse_args
from pyserini_ext.search.rescoring import RescoringSearcher
from pyserini_ext.search.staged import InterpolatedSearcher

LENGTHS = [3, 6, 0, 2, 5, 1, 4, 7]
QUERIES = ["one", "three words here", "two words"]


class Words:
    """A random unit vector for each word."""

    def encode_queries(self, queries):
        mask = np.array([[i < len(q.split()) for i in range(3)] for q in queries])
        vectors = np.zeros((*mask.shape, 16), dtype=np.float32)
        for own, query in zip(vectors, queries, strict=True):
            for vector, word in zip(own, query.split(), strict=False):
                made = np.random.default_rng(sum(map(ord, word))).standard_normal(16)
                vector[:] = made / np.linalg.norm(made)
        return QueryTokens(vectors, mask)


class First(Searcher):
    """Gives documents 4 to 0, whatever is asked; the others score 0."""

    TABLE: ClassVar[dict[str, float]] = {f"d{i}": float(i) for i in range(5)}

    def batch_search(self, queries, qids, k=10, threads=1):
        return Run({qid: Hits([*self.TABLE], np.arange(5.0)).head(k) for qid in qids})

    def score(self, queries, docids):
        return [np.array([self.TABLE.get(d, 0) for d in own], np.float32) for own in docids]


@pytest.fixture
def store(tmp_path):
    rng = np.random.default_rng(0)
    offsets = np.concatenate([[0], np.cumsum(LENGTHS)]).astype(np.int64)
    tokens = rng.standard_normal((offsets[-1], 16))
    tokens /= np.linalg.norm(tokens, axis=1, keepdims=True)
    docids = [f"d{i}" for i in range(len(LENGTHS))]
    with TokenWriter(tmp_path / "tokens", 16) as out:
        out.append_tokens(docids, tokens, offsets)
    return tmp_path / "tokens"


def exact(searcher, query):
    """Every document's score by loops in float64; those without tokens have none."""
    return exact_of(searcher, Words().encode_queries([query]))


def exact_of(searcher, tokens):
    """The same for the tokens of one query."""
    own = tokens.vectors[0][tokens.mask[0]].astype(np.float16).astype(float)
    data, bounds = (
        searcher.store.documents.rows.data.astype(float),
        searcher.store.documents.offsets,
    )
    found = {}
    for docid, (start, stop) in zip(searcher.store.docids, pairwise(bounds), strict=True):
        if start < stop:
            found[docid] = sum(max(q @ d for d in data[start:stop]) for q in own)
    return found


def assert_hits(hits, scores):
    wanted = sorted(scores.items(), key=lambda pair: -pair[1])
    assert hits.docids.tolist() == [docid for docid, _ in wanted]
    np.testing.assert_allclose(hits.scores, [score for _, score in wanted], atol=1e-4)


@pytest.mark.parametrize("backend", ["auto", "numpy"])
def test_all_documents_are_scored(store, backend):
    searcher = MultiVectorSearcher(store, Words(), backend=backend)
    run = searcher.batch_search(QUERIES, ["a", "b", "c"], k=20)
    for query, hits in zip(QUERIES, run.values(), strict=True):
        assert_hits(hits, exact(searcher, query))
    assert searcher.batch_search(QUERIES, ["a", "b", "c"], k=2)["b"] == run["b"].head(2)


def test_scores_of_given_documents(store):
    searcher = MultiVectorSearcher(store, Words())
    found = searcher.score(QUERIES, [["d5", "d0"], [], ["d2", "d7", "d7"]])
    first, last = exact(searcher, QUERIES[0]), exact(searcher, QUERIES[2])
    np.testing.assert_allclose(found[0], [first["d5"], first["d0"]], atol=1e-4)
    assert found[1].shape == (0,)
    assert np.isnan(found[2][0])
    np.testing.assert_allclose(found[2][1:], [last["d7"]] * 2, atol=1e-4)
    assert {own.dtype for own in found} == {np.dtype(np.float32)}
    with pytest.raises(InputError, match="'d9' is not in"):
        searcher.score(["one"], [["d1", "d9"]])
    average = MultiVectorSearcher(store, Words(), average=True)
    np.testing.assert_allclose(average.score(QUERIES, [["d0"]] * 3)[1], found_of(searcher, 1) / 3)
    hits = average.batch_search(QUERIES, ["a", "b", "c"])["c"]
    assert_hits(hits, {docid: score / 2 for docid, score in last.items()})


def found_of(searcher, number):
    return searcher.score(QUERIES, [["d0"]] * 3)[number]


def test_candidates_by_encodings(store, tmp_path):
    sizes = ["--repetitions", "8", "--bits", "2", "--projected", "8"]
    muvera.main(["--input", str(store), "--output", str(tmp_path / "fde"), *sizes])
    whole = MultiVectorSearcher(store, Words()).batch_search(QUERIES, "abc")
    searcher = MultiVectorSearcher(store, Words(), candidates=tmp_path / "fde")
    assert searcher.batch_search(QUERIES, "abc") == whole
    shallow = MultiVectorSearcher(store, Words(), candidates=tmp_path / "fde", depth=3)
    first = shallow.candidates(shallow.encode(QUERIES), 3)
    for hits, found in zip(first, shallow.batch_search(QUERIES, "abc").values(), strict=True):
        assert set(found.docids) == set(hits.docids) - {"d2"}
    with TokenWriter(tmp_path / "other", 16) as out:
        out.append_tokens(["d0"], np.ones((1, 16)), np.array([0, 1]))
    with pytest.raises(InputError, match="were not made from"):
        MultiVectorSearcher(tmp_path / "other", Words(), candidates=tmp_path / "fde")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 0}, "depth is 0"),
        ({"depth": 5}, "depth is about"),
        ({"missing_vector": "zero"}, "choose one of error, skip"),
        ({"backend": "fast"}, "choose one of auto"),
    ],
)
def test_arguments_that_contradict(store, options, message):
    with pytest.raises(InputError, match=message):
        MultiVectorSearcher(store, Words(), **options)


def test_a_store_that_does_not_name_its_encoder(store):
    with pytest.raises(InputError, match="give encoder="):
        MultiVectorSearcher(store).search("a")
    with pytest.raises(InputError, match="no encodings"):
        MultiVectorSearcher(store).candidates(Words().encode_queries(QUERIES), 3)


def mixed(sparse, dense, alpha):
    """Interpolate two tables over what either has, min-max, as the default rule does."""
    tables = []
    for table in (sparse, dense):
        low, high = min(table.values()), max(table.values())
        tables.append({d: (score - low) / (high - low) for d, score in table.items()})
    return {d: alpha * tables[0][d] + (1 - alpha) * tables[1][d] for d in sparse}


def first_of(scores):
    """What the first stage says of the documents that have a token."""
    return {docid: First.TABLE.get(docid, 0.0) for docid in scores}


@pytest.mark.parametrize("alpha", [None, 0.3])
def test_rescoring_the_documents_of_a_first_stage(store, alpha):
    late = MultiVectorSearcher(store, Words())
    found = RescoringSearcher(First(), late, alpha=alpha).batch_search(QUERIES, "abc")
    for query, hits in zip(QUERIES, found.values(), strict=True):
        scores = {d: s for d, s in exact(late, query).items() if d in First.TABLE}
        assert_hits(hits, scores if alpha is None else mixed(first_of(scores), scores, alpha))
    few = RescoringSearcher(First(), late, depth=2)
    assert set(few.search("one").docids) == {"d3", "d4"}


@pytest.mark.parametrize("how", ["bound", "estimate"])
def test_early_stopping(store, how, monkeypatch):
    monkeypatch.setattr("pyserini_ext.search.early_stop.FIRST_CHUNK", 1)
    late, rule = MultiVectorSearcher(store, Words()), Interpolation(0.9, "none")
    stopping = RescoringSearcher(First(), late, rule, early_stop=how)
    whole = RescoringSearcher(First(), late, rule).batch_search(QUERIES, "abc", 1)
    assert stopping.batch_search(QUERIES, "abc", 1) == whole
    assert stopping.looked_up < 5 * len(QUERIES)


@pytest.mark.parametrize("average", [False, True])
def test_no_document_exceeds_the_greatest_score(store, average):
    late = MultiVectorSearcher(store, Words(), average=average)
    tokens = late.encode(QUERIES)
    scores = [hits.scores[0] for hits in late.search_vectors(tokens, "abc", 1).values()]
    most = late.greatest_scores(tokens)
    assert (scores <= most).all()
    np.testing.assert_allclose(most, 1.0 if average else tokens.lengths, rtol=2e-3)


def test_interpolation_with_a_sparse_side(store):
    late = MultiVectorSearcher(store, Words())
    both = InterpolatedSearcher(late, First(), alpha=0.4)
    for query, hits in zip(QUERIES, both.batch_search(QUERIES, "abc", 20).values(), strict=True):
        scores = exact(late, query)
        assert_hits(hits, mixed(first_of(scores), scores, 0.4))


class Doubled:
    """Repeats the query's tokens and adds the first token of the best document."""

    depth = 2

    def __init__(self, search=True):
        self.search, self.seen = search, []

    def refine_tokens(self, queries, tokens, feedback, store):
        self.seen += [hits.docids.tolist() for hits in feedback]
        found, bounds = store.tokens([hits.docids[0] for hits in feedback])
        added = found[bounds[:-1]][:, None]
        ones = np.ones((len(tokens), 1), dtype=bool)
        return QueryTokens(
            np.concatenate([tokens.vectors, tokens.vectors, added], axis=1),
            np.concatenate([tokens.mask, tokens.mask, ones], axis=1),
        )


def by_hand(late, query, when, search):
    """Feedback with Doubled, query by query."""
    tokens = Words().encode_queries([query])
    first = exact(late, query)
    pool = mixed(first_of(first), first, 0.4) if when in ("before", "both") else first
    read = [d for d, _ in sorted(pool.items(), key=lambda pair: -pair[1])][:2]
    new = Doubled().refine_tokens(None, tokens, [Hits(read, [2.0, 1.0])], late)
    second = exact_of(late, new)
    return read, mixed(first_of(second), second, 0.4) if when in ("after", "both") else second


@pytest.mark.parametrize("when", [None, "before", "after", "both"])
@pytest.mark.parametrize("search", [True, False])
def test_feedback_on_tokens(store, when, search):
    late, method = MultiVectorSearcher(store, Words()), Doubled(search)
    options = {"sparse": First(), "interpolate": when, "alpha": 0.4} if when else {}
    found = FeedbackSearcher(late, method, **options).batch_search(QUERIES, "abc", 20)
    for query, hits, read in zip(QUERIES, found.values(), method.seen, strict=True):
        wanted, scores = by_hand(late, query, when, search)
        assert read == wanted
        assert_hits(hits, scores)


def test_reordering_ranks_what_was_retrieved(store):
    late = MultiVectorSearcher(store, Words())
    few = FeedbackSearcher(
        late, Doubled(search=False), sparse=First(), interpolate="after", dense_hits=3
    )
    stages = few.batch_stages(QUERIES, "abc", 2, every=True)[0]
    for qid, query in zip("abc", QUERIES, strict=True):
        retrieved = late.batch_search([query], ["q"], 3)["q"].docids
        assert set(stages["feedback"][qid].docids) <= set(retrieved)
        wanted = by_hand(late, query, None, False)[1]
        best = sorted(retrieved, key=lambda docid: -wanted[docid])
        assert stages["feedback"][qid].docids.tolist() == best[: len(stages["feedback"][qid])]


class Wrong:
    """Gives back what it must not."""

    depth = 2

    def __init__(self, answer):
        self.answer = answer

    def refine_tokens(self, queries, tokens, feedback, store):
        return self.answer(tokens)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda tokens: tokens.vectors, "returned ndarray"),
        (lambda tokens: tokens[1:], "returned 2 queries"),
        (lambda tokens: QueryTokens(tokens.vectors * np.nan, tokens.mask), "not finite"),
    ],
)
def test_what_a_method_must_not_return(store, answer, message):
    late = MultiVectorSearcher(store, Words())
    with pytest.raises(InputError, match=message):
        FeedbackSearcher(late, Wrong(answer)).batch_search(QUERIES, "abc")


def test_methods_for_queries_of_another_kind(store):
    late = MultiVectorSearcher(store, Words())
    with pytest.raises(InputError, match="Average refines queries of one vector"):
        FeedbackSearcher(late, create("feedback", "avg"))
    with pytest.raises(InputError, match="about queries of one vector"):
        FeedbackSearcher(late, Doubled(), renormalise=True)

    class Guided:
        depth, search = 2, True

        def refine_guided(self, queries, vectors, pools, guide, store):
            return vectors

    with pytest.raises(InputError, match="Guided refines queries of one vector"):
        GuidedSearcher(late, Guided(), First())
    Guided.takes_tokens = True
    same = GuidedSearcher(late, Guided(), First()).batch_search(QUERIES, "abc")
    assert same == late.batch_search(QUERIES, "abc")


def test_documents_that_the_store_lacks(store):
    class Other(First):
        TABLE: ClassVar[dict[str, float]] = {"d0": 1.0, "d2": 2.0, "x": 3.0, "d5": 4.0, "d6": 5.0}

    strict = RescoringSearcher(Other(), MultiVectorSearcher(store, Words()))
    with pytest.raises(InputError, match="'x' is not in"):
        strict.search("one")
    late = MultiVectorSearcher(store, Words(), missing_vector="skip")
    assert set(RescoringSearcher(Other(), late).search("one").docids) == {"d0", "d5", "d6"}
    assert np.isnan(late.score(["one"], [["x", "d2", "d0"]])[0]).tolist() == [True, True, False]
    vectors, bounds = late.tokens(["d1", "x", "d2", "d5"])
    assert (len(vectors), bounds.tolist()) == (7, [0, 6, 6, 6, 7])


@pytest.fixture(scope="module")
def encoded(tmp_path_factory, minilm_path):
    folder = tmp_path_factory.mktemp("late")
    texts = ["sound is a wave", "the moon turns around the earth", "bread is baked from flour"]
    lines = [json.dumps({"id": f"d{i}", "contents": text}) for i, text in enumerate(texts)]
    (folder / "corpus.jsonl").write_text("\n".join(lines))
    (folder / "topics.tsv").write_text("1\twaves of sound\n2\tbaking bread\n")
    corpus = ["--corpus", str(folder / "corpus.jsonl"), "--output", str(folder / "tokens")]
    assert encode([*corpus, "--encoder", "minilm", "--to", "multivector"]) == 0
    return folder


def searched(folder, *options):
    run = folder / "run.txt"
    search(["--topics", str(folder / "topics.tsv"), "--output", str(run), "--quiet", *options])
    return Run.read(run)


def test_the_commands(encoded):
    tokens = str(encoded / "tokens")
    found = searched(encoded, "--index", tokens)
    assert {qid: hits.docids[0] for qid, hits in found.items()} == {"1": "d0", "2": "d2"}
    # The encoder is the one that the store names.
    named = create("searcher", "multi-vector", index=tokens, encoder="minilm")
    for qid, query in (("1", "waves of sound"), ("2", "baking bread")):
        np.testing.assert_allclose(named.search(query).scores, found[qid].scores, atol=1e-4)
    other = searched(encoded, "--sparse-index", tokens, "--sparse-searcher", "multi-vector")
    assert {qid: hits.docids.tolist() for qid, hits in other.items()} == {
        qid: hits.docids.tolist() for qid, hits in found.items()
    }
    averaged = searched(encoded, "--index", tokens, "--index-arg", "average=true")
    lengths = named.encode(["waves of sound", "baking bread"]).lengths
    for length, qid in zip(lengths, "12", strict=True):
        np.testing.assert_allclose(averaged[qid].scores * length, found[qid].scores, rtol=1e-4)
    fde = str(encoded / "fde")
    muvera.main(["--input", tokens, "--output", fde, "--repetitions", "4", "--bits", "2"])
    options = ["--index-arg", f"candidates={fde}", "--index-arg", "depth=1"]
    few = searched(encoded, "--index", tokens, *options)
    assert {qid: hits.docids.tolist() for qid, hits in few.items()} == {"1": ["d0"], "2": ["d2"]}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--index {tokens} --pooling mean", "--pooling is about one vector"),
        ("--index {tokens} --nprobe 3", "--nprobe is about one vector"),
        ("--index {tokens} --prf rocchio", "--prf rocchio refines queries of one vector"),
        ("--index x --encoder e --index-arg depth=3", "--index-arg is about multi-vector stores"),
        ("--index x", "--index needs --encoder"),
        ("--rescore-store {tokens}", "has no effect without --sparse-index"),
    ],
)
def test_options_that_do_not_fit(store, options, message):
    with pytest.raises(InputError, match=message):
        parse_args(["--topics", "t", "--output", "o", *options.format(tokens=store).split()])


def test_an_option_that_the_searcher_does_not_have(encoded):
    with pytest.raises(InputError, match="depht"):
        searched(encoded, "--index", str(encoded / "tokens"), "--index-arg", "depht=3")
    with pytest.raises(InputError, match="given twice"):
        searched(encoded, "--index", str(encoded / "tokens"), "--index-arg", "backend=numpy")


def test_a_method_refuses_a_store_before_it_is_searched(store):
    class Picky(Doubled):
        def check_store(self, searcher):
            raise InputError(f"not {searcher.store.path.name}")

    with pytest.raises(InputError, match="not tokens"):
        FeedbackSearcher(MultiVectorSearcher(store), Picky())
