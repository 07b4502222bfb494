"""TLS to nsqd: an encryption layer that always checks nsqd's certificate and its name. No sockets."""

import ssl
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from nsqkit.errors import ConnectionLostError, NsqkitError, RefusedError, SettingsError
from nsqkit.settings.settings import Settings

_RECORD_BYTES = 65536
_OF_TLS: Final = ("tls_ca_file", "tls_cert_file", "tls_key_file", "tls_server_name")
PLAIN: Final = MappingProxyType({"tls": False} | dict.fromkeys(_OF_TLS))
"""Settings for plain text, without TLS."""
# Remedies by OpenSSL's verification error (X509_V_ERR_…).
_REMEDIES: Final = {
    **dict.fromkeys((2, 18, 19, 20, 21), "; tls_ca_file must hold the CA that signed it"),
    **dict.fromkeys((62, 64), "; connect by a name that it has, or set tls_server_name to one"),
}
_CLIENT_REMEDY: Final = "; it may demand a certificate that it knows: set tls_cert_file and tls_key_file"


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS options of a connection.

    Args:
        context: SSL context, which checks certificates and names.
        server_name: Name that nsqd's certificate must have; None for the host of the connection.
    """

    context: ssl.SSLContext
    server_name: str | None = None


class TlsLayer:
    """One connection's TLS.

    pynsq would wrap the socket: it checks no name and accepts no context, and a TLS socket cannot be closed
    for writing only, as a drain needs.

    Args:
        tls: Certificates to trust and to present.
        host: Host of the connection; a name or an IP address without brackets.

    Attributes:
        has_more: See :class:`~nsqkit.nsq.wire.Layer`; never.
    """

    has_more = False

    def __init__(self, tls: Tls, host: str) -> None:
        self._in = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        self._tls = tls.context.wrap_bio(self._in, self._out, server_hostname=tls.server_name or host)

    def shake_hands(self, data: bytes) -> bool:
        """Process bytes of nsqd's handshake, and return whether it is complete.

        Call :meth:`encode` for the bytes to send.

        Raises:
            ssl.SSLError: If nsqd has no TLS, or its certificate is not accepted.
        """
        self._in.write(data)
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def encode(self, data: bytes) -> bytes:
        """Encrypt data; pending bytes of the handshake come first."""
        left = memoryview(data)
        while left:
            left = left[self._tls.write(left) :]
        return self._out.read()

    def decode(self, data: bytes) -> bytes:
        """Decrypt bytes as far as they are complete.

        Raises:
            ssl.SSLError: If the bytes are corrupt, or contain a TLS alert of nsqd.
        """
        self._in.write(data)
        parts = []
        try:
            while part := self._tls.read(_RECORD_BYTES):
                parts.append(part)
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            pass
        return b"".join(parts)


def tls_of(settings: Settings) -> Tls | None:
    """Return the TLS options in the settings; None if TLS is off.

    Raises:
        SettingsError: If a file cannot be used, or a TLS setting is set while TLS is off.
    """
    if not settings.tls:
        for name in _OF_TLS:
            if getattr(settings, name) is not None:
                raise SettingsError(
                    f"{name} is set, but tls=false is plain text; set tls=true, or leave it out"
                )
        return None
    return Tls(_context(settings), settings.tls_server_name)


def _context(settings: Settings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.tls_ca_file)
    except OSError as error:
        raise _unusable("tls_ca_file", settings.tls_ca_file, error, "certificates in PEM form") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.tls_cert_file is None:
        if settings.tls_key_file is not None:
            raise SettingsError("tls_key_file is set without tls_cert_file; set both")
        return context
    try:
        # Without the argument OpenSSL would ask for a password on the terminal.
        context.load_cert_chain(settings.tls_cert_file, settings.tls_key_file, password="")
    except OSError as error:
        names = "tls_cert_file and tls_key_file" if settings.tls_key_file else "tls_cert_file"
        files = " and ".join(filter(None, (settings.tls_cert_file, settings.tls_key_file)))
        what = "a certificate and its key in PEM form, the key without a passphrase"
        raise _unusable(names, files, error, what) from error
    return context


def _unusable(names: str, files: str | None, error: OSError, what: str) -> SettingsError:
    why = f"not {what}" if isinstance(error, ssl.SSLError) else error.strerror
    return SettingsError(f"{names}: {files or 'the system'}: {why}")


def tls_failure(address: str, error: ssl.SSLError) -> NsqkitError:
    """Convert a TLS failure into an error, with a remedy where one is known.

    Args:
        address: ``host:port`` of the nsqd.
        error: OpenSSL's error.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        why = error.verify_message.rstrip(".")
        remedy = _REMEDIES.get(error.verify_code, "")
        return RefusedError(address, "TLS", f"its certificate is not accepted here: {why}{remedy}")
    words = (getattr(error, "reason", None) or str(error.args[-1])).lower().replace("_", " ")
    if " alert " in words:
        alert = words.partition(" alert ")[2]
        return RefusedError(address, "TLS", f"it does not accept this client: {alert}{_CLIENT_REMEDY}")
    return ConnectionLostError(address, f"TLS failed: {words}")
