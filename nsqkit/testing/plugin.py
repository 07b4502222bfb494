"""The pytest plugin: the ``harness`` fixture, and the option that runs its tests on a real nsqd.

pytest loads this module in every run, so it imports the harness only for a test that uses it.
"""

from collections.abc import Generator
from typing import TYPE_CHECKING

import pytest

from nsqkit.testing.errors import NeedsVirtualTimeError

if TYPE_CHECKING:
    from nsqkit.testing.harness import Harness

OPTION = "--nsqkit-broker"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--nsqkit-broker``."""
    parser.getgroup("nsqkit").addoption(
        OPTION,
        choices=("ledger", "nsqd"),
        default="ledger",
        help="broker of the harness fixture: a ledger with a virtual clock (default), or a real nsqd",
    )


@pytest.fixture
def harness(request: pytest.FixtureRequest) -> "type[Harness]":
    """Return the class ``Harness``, on the broker that ``--nsqkit-broker`` names."""
    from nsqkit.testing.harness import Harness  # noqa: PLC0415 - see above

    class ChosenHarness(Harness):
        """A harness on the chosen broker."""

        default_broker = request.config.getoption(OPTION)

    return ChosenHarness


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, None, None]:
    """Skip a test that would wait too long on a real nsqd, with the reason."""
    try:
        return (yield)
    except NeedsVirtualTimeError as error:
        pytest.skip(str(error))
