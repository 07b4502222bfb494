"""Frames, wherever the chunks begin and end."""

import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsqkit.nsq.frames import Frames
from tests.unit.nsq.fake_nsqd import frame

FRAMES = st.lists(st.tuples(st.integers(0, 2), st.binary(max_size=40)), max_size=8)


@given(frames=FRAMES, cuts=st.lists(st.integers(0, 400), max_size=12))
def test_frames_come_out_whole_wherever_the_stream_is_cut(
    frames: list[tuple[int, bytes]], cuts: list[int]
) -> None:
    stream = b"".join(frame(kind, data) for kind, data in frames)
    edges = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    reader = Frames()
    found = []
    for start, end in itertools.pairwise(edges):
        found += reader.feed(stream[start:end])
    assert found == frames


def test_a_frame_longer_than_many_chunks_comes_out_once_it_is_whole() -> None:
    stream = frame(2, b"x" * 1_000_000) + frame(0, b"OK")
    reader = Frames()
    found = [reader.feed(stream[start : start + 65536]) for start in range(0, len(stream), 65536)]
    assert [len(frames) for frames in found] == [0] * (len(found) - 1) + [2]


@pytest.mark.parametrize("size", [3, 0, -1, -(2**31)])
def test_an_impossible_size_is_an_error(size: int) -> None:
    with pytest.raises(ValueError, match=str(size)):
        Frames().feed(struct.pack(">ii", size, 0))
