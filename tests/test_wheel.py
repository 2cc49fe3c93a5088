"""The wheel, installed away from the checkout, indexes, encodes and searches.

The new environment sees the packages of the one that runs the tests, but not its pyserini-ext.
"""

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from pyserini_ext.run import Run

ROOT = Path(__file__).parents[1]
TEXTS = {
    "d1": "a whale is the largest animal of the sea",
    "d2": "bread is baked from flour and water",
    "d3": "a violin has four strings",
    "d4": "the moon turns around the earth",
    "d5": "rain falls from clouds in the sky",
    "d6": "sharks are fish and whales are mammals",
}
QUERIES = {"1": "animals in the ocean", "2": "musical instruments with strings"}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from what is tracked or would be (the working tree)."""
    folder = tmp_path_factory.mktemp("wheel")
    build = ["-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run([sys.executable, *build], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A new environment with the wheel, and a working folder with a small collection."""
    folder = tmp_path_factory.mktemp("elsewhere")
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder / "venv")}))
    # The folders come after the new environment's own, and .pth files in them are not read: an
    # editable install of this checkout (which is such a file) does not reach the new environment.
    ours = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
    (site / "dependencies.pth").write_text("".join(f"{path}\n" for path in ours))
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-index"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(python), "install", *options, str(wheel)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    work = folder / "work"
    (work / "collection").mkdir(parents=True)
    lines = [json.dumps({"id": docid, "contents": text}) for docid, text in TEXTS.items()]
    (work / "collection" / "corpus.jsonl").write_text("\n".join(lines) + "\n")
    lines = [f"{qid}\t{query}\n" for qid, query in QUERIES.items()]
    (work / "queries.tsv").write_text("".join(lines))
    return SimpleNamespace(python=python, folder=folder, work=work)


@pytest.fixture(scope="module")
def run(installed):
    """Run Python in the new environment, in the working folder, with a cache of its own."""

    def run(*arguments):
        # An unpacked Pyserini on PYTHONPATH stays; the checkout must not be among its folders.
        path = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        path = [str(Path(entry).resolve()) for entry in path if entry]
        assert str(ROOT) not in path
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
        environment["XDG_CACHE_HOME"] = str(installed.folder / "cache")
        done = subprocess.run(
            [str(installed.python), *map(str, arguments)],
            cwd=installed.work,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    return run


@pytest.fixture(scope="module")
def indexed(installed, run):
    lucene = ["--collection", "JsonCollection", "--input", "collection", "--index", "lucene"]
    lucene += ["--generator", "DefaultLuceneDocumentGenerator", "--threads", "1"]
    run("-m", "pyserini_ext", "pyserini.index.lucene", *lucene)
    encode = ["--corpus", "collection", "--encoder", "minilm", "--output", "faiss"]
    run("-m", "pyserini_ext.encode", *encode)
    return installed.work


def test_content(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (entry_points,) = [name for name in names if name.endswith("entry_points.txt")]
        points = archive.read(entry_points).decode()
    for folder, suffix, target in (
        ("pyserini_ext", ".py", "pyserini_ext"),
        ("java/src", "", "pyserini_ext/_java"),
        ("cuda", "", "pyserini_ext/_cuda"),
    ):
        files = [file for file in (ROOT / folder).rglob(f"*{suffix}") if file.is_file()]
        paths = {f"{target}/{file.relative_to(ROOT / folder).as_posix()}" for file in files}
        assert {path for path in paths if "__pycache__" not in path} <= set(names)
    # Nothing but the package and its metadata; LICENSE among the latter.
    tops = {name.split("/")[0] for name in names}
    assert tops == {"pyserini_ext", wheel.name.split("-py3")[0] + ".dist-info"}
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if "test" in name.lower() or name.endswith((".pyc", ".jar"))]
    for line in (
        "[pyserini_ext.encoders]",
        "minilm = pyserini_ext.encode.presets:MINILM",
        "rocchio = pyserini_ext.feedback.vector:Rocchio",
        "bm25 = pyserini_ext.search.sparse:BM25Searcher",
    ):
        assert line in points


def test_the_package_is_the_wheels_and_needs_no_checkout(installed, run):
    script = (
        "import pyserini_ext, sys\nfrom pyserini_ext.jar import sources\n"
        "print(pyserini_ext.__file__, sources(), *sys.path, sep='\\n')"
    )
    package, sources, *path = run("-c", script).stdout.splitlines()
    venv_folder = (installed.folder / "venv").resolve()
    assert Path(package).resolve().is_relative_to(venv_folder)
    assert Path(sources).resolve() == Path(package).resolve().parent / "_java"
    assert str(ROOT) not in path


def test_plugins_are_registered(run):
    listed = run("-m", "pyserini_ext", "plugins").stdout
    for name in ("minilm", "rocchio", "bm25"):
        assert name in listed
    assert "broken" not in listed


def test_search_from_another_folder(installed, run, indexed, minilm_path):
    options = ["--index", "faiss", "--encoder", "minilm", "--sparse-index", "lucene"]
    options += ["--prf", "rocchio", "--prf-depth", "2", "--interpolate", "both", "--alpha", "0.3"]
    options += ["--topics", "queries.tsv", "--hits", "4", "--output", "runs/both.txt"]
    run("-m", "pyserini_ext.search", *options, "--save-stages")
    result = Run.read(indexed / "runs" / "both.txt")
    assert list(result) == list(QUERIES)
    assert {result["1"][0].docid, result["1"][1].docid} == {"d1", "d6"}
    assert result["2"][0].docid == "d3"
    # Our Java classes were compiled from the wheel's sources, into this test's cache.
    assert len(list((installed.folder / "cache").rglob("pyserini-ext.jar"))) == 1
    record = json.loads((indexed / "runs" / "both.txt.json").read_text())
    assert record["arguments"]["interpolate"] == "both"
    assert {"pyserini", "pyserini-ext"} <= set(record["versions"])


def test_pyserinis_command_uses_the_wheels_plugins(run, indexed, minilm_path):
    options = ["--index", "faiss", "--encoder-class", "minilm", "--topics", "queries.tsv"]
    run("-m", "pyserini_ext", "pyserini.search.faiss", *options, "--output", "dense.txt")
    assert Run.read(indexed / "dense.txt")["2"][0].docid == "d3"
