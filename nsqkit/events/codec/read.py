"""Read: the types of functions that read JSON into events, and of their errors' places."""

from collections.abc import Callable
from typing import Any

import msgspec

Read = Callable[[bytes | msgspec.Raw], Any]
Place = tuple[str, str]
"""JSON path of an invalid value, from ``$``, and the reason."""
