"""Reads what the class of a plugin declares without importing its module, which imports torch.

A variant, net or score says what it is in class variables, its options in the nested class
`Config`, and its paper in its docstring. Commands that only list or check these read them here from
the source: the statements that they need are evaluated, and nothing else of the module is.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from isthmus import plugins

_PACKAGE = __package__ or "isthmus"
_ROOT = Path(__file__).parent
# Modules that may be imported: they are light, and `Config` classes are written with them.
_LIGHT = frozenset({"collections", "enum", "functools", "math", "pydantic", "typing"})
_LIGHT_ROOMS = (f"{_PACKAGE}.spec", f"{_PACKAGE}.types", f"{_PACKAGE}.errors")


@dataclass(frozen=True)
class Declaration:
    """A class as its source declares it.

    Attributes:
        source: The module that defines it.
        node: Its statement.
    """

    source: _Source
    node: ast.ClassDef

    @property
    def about(self) -> str:
        """The docstring of the class, without indentation."""
        return inspect.cleandoc(ast.get_docstring(self.node, clean=False) or "")

    def value(self, name: str) -> Any:
        """Returns a class variable or the nested class of a name, its own or of a base class.

        Raises:
            AttributeError: If neither it nor its base classes declare one.
        """
        for each in self._lineage():
            for statement in each.node.body:
                if name in _bound(statement):
                    return each.source.evaluated(statement, name)
        raise AttributeError(f"{self.node.name} declares no {name}")

    def _lineage(self) -> Iterator[Declaration]:
        yield self
        for base in self.node.bases:
            if isinstance(base, ast.Name) and (found := self.source.declared(base.id)) is not None:
                yield from found._lineage()


@dataclass(frozen=True)
class _Source:
    """The source of a module: its names are evaluated one by one, and never the whole of it."""

    module: str

    @cached_property
    def path(self) -> Path:
        place = _ROOT.joinpath(*self.module.split(".")[1:])
        return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")

    @cached_property
    def statements(self) -> Mapping[str, ast.stmt]:
        """The statement at the top of the module that binds each name."""
        tree = ast.parse(self.path.read_text(encoding="utf-8"), str(self.path))
        return {name: statement for statement in tree.body for name in _bound(statement)}

    def declared(self, name: str) -> Declaration | None:
        """Returns the class of a name, which may be imported from another module of the package."""
        statement = self.statements.get(name)
        if isinstance(statement, ast.ImportFrom) and (statement.module or "").startswith(_PACKAGE):
            return _source(statement.module or "").declared(_original(statement, name))
        return Declaration(self, statement) if isinstance(statement, ast.ClassDef) else None

    def value(self, name: str) -> Any:
        """Returns what a name at the top of the module means."""
        return self.evaluated(self.statements[name], name)

    def evaluated(self, statement: ast.stmt, name: str) -> Any:
        """Evaluates one statement, and before it the names of the module that it uses."""
        if isinstance(statement, ast.Import | ast.ImportFrom):
            return self._imported(statement, name)
        plain = _Unannotated().visit(statement)
        namespace: dict[str, Any] = {"__name__": self.module}
        now = _names_used_now(plain)
        for each in (_names(plain) - {name}) & set(self.statements):
            try:
                namespace[each] = self.value(each)
            except ImportError:
                # The name of a class with torch in it may stand for what the class declares, as in
                # `MemoryScore.Config`, and a method may use it when it is called, as none is here.
                if (declared := self.declared(each)) is not None:
                    namespace[each] = _Declared(declared)
                elif each in now:
                    raise
        module = ast.Module([plain], type_ignores=[])
        # The file is our own, and the line numbers are kept: pydantic reads the texts beneath the
        # fields from it.
        exec(compile(module, str(self.path), "exec", dont_inherit=True), namespace)  # noqa: S102
        return namespace[name]

    def _imported(self, statement: ast.Import | ast.ImportFrom, name: str) -> Any:
        module = statement.module or "" if isinstance(statement, ast.ImportFrom) else ""
        is_light = module.split(".")[0] in _LIGHT or module.startswith(_LIGHT_ROOMS)
        original = _original(statement, name)
        if is_light:
            return getattr(importlib.import_module(module), original)
        if module.startswith(_PACKAGE):
            return _source(module).value(original)
        raise ImportError(f"{self.module} declares options with {name}, which is not light")


@dataclass(frozen=True)
class _Declared:
    """Stands for a class in an expression that only names what the class declares."""

    declaration: Declaration

    def __getattr__(self, name: str) -> Any:
        return self.declaration.value(name)


@cache
def _source(module: str) -> _Source:
    return _Source(module)


def plugin_names(room: str) -> tuple[str, ...]:
    """Returns the names of the plugins of a room, such as `variants`, sorted."""
    return plugins.names_in(str(_ROOT / room / "__init__.py"))


@cache
def declaration(room: str, name: str) -> Declaration:
    """Returns what a plugin declares: that class of its module which has a `SUMMARY`.

    Args:
        room: The package that holds the plugin: `variants`.
        name: The name of the plugin, which is the stem of its file.
    """
    source = _source(f"{_PACKAGE}.{room}.{name}")
    found = [
        Declaration(source, each)
        for each in source.statements.values()
        if isinstance(each, ast.ClassDef) and any("SUMMARY" in _bound(one) for one in each.body)
    ]
    if len(found) != 1:
        raise ImportError(f"{source.module}: {len(found)} classes have a SUMMARY; one is wanted")
    return found[0]


class _Unannotated(ast.NodeTransformer):
    """Removes the annotations of functions, which name classes that are not evaluated."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        node.returns = None
        for argument in (*node.args.args, *node.args.kwonlyargs):
            argument.annotation = None
        return node


def _names(node: ast.AST) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


def _names_used_now(node: ast.AST) -> set[str]:
    """Returns the names that a statement uses when it is evaluated: none of the functions' own."""
    found = {node.id} if isinstance(node, ast.Name) else set()
    for each in ast.iter_child_nodes(node):
        if not (isinstance(node, ast.FunctionDef) and each in node.body):
            found |= _names_used_now(each)
    return found


def _bound(statement: ast.stmt) -> list[str]:
    """Returns the names that a statement binds."""
    match statement:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
            return [name]
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
        case ast.Assign(targets=[ast.Name(id=name)]):
            return [name]
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            return [each.asname or each.name for each in names]
    return []


def _original(statement: ast.Import | ast.ImportFrom, name: str) -> str:
    return next(each.name for each in statement.names if name == (each.asname or each.name))
