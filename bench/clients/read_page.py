"""Reads the events of a monitor page again and again, as an open page does; the first one prints a line.

It ends with 1 if there is no page at the port.
"""

import http.client
import sys
from contextlib import suppress

HOST = "127.0.0.1"
OPEN = "open"


def events(port: int) -> None:
    """Read events until the worker ends the connection, which it does after a while."""
    link = http.client.HTTPConnection(HOST, port)
    link.request("GET", "/monitor/events")
    answer = link.getresponse()
    if answer.status != http.client.OK:
        sys.exit(f"no monitor page: {answer.status}")
    for line in answer:
        if line.startswith(b"data: "):
            print(OPEN, flush=True)


def main() -> None:
    """Read until this process is ended."""
    while True:
        with suppress(OSError, http.client.HTTPException):
            events(int(sys.argv[1]))


if __name__ == "__main__":
    main()
