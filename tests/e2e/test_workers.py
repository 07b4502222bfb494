"""`nsqkit run --workers`, as an operator sees it: signals, systemd, one port and one table."""

import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import ANY_PORTS, NO_ADMIN, Program, Start, get
from tests.integration.conftest import Nsqd
from tests.ports import free_port
from tests.unit.reading import topics_of
from tests.waiting import until_blocking
