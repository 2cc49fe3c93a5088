"""Finding a JDK, compiling our classes and starting or joining the Java virtual machine."""

import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from pyserini_ext import jar, jdk, jvm
from pyserini_ext.errors import InputError


def fake_jdk(home, version, compiler=True, release=True):
    (home / "bin").mkdir(parents=True)
    if release:
        (home / "release").write_text(f'IMPLEMENTOR="Test"\nJAVA_VERSION="{version}"\n')
    for name in ("java", *(["javac"] if compiler else [])):
        program = home / "bin" / name
        program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
        program.chmod(0o755)
    return home


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """A machine without Java, whose usual place for it is ``tmp_path / "jvm"``."""
    for variable in (jdk.EXPLICIT, *jdk.VARIABLES):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(jdk, "PLACES", (f"{tmp_path}/jvm/*",))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "environment"))
    return tmp_path


def test_the_newest_jdk_is_found(bare):
    for name, version in (("a", "21.0.2"), ("b", "25"), ("c", "17.0.1"), ("d", "9")):
        fake_jdk(bare / "jvm" / name, version)
    fake_jdk(bare / "jvm" / "e", "26", compiler=False)
    assert jvm.find_java() == bare / "jvm" / "b"


def test_java_home_wins_when_it_is_new_enough(bare, monkeypatch):
    fake_jdk(bare / "jvm" / "new", "25")
    monkeypatch.setenv("JAVA_HOME", str(fake_jdk(bare / "own", "21.0.1")))
    assert jvm.find_java() == bare / "own"
    monkeypatch.setenv("JAVA_HOME", str(fake_jdk(bare / "old", "1.8.0_392")))
    assert jvm.find_java() == bare / "jvm" / "new"
    monkeypatch.setenv("JAVA_HOME", str(fake_jdk(bare / "jre", "25", compiler=False)))
    assert jvm.find_java() == bare / "jvm" / "new"


def test_the_explicit_setting_wins_and_is_never_passed_over(bare, monkeypatch):
    monkeypatch.setenv("JAVA_HOME", str(fake_jdk(bare / "own", "25")))
    monkeypatch.setenv(jdk.EXPLICIT, str(fake_jdk(bare / "explicit", "21") / "bin"))
    assert jvm.find_java() == bare / "explicit"
    monkeypatch.setenv(jdk.EXPLICIT, str(fake_jdk(bare / "old", "17.0.2")))
    with pytest.raises(InputError, match=r"PYSERINI_EXT_JAVA_HOME names .*old \(Java 17\)"):
        jvm.find_java()
    monkeypatch.setenv(jdk.EXPLICIT, str(bare / "nowhere"))
    with pytest.raises(InputError, match=r"nowhere \(no Java found in it\)"):
        jvm.find_java()


def test_java_on_the_path_and_in_the_environment_are_found(bare, monkeypatch):
    home = fake_jdk(bare / "elsewhere", "22")
    monkeypatch.setenv("PATH", str(home / "bin"))
    assert jvm.find_java() == home
    conda = fake_jdk(bare / "environment" / "lib" / "jvm", "23")
    assert jvm.find_java() == conda


def test_one_error_lists_what_was_looked_at_and_how_to_install(bare, monkeypatch):
    with pytest.raises(InputError, match=r"nothing in .*apt install openjdk-21-jdk"):
        jvm.find_java()
    fake_jdk(bare / "jvm" / "old", "17.0.8")
    fake_jdk(bare / "jvm" / "jre", "21", compiler=False)
    monkeypatch.setenv("JAVA_HOME", str(bare / "gone"))
    with pytest.raises(InputError) as caught:
        jvm.find_java()
    message = str(caught.value)
    assert "JAVA_HOME=" in message
    assert "gone (no Java found in it)" in message
    assert "old (Java 17)" in message
    assert "jre (Java 21, without javac)" in message
    assert "brew install openjdk@21" in message


@pytest.mark.skipif(os.name == "nt", reason="the fake java is a shell script")
def test_a_jdk_without_release_file_is_asked(tmp_path):
    assert jdk.inspect(fake_jdk(tmp_path / "a", "21.0.2", release=False)).version == 21
    assert jdk.inspect(tmp_path / "nothing") == jdk.Jdk(tmp_path / "nothing", None, False)


