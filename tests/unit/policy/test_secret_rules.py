"""Secret rules: texts with secrets, texts that must stay readable, and patterns of linear time."""

import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest

from nsqkit.policy.redaction import redact
from nsqkit.policy.secret_rules import GROUPS, is_secret_name, names_a_secret

# Python's own parser of patterns has no public name, and a type checker may or may not know it.
sre: Any = import_module("re._constants")
parser: Any = import_module("re._parser")

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI0MiJ9.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1g"
PEM = "-----BEGIN RSA {0}-----\nMIIEowIBAAKCAQEA7\nbase64+/==\n-----END RSA {0}-----".format("PRIVATE KEY")
AWS = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"

# What is between « and » must vanish; what is outside of them and of quotes is only context.
SECRETS = [
    "password=«hunter2»",
    "Password: «hunter2» for bob",
    "pwd=«hunter2»",
    "Pwd = «hunter2»; next",
    "MYSQL_PWD=«hunter2» mysqldump",
    "PGPASSWORD=«hunter2» psql",
    "passphrase: «hunter2»",
    "passphrase='«correct horse battery staple»'",
    'password="«correct horse battery staple»" for bob',
    "password: '«it\\'s a \"secret\" of mine»', user: bob",
    "DB_PASS=«hunter2»",
    "pass='«hunter2»'",
    "dbPassword: «hunter2»",
    "clientSecret=«s3cr3t»",
    "password=«ab,cd;ef»",
    "password => '«hunter2»'",
    ':password=>"«hunter two»"',
    "[password] => «hunter2»",
    "params[password]=«hunter2»",
    "password := «hunter2»",
    "{'password': b'«hunter two»'}",
    "('password', '«hunter two»')",
    "wrong password '«hunter two»' for bob",
    "the password is '«hunter two»'",
    "login failed for bob with password «hunter2x»",
    "the passphrase was «Tr0ub4dor&3»",
    "CREATE USER bob IDENTIFIED BY '«hunter two»'",
    "ALTER USER bob WITH PASSWORD '«hunter two»'",
    "INSERT INTO users (name, password) VALUES ('bob', '«hunter2»')",
    "SELECT * FROM users WHERE password = '«hunter two»' AND id = 7",
    "<password>«hunter two»</password>",
    '<add key="password" value="«hunter two»"/>',
    '<db:password type="plain">«hunter two»</db:password>',
    '{"password": "«hunter two»", "user": "bob"}',
    '{"body": "{\\"password\\": \\"«hunter two»\\", \\"user\\": \\"bob\\"}"}',
    '"{\\\\\\"password\\\\\\": \\\\\\"«hunter two»\\\\\\"}"',
    '{\\"token\\":\\"«abc def»\\"}',
    '{"name": "DB_PASSWORD", "value": "«hunter two»"}',
    '{"pin": «1234»,"user": "bob"}',
    '{"cvv":"«123»"}',
    '{"tokens": ["«abc»", "«def»"]}',
    '{"credentials": {"user": "bob", "key": "«abc»"}}',
    "password%3D«hunter2»&user=bob",
    "api_key=«abc123»",
    "api key: «abc123»",
    "x-api-key: «abc123»",
    "Authorization: Token «abc123»",
    "Authorization: Bearer «abc.def»",
    "Authorization: Basic «dXNlcjpodW50ZXIy»",
    'Authorization: Digest username="bob", response="«6629fae49393a05397450978507c4ef1»"',
    "{'Authorization': 'Token «abc123»'}",
    "{'headers': {'authorization': 'ApiKey «abc 123»'}}",
    "-H 'Authorization: Token «abc123»' https://api.example.org",
    "('Authorization', 'Token «abc123»')",
    "HTTP_AUTHORIZATION=Token «abc123»",
    "Proxy-Authorization: Basic «dXNlcjpodW50ZXIy»",
    "401 for Bearer «abc123def»",
    "sent Basic «dXNlcjpodW50ZXIy» and got 401",
    f"invalid «{JWT}»",
    f"token «{JWT}» expired",
    f"key:\n«{PEM}»",
    "«" + PEM.replace("\n", "\\n") + "»",
    "«" + PEM[:60] + "»",
    "Cookie: «session=abc123»; «theme=x»",
    "Set-Cookie: «sid=abc123»; Path=/; HttpOnly",
    "{'Cookie': '«sid=abc; csrftoken=def»'}",
    "cookies={'sid': '«abc123»'}",
    "sessionid=«abc123»",
    "X-CSRF-Token: «abc123»",
    "postgres://bob:«hunter2»@db:5432/orders",
    "postgres://bob:«hunter/2»@db:5432/orders",
    "postgres://bob:«hun@ter2»@db:5432/orders",
    "redis://:«hunter2»@cache:6379/0",
    "amqp://guest:«guest»@mq:5672//",
    "https://«ghp0123»@github.com/acme/x.git",
    "bob:«hunter2»@tcp(db:3306)/orders",
    "root:«hunter2»@localhost:5432/orders",
    "GET /login?user=bob&password=«hunter2»&next=/ 401",
    "GET /cb?access_token=«abc»&state=x",
    "https://x.s3.amazonaws.com/o?X-Amz-Credential=«AKIAIOSFODNN7EXAMPLE»&X-Amz-Signature=«aeeed9bbccd4d02ee5»",
    "https://x.blob.core.windows.net/o?sv=2022&sig=«abc%2Bdef%3D»",
    "Server=db;Database=orders;User Id=bob;Password=«hunter2»;",
    "Server=db;Uid=bob;Pwd=«hunter2»;Encrypt=true",
    "host=db user=bob password=«hunter2» dbname=orders",
    "DefaultEndpointsProtocol=https;AccountName=x;AccountKey=«abcDEF123/+==»;EndpointSuffix=y",
    "Endpoint=sb://x/;SharedAccessKeyName=root;SharedAccessKey=«abcDEF123=»",
    "«AKIAIOSFODNN7EXAMPLE»",
    f"aws_secret_access_key = «{AWS}»",
    f"AWS_SECRET_ACCESS_KEY=«{AWS}»",
    f"SecretAccessKey: «{AWS}»",
    "mysql -u root -p «secret» orders",
    "mysql -u root -p«secret» orders",
    "mysqldump --password=«secret» orders",
    "tool --password «secret»",
    "tool --api-key «secret» --verbose",
    "tool --pass «secret»",
    "tool -p «secret»",
    "sshpass -p «secret» ssh host",
    "redis-cli -a «secret» ping",
    "curl -u bob:«hunter2» https://example.org",
    "curl --user 'bob:«hunter2»' https://example.org",
    "«ghp_0123456789abcdefghij0123456789abcdef»",
    "«github_pat_11ABCDEFG0abcdefghijkl»",
    "«glpat-abcdefghij0123456789»",
    "«xoxb-123456789012-abcdefghijkl»",
    "https://hooks.slack.com/services/«T000/B000/XXXXXXXX»",
    "«" + "sk_" + "live_0123456789abcdefghijklmn»",
    "«AIzaSyA0123456789abcdefghijklmnopqrstuv»",
    "«sk-proj-0123456789abcdefghijkl»",
    "private_key=«abc»",
    "jdbc:oracle:thin:me/«hunter2»@h:1521/x",
    "Password for bob: «hunter2»",
    "API key «hunter2» is invalid",
    "tool -p=«hunter2»",
    "password is: «hunter2»",
    "pw=«hunter2»",
    "PIN: «4242»",
    "passcode «424242»",
    "X-Auth: «hunter2»",
    "Bearer: «hunter2»",
    "master_key=«hunter2»",
    "<token value='«hunter2»'/>",
    "encryption key: «abc»",
    "refresh_token: «abc»",
    "jwt=«abc»",
    "otp=«123456»",
    "credentials='«abc def»'",
    "password=«two words»",
    "Password: «correct horse battery staple»",
    "passphrase=«correct horse battery staple», user=bob",
    "login failed (password=«two words», user=bob)",
    "password=`«two words»`",
    "password=“«two words»”",
    'password="""«two words»"""',
    "master password: «two words»",
    "password for bob: «opensesame»",
    "password (for bob): «opensesame»",
    "seed phrase: «witch collapse practice feed shame open»",
    "pass phrase: «two words»",
    "pass-phrase=«hunter2»",
    "password[0]=«hunter2»",
    "password.value=«hunter2»",
    "password != '«hunter2»'",
    "password like '«hunter2»'",
    "%22password%22%3A%22«hunter2»%22",
    r"{\u0022password\u0022: \u0022«hunter2»\u0022}",
    "&quot;password&quot;: &quot;«two words»&quot;",
    "&lt;password&gt;«two words»&lt;/password&gt;",
    "<password><![CDATA[«two words»]]></password>",
    'curl -H "X-Api-Key: «abc 123»" https://example.org',
    "curl -u 'bob:«two words»' https://example.org",
    "curl -ubob:«hunter2» https://example.org",
    "ldapsearch -D cn=admin -w «secret»",
    "openssl rsa -passin pass:«secret»",
    "machine example.org login bob password «opensesame»",
    'setPassword("«two words»")',
    "auth=('bob', '«two words»')",
    "BasicAuth('bob', '«two words»')",
    'bearer "«abc123»"',
    'Digest username="bob", response="«6629fae49393a05397450978507c4ef1»"',
    "pin code: «4242»",
    "verification code: «123456»",
    "recovery code «abcd-efgh-1234»",
    "cvv2=«123»",
    "license_key=«ABCD-EFGH»",
    "---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\n«P2/56wAAA»\n---- END SSH2 ENCRYPTED PRIVATE KEY ----",
    "PuTTY-User-Key-File-3: ssh-rsa\nPrivate-Lines: 14\n«AAABAQCp»",
    "«AGE-SECRET-KEY-1QQPQZRYXQ5Z0ABCDEF0123456789»",
    "«dapi" + "0123456789abcdef" * 2 + "»",
    "«xoxe.xoxp-1-Mi0yLTEyMzQ1Njc4»",
    "https://discord.com/api/webhooks/123/«abcdefghijklmnop»",
    "https://api.telegram.org/bot«123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw»/getMe",
    "hash «$2b$12$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234»",
]

