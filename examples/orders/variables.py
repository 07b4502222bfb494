"""Variables: the environment of the order system's processes, from the file ``env`` and the command line."""

import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from sqlalchemy import create_engine, make_url

from examples.orders.schema import SERVICES

_FILE: Final = Path(__file__).with_name("env")
_PORTS: Final = (
    "BROKER_TCP",
    "BROKER_HTTP",
    "ORDERS_ADMIN",
    "INVENTORY_ADMIN",
    "PAYMENTS_ADMIN",
    "NOTIFICATIONS_ADMIN",
    "BRIDGE_ADMIN",
    "KAFKA_PORT",
    "KAFKA_CONTROLLER_PORT",
    "AMQP_PORT",
    "ERLANG_PORT",
)
_ADDRESSES: Final = ("NSQKIT_APP_EDGE_HTTP", "NSQKIT_APP_GATEWAY_HTTP", "NSQKIT_APP_ORDERS_GRPC")


def read_variables(
    data: Path,
    *,
    has_free_ports: bool = False,
    nsqd: Sequence[str] = (),
    lookupd: Sequence[str] = (),
    postgres: str = "",
) -> dict[str, str]:
    """Return the variables; those that the shell has set win over the file.

    Args:
        data: Folder of the databases, mails and logs.
        has_free_ports: Whether to choose ports that are free, instead of those of the file.
        nsqd: ``host:port`` of real nsqd; by default the embedded broker.
        lookupd: HTTP addresses of real nsqlookupd.
        postgres: URL of a PostgreSQL on which each service has a database; by default SQLite files.
    """
    lines = _FILE.read_text().splitlines()
    found = dict(line.split("=", 1) for line in lines if "=" in line)
    if has_free_ports:
        found |= dict(zip((*_PORTS, *_ADDRESSES), _free_ports(), strict=True))
    found |= {name: f"127.0.0.1:{found[name]}" for name in _ADDRESSES if ":" not in found[name]}
    found["NSQKIT_NSQD"] = ",".join(nsqd) or f"127.0.0.1:{found['BROKER_TCP']}"
    if not nsqd:
        found["NSQKIT_NSQD_HTTP"] = (
            f"127.0.0.1:{found['BROKER_HTTP']}"  # for the monitors' counts of channels
        )
    if lookupd:
        found["NSQKIT_LOOKUPD"] = ",".join(lookupd)
    found["NSQKIT_APP_GATEWAY_FILE"] = str(data / "gateway.sqlite")
    found["BRIDGES_FOLDER"] = str(data / "bridges")
    found["NSQKIT_APP_MAIL_FOLDER"] = str(data / "mail")
    found |= _urls(data, postgres)
    given = {name: os.environ[name] for name in found if name in os.environ and not has_free_ports}
    return {**found, **given, "PYTHON": sys.executable}


def create_databases(postgres: str) -> None:
    """Create the database of each service on a PostgreSQL, if it is missing.

    Args:
        postgres: URL of one of its databases, as a user who may create others.
    """
    engine = create_engine(postgres, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            known = set(connection.exec_driver_sql("SELECT datname FROM pg_database").scalars())
            for name in SERVICES:
                if name not in known:
                    connection.exec_driver_sql(f"CREATE DATABASE {name}")
    finally:
        engine.dispose()


def _urls(data: Path, postgres: str) -> Mapping[str, str]:
    if not postgres:
        return {f"NSQKIT_APP_{name.upper()}_URL": f"sqlite:///{data / name}.sqlite" for name in SERVICES}
    server = make_url(postgres)
    return {
        f"NSQKIT_APP_{name.upper()}_URL": server.set(database=name).render_as_string(hide_password=False)
        for name in SERVICES
    }


def _free_ports() -> list[str]:
    """Return free ports, as many as the system needs; all are open at once, so that none comes twice."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in (*_PORTS, *_ADDRESSES)]
    try:
        return [str(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()
