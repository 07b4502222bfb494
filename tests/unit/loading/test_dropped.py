"""Dropped: a statement that certainly loses an outcome or a coroutine is found before anything runs."""

import asyncio
import functools
import linecache
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nsqkit
from nsqkit import Context, Discard, Handler, Outcome, Requeue, event
from nsqkit.loading.dropped import dropped

# mypy: disable-error-code="unused-coroutine"


@event("dropped.happened", version=1, topic="dropped")
@dataclass
class Happened:
    n: int


async def notify() -> None:
    """Do nothing."""


def log() -> None:
    """Do nothing."""


save = load = notify


def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any) -> Any:
        return function(*args)

    return call


class Saving:
    async def save(self) -> None:
        """Do nothing."""

    @classmethod
    async def load(cls) -> None:
        """Do nothing."""


class Slips(Saving, Handler[Happened], channel="slips"):
    @decorated
    async def handle(self, event: Happened, ctx: Context) -> Outcome | None:
        """Make every slip, each on a line with its remedy."""
        if event.n:
            Requeue(3)  # write return Requeue(…)
            nsqkit.Discard("old")  # write return nsqkit.Discard(…)
        notify()  # write await notify(…)
        self.save()  # write await self.save(…)
        Saving.load()  # write await Saving.load(…)
        asyncio.wait(())  # write await asyncio.wait(…)

        async def later() -> None:
            notify()  # write await notify(…)

        await later()
        return None

    def helps(self) -> None:
        Discard()  # write return Discard(…)


def sound(notifies: Callable[[], Any], of_closure: Callable[[], Any]) -> type[Handler[Happened]]:
    class Sound(Saving, Handler[Happened], channel="sound"):
        text = "at the left margin \
of a line"

        async def handle(self, event: Happened, ctx: Context) -> Outcome | None:
            """Use every value, or use names whose values are not known.

            not indented
            """
            await notify()
            await self.save()
            task = asyncio.create_task(notify())
            await asyncio.gather(task, self.save())
            log()
            of_closure()
            self.missing()
            self.text.upper()
            event.n.bit_length()
            [Requeue(3)]
            _ = Requeue(3)
            return Requeue(3) if event.n else None

        def shadows(self, notify: Callable[[], None], asyncio: Any) -> None:
            notify()
            asyncio.wait(())
            from tests.unit.loading.test_dropped import log as save  # noqa: PLC0415 - it is bound here

            save()
            for load in (log, log):
                load()

        missing: Callable[[], None]
        shout = staticmethod(lambda: Requeue(3))
        size = property(lambda self: 3)

    return Sound


def test_every_slip_is_named_with_its_line_and_its_remedy() -> None:
    lines = Path(__file__).read_text().splitlines()
    expected = {
        f"{__file__}:{number}": line.partition("# ")[2]
        for number, line in enumerate(lines, 1)
        if "# write " in line and '"# write' not in line
    }
    found = {place: said for place, _, said in (each.partition(": ") for each in dropped(Slips))}
    assert found.keys() == expected.keys()
    for place, remedy in expected.items():
        assert remedy in found[place]


def test_what_is_used_and_what_is_not_known_is_not_reported() -> None:
    assert dropped(sound(log, log)) == []


def test_a_name_of_the_function_around_the_class_is_known() -> None:
    (problem,) = dropped(sound(log, notify))
    assert "of_closure(…) is never awaited" in problem


def test_a_class_without_source_is_not_read() -> None:
    names: dict[str, Any] = {
        "Handler": Handler,
        "Happened": Happened,
        "Requeue": Requeue,
        "__name__": __name__,
    }
    exec(  # noqa: S102 - a class whose source is in no file
        "class Made(Handler[Happened], channel='made'):\n"
        "    async def handle(self, event, ctx):\n"
        "        Requeue(3)",
        names,
    )
    assert dropped(names["Made"]) == []


def test_a_class_whose_file_has_other_text_by_now_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "made.py"
    made = (
        "class Made(Handler[Happened], channel='made'):\n"
        "    async def handle(self, event, ctx):\n"
        "        Requeue(3)"
    )
    names: dict[str, Any] = {
        "Handler": Handler,
        "Happened": Happened,
        "Requeue": Requeue,
        "__name__": __name__,
    }
    exec(compile(made, file, "exec"), names)  # noqa: S102 - as an import does
    for text in ('"""\n', "#\n  if (\n", "\0", ""):
        file.write_text(text, encoding="utf-8")
        linecache.checkcache()
        assert dropped(names["Made"]) == []
