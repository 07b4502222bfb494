"""Resources: opened once when first needed, given by type, closed in reverse order."""

import gc
from collections.abc import AsyncIterator, Iterator

import pytest

from nsqkit import Context, Extension, Handler, Settings, resource
from nsqkit.errors import CreationError, ResourceError
from nsqkit.handler.resources import Resource
from nsqkit.runtime.resources import Resources
from tests.unit.runtime.bench import Happened

JOURNAL: list[str] = []


class Pool:
    pass


class Mailer:
    def __init__(self, pool: Pool, service: str) -> None:
        self.pool = pool
        self.service = service


class Broken:
    pass


def connect() -> Broken:
    raise ConnectionRefusedError("no database")


@resource
async def pool() -> AsyncIterator[Pool]:
    JOURNAL.append("pool opened")
    yield Pool()
    JOURNAL.append("pool closed")


@resource
def mailer(pool: Pool, settings: Settings) -> Iterator[Mailer]:
    JOURNAL.append("mailer opened")
    yield Mailer(pool, settings.service)
    JOURNAL.append("mailer closed")


@resource
async def broken(pool: Pool) -> AsyncIterator[Broken]:
    yield connect()


@resource
def unclosable() -> Iterator[str]:
    yield "text"
    JOURNAL.append("unclosable closed")
    raise OSError("cannot close")


class Silent(Handler[Happened], abstract=True):
    async def handle(self, event: Happened, ctx: Context) -> None:
        pass


class Plain(Silent, channel="plain"):
    pass


class Mailing(Silent, channel="mailing"):
    def __init__(self, mailer: Mailer, pool: Pool) -> None:
        self.mailer = mailer
        self.pool = pool


class Configured(Silent, channel="configured"):
    def __init__(self, settings: Settings) -> None:
        self.settings = settings


class Unlucky(Silent, channel="unlucky"):
    def __init__(self, pool: Pool, broken: Broken) -> None:
        self.pool = pool


class Unready(Silent, channel="unready"):
    def __init__(self) -> None:
        raise KeyError("host")


class Texted(Silent, channel="texted"):
    def __init__(self, unclosable: str, pool: Pool) -> None:
        self.text = unclosable


class Counted(Silent, channel="counted"):
    def __init__(self, pool: Pool, uncountable: int, unclosable: str) -> None:
        pass


@resource
def uncountable() -> Iterator[int]:
    yield 1
    raise ValueError("cannot count")


class Sorter:
    pass


@resource
def sorter() -> Iterator[Sorter]:
    yield Sorter()
    JOURNAL.append("sorter closed")


class Sorting(Silent, channel="sorting"):
    def __init__(self, sorter: Sorter) -> None:
        pass


@resource(per="message")
async def session(pool: Pool) -> AsyncIterator[bytes]:
    yield b""


class Mails(Extension):
    def __init__(self, mailer: Mailer) -> None:
        pass


class Sessions(Silent, channel="sessions", uses=[session], middleware=[Mails]):
    pass


@pytest.fixture
def resources() -> Resources:
    JOURNAL.clear()
    return Resources((pool, mailer, broken, unclosable, uncountable, sorter), Settings(service="shop"))


async def test_a_handler_without_needs_opens_nothing(resources: Resources) -> None:
    assert isinstance(await resources.make(Plain.spec), Plain)
    await resources.close()
    assert JOURNAL == []


async def test_resources_of_resources_are_given_too_and_settings_as_they_are(resources: Resources) -> None:
    handler = await resources.make(Mailing.spec)
    assert isinstance(handler, Mailing)
    assert handler.mailer.pool is handler.pool
    assert handler.mailer.service == "shop"
    await resources.close()


async def test_a_handler_may_ask_for_the_settings(resources: Resources) -> None:
    handler = await resources.make(Configured.spec)
    assert isinstance(handler, Configured)
    assert handler.settings.service == "shop"


