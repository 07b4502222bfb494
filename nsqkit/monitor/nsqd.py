"""Nsqd: what the nsqd of a worker report about the channels of its handlers, by handler and by nsqd."""

from typing import Any, Final

from nsqkit.telemetry.metrics import HANDLER_LABELS, Figure, Labels

_STATE: Final = "nsqkit_connection_state"
_FAMILIES: Final = {
    "nsqkit_rdy": "rdy",
    "nsqkit_channel_depth": "depth",
    "nsqkit_channel_deferred": "deferred",
    "nsqkit_channel_in_flight": "in_flight",
    "nsqkit_channel_paused": "paused",
}


class Nsqd:
    """Sums of nsqd's figures."""

    def __init__(self) -> None:
        self._handlers: dict[Labels, dict[str, int]] = {}
        self._rows: dict[str, dict[str, Any]] = {}

    def add(self, figure: Figure) -> None:
        """Take in a metric; one that is not of an nsqd is left out."""
        family, labels, value = figure
        if family in _FAMILIES:
            self._add(_FAMILIES[family], labels, value)
        elif family == _STATE and value:
            self._add_state(*labels[len(HANDLER_LABELS) :])

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The sums over all handlers for each nsqd, as JSON; a figure that is not known is left out."""
        return [self._rows[address] for address in sorted(self._rows)]

    def of_handler(self, labels: Labels) -> dict[str, int | None]:
        """Return depth and deferred messages of a handler over all nsqd; None if they are not known."""
        found = self._handlers.get(labels, {})
        return {key: found.get(key) for key in ("depth", "deferred")}

    def _add(self, key: str, labels: Labels, value: int) -> None:
        *handler, address = labels
        for sums in (self._handlers.setdefault(tuple(handler), {}), self._row(address)):
            sums[key] = sums.get(key, 0) + value

    def _add_state(self, address: str, state: str) -> None:
        states = self._row(address)["states"]
        states[state] = states.get(state, 0) + 1

    def _row(self, address: str) -> dict[str, Any]:
        return self._rows.setdefault(address, {"address": address, "states": {}})
