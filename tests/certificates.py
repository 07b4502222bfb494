"""Certificates made for one test: an authority, an nsqd's, a client's."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import trustme

EXPIRED = datetime.now(UTC) - timedelta(days=1)


class Files(NamedTuple):
    """A certificate and its key, in PEM form."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates; its own is in :attr:`file`.

    Args:
        folder: Where all of it is written.
        name: Of the files.
    """

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._folder = folder
        self._name = name
        self._authority = trustme.CA()
        self.file = folder / f"{name}.pem"
        self._authority.cert_pem.write_to_path(str(self.file))

    def certificate(self, *names: str, expires: datetime | None = None) -> Files:
        """Issue a certificate for these names and addresses."""
        issued = self._authority.issue_cert(*names, not_after=expires)
        files = Files(
            self._folder / f"{self._name}-{names[0]}.pem", self._folder / f"{self._name}-{names[0]}.key"
        )
        for number, part in enumerate(issued.cert_chain_pems):
            part.write_to_path(str(files.certificate), append=number > 0)
        issued.private_key_pem.write_to_path(str(files.key))
        return files
