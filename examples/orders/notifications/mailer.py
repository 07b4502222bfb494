"""Mailer: sends mail by SMTP, or writes it to ``.eml`` files where no SMTP server is set."""

import smtplib
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Final, Protocol

from nsqkit import Settings, resource

TIMEOUT_S: Final = 5.0


class Mailer(Protocol):
    """Sends mail; it is used in several threads at once."""

    def send(self, message: EmailMessage) -> None:
        """Send one mail.

        Raises:
            OSError: If the mail was not taken; ``smtplib`` derives its errors from it.
        """


class SmtpMailer:
    """Sends each mail on a new connection.

    Args:
        host: Host of the SMTP server.
        port: Its port.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port

    def send(self, message: EmailMessage) -> None:
        """Send one mail."""
        with smtplib.SMTP(self._host, self._port, timeout=TIMEOUT_S) as smtp:
            smtp.send_message(message)


class FileMailer:
    """Writes each mail to a file; its name is the id of the mail.

    Args:
        folder: Where the files go.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def send(self, message: EmailMessage) -> None:
        """Write one mail; the same mail again replaces its file."""
        name = message["Message-ID"].strip("<>").partition("@")[0]
        (self._folder / f"{name}.eml").write_bytes(bytes(message))


@resource
def mailer(settings: Settings) -> Iterator[Mailer]:
    """Open the mailer: SMTP at ``app.smtp`` (``host:port``), else files in ``app.mail_folder``."""
    if address := settings.app_text("smtp", ""):
        host, _, port = address.rpartition(":")
        yield SmtpMailer(host, int(port))
    else:
        yield FileMailer(Path(settings.app_text("mail_folder", "mail")))
