"""Reads what the class of a plugin declares without importing its module, which imports torch.

A variant, net, score or corruption says what it is in class variables, its options in the nested
class `Config`, and its paper in its docstring. Commands that only list or check these read them
here from the source: the statements that they need are evaluated, and nothing else of the module
is. A plugin of a package is read in the same way and, if that is not enough, imported; one of a
file that a job names has been imported.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Protocol

from pydantic import Field

from isthmus import plugins
from isthmus.errors import UsageError

_PACKAGE = __package__ or "isthmus"
_ROOT = Path(__file__).parent
# Modules that may be imported: they are light, and `Config` classes are written with them.
_LIGHT = frozenset({"collections", "enum", "functools", "math", "pathlib", "pydantic", "typing"})
_LIGHT_ROOMS = tuple(
    f"{_PACKAGE}.{each}" for each in ("kinds", "spec", "types", "errors", "declarations", "plugins")
)


class Declaration(Protocol):
    """The docstring, class variables and nested classes that a plugin's class declares."""

    @property
    def about(self) -> str:
        """The docstring of the class, without indentation."""

    def value(self, name: str) -> Any:
        """Returns a class variable or the nested class of a name, its own or of a base class.

        Raises:
            AttributeError: If neither it nor its base classes declare one.
        """


@dataclass(frozen=True)
class _InSource:
    """A class as its source declares it.

    Attributes:
        source: The module that defines it.
        node: The statement.
    """

    source: _Source
    node: ast.ClassDef

    @property
    def about(self) -> str:
        return inspect.cleandoc(ast.get_docstring(self.node, clean=False) or "")

    def value(self, name: str) -> Any:
        for each in self._lineage():
            for statement in each.node.body:
                if name in _bound(statement):
                    return each.source.evaluated(statement, name)
        raise AttributeError(f"{self.node.name} declares no {name}")

    def _lineage(self) -> Iterator[_InSource]:
        yield self
        for base in self.node.bases:
            if isinstance(base, ast.Name) and (found := self.source.declared(base.id)) is not None:
                yield from found._lineage()


@dataclass(frozen=True)
class _Source:
    """The source of a module: its names are evaluated one by one, and never the whole of it."""

    module: str
    file: Path | None = None

    @cached_property
    def path(self) -> Path:
        if self.file is not None:
            return self.file
        place = _ROOT.joinpath(*self.module.split(".")[1:])
        return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")

    @cached_property
    def statements(self) -> Mapping[str, ast.stmt]:
        """The statement at the top of the module that binds each name."""
        tree = ast.parse(self.path.read_text(encoding="utf-8"), str(self.path))
        return {name: statement for statement in tree.body for name in _bound(statement)}

    def declared(self, name: str) -> _InSource | None:
        """Returns the class of a name, which may be imported from another module of the package."""
        statement = self.statements.get(name)
        if isinstance(statement, ast.ImportFrom) and (statement.module or "").startswith(_PACKAGE):
            return _source(statement.module or "").declared(_original(statement, name))
        return _InSource(self, statement) if isinstance(statement, ast.ClassDef) else None

    def value(self, name: str) -> Any:
        """Returns what a name at the top of the module means."""
        return self.evaluated(self.statements[name], name)

    @cached_property
    def _evaluated(self) -> dict[tuple[ast.stmt, str], Any]:
        return {}

    def evaluated(self, statement: ast.stmt, name: str) -> Any:
        """Evaluates one statement, once, and before it the names of the module that it uses."""
        # Several plugins share a base class, and making a class of options takes milliseconds.
        if (statement, name) not in self._evaluated:
            self._evaluated[statement, name] = self._value_of(statement, name)
        return self._evaluated[statement, name]

    def _value_of(self, statement: ast.stmt, name: str) -> Any:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            return self._imported(statement, name)
        if isinstance(statement, ast.Assign | ast.AnnAssign) and isinstance(
            statement.value, ast.Constant
        ):
            return statement.value.value
        plain = _Plain().visit(statement)
        namespace: dict[str, Any] = {"__name__": self.module, **_DESCRIBED_BY}
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
        # The file is our own.
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

    declaration: _InSource

    def __getattr__(self, name: str) -> Any:
        return self.declaration.value(name)


@cache
def _source(module: str) -> _Source:
    return _Source(module)


