"""The error classes: one for each kind of failure, with fields and a text of one line.

Every class passes all of its arguments to ``Exception``, so that they survive copying and pickling.
"""


class NsqkitError(Exception):
    """Base class of all errors that nsqkit raises."""


class SettingsError(NsqkitError):
    """A setting has an invalid value or an unknown name."""


class EventError(NsqkitError):
    """A class cannot be an event, or two classes declare the same event."""


class HandlerError(NsqkitError):
    """A handler class is invalid.

    Args:
        problems: One line per mistake, ``file:line: problem; remedy``.
    """

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(self.problems)


class LoadError(HandlerError):
    """The modules to run cannot be loaded; ``problems`` lists the mistakes of all handlers."""


class FeedError(NsqkitError):
    """A feed cannot be read."""


class EncodeError(NsqkitError):
    """A value to publish is not an event, or cannot be written as JSON."""


class ResourceError(NsqkitError):
    """A resource cannot be opened.

    Args:
        name: Name of the resource.
        reason: Description of the error that the resource function raised.
        place: ``file:line`` that raised it; empty if it is not known.
    """

    def __init__(self, name: str, reason: str, place: str = "") -> None:
        super().__init__(name, reason, place)
        self.name = name
        self.reason = reason
        self.place = place

    def __str__(self) -> str:
        where = f"{self.place}: " if self.place else ""
        return f"{where}resource {self.name} cannot be opened: {self.reason}"


class CreationError(NsqkitError):
    """A handler or an extension cannot be created, because its ``__init__`` raised an error.

    Args:
        name: Name of the class.
        reason: Description of the error.
        place: ``file:line`` that raised it.
    """

    def __init__(self, name: str, reason: str, place: str) -> None:
        super().__init__(name, reason, place)
        self.name = name
        self.reason = reason
        self.place = place

    def __str__(self) -> str:
        return f"{self.place}: {self.name} cannot be created: {self.reason}"


class DecodeError(NsqkitError):
    """A body is not a valid event. A retry cannot help, so the message becomes a dead letter.

    Args:
        topic: Topic of the message.
        event_type: Wire type such as ``order.created.v1``; empty if it is not known.
        path: JSON path of the invalid value; ``$`` for the whole body.
        reason: What is wrong with the value.

    Attributes:
        event_id: Id in the envelope; None if it could not be read.
    """

    event_id: str | None = None

    def __init__(self, topic: str, event_type: str, path: str, reason: str) -> None:
        super().__init__(topic, event_type, path, reason)
        self.topic = topic
        self.event_type = event_type
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"topic {self.topic}: {self.event_type or 'message'} at {self.path}: {self.reason}"


class UnknownEventError(NsqkitError):
    """A body is an event whose type or version the handler does not handle.

    Args:
        topic: Topic of the message.
        event_type: Wire type of the event, such as ``order.created.v3``; the tag of a body without an
            envelope; empty if the handler's ``select`` returned None.

    Attributes:
        event_id: Id in the envelope; None if it could not be read.
    """

    event_id: str | None = None

    def __init__(self, topic: str, event_type: str) -> None:
        super().__init__(topic, event_type)
        self.topic = topic
        self.event_type = event_type

    def __str__(self) -> str:
        what = (
            f"event type {self.event_type!r}" if self.event_type else "this bare body: select returned None"
        )
        return f"topic {self.topic}: no handler here for {what}"


class ConnectionLostError(NsqkitError):
    """nsqd or nsqlookupd could not be reached, or the connection closed before the reply.

    Args:
        address: ``host:port`` of the nsqd.
        reason: Description of the failure.
    """

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(address, reason)
        self.address = address
        self.reason = reason

    def __str__(self) -> str:
        return f"nsqd {self.address}: {self.reason}"


class LookupFailedError(ConnectionLostError):
    """No nsqlookupd knows an nsqd.

    Args:
        address: ``host:port`` of the nsqlookupd, or of several.
        reason: Description of the failure, as the whole error text.
    """

    def __str__(self) -> str:
        return self.reason


class RefusedError(NsqkitError):
    """An nsqd answered with an error frame.

    Args:
        address: ``host:port`` of the nsqd.
        code: nsqd's error code, such as ``E_BAD_TOPIC``.
        description: Explanation that follows the code.

    Source:
        The error codes of nsqd/protocol_v2.go.
    """

    def __init__(self, address: str, code: str, description: str) -> None:
        super().__init__(address, code, description)
        self.address = address
        self.code = code
        self.description = description

    def __str__(self) -> str:
        return f"nsqd {self.address} refused: {self.code} {self.description}".rstrip()

    @property
    def permanent(self) -> bool:
        """Whether nsqd refuses the same command until a person changes it, nsqkit's settings or nsqd's.

        ``E_AUTH_FAILED`` is not permanent: nsqd also answers it while its auth server is away.
        """
        return self.code in _PERMANENT


_PERMANENT = frozenset(
    {
        "E_INVALID",
        "E_BAD_TOPIC",
        "E_BAD_CHANNEL",
        "E_BAD_MESSAGE",
        "E_BAD_BODY",
        "E_AUTH_FIRST",
        "E_AUTH_DISABLED",
        "E_UNAUTHORIZED",
    },
)


