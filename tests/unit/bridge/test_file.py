"""The file of a bridge: its routes, and all of its mistakes at once, each with file, route and remedy."""

from pathlib import Path

import pytest

from nsqkit.bridge.address import KafkaAddress, NsqAddress, RabbitmqAddress
from nsqkit.bridge.file import read_bridge
from nsqkit.errors import LoadError

IN = 'from = "kafka://a.example:9092/sold?group=shop"\nto = "nsq:sold"'
OUT = 'from = "nsq:sold/partner"\nto = "amqp://b.example:5672/exchange?routing_key=sold"'


def _write(folder: Path, *routes: str, name: str = "") -> Path:
    path = folder / "bridge.toml"
    path.write_text("\n".join([name, *(f"[[route]]\n{route}" for route in routes)]))
    return path


def _problems(path: Path) -> list[str]:
    with pytest.raises(LoadError) as caught:
        read_bridge(path)
    return [problem.removeprefix(f"{path}: ") for problem in caught.value.problems]


def test_the_routes_of_a_file(tmp_path: Path) -> None:
    path = _write(
        tmp_path,
        'name = "in"\nfrom = "kafka://a.example:9092,[::1]:9093/sold?group=shop&start=latest"\n'
        'to = "nsq:sold"\n'
        'max_depth = 9\ncreate = true\nwrap = true\nheaders = ["X-Request"]',
        'name = "out"\nfrom = "nsq:sold/partner"\n'
        'to = "amqps://b.example:5671/goods%2Fsold?routing_key=a.b&vhost=shop"\n'
        'mode = "binary"\nmax_in_flight = 7\ntimeout_s = 3\nmax_attempts = 2',
        'name = "queue"\nfrom = "amqp://b.example:5672/returns?prefetch=9"\nto = "nsq:returns"',
        'name = "keyed"\nfrom = "nsq:returns/kafka"\nto = "kafka://a.example:9092/returns"\n'
        'key = "partitionkey"',
        name='name = "shop"',
    )
    bridge = read_bridge(path)
    first, second, third, fourth = bridge.routes
    assert bridge.name == "shop"
    assert first.source == KafkaAddress(
        servers=("a.example:9092", "[::1]:9093"), topic="sold", group="shop", start="latest"
    )
    assert (first.target, first.max_depth, first.create) == (NsqAddress("sold"), 9, True)
    assert (first.wrap, first.headers, first.passed) == (True, ("X-Request",), "shop/sold")
    assert second.source == NsqAddress("sold", "partner")
    assert second.target == RabbitmqAddress(
        host="b.example", port=5671, vhost="shop", exchange="goods/sold", routing_key="a.b", has_tls=True
    )
    assert (second.mode, second.max_in_flight, second.timeout_s, second.max_attempts) == ("binary", 7, 3.0, 2)
    assert third.source == RabbitmqAddress(host="b.example", port=5672, queue="returns", prefetch=9)
    assert (fourth.has_key, fourth.is_inbound) == (True, False)


