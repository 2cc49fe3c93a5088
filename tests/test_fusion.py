"""Fusion against hand-worked sums, a plain float64 reference and Pyserini's own results."""

import math
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from pyserini_ext.errors import InputError
from pyserini_ext.fusion import CONVENTIONS, NORMALISERS, Interpolation, fuse
from pyserini_ext.fusion.__main__ import align, main
from pyserini_ext.hits import Hits
from pyserini_ext.run import Run


def normalised(name, scores):
    """Normalise a list of Python floats, best first."""
    if not scores or name == "none":
        return scores
    low, high, n = min(scores), max(scores), len(scores)
    if name == "min-max":
        return [1.0 if high == low else (s - low) / (high - low) for s in scores]
    if name == "z-score":
        mean = sum(scores) / n
        deviation = math.sqrt(sum((s - mean) ** 2 for s in scores) / n)
        return [(s - mean) / deviation if deviation else 0.0 for s in scores]
    if name == "softmax":
        total = sum(math.exp(s - high) for s in scores)
        return [math.exp(s - high) / total for s in scores]
    return [1 / (60 + r) for r in range(1, n + 1)]


def reference(lists, weights, normalise, missing):
    """Weighted sum over plain dictionaries of Python floats."""
    tables = []
    for hits in lists:
        values = normalised(normalise, [float(s) for s in hits.scores])
        low = min(values, default=0.0) if missing == "minimum" else 0.0
        tables.append((dict(zip(hits.docids, values, strict=True)), low))
    docids = {d for hits in lists for d in hits.docids}
    return {
        d: sum(w * t.get(d, low) for w, (t, low) in zip(weights, tables, strict=True))
        for d in docids
    }


def random_hits(random, n, universe=60):
    docids = [f"d{i}" for i in random.choice(universe, n, replace=False)]
    return Hits(docids, (random.integers(0, 12, n) / 4).astype(np.float32))


@pytest.mark.parametrize("normalise", list(NORMALISERS))
@pytest.mark.parametrize("missing", ["zero", "minimum"])
@pytest.mark.parametrize("sizes", [(20, 30), (0, 5), (1, 1), (7, 0), (3, 40, 12)])
def test_equals_the_plain_reference(normalise, missing, sizes):
    random = np.random.default_rng(len(sizes) + sum(sizes))
    lists = [random_hits(random, n) for n in sizes]
    weights = random.random(len(sizes)).tolist()
    fused = fuse(lists, weights, normalise=normalise, missing=missing)
    expected = reference(lists, weights, normalise, missing)
    assert set(fused.docids) == set(expected)
    for hit in fused:
        assert hit.score == pytest.approx(expected[hit.docid], abs=1e-12)
    assert [h.docid for h in fused] == [
        h.docid for h in Hits([h.docid for h in fused], fused.scores)
    ]


def test_a_convex_sum_done_by_hand():
    sparse, dense = Hits(["a", "b"], [9.0, 5.0]), Hits(["b", "c"], [0.8, 0.6])
    rule = Interpolation(0.25, normalise="none", missing="minimum")
    assert rule.fuse(sparse, dense).as_dict() == pytest.approx(
        {"a": 0.25 * 9 + 0.75 * 0.6, "b": 0.25 * 5 + 0.75 * 0.8, "c": 0.25 * 5 + 0.75 * 0.6}
    )


def test_nothing_retrieved_by_anyone_fuses_to_nothing():
    empty = Hits([], [])
    for convention in CONVENTIONS:
        assert len(Interpolation(0.5, convention=convention).fuse(empty, empty)) == 0


@pytest.mark.parametrize(
    "bad",
    [
        {"alpha": 1.5},
        {"alpha": float("nan")},
        {"normalise": "minmax"},
        {"missing": "nan"},
        {"convention": "pyserini"},
        {"convention": "pyserini-fusion", "normalise": "min-max"},
        {"convention": "pyserini-hybrid", "missing": "rescore"},
    ],
)
def test_contradictory_rules_are_refused(bad):
    with pytest.raises(InputError):
        Interpolation(**bad)


