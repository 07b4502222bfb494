"""Connection options: what the settings say."""

from typing import Any

from nsqkit import Settings
from nsqkit.nsq.options import connection_options


def told(**options: Any) -> Settings:
    return Settings(connect_timeout_s=1.0, **options)


class TestConnectionOptions:
    def test_they_are_what_the_settings_say(self) -> None:
        options = connection_options(
            told(
                service="shop", heartbeat_s=7, msg_timeout_s=8.0, output_buffer_ms=50, output_buffer_bytes=128
            )
        )
        assert options.user_agent == "nsqkit/shop"
        assert (options.heartbeat_s, options.msg_timeout_s) == (7, 8.0)
        assert (options.output_buffer_ms, options.output_buffer_bytes) == (50, 128)
        assert (options.connect_timeout_s, options.auth_secret) == (1.0, None)

    def test_a_lease_of_ones_own_comes_before_the_setting(self) -> None:
        assert connection_options(told(), holds_s=90.0).holds_s == 90.0

    def test_the_secret_is_passed_on_and_not_shown(self) -> None:
        options = connection_options(told(auth_secret="hush"))
        assert options.auth_secret == "hush"
        assert "hush" not in repr(options)
