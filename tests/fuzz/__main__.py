"""Fuzzes every reader: `python -m tests.fuzz SECONDS [NAME ...]`, or `make fuzz SECONDS=600`.

No file, however damaged, may end in anything but one clear line, take long, or take much memory.
What does harm is kept in `fuzz-failures`.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz.bombs import BOMBS
from tests.fuzz.hunt import MOST_SECONDS
from tests.fuzz.targets import TARGETS

_FAILURES = Path("fuzz-failures")
_SHOWN_LINES = 15
# For a process to start, to make its files, and to find the smallest that does harm.
_GRACE_SECONDS = 120.0


def run(name: str, seconds: float, harmed: list[str]) -> None:
    """Fuzzes one target, or feeds one bomb, and adds its name to the list if it did harm."""
    with tempfile.TemporaryDirectory(prefix="isthmus-fuzz-") as folder:
        arguments = [sys.executable, "-m", "tests.fuzz.hunt", name, str(seconds), folder]
        try:
            finished = subprocess.run(
                arguments,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=seconds + MOST_SECONDS + _GRACE_SECONDS,
            )
            said = finished.stdout + finished.stderr
            is_good = finished.returncode == 0
        except subprocess.TimeoutExpired:
            said, is_good = "it does not end", False
        if is_good:
            print(f"{name}: good", *finished.stdout.splitlines()[-1:], flush=True)
            return
        kept = _FAILURES / name.replace(" ", "-").replace(",", "").replace("^", "")
        shutil.copytree(folder, kept, dirs_exist_ok=True)
        print(f"{name}: HARM, the file is kept in {kept}", flush=True)
        lines = said.strip().splitlines()[-_SHOWN_LINES:]
        print("\n".join(f"  {line}" for line in lines), flush=True)
        harmed.append(name)


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 600.0
    names = sys.argv[2:] or [*BOMBS, *TARGETS]
    count = max(1, sum(name in TARGETS for name in names))
    harmed: list[str] = []
    for name in names:
        run(name, seconds / count if name in TARGETS else 0, harmed)
    if harmed:
        sys.exit(f"{len(harmed)} did harm: {', '.join(harmed)}")


if __name__ == "__main__":
    main()