async def test_each_is_opened_once_and_closed_in_reverse_order(resources: Resources) -> None:
    one, other = await resources.make(Mailing.spec), await resources.make(Mailing.spec)
    assert isinstance(one, Mailing)
    assert isinstance(other, Mailing)
    assert one.pool is other.pool
    await resources.close()
    assert JOURNAL == ["pool opened", "mailer opened", "mailer closed", "pool closed"]


async def test_one_that_cannot_be_opened_says_so_and_the_others_are_closed(resources: Resources) -> None:
    told = r"test_resources\.py:\d+: resource broken cannot be opened: ConnectionRefusedError: no database$"
    with pytest.raises(ResourceError, match=told) as raised:
        await resources.make(Unlucky.spec)
    assert isinstance(raised.value.__cause__, ConnectionRefusedError)
    await resources.close()
    assert JOURNAL == ["pool opened", "pool closed"]


async def test_a_handler_that_cannot_be_created_is_named_with_its_line(resources: Resources) -> None:
    told = r"test_resources\.py:\d+: Unready cannot be created: KeyError: 'host'$"
    with pytest.raises(CreationError, match=told) as raised:
        await resources.make(Unready.spec)
    assert isinstance(raised.value.__cause__, KeyError)


async def test_one_that_cannot_be_closed_keeps_no_other_from_closing(resources: Resources) -> None:
    await resources.make(Texted.spec)
    with pytest.raises(OSError, match="cannot close"):
        await resources.close()
    assert JOURNAL == ["pool opened", "pool closed", "unclosable closed"]


async def test_those_opened_before_it_are_closed_as_if_it_had_closed(resources: Resources) -> None:
    """They run on after their yield, and see no error of another: it is not theirs."""
    await resources.make(Counted.spec)
    with pytest.raises(ExceptionGroup) as raised:
        await resources.close()
    assert [str(error) for error in raised.value.exceptions] == ["cannot close", "cannot count"]
    assert JOURNAL == ["pool opened", "unclosable closed", "pool closed"]


async def test_a_need_that_nothing_yields_is_named() -> None:
    with pytest.raises(LookupError, match=r"no resource yields .*Mailer.* for parameter 'mailer'"):
        await Resources((pool,), Settings()).make(Mailing.spec)


async def test_closing_without_opening_does_nothing(resources: Resources) -> None:
    await resources.close()
    assert JOURNAL == []


class TestLeftBehind:
    """The resources of a handler that still runs when they are closed."""

    async def test_what_it_uses_stays_open_and_the_others_are_closed(self, resources: Resources) -> None:
        await resources.prepare(Mailing.spec)
        await resources.prepare(Sorting.spec)
        assert await resources.close([Mailing]) == ("mailer", "pool")
        del resources
        gc.collect()
        assert JOURNAL == ["pool opened", "mailer opened", "sorter closed"]

    async def test_what_its_extensions_and_its_scoped_resources_use_stays_open_too(
        self, resources: Resources
    ) -> None:
        await resources.prepare(Sessions.spec)
        await resources.prepare(Texted.spec)
        with pytest.raises(OSError, match="cannot close"):
            await resources.close([Sessions])
        assert JOURNAL == ["pool opened", "mailer opened", "unclosable closed"]


async def test_metrics_of_open_resources_with_the_same_labels_add_up() -> None:
    """Two objects may be of one database, and no series may be shown twice."""
    figures = [("nsqkit_database_pool_size", ("shop", "async"), 2)]
    measured = [Resource(each.function, figures=lambda _: figures) for each in (pool, sorter)]
    resources = Resources([*measured, mailer], Settings())
    assert list(resources.figures()) == []
    await resources.make(Sorting.spec)
    assert list(resources.figures()) == figures
    await resources.make(Mailing.spec)
    assert list(resources.figures()) == [("nsqkit_database_pool_size", ("shop", "async"), 4)]
    await resources.close()
    assert list(resources.figures()) == []
