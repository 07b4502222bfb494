"""Limits: checks the times that handlers declare against the limits of the nsqd they will use."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from nsqkit.errors import NsqkitError
from nsqkit.handler.spec import HandlerSpec
from nsqkit.nsq.connection import Connection
from nsqkit.nsq.http import NsqdHttp
from nsqkit.nsq.lookup import LookupResult
from nsqkit.nsq.nodes import http_addresses, looked_up, tcp_addresses
from nsqkit.nsq.options import connection_options
from nsqkit.settings.settings import Settings


def check_limits(specs: Sequence[HandlerSpec], settings: Settings) -> tuple[str, ...]:
    """Return one line for each time that is longer than an nsqd allows; runs an event loop of its own."""
    return asyncio.run(_check_limits(specs, settings))


async def _check_limits(specs: Sequence[HandlerSpec], settings: Settings) -> tuple[str, ...]:
    known = await looked_up(settings)
    problems = list(known.failures)
    reached = False
    for address in await tcp_addresses(settings, known):
        connection = Connection(address, replace(connection_options(settings), msg_timeout_s=None))
        try:
            limits = await connection.open()
        except NsqkitError as error:
            problems.append(str(error))
            continue
        finally:
            connection.close()
        reached = True
        allows = f"nsqd {address} allows {limits.max_msg_timeout_s:g} s (its --max-msg-timeout)"
        if settings.msg_timeout_s > limits.max_msg_timeout_s:
            problems.append(f"the setting msg_timeout_s={settings.msg_timeout_s:g} is too long; {allows}")
        problems += [
            f"{spec.location}: {spec.name}: may take {spec.holds_s:g} s "
            f"(its {'max_wait_s and ' if spec.max_messages else ''}timeout_s); {allows}"
            for spec in specs
            if spec.holds_s > limits.max_msg_timeout_s
        ]
    if reached:
        problems += await _check_delays(specs, settings, known)
    elif not problems:
        problems.append("no nsqd was reached: nsqlookupd knows none")
    return tuple(problems)


async def _check_delays(specs: Sequence[HandlerSpec], settings: Settings, known: LookupResult) -> list[str]:
    problems = []
    for address in await http_addresses(settings, known):
        try:
            limit_ns = await NsqdHttp(address).config("max_req_timeout")
        except NsqkitError as error:
            problems.append(f"{error}; give its HTTP address with --nsqd-http")
            continue
        for spec in specs:
            longest_s = spec.retry.longest_s()
            if limit_ns is not None and longest_s > limit_ns / 1e9:
                problems.append(
                    f"{spec.location}: {spec.name}: waits up to {longest_s:g} s; nsqd {address} clamps at "
                    f"{limit_ns / 1e9:g} s (its --max-req-timeout)",
                )
    return problems
