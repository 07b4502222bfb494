"""Sampling: decides which messages are traced, as the sampler of an OpenTelemetry provider would."""

import re
from dataclasses import dataclass
from typing import Self

from nsqkit.policy.trace_context import TraceContext

_RATIO = re.compile(r"TraceIdRatioBased\{([^{}]+)\}")
_PARENT_BASED = re.compile(
    r"ParentBased\{root:(?P<root>.+),remoteParentSampled:AlwaysOnSampler,"
    r"remoteParentNotSampled:AlwaysOffSampler,"
    r"localParentSampled:AlwaysOnSampler,localParentNotSampled:AlwaysOffSampler\}"
)


@dataclass(frozen=True, slots=True)
class Sampling:
    """Decides whether to trace a message without a call of OpenTelemetry.

    Args:
        ratio: Share of the traces to record, in [0, 1].
        follows: Whether a trace that exists already goes on as its creator has decided.
    """

    ratio: float
    follows: bool

    @classmethod
    def of(cls, description: str) -> Self | None:
        """Return the rule of a sampler; None for one that only its own code can decide.

        Args:
            description: The sampler's description, as OpenTelemetry specifies it for the built-in samplers.
        """
        parent_based = _PARENT_BASED.fullmatch(description)
        ratio = _ratio(parent_based["root"] if parent_based else description)
        return None if ratio is None else cls(ratio, follows=parent_based is not None)

    @property
    def is_off(self) -> bool:
        """Whether no message is ever traced."""
        return not self.ratio and not self.follows

    def samples(self, creator: TraceContext | None, *, draw: float) -> bool:
        """Return whether to trace a message.

        Args:
            creator: Trace context of the event's publisher; None without one.
            draw: A uniform number in [0, 1), for a message without a creator.
        """
        if creator is None:
            return draw < self.ratio
        return creator.is_sampled if self.follows else creator.fraction < self.ratio


def _ratio(description: str) -> float | None:
    if description in _FIXED:
        return _FIXED[description]
    found = _RATIO.fullmatch(description)
    try:
        return float(found[1]) if found else None
    except ValueError:
        return None


_FIXED = {"AlwaysOnSampler": 1.0, "AlwaysOffSampler": 0.0}
