"""The sentences between the tables of the reference."""

from typing import Final

HEAD: Final = """\
# Reference

`scripts/reference` writes this page from the source; do not edit it. All names are imported from `nsqkit`,
except where another module is named. The [index](README.md) lists the guides by task, the
[glossary](glossary.md) explains the words, and [Settings](settings.md) has every setting.
"""

DATABASES: Final = """\
## Databases

See [Inbox](inbox.md) and [Outbox](outbox.md). `Database` and `outbox` are imported from `nsqkit.sql`, which
needs the extra `sql`.
"""

SAGAS: Final = """\
## Sagas

See [Sagas](sagas.md). These names are imported from `nsqkit.sql.saga`, and `relayed` from
`nsqkit.sql.testing`.
"""

BATCHES: Final = """\
It takes the class keywords of `Handler`, and two more:"""

OUTCOMES: Final = """\
## Outcomes

A handler returns one of these, or `None` for `Finish()`. `Outcome` is the type of them all.
[Operations](operations.md#outcomes-and-reasons) explains the labels and reasons in metrics and logs.
"""

SETTINGS: Final = """\
`Settings.load()` reads the environment and `nsqkit.toml`. [Settings](settings.md) has all of them."""

ERRORS: Final = """\
## Errors

The arguments of an error are its attributes. Its text is one line, or one line for each problem. Errors
marked with * are imported from `nsqkit.errors`.
"""

METRICS: Final = """\
## Metrics

The worker serves them on `/metrics` of its admin port, for Prometheus. A histogram has series that end in
`_bucket`, `_sum` and `_count`. The `nsqkit_process_…` metrics exist on Linux only.
"""

LOGS: Final = """\
## Log events

Log lines are console lines on a terminal and JSON elsewhere, unless the setting `log_format` says otherwise.
A JSON line also has `timestamp`, `level` and `event`; a console line is shorter
([Logs](operations.md#logs)). Lines about one handler have {bound}. Lines about one message, and all lines
that are written inside a handler, have {message}; without an envelope there is no `request_id` and no
`event_id`.
The embedded broker logs sentences instead of events.
"""

ANY_EVENT = """### AnyEvent

The type of all events, for type checkers. It is the bound of a team's own type variable, without which
`class Team(Handler[E], abstract=True)` is refused: `E = TypeVar("E", bound=AnyEvent)`."""
