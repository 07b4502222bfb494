import json
import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from nsqkit.devbroker import DevBroker
from nsqkit.devbroker.ledger import Ledger
from nsqkit.devbroker.storage import FILE_NAME, Storage
from nsqkit.errors import SettingsError
from tests.unit.devbroker.raw_client import RawClient, dpub, pub, stats


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    storage = Storage(tmp_path)
    yield storage
    storage.release()


def publish(ledger: Ledger, topic: str, *bodies: bytes, defer_s: float = 0.0) -> None:
    ledger.publish(topic, bodies, timestamp_ns=7, now_s=0.0, defer_s=defer_s)


def restarted(storage: Storage, ledger: Ledger) -> Ledger:
    """Return the ledger of the next broker."""
    storage.save(ledger)
    storage.release()
    after = Ledger()
    storage.load(after, now_s=1000.0)
    return after


HEADER = struct.pack(">qH16sI", 0, 0, bytes(16), 2**32 - 1)


def saved(topic: object, **fields: object) -> bytes:
    """Return the first line of a file with one topic."""
    topics = [{"name": topic, "paused": False, "messages": 0, "channels": []} | fields]
    return json.dumps({"format": "nsqkit-broker 1", "published": 1, "topics": topics}).encode() + b"\n"


def queued(ledger: Ledger, topic: str, channel: str) -> list[tuple[bytes, int]]:
    copies = ledger.topics[topic].channels[channel].queued
    return [(copy.message.body, copy.attempts) for copy in copies]


def test_a_folder_without_a_file_is_an_empty_broker(storage: Storage) -> None:
    ledger = Ledger()
    storage.load(ledger, now_s=0.0)
    assert not ledger.topics


def test_what_was_held_or_deferred_is_due_at_once_with_its_attempts(storage: Storage) -> None:
    ledger = Ledger()
    consumer = ledger.subscribe("t", "c", now_s=0.0)
    ledger.ready(consumer, 1)
    publish(ledger, "t", b"held", b"queued")
    publish(ledger, "t", b"later", defer_s=900.0)
    (held,) = ledger.deliveries(now_s=0.0)
    after = restarted(storage, ledger)
    assert queued(after, "t", "c") == [(b"queued", 0), (b"held", 1), (b"later", 0)]
    assert after.next_deadline_s() is None
    message = after.topics["t"].channels["c"].queued[1].message
    assert (message.id, message.timestamp_ns) == (held.copy.message.id, 7)
    assert after.topics["t"].channels["c"].message_count == 0


def test_an_id_is_not_given_twice(storage: Storage) -> None:
    ledger = Ledger()
    publish(ledger, "t", b"1")
    after = restarted(storage, ledger)
    publish(after, "t", b"2")
    assert len({message.id for message in after.topics["t"].backlog}) == 2


def test_a_topic_without_channels_keeps_its_backlog(storage: Storage) -> None:
    ledger = Ledger()
    publish(ledger, "t", b"1", b"2")
    publish(ledger, "t", b"3", defer_s=5.0)
    after = restarted(storage, ledger)
    assert [(m.body, m.defer_s) for m in after.topics["t"].backlog] == [(b"1", 0), (b"2", 0), (b"3", 0)]


def test_what_is_paused_stays_so(storage: Storage) -> None:
    ledger = Ledger()
    ledger.channel("t", "c", now_s=0.0).pause(paused=True)
    ledger.channel("t", "d", now_s=0.0)
    ledger.pause_topic("t", paused=True, now_s=0.0)
    publish(ledger, "t", b"x")
    after = restarted(storage, ledger).topics["t"]
    assert after.paused
    assert [channel.paused for channel in after.channels.values()] == [True, False]
    assert len(after.backlog) == 1


def test_what_is_ephemeral_is_not_kept(storage: Storage) -> None:
    ledger = Ledger()
    ledger.channel("t", "c#ephemeral", now_s=0.0)
    ledger.channel("t#ephemeral", "c", now_s=0.0)
    publish(ledger, "t#ephemeral", b"x")
    publish(ledger, "t", b"x")
    after = restarted(storage, ledger)
    assert {name: list(topic.channels) for name, topic in after.topics.items()} == {"t": []}


