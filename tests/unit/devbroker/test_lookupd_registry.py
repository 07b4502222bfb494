import pytest

from nsqkit.devbroker.lookupd_registry import ANY, CLIENT, Node, Peer, Producer, Registration, Registry

TOPIC = Registration("topic", "t")
CHANNEL = Registration("channel", "t", "c")


def peer(name: str = "a", heard_s: float = 0.0) -> Peer:
    return Peer(Node(f"{name}:1", name, name, 4150, 4151, "1.3.0"), heard_s)


@pytest.fixture
def registry() -> Registry:
    return Registry()


def test_what_is_registered_is_found_by_name_or_by_any(registry: Registry) -> None:
    one = peer()
    for registration in (TOPIC, CHANNEL, Registration("topic", "u"), CLIENT):
        registry.add(registration, one)
    assert registry.find("topic", "t") == [TOPIC]
    assert registry.find("topic", ANY) == [TOPIC, Registration("topic", "u")]
    assert registry.find("channel", ANY, ANY) == [CHANNEL]
    assert registry.find("channel", "u", ANY) == []
    assert [topic for topic, _ in registry.topics_of(one)] == ["t", "u"]


def test_a_producer_is_listed_once(registry: Registry) -> None:
    one, other = peer("a"), peer("b")
    for each in (one, other, one):
        registry.add(TOPIC, each)
    registry.add(Registration("topic", "u"), one)
    assert [producer.peer for producer in registry.producers("topic", ANY)] == [one, other]


def test_registering_again_keeps_the_tombstone(registry: Registry) -> None:
    one = peer()
    registry.add(TOPIC, one)
    registry.producers("topic", "t")[0].tombstoned_s = 1.0
    registry.add(TOPIC, one)
    assert registry.producers("topic", "t")[0].tombstoned_s == 1.0


def test_a_topic_outlives_its_producers(registry: Registry) -> None:
    one, other = peer("a"), peer("b")
    registry.add(TOPIC, one)
    registry.add(TOPIC, other)
    assert registry.remove(TOPIC, one) == 1
    registry.forget(other)
    assert registry.producers("topic", "t") == []
    assert registry.find("topic", "t") == [TOPIC]
    registry.drop(TOPIC)
    assert registry.find("topic", "t") == []


def test_what_is_not_there_is_removed_without_a_word(registry: Registry) -> None:
    assert registry.remove(TOPIC, peer()) == 0
    registry.drop(TOPIC)
    registry.forget(peer())


@pytest.mark.parametrize(("now_s", "active"), [(300.0, True), (300.1, False)])
def test_a_silent_nsqd_is_not_active(registry: Registry, now_s: float, active: bool) -> None:  # noqa: FBT001
    assert registry.is_active(Producer(peer()), now_s=now_s) is active


@pytest.mark.parametrize(
    ("tombstoned_s", "now_s", "hidden"), [(None, 0.0, False), (5.0, 49.9, True), (5.0, 50.0, False)]
)
def test_a_tombstone_hides_for_a_while(
    registry: Registry,
    tombstoned_s: float | None,
    now_s: float,
    hidden: bool,  # noqa: FBT001
) -> None:
    assert registry.is_tombstoned(Producer(peer(), tombstoned_s), now_s=now_s) is hidden
