"""Spans of a route are made only if the program uses OpenTelemetry."""

import sys

import pytest

from nsqkit.bridge.hops import hops


def test_without_opentelemetry_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "opentelemetry.trace", raising=False)
    assert hops() is None


def test_with_it_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation without the SDK has none."""
    import opentelemetry.trace  # noqa: F401, PLC0415 - as a program does

    assert hops() is not None
    monkeypatch.setitem(sys.modules, "nsqkit.telemetry.traces.hops", None)
    assert hops() is None
