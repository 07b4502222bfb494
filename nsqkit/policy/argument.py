"""Argument checks: policies reject values that are out of range or of the wrong type, by field name."""


def require_number(
    owner: str,
    name: str,
    value: object,
    *,
    above: float | None = None,
    least: float | None = None,
    most: float | None = None,
) -> None:
    """Reject a value that is not a number or is out of its range.

    Args:
        owner: The policy's class, for the error.
        name: The field, for the error.
        value: Value of the field, of any type.
        above: Exclusive lower bound; None for no bound.
        least: Inclusive lower bound; None for no bound.
        most: Inclusive upper bound; None for no bound.

    Raises:
        TypeError: If *value* is not a number. A boolean does not count as one.
        ValueError: If it is out of its range. NaN is out of every range.
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
    """Reject a value that is not a whole number in ``least..most``.

    Args:
        owner: The policy's class, for the error.
        name: The field, for the error.
        value: Value of the field, of any type.
        least: Inclusive lower bound.
        most: Inclusive upper bound.

    Raises:
        TypeError: If *value* is not a whole number. A boolean does not count as one.
        ValueError: If it is out of its range.
    """
    if type(value) is not int:
        raise TypeError(f"{owner}({name}={value!r}): give a whole number")
    if not least <= value <= most:
        raise ValueError(f"{owner}({name}={value!r}): not in {least}..{most}")


def require_errors(owner: str, name: str, value: object) -> None:
    """Reject a value that is not a tuple of exception types.

    Args:
        owner: The policy's class, for the error.
        name: The field, for the error.
        value: Value of the field, of any type.

    Raises:
        TypeError: If *value* is not such a tuple.
    """
    if not isinstance(value, tuple):
        raise TypeError(f"{owner}({name}={value!r}): give a tuple of exception types, (SomeError,)")
    for error in value:
        if not (isinstance(error, type) and issubclass(error, Exception)):
            raise TypeError(f"{owner}({name}=…): {error!r} is not an exception class")