def test_without_a_name_the_routes_make_one(tmp_path: Path) -> None:
    """It is the same in each process, and another bridge has another one."""
    first = read_bridge(_write(tmp_path, f'name = "a"\n{IN}')).name
    assert read_bridge(_write(tmp_path, f'name = "a"\n{IN}\nmax_depth = 5')).name == first
    assert read_bridge(_write(tmp_path, f'name = "b"\n{IN}')).name != first


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        pytest.param(
            'from = "amqp://[a:5672/s"\nto = "nsq:sold"', "from: it is not a URL: Invalid", id="URL"
        ),
        pytest.param(
            'from = "amqp://a:5672/q#1"\nto = "nsq:sold"', "from: it has a part after #", id="fragment"
        ),
        pytest.param(
            f'from = "amqp://a:5672/{"q" * 256}"\nto = "nsq:sold"',
            "from: its name has more than 255 bytes",
            id="long name",
        ),
        pytest.param(
            'from = "amqp://a:5672/s?vhost="\nto = "nsq:sold"',
            "from: option vhost has no value",
            id="no value",
        ),
        pytest.param(
            'from = "kafak://a:9092/b?group=c"\nto = "nsq:sold"',
            "from: there is no scheme 'kafak'; did you mean 'kafka'?; give nsq:",
            id="scheme",
        ),
        pytest.param(
            'from = "kafka://a:9092/sold?group=c&strat=latest"\nto = "nsq:sold"',
            "from: there is no option 'strat'; did you mean 'start'?",
            id="option",
        ),
        pytest.param(
            'from = "nsq:sold/x"\nto = "kafka://a:9092/sold?group=c"',
            "to: there is no option 'group'; there are none here",
            id="option of the other direction",
        ),
        pytest.param(
            'from = "kafka://a:9092/sold"\nto = "nsq:sold"',
            "from: it names no consumer group; add ?group=NAME",
            id="no group",
        ),
        pytest.param(
            'from = "kafka://a:9092/sold?group=c&start=now"\nto = "nsq:sold"',
            "from: start='now' is neither earliest nor latest",
            id="start",
        ),
        pytest.param(
            'from = "kafka://a/sold?group=c"\nto = "nsq:sold"',
            "from: address 'a': give host:port",
            id="no port",
        ),
        pytest.param(
            'from = "kafka://a:9092/so/ld?group=c"\nto = "nsq:sold"',
            "from: its path '/so/ld' has several parts",
            id="path",
        ),
        pytest.param(
            'from = "kafka://a:9092/s?group=c&group=d"\nto = "nsq:sold"',
            "from: option group is given twice",
            id="twice",
        ),
        pytest.param(
            'from = "amqp://a:5672/sold?prefetch=501"\nto = "nsq:sold"',
            "from: prefetch='501' is not in 1..500",
            id="prefetch",
        ),
        pytest.param('from = "amqp://a:5672/"\nto = "nsq:sold"', "from: it names no queue", id="no queue"),
        pytest.param(
            'from = "nsq:sold/x"\nto = "amqp://a:5672/"',
            "to: the default exchange needs the name of a queue",
            id="no routing key",
        ),
        pytest.param(
            'from = "amqp://a:5672,b:5672/q"\nto = "nsq:sold"', "from: give one host", id="two hosts"
        ),
        pytest.param(
            'from = "nsq:sold"\nto = "amqp://a:5672/e"',
            "from: it names no channel; give nsq:topic/channel",
            id="no channel",
        ),
        pytest.param(
            'from = "kafka://a:9092/s?group=c"\nto = "nsq:sold/x"',
            "to: messages are published to a topic, not to a channel",
            id="channel",
        ),
        pytest.param(
            'from = "kafka://a:9092/s?group=c"\nto = "nsq:so ld"',
            "to: topic name 'so ld' has characters outside",
            id="NSQ name",
        ),
        pytest.param(
            'from = "kafka://a:9092/s?group=c"\nto = "nsq://a:4150/sold"',
            "to: give nsq:topic; the nsqd are those of the settings",
            id="NSQ server",
        ),
        pytest.param(
            'from = "kafka://a:9092/s?group=c"\nto = "amqp://a:5672/e"', "neither end is NSQ", id="no NSQ"
        ),
        pytest.param('from = "nsq:a/b"\nto = "nsq:c"', "both ends are NSQ", id="only NSQ"),
        pytest.param('to = "nsq:c"', "it has no from; add from = …", id="no source"),
        pytest.param(
            f"{IN}\nmax_dept = 5", "there is no key 'max_dept'; did you mean 'max_depth'?", id="key"
        ),
        pytest.param(
            f"{IN}\nmax_depth = 0", "max_depth=0 is not a whole number in 1..1000000000", id="depth"
        ),
        pytest.param(f'{IN}\nmode = "binary"', "mode is for routes from NSQ; leave it out", id="mode"),
        pytest.param(f"{OUT}\nwrap = true", "wrap is for routes to NSQ; leave it out", id="wrap"),
        pytest.param(
            f'{OUT}\nmode = "bianry"', "is not 'structured' or 'binary'; did you mean 'binary'?", id="no mode"
        ),
        pytest.param(
            f"{OUT}\ntimeout_s = 0",
            "timeout_s=0 is not a number of seconds above 0, at most 880",
            id="timeout",
        ),
        pytest.param(f"{OUT}\ncreate = 1", "create=1 is neither true nor false", id="switch"),
        pytest.param(f'{OUT}\nkey = "partitionkey"', "key is for Kafka", id="key for RabbitMQ"),
        pytest.param(
            f'{IN}\nheaders = ["x"]', "headers are for the envelope that wrap = true adds", id="headers alone"
        ),
        pytest.param(
            f'{IN}\nwrap = true\nheaders = ["ID"]',
            "headers=['ID'] has 'ID', which would replace the attribute id",
            id="taken",
        ),
        pytest.param(
            f'{IN}\nwrap = true\nheaders = ["x-a", "xa"]',
            "has two names that become one attribute",
            id="one attribute",
        ),
        pytest.param(
            f'{IN}\nwrap = true\nheaders = ["-"]',
            "in which no character of a-z 0-9 is left",
            id="no character",
        ),
    ],
)
def test_a_mistake_in_a_route(tmp_path: Path, ends: str, expected: str) -> None:
    (problem,) = _problems(_write(tmp_path, f'name = "carry"\n{ends}'))
    assert problem.startswith("route 'carry': ")
    assert expected in problem


