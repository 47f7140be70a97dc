"""The example of docs/your-own.md as a user types it, and a package that offers the same."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "your-own.md"


def example(language: str) -> str:
    """Returns the first block of the page in a language: `python` is swirl.py, `yaml` job.yaml."""
    found = re.search(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


def write_example(folder: Path, **changed: str) -> Path:
    """Writes swirl.py and job.yaml to a folder, with two epochs; returns the job file.

    Args:
        folder: The folder.
        **changed: Texts of the job file by those that they replace.
    """
    (folder / "swirl.py").write_text(example("python"), encoding="utf-8")
    text = example("yaml").replace("epochs: 20", "epochs: 2")
    for before, after in changed.items():
        assert before in text
        text = text.replace(before, after)
    job = folder / "job.yaml"
    job.write_text(text, encoding="utf-8")
    return job


def install_package(folder: Path, offered: str = "swirl", package: str = "isthmus-swirl") -> Path:
    """Makes a folder what `pip install` makes of a package with entry points.

    Args:
        folder: The folder, which the caller puts on `sys.path`.
        offered: The name of the variant that it offers.
        package: The name of the distribution.
    """
    module = package.replace("-", "_")
    (folder / module).mkdir(parents=True)
    (folder / module / "__init__.py").write_text("import torch\n")  # a list must not import it
    (folder / module / "swirl.py").write_text(example("python"), encoding="utf-8")
    info = folder / f"{module}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(
        f"[isthmus.variants]\n{offered} = {module}.swirl:Swirl\n"
        f"[isthmus.nets]\ntwo_layers = {module}.swirl:TwoLayers\n"
    )
    return folder
