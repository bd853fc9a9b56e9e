"""Hub roles, what a session keeps through a chain of roles, and how long sessions last."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from poolcensus.model import Outcome
from poolcensus.simulator import Latency, Policies, PolicySet, SimulatorConfig, World, WorldConfig
from simulator.test_policies import OTHER, policy, trust

if TYPE_CHECKING:
    from simulator.conftest import Running, Start

FIRST = "arn:aws:iam::000000000002:role/hub/First"
SECOND = "arn:aws:iam::000000000003:role/Second"
MEMBER = "arn:aws:iam::000000000004:role/PoolCensusReader"


def assume(running: Running, role: str, by: Credentials | None = None, **more: Any) -> Credentials:
    client = running.client("sts", by)
    reply = client.assume_role(RoleArn=role, RoleSessionName="census", **more)["Credentials"]
    return Credentials(reply["AccessKeyId"], reply["SecretAccessKey"], reply["SessionToken"])


def refused(running: Running, role: str, by: Credentials | None = None, **more: Any) -> str:
    with pytest.raises(ClientError) as error:
        assume(running, role, by, **more)
    return f"{error.value.response['Error']['Code']}: {error.value.response['Error']['Message']}"


def world(**options: Any) -> WorldConfig:
    return WorldConfig(**{"accounts": 5, "regions": ("us-east-1",), "pools_per_target": 1, **options})


def test_each_role_of_a_chain_trusts_the_one_before_alone(start: Start) -> None:
    running = start(SimulatorConfig(world=world(hub_roles=(FIRST, SECOND))))
    first = assume(running, FIRST)
    second = assume(running, SECOND, first)
    member = assume(running, MEMBER, second)
    assert running.client("workspaces", member).describe_workspaces_pools()["WorkspacesPools"]
    denial = "because no role trust policy allows the sts:AssumeRole action"
    for role, by in ((SECOND, None), (MEMBER, None), (MEMBER, first), (FIRST, second)):
        assert denial in refused(running, role, by)
    assert {each.outcome for each in running.simulator.world.truth()} == {Outcome.OK}
    counts = running.simulator.stats.role_calls
    assert counts[SECOND] == 2
    assert counts[MEMBER] == 3


def test_the_truth_follows_the_chain() -> None:
    cut = Policies(roles={SECOND: PolicySet(identity=OTHER)})
    outcomes = {
        each.account_id: each.outcome
        for each in World(world(hub_roles=(FIRST, SECOND), policies=cut)).truth()
    }
    assert outcomes.pop("000000000001") is Outcome.OK
    assert set(outcomes.values()) == {Outcome.ASSUME_ROLE_FAILED}


def test_a_role_may_ask_for_an_external_id_of_its_own(start: Start) -> None:
    account = MEMBER.split(":")[4]
    running = start(
        SimulatorConfig(
            world=world(external_id="word", external_ids={account: "other", FIRST: "hub"}, hub_roles=(FIRST,))
        )
    )
    assert refused(running, FIRST, ExternalId="word").startswith("AccessDenied")
    hub = assume(running, FIRST, ExternalId="hub")
    assert refused(running, MEMBER, hub, ExternalId="word").startswith("AccessDenied")
    assert assume(running, MEMBER, hub, ExternalId="other")
    assert assume(running, running.simulator.world.role_arn("000000000005"), hub, ExternalId="word")
    assert {each.outcome for each in running.simulator.world.truth()} == {Outcome.OK}


def test_an_account_may_have_a_role_of_another_name(start: Start) -> None:
    running = start(SimulatorConfig(world=world(role_names={"000000000004": "/audit/Reader"})))
    assert refused(running, MEMBER).startswith("AccessDenied")
    assert assume(running, "arn:aws:iam::000000000004:role/audit/Reader")
    assert {each.outcome for each in running.simulator.world.truth()} == {Outcome.OK}


def test_a_source_identity_stays_and_is_asked_of_every_trust_policy(start: Start) -> None:
    both = trust(Action=["sts:AssumeRole", "sts:SetSourceIdentity"])
    policies = Policies(members=PolicySet(trust=trust()), roles={FIRST: PolicySet(trust=both)})
    running = start(SimulatorConfig(world=world(hub_roles=(FIRST,), policies=policies)))
    plain = assume(running, FIRST)
    named = assume(running, FIRST, SourceIdentity="alice")
    assert assume(running, MEMBER, plain)
    assert "to perform: sts:SetSourceIdentity on resource" in refused(running, MEMBER, named)
    assert "SetSourceIdentity" in refused(running, FIRST, named, SourceIdentity="bob")
    assert refused(running, FIRST, SourceIdentity="a b").startswith("ValidationError")


def test_a_source_identity_is_told_of_along_the_chain(start: Start) -> None:
    running = start(SimulatorConfig(world=world()))
    hub = assume(running, MEMBER, SourceIdentity="alice")
    reply = running.client("sts", hub).assume_role(
        RoleArn=running.simulator.world.role_arn("000000000005"), RoleSessionName="census"
    )
    assert reply["SourceIdentity"] == "alice"


def test_session_tags_are_kept_and_the_transitive_ones_passed_on(start: Start) -> None:
    needs = policy({"Condition": {"StringEquals": {"aws:PrincipalTag/Run": "nightly"}}})
    policies = Policies(members=PolicySet(identity=needs))
    running = start(SimulatorConfig(world=world(hub_roles=(FIRST,), policies=policies)))
    tag = [{"Key": "Run", "Value": "nightly"}]

    def pools(by: Credentials, **more: Any) -> object:
        member = assume(running, MEMBER, by, **more)
        return running.client("workspaces", member).describe_workspaces_pools()["WorkspacesPools"]

    kept = assume(running, FIRST, Tags=tag, TransitiveTagKeys=["Run"])
    lost = assume(running, FIRST, Tags=tag)
    assert pools(kept)
    assert pools(lost, Tags=tag)
    with pytest.raises(ClientError, match="no identity-based policy"):
        pools(lost)
    assert "conflicts with a transitive tag key" in refused(running, MEMBER, kept, Tags=tag)
    twice = [*tag, {"Key": "run", "Value": "x"}]
    assert refused(running, FIRST, Tags=twice).startswith("InvalidParameterValue: Duplicate tag keys")


def test_tags_need_the_permission_to_tag(start: Start) -> None:
    policies = Policies(caller=PolicySet(identity=policy({"Action": "sts:AssumeRole"})))
    running = start(SimulatorConfig(world=world(policies=policies)))
    assert assume(running, MEMBER)
    found = refused(running, MEMBER, Tags=[{"Key": "Run", "Value": "nightly"}])
    assert found.endswith("because no identity-based policy allows the sts:TagSession action")


def test_a_session_lasts_no_longer_than_its_role_lets_it(start: Start) -> None:
    running = start(SimulatorConfig(world=world(role_max_session=7200)))
    assert assume(running, MEMBER, DurationSeconds=7200)
    assert refused(running, MEMBER, DurationSeconds=7201) == (
        "ValidationError: The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
    )


def test_the_calls_for_one_role_are_counted_and_their_peak(start: Start) -> None:
    running = start(SimulatorConfig(world=world(), latency=Latency.parse("300")))
    threads = [threading.Thread(target=assume, args=(running, MEMBER)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (role,) = running.get("/_simulator/stats").json["roles"]
    assert role["arn"] == MEMBER
    assert role["calls"] == 3
    assert 1 <= role["peak"] <= 3
    assert running.simulator.stats.role_peaks[MEMBER] == role["peak"]


def test_sts_may_be_off_in_a_region_for_the_caller(start: Start) -> None:
    running = start(SimulatorConfig(world=world(sts_off=("eu-west-1",))))
    client = running.client("sts", region="eu-west-1")
    for call, arguments in (
        (client.assume_role, {"RoleArn": MEMBER, "RoleSessionName": "census"}),
        (client.get_caller_identity, {}),
    ):
        with pytest.raises(ClientError) as error:
            call(**arguments)
        response: Any = error.value.response
        assert response["Error"]["Code"] == "RegionDisabledException"
        assert response["ResponseMetadata"]["HTTPStatusCode"] == 403
    assert assume(running, MEMBER)


def test_a_session_ends_by_the_simulator_s_clock(start: Start) -> None:
    running = start(SimulatorConfig(world=world(hub_roles=(FIRST,)), signature_window=1e6))
    hub = assume(running, FIRST, DurationSeconds=900)
    running.simulator.advance(899)
    assert assume(running, MEMBER, hub)
    running.simulator.advance(2)
    assert refused(running, MEMBER, hub).startswith("ExpiredToken:")
