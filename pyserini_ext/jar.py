"""Compiles the Java classes of this package against the Pyserini that is installed."""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
import zipfile
from pathlib import Path

from pyserini_ext.errors import InputError
from pyserini_ext.jdk import MINIMUM

NAME = "pyserini-ext.jar"


def sources() -> Path:
    """Return the folder of our Java sources.

    A wheel carries them inside the package, a checkout (or an editable install of it) beside it.

    Raises
    ------
    InputError
        If neither is there, which means a damaged installation.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "_java", package.parent / "java" / "src"):
        if (folder / "common").is_dir():
            return folder
    raise InputError(
        f"the Java sources of pyserini-ext are missing beside {package}; reinstall it with "
        "pip install --force-reinstall pyserini-ext"
    )


def build(java_home: Path, fatjar: Path, cache: Path | None = None) -> Path:
    """Return our jar, compiling it when there is none yet for these sources and this fatjar.

    Pyserini 1.6 ships Lucene 9 and Pyserini 2 ships Lucene 10, whose interfaces differ; compiling
    where it is used lets one wheel serve both. It takes about two seconds, once.

    Parameters
    ----------
    java_home : Path
        A JDK; its ``javac`` is run.
    fatjar : Path
        Pyserini's Anserini fatjar.
    cache : Path, optional
        Folder to keep the jars in; the user's cache folder by default.

    Returns
    -------
    Path

    Raises
    ------
    InputError
        If the folder cannot be written or the compiler fails.
    """
    if cache is None:
        from platformdirs import user_cache_path

        cache = user_cache_path("pyserini-ext", appauthor=False) / "java"
    folder = sources()
    files = sorted(folder.rglob("*.java"))
    jar = cache / _key(folder, files, fatjar) / NAME
    if jar.is_file():
        return jar
    try:
        jar.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=jar.parent, prefix="build-") as work:
            made = _compile(java_home, fatjar, folder, files, Path(work))
            try:
                # Two processes may compile at once; each replaces the other's equal jar whole.
                made.replace(jar)
            except PermissionError:  # Windows: the other process has its jar open already
                if not jar.is_file():
                    raise
    except OSError as error:
        raise InputError(
            f"cannot write the compiled Java classes to {cache} ({error}); set XDG_CACHE_HOME to a "
            "folder that can be written"
        ) from error
    return jar


def lucene_major(fatjar: Path) -> int:
    """Return the major version of the Lucene that a fatjar holds."""
    with zipfile.ZipFile(fatjar) as archive:
        names = archive.namelist()
    newest = any(name.startswith("org/apache/lucene/codecs/lucene10") for name in names)
    return 10 if newest else 9


def _key(folder: Path, files: list[Path], fatjar: Path) -> str:
    stat = fatjar.stat()
    digest = hashlib.sha256(f"{MINIMUM} {fatjar.name} {stat.st_size} {stat.st_mtime_ns}".encode())
    for file in files:
        digest.update(f"\0{file.relative_to(folder).as_posix()}\0".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:20]


def _compile(java_home: Path, fatjar: Path, folder: Path, files: list[Path], work: Path) -> Path:
    other = f"lucene{9 if lucene_major(fatjar) == 10 else 10}"
    chosen = [file for file in files if file.relative_to(folder).parts[0] != other]
    classes = work / "classes"
    command = [
        *(str(java_home / "bin" / "javac"), "--release", str(MINIMUM), "-encoding", "UTF-8"),
        *("-proc:none", "-nowarn", "-cp", str(fatjar), "-d", str(classes)),
        *map(str, chosen),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise InputError(
            f"javac of {java_home} could not compile the Java classes of pyserini-ext against "
            f"{fatjar.name}; this Pyserini may be newer than this pyserini-ext knows:\n"
            f"{done.stderr.strip()}"
        )
    jar = work / NAME
    with zipfile.ZipFile(jar, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(classes.rglob("*.class")):
            archive.write(file, file.relative_to(classes).as_posix())
    return jar
