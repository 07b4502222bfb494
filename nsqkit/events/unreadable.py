"""Unreadable: why the annotations of a class or function cannot be read, and what to change."""

import ast
import inspect
import sys
from collections.abc import Iterator


def unreadable(error: BaseException, module: str) -> str:
    """Return the reason of an error that reading annotations has raised, as one line.

    Args:
        error: The error; a NameError names the missing name.
        module: Name of the module that has the annotations; it is searched for an import of the name.
    """
    what = "its annotations cannot be read"
    name = error.name if isinstance(error, NameError) else None
    if name is None:
        first, _, _ = str(error).partition("\n")
        return f"{what}: {type(error).__name__}: {first}"
    place = next(_imports_for_checkers(name, module), None)
    if place is not None:
        return f"{what}: {name} is only imported under TYPE_CHECKING; move the import at {place} out of it"
    return f"{what}: name {name!r} is not defined; define or import it in {module}"


def _imports_for_checkers(name: str, module: str) -> Iterator[str]:
    """Yield ``file:line`` of each import of a name below ``if TYPE_CHECKING:``."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except (KeyError, OSError, TypeError, SyntaxError):
        return
    blocks = (each for each in ast.walk(tree) if isinstance(each, ast.If) and _is_for_checkers(each.test))
    for block in blocks:
        for statement in (inner for each in block.body for inner in ast.walk(each)):
            if isinstance(statement, ast.Import | ast.ImportFrom):
                names = [each.asname or each.name.partition(".")[0] for each in statement.names]
                if name in names:
                    yield f"{sys.modules[module].__file__}:{statement.lineno}"


def _is_for_checkers(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", "")
    return name == "TYPE_CHECKING"
