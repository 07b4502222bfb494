"""Traces of `nsqkit run`: the extension, if the standard ``OTEL_*`` variables ask for them."""

from collections.abc import Sequence

from nsqkit.handler.extension import Layer
from nsqkit.settings.settings import Settings
from nsqkit.telemetry.trace_setup import set_up


def traced(middleware: Sequence[Layer], settings: Settings) -> tuple[Layer, ...]:
    """Return the layers of a worker with traces around them, if the environment asks for traces.

    Args:
        middleware: The layers of the worker, outermost first; one of them may make traces already.
        settings: ``service`` names the service if the environment names none, ``traces_creator`` says how a
            span refers to the publisher's.

    Raises:
        SettingsError: If the environment asks for what is not installed or not known.
    """
    if not set_up(settings.service, shutdown_on_exit=False):
        return tuple(middleware)
    from nsqkit.telemetry.traces import Traces  # noqa: PLC0415 - an extra

    if any(each is Traces or isinstance(each, Traces) for each in middleware):
        return tuple(middleware)
    return (Traces(creator="parent" if settings.traces_creator == "parent" else "link"), *middleware)
