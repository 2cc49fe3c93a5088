"""Evaluation: measures by hand and against trec_eval, significance, table, report, command."""

import gzip
import json
import math
import re
import subprocess
import sys
import warnings

import numpy as np
import pytest

from pyserini_ext.errors import InputError
from pyserini_ext.evaluate import (
    Measurer,
    compare,
    evaluate,
    holm,
    paired_t_test,
    read_qrels,
)
from pyserini_ext.evaluate.__main__ import main
from pyserini_ext.evaluate.measures import QUERIES_AT_ONCE
from pyserini_ext.evaluate.names import run_names
from pyserini_ext.evaluate.plots import draw, png
from pyserini_ext.evaluate.report import html
from pyserini_ext.hits import Hits
from pyserini_ext.run import Run

QRELS = {"q1": {"a": 2, "b": 1, "c": 0}, "q2": {"d": 1}, "q3": {"e": 1}}
FIRST = Run({"q1": Hits(["c", "a", "x"], [3.0, 2.0, 1.0]), "q3": Hits(["e"], [1.0])})
SECOND = Run({"q1": Hits(["a", "b"], [2.0, 1.0]), "q2": Hits(["x", "d"], [2.0, 1.0])})


def measured(run, *measures, qrels=QRELS):
    return Measurer(qrels, measures).measure(run.items())


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "pyserini_ext.evaluate", *map(str, arguments)],
        capture_output=True,
        text=True,
    )


@pytest.fixture
def files(tmp_path):
    """A folder with qrels and the two runs."""
    lines = [f"{q} 0 {d} {r}\n" for q, judged in QRELS.items() for d, r in judged.items()]
    (tmp_path / "qrels.txt").write_text("".join(lines))
    FIRST.save(tmp_path / "first.txt")
    SECOND.save(tmp_path / "second.txt")
    return tmp_path


