"""What all tests share: hypothesis measures no time, and each test begins with unconfigured logs."""

import gc
import logging
import warnings
from collections.abc import Iterator

import hypothesis
import pytest
import structlog

from nsqkit.telemetry import logs

hypothesis.settings.register_profile("nsqkit", deadline=None)  # the machine may be busy
hypothesis.settings.load_profile("nsqkit")


def pytest_collection_finish() -> None:
    """Exempt the collected tests from garbage collection: with thousands, it took about half of the time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _unconfigured_logs() -> Iterator[None]:
    """Undo what ``configure_logs``, the command line or ``structlog.testing.capture_logs`` configured."""
    structlog.reset_defaults()
    root = logging.getLogger()
    handlers, level, showwarning = root.handlers[:], root.level, warnings.showwarning
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)
    warnings.showwarning = showwarning
    logs._Folding.is_on = False
    for name in ("nsq", "tornado.access", "tornado.general"):
        logging.getLogger(name).setLevel(logging.NOTSET)