@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 0.06, 0.1, 1.3])
def test_hybrid_convention_equals_pyserini_to_the_last_bit(alpha, normalised):
    from pyserini_ext.jvm import pyserini_import

    with pyserini_import():
        from pyserini.search.hybrid import HybridSearcher
    convention = "pyserini-hybrid" + "-normalised" * normalised
    random = np.random.default_rng(7)
    for sizes in ((40, 40), (5, 30), (0, 20), (20, 0)):
        n, m = sizes
        sparse = Hits(
            [f"d{i}" for i in random.choice(60, n, replace=False)],
            (random.random(n) * 20).astype(np.float32),
        )
        dense = Hits(
            [f"d{i}" for i in random.choice(60, m, replace=False)],
            random.random(m).astype(np.float32),
        )
        # Pyserini meets Python floats from Java and NumPy's float32 from FAISS.
        theirs = HybridSearcher._hybrid_results(
            [
                SimpleNamespace(docid=d, score=s)
                for d, s in zip(dense.docids, dense.scores, strict=True)
            ],
            [SimpleNamespace(docid=h.docid, score=h.score) for h in sparse],
            alpha,
            1000,
            normalised,
        )
        ours = Interpolation(alpha, convention=convention).fuse(sparse, dense, 1000)
        assert ours.as_dict() == {h.docid: float(np.float32(h.score)) for h in theirs}


def test_hybrid_without_spread_gives_numbers_where_pyserini_divides_by_zero():
    rule = Interpolation(0.5, convention="pyserini-hybrid-normalised")
    fused = rule.fuse(Hits(["a"], [3.0]), Hits(["a", "b"], [1.0, 0.0]))
    assert fused.as_dict() == {"a": 0.5, "b": -0.5}


def write(path, run):
    Run(run).save(path)
    return str(path)


def test_runs_in_different_query_order_come_together():
    one = [("1", Hits("a", [1.0])), ("2", Hits("b", [1.0]))]
    two = [("2", Hits("c", [1.0])), ("3", Hits("d", [1.0])), ("1", Hits("e", [1.0]))]
    found = {qid: ["".join(h.docids) for h in lists] for qid, lists in align([one, two])}
    assert found == {"1": ["a", "e"], "2": ["b", "c"], "3": ["", "d"]}


def test_a_grid_writes_a_run_for_each_weight(tmp_path):
    a = write(tmp_path / "a.txt", {"1": Hits(["x", "y"], [2.0, 1.0])})
    b = write(tmp_path / "b.txt", {"1": Hits(["y", "x"], [2.0, 1.0])})
    out = tmp_path / "out.txt"
    main(["--runs", a, b, "--method", "interpolation", "--alpha", "0", "1", "--output", str(out)])
    assert Run.read(tmp_path / "out.alpha=0.txt")["1"][0].docid == "y"
    assert Run.read(tmp_path / "out.alpha=1.txt")["1"][0].docid == "x"


@pytest.mark.parametrize(
    "wrong",
    [
        ["--alpha", "0.5"],
        ["--method", "interpolation", "--alpha", "2"],
        ["--method", "normalize", "--normalise", "none"],
        ["--depth", "0"],
    ],
)
def test_contradictory_flags_write_nothing(tmp_path, wrong):
    a = write(tmp_path / "a.txt", {"1": Hits(["x"], [2.0])})
    with pytest.raises(InputError):
        main(["--runs", a, a, "--output", str(tmp_path / "out.txt"), *wrong])
    assert not (tmp_path / "out.txt").exists()


@pytest.mark.parametrize(
    "method", [["rrf"], ["interpolation", "--alpha", "0.3"], ["average"], ["normalize"]]
)
def test_published_runs_fuse_as_pyserini_fuses_them(collections_dir, tmp_path, method):
    from pyserini_ext.jvm import pyserini_import

    runs = [
        str(collections_dir / "msmarco_dl_pool" / "runs" / f"dl20.{name}.txt")
        for name in ("bm25", "tasb")
    ]
    given = ["--runs", *runs, "--method", *method, "--output"]
    main([*given, str(tmp_path / "ours.txt")])
    with pyserini_import():
        import runpy

        argv, sys.argv = sys.argv, ["fusion", *given, str(tmp_path / "theirs.txt")]
        try:
            runpy.run_module("pyserini.fusion", run_name="__main__")
        finally:
            sys.argv = argv
    ours = Run.read(tmp_path / "ours.txt", keep_ranks=True)
    theirs = Run.read(tmp_path / "theirs.txt", keep_ranks=True)
    assert set(ours) == set(theirs)
    for qid, hits in theirs.items():
        assert ours[qid] == hits, qid


def test_help_teaches_and_mistakes_exit_with_2(tmp_path):
    command = [sys.executable, "-m", "pyserini_ext.fusion"]
    shown = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
    assert "examples:" in shown.stdout
    wrong = subprocess.run(
        [*command, "--runs", "absent.txt", "b.txt", "--output", str(tmp_path / "o")],
        capture_output=True,
        text=True,
    )
    assert wrong.returncode == 2
    assert wrong.stderr == "error: --runs: no such file: absent.txt\n"