class TestMeasures:
    def test_values_computed_by_hand(self):
        found = measured(FIRST, "nDCG@10", "AP", "RR@10", "R@100", "AP(rel=2)")
        ideal = 2 / math.log2(2) + 1 / math.log2(3)
        np.testing.assert_allclose(found["nDCG@10"], [2 / math.log2(3) / ideal, 0, 1])
        np.testing.assert_allclose(found["AP"], [(1 / 2) / 2, 0, 1])
        np.testing.assert_allclose(found["RR@10"], [1 / 2, 0, 1])
        np.testing.assert_allclose(found["R@100"], [1 / 2, 0, 1])
        np.testing.assert_allclose(found["AP(rel=2)"], [1 / 2, 0, 0])

    def test_mean_is_over_all_judged_queries(self):
        result = evaluate(QRELS, {"first": FIRST}, ["AP"])
        assert result.means["first"]["AP"] == pytest.approx((0.25 + 0 + 1) / 3)

    def test_counts_are_summed(self):
        assert evaluate(QRELS, {"first": FIRST}, ["NumRet"]).means["first"]["NumRet"] == 4

    def test_scores_decide_and_ties_go_as_in_trec_eval(self):
        # Equal scores: trec_eval puts the later docid first, MS MARCO's script the earlier one.
        run = Run({"q": Hits(["a", "z"], [1.0, 1.0])})
        found = measured(run, "RR", "RR@10", qrels={"q": {"a": 1}})
        assert found["RR"] == [0.5]
        assert found["RR@10"] == [1.0]

    def test_rank_column_is_ignored(self, tmp_path):
        path = tmp_path / "run.txt"
        path.write_text("q Q0 a 1 1.0 t\nq Q0 b 2 9.0 t\n")
        assert evaluate({"q": {"b": 1}}, [path], ["RR"]).means["run"]["RR"] == 1

    def test_more_queries_than_one_block(self):
        count = 2 * QUERIES_AT_ONCE + 3
        qrels = {f"q{n}": {"d": 1} for n in range(count)}
        run = Run({f"q{n}": Hits(["x", "d"][n % 2 :], [2.0, 1.0][n % 2 :]) for n in range(count)})
        for name, values in measured(run, "RR@10", "AP", qrels=qrels).items():
            assert values.tolist() == [0.5, 1.0] * (count // 2) + [0.5], name

    def test_empty_hits_and_negative_relevance(self):
        qrels = {"q1": {"a": 1, "spam": -2}, "q2": {"b": 1}}
        run = Run({"q1": Hits(["spam", "a"], [2.0, 1.0]), "q2": Hits([], [])})
        assert measured(run, "RR", qrels=qrels)["RR"].tolist() == [0.5, 0.0]

    @pytest.mark.parametrize(
        "name",
        [
            "nope@10",
            "nDCG@@",
            "nDCG@0",
            "nDCG@-1",
            "nDCG@1.5",
            "P",
            "AP(2)",
            "AP(foo=1)",
            "",
            "a b",
        ],
    )
    def test_bad_measures_are_refused_with_examples(self, name):
        with pytest.raises(InputError, match=r"nDCG@10, AP, AP\(rel=2\)") as error:
            Measurer(QRELS, [name])
        assert repr(name) in str(error.value)

    def test_measure_given_twice(self):
        with pytest.raises(InputError, match="given twice"):
            Measurer(QRELS, ["AP", "AP"])

    @pytest.mark.parametrize(
        ("year", "run", "ndcg"),
        [
            ("dl19", "bm25", 0.5058), ("dl19", "splade", 0.7308), ("dl19", "tasb", 0.7210),
            ("dl20", "bm25", 0.4796), ("dl20", "splade", 0.7197), ("dl20", "tasb", 0.6854),
        ],
    )  # fmt: skip
    def test_published_runs(self, collections_dir, year, run, ndcg):
        ir_measures = pytest.importorskip("ir_measures")
        pool = collections_dir / "msmarco_dl_pool"
        qrels, path = pool / f"qrels.{year}.full.txt", pool / "runs" / f"{year}.{run}.txt"
        names = ["nDCG@10", "AP(rel=2)", "RR@10", "R@100"]
        result = evaluate(qrels, [path], names)
        (name,) = result.runs
        assert round(result.means[name]["nDCG@10"], 4) == ndcg

        direct = ir_measures.iter_calc(
            [ir_measures.parse_measure(measure) for measure in names],
            ir_measures.read_trec_qrels(str(qrels)),
            ir_measures.read_trec_run(str(path)),
        )
        expected = {(str(m.measure), m.query_id): m.value for m in direct}
        got = {
            (measure, qid): value
            for measure in names
            for qid, value in zip(result.qids, result.values[name][measure], strict=True)
        }
        assert got == expected


class TestQrels:
    def test_trec(self, files):
        assert read_qrels(files / "qrels.txt") == QRELS

    def test_beir_gzip(self, tmp_path):
        path = tmp_path / "test.tsv.gz"
        with gzip.open(path, "wt") as out:
            out.write("query-id\tcorpus-id\tscore\nq1\tdoc one\t2\nq1\td2\t0\n")
        assert read_qrels(path) == {"q1": {"doc one": 2, "d2": 0}}

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("q 0 a 1\nq 0 b\n", "line 2: 3 columns"),
            ("q 0 a 1\n\nq 0 b high\n", "line 3: relevance 'high'"),
            ("q 0 a 1\nq 0 a 2\n", "line 2: query 'q' judges document 'a' as 2 after 1"),
            ("q\ta\t1\n", "line 1: 3 columns"),
            ("query-id\tcorpus-id\tscore\nq a 1\n", "line 2: 1 columns"),
            ("query-id\tcorpus-id\tscore\n", "no judgements"),
            ("", "no judgements"),
        ],
    )
    def test_malformed(self, tmp_path, text, message):
        path = tmp_path / "qrels.txt"
        path.write_text(text)
        with pytest.raises(InputError, match=re.escape(message)):
            read_qrels(path)

    def test_not_text(self, tmp_path):
        path = tmp_path / "qrels.txt.gz"
        path.write_text("q 0 a 1\n")
        with pytest.raises(InputError, match="cannot be read"):
            read_qrels(path)

    def test_repeated_line_is_harmless(self, tmp_path):
        path = tmp_path / "qrels.txt"
        path.write_text("q 0 a 1\nq 0 a 1\n")
        assert read_qrels(path) == {"q": {"a": 1}}


