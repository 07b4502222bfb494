"""Rules of the TCP protocol: errors, and the answer to IDENTIFY."""

import json

import pytest

from nsqkit.testing.contract.engine import Capability, Engine
from nsqkit.testing.contract.rules import Rules, require


class WireRules(Rules):
    """Rules for engines that speak NSQ over TCP."""

    @pytest.mark.parametrize(
        ("said", "code"),
        [
            pytest.param(b"  V9", b"E_BAD_PROTOCOL", id="magic"),
            pytest.param(b"  V2NONSENSE\n", b"E_INVALID", id="command"),
            pytest.param(b"  V2SUB a\n", b"E_INVALID", id="parameters"),
            pytest.param(b"  V2RDY 1\n", b"E_INVALID", id="state"),
            pytest.param(b"  V2SUB a* c\n", b"E_BAD_TOPIC", id="topic"),
            pytest.param(b"  V2SUB contract c*\n", b"E_BAD_CHANNEL", id="channel"),
            pytest.param(b"  V2PUB contract\n\0\0\0\0", b"E_BAD_MESSAGE", id="empty body"),
            pytest.param(b"  V2PUB contract\n\x7f\0\0\0", b"E_BAD_MESSAGE", id="body size"),
            pytest.param(b"  V2IDENTIFY\n\0\0\0\x01{", b"E_BAD_BODY", id="IDENTIFY"),
            pytest.param(b"  V2AUTH\n\0\0\0\x01x", b"E_AUTH_DISABLED", id="AUTH"),
            pytest.param(b"  V2DPUB contract 3600001\n\0\0\0\x01x", b"E_INVALID", id="deferral"),
        ],
    )
    async def test_a_mistake_is_answered_with_its_code_and_the_connection_is_closed(
        self, engine: Engine, said: bytes, code: bytes
    ) -> None:
        require(engine, Capability.WIRE)
        frames, closed = await engine.exchange(said)
        assert [frame.split()[0] for frame in frames] == [code]
        assert closed

    async def test_identify_answers_with_the_granted_options(self, engine: Engine) -> None:
        require(engine, Capability.WIRE)
        wish = b'{"feature_negotiation":true,"heartbeat_interval":1000,"msg_timeout":2000}'
        frames, closed = await engine.exchange(b"  V2IDENTIFY\n" + len(wish).to_bytes(4, "big") + wish)
        granted = json.loads(frames[0])
        assert not closed
        assert (granted["msg_timeout"], granted["max_rdy_count"]) == (2000, 2500)
        assert not any(granted[name] for name in ("tls_v1", "snappy", "deflate", "auth_required"))
