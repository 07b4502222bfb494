"""`nsqkit status` on a real nsqd that nsqlookupd knows."""

import asyncio
from dataclasses import dataclass

import pytest

from nsqkit import Context, Handler, Settings, event
from nsqkit.nsq import NsqdHttp
from nsqkit.ops.pause import send_to_nsqd
from nsqkit.ops.status import NsqdChannel, status
from tests.integration.conftest import Server
from tests.waiting import until

pytestmark = pytest.mark.nsqd


@event("status.parcel.packed", version=1, topic="status-parcels")
@dataclass(frozen=True)
class ParcelPacked:
    number: int


class BookCarrier(Handler[ParcelPacked], channel="carrier"):
    async def handle(self, event: ParcelPacked, ctx: Context) -> None: ...


async def test_a_real_nsqd_reports_its_channel(nsqlookupd: Server, nsqd: Server) -> None:
    await NsqdHttp(nsqd.http_address).create_channel("status-parcels", "carrier")
    settings = Settings(lookupd=(nsqlookupd.http_address,))
    await asyncio.to_thread(
        send_to_nsqd, "pause", "status-parcels", "carrier", Settings(nsqd_http=(nsqd.http_address,))
    )
    report = await until(
        lambda: asyncio.to_thread(status, (BookCarrier.spec,), settings), lambda report: bool(report.asked)
    )
    assert report.channels[0].nsqd == (NsqdChannel(nsqd.http_address, 0, 0, 0, 0, 0, "channel"),)
