"""URLs: which database a URL names, and the drivers that connect to it. It connects to nothing."""

from dataclasses import dataclass
from typing import Final, Self

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from nsqkit.errors import SettingsError
from nsqkit.settings.settings import Settings

_DRIVERS: Final = {
    "sqlite": ("sqlite+aiosqlite", "sqlite+pysqlite"),
    "postgresql": ("postgresql+psycopg", "postgresql+psycopg"),  # one driver for both kinds (ADR 0057)
}
_FORMS: Final = "postgresql://USER:PASSWORD@HOST/NAME or sqlite:///FILE"


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """The URL of one database, for each kind of handler.

    Args:
        on_loop: URL with the driver for the event loop.
        plain: URL with the driver for threads.
    """

    on_loop: URL
    plain: URL

    @classmethod
    def read(cls, name: str, settings: Settings) -> Self:
        """Return the URL of a database from its setting ``app.<name>_url``.

        Args:
            name: Name of the database.
            settings: Where the URL is.

        Raises:
            SettingsError: If it is missing, or no URL of SQLite or PostgreSQL.
        """
        setting = f"{name}_url"
        text = settings.app_text(setting, "")
        if not text:
            raise SettingsError(
                f"the database {name!r} has no URL: set NSQKIT_APP_{setting.upper()}={_FORMS}"
                f" (or {setting} in the table [app] of nsqkit.toml)"
            )
        origin = settings.source_of(f"app.{setting}")
        try:
            url = make_url(text)
        except ArgumentError:
            raise _wrong(setting, "is not a URL", origin) from None
        if url.drivername not in _DRIVERS:
            raise _wrong(setting, f"begins with {url.drivername!r}", origin)
        if url.drivername == "sqlite" and url.database in {None, "", ":memory:"}:
            raise _wrong(setting, "names no file: a database in memory has one connection", origin)
        on_loop, plain = (url.set(drivername=driver) for driver in _DRIVERS[url.drivername])
        return cls(on_loop, plain)


def _wrong(setting: str, problem: str, origin: str) -> SettingsError:
    """Return the error on a URL, without the URL: it may contain a password."""
    return SettingsError(f"app.{setting} {problem}; give {_FORMS} (from {origin})")
