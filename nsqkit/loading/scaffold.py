"""Scaffold: writes a handler module and its test as a start; never overwrites a file."""

import builtins
import keyword
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nsqkit.errors import SettingsError
from nsqkit.policy.names import EPHEMERAL, channel_problem, topic_problem

_EVENT = re.compile(r"[A-Za-z][A-Za-z0-9_-]*(\.[A-Za-z][A-Za-z0-9_-]*)*")
_TAKEN = frozenset({"Context", "Handler", "Harness", "Callable", *dir(builtins), *keyword.kwlist})
_SHORT = 4  # "gas" is a singular

_MODULE = '''\
"""Handlers of the topic `{topic}`."""

from dataclasses import dataclass

from nsqkit import Context, Handler, event


@event("{event}", version=1, topic="{topic}")
@dataclass(frozen=True)
class {event_class}:
    """The event; declare a field for each value that the handlers need."""

    {field}: str


class {handler_class}(Handler[{event_class}], channel="{channel}"):
    """Handles each event; after an exception, nsqd delivers its message again later."""

    async def handle(self, event: {event_class}, ctx: Context) -> None:
        """Handle one event."""
        ctx.log.info("{logged}", {field}=event.{field})
'''

_TEST = '''\
"""The handlers of `{module}`, run as in a worker."""

import asyncio
from collections.abc import Callable

{imports}

{assigned}

def test_an_event_is_handled_once(harness: Callable[..., Harness]) -> None:
    async def run() -> None:
        async with harness([{handler_class}]) as h:
            await h.publish(EVENT)
            await h.settle()
            h.handled(EVENT).once()

    asyncio.run(run())
'''


@dataclass(frozen=True, slots=True)
class Scaffold:
    """What to write.

    Args:
        root: The folder that modules are imported from.
        module: The handlers' file, below *root*.
        topic: The topic that the handler reads.
        channel: The channel that it reads.
        event: The event's name, without a version; by default from the module's name, ``return.created``
            for ``returns.py``.
        test: The test's file, below *root*; by default it mirrors *module* in ``tests/unit`` or ``tests``.

    Raises:
        SettingsError: If a name is not valid, or a file cannot be a module of *root*.
    """

    root: Path
    module: Path
    topic: str
    channel: str
    event: str | None = None
    test: Path | None = None

    def __post_init__(self) -> None:
        problem = topic_problem(self.topic) or channel_problem(self.channel)
        if self.event is not None and not _EVENT.fullmatch(self.event):
            problem = f"event name {self.event!r}: give words with dots between them, such as order.created"
        if problem:
            raise SettingsError(problem)
        _require_below(self.root, self.module)
        _require_below(self.root, self.test_file)
        parts = self._relative(self.module).with_suffix("").parts
        odd = [part for part in parts if not part.isidentifier() or keyword.iskeyword(part)]
        if odd or self.module.suffix != ".py":
            raise SettingsError(
                f"{self.module}: cannot be imported; give a path such as handlers/returns.py, whose "
                "parts are valid module names"
            )

    @property
    def dotted(self) -> str:
        """The module's name, as `nsqkit run` takes it."""
        return ".".join(self._relative(self.module).with_suffix("").parts)

    @property
    def test_file(self) -> Path:
        """Where the test goes."""
        if self.test is not None:
            return self.test
        tests = Path("tests", "unit") if (self.root / "tests" / "unit").is_dir() else Path("tests")
        inside = self._relative(self.module)
        return tests / inside.parent / f"test_{inside.name}"

    def write(self) -> tuple[Path, ...]:
        """Write the files, or none of them, and return those that were written.

        Creates missing folders; those of the module become packages.

        Raises:
            SettingsError: If one of the two files exists, or cannot be written.
        """
        texts = {self.module: self.module_text(), self.test_file: self.test_text()}
        if len({self._relative(path) for path in texts}) < len(texts):
            raise SettingsError(f"{self.module}: the test needs another file")
        for path in texts:
            if (self.root / path).exists():
                raise SettingsError(f"{path} exists, and is not overwritten; give another name")
        packages = dict.fromkeys(self._new_packages(), f'"""Handlers of {self.root.resolve().name}."""\n')
        try:
            for path, text in (packages | texts).items():
                (self.root / path).parent.mkdir(parents=True, exist_ok=True)
                with (self.root / path).open("x", encoding="utf-8") as file:
                    file.write(text)
        except OSError as error:
            raise SettingsError(f"{error.filename}: cannot be written: {error.strerror}") from error
        return tuple(packages | texts)

    def module_text(self) -> str:
        """Return the handler module."""
        return _MODULE.format(**self._words())

    def test_text(self) -> str:
        """Return its test."""
        words = self._words()
        imported = ", ".join(sorted((words["event_class"], words["handler_class"]), key=_as_ruff_sorts))
        own, ours = f"from {self.dotted} import {imported}", "from nsqkit.testing import Harness"
        if (self.root / "nsqkit" / "__init__.py").exists():  # as ruff sees it: it is of the same project
            imports = "\n".join(sorted((own, ours)))
        else:
            imports = f"{ours}\n\n{own}"
        assigned = f'EVENT = {words["event_class"]}({words["field"]}="1")\n'
        return _TEST.format(module=self.dotted, imports=imports, assigned=assigned, **words)

    def _words(self) -> dict[str, str]:
        one = _singular(self.module.stem)
        event = self.event or f"{one.replace('_', '-')}.created"
        event_class = _class_name(event, "Event")
        handler_class = _class_name(self.channel.removesuffix(EPHEMERAL), "Handler")
        if handler_class == event_class:
            handler_class += "Handler"
        return {
            "topic": self.topic,
            "channel": self.channel,
            "event": event,
            "event_class": event_class,
            "handler_class": handler_class,
            "field": f"{one.strip('_').lower() or 'event'}_id",
            "logged": re.sub(r"\W", "_", event),
        }

    def _new_packages(self) -> Iterator[Path]:
        """Return the ``__init__.py`` of folders that do not exist yet; existing folders stay unchanged."""
        for folder in reversed(self._relative(self.module).parents[:-1]):
            if not (self.root / folder).exists():
                yield folder / "__init__.py"

    def _relative(self, path: Path) -> Path:
        return Path((self.root / path).resolve()).relative_to(self.root.resolve())


def _require_below(root: Path, path: Path) -> None:
    if not (root / path).resolve().is_relative_to(root.resolve()):
        raise SettingsError(
            f"{path}: is not in the working directory {root}; modules are imported from there"
        )


def _class_name(name: str, suffix: str) -> str:
    words = [word for word in re.split(r"[^A-Za-z0-9]+", name) if word]
    made = "".join(word[0].upper() + word[1:] for word in words)
    return made if made.isidentifier() and made not in _TAKEN else f"{suffix}{made}"


def _singular(name: str) -> str:
    return name if len(name) < _SHORT or name.endswith(("ss", "us", "is")) else name.removesuffix("s")


def _as_ruff_sorts(name: str) -> tuple[bool, str]:
    return not name.isupper(), name
