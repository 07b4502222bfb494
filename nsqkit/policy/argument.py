"""Arguments that a policy is given: refused by name where they cannot be meant."""


def require_number(
    owner: str,
    name: str,
    value: object,
    *,
    above: float | None = None,
    least: float | None = None,
    most: float | None = None,
) -> None:
    """Refuse what is no number, or not in its range.

    Args:
        owner: The policy's class, for the error.
        name: The field, for the error.
        value: What was given.
        above: It must be more than this.
        least: It must be this or more.
        most: It must be this or less.

    Raises:
        TypeError: If *value* is no number; a boolean is none.
        ValueError: If it is out of its range; nan is in none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{owner}({name}={value!r}): give a number")
    if above is not None and not value > above:
        raise ValueError(f"{owner}({name}={value!r}): must be above {above:g}")
    if least is not None and not value >= least:
        raise ValueError(f"{owner}({name}={value!r}): must be {least:g} or more")
    if most is not None and not value <= most:
        raise ValueError(f"{owner}({name}={value!r}): must be {most:g} or less")


def require_whole(owner: str, name: str, value: object, least: int, most: int) -> None:
    """Refuse what is no whole number of ``least..most``.

    Args:
        owner: The policy's class, for the error.
        name: The field, for the error.
        value: What was given.
        least: The least allowed.
        most: The most allowed.

    Raises:
        TypeError: If *value* is no whole number; a boolean is none.
        ValueError: If it is out of its range.
    """
    if type(value) is not int:
        raise TypeError(f"{owner}({name}={value!r}): give a whole number")
    if not least <= value <= most:
        raise ValueError(f"{owner}({name}={value!r}): not in {least}..{most}")


def require_errors(owner: str, name: str, value: object) -> None:
    """Refuse what is no tuple of exception types.

    Args:
        owner: The policy's class, for the error.
        name: The field, for the error.
        value: What was given.

    Raises:
        TypeError: If it is not.
    """
    if not isinstance(value, tuple):
        raise TypeError(f"{owner}({name}={value!r}): give a tuple of exception types, (SomeError,)")
    for error in value:
        if not (isinstance(error, type) and issubclass(error, Exception)):
            raise TypeError(f"{owner}({name}=…): {error!r} is not a class of exceptions")
