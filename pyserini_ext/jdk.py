"""Finds a Java development kit that is new enough for Pyserini, without starting it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pyserini_ext.errors import InputError

MINIMUM = 21
"""Anserini's fatjar holds classes of Java 21."""

EXPLICIT = "PYSERINI_EXT_JAVA_HOME"
VARIABLES = ("JAVA_HOME", "JDK_HOME")
PLACES = (
    "/usr/lib/jvm/*",
    "/usr/lib64/jvm/*",
    "/usr/java/*",
    "/opt/java/*",
    "/opt/jdk*",
    "/Library/Java/JavaVirtualMachines/*/Contents/Home",
    "~/Library/Java/JavaVirtualMachines/*/Contents/Home",
    "/opt/homebrew/opt/openjdk*/libexec/openjdk.jdk/Contents/Home",
    "/usr/local/opt/openjdk*/libexec/openjdk.jdk/Contents/Home",
    "~/.sdkman/candidates/java/*",
    "~/.jdks/*",
    "C:/Program Files/Java/*",
    "C:/Program Files/Eclipse Adoptium/*",
)
INSTALL = (
    "Install a JDK (not a JRE) of version 21 or newer: apt install openjdk-21-jdk, "
    "brew install openjdk@21, sdk install java 21-tem, or conda install -c conda-forge openjdk=21; "
    f"or name the folder of one in {EXPLICIT}"
)


class Jdk(NamedTuple):
    """A Java installation."""

    home: Path
    version: int | None
    """The feature release, such as 21; None when it cannot be told."""
    has_compiler: bool

    @property
    def fits(self) -> bool:
        """Whether Pyserini can run with it and our classes can be compiled by it."""
        return self.version is not None and self.version >= MINIMUM and self.has_compiler

    def __str__(self) -> str:
        if self.version is None:
            return f"{self.home} (no Java found in it)"
        compiler = "" if self.has_compiler else ", without javac"
        return f"{self.home} (Java {self.version}{compiler})"


def find_java() -> Path:
    """Return the home folder of the JDK to use.

    In this order: the folder named in ``PYSERINI_EXT_JAVA_HOME``; ``JAVA_HOME`` or ``JDK_HOME``
    when new enough; the newest of the usual places (``/usr/lib/jvm``, macOS's
    ``JavaVirtualMachines``, Homebrew, SDKMAN, the Python environment, the ``java`` on the path).

    Returns
    -------
    Path

    Raises
    ------
    InputError
        If there is no JDK of version 21 or newer: it lists what was looked at.
    """
    if explicit := os.environ.get(EXPLICIT):
        jdk = inspect(Path(explicit).expanduser())
        if not jdk.fits:
            raise InputError(
                f"{EXPLICIT} names {jdk}, but Pyserini needs a JDK of version {MINIMUM} or newer. "
                f"{INSTALL}"
            )
        return jdk.home
    looked_at: list[str] = []
    for variable in VARIABLES:
        if value := os.environ.get(variable):
            jdk = inspect(Path(value))
            if jdk.fits:
                return jdk.home
            looked_at.append(f"{variable}={jdk}")
    found = {jdk.home.resolve(): jdk for jdk in map(inspect, _places())}
    fitting = [jdk for jdk in found.values() if jdk.fits]
    if fitting:
        return max(fitting, key=lambda jdk: (jdk.version or 0, str(jdk.home))).home
    looked_at += [str(jdk) for jdk in found.values() if jdk.version is not None]
    if not looked_at:
        looked_at = [f"nothing in {', '.join(PLACES[:4])}, …, nor a java on the PATH"]
    raise InputError(
        f"no JDK of version {MINIMUM} or newer was found. Looked at: {'; '.join(looked_at)}. "
        f"{INSTALL}"
    )


def inspect(home: Path) -> Jdk:
    """Tell which Java lies in a folder.

    Parameters
    ----------
    home : Path
        What ``JAVA_HOME`` would name; its ``bin`` folder is accepted too.

    Returns
    -------
    Jdk
    """
    if home.name == "bin":
        home = home.parent
    compiler = any((home / "bin" / name).is_file() for name in ("javac", "javac.exe"))
    return Jdk(home, _version(home), compiler)


def _version(home: Path) -> int | None:
    try:
        text = (home / "release").read_text(encoding="utf-8", errors="replace")
        match = re.search(r'^JAVA_VERSION="?([0-9][^"\s]*)', text, re.MULTILINE)
    except OSError:
        match = None
    if match is None and (java := next((home / "bin").glob("java*"), None)):
        # A few distributions ship no release file; asking the program itself takes 0.1 s.
        try:
            answer = subprocess.run(
                [java.with_name("java"), "-version"], capture_output=True, text=True, timeout=30
            )
        except (OSError, subprocess.SubprocessError):
            return None
        match = re.search(r'version "([0-9][^"\s]*)', answer.stderr)
    if match is None:
        return None
    numbers = re.findall(r"\d+", match[1])
    # Java 8 and older call themselves 1.8.
    return int(numbers[1] if numbers[0] == "1" and len(numbers) > 1 else numbers[0])


def _places() -> Iterator[Path]:
    """Yield the folders that may hold a JDK, those of this Python environment first."""
    for place in (Path(sys.prefix), Path(sys.prefix) / "lib" / "jvm"):  # conda's openjdk
        if (place / "release").is_file():
            yield place
    for pattern in PLACES:
        expanded = Path(pattern).expanduser()
        root = Path(expanded.anchor)
        if expanded.is_absolute():
            yield from sorted(p for p in root.glob(str(expanded.relative_to(root))) if p.is_dir())
    if program := shutil.which("java"):
        yield Path(program).resolve().parent.parent
