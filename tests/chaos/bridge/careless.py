"""A bridge that commits before nsqd has its records, and dies in between, to see that the tool notices."""

import os
import signal
import sys
from typing import NoReturn

from nsqkit.bridge.inbound import Inbound, Passing
from nsqkit.cli import main


async def commit_and_die(route: Inbound, passing: Passing) -> NoReturn:
    """Do what must come after the publish, and die instead of it."""
    await route._source.confirm([record for record, _ in passing])
    await route._source.close()  # the commit has arrived when it returns
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


if __name__ == "__main__":
    setattr(Inbound, "_published", commit_and_die)  # noqa: B010 - mypy lets nobody assign to a method
    sys.exit(main())