class TestSignificance:
    def test_one_degree_of_freedom(self):
        # With two pairs t has the Cauchy distribution.
        differences = np.array([0.1, 0.4])
        t = differences.mean() / (differences.std(ddof=1) / math.sqrt(2))
        expected = 1 - 2 / math.pi * math.atan(abs(t))
        assert paired_t_test(differences, np.zeros(2)) == pytest.approx(expected)

    def test_against_the_incomplete_beta_function(self):
        special = pytest.importorskip("scipy.special")
        generator = np.random.default_rng(0)
        for n in (3, 10, 225):
            values, baseline = generator.random(n), generator.random(n)
            difference = values - baseline
            t = difference.mean() / (difference.std(ddof=1) / math.sqrt(n))
            expected = special.betainc((n - 1) / 2, 0.5, (n - 1) / (n - 1 + t * t))
            assert paired_t_test(values, baseline) == pytest.approx(expected)
            assert paired_t_test(baseline, values) == pytest.approx(expected)

    def test_identical_runs(self):
        values = np.array([0.2, 0.7, 0.1])
        assert paired_t_test(values, values.copy()) == 1.0
        assert paired_t_test(values, values + 1e-17) == 1.0

    def test_constant_difference(self):
        assert paired_t_test(np.array([0.3, 0.8]), np.array([0.2, 0.7])) == 0.0

    @pytest.mark.parametrize("n", [0, 1])
    def test_too_few_queries(self, n):
        assert paired_t_test(np.ones(n), np.zeros(n)) is None

    def test_holm_worked_by_hand(self):
        # Ordered .005 .01 .03 .04, times 4 3 2 1: .02 .03 .06 .04, made monotone: .02 .03 .06 .06
        assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
        assert holm([0.9, 0.8]) == [1.0, 1.0]
        assert holm([]) == []
        assert holm([None, 0.02, None]) == [None, 0.02, None]

    def test_wins_ties_losses(self):
        (found,) = compare(
            np.array([0.5, 0.5, 0.5, 0.5]), [np.array([0.6, 0.5, 0.1, 0.7])], [-0.025]
        )
        assert (found.wins, found.ties, found.losses) == (2, 1, 1)
        assert not found.significant(0.05)

    def test_rounding_makes_no_winner(self):
        (found,) = compare(np.array([0.3, 0.6]), [np.array([0.1 + 0.2, 0.6])], [0.0])
        assert (found.wins, found.ties, found.losses) == (0, 2, 0)


class TestEvaluate:
    def test_comparison_with_the_baseline(self):
        result = evaluate(QRELS, {"a": FIRST, "b": SECOND, "same": FIRST}, ["RR@10"], "a")
        assert result.deltas("b").tolist() == [0.5, 0.5, -1.0]
        found = result.comparisons["b"]["RR@10"]
        assert (found.wins, found.ties, found.losses) == (2, 0, 1)
        assert found.difference == pytest.approx(0.0)
        assert result.comparisons["same"]["RR@10"].p_holm == 1.0
        assert "a" not in result.comparisons

    def test_family_is_the_runs_of_one_measure(self):
        generator = np.random.default_rng(1)
        qrels = {f"q{n}": {"d": 1} for n in range(30)}

        def run(share):
            return Run(
                {q: Hits(["d", "x"], [1.0, 2.0 * (generator.random() > share)]) for q in qrels}
            )

        runs = {"base": run(0.2), "a": run(0.5), "b": run(0.6), "c": run(0.3)}
        result = evaluate(qrels, runs, ["RR@10", "P@1"], "base")
        for measure in result.measures:
            found = [result.comparisons[name][measure] for name in "abc"]
            assert [c.p_holm for c in found] == holm([c.p for c in found])

    def test_notes_name_queries_without_judgements_and_without_hits(self):
        run = Run({"q1": Hits(["a"], [1.0]), "other": Hits(["a"], [1.0])})
        notes = evaluate(QRELS, {"r": run}, ["AP"]).notes
        assert notes == [
            "r: 1 query without judgements left out (other)",
            "r: 2 queries with judgements but no hits counted as 0 (q2, q3)",
        ]

    def test_run_that_shares_no_query(self):
        run = Run({"x1": Hits(["a"], [1.0])})
        with pytest.raises(InputError, match=r"shares no query.*x1.*q1, q2, q3"):
            evaluate(QRELS, {"r": run}, ["AP"])

    def test_one_query_is_not_tested(self):
        result = evaluate({"q1": {"a": 1}}, {"a": FIRST, "b": SECOND}, ["RR@10"], "a")
        assert result.comparisons["b"]["RR@10"].p is None
        assert "no significance test: it needs at least two judged queries" in result.notes
        assert "*" not in result.table().splitlines()[3]

    def test_best(self):
        result = evaluate(QRELS, {"a": FIRST, "b": SECOND, "c": FIRST}, ["AP", "RR@10"], "a")
        assert result.best("AP") == ["b"]
        assert result.best("RR@10") == ["a", "b", "c"]

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"baseline": "z"}, "'z' is not among the runs: a"),
            ({"alpha": 0.0}, "alpha is 0"),
            ({"runs": {}}, "no runs"),
            ({"runs": ["missing.txt"]}, "no such file: missing.txt"),
        ],
    )
    def test_bad_arguments(self, changes, message):
        with pytest.raises(InputError, match=message):
            evaluate(**{"qrels": QRELS, "runs": {"a": FIRST}, "measures": ["AP"]} | changes)


