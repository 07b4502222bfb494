"""TLS to nsqd: a layer of bytes, which always checks nsqd's certificate and its name. No sockets."""

import ssl
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from nsqkit.errors import ConnectionLostError, NsqkitError, RefusedError, SettingsError
from nsqkit.settings.settings import Settings

_RECORD_BYTES = 65536
_OF_TLS: Final = ("tls_ca_file", "tls_cert_file", "tls_key_file", "tls_server_name")
PLAIN: Final = MappingProxyType({"tls": False} | dict.fromkeys(_OF_TLS))
"""The settings by which no TLS is spoken."""
# What OpenSSL found wrong with a certificate (X509_V_ERR_…), and what to do about it.
_REMEDIES: Final = {
    **dict.fromkeys((2, 18, 19, 20, 21), "; tls_ca_file must hold the CA that signed it"),
    **dict.fromkeys((62, 64), "; connect by a name that it has, or set tls_server_name to one"),
}
_CLIENT_REMEDY: Final = "; it may demand a certificate that it knows: set tls_cert_file and tls_key_file"


@dataclass(frozen=True, slots=True)
class Tls:
    """How to speak TLS.

    Args:
        context: Checks certificates and names.
        server_name: The name that nsqd's certificate must have; None for the host connected to.
    """

    context: ssl.SSLContext
    server_name: str | None = None


class TlsLayer:
    """One connection's TLS.

    pynsq wraps the socket: it checks no name, cannot take a context, and a socket in TLS cannot
    be closed for writing only, as a drain does.

    Args:
        tls: Certificates to trust and to present.
        host: Connected to; a name or an address without brackets.
    """

    def __init__(self, tls: Tls, host: str) -> None:
        self._in = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        self._tls = tls.context.wrap_bio(self._in, self._out, server_hostname=tls.server_name or host)

    def shake_hands(self, data: bytes) -> bool:
        """Take what nsqd sent, and return whether that was all; what to send is left to :meth:`encode`.

        Raises:
            ssl.SSLError: If nsqd has no TLS, or is not who it should be.
        """
        self._in.write(data)
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def encode(self, data: bytes) -> bytes:
        """Return data as TLS, after what the handshake has to say."""
        left = memoryview(data)
        while left:
            left = left[self._tls.write(left) :]
        return self._out.read()

    def decode(self, data: bytes) -> bytes:
        """Return what is inside.

        Raises:
            ssl.SSLError: If it was tampered with, or is nsqd's refusal.
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
    """Return how the settings have TLS spoken; None where it is off.

    Raises:
        SettingsError: If a file cannot be used, or a setting of TLS is set while it is off.
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
        # Without a password OpenSSL would ask for one on the terminal.
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
    """Return what a failure of TLS means, as one line that says what to change.

    Args:
        address: ``host:port`` of the nsqd.
        error: What OpenSSL says.
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
