"""Conventions: the names in spans are those of the version of OpenTelemetry's that is named."""

import pytest
from opentelemetry.semconv import schemas
from opentelemetry.semconv._incubating.attributes import cloudevents_attributes, messaging_attributes
from opentelemetry.semconv.attributes import error_attributes, exception_attributes, server_attributes

from nsqkit.telemetry.traces import conventions

KNOWN = {
    value
    for module in (
        messaging_attributes,
        cloudevents_attributes,
        error_attributes,
        exception_attributes,
        server_attributes,
    )
    for name, value in vars(module).items()
    if name.isupper()
}
NAMES = {value for name, value in vars(conventions).items() if isinstance(value, str) and name.isupper()} - {
    conventions.SCHEMA_URL,
    conventions.EXCEPTION,
}


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_name_is_of_the_conventions_or_nsqkits_own(name: str) -> None:
    assert name in KNOWN or name.startswith("nsqkit.")


def test_the_version_is_the_one_that_the_names_were_compared_with() -> None:
    """If a newer package is locked: compare what has changed, then name its version."""
    versions = [url.value for url in schemas.Schemas]
    assert versions[-1] == conventions.SCHEMA_URL
