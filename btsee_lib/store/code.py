"""The code that a result is made by: a module and all that it imports in turn, read from the sources.

Followed are the modules of the library, and those of the package that the first one stands in. What is imported
for annotations alone, under ``if TYPE_CHECKING``, never runs and does not count; nor does the face of a package
from which a module is taken, since it only hands names on.
"""

import ast
import hashlib
import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path

LIBRARY = "btsee_lib"


def digests_of_code(module: str) -> dict[str, str]:
    """Digest of a module and of each module in its import closure, by dotted name.

    A digest covers what a module does: comments and docstrings may change, statements may not.
    """
    return {name: short_digest(ast.dump(_without_docstrings(_tree(name)))) for name in import_closure(module)}


def import_closure(module: str) -> list[str]:
    """The module itself and every module that it imports, directly or in turn, sorted by name."""
    followed, found, waiting = {LIBRARY, module.split(".")[0]}, set(), [module]
    while waiting:
        name = waiting.pop()
        if name not in found and name.split(".")[0] in followed:
            found.add(name)
            waiting += _imported(name)
    return sorted(found)


def _imported(module: str) -> Iterator[str]:
    """Yield the names of the modules that a module's statements import, wherever they stand."""
    package = module if _source(module).name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(_TypeCheckingRemover().visit(_tree(module))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            inside = [f"{origin}.{alias.name}" for alias in node.names]
            yield from (name if _source(name) else origin for name in inside)


class _TypeCheckingRemover(ast.NodeTransformer):
    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        is_typing = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        return node.orelse if is_typing else self.generic_visit(node)


def _without_docstrings(tree: ast.AST) -> ast.AST:
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef
    for node in ast.walk(tree):
        if isinstance(node, kinds) and ast.get_docstring(node) is not None:
            del node.body[0]
    return tree


def _tree(module: str) -> ast.AST:
    return ast.parse(_source(module).read_text())


@cache
def _source(name: str) -> Path | None:
    """Find the file of a module without importing it; None if the name is that of no module."""
    package, *inside = name.split(".")
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        return None
    place = Path(found.submodule_search_locations[0], *inside)
    candidates = (place.with_suffix(".py"), place / "__init__.py")
    return next((path for path in candidates if path.is_file()), None)


def short_digest(text: str) -> str:
    """Digest of a text, 16 hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
