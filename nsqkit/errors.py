"""The error tree: one class per way to fail, each with fields and one clear line.

Every class passes all of its arguments to ``Exception``, so that copies and pickles keep them.
"""


class NsqkitError(Exception):
    """Any failure that nsqkit itself reports."""


class SettingsError(NsqkitError):
    """A setting has a value that it cannot have, or a name that does not exist."""


class EventError(NsqkitError):
    """A class cannot be an event, or an event was declared twice."""


class HandlerError(NsqkitError):
    """A handler class is wrong.

    Args:
        problems: One line per mistake, ``file:line: what; what to change``.
    """

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(self.problems)


class LoadError(HandlerError):
    """The modules to run cannot be loaded; all problems of all handlers, one line each."""


class FeedError(NsqkitError):
    """A feed cannot be read."""


class EncodeError(NsqkitError):
    """A value to publish is not an event, or cannot be written as JSON."""


class ResourceError(NsqkitError):
    """A resource cannot be opened.

    Args:
        name: The name of the resource.
        reason: What its function raised.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        return f"resource {self.name} cannot be opened: {self.reason}"


class DecodeError(NsqkitError):
    """A body is not a valid event. Trying again cannot help.

    Args:
        topic: Where the message came from.
        event_type: Wire type such as ``order.created.v1``, or empty where it is not known.
        path: JSON path of the offending value, ``$`` for the whole body.
        reason: What is wrong there.

    Attributes:
        event_id: The envelope's id, where it could be read; else None.
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
    """A body is an event of a type or version that the handler does not take.

    Args:
        topic: Where the message came from.
        event_type: Its wire type, such as ``order.created.v3``.

    Attributes:
        event_id: The envelope's id, where it could be read; else None.
    """

    event_id: str | None = None

    def __init__(self, topic: str, event_type: str) -> None:
        super().__init__(topic, event_type)
        self.topic = topic
        self.event_type = event_type

    def __str__(self) -> str:
        return f"topic {self.topic}: no handler here for event type {self.event_type!r}"


class ConnectionLostError(NsqkitError):
    """There is no connection to an nsqd, or it closed before the reply.

    Args:
        address: ``host:port`` of the nsqd.
        reason: What happened.
    """

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(address, reason)
        self.address = address
        self.reason = reason

    def __str__(self) -> str:
        return f"nsqd {self.address}: {self.reason}"


class LookupFailedError(ConnectionLostError):
    """No nsqlookupd names an nsqd.

    Args:
        address: ``host:port`` of the nsqlookupd, or of several.
        reason: What happened, as a whole sentence.
    """

    def __str__(self) -> str:
        return self.reason


class RefusedError(NsqkitError):
    """An nsqd answered with an error frame.

    Args:
        address: ``host:port`` of the nsqd.
        code: Its error code, such as ``E_BAD_TOPIC``.
        description: The rest of its answer.

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
        """Whether the same command can never be accepted."""
        return self.code in _PERMANENT


_PERMANENT = frozenset(
    {
        "E_INVALID",
        "E_BAD_TOPIC",
        "E_BAD_CHANNEL",
        "E_BAD_MESSAGE",
        "E_BAD_BODY",
        "E_AUTH_FIRST",
        "E_AUTH_FAILED",
        "E_AUTH_DISABLED",
        "E_UNAUTHORIZED",
    },
)


class PublishError(NsqkitError):
    """A message was not confirmed by nsqd: it may or may not have arrived.

    Args:
        topic: The topic that it was published to.
        address: ``host:port`` of the nsqd, or several of them.
        reason: What happened.
        permanent: Whether the same publish can never succeed; it then surely did not arrive.
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

    It is a ``TimeoutError``, and so an ``OSError``: a rule for one of these matches it too.

    Args:
        timeout_s: The limit that was passed.
    """

    def __init__(self, timeout_s: float) -> None:
        super().__init__(timeout_s)
        self.timeout_s = timeout_s

    def __str__(self) -> str:
        return f"the handler ran longer than its timeout_s={self.timeout_s:g}"


class BreakerOpenError(NsqkitError):
    """A call was not made, because the breaker of its dependency is open.

    Args:
        dependency: The breaker's name.
        remaining_s: Seconds until a call may be tried, 0 or more.
    """

    def __init__(self, dependency: str, remaining_s: float) -> None:
        super().__init__(dependency, remaining_s)
        self.dependency = dependency
        self.remaining_s = remaining_s

    def __str__(self) -> str:
        return f"{self.dependency} was not called: its breaker is open for another {self.remaining_s:.3g} s"


class DeadLetterStoreError(NsqkitError):
    """A store of dead letters cannot be used.

    Args:
        path: The file.
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
        replayed: Number of dead letters that nsqd had confirmed by then.
        wanted: Number of dead letters to replay.
        reason: Why it stopped.
    """

    def __init__(self, replayed: int, wanted: int, reason: str) -> None:
        super().__init__(replayed, wanted, reason)
        self.replayed = replayed
        self.wanted = wanted
        self.reason = reason

    def __str__(self) -> str:
        return f"stopped with {self.replayed} of {self.wanted} dead letters replayed: {self.reason}"
