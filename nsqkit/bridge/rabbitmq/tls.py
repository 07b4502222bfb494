"""TLS of connections to RabbitMQ: certificates and names are always checked."""

import ssl
from pathlib import Path

from nsqkit.bridge.access import Access
from nsqkit.errors import BridgeError


def tls_context(access: Access) -> ssl.SSLContext:
    """Return the context of TLS; the files are read again for each connection.

    Raises:
        BridgeError: If a file cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=access.tls_ca)
    except OSError as error:
        raise _unusable("rabbitmq_tls_ca", error, "certificates in PEM form", access.tls_ca) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if access.tls_cert is None:
        return context
    try:
        # Without the argument OpenSSL would ask for a password on the terminal.
        context.load_cert_chain(access.tls_cert, access.tls_key, password="")
    except OSError as error:
        names = "rabbitmq_tls_cert and rabbitmq_tls_key" if access.tls_key else "rabbitmq_tls_cert"
        what = "a certificate and its key in PEM form, the key without a passphrase"
        raise _unusable(names, error, what, access.tls_cert, access.tls_key) from error
    return context


def _unusable(names: str, error: OSError, what: str, *files: Path | None) -> BridgeError:
    why = f"not {what}" if isinstance(error, ssl.SSLError) else error.strerror
    return BridgeError(f"{names}: {' and '.join(str(file) for file in files if file is not None)}: {why}")
