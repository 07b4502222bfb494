"""Name look-ups: one name that no server answers delays nobody else."""

import asyncio
import gc
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from nsqkit.nsq import names
from nsqkit.nsq.http import fetch
from nsqkit.nsq.names import NamesResolver, resolve
from tests.unit.nsq.fake_http import FakeHttp
from tests.waiting import PATIENCE_S, until

Found = list[Any]


class NameServer:
    """Counts what it is asked, and leaves questions for some names open until it is told to answer."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.silent: set[str] = set()
        self.unknown: set[str] = set()
        self.answer = threading.Event()
        self._lookup: Callable[..., Found] = socket.getaddrinfo

    def getaddrinfo(self, host: str, port: object, **how: object) -> Found:
        self.asked.append(host)
        if host in self.silent:
            self.answer.wait(PATIENCE_S)
        if host in self.unknown:
            raise socket.gaierror(-2, "Name or service not known")
        host.encode("idna")  # as the real one does
        return self._lookup("127.0.0.1", port, **how)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[NameServer]:
    made = NameServer()
    monkeypatch.setattr(socket, "getaddrinfo", made.getaddrinfo)
    yield made
    made.answer.set()


def threads() -> int:
    return sum(thread.name == "nsqkit-names" for thread in threading.enumerate())


async def test_an_ip_address_is_not_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(name: str) -> None:
        raise AssertionError(f"{name} is looked up")

    monkeypatch.setattr(names._look_ups, "start", start)
    assert (await resolve("127.0.0.1", 4150))[0][4] == ("127.0.0.1", 4150)
    assert (await resolve("::1", 4150))[0][4][:2] == ("::1", 4150)


async def test_a_silent_name_delays_no_other_and_is_asked_for_once(server: NameServer) -> None:
    server.silent.add("silent.example")
    waiting = [asyncio.create_task(resolve("silent.example", port)) for port in range(1, 200)]
    await until(lambda: "silent.example" in server.asked)
    assert (await resolve("good.example", 4150))[0][4] == ("127.0.0.1", 4150)
    assert server.asked == ["silent.example", "good.example"]
    waiting[0].cancel()
    server.answer.set()
    found = await asyncio.gather(*waiting[1:])
    assert [each[0][4][1] for each in found] == list(range(2, 200))
    assert waiting[0].cancelled()


async def test_the_event_loops_own_threads_are_not_used(server: NameServer) -> None:
    pool = ThreadPoolExecutor(1)
    asyncio.get_running_loop().set_default_executor(pool)
    free = threading.Event()
    pool.submit(free.wait, PATIENCE_S)
    try:
        async with FakeHttp((200, b"OK")) as http:
            assert await fetch(f"nsqd.example:{http.port}", "/ping") == b"OK"
    finally:
        free.set()
    assert server.asked == ["nsqd.example"]


async def test_many_silent_names_occupy_few_threads_which_end(server: NameServer) -> None:
    server.silent.update(f"{n}.example" for n in range(100))
    waiting = [asyncio.create_task(resolve(name, 4150)) for name in server.silent]
    await until(lambda: len(server.asked) >= names._MOST_THREADS)
    assert threads() == names._MOST_THREADS
    server.answer.set()
    await asyncio.gather(*waiting)
    await until(threads, lambda count: count == 0)
    assert sorted(server.asked) == sorted(server.silent)
    assert not names._look_ups._pending


@pytest.mark.parametrize(
    ("host", "why"),
    [
        pytest.param("a..b", "'a..b' is not a host name", id="an empty label"),
        pytest.param("unknown.example", "Name or service not known", id="a name that nobody has"),
    ],
)
async def test_a_failed_look_up_is_an_os_error_and_repeated_next_time(
    host: str, why: str, server: NameServer
) -> None:
    server.unknown.add("unknown.example")
    for _ in range(2):
        with pytest.raises(OSError, match=why):
            await resolve(host, 4150)
    assert server.asked == [host, host]


async def test_a_look_up_that_the_system_gives_no_thread_is_an_os_error_and_repeated_next_time(
    server: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        with pytest.raises(OSError, match="no thread"):
            await resolve("nsqd.example", 4150)
    assert (await resolve("nsqd.example", 4150))[0][4] == ("127.0.0.1", 4150)
    assert server.asked == ["nsqd.example"]


async def test_a_failure_for_which_nobody_waits_any_more_is_passed_over(server: NameServer) -> None:
    failures: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    server.silent.add("silent.example")
    server.unknown.add("silent.example")
    waiting = [asyncio.create_task(resolve("silent.example", 1)) for _ in range(2)]
    await until(lambda: server.asked)
    waiting[0].cancel()
    await asyncio.wait(waiting[:1])
    server.answer.set()
    with pytest.raises(OSError, match="not known"):
        await waiting[1]
    del waiting
    gc.collect()
    assert failures == []


async def test_tornado_gets_the_family_that_it_asks_for(server: NameServer) -> None:
    resolver = NamesResolver()
    assert await resolver.resolve("a.example", 1) == [(socket.AF_INET, ("127.0.0.1", 1))]
    assert await resolver.resolve("a.example", 1, socket.AF_INET6) == []
