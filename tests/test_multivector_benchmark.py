"""The benchmark of late interaction: what it calls recall, and its table on a few documents."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from pyserini_ext.hits import Hits
from pyserini_ext.run import Run

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import multivector


def test_recall_is_the_share_of_the_exact_documents():
    exact = Run({"1": Hits(["a", "b", "c"], [3, 2, 1]), "2": Hits(["a"], [1])})
    found = Run({"1": Hits(["c", "x", "a"], [3, 2, 1]), "2": Hits(["y"], [1])})
    assert multivector.recall(found, exact, 1) == 0.5
    np.testing.assert_allclose(multivector.recall(found, exact, 3), (2 / 3 + 0) / 2)


@pytest.mark.slow
def test_the_table_is_printed_and_put_on_the_page(tmp_path, minilm_path, capsys):
    small, page = tmp_path / "small", tmp_path / "page.md"
    small.mkdir()
    texts = ["wing in a slipstream", "heat transfer through a plate", "lift of a thin wing"]
    rows = [json.dumps({"_id": f"d{i}", "title": "", "text": t}) for i, t in enumerate(texts)]
    (small / "corpus.jsonl").write_text("\n".join(rows) + "\n")
    (small / "queries.tsv").write_text("1\tlift of a wing\n2\theat in a plate\n")
    (small / "qrels.txt").write_text("1 0 d2 1\n2 0 d1 1\n")
    marks = [f"<!-- {name} -->\n<!-- /{name} -->\n" for name in ("multivector", "clusters")]
    page.write_text("# Page\n" + "".join(marks))
    given = ["--collection", str(small), "--work", str(tmp_path / "work"), "--page", str(page)]
    multivector.main([*given, "--json", str(tmp_path / "found.json")])
    tables = capsys.readouterr().out.strip().split("\n\n")
    assert all(table in page.read_text() for table in tables)
    lines, few = (cells(table) for table in tables)
    assert [line[0] for line in lines] == ["all documents", *["BM25"] * 3] + [
        f"MUVERA {name}" for name in multivector.MUVERA for _ in range(3)
    ]
    # MUVERA gives every document at these depths, so all of the exact ones.
    assert {tuple(line[2:5]) for line in lines[4:]} == {("1.000", "1.000", lines[0][4])}
    assert [line[0] for line in few] == ["all", "4", "8", "16"]
    mean = [float(line[1]) for line in few]
    assert mean[1] == 4 < mean[2] <= mean[3] == mean[0]
    assert few[3][3] == few[0][3]  # no document has more than 16 vectors
    found = json.loads((tmp_path / "found.json").read_text())
    assert [row["candidates"] for row in found["multivector"]] == [line[0] for line in lines]


def cells(table):
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]


def test_the_page_holds_the_numbers_that_are_kept():
    root = Path(__file__).parents[1]
    kept = json.loads((root / "benchmarks" / "results" / "multivector.json").read_text())
    page = (root / "docs" / "multi-vector.md").read_text(encoding="utf-8")
    for name, header in (
        ("multivector", multivector.CANDIDATES),
        ("clusters", multivector.POOLED),
    ):
        assert multivector.table(header, kept[name]) in page
