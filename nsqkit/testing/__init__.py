"""Tools for a team's tests: the harness for handlers, and the contract suite of NSQ's rules."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nsqkit.testing.errors import HarnessError, NeedsVirtualTimeError

if TYPE_CHECKING:
    from nsqkit.testing.clock import Clock
    from nsqkit.testing.found import Found
    from nsqkit.testing.harness import Harness
    from nsqkit.testing.records import Settled

__all__ = ["Clock", "Found", "Harness", "HarnessError", "NeedsVirtualTimeError", "Settled"]

_LAZY = {"Clock": "clock", "Found": "found", "Harness": "harness", "Settled": "records"}


def __getattr__(name: str) -> Any:
    """Import the harness on first use only, since pytest loads the plugin of this package in every run."""
    if name not in _LAZY:
        raise AttributeError(f"module 'nsqkit.testing' has no attribute {name!r}")
    return getattr(import_module(f"nsqkit.testing.{_LAZY[name]}"), name)
