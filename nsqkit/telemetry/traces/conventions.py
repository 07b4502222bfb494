"""Conventions: the names of attributes and events in spans, by a pinned version of OpenTelemetry's.

The conventions for messaging are still in development, so names may change with the version (ADR 0053).
"""

from typing import Final

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"

SYSTEM: Final = "messaging.system"
OPERATION_NAME: Final = "messaging.operation.name"
OPERATION_TYPE: Final = "messaging.operation.type"
DESTINATION: Final = "messaging.destination.name"
SUBSCRIPTION: Final = "messaging.destination.subscription.name"
MESSAGE_ID: Final = "messaging.message.id"
CONVERSATION_ID: Final = "messaging.message.conversation_id"
MESSAGE_COUNT: Final = "messaging.batch.message_count"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
ERROR_TYPE: Final = "error.type"
EVENT_ID: Final = "cloudevents.event_id"
EVENT_SOURCE: Final = "cloudevents.event_source"
EVENT_TYPE: Final = "cloudevents.event_type"
EVENT_SUBJECT: Final = "cloudevents.event_subject"
EVENT_SPEC_VERSION: Final = "cloudevents.event_spec_version"
EXCEPTION: Final = "exception"
EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_MESSAGE: Final = "exception.message"

# OpenTelemetry has no names for these.
HANDLER: Final = "nsqkit.handler"
ATTEMPTS: Final = "nsqkit.attempts"
OUTCOME: Final = "nsqkit.outcome"
REASON: Final = "nsqkit.reason"
DELAY_S: Final = "nsqkit.delay_s"
DEPENDENCY: Final = "nsqkit.dependency"
STATE: Final = "nsqkit.state"
REQUEUED: Final = "nsqkit.requeue"
DEAD_LETTERED: Final = "nsqkit.dead_letter"
KEPT: Final = "nsqkit.kept"
BREAKER: Final = "nsqkit.breaker"
KILL_SWITCH: Final = "nsqkit.kill_switch"
