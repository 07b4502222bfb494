"""The one error of the tool: why it could not do its work. What it finds out is no error."""


class ChaosFailedError(Exception):
    """Something outside of nsqkit is not as the tool needs it."""
