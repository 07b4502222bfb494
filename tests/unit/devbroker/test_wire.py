from nsqkit.devbroker.channel import Channel
from nsqkit.devbroker.limits import Limits
from nsqkit.devbroker.message import Copy, Message
from nsqkit.devbroker.timers import Timers
from nsqkit.devbroker.wire import error_frame, message_frame, response_frame


class TestFrames:
    def test_a_response(self) -> None:
        assert response_frame(b"OK") == b"\x00\x00\x00\x06\x00\x00\x00\x00OK"

    def test_an_error_with_and_without_words(self) -> None:
        assert error_frame("E_X", "why") == b"\x00\x00\x00\x0b\x00\x00\x00\x01E_X why"
        assert error_frame("E_X") == b"\x00\x00\x00\x07\x00\x00\x00\x01E_X"

    def test_a_message(self) -> None:
        message = Message(b"0123456789abcdef", 0x0102030405060708, b"body", 0.0)
        copy = Copy(message, Channel("t", "c", Limits(), Timers(), {}))
        copy.attempts = 40_000
        assert message_frame(copy) == (
            b"\x00\x00\x00\x22\x00\x00\x00\x02\x01\x02\x03\x04\x05\x06\x07\x08\x9c\x400123456789abcdefbody"
        )
