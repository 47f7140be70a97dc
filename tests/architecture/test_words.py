"""What is public is explained, and every module's name says what is in it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.architecture.source import PACKAGE, ROOT, files_in, modules, place, tree

NAMES_THAT_SAY_NOTHING = {"common", "helper", "helpers", "manager", "managers", "misc", "util"} | {
    "utils"
}
# "Whether" is the way to open the docstring of a boolean, and is no word of this list.
_RIDDLES = "What|Which|Where|Who|Whose|How|Why|When|Of|Its"
RIDDLE = re.compile(rf"\s*({_RIDDLES})\b")
# An entry of Args, Attributes or Raises.
RIDDLE_OF_AN_ENTRY = re.compile(rf"^\s+\w+: ({_RIDDLES})\b.*", re.MULTILINE)


def is_public(path: Path) -> bool:
    """Whether no part of a module's name is underscored; `__init__` and `__main__` are public."""
    return not any(
        part.startswith("_") and not part.startswith("__") for part in path.relative_to(ROOT).parts
    )


def test_no_module_and_no_folder_has_a_name_that_says_nothing() -> None:
    folders = (PACKAGE.parent, ROOT / "pipelines", ROOT / "tests", ROOT / "infra")
    wrong = {
        str(path.relative_to(ROOT))
        for folder in folders
        for path in files_in(folder, "*.py")
        for part in path.relative_to(ROOT).with_suffix("").parts
        if part.strip("_") in NAMES_THAT_SAY_NOTHING
    }
    assert sorted(wrong) == []


def test_every_public_module_says_what_it_is_for() -> None:
    wrong = [
        place(path) for path in modules() if is_public(path) and not ast.get_docstring(tree(path))
    ]
    assert not wrong


def test_every_public_class_and_function_has_a_docstring() -> None:
    wrong = [
        f"{place(path, node)} {node.name}"
        for path in modules()
        if is_public(path)
        for node in tree(path).body
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert not wrong


def test_every_option_of_a_job_file_is_explained_beneath_it() -> None:
    """In the variants, the nets and the spec: a field, then a string that says unit and range."""
    wrong = []
    for path in modules():
        if path.parent.name not in {"variants", "nets", "corruptions"} and path.name != "job.py":
            continue
        for config in ast.walk(tree(path)):
            if not isinstance(config, ast.ClassDef) or not bases(config) & {
                "SpecModel",
                "DataAwareOptions",
            }:
                continue
            following = zip(config.body, [*config.body[1:], None], strict=True)
            wrong += [
                f"{place(path, field)} {ast.unparse(field.target)}"
                for field, after in following
                if isinstance(field, ast.AnnAssign)
                and not ast.unparse(field.annotation).startswith("ClassVar")
                and not is_string(after)
            ]
    assert not wrong


def test_no_docstring_opens_with_a_question_word_in_the_place_of_a_noun_or_a_verb() -> None:
    """`The results of rows` names a thing; `What comes of rows` leaves the reader to find it."""
    wrong = [
        f"{place(path, node)} {text.strip().splitlines()[0]}"
        for path in modules()
        for node, text in docstrings(tree(path))
        if RIDDLE.match(text)
    ]
    assert not wrong


def test_no_argument_or_attribute_is_explained_by_a_question_word() -> None:
    """`schema: The schema of the rows.` names a thing; `What the rows are like.` does not."""
    wrong = [
        f"{place(path, node)} {entry[0].strip()}"
        for path in modules()
        for node, text in docstrings(tree(path))
        for entry in RIDDLE_OF_AN_ENTRY.finditer(text)
    ]
    assert not wrong


def docstrings(module: ast.Module) -> Iterator[tuple[ast.Expr, str]]:
    """The docstrings of a module, its classes and functions, and those beneath attributes."""
    for node in ast.walk(module):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield node, text


def bases(node: ast.ClassDef) -> set[str]:
    return {ast.unparse(base).split(".")[-1] for base in node.bases}


def is_string(node: ast.stmt | None) -> bool:
    match node:
        case ast.Expr(value=ast.Constant(value=str())):
            return True
    return False
