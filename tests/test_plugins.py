"""The registry of plugins: what is found, what is refused, and how it is shown."""

import subprocess
import sys
import textwrap

import pytest

from pyserini_ext import plugins
from pyserini_ext.__main__ import table
from pyserini_ext.errors import InputError

MODULE = '''
"""A module of plugins."""
class Encoder:
    """Encodes nothing at all.

    And says so at length.
    """
    def __init__(self, size=3, *, mode):
        self.size, self.mode = size, mode

class Absent:
    description = "Needs what is not there"
    def __init__(self):
        raise ImportError("no module named nothing")
    @staticmethod
    def is_available():
        return False
    @staticmethod
    def install_hint():
        return "pip install something"

class Open:
    def __init__(self, **options):
        self.options = options
'''


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Install a distribution that registers the given entry points of the group of encoders."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def install(name, version="1.0", source=MODULE, **entries):
        module = name.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(source))
        info = tmp_path / f"{module}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        lines = [f"{key.replace('_', '-')} = {module}:{value}" for key, value in entries.items()]
        (info / "entry_points.txt").write_text("\n".join(["[pyserini_ext.encoders]", *lines]))
        # What was found is remembered by sys.path, which is as it was.
        plugins._discover.cache_clear()
        return module

    yield install
    plugins._discover.cache_clear()
    plugins._load.cache_clear()


def test_ours_are_registered_like_anybody_elses():
    ours = {(p.kind, p.name) for p in plugins.registered() if "pyserini-ext " in p.distribution}
    assert {("encoder", "minilm"), ("feedback", "rocchio"), ("searcher", "dense")} <= ours
    assert [p.name for p in plugins.registered("feedback")] == plugins.names("feedback")


def test_registering_imports_nothing(site):
    module = site("eager", source="raise SystemExit('imported')", eager="Thing")
    assert "eager" in plugins.names("encoder")
    assert plugins.find("encoder", "eager").distribution == "eager 1.0"
    assert module not in sys.modules


def test_listing_and_public_names_import_neither_numpy_nor_torch():
    code = (
        "import sys, pyserini_ext\n"
        "from pyserini_ext import plugins\n"
        "plugins.registered()\n"
        "print({'numpy', 'torch', 'jnius', 'pyserini'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_every_public_name_exists():
    import pyserini_ext

    assert all(getattr(pyserini_ext, name) is not None for name in pyserini_ext.__all__)
    assert set(pyserini_ext.__all__) <= set(dir(pyserini_ext))
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = pyserini_ext.Nothing


def test_load_gives_the_class_and_create_calls_it(site):
    site("found", found="Encoder")
    assert plugins.load("encoder", "found").__name__ == "Encoder"
    made = plugins.create("encoder", "found", mode="m")
    assert (made.size, made.mode) == (3, "m")


def test_unknown_name_gives_the_closest_and_all():
    with pytest.raises(InputError, match=r"no encoder is called 'MiniLMs'; did you mean 'minilm'"):
        plugins.load("encoder", "MiniLMs")
    with pytest.raises(InputError, match=r"'zzz'; registered are: .*avg, .*gqr, rm3, rocchio"):
        plugins.load("feedback", "zzz")
    with pytest.raises(InputError, match="'encoders' is not a kind of plugin; kinds are encoder"):
        plugins.load("encoders", "minilm")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"sise": 4},
            r"encoder 'strict' \(strict 1.0\) has no option 'sise'; it takes size=3, mode",
        ),
        ({"size": 4}, r"encoder 'strict' needs the option 'mode'; it takes size=3, mode"),
    ],
)
def test_options_that_do_not_fit_are_refused(site, options, message):
    site("strict", strict="Encoder")
    with pytest.raises(InputError, match=message):
        plugins.create("encoder", "strict", **options)


def test_a_plugin_with_open_options_gets_them_all(site):
    site("wide", wide="Open")
    assert plugins.create("encoder", "wide", a=1, b="c").options == {"a": 1, "b": "c"}


def test_a_name_of_two_distributions_names_both_and_spares_the_others(site):
    site("first", shared="Encoder", alone="Open")
    site("second", shared="Encoder")
    with pytest.raises(InputError, match=r"more than one distribution \(first 1.0, second 1.0\)"):
        plugins.load("encoder", "shared")
    assert plugins.load("encoder", "alone").__name__ == "Open"
    assert plugins.names("encoder").count("shared") == 1
    shown = table([p for p in plugins.registered("encoder") if p.name == "shared"], width=300)
    assert shown.count("broken") == 2


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("import nothing_of_that_name", "ModuleNotFoundError: No module named 'nothing_of_that"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("", "AttributeError: module 'broken' has no attribute 'Encoder'"),
    ],
)
def test_a_broken_plugin_is_listed_and_names_its_distribution(site, source, cause):
    site("broken", source=source, broken="Encoder")
    with pytest.raises(InputError, match=f"encoder 'broken' of broken 1.0 .*{cause}"):
        plugins.create("encoder", "broken")
    plugin = plugins.find("encoder", "broken")
    assert not plugin.available
    assert cause in table([plugin], width=400)


def test_what_is_not_available_says_how_to_install_it(site):
    site("lacking", lacking="Absent")
    plugin = plugins.find("encoder", "lacking")
    assert (plugin.available, plugin.error) == (False, None)
    assert "no    Needs what is not there; to install: pip install something" in table([plugin])
    with pytest.raises(InputError, match="no module named nothing; pip install something"):
        plugins.create("encoder", "lacking")


def test_the_table_wraps_descriptions_under_their_column(site):
    site("found", found="Encoder")
    listed = [plugins.find("encoder", "found"), *plugins.registered("feedback")]
    lines = table(listed, width=90).splitlines()
    assert lines[0].split() == ["KIND", "NAME", "FROM", "HERE", "DESCRIPTION"]
    assert max(map(len, lines)) <= 90
    (row,) = [line for line in lines if line.split()[1:2] == ["found"]]
    assert row.split()[2:] == ["found", "1.0", "yes", "Encodes", "nothing", "at", "all"]
    assert table([]) == "no plugins are registered"


def test_options_are_read_as_typed():
    typed = ["a=1", "b=0.5", "c=mean", "d=True", "e=none", "f='7'", "top-k=3", "g=x=y", "h="]
    assert plugins.read_options(typed) == {
        **{"a": 1, "b": 0.5, "c": "mean", "d": True, "e": None, "f": "7", "top_k": 3},
        **{"g": "x=y", "h": ""},
    }


@pytest.mark.parametrize("typed", [["alpha"], ["=3"], ["a b=3"], ["a=1", "a=2"]])
def test_options_that_cannot_be_read_are_refused(typed):
    with pytest.raises(InputError):
        plugins.read_options(typed)