HARMLESS = [
    "order 4711 of customer 42 not found",
    "order o-1029 was cancelled",
    "550e8400-e29b-41d4-a716-446655440000",
    "12345678-1234-4234-8234-123456789012",
    "event 01HZY3K6W7Q8R9S0T1V2X3Y4Z5 is unknown",
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "commit 3f786850e387550fdab836ed7e6dc881de23001b",
    "sha256:e3b0c44298fc1c149afbf4c8996fb924 differs",
    "nginx:1.25@sha256:e3b0c44298fc1c149afbf4c8996fb924",
    "message 0e7a5c2f9b3d8146 was delivered again",
    "traceparent 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "password_reset requested",
    "password_reset=requested",
    "the password is required",
    "the password is too short: 8 characters at least",
    "invalid username or password",
    "the token was wrong",
    "token expired at 2026-01-31T09:30:00Z",
    "unexpected token '<' at line 3",
    "max_tokens=512, tokens: 17",
    "token_count=17",
    "tokenizer: bert",
    "secretary: Bob",
    "secret santa",
    "cookie jar",
    "Bearer authentication is required",
    "a bearer token is missing",
    "Basic authentication failed",
    "basic test of orders",
    "basic tests of orders",
    "PWD=/app",
    "authorization denied",
    "cannot authorize order 17",
    "http://localhost:4151/stats?format=json",
    "http://example.org:8080/a@b",
    "https://example.org/orders/17#top",
    "ssh host db-1",
    "connect to db-1.example.org:5432: timed out",
    "10.0.0.7:4150",
    "mkdir -p /srv/orders",
    "docker run -p 8080:80 image",
    "ssh -p 22 host",
    "docker run -u 1000:1000 image",
    "find . -print",
    "SELECT id, token FROM sessions WHERE id = 7",
    "UPDATE orders SET state = 'paid' WHERE id = 4711",
    "INSERT INTO orders (id, state) VALUES (17, 'new')",
    'duplicate key value violates unique constraint "orders_pkey"',
    "KeyError: 'sku'",
    'Traceback (most recent call last):\n  File "/app/orders.py", line 12, in handle\n    await reserve()',
    'File "/app/passwords.py", line 3, in check_password',
    "expected 3 fields, found 4: ['id', 'sku', 'count']",
    "missing fields: ['password', 'email']",
    "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
    "2026-01-31 09:30:00.123456 +0000",
    "spin=3 opinion=good compass=north",
    "primary key: id, key=o-17",
    "shipping 4242, auth: denied",
    "the api key is missing, the password of bob is wrong",
    "pin to version latest",
    "signature of handle() has changed",
    "<order id='17'>new</order>",
    "latency 12.5 ms; attempts 3; depth 1234567",
    "sequence AKIN and ghost_writer",
    "status code 500, error code: 17, zip code: 12345",
    "the verification code is required",
    "POST /webhooks/stripe: 200",
    "secret_santa_list_of_participants",
    "key-value store, passage 17, passed: 3",
    "password.length must be at least 8",
    "price $5$ and $1$",
    "author(name, 'Bob')",
]


