"""The program `nsqkit`, whose sessions at Kafka end 6 s after a kill: by default, that takes 45 s."""

import sys
from functools import wraps
from typing import Any, Final

from nsqkit.bridge.kafka import source
from nsqkit.bridge.kafka.poller import KafkaPoller
from nsqkit.cli import main

SESSION_S: Final = 6
"""The least that Kafka accepts by default."""


def patch() -> None:
    """Shorten the sessions of this process."""

    @wraps(KafkaPoller)
    def quick(settings: dict[str, Any], *more: Any) -> KafkaPoller:
        return KafkaPoller({**settings, "session.timeout.ms": SESSION_S * 1000}, *more)

    setattr(source, "KafkaPoller", quick)  # noqa: B010 - mypy lets nobody assign to a class


if __name__ == "__main__":
    patch()
    sys.exit(main())
