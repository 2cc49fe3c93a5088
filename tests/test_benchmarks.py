"""The benchmark scripts on a collection of a few made-up documents."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pyserini_ext.errors import InputError
from pyserini_ext.hits import Hits
from pyserini_ext.run import Run

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import common
import effectiveness
import encode
import impact_report
import quantisation
import search
import synthetic
import timing

FOLDER = Path(common.__file__).parent
DOCS = FOLDER.parent / "docs"

TEXTS = (
    "wing in a slipstream", "heat transfer through a plate", "lift of a thin wing",
    "supersonic flow past a cone", "buckling of cylindrical shells", "pressure on a flat plate",
    "boundary layer on a flat plate", "shock waves in supersonic flow", "flutter of panels",
)  # fmt: skip


@pytest.fixture(scope="module")
def collections(tmp_path_factory):
    """A collection to search and a folder of published runs to fuse."""
    folder = tmp_path_factory.mktemp("collections")
    small = folder / "small"
    small.mkdir()
    with (small / "corpus.jsonl").open("w") as out:
        for number, text in enumerate(TEXTS):
            out.write(json.dumps({"_id": f"d{number}", "title": "", "text": text}) + "\n")
    (small / "queries.tsv").write_text("1\tlift of a wing\n2\tsupersonic flow\n3\tflat plate\n")
    (small / "qrels.txt").write_text("1 0 d2 1\n1 0 d0 1\n2 0 d3 1\n2 0 d7 1\n3 0 d6 1\n")
    (folder / "pool" / "runs").mkdir(parents=True)
    numbers = np.random.default_rng(1)
    for year in ("dl19", "dl20"):
        (folder / "pool" / f"qrels.{year}.full.txt").write_text("1 0 d1 2\n1 0 d4 3\n2 0 d2 1\n")
        for name in ("bm25", "tasb", "splade"):
            run = Run(
                (qid, Hits(numbers.permutation([f"d{i}" for i in range(9)])[:6], numbers.random(6)))
                for qid in ("1", "2")
            )
            run.save(folder / "pool" / "runs" / f"{year}.{name}.txt")
    return folder


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("work")


def run(script, *arguments):
    done = subprocess.run(
        [sys.executable, str(FOLDER / script), *map(str, arguments)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done


def rows(markdown):
    return [line.strip("| ").split(" | ") for line in markdown.splitlines() if line[:2] == "| "]


@pytest.mark.slow
def test_effectiveness_compares_the_ways_to_search_with_pyserinis(collections, work, minilm_path):
    done = run(
        "effectiveness.py", "--collections", collections, "--names", "small", "pool",
        "--work", work, "--check-pyserini", "--json", work / "e.json",
    )  # fmt: skip
    table = {row[0]: row for row in rows(done.stdout)[:10]}
    ways = "bm25 dense average rocchio interpolated before after both"
    assert set(ways.split()) <= set(table)
    # Every relevant document holds a word of its query and no collection is this small.
    assert table["bm25"][4] == "**1.0000**"
    report = json.loads((work / "e.json").read_text())
    small, pool = report["collections"]["small"], report["collections"]["pool"]
    checks = small["pyserini"] + pool["fusion"]
    assert len(checks) == 5 + 2 * 3 * 4
    for check in checks:
        assert check["ours"] == pytest.approx(check["pyserini"], abs=1e-12), check
        assert check["runs"].startswith(("identical", "same ranks")), check
    assert "python -m pyserini_ext.search --sparse-index" in done.stderr


@pytest.mark.slow
def test_speed_is_measured_in_turn_and_kept_without_names_of_this_machine(
    collections, work, minilm_path
):
    done = run(
        "search.py", "--collection", collections / "small", "--work", work, "--repeats", "2",
        "--only", "inner", "--json", work / "s.json",
    )  # fmt: skip
    assert len(rows(done.stdout)) == 2 + 7
    report = json.loads((work / "s.json").read_text())
    assert report["queries"] == 3
    for title, found in report["inner"].items():
        # Pyserini computes interpolation in float32 and encodes queries one by one.
        assert found.pop("largest_difference") < 1e-5, title
        for measured in found.values():
            assert len(measured["seconds"]) == 2
            assert measured["per_second"] > 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", report["date"])
    assert set(report["machine"]) == {"cpu", "cores", "memory_gib", "system"}


@pytest.mark.slow
def test_encoding_is_measured_beside_pyserinis(collections, work, minilm_path):
    done = run(
        "encode.py", "--collections", collections, "--names", "small", "--repeats", "1",
        "--only", "inner", "--json", work / "d.json",
    )  # fmt: skip
    assert len(rows(done.stdout)) == 2 + 1
    found = json.loads((work / "d.json").read_text())["inner"]["small, 9 documents"]
    assert found["largest_difference"] < 1e-5
    assert found["ours"]["per_second"] > 0


def test_contestants_take_turns_and_warm_up_first():
    order = []
    seconds = timing.alternate({n: lambda n=n: order.append(n) for n in "ab"}, repeats=2)
    assert order == list("ababab")
    assert [len(each) for each in seconds.values()] == [2, 2]
    assert timing.ratios([1.0, 2.0, 4.0], [2.0, 2.0, 12.0]) == {"median": 2, "min": 1, "max": 3}


@pytest.mark.parametrize(
    ("theirs", "verdict"),
    [
        ({"1": (["a", "b", "c"], [3.0, 2.0, 1.0])}, "identical"),
        ({"1": (["a", "b", "c"], [3.0, 2.000001, 1.0])}, "same ranks, scores within"),
        ({"1": (["b", "a", "c"], [3.0, 2.0, 1.0])}, "query 1: a and b in one rank"),
        ({"1": (["a", "b", "d"], [3.0, 2.0, 1.0])}, "same ranks but for 1 of 3"),
        ({"1": (["a", "b", "c"], [3.0, 2.5, 1.0])}, "query 1: scores differ by 0.5"),
        ({"1": (["a", "b"], [3.0, 2.0])}, "query 1: 3 hits and 2"),
        ({"2": (["a", "b", "c"], [3.0, 2.0, 1.0])}, "2 queries are in one run only"),
    ],
)
def test_verdict_says_where_two_runs_part(tmp_path, theirs, verdict):
    Run({"1": Hits(["a", "b", "c"], [3.0, 2.0, 1.0])}).save(tmp_path / "ours.txt")
    Run((qid, Hits(*hits)) for qid, hits in theirs.items()).save(tmp_path / "theirs.txt")
    found = effectiveness.verdict(tmp_path / "ours.txt", tmp_path / "theirs.txt")
    assert found.startswith(verdict)


def test_a_folder_that_is_no_collection_is_named(tmp_path):
    with pytest.raises(InputError, match=r"corpus\.jsonl"):
        common.Collection.open(tmp_path, tmp_path / "work")


def test_the_folder_of_collections_is_not_named(monkeypatch):
    monkeypatch.setenv(common.VARIABLE, "/some/where")
    assert common.public("--corpus /some/where/npl") == f"--corpus ${common.VARIABLE}/npl"


def test_the_page_of_results_holds_the_numbers_that_are_kept():
    kept = json.loads((FOLDER / "results" / "effectiveness.json").read_text())
    page = (DOCS / "results.md").read_text(encoding="utf-8")
    for found in kept["collections"].values():
        tables = [found[title] for title in effectiveness.QUESTIONS if title in found]
        for row in [row for table in tables for row in table["runs"]]:
            cells = [f"{result['value']:.4f}" for result in row["results"].values()]
            assert re.search(rf"^\| {row['run']} \|.*" + ".*".join(cells), page, re.MULTILINE)
        for row in (*found.get("pyserini", ()), *found.get("fusion", ())):
            cells = [f"{value:.4f}" for value in row["ours"].values()]
            assert row["ours"] == pytest.approx(row["pyserini"], abs=1e-4)
            assert f"| {' | '.join([row['run'], *cells, row['runs']])} |" in page


def test_the_page_of_benchmarks_holds_the_tables_that_are_kept():
    page = (DOCS / "benchmarks.md").read_text(encoding="utf-8")
    kept = json.loads((FOLDER / "results" / "impact.json").read_text())
    assert kept["bars"] == impact_report.bars(kept)
    assert impact_report.tables(kept) in page
    for script in (search, encode):
        kept = json.loads((FOLDER / "results" / f"{script.__name__}.json").read_text())
        assert script.tables(kept) in page


@pytest.mark.slow
def test_quantising_is_compared_with_float_weights(collections, work):
    run(
        "quantisation.py", "--collections", collections, "--names", "small",
        "--work", work, "--json", work / "q.json",
    )  # fmt: skip
    found = json.loads((work / "q.json").read_text())["collections"]["small"]
    rows = found["rows"]
    assert set(rows) == {quantisation.FLOAT, *quantisation.VARIANTS}
    assert rows["S=100"]["means"] == rows["float"]["means"]
    assert rows["S=100"]["postings"] == 1
    assert rows["S=100, 50 % of postings"]["postings"] < 0.7
    assert rows["S=5"]["bytes"] <= rows["S=100"]["bytes"]


def test_exact_scores_are_sums_of_float64(tmp_path):
    vectors = tmp_path / "v.jsonl"
    documents = {"a": {"x": 0.1, "y": 0.2}, "b": {"x": 0.3}, "c": {"z": 1.0}}
    lines = [json.dumps({"id": d, "vector": v}) for d, v in documents.items()]
    vectors.write_text("\n".join(lines))
    hits = quantisation.exact(vectors, {"1": {"x": 2.0, "y": 3.0, "absent": 1.0}})["1"]
    assert dict(hits) == {"a": 0.1 * 2.0 + 0.2 * 3.0, "b": 0.3 * 2.0}


def test_the_page_of_impact_indexes_holds_the_table_that_is_kept():
    page = (DOCS / "impact.md").read_text(encoding="utf-8")
    kept = json.loads((FOLDER / "results" / "quantisation.json").read_text())
    assert quantisation.tables(kept) in page


def test_the_synthetic_collection_has_the_shape_it_says(tmp_path):
    law = synthetic.law()
    assert law.sum() == pytest.approx(synthetic.LENGTH, abs=1e-6)
    assert (np.diff(law) < 0).all()
    (some,) = synthetic.parts(2000)
    (fewer,) = synthetic.parts(50)
    assert np.array_equal(fewer.tokens, some.tokens[: some.starts[50]])
    assert np.array_equal(fewer.weights, some.weights[: some.starts[50]])
    assert len(some.tokens) / 2000 == pytest.approx(synthetic.LENGTH, rel=0.02)
    df = np.bincount(some.tokens, minlength=synthetic.TOKENS) / 2000
    assert df[:200] == pytest.approx(law[:200], abs=0.06)
    assert (some.weights > 100).mean() == pytest.approx(0.2, abs=0.02)
    keys = np.repeat(np.arange(2000), np.diff(some.starts)) * synthetic.TOKENS + some.tokens
    assert len(np.unique(keys)) == len(keys)
    asked = [int(token[1:]) - 1 for query in synthetic.queries(2000) for token in query]
    assert law[asked].mean() == pytest.approx(0.14, abs=0.02)


def test_the_synthetic_collection_is_written_once(tmp_path):
    made = synthetic.write(tmp_path, 30, scale=10)
    assert synthetic.write(tmp_path, 30, scale=10) == made
    vectors = [json.loads(line) for line in (made / "vectors" / "documents.jsonl").open()]
    assert [v["id"] for v in vectors] == [f"{i:07d}" for i in range(30)]
    (part,) = synthetic.parts(30)
    stop = part.starts[1]
    names = synthetic.names()
    first = dict(zip(part.tokens[:stop].tolist(), part.weights[:stop].tolist(), strict=True))
    assert vectors[0]["vector"] == {names[t]: max(1, round(w / 10)) for t, w in first.items()}
    assert set(json.loads((made / "idf.json").read_text())) == {
        t for v in vectors for t in v["vector"]
    }
    texts = [json.loads(line)["contents"] for line in (made / "texts" / "documents.jsonl").open()]
    assert set(texts[0].split()) == {names[t] for t, w in first.items() if w > synthetic.HEAVY}


@pytest.mark.slow
def test_impact_indexes_are_measured_beside_pyserinis(collections, work):
    run(
        "impact.py", "--collections", collections, "--names", "small", "--work", work,
        "--documents", "300", "--large", "300", "--search", "2000", "--seismic", "0",
        "--repeats", "1", "--only", "build", "search", "text",
        "--json", work / "i.json", "--plot", work / "i.svg",
    )  # fmt: skip
    report = json.loads((work / "i.json").read_text())
    built, found = report["build"], report["search"]["2000"]
    assert built["identical"] == {"queries": 200, "same": 200, "k": 1000}
    assert found["same_as_theirs"] == found["bm25_same"] == 200
    assert found["recall"]["ours, query mode"]["10"] > 0.999
    assert found["recall"]["ours, premultiplied S=100"]["10"] > 0.95
    assert report["text"]["small"]["bm25_same"] == 3
    assert report["bars"] == impact_report.bars(report)
    assert "</svg>" in (work / "i.svg").read_text()
