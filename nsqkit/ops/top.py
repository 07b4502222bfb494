"""Top: the first screen of the monitor page of some workers, and the order of their handlers."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal

from nsqkit.errors import ConnectionLostError, NsqkitError, RefusedError, SettingsError
from nsqkit.nsq.http import fetch_json
from nsqkit.policy.address import split_address
from nsqkit.policy.requeue_level import Level

PATH: Final = "/monitor/state"
TIMEOUT_S: Final = 5.0
Sort = Literal["worst", "rate", "age", "name"]
_LEVELS: Final = tuple(Level)
_ABOVE_ALL: Final = -1
"""The age of a message that is older than all buckets."""
_REQUIRED: Final = MappingProxyType(
    {
        "handlers": frozenset(
            (
                *("name", "level", "state", "remaining_s", "problems", "now", "m1", "m5", "failed"),
                *("timeouts", "others", "top", "since", "series", "paused", "throughput", "oldest_s"),
                *("in_flight", "max_in_flight", "dead", "dead_m1", "depth", "deferred", "saturated"),
            )
        ),
        "saturation": frozenset({"label", "unit", "value", "is_bound", "limit", "level"}),
        "nsqd": frozenset({"address", "states"}),
        "marks": frozenset({"at", "text"}),
    }
)

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Look:
    """A look at one worker.

    Args:
        address: ``host:port`` of its admin port.
        screen: The first screen of its monitor page; None if it did not answer.
        error: Why it did not answer; None if it did.
    """

    address: str
    screen: Json | None = None
    error: NsqkitError | None = None

    @property
    def level(self) -> Level:
        """The level of the worker; unknown if it did not answer."""
        return Level.UNKNOWN if self.screen is None else Level(self.screen["verdict"]["level"])


@dataclass(frozen=True, slots=True)
class Row:
    """A handler in one worker.

    Args:
        worker: Number of the worker among those that were asked, from 1.
        handler: The handler, as the monitor page shows it.
    """

    worker: int
    handler: Json

    @property
    def level(self) -> Level:
        """The level of the handler."""
        return Level(self.handler["level"])


async def look_at(addresses: Sequence[str], token: str = "") -> tuple[Look, ...]:
    """Return the first screen of each worker after its next sample, which takes a second at most.

    Args:
        addresses: ``host:port`` of the admin ports.
        token: The workers' ``admin_token``; empty for none.

    Raises:
        SettingsError: If an address is none.
    """
    for address in addresses:
        split_address(address)
    return tuple(await asyncio.gather(*(_look(address, token) for address in addresses)))


def rows(looks: Iterable[Look], sort: Sort) -> list[Row]:
    """Return the handlers of all workers that answered, in an order.

    Args:
        looks: A look at each worker.
        sort: ``worst`` level and requeue rate first, highest ``rate`` of deliveries first, highest ``age``
            first, or by ``name``.
    """
    found = [
        Row(number, handler)
        for number, look in enumerate(looks, start=1)
        if look.screen is not None
        for handler in look.screen["handlers"]
    ]
    return sorted(found, key=lambda row: (*_KEYS[sort](row), row.handler["name"], row.worker))


def _worst(row: Row) -> tuple[float, ...]:
    return _LEVELS.index(row.level), -(row.handler["m1"] or 0.0)


def _age(row: Row) -> tuple[float, ...]:
    age_s = row.handler["oldest_s"]
    return (-float("inf") if age_s == _ABOVE_ALL else -(age_s or 0.0),)


_KEYS: Final[Mapping[Sort, Callable[[Row], tuple[float, ...]]]] = MappingProxyType(
    {
        "worst": _worst,
        "rate": lambda row: (-row.handler["throughput"],),
        "age": _age,
        "name": lambda _row: (),
    }
)
SORTS: Final[tuple[Sort, ...]] = tuple(_KEYS)


async def _look(address: str, token: str) -> Look:
    try:
        screen = await fetch_json(address, PATH, _checked, "first screen", timeout_s=TIMEOUT_S, token=token)
    except RefusedError as error:
        return Look(address, error=_refusal(address, error))
    except ConnectionLostError as error:
        return Look(address, error=NsqkitError(f"worker {address}: {error.reason}; is this its admin port?"))
    return Look(address, screen)


def _refusal(address: str, error: RefusedError) -> NsqkitError:
    if "admin_token" in error.code:
        return SettingsError(f"worker {address}: {error.code}; NSQKIT_ADMIN_TOKEN sets it here")
    return NsqkitError(f"worker {address}: {error.code}; is this the admin port of a worker of this nsqkit?")


def _checked(screen: Json) -> Json:
    """Return a first screen that has all that is shown; raise anything if it has not."""
    Level(screen["verdict"]["level"])
    for name, required in _REQUIRED.items():
        for each in screen[name]:
            if missing := required - each.keys():
                raise KeyError(f"{name}: {', '.join(sorted(missing))}")
    return screen
