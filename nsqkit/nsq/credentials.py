"""Credentials: the secret and the TLS context for connections, read again when their files change."""

import contextlib
import os
from dataclasses import replace

from nsqkit.errors import SettingsError
from nsqkit.nsq.identify import ConnectionOptions
from nsqkit.nsq.log import Log
from nsqkit.nsq.tls import Tls, tls_of
from nsqkit.settings.secret import secret_of
from nsqkit.settings.settings import Settings

_Stamp = tuple[tuple[int, int, int] | None, ...]


class Credentials:
    """The secret and the TLS context that the settings name.

    A file that cannot be used, as in the middle of a rotation, leaves the earlier ones in effect.

    Args:
        settings: Settings with the secret, or the names of files.
        log: Logger for files that cannot be used; None for none.

    Raises:
        SettingsError: If the settings or files cannot be used.
    """

    def __init__(self, settings: Settings, log: Log | None) -> None:
        self._settings = settings
        self._log = log
        names = (
            settings.auth_secret_file,
            settings.tls_ca_file,
            settings.tls_cert_file,
            settings.tls_key_file,
        )
        self._files = tuple(name for name in names if name is not None)
        self._seen = self._stamp()
        self._problem = ""
        self.secret, self.tls = self._read()

    def refresh(self, options: ConnectionOptions) -> ConnectionOptions:
        """Return options with the secret and the TLS context of the files as they are now."""
        if not self._files:
            return options
        stamp = self._stamp()
        if stamp != self._seen:
            try:
                self.secret, self.tls = self._read()
            except SettingsError as error:
                self._report(str(error))
            else:
                self._seen, self._problem = stamp, ""
        return replace(options, auth_secret=self.secret, tls=self.tls)

    def _read(self) -> tuple[str | None, Tls | None]:
        return secret_of(self._settings, "auth_secret"), tls_of(self._settings)

    def _report(self, problem: str) -> None:
        if self._log is not None and problem != self._problem:
            hint = "the files as they were before are used; they are read again for each new connection"
            self._log.warning("credentials_unusable", error=problem, hint=hint)
        self._problem = problem

    def _stamp(self) -> _Stamp:
        """Return what changes with the content of the files; symbolic links are followed."""
        return tuple(map(_stamp_of, self._files))


def _stamp_of(file: str) -> tuple[int, int, int] | None:
    with contextlib.suppress(OSError):
        found = os.stat(file)  # noqa: PTH116 - as the settings have it
        return found.st_ino, found.st_size, found.st_mtime_ns
    return None
