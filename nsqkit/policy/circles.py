"""Circles: whether routes lead back to where one of them begins. It knows no brokers."""

from collections.abc import Hashable, Mapping


def circle(routes: Mapping[str, tuple[Hashable, Hashable]]) -> tuple[str, ...]:
    """Return the routes of a circle, each of which ends where the next begins, and the last where the first.

    Args:
        routes: Where each route begins and where it ends, by its name.

    Returns:
        Names of routes; empty if there is no circle.
    """
    onward = {name: [other for other in routes if routes[other][0] == routes[name][1]] for name in routes}
    harmless: set[str] = set()
    for first in routes:
        path = [first]
        left = [list(onward[first])]
        while path:
            if not left[-1]:
                harmless.add(path.pop())
                left.pop()
                continue
            name = left[-1].pop()
            if name in path:
                return tuple(path[path.index(name) :])
            if name not in harmless:
                path.append(name)
                left.append(list(onward[name]))
    return ()
