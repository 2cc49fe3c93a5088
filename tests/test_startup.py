"""What a command costs before it does anything, and the examples in the docstrings."""

import doctest
import os
import pkgutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import pyserini_ext

PACKAGE = Path(pyserini_ext.__file__).parent
COMMANDS = sorted(
    ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__main__")
    for file in PACKAGE.rglob("*.py")
    if "\n    run_command(main)\n" in file.read_text(encoding="utf-8")
)
MODULES = ["pyserini_ext"] + [
    module.name for module in pkgutil.walk_packages(pyserini_ext.__path__, "pyserini_ext.")
]
HEAVY = {
    "torch",
    "transformers",
    "faiss",
    "jnius",
    "pyserini",
    "scipy",
    "matplotlib",
    "numba",
    "cupy",
}

PROBE = f"""
import runpy, sys
sys.argv[:] = sys.argv[1:]
status = 0
try:
    if sys.argv:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        import pyserini_ext
        assert set(pyserini_ext.__all__) <= set(dir(pyserini_ext))
except SystemExit as error:
    status = error.code
print("imported", sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)
sys.exit(status)
"""


def probe(*arguments):
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments], capture_output=True, text=True, check=False
    )
    assert "imported []" in done.stderr, done.stderr
    return done


def test_output_that_nobody_reads_on_is_no_mistake():
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "pyserini_ext", "plugins"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_the_package_is_cheap_to_import():
    assert probe().returncode == 0


def test_every_command_is_found():
    packages = {
        ".".join(f.relative_to(PACKAGE.parent).parent.parts) for f in PACKAGE.rglob("__main__.py")
    }
    assert packages <= set(COMMANDS)
    assert {"pyserini_ext.encode.sparse", "pyserini_ext.index.convert"} <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_imports_nothing_heavy(command):
    done = probe(command, "--help")
    assert done.returncode == 0
    assert f"python -m {command}" in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_a_wrong_option_is_refused_before_anything_heavy_is_imported(command):
    done = probe(command, "--nosuchoption")
    assert done.returncode == 2
    assert "--nosuchoption" in done.stderr or "required" in done.stderr


@pytest.mark.parametrize("name", pyserini_ext.__all__)
def test_public_names_are_where_the_package_says(name):
    value = getattr(pyserini_ext, name)
    if name != "__version__":
        assert value.__name__ == name
        assert value.__doc__


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    found = doctest.testmod(
        import_module(name), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    )
    assert found.failed == 0


def test_there_are_docstring_examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    examples = [
        test for name in MODULES for test in finder.find(import_module(name)) if test.examples
    ]
    assert len(examples) >= 3
