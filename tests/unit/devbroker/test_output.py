import pytest

from nsqkit.devbroker.output import OutputBuffer


def frame(size: int, fill: bytes = b"x") -> bytes:
    """Return a frame of so many bytes."""
    return fill * size


class TestSize:
    @pytest.mark.parametrize(
        ("size", "frames", "written", "held"),
        [
            pytest.param(100, [30, 30], [0, 0], 60, id="small frames are held"),
            pytest.param(100, [50, 50], [0, 0], 100, id="so is a full buffer"),
            pytest.param(100, [60, 60], [0, 100], 20, id="the buffer goes out full, the rest is held"),
            pytest.param(100, [60, 140], [0, 100], 100, id="a rest that fills it is held"),
            pytest.param(100, [60, 141], [0, 201], 0, id="a larger rest is passed on"),
            pytest.param(100, [150], [100], 50, id="a large frame into an empty buffer"),
            pytest.param(100, [250], [250], 0, id="a very large frame into an empty buffer"),
            pytest.param(100, [96, 30], [0, 100], 26, id="a head that does not fit"),
            pytest.param(100, [96, 150], [0, 200], 46, id="a head that does not fit, and a large body"),
            pytest.param(1, [8, 34, 9000], [8, 34, 9000], 0, id="no buffer holds nothing"),
        ],
    )
    def test_what_goes_out_at_once(self, size: int, frames: list[int], written: list[int], held: int) -> None:
        buffer = OutputBuffer(size, 0, now_s=0.0)
        assert [len(buffer.put(frame(each))) for each in frames] == written
        assert buffer.held_bytes == held
        assert len(buffer.flush()) == held

    def test_bytes_keep_their_order(self) -> None:
        buffer = OutputBuffer(64, 0, now_s=0.0)
        frames = [frame(size, bytes([65 + size % 26])) for size in range(8, 300, 7)]
        out = b"".join(buffer.put(each) for each in frames) + buffer.flush()
        assert out == b"".join(frames)


class TestTicks:
    def test_what_is_held_waits_for_the_next_tick_since_the_start(self) -> None:
        buffer = OutputBuffer(100, 10.0, now_s=5.0)
        buffer.put(frame(20))
        assert buffer.deadline_s() == 15.0
        assert buffer.tick(now_s=14.9) == b""
        assert len(buffer.tick(now_s=15.0)) == 20
        buffer.put(frame(20))
        assert buffer.deadline_s() == 25.0

    def test_a_tick_that_was_not_needed_is_kept_so_that_the_first_after_a_pause_goes_out_at_once(
        self,
    ) -> None:
        buffer = OutputBuffer(100, 10.0, now_s=0.0)
        buffer.put(frame(20))
        assert len(buffer.tick(now_s=47.0)) == 20
        buffer.put(frame(20))
        assert buffer.tick(now_s=47.0) == b""
        assert buffer.deadline_s() == 50.0

    def test_a_flush_for_another_reason_needs_no_tick(self) -> None:
        buffer = OutputBuffer(100, 10.0, now_s=0.0)
        buffer.put(frame(20))
        assert len(buffer.flush()) == 20
        assert buffer.deadline_s() is None
        buffer.put(frame(20))
        assert len(buffer.tick(now_s=12.0)) == 20

    def test_without_ticks_only_the_size_counts(self) -> None:
        buffer = OutputBuffer(100, 0, now_s=0.0)
        buffer.put(frame(20))
        assert buffer.deadline_s() is None
        assert buffer.tick(now_s=1e9) == b""
