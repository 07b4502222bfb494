"""The real nsqd of the integration tests, for the run of the plugin that needs it."""

from tests.integration.conftest import nsq_programs

__all__ = ["nsq_programs"]
