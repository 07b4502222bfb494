"""Settings: where values come from, which are refused, and how they are shown."""

import dataclasses
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from nsqkit.errors import SettingsError
from nsqkit.settings.settings import TABLE, Settings


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _load(
    flags: Mapping[str, object] | None = None, env: Mapping[str, str] | None = None, toml: str | None = None
) -> Settings:
    if toml is not None:
        Path("nsqkit.toml").write_text(toml, encoding="utf-8")
    return Settings.load(flags or {}, env or {})


@pytest.mark.parametrize(
    ("flags", "env", "toml", "expected", "source"),
    [
        pytest.param({}, {}, None, 8, "default", id="nothing given is the default"),
        pytest.param({}, {}, "[nsqkit]\nthreads = 2", 2, "nsqkit.toml", id="the file beats the default"),
        pytest.param(
            {},
            {"NSQKIT_THREADS": "3"},
            "[nsqkit]\nthreads = 2",
            3,
            "env NSQKIT_THREADS",
            id="env beats the file",
        ),
        pytest.param({"threads": 4}, {"NSQKIT_THREADS": "3"}, None, 4, "flag", id="a flag beats env"),
        pytest.param({"threads": None}, {}, None, 8, "default", id="a flag of None was not given"),
        pytest.param({"threads": "8"}, {}, None, 8, "flag", id="a flag equal to the default is still a flag"),
    ],
)
def test_precedence(
    flags: dict[str, object], env: dict[str, str], toml: str | None, expected: int, source: str
) -> None:
    settings = _load(flags, env, toml)
    assert (settings.threads, settings.source_of("threads")) == (expected, source)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        pytest.param(
            "nsqd", "a:1, [::1]:4150,,a:1", ("a:1", "[::1]:4150"), id="addresses, blanks and doubles gone"
        ),
        pytest.param("lookupd", "", (), id="an empty list"),
        pytest.param("admin_port", "0", 0, id="lowest whole number"),
        pytest.param("grace_s", "1.5", 1.5, id="number"),
        pytest.param("grace_s", "3600", 3600.0, id="highest number"),
        pytest.param("log_success", "On", True, id="true in another spelling"),
        pytest.param("log_success", "0", False, id="false as a digit"),
        pytest.param("log_format", "json", "json", id="a choice"),
        pytest.param("middleware", "a:B,c:D", ("a:B", "c:D"), id="names"),
        pytest.param("auth_secret", "s3cr3t", "s3cr3t", id="the secret"),
    ],
)
def test_text_becomes_the_settings_type(name: str, text: str, expected: object) -> None:
    value = getattr(_load(env={f"NSQKIT_{name.upper()}": text}), name)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("given_by", "words"),
    [
        pytest.param(
            {"flags": {"threads": 0}}, "threads=0 is not in 1..256 (from flag)", id="below the range"
        ),
        pytest.param(
            {"env": {"NSQKIT_MAX_MSG_BYTES": "1e9"}},
            "max_msg_bytes='1e9' is not a whole number (from env NSQKIT_MAX_MSG_BYTES)",
            id="not a whole number",
        ),
        pytest.param(
            {"flags": {"heartbeat_s": 2.5}}, "heartbeat_s=2.5 is not a whole number", id="a fraction"
        ),
        pytest.param({"flags": {"grace_s": float("nan")}}, "is not a number", id="not a number at all"),
        pytest.param({"flags": {"grace_s": "inf"}}, "is not a number", id="endless"),
        pytest.param({"flags": {"threads": True}}, "is not a whole number", id="a boolean for a number"),
        pytest.param({"flags": {"log_success": "maybe"}}, "neither true nor false", id="a boolean"),
        pytest.param({"flags": {"log_success": 1}}, "neither true nor false", id="a number for a boolean"),
        pytest.param({"flags": {"log_level": "loud"}}, "is not one of debug, info", id="not a choice"),
        pytest.param({"flags": {"service": " "}}, "is blank or not text", id="a blank text"),
        pytest.param({"flags": {"nsqd": [1]}}, "is not a list of strings", id="a list of numbers"),
        pytest.param({"flags": {"nsqd": 1}}, "is not a list of strings", id="a number for a list"),
        pytest.param({"flags": {"nsqd": "http://a:1"}}, "without a scheme", id="a URL for an address"),
        pytest.param({"flags": {"nsqd": "::1:4150"}}, "in brackets", id="IPv6 without brackets"),
        pytest.param({"flags": {"nsqd": "a"}}, "give host:port", id="no port"),
        pytest.param({"flags": {"nsqd": "a:0"}}, "not in 1..65535", id="port 0"),
        pytest.param({"flags": {"thread": 1}}, "'thread'; did you mean 'threads'?", id="misspelt flag"),
        pytest.param({"flags": {"auth_secret": "x"}}, "NSQKIT_AUTH_SECRET", id="a secret as a flag"),
        pytest.param(
            {"env": {"NSQKIT_THREDS": "1"}}, "did you mean 'NSQKIT_THREADS'?", id="misspelt variable"
        ),
        pytest.param({"toml": "[nsqkit]\nthreds = 1"}, "did you mean 'threads'?", id="misspelt key"),
        pytest.param({"toml": "[nsqkitt]\nthreads = 1"}, "did you mean 'nsqkit'?", id="misspelt table"),
        pytest.param({"toml": "nsqkit = 1"}, "are the tables", id="a key where the table should be"),
        pytest.param({"toml": "[nsqkit"}, "cannot be read", id="not TOML"),
        pytest.param({"toml": "[app]\nPay-Ratio = 1"}, "lower-case letters", id="a name of the team's own"),
        pytest.param({"flags": {"app": {"a b": 1}}}, "lower-case letters", id="the same by flag"),
        pytest.param({"env": {"NSQKIT_APP_": "1"}}, "lower-case letters", id="no name at all"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_it(given_by: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        _load(**given_by)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_secret_is_not_shown() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings(auth_secret=12345)  # type: ignore[arg-type]
    assert "12345" not in str(caught.value)


def test_what_kubernetes_injects_for_a_service_of_this_name_is_not_a_setting() -> None:
    injected = {
        "NSQKIT_SERVICE_HOST": "10.0.0.1",
        "NSQKIT_SERVICE_PORT": "9464",
        "NSQKIT_SERVICE_PORT_METRICS": "9464",
        "NSQKIT_PORT": "tcp://10.0.0.1:9464",
        "NSQKIT_PORT_9464_TCP_ADDR": "10.0.0.1",
        "NSQKIT_WORKER_SERVICE_HOST": "10.0.0.2",
    }
    assert _load(env=injected) == Settings()


def test_what_the_scripts_of_this_project_read_is_not_a_setting() -> None:
    assert _load(env={"NSQKIT_PYTHON": "/usr/bin/python3", "NSQKIT_NSQD_BIN": "/opt/nsq"}) == Settings()


def test_a_file_that_was_asked_for_must_exist(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="does not exist"):
        Settings.load(env={}, file=tmp_path / "other.toml")


def test_the_source_is_the_name_of_the_file_that_was_read(tmp_path: Path) -> None:
    file = tmp_path / "other.toml"
    file.write_text("[nsqkit]\nthreads = 2\n[app]\nratio = 0.5\n", encoding="utf-8")
    settings = Settings.load(env={}, file=file)
    assert settings.source_of("threads") == settings.source_of("app.ratio") == "other.toml"


def test_own_settings_follow_the_same_precedence() -> None:
    settings = _load(
        {"app": {"c": "flag"}},
        {"NSQKIT_APP_B": "env", "NSQKIT_APP_C": "env"},
        '[app]\na = "file"\nb = "file"\nc = "file"',
    )
    assert dict(settings.app) == {"a": "file", "b": "env", "c": "flag"}
    assert [settings.source_of(f"app.{name}") for name in "abc"] == [
        "nsqkit.toml",
        "env NSQKIT_APP_B",
        "flag",
    ]


@pytest.mark.parametrize(
    ("app", "expected"),
    [
        pytest.param({}, 0.1, id="the default"),
        pytest.param({"ratio": "0.25"}, 0.25, id="text"),
        pytest.param({"ratio": 1}, 1.0, id="a whole number"),
        pytest.param({"ratio": 0}, 0.0, id="zero is a value"),
    ],
)
def test_app_number(app: dict[str, object], expected: float) -> None:
    assert Settings(app=app).app_number("ratio", 0.1, minimum=0, maximum=1) == expected


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("half", id="a word"),
        pytest.param(1.01, id="above the range"),
        pytest.param("nan", id="not a number"),
        pytest.param([1], id="a list"),
    ],
)
def test_app_number_refuses(value: object) -> None:
    with pytest.raises(SettingsError, match=r"app\.ratio="):
        Settings(app={"ratio": value}).app_number("ratio", 0.1, minimum=0, maximum=1)


def test_app_text_takes_text_and_numbers_only() -> None:
    settings = Settings(app={"a": "x", "n": 3, "l": [1]})
    assert [settings.app_text("a", "d"), settings.app_text("n", "d"), settings.app_text("z", "d")] == [
        "x",
        "3",
        "d",
    ]
    with pytest.raises(SettingsError, match="is not text"):
        settings.app_text("l", "d")


def test_rows_mask_secrets_and_name_every_setting() -> None:
    app = {
        "db_password": "p1",
        "api_token": "p2",
        "client_secret": "p3",
        "gateway_key": "p4",
        "plain": "shown",
    }
    settings = Settings(nsqd=("a:1", "b:2"), auth_secret="p5", app=app)
    shown = {row.name: row for row in settings.rows()}
    assert [row.name for row in settings.rows()][: len(TABLE)] == [setting.name for setting in TABLE]
    assert not any(f"p{n}" in row.value for row in shown.values() for n in range(1, 6))
    assert (shown["app.plain"].value, shown["app.plain"].source) == ("shown", "argument")
    assert shown["nsqd"].value == "a:1, b:2"
    assert (shown["grace_s"].value, shown["grace_s"].unit, shown["grace_s"].source) == ("20", "s", "default")
    assert shown["log_success"].value == "false"
    assert shown["lookupd"].value == "-"
    assert not any(secret in repr(settings) for secret in app.values())
    assert "p5" not in repr(settings)


def test_every_default_is_a_value_that_its_setting_may_have() -> None:
    for setting in TABLE:
        assert setting.checked(setting.default, "") == setting.default
        assert setting.help


def test_settings_are_frozen_to_the_bottom() -> None:
    app = {"a": 1}
    settings = Settings(app=app)
    app["a"] = 2
    assert settings.app["a"] == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.threads = 2  # type: ignore[misc]
    with pytest.raises(TypeError):
        settings.app["a"] = 2  # type: ignore[index]


def test_replace_checks_and_keeps_the_other_sources() -> None:
    settings = dataclasses.replace(_load(env={"NSQKIT_THREADS": "2"}), nsqd=("a:1",))
    assert settings.source_of("threads") == "env NSQKIT_THREADS"
    assert settings.source_of("nsqd") == "argument"
    with pytest.raises(SettingsError, match="threads=0"):
        dataclasses.replace(settings, threads=0)


def test_settings_survive_a_pickle() -> None:
    settings = _load({"threads": 2, "app": {"a": 1}})
    copied = pickle.loads(pickle.dumps(settings))  # noqa: S301 - made above
    assert copied == settings
    assert copied.source_of("threads") == "flag"


def test_an_unknown_source_is_refused() -> None:
    with pytest.raises(SettingsError, match="did you mean 'threads'"):
        Settings().source_of("thread")


SECRETS = [
    pytest.param('[nsqkit]\nauth_secret = "s3cr3t"', "auth_secret", id="nsqkit's secret"),
    pytest.param('[nsqkit]\nauth_secret_file = "x"', "auth_secret_file", id="where a secret is"),
    pytest.param('[app]\ndb_pwd = "s3cr3t"', "db_pwd", id="a secret of the team's own"),
]


class TestExposedFile:
    """A file with a secret that others can change is refused; without one it is not."""

    @pytest.mark.parametrize(("toml", "name"), SECRETS)
    @pytest.mark.parametrize("is_link", [False, True])
    def test_every_user_can_write_to_it(self, toml: str, name: str, *, is_link: bool) -> None:
        file = Path("real.toml" if is_link else "nsqkit.toml")
        file.write_text(toml, encoding="utf-8")
        if is_link:
            Path("nsqkit.toml").symlink_to(file)
        file.chmod(0o646)
        with pytest.raises(SettingsError) as caught:
            _load()
        assert str(caught.value) == (
            f"settings file nsqkit.toml names a secret ({name}) and every user can write to it:"
            " chmod 600 nsqkit.toml"
        )
        file.chmod(0o644)
        assert _load().source_of(f"app.{name}" if "app" in toml else name) == "nsqkit.toml"

    @pytest.mark.parametrize(("toml", "name"), SECRETS)
    @pytest.mark.parametrize("is_link", [False, True])
    def test_it_belongs_to_another_user(
        self, monkeypatch: pytest.MonkeyPatch, toml: str, name: str, *, is_link: bool
    ) -> None:
        """The file, or the link to a file of this user."""
        file = Path("real.toml" if is_link else "nsqkit.toml")
        file.write_text(toml, encoding="utf-8")
        if is_link:
            Path("nsqkit.toml").symlink_to(file)
        status = os.lstat

        def owned_by_another(path: Path) -> os.stat_result:
            values = list(status(path))
            values[4] = 4242
            return os.stat_result(values)

        monkeypatch.setattr(Path, "lstat", owned_by_another)
        with pytest.raises(
            SettingsError, match=rf"\({name}\) and is owned by user 4242: chown .* chmod 600 nsqkit.toml"
        ):
            _load()

    def test_without_a_secret_it_is_nobodys_business(self) -> None:
        Path("nsqkit.toml").write_text("[nsqkit]\nthreads = 2", encoding="utf-8")
        Path("nsqkit.toml").chmod(0o666)
        assert _load().threads == 2


def test_credentials_in_a_setting_that_is_no_secret_are_masked() -> None:
    rows = {
        row.name: row.value for row in _load({"app": {"database": "pg://bob:s3cr3t@db/x", "pwd": "x"}}).rows()
    }
    assert (rows["app.database"], rows["app.pwd"]) == ("pg://[redacted]@db/x", "********")
    with pytest.raises(SettingsError, match=r"nsqd='\[redacted\]|nsqd='bob:\[redacted\]@db' has") as caught:
        _load({"nsqd": "bob:s3cr3t@db"})
    assert "s3cr3t" not in str(caught.value)