def test_the_corpus_is_large_enough_to_mean_something() -> None:
    assert len(SECRETS) >= 80
    assert len(HARMLESS) >= 50


@pytest.mark.parametrize("marked", SECRETS)
def test_no_part_of_a_secret_is_left(marked: str) -> None:
    text = marked.replace("«", "").replace("»", "")
    redacted = redact(text)
    secrets = re.findall("«(.*?)»", marked, re.DOTALL)
    assert secrets
    assert [each for each in secrets if each in redacted] == []
    words = {word for secret in secrets for word in re.findall(r"\w{3,}", secret)}
    assert {word for word in words if word in redacted and marked.count(word) == 1} == set()


@pytest.mark.parametrize("marked", SECRETS)
def test_a_second_redaction_changes_nothing(marked: str) -> None:
    """Some texts are redacted twice: the detail of a dead letter is also a field of a log line."""
    once = redact(marked.replace("«", "").replace("»", ""))
    assert redact(once) == once


@pytest.mark.parametrize("text", HARMLESS)
def test_a_text_without_secrets_stays_readable(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    ("name", "is_secret"),
    [
        *(
            (each, True)
            for each in ("password", "DB_PWD", "accessToken", "X-Api-Key", "pin", "cookie", "auth")
        ),
        *(
            (each, False)
            for each in ("spin", "token_count", "password_reset", "key", "author", "sku", "passed")
        ),
    ],
)
def test_secrets_are_known_by_their_names(name: str, *, is_secret: bool) -> None:
    assert is_secret_name(name) is is_secret


