"""What the tests of the publishers send, and the settings that they send it with."""

from dataclasses import dataclass
from typing import Any

from nsqkit import Settings, event

NOBODY = "127.0.0.1:1"


@event("publisher.sent", version=2, topic="sent")
@dataclass
class Sent:
    n: int


@event("publisher.homeless", version=1)
@dataclass
class Homeless:
    n: int


def told(**options: Any) -> Settings:
    return Settings(admin_port=0, connect_timeout_s=1.0, publish_timeout_s=5.0, **options)
