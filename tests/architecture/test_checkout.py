"""What a stranger gets with the checkout: no traces of our machines, and make does everything."""

from __future__ import annotations

import os
import re
import subprocess

from tests.architecture.source import ROOT, tracked_files

# Put together here, so that this file does not hold what it looks for.
FOLDERS_OF_OUR_MACHINES = tuple(
    "/" + folder for folder in ("work/", "tmp/" + "venv", "home/", "root/")
)
OUR_PATH = re.compile(rf"(?<![\w.}})])(?:{'|'.join(FOLDERS_OF_OUR_MACHINES)})")
INDEX = re.compile(
    r"(?:index[-_]url|default[-_]index|find[-_]links|uv_index)\W{1,4}https?://([^/\s\"']+)",
    re.IGNORECASE,
)
PUBLIC_HOSTS = {"pypi.org", "download.pytorch.org"}
TARGETS = [
    "setup",
    "demo",
    "test",
    "test-fast",
    "test-matrix",
    "lint",
    "format",
    "types",
    "imports",
    "docs",
    "bench",
    "clean",
]


def tracked_lines() -> list[tuple[str, str]]:
    """FILE:LINE and text of every line that git tracks; binary files left out."""
    found = []
    for path in tracked_files():
        content = path.read_bytes()
        if b"\0" in content:
            continue
        for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), start=1):
            found.append((f"{path.relative_to(ROOT)}:{number}", line))
    return found


def test_no_file_names_a_folder_of_the_machine_it_was_written_on() -> None:
    wrong = [f"{where}: {line.strip()}" for where, line in tracked_lines() if OUR_PATH.search(line)]
    assert not wrong


def test_no_file_asks_for_packages_from_a_host_that_is_not_public() -> None:
    wrong = [
        f"{where}: {host}"
        for where, line in tracked_lines()
        for host in INDEX.findall(line)
        if host.split("@")[-1].split(":")[0] not in PUBLIC_HOSTS
    ]
    assert not wrong


def test_make_help_lists_every_target() -> None:
    shown = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    explained = dict(line.split(maxsplit=1) for line in shown.stdout.splitlines())
    assert sorted(set(TARGETS) - set(explained)) == []


def test_the_matrix_says_which_python_it_leaves_out() -> None:
    command = ["make", "--no-print-directory", "test-matrix", "PYTHONS=3.98 3.99"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines() == [
        f"Python {version} is not on this machine: left out" for version in ("3.98", "3.99")
    ]


def test_ci_is_executable_and_calls_make_lint_and_make_test() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    commands = [line.strip() for line in script.read_text(encoding="utf-8").splitlines()]
    assert "make lint" in commands
    assert "make test" in commands


def test_no_temporary_file_is_tracked() -> None:
    suffixes = {".pyc", ".db", ".log", ".ckpt", ".whl", ".orig", ".rej"}
    wrong = [str(path.relative_to(ROOT)) for path in tracked_files() if path.suffix in suffixes]
    assert not wrong