class TestRefusals:
    def test_a_folder_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match=r"^data_path=.*nope: No such file or directory$"):
            Storage(tmp_path / "nope").load(Ledger(), now_s=0.0)

    def test_a_folder_that_another_broker_uses(self, storage: Storage, tmp_path: Path) -> None:
        storage.load(Ledger(), now_s=0.0)
        with pytest.raises(SettingsError, match="another broker uses it"):
            Storage(tmp_path).load(Ledger(), now_s=0.0)
        storage.release()
        Storage(tmp_path).load(Ledger(), now_s=0.0)

    @pytest.mark.parametrize(
        "content",
        [
            pytest.param(b"", id="empty"),
            pytest.param(b"nonsense\n", id="no JSON"),
            pytest.param(b"[]\n", id="no object"),
            pytest.param(b'{"format": "nsqkit-broker 2"}\n', id="another format"),
            pytest.param(b'{"format": "nsqkit-broker 1"}\n', id="nothing else in it"),
            pytest.param(b"[" * 100_000 + b"\n", id="deep JSON"),
            pytest.param(saved("a b"), id="a name that NSQ does not allow"),
            pytest.param(saved(5), id="a name that is no text"),
            pytest.param(saved("t", messages=1e9), id="a count that is no whole number"),
            pytest.param(saved("t", messages=1) + HEADER, id="a message of 4 GiB"),
            pytest.param(saved("t") + b"more", id="bytes after its end"),
            pytest.param(b'{"format": "nsqkit-broker 1", "published": 1, "topics": {"a": 1}}\n', id="a map"),
            pytest.param(b'{"format": "nsqkit-broker 1", "published": 1, "topics": [null]}\n', id="null"),
        ],
    )
    def test_a_file_that_is_none_of_its_own(self, storage: Storage, tmp_path: Path, content: bytes) -> None:
        (tmp_path / FILE_NAME).write_bytes(content)
        with pytest.raises(
            SettingsError, match=f"^data_path=.*: {FILE_NAME} cannot be read: .*; move "
        ) as caught:
            storage.load(Ledger(), now_s=0.0)
        assert str(caught.value).isprintable()

    def test_a_symbolic_link_is_not_followed(self, storage: Storage, tmp_path: Path) -> None:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.write_bytes(b"private\n")
        (tmp_path / FILE_NAME).symlink_to(elsewhere)
        (tmp_path / FILE_NAME).with_suffix(".tmp").symlink_to(elsewhere)
        with pytest.raises(SettingsError, match=f"{FILE_NAME} cannot be read: "):
            storage.load(Ledger(), now_s=0.0)
        storage.save(Ledger())
        assert elsewhere.read_bytes() == b"private\n"
        storage.load(Ledger(), now_s=0.0)

    def test_a_pipe_does_not_block_it(self, storage: Storage, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / FILE_NAME)
        with pytest.raises(SettingsError, match="not a regular file"):
            storage.load(Ledger(), now_s=0.0)

    def test_only_its_owner_can_read_it(self, storage: Storage, tmp_path: Path) -> None:
        left = (tmp_path / FILE_NAME).with_suffix(".tmp")
        left.touch(mode=0o666)
        before = os.umask(0)
        try:
            storage.save(Ledger())
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600

    @pytest.mark.parametrize("left_out", [1, 5, 30])
    def test_a_file_that_is_cut_short(self, storage: Storage, tmp_path: Path, left_out: int) -> None:
        ledger = Ledger()
        publish(ledger, "t", b"abc")
        storage.save(ledger)
        path = tmp_path / FILE_NAME
        path.write_bytes(path.read_bytes()[:-left_out])
        with pytest.raises(SettingsError, match="cannot be read"):
            storage.load(Ledger(), now_s=0.0)


async def test_a_broker_that_stops_cleanly_loses_nothing(tmp_path: Path) -> None:
    broker = DevBroker(0, 0, data_path=tmp_path)
    await broker.start()
    client = await RawClient.connect(broker.tcp_address)
    await client.subscribe("t", "c", ready=1)
    client.send(pub("t", b"1", b"2"), dpub("t", 900_000, b"3"))
    await client.frames_until(b"OK", 3)
    while not broker.ledger.topics["t"].channels["c"].in_flight:
        await client.frame()
    await broker.stop()
    await client.close()
    again = DevBroker(0, 0, data_path=tmp_path)
    await again.start()
    (channel,) = (await stats(again.http_address))["topics"][0]["channels"]
    assert [channel[name] for name in ("depth", "in_flight_count", "deferred_count")] == [3, 0, 0]
    client = await RawClient.connect(again.tcp_address)
    await client.subscribe("t", "c", ready=3)
    assert sorted((m.body, m.attempts) for m in await client.messages(3)) == [(b"1", 2), (b"2", 1), (b"3", 1)]
    await client.close()
    await again.stop()


async def test_a_broker_that_cannot_start_frees_its_ports(tmp_path: Path) -> None:
    broker = DevBroker(0, 0, data_path=tmp_path / "nope")
    with pytest.raises(SettingsError, match="data_path"):
        await broker.start()
    await broker.stop()
