"""Frames, wherever the chunks begin and end."""

import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsqkit.nsq.frames import Frames
from tests.unit.nsq.fake_link import FakeLink
from tests.unit.nsq.fake_nsqd import frame

MESSAGE = 2
HEAD = struct.Struct(">qH16s")
FRAMES = st.lists(
    st.tuples(st.integers(0, 1), st.binary(max_size=40))
    | st.tuples(st.just(MESSAGE), st.binary(min_size=HEAD.size, max_size=60)),
    max_size=8,
)


@given(frames=FRAMES, cuts=st.lists(st.integers(0, 400), max_size=12))
def test_frames_come_out_whole_wherever_the_stream_is_cut(
    frames: list[tuple[int, bytes]], cuts: list[int]
) -> None:
    stream = b"".join(frame(kind, data) for kind, data in frames)
    edges = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    reader, link = Frames(), FakeLink()
    found = [reader.feed(stream[start:end], link, 1.0) for start, end in itertools.pairwise(edges)]
    messages = [message for more, _ in found for message in more]
    others = [other for _, more in found for other in more]
    assert [HEAD.pack(each.timestamp_ns, each.attempts, each.id) + each.body for each in messages] == [
        data for kind, data in frames if kind == MESSAGE
    ]
    assert others == [(kind, data) for kind, data in frames if kind != MESSAGE]
    assert all(each.received_s == 1.0 and each.link is link for each in messages)


def test_a_frame_longer_than_many_chunks_comes_out_once_it_is_whole() -> None:
    stream = frame(MESSAGE, b"x" * 1_000_000) + frame(0, b"OK")
    reader, link = Frames(), FakeLink()
    found = [reader.feed(stream[start : start + 65536], link, 0.0) for start in range(0, len(stream), 65536)]
    assert [(len(messages), len(others)) for messages, others in found] == [(0, 0)] * (len(found) - 1) + [
        (1, 1)
    ]


@pytest.mark.parametrize(
    ("size", "kind"), [(3, 0), (0, 0), (-1, 0), (-(2**31), 0), (29, MESSAGE), (4, MESSAGE), (101, MESSAGE)]
)
def test_an_impossible_size_is_an_error(size: int, kind: int) -> None:
    with pytest.raises(ValueError, match=f"a frame has {size} bytes, not "):
        Frames(100).feed(struct.pack(">ii", size, kind), FakeLink(), 0.0)