def test_fatjar_is_found_without_importing_pyserini():
    code = (
        "import sys; from pyserini_ext import jvm; print(jvm.fatjar());"
        "print([name for name in ('pyserini', 'jnius', 'torch', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    path, modules = done.stdout.splitlines()
    assert Path(path).name.startswith("anserini-")
    assert modules == "[]"


def test_anserini_classpath_is_honoured(monkeypatch, tmp_path):
    monkeypatch.setenv("ANSERINI_CLASSPATH", str(tmp_path))
    with pytest.raises(InputError, match=f"no anserini-.*-fatjar.jar in {tmp_path}"):
        jvm.fatjar()
    (tmp_path / "anserini-9.9.9-fatjar.jar").touch()
    assert jvm.fatjar() == tmp_path / "anserini-9.9.9-fatjar.jar"


def test_two_processes_may_compile_at_once(tmp_path):
    arguments = (jvm.find_java(), jvm.fatjar(), tmp_path / "cache")
    made = []
    workers = [
        threading.Thread(target=lambda: made.append(jar.build(*arguments))) for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert made[0] == made[1]
    assert list(made[0].parent.iterdir()) == [made[0]]
    stamp = made[0].stat().st_mtime_ns
    assert jar.build(*arguments) == made[0]
    assert made[0].stat().st_mtime_ns == stamp


def test_other_sources_or_another_fatjar_give_another_jar(tmp_path):
    (tmp_path / "A.java").write_text("class A {}")
    first, second = tmp_path / "anserini-1-fatjar.jar", tmp_path / "anserini-2-fatjar.jar"
    first.touch()
    second.touch()
    keys = {jar._key(tmp_path, [tmp_path / "A.java"], fatjar) for fatjar in (first, second)}
    (tmp_path / "A.java").write_text("class A { }")
    keys.add(jar._key(tmp_path, [tmp_path / "A.java"], first))
    first.write_text("longer")
    keys.add(jar._key(tmp_path, [tmp_path / "A.java"], first))
    assert len(keys) == 4


def test_sources_are_found_in_a_wheel_and_in_a_checkout(monkeypatch, tmp_path):
    assert (jar.sources() / "common").is_dir()
    monkeypatch.setattr(jar, "__file__", str(tmp_path / "package" / "jar.py"))
    with pytest.raises(InputError, match="reinstall"):
        jar.sources()
    (tmp_path / "java" / "src" / "common").mkdir(parents=True)
    assert jar.sources() == tmp_path / "java" / "src"
    (tmp_path / "package" / "_java" / "common").mkdir(parents=True)
    assert jar.sources() == tmp_path / "package" / "_java"


def test_what_does_not_compile_and_what_cannot_be_written_is_said(monkeypatch, tmp_path):
    (tmp_path / "common").mkdir()
    (tmp_path / "common" / "A.java").write_text("class A { nonsense }")
    monkeypatch.setattr(jar, "sources", lambda: tmp_path)
    with pytest.raises(InputError, match=r"(?s)could not compile.*A\.java:1"):
        jar.build(jvm.find_java(), jvm.fatjar(), tmp_path / "cache")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="XDG_CACHE_HOME"):
        jar.build(jvm.find_java(), jvm.fatjar(), tmp_path / "file")


def test_start_is_idempotent_and_autoclass_finds_all_three():
    jvm.start()
    jvm.start()
    for name in ("java.lang.String", "io.anserini.index.Constants", "io.pyseriniext.Bytes"):
        assert jvm.autoclass(name) is not None
    assert jdk.inspect(Path(os.environ["JAVA_HOME"])).fits


def test_java_errors_become_input_errors_only_when_they_name_an_input():
    integer = jvm.autoclass("java.lang.Integer")
    with pytest.raises(InputError, match="Illegal Capacity: -1"), jvm.java_errors():
        jvm.autoclass("java.util.ArrayList")(-1)
    with pytest.raises(Exception, match="NumberFormat") as caught, jvm.java_errors():
        integer.parseInt("x")
    assert not isinstance(caught.value, InputError)


@pytest.mark.parametrize("key", [None, "mine"])
def test_the_placeholder_key_stands_only_inside_the_block(monkeypatch, key):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    if key:
        monkeypatch.setenv("OPENAI_API_KEY", key)
    with jvm.pyserini_import():
        assert os.environ["OPENAI_API_KEY"] == (key or "placeholder")
    assert os.environ.get("OPENAI_API_KEY") == key
    with pytest.raises(ZeroDivisionError), jvm.pyserini_import():
        raise ZeroDivisionError
    assert os.environ.get("OPENAI_API_KEY") == key


def run(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


INDEX_AND_SEARCH = """
import pathlib, sys, tempfile
from pyserini_ext import jvm
from pyserini_ext.search.sparse import BM25Searcher
with tempfile.TemporaryDirectory() as folder:
    source = pathlib.Path(folder) / "source"
    source.mkdir()
    (source / "d.jsonl").write_text('{"id": "7", "contents": "word"}')
    index = str(pathlib.Path(folder) / "index")
    jvm.autoclass("io.anserini.index.SimpleIndexer")  # a class that needs all of Lucene
    arguments = ["-collection", "JsonCollection", "-generator", "DefaultLuceneDocumentGenerator"]
    jvm.autoclass("io.anserini.index.IndexCollection").main(
        [*arguments, "-input", str(source), "-index", index, "-threads", "1"])
    print("found", BM25Searcher(index).search("word")[0].docid)
"""


def test_the_terminal_stays_clean_and_pyserini_can_follow():
    code = INDEX_AND_SEARCH + "with jvm.pyserini_import():\n    import pyserini.search.lucene\n"
    done = run(code)
    assert done.returncode == 0, done.stderr
    assert "found 7" in done.stdout
    assert done.stderr == ""


def test_a_machine_that_pyserini_started_takes_our_classes():
    code = "from pyserini.pyclass import autoclass\n" + INDEX_AND_SEARCH
    done = run(code, JAVA_HOME=str(jvm.find_java()), OPENAI_API_KEY="x")
    assert "found 7" in done.stdout, done.stderr


def test_a_machine_without_any_class_path_takes_both_jars():
    code = "import jnius; jnius.autoclass('java.lang.String')\n" + INDEX_AND_SEARCH
    done = run(code, JAVA_HOME=str(jvm.find_java()))
    assert "found 7" in done.stdout, done.stderr


def test_options_reach_the_machine():
    code = (
        "from pyserini_ext import jvm\nprint(jvm.autoclass('java.lang.System').getProperty('who'))"
    )
    assert run(code, PYSERINI_EXT_JVM_OPTIONS="-Dwho='a b'").stdout == "a b\n"
    done = run(code, PYSERINI_EXT_JVM_OPTIONS="-XX:NoSuchOption")
    assert done.returncode == 1
    assert "NoSuchOption" in done.stderr
    assert "Check PYSERINI_EXT_JVM_OPTIONS" in done.stderr


def test_the_interrupt_key_stays_with_python():
    code = """
    import signal
    from pyserini_ext import jvm
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    jvm.start()
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        print("caught")
    """
    assert run(code).stdout == "caught\n"