class TestNames:
    def test_clashes_are_told_apart(self):
        names = ["a/run.txt", "b/run.txt", "b/run.txt.gz", "b/other.v2", "c/x.y.trec"]
        assert list(run_names(names)) == [
            "a/run", "b/run.txt", "b/run.txt.gz", "other.v2", "x.y",
        ]  # fmt: skip

    def test_same_file_twice(self):
        with pytest.raises(InputError, match="given twice"):
            run_names(["a/run.txt", "a/../a/run.txt"])


class TestOutput:
    @pytest.fixture
    def result(self):
        return evaluate(QRELS, {"a|b": FIRST, "<c_d>": SECOND}, ["AP", "RR@10"], "a|b")

    def test_text(self, result):
        lines = result.table().splitlines()
        assert lines[0].split() == ["run", "AP", "RR@10", "W/T/L"]
        assert lines[2].split() == ["a|b", "0.4167", ">0.5000", "baseline"]
        assert lines[3].split() == ["<c_d>", ">0.5000", "+0.0833", ">0.5000", "+0.0000", "2/0/1"]

    def test_markdown(self, result):
        lines = result.table("markdown").splitlines()
        assert lines[3] == r"| <c\_d> | **0.5000** +0.0833 | **0.5000** +0.0000 | 2/0/1 |"
        assert lines[2].startswith(r"| a\|b | 0.4167 |")

    def test_csv(self, result):
        rows = [line.split(",") for line in result.table("csv").splitlines()]
        assert len(rows) == 5
        assert {len(row) for row in rows} == {12}
        row = dict(zip(rows[0], rows[3], strict=True))
        assert (row["run"], row["measure"], float(row["value"])) == ("<c_d>", "AP", 0.5)
        assert row["wins"] == "2"

    def test_unknown_format(self, result):
        with pytest.raises(InputError, match="choose from text, markdown, csv"):
            result.table("xml")

    def test_report_is_self_contained_and_escaped(self, result):
        page = html(result, topics={"q1": "is <b> bold?"}, source="qrels.txt")
        assert "&lt;c_d&gt;" in page
        assert "<c_d>" not in page
        assert "is &lt;b&gt; bold?" in page
        assert page.count("data:image/png;base64,") == 1
        assert "http" not in page
        assert re.search(r"<code>q1</code>.*<code>c</code> <small>0</small>", page)

    def test_report_without_baseline_has_the_table_only(self):
        page = html(evaluate(QRELS, {"a": FIRST}, ["AP"]))
        assert "0.4167" in page
        assert "<img" not in page

    def test_notebook_shows_the_table(self, result):
        assert "<table" in result._repr_html_()


class TestPictures:
    @pytest.mark.parametrize("queries", [1, 40, 400])
    def test_any_number_of_queries_and_no_difference(self, queries):
        qrels = {f"q{n}": {"d": 1} for n in range(queries)}
        run = Run({q: Hits(["d"], [1.0]) for q in qrels})
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            result = evaluate(qrels, {"a": run, "b": run}, ["RR@10"], "a")
            figure = draw(result)
            assert png(figure) == png(draw(result))
        bars, scatter = figure.axes
        assert bars.get_title(loc="left") == "b against a"
        assert bars.get_ylabel() == "difference in RR@10"
        assert scatter.get_xlabel() == "RR@10 of a"
        assert [text.get_text() for text in bars.texts][:3] == [
            "0 wins",
            f"{queries} ties",
            "0 losses",
        ]

    def test_nothing_to_compare(self):
        with pytest.raises(InputError, match="need a baseline"):
            draw(evaluate(QRELS, {"a": FIRST}, ["AP"], "a"))


