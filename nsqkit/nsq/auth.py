"""The secret for nsqd's AUTH, from the settings or a file that they name. It is never logged."""

from pathlib import Path

from nsqkit.errors import SettingsError
from nsqkit.settings.settings import Settings


def secret_of(settings: Settings) -> str | None:
    """Return the secret, without surrounding white space if it is from a file; None if none is set.

    Raises:
        SettingsError: If it is set twice, or the file is empty or cannot be read.
    """
    if settings.auth_secret_file is None:
        return settings.auth_secret
    if settings.auth_secret is not None:
        raise SettingsError("auth_secret and auth_secret_file are both set; leave one out")
    path = Path(settings.auth_secret_file)
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SettingsError(f"auth_secret_file: {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise SettingsError(f"auth_secret_file: {path}: not UTF-8 text") from None
    if not secret:
        raise SettingsError(f"auth_secret_file: {path}: the file is empty")
    return secret
