"""Tuning a feedback method: the folds, what is chosen on them, and the run of held-out queries."""

import json

import numpy as np
import pytest

from pyserini_ext.errors import InputError
from pyserini_ext.evaluate.measures import Measurer
from pyserini_ext.feedback.gqr import GQR
from pyserini_ext.feedback.vector import Rocchio
from pyserini_ext.hits import Hits
from pyserini_ext.index.matrix_writer import MatrixWriter
from pyserini_ext.run import Run
from pyserini_ext.search import tune
from pyserini_ext.search.base import Searcher
from pyserini_ext.search.dense import DenseSearcher
from pyserini_ext.search.feedback import FeedbackSearcher
from pyserini_ext.search.guided import GuidedSearcher

DOCIDS = [f"d{i}" for i in range(40)]
TOPICS = {str(i): f"query {i}" for i in range(11)}
GIVEN = "--index i --encoder minilm --topics {0}/t.tsv --qrels {0}/q.txt --output {0}/run.txt"


class Encoder:
    """A query is the seed of its vector."""

    def encode(self, queries):
        return np.array(
            [np.random.default_rng(int(q.split()[1])).standard_normal(4) for q in queries],
            dtype=np.float32,
        )


class Guide(Searcher):
    """Random scores for all documents."""

    def __init__(self):
        self.calls = 0

    def score(self, queries, docids):
        found = []
        for query, wanted in zip(queries, docids, strict=True):
            scores = np.random.default_rng(100 + int(query.split()[1])).random(40) * 9
            found.append(np.array([scores[DOCIDS.index(d)] for d in wanted], dtype=np.float32))
        return found

    def batch_search(self, queries, qids, k=10, threads=1):
        self.calls += 1
        lists = self.score(queries, [DOCIDS] * len(queries))
        return Run((qid, Hits(DOCIDS, own)[:k]) for qid, own in zip(qids, lists, strict=True))


@pytest.fixture
def files(tmp_path):
    """Topics, qrels of all but one of them, and a store."""
    random = np.random.default_rng(1)
    lines = [f"{q} 0 {d} 1\n" for q in [*TOPICS][1:] for d in random.choice(DOCIDS, 5, False)]
    (tmp_path / "q.txt").write_text("".join([*lines, "unsearched 0 d1 1\n"]))
    (tmp_path / "t.tsv").write_text("".join(f"{i}\t{text}\n" for i, text in TOPICS.items()))
    with MatrixWriter(tmp_path / "store", dimension=4) as writer:
        writer.append(DOCIDS, random.standard_normal((40, 4)).astype(np.float32))
    return tmp_path


def qrels(files):
    found = {}
    for line in (files / "q.txt").read_text().splitlines():
        qid, _, docid, relevance = line.split()
        found.setdefault(qid, {})[docid] = int(relevance)
    return found


def test_folds_are_drawn_and_of_equal_sizes():
    fold = tune.folds_of(11, 3, seed=0)
    assert sorted(np.bincount(fold)) == [3, 4, 4]
    assert fold.tolist() == tune.folds_of(11, 3, seed=0).tolist()
    assert fold.tolist() != tune.folds_of(11, 3, seed=1).tolist()


def test_a_fold_has_no_say_in_what_it_gets():
    random = np.random.default_rng(2)
    values, fold = random.random((6, 30)), tune.folds_of(30, 4, 0)
    chosen = tune.choose(values, fold)
    changed = values.copy()
    changed[:, fold == 2] = random.random((6, (fold == 2).sum())) * 100
    assert tune.choose(changed, fold)[2] == chosen[2]
    for own in range(4):
        means = [row[fold != own].mean() for row in values]
        assert chosen[own] == int(np.argmax(means))


def test_grids_are_read_or_those_of_the_method():
    assert tune.read_grid(["lr=1e-4,0.5", "search=true"], GQR, "gqr") == [
        {"lr": 1e-4, "search": True},
        {"lr": 0.5, "search": True},
    ]
    assert tune.read_grid(["guide-temperature=2"], GQR, "gqr") == [{"guide_temperature": 2}]
    own = tune.read_grid(None, GQR, "gqr")
    assert len(own) == 18
    assert {"lr": 1e-3, "steps": 25} in own