@pytest.mark.parametrize(("scheme", "query"), [("kafka", "?group=c"), ("amqp", "")])
def test_a_password_in_a_url_is_refused_and_not_repeated(tmp_path: Path, scheme: str, query: str) -> None:
    ends = f'from = "{scheme}://ann:hush@a.example:9092/sold{query}"\nto = "nsq:sold"'
    (problem,) = _problems(_write(tmp_path, f'name = "carry"\n{ends}'))
    settings = "kafka" if scheme == "kafka" else "rabbitmq"
    assert f"remove it, and set {settings}_username and {settings}_password" in problem
    assert "hush" not in problem


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    path = _write(
        tmp_path,
        f'name = "a"\n{IN}\ncreat = true\nmax_depth = "x"',
        f'name = "-b"\n{OUT}',
        f"{OUT}",
        name='nam = "x"\nname = ""',
    )
    assert [problem.partition(";")[0] for problem in _problems(path)] == [
        "there is no key 'nam'",
        "route 'a': there is no key 'creat'",
        "route 'a': max_depth='x' is not a whole number in 1..1000000000",
        "route '-b': name='-b' is not a name: 1 to 64 of A-Z a-z 0-9 . _ -, a letter or digit first",
        "route 3: it has no name",
        "name='' is not a name: 1 to 64 of A-Z a-z 0-9 . _ -, a letter or digit first",
    ]


def test_routes_of_one_name_or_one_source(tmp_path: Path) -> None:
    """Readers of one Kafka topic with groups of their own each get all of it."""
    other_group = IN.replace("group=shop", "group=other")
    path = _write(tmp_path, f'name = "a"\n{IN}', f'name = "a"\n{other_group}', f'name = "c"\n{IN}')
    first, second = _problems(path)
    assert first == "two routes have the name 'a'; rename one"
    assert second.startswith("route 'c': route 'a' reads kafka:sold too")


def test_a_circle_of_routes(tmp_path: Path) -> None:
    """The servers of one cluster of Kafka may be named in any order."""
    there = 'from = "nsq:sold/x"\nto = "kafka://b.example:9092,a.example:9092/sold"'
    (problem,) = _problems(_write(tmp_path, f'name = "in"\n{IN}', f'name = "out"\n{there}'))
    assert problem.startswith("messages would go round in a circle: 'in' -> 'out' -> 'in'")


def test_a_circle_through_a_queue(tmp_path: Path) -> None:
    """The default exchange leads to the queue that its routing key names."""
    out = 'from = "nsq:sold/x"\nto = "amqp://b.example:5672/?routing_key=sold"'
    back = 'from = "amqp://b.example:5672/sold"\nto = "nsq:sold"'
    (problem,) = _problems(_write(tmp_path, f'name = "out"\n{out}', f'name = "back"\n{back}'))
    assert "'out' -> 'back' -> 'out'" in problem


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", "there is no route; add a table [[route]]", id="empty"),
        pytest.param("route = 1", "there is no route", id="not a table"),
        pytest.param("[[route", "cannot be read", id="not TOML"),
    ],
)
def test_a_file_without_routes(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "bridge.toml"
    path.write_text(text)
    assert expected in " ".join(_problems(path))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    (problem,) = _problems(tmp_path / "nothing.toml")
    assert problem == "there is no such file; give the file of a bridge"
