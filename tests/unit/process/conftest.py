"""What tests of processes share: each begins with a structlog that nobody has configured."""

from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def _unconfigured_logs() -> Iterator[None]:
    """Forget a configuration, such as the one that ``structlog.testing.capture_logs`` leaves."""
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()
