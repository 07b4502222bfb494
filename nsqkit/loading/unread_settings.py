"""Unread settings: a team's own settings whose names no text of its loaded modules has. It runs nothing."""

import ast
import inspect
import sys
from collections.abc import Iterator
from types import ModuleType

from nsqkit.handler.origin import is_own
from nsqkit.policy.suggestion import suggestion
from nsqkit.settings.settings import Settings

_READERS = frozenset({"app_text", "app_number"})


def unread_settings(settings: Settings) -> list[str]:
    """Return a warning for each of the team's own settings that no loaded module of the team can ask for.

    A setting counts as asked for if its name is a text in one of the modules, whatever that is used for; the
    URL of a database, if the name of the database is.

    Args:
        settings: The settings, after the modules of the handlers were imported.
    """
    if not settings.app:
        return []
    trees = [tree for module in tuple(sys.modules.values()) if (tree := _tree(module)) is not None]
    texts = {node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    asked = [name for tree in trees for name in _asked(tree)]
    return [
        f"app.{name} (from {settings.source_of(f'app.{name}')}): no module of yours asks for it"
        f"{suggestion(name, asked)}"
        for name in settings.app
        if name not in texts and name.removesuffix("_url") not in texts  # as in Database("…")
    ]


def _tree(module: ModuleType) -> ast.Module | None:
    file = getattr(module, "__file__", None)
    if not isinstance(file, str) or not is_own(file):
        return None
    try:
        return ast.parse(inspect.getsource(module))
    except (OSError, TypeError, SyntaxError):
        return None


def _asked(tree: ast.Module) -> Iterator[str]:
    """Yield the names that a module asks for by ``settings.app_text`` and ``settings.app_number``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in _READERS and node.args:
            name = node.args[0]
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                yield name.value
