"""Timing contestants in turn, the table of it, and what machine it was."""

from __future__ import annotations

import contextlib
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from common import markdown, public, quote

from pyserini_ext.errors import InputError
from pyserini_ext.jdk import find_java
from pyserini_ext.provenance import versions

Contestants = dict[str, Callable[[], Any]]
"""``pyserini`` first, then ``ours`` and its variants."""


def alternate(
    contestants: Mapping[str, Callable[[], Any]], repeats: int, warm_up: int = 1
) -> dict[str, list[float]]:
    """Time functions in turn (A B A B …), so that a busy machine hits all of them.

    Returns
    -------
    dict of str to list of float
        Wall-clock seconds of each repeat.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for repeat in range(-warm_up, repeats):
        for name, function in contestants.items():
            started = time.perf_counter()
            function()
            if repeat >= 0:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    """Return how many times as fast we are: the median over the repeats, the least, the most."""
    each = [b / a for a, b in zip(ours, theirs, strict=True)]
    found = {"median": statistics.median(each), "min": min(each), "max": max(each)}
    return {name: round(value, 2) for name, value in found.items()}


def processes(lines: dict[str, str], environment: dict[str, str]) -> Contestants:
    """Return functions that run command lines."""

    def runner(line: str) -> Callable[[], None]:
        def run() -> None:
            done = subprocess.run(
                f"{quote(sys.executable)} -m {line}",
                shell=True,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            if done.returncode:
                raise InputError(f"python -m {line}\nfailed:\n{done.stdout}")

        return run

    return {name: runner(line) for name, line in lines.items()}


def environment_of_pyserini() -> dict[str, str]:
    """Return an environment in which plain Pyserini starts: its JDK, and the key it wants."""
    home = find_java()
    path = os.pathsep.join((str(Path(home) / "bin"), os.environ["PATH"]))
    return {"OPENAI_API_KEY": "none", **os.environ, "JAVA_HOME": str(home), "PATH": path}


def measure(contestants: Contestants, repeats: int, items: int, warm_up: int = 1) -> dict[str, Any]:
    """Time the contestants; return seconds, items (queries, documents) per second and ratios."""
    seconds = alternate(contestants, repeats, warm_up)
    return {
        name: {
            "seconds": [round(value, 4) for value in each],
            "per_second": round(items / statistics.median(each), 1),
            **({} if name == "pyserini" else {"times": ratios(each, seconds["pyserini"])}),
        }
        for name, each in seconds.items()
    }


def table(kind: str, measured: dict[str, dict[str, Any]], unit: str) -> str:
    """Render one kind of measurement."""
    rows = []
    for title, found in measured.items():
        for name in found:
            if name in ("pyserini", "largest_difference"):
                continue
            times = found[name]["times"]
            label = title + name.removeprefix("ours")
            cells = []
            for each in (found["pyserini"], found[name]):
                median = statistics.median(each["seconds"])
                per_second = each["per_second"]
                cells.append(f"{median:.2f}" if unit == "s" else f"{per_second:.0f}")
            ratio = f"**{times['median']:.1f}** ({times['min']:.1f} to {times['max']:.1f})"
            rows.append([label, *cells, ratio])
    return markdown([kind, f"Pyserini, {unit}", f"ours, {unit}", "times as fast"], rows)


def describe() -> dict[str, Any]:
    """Return what a measurement depends on besides its input; no names of hosts or folders."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "command_line": public(shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}"]))
        + "".join(
            f" {quote(public(a))}" if "$" not in public(a) else f' "{public(a)}"'
            for a in sys.argv[1:]
        ),
        "commit": _commit(),
        "machine": {
            "cpu": _cpu(),
            "cores": os.cpu_count(),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
            "system": f"{platform.system()} {platform.machine()}",
        },
        "load_average": [round(value, 1) for value in os.getloadavg()],
        "versions": versions(),
    }


def conditions(report: dict[str, Any]) -> str:
    """Say in a line what :func:`describe` found: machine, versions, date, commit, load."""
    machine, made = report["machine"], report["versions"]
    return (
        f"{machine['cores']} cores ({machine['cpu']}), {machine['memory_gib']} GiB, Python "
        f"{made['python']}, {report['date']}, commit {report['commit']}, load "
        f"{report['load_average'][0]}.\n"
    )


def _commit() -> str:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parents[1]), *arguments]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()

    changed = git("status", "--porcelain", "--", "pyserini_ext", "java", "benchmarks/*.py")
    return (git("rev-parse", "--short", "HEAD") or "unknown") + (" with changes" if changed else "")


def _cpu() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
