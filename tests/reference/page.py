"""The page docs/reference.md, made from docstrings, signatures and the tables of metrics and reasons."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, get_type_hints

import nsqkit
from nsqkit import errors, sql
from nsqkit.handler.options import BatchOptions, HandlerOptions
from nsqkit.handler.outgoing import Publish
from nsqkit.policy import verdict
from nsqkit.sql import saga, testing
from nsqkit.telemetry.metrics import FAMILIES
from tests.reference import prose
from tests.reference.docstrings import Doc, doc_of
from tests.reference.log_events import LogEvent, log_events, message_fields
from tests.reference.meanings import BOUND_FIELDS, FIELDS, LOG_EVENTS
from tests.reference.signatures import Argument, arguments, type_text, without_none

# What the runtime gives to a Context and calls on it; a handler has no use for it.
_OF_THE_RUNTIME = frozenset(
    {"deadline_s", "delivery", "log_fields", "now_s", "recorders", "start", "started_s", "wait"}
)


def page() -> str:
    """Return the whole page."""
    sections = (
        prose.HEAD,
        *_events(),
        *_handlers(),
        *_outcomes(),
        *_policies(),
        *_publishing(),
        *_databases(),
        *_sagas(),
        *_running(),
        *_errors(),
        *_metrics(),
        *_logs(),
    )
    return "\n".join(section.rstrip("\n") + "\n" for section in sections)


def _events() -> Iterator[str]:
    yield "## Events\n\nSee [Event versioning](event-versioning.md)."
    yield _called("event", "@event")
    yield _called("upcast", "@upcast")
    yield f"### Typed\n\n{doc_of(nsqkit.Typed).summary}\n\n{_argument_table(nsqkit.Typed)}"
    yield "### Codecs\n\nSee [Messages from other systems](messages-from-other-systems.md#other-formats)."
    for codec in (nsqkit.JsonCodec, nsqkit.GzipCodec, nsqkit.BytesCodec, nsqkit.MsgpackCodec):
        yield f"#### {codec.__name__}\n\n{doc_of(codec).summary}"
    yield f"#### ProtobufCodec\n\n{doc_of(nsqkit.ProtobufCodec).summary}"
    yield f"#### Codec\n\n{doc_of(nsqkit.Codec).summary}"
    yield prose.ANY_EVENT


def _handlers() -> Iterator[str]:
    yield "## Handlers\n\nSee the [tutorial](tutorial.md) and [Batches](batches.md)."
    handler, batch = nsqkit.Handler, nsqkit.BatchHandler
    described = doc_of(handler)
    abstract = ("`abstract`", "`bool`", described.of("Args")["abstract"])
    keywords = _keywords(HandlerOptions, abstract)
    yield f"### Handler\n\n{described.summary} Its options are class keywords:\n\n{keywords}"
    yield _method("handle", handler.handle)
    summary = f"{doc_of(batch).summary} {prose.BATCHES}"
    yield f"### BatchHandler\n\n{summary}\n\n{_keywords(BatchOptions)}"
    yield _method("handle", batch.handle)
    yield f"### Delivery\n\n{doc_of(nsqkit.Delivery).summary}\n\n{_argument_table(nsqkit.Delivery)}"
    yield _context()
    yield _with_attributes("### Envelope", nsqkit.Envelope)
    yield from _extensions()


def _extensions() -> Iterator[str]:
    yield "## Extensions and resources\n\nSee [Extensions and resources](extensions.md)."
    yield _called("resource", "@resource")
    extension = nsqkit.Extension
    uses = "\n".join(f"- `{name}`: {text}" for name, text in doc_of(extension).of("Attributes").items())
    yield f"### Extension\n\n{doc_of(extension).summary}\n\n{uses}"
    for hook in (
        extension.around_handle,
        extension.around_batch,
        extension.on_publish,
        extension.on_settled,
        extension.on_unhandled,
        extension.close,
    ):
        yield _method(hook.__name__, hook)
    yield _with_attributes("#### The argument of `on_publish`", Publish)
    yield _with_attributes("### Verdict", nsqkit.Verdict)
    yield _called("Duplicate")
    middleware = doc_of(nsqkit.Middleware).summary
    yield _called("Traces")
    types = "`Next` is the type of `call_next`, and `NextBatch` that of `around_batch`."
    yield f"### Middleware\n\n{middleware} {types}"


def _with_attributes(title: str, cls: type[Any]) -> str:
    described = doc_of(cls)
    table = _table(("attribute", "meaning"), _attributes(described))
    return f"{title}\n\n{described.summary}\n\n{table}"


def _attributes(described: Doc) -> Iterator[tuple[str, str]]:
    listed = {**described.of("Args"), **described.of("Attributes")}
    yield from ((f"`{name}`", text) for name, text in listed.items())


def _keywords(options: type[Any], *others: tuple[str, str, str]) -> str:
    """Return the table of the class keywords that a typed dictionary adds to those that it inherits.

    Args:
        options: The typed dictionary; its docstring describes the keywords.
        *others: Further rows.
    """
    documented = doc_of(options).of("Attributes")
    kinds = {name: type_text(kind) for name, kind in get_type_hints(options).items()}
    rows = [(f"`{name}`", _code(without_none(kinds[name])), text) for name, text in documented.items()]
    return _table(("keyword", "type", "meaning"), [*rows, *others])


def _context() -> str:
    described = doc_of(nsqkit.Context)
    kinds = {each.name: type_text(each.type) for each in fields(nsqkit.Context)}
    documented = {**described.of("Args"), **described.of("Attributes")}
    rows = [(name, kinds[name], text) for name, text in documented.items()]
    methods = []
    for name, member in vars(nsqkit.Context).items():
        if name.startswith("_"):
            continue
        if isinstance(member, property):
            kind = inspect.signature(member.fget).return_annotation if member.fget else ""
            rows.append((name, type_text(kind), doc_of(member).summary))
        elif name not in _OF_THE_RUNTIME and inspect.isfunction(member):
            methods.append(_method(f"ctx.{name}", member))
    shown = [
        (f"`ctx.{name}`", _code(kind), text)
        for name, kind, text in sorted(rows)
        if name not in _OF_THE_RUNTIME
    ]
    given = _codes(each.name for each in arguments(nsqkit.Context) if each.name not in _OF_THE_RUNTIME)
    table = _table(("attribute", "type", "meaning"), shown)
    made = f"A test makes one with `Context()`. All of its arguments are optional: {given}."
    return "\n\n".join(("### Context", described.summary, table, *methods, made))


def _outcomes() -> Iterator[str]:
    yield prose.OUTCOMES
    for name in ("Finish", "Requeue", "DeadLetter", "Discard", "Pause"):
        yield _called(name)
    rows = [
        ("outcome of a delivery", _codes(verdict.OutcomeLabel)),
        ("reason of a requeue", _codes(verdict.RequeueReason)),
        ("reason of a dead letter", _codes(verdict.DeadLetterReason)),
    ]
    yield f"### Labels and reasons\n\n{_table(('label', 'values'), rows)}"


def _policies() -> Iterator[str]:
    yield "## Retries and resilience\n\nSee [Resilience](resilience.md)."
    for name in ("RetryPolicy", "Exponential", "KillSwitch", "RateLimit", "Breaker", "retrying"):
        yield _called(name)


def _publishing() -> Iterator[str]:
    yield "## Publishing"
    for name in ("Publisher", "BlockingPublisher"):
        yield _called(name)
        cls = getattr(nsqkit, name)
        yield "\n\n".join(
            _method(f"publisher.{each}", member)
            for each, member in vars(cls).items()
            if inspect.isfunction(member) and not each.startswith("_")
        )


def _databases() -> Iterator[str]:
    yield prose.DATABASES
    yield _described("### Database", sql.Database, doc_of(sql.Database))
    attributes = doc_of(sql.Database).of("Attributes").items()
    yield _table(("attribute", "meaning"), ((f"`database.{name}`", text) for name, text in attributes))
    yield _method("database.upgrade", sql.Database.upgrade)
    yield _method("outbox.add", sql.outbox.add)


def _sagas() -> Iterator[str]:
    yield prose.SAGAS
    described = doc_of(saga.Saga)
    rows = ((f"`{name}`", text) for name, text in described.of("Args").items())
    yield f"### Saga\n\n{described.summary}\n\n{_table(('class keyword', 'meaning'), rows)}"
    yield _method("saga.start", saga.Saga.start)
    for cls in (saga.Step, saga.Send, saga.Call, saga.Refused, saga.CallContext):
        yield _described(f"### {cls.__name__}", cls, doc_of(cls))
    yield _method("relayed", testing.relayed)


def _running() -> Iterator[str]:
    yield "## Running"
    yield _called("Worker")
    worker = nsqkit.Worker
    for method in (worker.run, worker.start, worker.wait_ready, worker.stop):
        yield _method(f"worker.{method.__name__}", method)
    yield _called("configure_logs")
    yield _called("configure_traces")
    yield _called("log_fields")
    yield f"### Settings\n\n{doc_of(nsqkit.Settings).summary} {prose.SETTINGS}"


def _errors() -> Iterator[str]:
    yield prose.ERRORS
    rows = []
    for name, error in vars(errors).items():
        if isinstance(error, type) and issubclass(error, errors.NsqkitError):
            mark = "" if name in nsqkit.__all__ else " *"
            parents = ", ".join(f"`{base.__name__}`" for base in error.__bases__)
            described = doc_of(error)
            rows.append((f"`{name}`{mark}", parents, described.summary, _fields(described)))
    yield _table(("error", "is a", "meaning", "attributes"), rows)


def _fields(described: Doc) -> str:
    return "<br>".join(f"{name}: {text}" for name, text in _attributes(described))


def _metrics() -> Iterator[str]:
    yield prose.METRICS
    rows = [(f"`{each.name}`", each.kind, _codes(each.labels), each.help) for each in FAMILIES.values()]
    yield _table(("metric", "kind", "labels", "meaning"), rows)


def _logs() -> Iterator[str]:
    yield prose.LOGS.format(bound=_codes(BOUND_FIELDS), message=_codes(message_fields()))
    rows = [
        (f"`{event.name}`", ", ".join(_levels(event)), LOG_EVENTS[event.name], _codes(_own_fields(event)))
        for event in log_events()
    ]
    yield _table(("event", "level", "meaning", "additional fields"), rows)
    used = {field for event in log_events() for field in event.fields} | {*BOUND_FIELDS, *message_fields()}
    named = [(f"`{name}`", text) for name, text in sorted(FIELDS.items()) if name in used]
    yield f"### Log fields\n\n{_table(('field', 'meaning'), named)}"


def _levels(event: LogEvent) -> list[str]:
    return ["error" if level == "exception" else level for level in event.levels]


def _own_fields(event: LogEvent) -> list[str]:
    shared = {*message_fields(), *BOUND_FIELDS}
    return [field for field in event.fields if field not in shared and field != "exc_info"]


def _called(name: str, title: str = "") -> str:
    """Return the part about a public class or function that is called with arguments."""
    called = getattr(nsqkit, name)
    return _described(f"### {title or name}", called, doc_of(called))


def _method(title: str, method: Callable[..., Any]) -> str:
    described = doc_of(method)
    return _described(f"#### `{title}({', '.join(_given(method))})`", method, described)


def _given(method: Callable[..., Any]) -> Iterator[str]:
    """Yield the arguments as they are given, with a ``*`` before those that are given by name only."""
    is_by_name = False
    for each in arguments(method):
        if each.is_by_name and not is_by_name:
            is_by_name = True
            yield "*"
        yield f"{each.name}={each.default}" if each.default else each.name


def _described(title: str, called: Callable[..., Any], described: Doc) -> str:
    returns = f"Returns: {described.returns}" if described.returns else ""
    parts = (title, described.summary, _argument_table(called), returns, _raised(described))
    return "\n\n".join(part for part in parts if part)


def _argument_table(called: Callable[..., Any]) -> str:
    """Return the arguments that a docstring explains; empty where it explains none."""
    documented = doc_of(called).of("Args")
    known = {each.name: each for each in arguments(called)}
    rows = [_argument_row(known[name], text) for name, text in documented.items()]
    return _table(("argument", "type", "default", "meaning"), rows) if rows else ""


def _argument_row(argument: Argument, text: str) -> tuple[str, ...]:
    return f"`{argument.name}`", _code(argument.kind), _code(argument.default), text


def _raised(described: Doc) -> str:
    raised: Mapping[str, str] = described.of("Raises")
    return "\n".join(f"- Raises `{name}`: {text}" for name, text in raised.items())


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _codes(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", r"\|")
