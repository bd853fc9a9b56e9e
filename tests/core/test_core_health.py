"""When a region that does not answer is given up."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from poolcensus.health import Endpoint, RegionHealth

HERE = Endpoint("eu-west-1", "workspaces")
THERE = Endpoint("us-east-1", "workspaces")


def test_a_region_is_given_up_when_several_accounts_have_failed_several_times() -> None:
    health = RegionHealth(accounts=2, attempts=3)
    for _ in range(3):
        health.failed(HERE, "a", "no route")
        assert health.given_up(HERE) is None
        health.failed(HERE, "b", "no route")
    assert health.given_up(HERE) == "no route"
    assert health.given_up(THERE) is None


def test_one_account_alone_never_gives_a_region_up() -> None:
    health = RegionHealth(accounts=2, attempts=3)
    for _ in range(100):
        health.failed(HERE, "a", "no route")
    assert health.given_up(HERE) is None


def test_many_accounts_that_failed_seldom_do_not_either() -> None:
    health = RegionHealth(accounts=2, attempts=3)
    for account in range(100):
        for _ in range(2):
            health.failed(HERE, str(account), "no route")
    assert health.given_up(HERE) is None


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_any_reply_begins_the_count_anew() -> None:
    health = RegionHealth(accounts=1, attempts=3, patience=0.0)
    health.failed(HERE, "a", "x")
    health.failed(HERE, "a", "x")
    health.replied(HERE)
    for _ in range(2):
        health.failed(HERE, "a", "x")
        assert health.given_up(HERE) is None
    health.failed(HERE, "a", "the last")
    assert health.given_up(HERE) == "the last"


def test_a_region_that_has_answered_is_waited_for() -> None:
    clock = Clock()
    health = RegionHealth(accounts=2, attempts=1, patience=20.0, clock=clock)
    health.replied(HERE)
    clock.now = 100.0
    for second in range(20):
        clock.now = 100.0 + second
        health.failed(HERE, str(second), "x")
        assert health.given_up(HERE) is None
    clock.now = 120.0
    health.failed(HERE, "one more", "silence")
    assert health.given_up(HERE) == "silence"


def test_services_of_a_region_are_apart() -> None:
    health = RegionHealth(accounts=1, attempts=1)
    health.failed(HERE, "a", "x")
    assert health.given_up(HERE) == "x"
    assert health.given_up(Endpoint(HERE.region, "account")) is None


def test_a_region_that_lacks_the_operation_is_believed_when_several_accounts_heard_it() -> None:
    health = RegionHealth(accounts=2)
    health.lacks_operation(HERE, "a", "unknown operation")
    health.lacks_operation(HERE, "a", "unknown operation")
    assert health.unsupported(HERE) is None
    health.lacks_operation(HERE, "b", "unknown operation")
    assert health.unsupported(HERE) == "unknown operation"
    assert health.unsupported(THERE) is None
    assert health.given_up(HERE) is None


def test_an_operation_that_has_worked_is_offered() -> None:
    health = RegionHealth(accounts=1)
    health.served(HERE)
    health.lacks_operation(HERE, "a", "unknown operation")
    assert health.unsupported(HERE) is None


@given(
    st.integers(1, 3),
    st.integers(1, 3),
    st.lists(st.sampled_from(["a", "b", "c", "d", "reply"]), max_size=60),
)
def test_the_rule_holds_for_any_history(accounts: int, attempts: int, history: list[str]) -> None:
    health = RegionHealth(accounts=accounts, attempts=attempts, patience=0.0)
    since_reply: Counter[str] = Counter()
    given_up = False
    for event in history:
        if event == "reply":
            health.replied(HERE)
            since_reply.clear()
            given_up = False
        else:
            health.failed(HERE, event, "x")
            since_reply[event] += 1
            given_up = given_up or sum(n >= attempts for n in since_reply.values()) >= accounts
        assert (health.given_up(HERE) is not None) == given_up
