"""Pause: pauses and resumes a channel on every nsqd, or one handler of one worker."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

from nsqkit.errors import ConnectionLostError, NsqkitError, RefusedError, SettingsError
from nsqkit.nsq.http import NsqdHttp, fetch
from nsqkit.nsq.nodes import http_addresses, looked_up
from nsqkit.policy.address import split_address
from nsqkit.policy.names import channel_problem, topic_problem
from nsqkit.settings.settings import Settings

Command = Literal["pause", "resume"]
WORKER_TIMEOUT_S = 5.0
_MISSING = frozenset({"TOPIC_NOT_FOUND", "CHANNEL_NOT_FOUND"})


@dataclass(frozen=True, slots=True)
class ChannelReport:
    """Which nsqd paused or resumed a channel.

    Args:
        addresses: HTTP addresses of the nsqd that did it.
        without: HTTP addresses of the nsqd that do not have the channel.
        problems: What went wrong on the others, one line each.
    """

    addresses: tuple[str, ...]
    without: tuple[str, ...]
    problems: tuple[str, ...]


def send_to_nsqd(command: Command, topic: str, channel: str, settings: Settings) -> ChannelReport:
    """Pause or resume a channel on every nsqd in the settings or known to nsqlookupd; runs an event loop.

    Raises:
        SettingsError: If a name is not valid, or the settings name no nsqd and no nsqlookupd.
    """
    for problem in (topic_problem(topic), channel_problem(channel)):
        if problem:
            raise SettingsError(problem)
    if not (settings.nsqd or settings.nsqd_http or settings.lookupd):
        raise SettingsError("which nsqd? give --nsqd HOST:4150, --nsqd-http HOST:4151 or --lookupd HOST:4161")
    return asyncio.run(_send_to_nsqd(command, topic, channel, settings))


def send_to_worker(
    command: Command, handler: str, worker: str, for_s: float | None = None, *, token: str = ""
) -> dict[str, Any]:
    """Pause or resume a handler of one worker through its admin port; runs an event loop of its own.

    Args:
        command: Whether to pause or to resume.
        handler: The handler's class name.
        worker: ``host:port`` of the worker's admin port.
        for_s: Seconds after which the handler resumes by itself, above 0; None for never.
        token: The worker's ``admin_token``; empty for none.

    Returns:
        The state of the handler afterwards, as the worker's ``/handlers`` shows it. With ``--workers`` it is
        that of the first process, and ``held`` is the sum over all.

    Raises:
        SettingsError: If *worker* is not an address, or the worker has no such handler, refuses *for_s*, or
            requires another token.
        NsqkitError: If the worker does not answer.
    """
    split_address(worker)
    query = {} if for_s is None else {"for_s": f"{for_s:g}"}
    path = f"/handlers/{quote(handler, safe='')}/{command}"
    request = fetch(worker, path, method="POST", timeout_s=WORKER_TIMEOUT_S, token=token, **query)
    try:
        answer = asyncio.run(request)
    except RefusedError as error:
        raise SettingsError(f"worker {worker}: {error.code}") from error
    except ConnectionLostError as error:
        raise NsqkitError(f"worker {worker}: {error.reason}; is this its admin port?") from error
    try:
        states: list[dict[str, Any]] = json.loads(answer)["handlers"]
        shown = states[0] | {"held": sum(each["held"] for each in states)}
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise NsqkitError(f"worker {worker}: its answer cannot be read: {answer[:64]!r}") from error
    return shown


async def _send_to_nsqd(command: Command, topic: str, channel: str, settings: Settings) -> ChannelReport:
    known = await looked_up(settings)
    problems = list(known.failures)
    addresses = await http_addresses(settings, known)
    if not (addresses or problems):
        problems.append(f"nsqlookupd {' and '.join(settings.lookupd)} knows no nsqd")
    done, without = [], []
    results = await asyncio.gather(*(_send_to_one(command, topic, channel, address) for address in addresses))
    for address, result in zip(addresses, results, strict=True):
        if result is None:
            done.append(address)
        elif isinstance(result, RefusedError) and result.code in _MISSING:
            without.append(address)
        else:
            problems.append(str(result))
    return ChannelReport(tuple(done), tuple(without), tuple(problems))


async def _send_to_one(command: Command, topic: str, channel: str, address: str) -> NsqkitError | None:
    nsqd = NsqdHttp(address)
    try:
        await (nsqd.pause_channel if command == "pause" else nsqd.unpause_channel)(topic, channel)
    except NsqkitError as error:
        return error
    return None
