"""The record beside a run names the software and inputs that made it."""

import sys
from importlib import import_module, metadata
from pathlib import Path

import pytest

from pyserini_ext import provenance


@pytest.fixture
def unpacked(tmp_path, monkeypatch):
    """A folder with another Pyserini, first on the path."""
    (tmp_path / "pyserini").mkdir()
    (tmp_path / "pyserini" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "pyserini", raising=False)
    return tmp_path


def test_versions_of_what_decides_about_scores():
    found = provenance.versions()
    assert found["numpy"] == metadata.version("numpy")
    assert {"python", "pyserini", "pyserini-ext", "torch", "faiss-cpu"} <= set(found)


def test_pyserini_is_the_one_that_would_be_imported(unpacked):
    (unpacked / "pyserini.egg-info").mkdir()
    text = "Metadata-Version: 2.1\nName: pyserini\nVersion: 99.1\n"
    (unpacked / "pyserini.egg-info" / "PKG-INFO").write_text(text)
    assert provenance.versions()["pyserini"] == "99.1"


def test_a_checkout_without_metadata_does_not_pass_for_the_installed_one(unpacked):
    recorded = provenance.versions()["pyserini"]
    assert str(unpacked.resolve()) in recorded
    assert recorded.split()[0] in (metadata.version("pyserini"), "unknown")


def test_importing_nothing_to_learn_the_version(unpacked):
    (unpacked / "pyserini" / "__init__.py").write_text("raise RuntimeError('imported')")
    provenance.versions()
    with pytest.raises(RuntimeError):
        import_module("pyserini")


def test_inputs_are_fingerprinted_if_they_are_files(tmp_path):
    (tmp_path / "topics.tsv").write_text("1\tquery\n")
    record = provenance.describe(
        {"hits": 10},
        {"topics": tmp_path / "topics.tsv", "index": "msmarco-v1-passage"},
        queries=1,
    )
    assert record["arguments"] == {"hits": 10}
    assert record["queries"] == 1
    assert len(record["inputs"]["topics"]) > 1
    assert record["inputs"]["index"] == {"path": "msmarco-v1-passage"}


def test_the_record_lies_beside_the_run():
    assert provenance.beside("runs/a.txt") == Path("runs/a.txt.json")