class PublishError(NsqkitError):
    """nsqd did not confirm a message, which may or may not have arrived.

    Args:
        topic: Topic of the publish.
        address: ``host:port`` of the nsqd, or of several.
        reason: Description of the failure.
        permanent: Whether the same publish can never succeed. In that case the message did not arrive.
    """

    def __init__(self, topic: str, address: str, reason: str, permanent: bool) -> None:  # noqa: FBT001
        super().__init__(topic, address, reason, permanent)
        self.topic = topic
        self.address = address
        self.reason = reason
        self.permanent = permanent

    def __str__(self) -> str:
        return f"topic {self.topic}: not published to nsqd {self.address}: {self.reason}"


class HandlerTimeoutError(NsqkitError, TimeoutError):
    """A handler ran longer than its ``timeout_s``.

    It is also a ``TimeoutError`` and an ``OSError``, so retry rules for these match it.

    Args:
        timeout_s: The handler's time limit in seconds.
    """

    def __init__(self, timeout_s: float) -> None:
        super().__init__(timeout_s)
        self.timeout_s = timeout_s

    def __str__(self) -> str:
        return f"the handler ran longer than its timeout_s={self.timeout_s:g}"


class UnawaitedError(NsqkitError):
    """A handler returned, but never awaited a coroutine that it had created.

    Args:
        coroutine: Qualified name of the coroutine.
        at: ``file:line`` that dropped it.
    """

    def __init__(self, coroutine: str, at: str) -> None:
        super().__init__(coroutine, at)
        self.coroutine = coroutine
        self.at = at

    def __str__(self) -> str:
        return f"{self.at}: coroutine {self.coroutine} was never awaited; write await before the call"


class BreakerOpenError(NsqkitError):
    """A call was refused because the breaker of its dependency is open.

    Args:
        dependency: Name of the breaker.
        remaining_s: Seconds until the next call may be tried, 0 or more.
    """

    def __init__(self, dependency: str, remaining_s: float) -> None:
        super().__init__(dependency, remaining_s)
        self.dependency = dependency
        self.remaining_s = remaining_s

    def __str__(self) -> str:
        return f"{self.dependency} was not called: its breaker is open for another {self.remaining_s:.3g} s"


class DatabaseAwayError(BreakerOpenError):
    """A database cannot be reached. The handler pauses, and its messages use up no attempts.

    Args:
        dependency: The database, such as ``database stock``.
        remaining_s: Seconds until it is tried again, 0 or more.
        reason: Description of the error.
    """

    def __init__(self, dependency: str, remaining_s: float, reason: str) -> None:
        super().__init__(dependency, remaining_s)
        self.args = (dependency, remaining_s, reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.dependency} is away, and tried again in {self.remaining_s:.3g} s: {self.reason}"


class SchemaError(NsqkitError):
    """A database does not have the tables that this nsqkit needs.

    Args:
        database: Name of the database.
        reason: What is wrong, and what to do.
    """

    def __init__(self, database: str, reason: str) -> None:
        super().__init__(database, reason)
        self.database = database
        self.reason = reason

    def __str__(self) -> str:
        return f"database {self.database}: {self.reason}"


class TransactionError(NsqkitError):
    """The transaction of a message cannot be committed, so its message fails.

    Args:
        database: Name of the database.
        reason: What is wrong, and what to change in the handler.
    """

    def __init__(self, database: str, reason: str) -> None:
        super().__init__(database, reason)
        self.database = database
        self.reason = reason

    def __str__(self) -> str:
        return f"database {self.database}: {self.reason}"


class DeadLetterStoreError(NsqkitError):
    """A store of dead letters cannot be used.

    Args:
        path: Path of the store's file.
        reason: What is wrong, and what to change.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"dead letters in {self.path}: {self.reason}"


class ReplayError(NsqkitError):
    """A replay of dead letters stopped before its end.

    Args:
        replayed: Number of dead letters that nsqd confirmed.
        wanted: Number of dead letters to replay.
        reason: Why the replay stopped.
    """

    def __init__(self, replayed: int, wanted: int, reason: str) -> None:
        super().__init__(replayed, wanted, reason)
        self.replayed = replayed
        self.wanted = wanted
        self.reason = reason

    def __str__(self) -> str:
        return f"stopped with {self.replayed} of {self.wanted} dead letters replayed: {self.reason}"


class BridgeError(NsqkitError):
    """A route of a bridge cannot run until a person changes something; the text names route and remedy."""


class OutageError(NsqkitError):
    """Kafka or RabbitMQ cannot be reached, or cannot confirm now; what was under way may have arrived."""


class TargetAwayError(BreakerOpenError):
    """The target of a bridge's route is away. Its messages wait in NSQ, and use up no attempts.

    Args:
        dependency: The target, such as ``kafka:orders of orders-out``.
        remaining_s: Seconds until it is tried again, 0 or more.
        reason: Description of the error.
    """

    def __init__(self, dependency: str, remaining_s: float, reason: str) -> None:
        super().__init__(dependency, remaining_s)
        self.args = (dependency, remaining_s, reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.dependency} is away, and tried again in {self.remaining_s:.3g} s: {self.reason}"


class RecordRefusedError(NsqkitError):
    """Kafka or RabbitMQ refuses one record, such as one that is too large or cannot be routed."""
