"""URLs: the texts by which a bridge's file names what a route reads and writes. They contain no secrets."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from nsqkit.bridge.address import Address, KafkaAddress, NsqAddress, RabbitmqAddress
from nsqkit.bridge.route import MAX_BATCH
from nsqkit.errors import SettingsError
from nsqkit.policy.address import split_address
from nsqkit.policy.names import channel_problem, topic_problem
from nsqkit.policy.suggestion import suggestion

FORMS: Final = (
    "nsq:topic/channel or nsq:topic, kafka://HOST:9092/topic?group=…, or amqp://HOST:5672/queue or exchange"
)
_KAFKA_TOPIC: Final = re.compile(r"[a-zA-Z0-9._-]{1,249}")
_STARTS: Final = ("earliest", "latest")
_MAX_NAME_BYTES: Final = 255  # of a short string of AMQP
_SECRETS: Final = {
    "kafka": "kafka_username and kafka_password",
    "amqp": "rabbitmq_username and rabbitmq_password",
}
_OPTIONS: Final[Mapping[tuple[str, bool], tuple[str, ...]]] = {
    ("kafka", True): ("group", "start"),
    ("kafka", False): (),
    ("amqp", True): ("vhost", "prefetch"),
    ("amqp", False): ("routing_key", "vhost"),
}


def read_address(text: str, *, is_source: bool) -> tuple[Address | None, list[str]]:
    """Return the address in a text, and its problems, one line each, which repeat no secret.

    Args:
        text: The text of ``from`` or ``to``.
        is_source: Whether it is that of ``from``.
    """
    url = _Url(text, is_source=is_source)
    address = url.read()
    return (None, url.problems) if url.problems else (address, [])


class _Url:
    def __init__(self, text: str, *, is_source: bool) -> None:
        self.problems: list[str] = []
        self._text = text
        self._is_source = is_source
        self._options: dict[str, str] = {}

    def read(self) -> Address | None:
        scheme, colon, rest = self._text.partition(":")
        readers: Mapping[str, Callable[[str], Address | None]] = {
            "nsq": self._nsq,
            "kafka": self._kafka,
            "amqp": self._rabbitmq,
            "amqps": self._rabbitmq,
        }
        if not colon or scheme not in readers:
            hint = suggestion(scheme, readers)
            self.problems.append(f"there is no scheme {scheme!r:.40}{hint}; give {FORMS}")
            return None
        return readers[scheme](rest if scheme == "nsq" else scheme)

    def _nsq(self, rest: str) -> NsqAddress:
        form = "nsq:topic/channel" if self._is_source else "nsq:topic"
        topic, slash, channel = rest.partition("/")
        if rest.startswith("//"):
            self.problems.append(f"give {form}; the nsqd are those of the settings nsqd or lookupd")
            return NsqAddress("")
        self._note(topic_problem(topic))
        if self._is_source and not slash:
            self.problems.append(f"it names no channel; give {form}")
        elif self._is_source:
            self._note(channel_problem(channel))
        elif slash:
            self.problems.append(f"messages are published to a topic, not to a channel; give {form}")
        return NsqAddress(topic, channel if self._is_source else "")

    def _kafka(self, scheme: str) -> KafkaAddress:
        servers, topic = self._split(scheme)
        if not _KAFKA_TOPIC.fullmatch(topic):
            self.problems.append(
                f"topic {topic!r:.60} is not a name of 1 to 249 of A-Z a-z 0-9 . _ -; give kafka://HOST:9092/topic"
            )
        if self._is_source and not self._options.get("group"):
            self.problems.append("it names no consumer group; add ?group=NAME")
        start = self._options.get("start", "earliest")
        if start not in _STARTS:
            self.problems.append(f"start={start!r:.40} is neither earliest nor latest")
        return KafkaAddress(servers=servers, topic=topic, group=self._options.get("group", ""), start=start)

    def _rabbitmq(self, scheme: str) -> RabbitmqAddress:
        servers, name = self._split(scheme)
        if len(servers) > 1:
            self.problems.append("give one host; a load balancer or DNS name can stand for several")
        host, port = split_address(servers[0]) if servers else ("", 0)
        routing_key = self._options.get("routing_key", "")
        if self._is_source and not name:
            self.problems.append(
                f"it names no queue; give {scheme}://HOST:{5672 if scheme == 'amqp' else 5671}/queue"
            )
        if not self._is_source and not name and not routing_key:
            self.problems.append("the default exchange needs the name of a queue; add ?routing_key=QUEUE")
        for what, value in (("name", name), ("routing_key", routing_key)):
            if len(value.encode()) > _MAX_NAME_BYTES:
                self.problems.append(f"its {what} has more than {_MAX_NAME_BYTES} bytes")
        return RabbitmqAddress(
            host=host,
            port=port,
            vhost=self._options.get("vhost", "/"),
            queue=name if self._is_source else "",
            exchange="" if self._is_source else name,
            routing_key=routing_key,
            has_tls=scheme == "amqps",
            prefetch=self._prefetch(),
        )

    def _prefetch(self) -> int:
        text = self._options.get("prefetch", str(MAX_BATCH))
        if (
            text.isascii()
            and text.isdigit()
            and len(text) <= len(str(MAX_BATCH))
            and 1 <= int(text) <= MAX_BATCH
        ):
            return int(text)
        self.problems.append(f"prefetch={text!r:.40} is not in 1..{MAX_BATCH}")
        return MAX_BATCH

    def _split(self, scheme: str) -> tuple[tuple[str, ...], str]:
        """Return the servers and the name in the path, and keep the options."""
        kind = scheme.removesuffix("s")
        try:
            parts = urlsplit(self._text)
        except ValueError as error:
            self.problems.append(f"it is not a URL: {error}")
            return (), "-"  # a name, so that no other problem is reported
        self._read_options(parts.query, _OPTIONS[kind, self._is_source])
        if parts.fragment:
            self.problems.append("it has a part after #; remove it, or write %23")
        name, slash, _ = parts.path.removeprefix("/").partition("/")
        if slash:
            self.problems.append(f"its path {parts.path!r:.60} has several parts; write / in a name as %2F")
        if "@" in parts.netloc:
            self.problems.append(
                f"a user or password does not belong here; remove it, and set {_SECRETS[kind]} "
                "in the environment or in nsqkit.toml"
            )
            return (), unquote(name)
        return tuple(self._servers(parts.netloc.split(","))), unquote(name)

    def _servers(self, texts: Sequence[str]) -> list[str]:
        for text in texts:
            try:
                split_address(text)
            except SettingsError as error:
                self.problems.append(str(error))
                return []
        return list(texts)

    def _read_options(self, query: str, known: Sequence[str]) -> None:
        for name, value in parse_qsl(query, keep_blank_values=True):
            if name not in known:
                there_are = f"there are {', '.join(known)}" if known else "there are none here"
                self.problems.append(
                    f"there is no option {name!r:.40}{suggestion(name, known) or f'; {there_are}'}"
                )
            elif name in self._options:
                self.problems.append(f"option {name} is given twice")
            elif not value:
                self.problems.append(f"option {name} has no value")
            else:
                self._options[name] = value

    def _note(self, problem: str | None) -> None:
        if problem is not None:
            self.problems.append(problem)
