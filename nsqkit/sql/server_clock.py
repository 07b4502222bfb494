"""Server clock: the time of a database's server, so that all processes mean the same moment by a due time."""

from typing import Final

from sqlalchemy import Connection, text

from nsqkit.handler.wall_clock import WallClock

_NOW: Final = text("SELECT extract(epoch FROM clock_timestamp())")


class ServerClock:
    """The clock of this machine, corrected by its difference from the server's. SQLite has no server.

    Args:
        clock: Clock of this machine.

    Attributes:
        offset_s: Seconds by which the server is ahead; 0 before the first measurement.
    """

    def __init__(self, clock: WallClock) -> None:
        self._clock = clock
        self.offset_s = 0.0

    def now_s(self) -> float:
        """Return the present time of the server, seconds since 1970 UTC."""
        return self._clock.now_s() + self.offset_s

    def measure(self, connection: Connection) -> None:
        """Measure the difference, to half of the time that one statement takes.

        Args:
            connection: A connection to the database.
        """
        if connection.dialect.name != "postgresql" or self._clock.is_virtual:
            return
        asked_s = self._clock.now_s()
        server_s = float(connection.execute(_NOW).scalar_one())
        self.offset_s = server_s - (asked_s + self._clock.now_s()) / 2
