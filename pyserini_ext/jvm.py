"""The Java virtual machine: the one place that starts it, with Pyserini's jar and ours.

``import pyserini`` alone starts whichever Java comes first, on many machines one that is too old.
:func:`start` picks a JDK, sets the class path and starts the machine; a later ``import pyserini``
finds it running. When Pyserini (or another user of pyjnius) was first, :func:`start` adds our jar
to the running machine.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyserini_ext.errors import InputError
from pyserini_ext.jdk import MINIMUM, find_java, inspect

__all__ = ["autoclass", "fatjar", "find_java", "java_errors", "pyserini_import", "start"]

OPTIONS = "PYSERINI_EXT_JVM_OPTIONS"
PROBE = "io.anserini.index.Constants"
OURS = "io.pyseriniext.Bytes"
UNAVOIDABLE = ("WARNING: Using incubator modules: jdk.incubator.vector",)
"""What the machine prints whenever the option that Pyserini needs is given."""

_started = False
_lock = threading.Lock()


def start() -> None:
    """Start the Java virtual machine, or join the one that runs; does nothing the second time.

    ``JAVA_HOME`` is set to the JDK used, so that processes started later use the same.
    ``PYSERINI_EXT_JVM_OPTIONS`` holds further options, such as ``-Xmx16g``.

    Raises
    ------
    InputError
        If there is no JDK, no Pyserini, our classes do not compile, or the machine that runs
        already is too old.
    """
    global _started
    with _lock:
        if not _started:
            import jnius_config

            (_join if jnius_config.vm_running else _launch)()
            _started = True


def autoclass(name: str) -> Any:
    """Return the Java class `name` as a Python class, starting the machine when needed.

    Parameters
    ----------
    name : str
        Such as ``"io.anserini.search.SimpleSearcher"``.
    """
    start()
    from jnius import autoclass as find

    return find(name)


@contextmanager
def java_errors(writing: Path | None = None) -> Iterator[None]:
    """Turn an ``IllegalArgumentException`` of our classes, which names what is wrong, around.

    Parameters
    ----------
    writing : Path, optional
        What is being written: an ``IOException`` then means that it cannot be (a full disk).

    Raises
    ------
    InputError
        With the message of the Java exception. Other Java exceptions pass as they are.
    """
    start()  # importing jnius starts a machine, if none runs
    from jnius import JavaException

    try:
        yield
    except JavaException as error:
        if error.classname == "java.lang.IllegalArgumentException":
            raise InputError(str(error.innermessage)) from error
        if writing is not None and str(error.classname).startswith(("java.io.", "java.nio.")):
            raise InputError(
                f"cannot write {writing}: {error.innermessage}; is there room on the disk, and may "
                "it be written?"
            ) from error
        raise


def fatjar() -> Path:
    """Return Anserini's fatjar inside the installed Pyserini, without importing Pyserini.

    ``ANSERINI_CLASSPATH`` names another folder to take it from, as for Pyserini itself.

    Raises
    ------
    InputError
        If Pyserini is not installed or holds no fatjar.
    """
    if named := os.environ.get("ANSERINI_CLASSPATH"):
        folder = Path(named)
    else:
        spec = importlib.util.find_spec("pyserini")
        if spec is None or not spec.submodule_search_locations:
            raise InputError("Pyserini is not installed: pip install pyserini")
        folder = Path(spec.submodule_search_locations[0]) / "resources" / "jars"
    jars = list(folder.glob("anserini-*-fatjar.jar"))
    if not jars:
        raise InputError(
            f"no anserini-*-fatjar.jar in {folder}; reinstall Pyserini from its wheel, or name the "
            "folder of one in ANSERINI_CLASSPATH"
        )
    return max(jars, key=lambda jar: jar.stat().st_ctime)  # as Pyserini chooses


@contextmanager
def pyserini_import() -> Iterator[None]:
    """Import Pyserini inside this block.

    The machine is started first. Pyserini 1.6 makes an OpenAI client when it is imported and fails
    without a key: a placeholder stands in the environment inside the block, and only there.

    Examples
    --------
    >>> with pyserini_import():  # doctest: +SKIP
    ...     from pyserini.search.lucene import LuceneSearcher
    """
    start()
    name = "OPENAI_API_KEY"
    absent = name not in os.environ
    if absent:
        os.environ[name] = "placeholder"
    try:
        yield
    finally:
        if absent:
            os.environ.pop(name, None)


def _launch() -> None:
    """Start the machine in this process."""
    import jnius_config

    from pyserini_ext.jar import build, sources

    home, anserini = find_java(), fatjar()
    os.environ["JAVA_HOME"] = str(home)
    jnius_config.add_classpath(str(anserini), str(build(home, anserini)))
    jnius_config.add_options(*_options(inspect(home).version or MINIMUM, sources()))
    try:
        with _without_unavoidable_warnings():
            import jnius  # noqa: F401
    except (RuntimeError, SystemError) as error:
        raise InputError(
            f"the Java of {home} does not start: {error}. Check {OPTIONS} and JVM_PATH, or name "
            "another JDK in PYSERINI_EXT_JAVA_HOME"
        ) from error
    _check_version()


def _options(version: int, folder: Path) -> list[str]:
    options = [
        "--add-modules=jdk.incubator.vector",
        "--enable-native-access=ALL-UNNAMED",
        # Without it the machine takes the interrupt key away from Python and ends the process on
        # the spot, leaving temporary files behind.
        "-Xrs",
        f"-Djava.util.logging.config.file={folder / 'logging.properties'}",
        "-Dslf4j.internal.verbosity=WARN",
    ]
    if version >= 23:
        options.append("--sun-misc-unsafe-memory-access=allow")
    return options + shlex.split(os.environ.get(OPTIONS, ""))


def _join() -> None:
    """Add what is missing to the machine that somebody else started."""
    from jnius import JavaClass, JavaMethod, MetaJavaClass, cast
    from jnius import autoclass as find

    from pyserini_ext.jar import build

    home = Path(_check_version())
    jars = [] if _knows(PROBE) else [fatjar()]
    if not _knows(OURS):
        if not inspect(home).fits:
            home = find_java()
        jars.append(build(home, fatjar()))
    if not jars:
        return

    class Loader(JavaClass, metaclass=MetaJavaClass):
        # The method that java.lang.instrument requires of a system class loader for adding jars
        # to a running machine; see the documentation of that package, "Command-Line Interface".
        __javaclass__ = "jdk/internal/loader/ClassLoaders$AppClassLoader"
        appendToClassPathForInstrumentation = JavaMethod("(Ljava/lang/String;)V")  # noqa: N815

    try:
        loader = cast(Loader.__javaclass__, find("java.lang.ClassLoader").getSystemClassLoader())
        for jar in jars:
            loader.appendToClassPathForInstrumentation(str(jar))
        found = _knows(OURS)
    except Exception:
        found = False
    if not found:
        raise InputError(
            "a Java virtual machine without the classes of pyserini-ext runs already and does not "
            "take them. Start Python again and, before anything that imports pyserini or jnius, "
            "run: import pyserini_ext.jvm; pyserini_ext.jvm.start()"
        )


def _knows(name: str) -> bool:
    from jnius import JavaException
    from jnius import autoclass as find

    try:
        find(name)
    except JavaException:
        return False
    return True


def _check_version() -> str:
    """Refuse a machine that is too old; return its home folder."""
    from jnius import autoclass as find

    system = find("java.lang.System")
    version, home = (
        system.getProperty("java.specification.version"),
        system.getProperty("java.home"),
    )
    if int(version.split(".")[-1]) < MINIMUM:
        raise InputError(
            f"the Java virtual machine of this process is Java {version} of {home}; Pyserini needs "
            f"{MINIMUM} or newer. Start Python again, unset JVM_PATH if it is set, and, before "
            "anything that imports pyserini or jnius, run: "
            "import pyserini_ext.jvm; pyserini_ext.jvm.start()"
        )
    return home


@contextmanager
def _without_unavoidable_warnings() -> Iterator[None]:
    """Hold back what is written to stderr, from C too, and pass on all but `UNAVOIDABLE`."""
    try:
        sys.stderr.flush()
        saved = os.dup(2)
    except (AttributeError, OSError):  # no stderr, as under pythonw
        yield
        return
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            caught.seek(0)
            for line in caught.read().decode(errors="replace").splitlines(keepends=True):
                if line.strip() not in UNAVOIDABLE:
                    sys.stderr.write(line)
