"""Watch: what the nsqlookupd and nsqd of a worker report about its handlers. It receives no messages."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from nsqkit.admin import HandlerState
from nsqkit.background import Background
from nsqkit.handler.spec import HandlerSpec
from nsqkit.nsq.clock_skews import ClockSkews
from nsqkit.nsq.consumer import Consumer
from nsqkit.nsq.consumer_options import ConsumerOptions
from nsqkit.nsq.dials import Dials
from nsqkit.nsq.discovery import Endpoints
from nsqkit.nsq.lookup import Lookup
from nsqkit.nsq.nodes import configured_http
from nsqkit.nsq.pauses import Pauses, Polled
from nsqkit.nsq.producers import Producers
from nsqkit.nsq.rdy_timer import RdyTimer
from nsqkit.nsq.registrations import Registrations
from nsqkit.nsq.topic_channels import TopicChannels
from nsqkit.policy.connection_state import ConnectionState
from nsqkit.policy.redaction import redact
from nsqkit.policy.registration import Pair, durable
from nsqkit.runtime.clock import Clock
from nsqkit.settings.settings import Settings
from nsqkit.telemetry.metrics import Figure, Labels, Metrics
from nsqkit.worker.hangs import Hangs
from nsqkit.worker.stalls import Stalls


class Watch:
    """Registers a worker's channels, and watches its topics and channels.

    Args:
        specs: The handlers of the worker.
        settings: Settings of the worker.
        lookup: Client of the nsqlookupd; None for none.
        metrics: Metrics of all handlers.
        log: structlog logger without fields.
        background: Starts the tasks of the watch and of its consumers.

    Attributes:
        clock: The clock of the worker, with the skews of the clocks of its nsqd.
    """

    def __init__(
        self,
        specs: Sequence[HandlerSpec],
        settings: Settings,
        lookup: Lookup | None,
        *,
        metrics: Metrics,
        log: Any,
        background: Background,
    ) -> None:
        self._background = background
        pairs = [(topic, spec.channel) for spec in specs for topic in spec.topics]
        poll_s, timeout_s = settings.lookupd_poll_s, settings.connect_timeout_s
        common: dict[str, Any] = {"timeout_s": timeout_s, "log": log, "background": background}
        self._specs = {(spec.topic, spec.channel): spec for spec in specs}
        self._settings = settings
        self._metrics = metrics
        self._log = log
        self._consumers: dict[Pair, Consumer] = {}
        self._stalls: dict[tuple[str, str], Stalls] = {}
        self._hangs: list[Hangs] = []
        self._polled: Polled = {}
        self._rdy_timer = RdyTimer()
        self._endpoints = Endpoints(settings.nsqd, lookup, poll_s, configured_http(settings))
        self._dials = Dials()
        self._channels = TopicChannels(durable(pairs), timeout_s=timeout_s, log=log)
        self._registrations = Registrations(lookup or Lookup(()), durable(pairs), poll_s=poll_s, **common)
        self._producers = Producers(lookup, on_change=self._on_producer, **common)
        self._clocks = ClockSkews(
            timeout_s=timeout_s, on_skew=metrics.clock_skew, log=log, now_ns=Clock().now_ns
        )
        self.clock = Clock(skews_ns=self._clocks.skews_ns)
        self._pauses = Pauses(
            pairs,
            self._addresses,
            poll_s=poll_s,
            on_poll=self._on_poll,
            own_pauses=lambda: self._channels.pauses,
            clocks=self._clocks,
            **common,
        )
        metrics.add_source(self._figures)

    def consumer(self, options: ConsumerOptions, **callbacks: Any) -> Consumer:
        """Return a new consumer of one handler, which reports to this watch; arguments as of ``Consumer``."""
        consumer = Consumer(
            options,
            self._endpoints,
            channels=self._channels,
            on_producer=self._producers.found,
            background=self._background,
            clocks=self._clocks,
            dials=self._dials,
            rdy_timer=self._rdy_timer,
            **callbacks,
        )
        self._consumers[options.topics[0], options.channel] = consumer
        self._look_at(consumer, options, callbacks["log"])
        return consumer

    def _look_at(self, consumer: Consumer, options: ConsumerOptions, log: Any) -> None:
        spec = self._specs[options.topics[0], options.channel]
        meter = self._metrics.for_handler(spec.topic, spec.channel, spec.name)
        self._hangs.append(Hangs(consumer, log))
        self._stalls[spec.topic, spec.channel] = Stalls(
            consumer, spec.topics, spec.channel, meter=meter, log=log
        )

    def http_address(self, address: str) -> str | None:
        """Return ``host:port`` of the HTTP port of an nsqd that a handler consumes from, if it is known."""
        known = (consumer.http_address(address) for consumer in self._consumers.values())
        return next(filter(None, known), None)

    def start(self) -> None:
        """Start to register and to poll, and return at once."""
        self._registrations.start()
        self._pauses.start()

    async def wait_ready(self) -> None:
        """Wait until there are no :attr:`problems`."""
        await self._registrations.wait_ready()

    async def close(self) -> None:
        """Stop; may be called before start."""
        await self._registrations.close()
        await self._producers.close()
        await self._pauses.close()

    @property
    def problems(self) -> tuple[str, ...]:
        """Why messages of a new topic might miss a handler, one line each; empty if they cannot."""
        return tuple(map(redact, self._registrations.problems))

    @property
    def faults(self) -> tuple[str, ...]:
        """The subscriptions that hang, one line each; only a restart of the worker brings them back."""
        return tuple(line for each in self._hangs for line in each.faults)

    def shown(self, state: HandlerState) -> HandlerState:
        """Return a handler's state with what is known here."""
        return replace(
            state,
            problems=state.problems + self.problems,
            has_producer=self._producers.has_producer(state.topic),
            paused_in_nsqd=self._paused(self._specs[state.topic, state.channel]),
            stalled_in_nsqd=self._stalled(state),
        )

    def _paused(self, spec: HandlerSpec) -> tuple[str, ...] | None:
        return self._pauses.of(spec.topics, spec.channel)

    def _stalled(self, state: HandlerState) -> tuple[str, ...]:
        stalls = self._stalls.get((state.topic, state.channel))
        return stalls.names if stalls else ()

    def _addresses(self) -> Iterable[str]:
        """Return the HTTP address of every nsqd to ask: of many dead ones each would be waited for."""
        live = (consumer.live_http_addresses for consumer in self._consumers.values())
        silent = (each.http_addresses for each in self._hangs)
        return self._settings.nsqd_http or frozenset().union(*live, *silent)

    def _on_producer(self, topic: str, has_producer: bool) -> None:  # noqa: FBT001 - a callback
        for spec in self._specs.values():
            if spec.topic == topic:
                meter = self._metrics.for_handler(spec.topic, spec.channel, spec.name)
                meter.topic_without_producer(not has_producer)

    def _on_poll(self, found: Polled) -> None:
        self._polled = found
        for stalls in self._stalls.values():
            stalls.polled(found)
        for hangs in self._hangs:
            hangs.polled(found.keys())
        wanted = (consumer.http_addresses for consumer in self._consumers.values())
        self._clocks.keep(frozenset().union(*wanted))

    def _figures(self) -> Iterator[Figure]:
        """Yield the metrics of every handler at every nsqd that it has or wants a connection to."""
        for pair, consumer in tuple(self._consumers.items()):
            rdy = consumer.rdy
            for address, state in consumer.states.items():
                labels = (*pair, self._specs[pair].name, address)
                yield "nsqkit_rdy", labels, rdy.get(address, 0)
                for each in ConnectionState:
                    yield "nsqkit_connection_state", (*labels, each), int(each is state)
                yield from self._channel_figures(self._specs[pair], labels, consumer.http_address(address))

    def _channel_figures(
        self, spec: HandlerSpec, labels: Labels, http_address: str | None
    ) -> Iterator[Figure]:
        if http_address is None:
            return
        is_paused = self._pauses.is_paused(http_address, spec.topics, spec.channel)
        if is_paused is not None:
            yield "nsqkit_channel_paused", labels, int(is_paused)
        if (found := self._polled.get(http_address)) is not None:
            counts = [found[topic, spec.channel] for topic in spec.topics if (topic, spec.channel) in found]
            yield "nsqkit_channel_depth", labels, sum(each.depth for each in counts)
            yield "nsqkit_channel_in_flight", labels, sum(each.in_flight for each in counts)
            yield "nsqkit_channel_deferred", labels, sum(each.deferred for each in counts)