def test_a_pair_of_name_and_value_is_known() -> None:
    assert names_a_secret({"name": "DB_PASSWORD", "value": "x"})
    assert names_a_secret({"key": "token", "value": "x"})
    assert not names_a_secret({"name": "token"})
    assert not names_a_secret({"name": "sku", "value": "x"})
    assert not names_a_secret({"name": 1, "value": "x"})


@pytest.mark.parametrize(
    "rule", [rule for _, rules in GROUPS for rule in rules], ids=lambda rule: rule.pattern[:40]
)
def test_no_pattern_can_take_more_than_linear_time(rule: Any) -> None:
    """No unbounded repeat is inside another one: only that makes time exponential or a high power."""
    found = parser.parse(rule.pattern)
    unbounded = [inner for is_unbounded, inner in _repeats(found) if is_unbounded]
    assert [is_nested for inner in unbounded for is_nested, _ in _repeats(inner) if is_nested] == []


UNITS = [
    *('token="', "token=[", 'token=\\"', "a:b@", "://a:", "--token-", "<token", "(token)values("),
    *(
        "password is ",
        "-----BEGIN PRIVATE KEY-----",
        "password.",
        "password[0]",
        "password for a ",
        "password=a b ",
    ),
    *('"x-token: ', "%22token", "&lt;token", "auth('a', "),
]


@pytest.mark.parametrize("unit", UNITS)
def test_a_megabyte_of_the_worst_text_is_redacted(unit: str) -> None:
    """A pattern of quadratic time would take hours for one of these."""
    redact((unit * (2**20 // len(unit))), limit=2**17)


def _repeats(pattern: Any) -> Iterator[tuple[bool, Any]]:
    for op, argument in pattern:
        if op in {sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT}:
            _, most, inner = argument
            yield most is sre.MAXREPEAT, inner
            yield from _repeats(inner)
        elif op is sre.SUBPATTERN:
            yield from _repeats(argument[-1])
        elif op is sre.BRANCH:
            for each in argument[1]:
                yield from _repeats(each)
        elif op in {sre.ASSERT, sre.ASSERT_NOT}:
            yield from _repeats(argument[1])
