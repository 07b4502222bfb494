from collections.abc import Callable

ERROR: str
IDENTIFY: str
IDENTIFY_RESPONSE: str
READY: str
RESPONSE: str

class EventedMixin:
    def on(self, name: str, callback: Callable[..., object]) -> None: ...
    def trigger(self, name: str, *args: object, **kwargs: object) -> None: ...
