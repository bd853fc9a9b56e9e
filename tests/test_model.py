from __future__ import annotations

from poolcensus.model import Account, Outcome, Target, TargetResult

TARGET = Target(Account("000000000001", "name", "o-1/r-1/ou-1/", (("key", "value"),), "one"), "us-east-1")


def test_a_result_has_its_target_and_all_that_is_told_of_its_end() -> None:
    found = TargetResult.of(
        TARGET,
        Outcome.ERROR,
        operation="service:Operation",
        pools=1,
        pages=2,
        attempts=3,
        throttles=4,
        seconds=5.0,
        error_code="code",
        error_message="message",
        request_id="id",
    )
    assert found == TargetResult(
        account_id="000000000001",
        account_name="name",
        region="us-east-1",
        outcome=Outcome.ERROR,
        ou_path="o-1/r-1/ou-1/",
        account_tags=(("key", "value"),),
        organization="one",
        operation="service:Operation",
        pools=1,
        pages=2,
        attempts=3,
        throttles=4,
        seconds=5.0,
        error_code="code",
        error_message="message",
        request_id="id",
    )
    assert found.target == TARGET


def test_a_result_of_which_nothing_is_told_has_nothing() -> None:
    found = TargetResult.of(Target(Account("000000000001"), "us-east-1"), Outcome.EMPTY, operation="x:Y")
    assert found == TargetResult("000000000001", None, "us-east-1", Outcome.EMPTY, operation="x:Y")
