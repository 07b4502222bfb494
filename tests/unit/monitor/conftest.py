"""What tests of the monitor share: no breaker of another test, as a page shows those of its process."""

from weakref import WeakSet

import pytest

from nsqkit.handler import breaker


@pytest.fixture(autouse=True)
def _no_breakers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker, "_breakers", WeakSet())
