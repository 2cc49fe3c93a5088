"""The benchmark of ColBERT-PRF: its runs, its signs, and the page that shows its results."""

import json
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import colbert_prf as benchmark
from timing import conditions

ROOT = Path(__file__).parents[1]


def test_signs_say_what_a_run_differs_from():
    found = {
        "means": {"none": {"AP": 0.1}, "interpolated": {"AP": 0.2}, "search": {"AP": 0.3}},
        "p": {
            "none": {"interpolated": {"AP": 0.2}, "search": {"AP": 0.01}},
            "interpolated": {"none": {"AP": 0.2}, "search": {"AP": 0.04}},
        },
    }
    cells = [benchmark.cell(found, run, "AP") for run in found["means"]]
    assert cells == ["0.1000", "0.2000", "0.3000\\*†"]


@pytest.mark.slow
def test_everything_is_searched_and_the_page_filled(tmp_path, minilm_path, monkeypatch, capsys):
    small, page = tmp_path / "small", tmp_path / "page.md"
    small.mkdir()
    texts = ["wing in a slipstream", "heat transfer through a plate", "lift of a thin wing"]
    texts += ["buckling of shells", "boundary layers"]
    rows = [json.dumps({"_id": f"d{i}", "title": "", "text": t}) for i, t in enumerate(texts)]
    (small / "corpus.jsonl").write_text("\n".join(rows) + "\n")
    (small / "queries.tsv").write_text("".join(f"{i}\t{text}\n" for i, text in enumerate(texts)))
    (small / "qrels.txt").write_text("".join(f"{i} 0 d{i} 1\n" for i in range(len(texts))))
    page.write_text("before <!-- colbert-prf --> old <!-- /colbert-prf --> after")
    given = ["--collections", str(tmp_path), "--names", "small", "--work", str(tmp_path / "work"),
             "--repeats", "1", "--json", str(tmp_path / "r.json"), "--page", str(page)]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["colbert_prf.py", *given])
    benchmark.main()
    report = json.loads((tmp_path / "r.json").read_text())
    text = page.read_text()
    assert capsys.readouterr().out.endswith(benchmark.tables(report))
    assert f"{conditions(report)}\n{benchmark.tables(report)}<!-- /colbert-prf --> after" in text
    assert "old" not in text
    means = report["collections"]["small"]["means"]
    assert list(means) == list(benchmark.ROWS)
    assert means["none"]["nDCG@10"] == 1.0
    assert set(report["times"]["small"]["milliseconds"]) == set(benchmark.TIMES)


def test_the_page_holds_the_tables_that_are_kept():
    kept = json.loads((ROOT / "benchmarks" / "results" / "colbert_prf.json").read_text())
    page = (ROOT / "docs" / "colbert-prf.md").read_text(encoding="utf-8")
    assert f"{conditions(kept)}\n{benchmark.tables(kept)}<!-- /colbert-prf -->" in page
    assert list(kept["collections"]) == list(benchmark.COLLECTIONS)
    assert not re.search(r"/(tmp|work|home)/", json.dumps(kept))
