"""Secrets: a secret from the settings, or from a file that they name. It is never logged."""

from pathlib import Path
from typing import Literal

from nsqkit.errors import SettingsError
from nsqkit.settings.settings import Settings


def secret_of(settings: Settings, name: Literal["auth_secret", "admin_token"]) -> str | None:
    """Return a secret, without surrounding white space if it is from a file; None if none is set.

    Args:
        settings: Settings with the secret, or with its file under the same name and ``_file``.
        name: The setting that contains the secret.

    Raises:
        SettingsError: If it is set twice, or the file is empty or cannot be read.
    """
    secret: str | None = getattr(settings, name)
    file: str | None = getattr(settings, f"{name}_file")
    if file is None:
        return secret
    if secret is not None:
        raise SettingsError(f"{name} and {name}_file are both set; leave one out")
    path = Path(file)
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SettingsError(f"{name}_file: {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise SettingsError(f"{name}_file: {path}: not UTF-8 text") from None
    if not secret:
        raise SettingsError(f"{name}_file: {path}: the file is empty")
    return secret