@pytest.mark.parametrize("interpolate", [None, "after"])
def test_held_out_queries_get_what_is_best_on_the_others(files, monkeypatch, capsys, interpolate):
    dense, guide = DenseSearcher(files / "store", Encoder()), Guide()
    again = interpolate is not None

    def build(method):
        return GuidedSearcher(dense, method, guide, interpolate, alpha=0.5 if again else None)

    monkeypatch.setattr(tune, "build", lambda args: build(GQR(search=again)))
    given = f"{GIVEN.format(files)} --sparse-index s --prf gqr --hits 20 --folds 4 --quiet"
    given += " --grid lr=0.01,0.3 steps=0,10 --batch-size 4"
    if again:
        given += " --interpolate --prf-arg search=true"
    tune.main(given.split())
    assert guide.calls == 6  # three batches and their stages for the plain list, once for all

    settings = [(0.01, 0), (0.01, 10), (0.3, 0), (0.3, 10)]
    judged = [*TOPICS][1:]
    measurer = Measurer(qrels(files), ["nDCG@10"])
    runs, values = [], []
    for lr, steps in settings:
        searcher = build(GQR(lr=lr, steps=steps, search=again))
        runs.append(searcher.batch_search([TOPICS[q] for q in judged], judged, 20))
        values.append(measurer.measure(runs[-1].items())["nDCG@10"][: len(judged)])
    fold = tune.folds_of(len(judged), 4, 0)
    chosen = tune.choose(np.array(values), fold)
    assert len(set(chosen.tolist())) > 1
    written = Run.read(files / "run.txt")
    assert list(written) == judged
    for number, qid in enumerate(judged):
        expected = runs[chosen[fold[number]]][qid]
        assert written[qid].docids.tolist() == expected.docids.tolist()
    record = json.loads((files / "run.txt.json").read_text())
    held_out = np.mean([values[chosen[fold[i]]][i] for i in range(len(judged))])
    assert record["held_out"] == pytest.approx(held_out)
    assert record["queries"] == 10
    assert [own["nDCG@10"] for own in record["settings"]] == pytest.approx(
        [own.mean() for own in values]
    )
    best = int(np.argmax([own.mean() for own in values]))
    assert record["best"] == dict(zip(("lr", "steps"), settings[best], strict=True))
    plain = dense.batch_search([TOPICS[q] for q in judged], judged, 20)
    expected = measurer.measure(plain.items())["nDCG@10"][: len(judged)].mean()
    assert record["without_feedback"] == pytest.approx(expected)
    shown = capsys.readouterr().out
    assert f"on held-out folds: {held_out:.4f}" in shown


def test_rocchio_is_tuned_as_well_at_several_depths(files, monkeypatch):
    dense = DenseSearcher(files / "store", Encoder())
    monkeypatch.setattr(tune, "build", lambda args: FeedbackSearcher(dense, Rocchio()))
    given = f"{GIVEN.format(files)} --prf rocchio --hits 20 --folds 2 --quiet --grid depth=1,7"
    tune.main([*given.split(), "beta=0.1"])
    record = json.loads((files / "run.txt.json").read_text())
    searcher = FeedbackSearcher(dense, Rocchio(depth=7, beta=0.1))
    judged = [*TOPICS][1:]
    run = searcher.batch_search([TOPICS[q] for q in judged], judged, 20)
    values = Measurer(qrels(files), ["nDCG@10"]).measure(run.items())["nDCG@10"]
    assert record["settings"][1]["nDCG@10"] == pytest.approx(values[:-1].mean())


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("", "nothing to tune"),
        ("--prf rocchio", "no grid of its own"),
        ("--prf rocchio --grid beta", "expected NAME=VALUE"),
        ("--prf rocchio --grid beta=1 beta=2", "beta is given twice"),
        ("--prf rocchio --grid beta=1 --folds 1", "at least 2"),
        ("--prf rocchio --grid beta=1 --save-stages", "one run"),
        ("--prf rocchio --grid beta=1 --rocchio-beta 2", "in the grid and given by itself"),
        ("--prf rocchio --grid speed=1", "no option 'speed'"),
        ("--prf gqr --sparse-index s --grid lr=0", "lr of gqr is 0"),
        ("--prf gqr --sparse-index s --grid search=true,false --interpolate", "only reorders"),
        ("--prf gqr --sparse-index s --interpolate --alpha 0.1 0.2", "one --alpha"),
        ("--prf gqr --sparse-index s --folds 11", "10 topics have judgements"),
        ("--prf gqr --sparse-index s --measure nothing", "not a measure"),
    ],
)
def test_mistakes_are_refused_before_anything_is_opened(files, more, message):
    with pytest.raises(InputError, match=message):
        tune.main([*GIVEN.format(files).split(), *more.split()])
