"""What delivery remembers: dead deliveries and endpoints that want nothing more."""

import pytest
import redis

from state import dead_letter_logs
from state.redis.names import Names
from state.shards.deliveries import Deliveries


@pytest.fixture
def client(redis_url: str) -> redis.Redis:
    return redis.Redis.from_url(redis_url)


def test_a_dead_delivery_is_found_with_its_reason(client: redis.Redis) -> None:
    store = Deliveries(client, Names("t"))
    store.keep_dead("crm", b"\x00trigger", "the receiver answered 400")
    store.keep_dead("mail", b"other", "too many attempts")
    found = list(dead_letter_logs.deliveries(client, Names("t")).oldest())
    assert [(letter.connector, letter.body, letter.reason) for letter in found] == [
        ("crm", b"\x00trigger", "the receiver answered 400"),
        ("mail", b"other", "too many attempts"),
    ]


def test_an_endpoint_is_disabled_until_it_is_enabled(client: redis.Redis) -> None:
    store = Deliveries(client, Names("t"))
    assert store.disabled() == {}
    store.disable("crm", "https://crm.example/hook")
    store.disable("crm", "https://crm.example/new")
    store.disable("öl", "x")
    assert Deliveries(client, Names("t")).disabled() == {"crm": "https://crm.example/new", "öl": "x"}
    assert Deliveries(client, Names("other")).disabled() == {}
    store.enable("crm")
    store.enable("never")
    assert store.disabled() == {"öl": "x"}


def test_attempts_add_up_by_connector_and_outcome(client: redis.Redis) -> None:
    store = Deliveries(client, Names("t"))
    store.count("crm", {"delivered": 2, "retried": 1})
    store.count("a:b", {"dead": 1})
    Deliveries(client, Names("t")).count("crm", {"delivered": 3})
    assert store.counts() == {"crm": {"delivered": 5, "retried": 1}, "a:b": {"dead": 1}}
    assert Deliveries(client, Names("other")).counts() == {}
