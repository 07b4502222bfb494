"""Sampling: which sampler means which rule, and what each rule decides."""

import pytest

from nsqkit.policy.trace_context import TraceContext
from nsqkit.policy.trace_sampling import Sampling

DELEGATES = (
    "remoteParentSampled:AlwaysOnSampler,remoteParentNotSampled:AlwaysOffSampler,"
    "localParentSampled:AlwaysOnSampler,localParentNotSampled:AlwaysOffSampler"
)


def parent_based(root: str, delegates: str = DELEGATES) -> str:
    return f"ParentBased{{root:{root},{delegates}}}"


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        pytest.param("AlwaysOnSampler", Sampling(1.0, follows=False), id="always"),
        pytest.param("AlwaysOffSampler", Sampling(0.0, follows=False), id="never"),
        pytest.param("TraceIdRatioBased{0.25}", Sampling(0.25, follows=False), id="a ratio"),
        pytest.param(
            parent_based("TraceIdRatioBased{0.01}"), Sampling(0.01, follows=True), id="a ratio of new traces"
        ),
        pytest.param(parent_based("AlwaysOnSampler"), Sampling(1.0, follows=True), id="the default"),
        pytest.param(
            parent_based("AlwaysOnSampler", DELEGATES.replace("remoteParentNotSampled:AlwaysOff", "x:")),
            None,
            id="another delegate",
        ),
        pytest.param(parent_based("Own"), None, id="a root that is not built in"),
        pytest.param("TraceIdRatioBased{x}", None, id="a ratio that is no number"),
        pytest.param("RateLimited{5}", None, id="one that is not built in"),
    ],
)
def test_a_built_in_sampler_is_a_rule(description: str, expected: Sampling | None) -> None:
    assert Sampling.of(description) == expected


SAMPLED, UNSAMPLED = TraceContext(3 << 62, 1, 1), TraceContext(3 << 62, 1, 0)  # at 0.75 of all traces


@pytest.mark.parametrize(
    ("ratio", "follows", "creator", "draw", "expected"),
    [
        pytest.param(0.5, True, None, 0.49, True, id="a new trace below the ratio"),
        pytest.param(0.5, True, None, 0.5, False, id="a new trace at the ratio"),
        pytest.param(0.0, True, None, 0.0, False, id="no new trace"),
        pytest.param(1.0, True, None, 0.999, True, id="every new trace"),
        pytest.param(0.0, True, SAMPLED, 0.9, True, id="it follows a sampled creator"),
        pytest.param(1.0, True, UNSAMPLED, 0.0, False, id="it follows an unsampled creator"),
        pytest.param(0.8, False, UNSAMPLED, 0.9, True, id="the trace is below the ratio"),
        pytest.param(0.7, False, SAMPLED, 0.0, False, id="the trace is above the ratio"),
    ],
)
def test_decision(ratio: float, follows: bool, creator: TraceContext, draw: float, expected: bool) -> None:  # noqa: FBT001
    assert Sampling(ratio, follows=follows).samples(creator, draw=draw) is expected


@pytest.mark.parametrize(
    ("ratio", "follows", "expected"), [(0.0, False, True), (0.0, True, False), (0.1, False, False)]
)
def test_it_is_off_if_no_creator_can_switch_it_on(ratio: float, follows: bool, expected: bool) -> None:  # noqa: FBT001
    assert Sampling(ratio, follows=follows).is_off is expected
