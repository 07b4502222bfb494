"""What teams test with: the harness for handlers, and the contract suite of NSQ's rules."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nsqkit.testing.errors import HarnessError, NeedsVirtualTimeError

if TYPE_CHECKING:
    from nsqkit.testing.clock import Clock
    from nsqkit.testing.found import Found
    from nsqkit.testing.harness import Harness
    from nsqkit.testing.journal import Settled

__all__ = ["Clock", "Found", "Harness", "HarnessError", "NeedsVirtualTimeError", "Settled"]

_LAZY = {"Clock": "clock", "Found": "found", "Harness": "harness", "Settled": "journal"}


def __getattr__(name: str) -> Any:
    """Import the harness only when it is asked for: pytest loads the plugin beside it in every run."""
    if name not in _LAZY:
        raise AttributeError(f"module 'nsqkit.testing' has no attribute {name!r}")
    return getattr(import_module(f"nsqkit.testing.{_LAZY[name]}"), name)
