"""TLS of connections to RabbitMQ: certificates and names are always checked."""

import ssl

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
        raise BridgeError(f"{access.tls_ca} has no certificates in PEM form: {_why(error)}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if access.tls_cert is None:
        return context
    try:
        # Without the argument OpenSSL would ask for a password on the terminal.
        context.load_cert_chain(access.tls_cert, access.tls_key, password="")
    except OSError as error:
        files = " and ".join(str(file) for file in (access.tls_cert, access.tls_key) if file is not None)
        what = "a certificate and its key in PEM form, the key without a passphrase"
        raise BridgeError(f"{files} must contain {what}: {_why(error)}") from error
    return context


def _why(error: OSError) -> str:
    return error.strerror or str(error)