@dataclass(frozen=True)
class _Imported:
    """A class that is imported."""

    found: type

    @property
    def about(self) -> str:
        return inspect.getdoc(self.found) or ""

    def value(self, name: str) -> Any:
        return getattr(self.found, name)


@dataclass(frozen=True)
class _Offered:
    """A class of a package, which is imported only if its source alone does not tell."""

    offer: plugins.Offer

    @property
    def about(self) -> str:
        return self._in_source.about if self._in_source else self._imported.about

    def value(self, name: str) -> Any:
        if self._in_source is not None:
            try:
                return self._in_source.value(name)
            except (ImportError, NameError, AttributeError, LookupError, TypeError, ValueError):
                pass  # written with more than is evaluated here
        return self._imported.value(name)

    @cached_property
    def _in_source(self) -> _InSource | None:
        file = self.offer.source_file()
        try:
            source = None if file is None else _Source(self.offer.point.module, file)
            return None if source is None else source.declared(self.offer.point.attr)
        except (OSError, SyntaxError, ValueError) as error:
            raise UsageError(f"{file} of {self.offer.origin} cannot be read: {error}") from error

    @cached_property
    def _imported(self) -> _Imported:
        return _Imported(self.offer.load())


def plugin_names(room: str) -> tuple[str, ...]:
    """Returns the names of the plugins of a room, such as `variants`, sorted."""
    if room in plugins.ROOMS:
        return plugins.names(room)
    return plugins.names_in(str(_ROOT / room / "__init__.py"))


def summary_of(declared: Declaration) -> str:
    """Returns a plugin in a few words: its `SUMMARY`, or the first line of its docstring."""
    summary: str = declared.value("SUMMARY") or declared.about.partition("\n")[0]
    return summary


def declaration(room: str, name: str) -> Declaration:
    """Returns what a plugin declares.

    Args:
        room: The package that holds the plugin: `variants`.
        name: The name of the plugin, which is the stem of its file if it is built in.
    """
    if room in plugins.ROOMS:
        outside = _outside(room, name)
        if outside is not None:
            return outside
    return _built_in(room, name)


def _outside(room: plugins.Room, name: str) -> Declaration | None:
    if plugins.is_of_file(plugins.full_name(room, name) or name):
        found = plugins.found_outside(room, name)
        return None if found is None else _Imported(found)
    offer = plugins.offers(room).get(name)
    return None if offer is None else _offered(offer)


@cache
def _offered(offer: plugins.Offer) -> _Offered:
    return _Offered(offer)


@cache
def _built_in(room: str, name: str) -> _InSource:
    """Returns that class of a plugin's module which has a `SUMMARY`."""
    source = _source(f"{_PACKAGE}.{room}.{name}")
    found = [
        _InSource(source, each)
        for each in source.statements.values()
        if isinstance(each, ast.ClassDef) and any("SUMMARY" in _bound(one) for one in each.body)
    ]
    if len(found) != 1:
        raise ImportError(f"{source.module}: {len(found)} classes have a SUMMARY; one is wanted")
    return found[0]


class _Plain(ast.NodeTransformer):
    """Makes a statement such that it means the same where its module is not imported."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        """Removes the annotations of functions, which name classes that are not evaluated."""
        node.returns = None
        for argument in (*node.args.args, *node.args.kwonlyargs):
            argument.annotation = None
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        """Puts the texts beneath fields into the fields' annotations.

        From Python 3.13 on, pydantic finds these texts only for a module that is imported.
        """
        for field, below in pairwise(node.body):
            match field, below:
                case ast.AnnAssign(), ast.Expr(value=ast.Constant(value=str(text))):
                    field.annotation = _described(field.annotation, inspect.cleandoc(text))
        return self.generic_visit(node)


# Names that no module binds.
_DESCRIBED_BY = {"<Annotated>": Annotated, "<Field>": Field}


def _described(annotation: ast.expr, text: str) -> ast.expr:
    """Returns the annotation of a field of options with a description of the field."""
    if "ClassVar" in _names(annotation):
        return annotation
    annotated, field = (ast.Name(name, ctx=ast.Load()) for name in _DESCRIBED_BY)
    description = ast.Call(field, [], [ast.keyword("description", ast.Constant(text))])
    both = ast.Tuple([annotation, description], ctx=ast.Load())
    described = ast.copy_location(ast.Subscript(annotated, both, ctx=ast.Load()), annotation)
    return ast.fix_missing_locations(described)


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