class TestCommand:
    def test_writes_everything(self, files):
        out = files / "out"
        done = command(
            "--qrels", files / "qrels.txt", files / "second.txt",
            "--baseline", files / "first.txt", "--measures", "RR@10", "AP",
            "--report", out / "report.html", "--png", out / "wins.png",
            "--per-query", out / "deltas.tsv", "--json", out / "out.json", "--format", "csv",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("run,measure,value")
        assert "note: first: 1 query with judgements but no hits" in done.stderr
        assert sorted(path.name for path in out.iterdir()) == [
            "deltas.tsv", "out.json", "report.html", "wins.png",
        ]  # fmt: skip
        assert (out / "wins.png").read_bytes().startswith(b"\x89PNG")
        rows = [line.split("\t") for line in (out / "deltas.tsv").read_text().splitlines()]
        assert rows[0] == ["qid", "measure", "run", "value", "baseline", "delta"]
        assert ["q3", "RR@10", "second", "0.0", "1.0", "-1.0"] in rows
        assert len(rows) == 1 + 2 * 2 * 3
        content = json.loads((out / "out.json").read_text())
        assert content["baseline"] == "first"
        second = content["runs"][1]
        assert second["run"] == "second"
        assert 0 <= second["results"]["AP"]["p_holm"] <= 1

    def test_input_errors_exit_with_two(self, files):
        done = command("--qrels", files / "qrels.txt", files / "nowhere.txt")
        assert done.returncode == 2
        assert done.stderr == f"error: no such file: {files / 'nowhere.txt'}\n"

    def test_help_and_wrong_flags_import_nothing_heavy(self, files):
        script = (
            "import sys\nfrom pyserini_ext.evaluate.__main__ import main\n"
            "try: main(['--help'])\nexcept SystemExit: pass\n"
            "heavy = {'ir_measures', 'matplotlib', 'scipy', 'torch', 'pyserini'}\n"
            "heavy &= set(sys.modules)\n"
            "sys.exit(f'imported {heavy}' if heavy else 0)"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "--baseline" in done.stdout

    def test_baseline_by_name(self, files, capsys):
        runs = [str(files / "first.txt"), str(files / "second.txt")]
        assert main(["--qrels", str(files / "qrels.txt"), *runs, "--baseline", "second"]) == 0
        assert "differences from second" in capsys.readouterr().out

    def test_topics_appear_in_the_report(self, files):
        (files / "topics.tsv").write_text("q1\tfirst question\nq3\tthird question\n")
        main(
            [
                *("--qrels", str(files / "qrels.txt"), str(files / "second.txt")),
                *("--baseline", str(files / "first.txt"), "--topics", str(files / "topics.tsv")),
                *("--report", str(files / "report.html")),
            ]
        )
        assert "third question" in (files / "report.html").read_text()

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["first.txt", "--measures", "nope"], "'nope' is not a measure"),
            (
                ["--measures", "AP", "first.txt", "--baseline", "first.txt"],
                "in front of --measures",
            ),
            ([], "no runs"),
            (["first.txt", "--baseline", "zzz"], "neither a file nor the name of a run (first)"),
            (["first.txt", "--alpha", "5"], "--alpha 5"),
            (["first.txt", "--png", "w.png"], "add --baseline"),
            (["first.txt", "--json", "first.txt"], "is also an input"),
            (["first.txt", "--json", "o", "--per-query", "o"], "is also the output"),
            (["first.txt", "--report", "."], "is a folder"),
            (["first.txt", "--topics", "t.tsv"], "add --report"),
        ],
    )
    def test_mistakes_are_found_before_anything_is_read(
        self, files, monkeypatch, arguments, message
    ):
        monkeypatch.chdir(files)
        before = sorted(files.iterdir())
        (files / "qrels.txt").write_text("reading this would fail\n")
        with pytest.raises(InputError, match=re.escape(message)):
            main(["--qrels", "qrels.txt", *arguments])
        assert sorted(files.iterdir()) == before
