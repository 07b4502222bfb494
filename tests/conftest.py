"""What all tests share: hypothesis measures no time, and each test begins with an unconfigured structlog."""

from collections.abc import Iterator

import hypothesis
import pytest
import structlog

hypothesis.settings.register_profile("nsqkit", deadline=None)  # the machine may be busy
hypothesis.settings.load_profile("nsqkit")


@pytest.fixture(autouse=True)
def _unconfigured_logs() -> Iterator[None]:
    """Forget a configuration, such as the one that ``structlog.testing.capture_logs`` leaves."""
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()
