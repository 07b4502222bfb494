"""Options: build the options of connections from the settings."""

from nsqkit.nsq.compression import checked_compression
from nsqkit.nsq.credentials import Credentials
from nsqkit.nsq.frames import LEAST_MESSAGE_BYTES, LONGEST_FRAME_BYTES
from nsqkit.nsq.identify import ConnectionOptions
from nsqkit.nsq.log import Log
from nsqkit.settings.settings import Settings


def connection_options(
    settings: Settings, *, holds_s: float = 0.0, log: Log | None = None
) -> ConnectionOptions:
    """Return the options of connections to nsqd.

    Args:
        settings: Settings for all options but *holds_s*.
        holds_s: Longest time in seconds to keep a message with TOUCH; 0 or more.
        log: Logger for certificates and secrets that change and cannot be used then; None for none.

    Raises:
        SettingsError: If the settings for TLS, secret or compression cannot be used.
    """
    credentials = Credentials(settings, log)
    return ConnectionOptions(
        user_agent=f"nsqkit/{settings.service}",
        heartbeat_s=settings.heartbeat_s,
        msg_timeout_s=settings.msg_timeout_s,
        holds_s=holds_s,
        output_buffer_bytes=settings.output_buffer_bytes,
        output_buffer_ms=settings.output_buffer_ms,
        connect_timeout_s=settings.connect_timeout_s,
        auth_secret=credentials.secret,
        tls=credentials.tls,
        compression=checked_compression(settings),
        deflate_level=settings.deflate_level,
        refresh=credentials.refresh,
        max_frame_bytes=max(LONGEST_FRAME_BYTES, settings.max_msg_bytes + LEAST_MESSAGE_BYTES),
    )
