"""The evaluation of policies against a slow and plain one, and the documents that are refused."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolcensus.simulator.policies import Policy, PolicyError, Query, Verdict, decide, read_document
from poolcensus.simulator.policies.evaluation import Layer

ACTIONS = ("a:Get", "a:GetAll", "b:Get", "b:Put")
RESOURCES = ("arn:aws:a:r:1:x/1", "arn:aws:a:r:2:x/1", "arn:aws:a:r:1:y")
VALUES = ("red", "green", "Red")
KEY = "aws:RequestedRegion"

actions = st.sampled_from(("*", "a:*", "a:Get", "A:get", "b:?et", "a:Get?ll"))
resources = st.sampled_from(("*", *RESOURCES, "arn:aws:a:r:1:*", "arn:aws:a:r:?:x/1"))
values = st.lists(st.sampled_from((*VALUES, "r*", "?ed")), min_size=1, max_size=2)
conditions = st.one_of(
    st.just({}),
    st.builds(
        lambda operator, wanted: {operator: {KEY: wanted}},
        st.sampled_from(("StringEquals", "StringLike", "StringNotEquals", "StringLikeIfExists")),
        values,
    ),
    st.builds(lambda absent: {"Null": {KEY: absent}}, st.sampled_from((True, False, "true"))),
)
statements = st.builds(
    lambda effect, action, wanted, resource, place, condition: {
        "Effect": effect,
        action: wanted,
        resource: place,
        "Condition": condition,
    },
    st.sampled_from(("Allow", "Deny")),
    st.sampled_from(("Action", "NotAction")),
    st.lists(actions, min_size=1, max_size=2),
    st.sampled_from(("Resource", "NotResource")),
    st.one_of(resources, st.lists(resources, min_size=1, max_size=2)),
    conditions,
)
documents = st.lists(statements, min_size=1, max_size=3)
queries = st.builds(
    lambda action, resource, value: Query(
        action, resource, context={} if value is None else {KEY.lower(): (value,)}
    ),
    st.sampled_from(ACTIONS),
    st.sampled_from(RESOURCES),
    st.sampled_from((None, *VALUES)),
)


def listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


def plain_condition(condition: dict[str, Any], query: Query) -> bool:
    for operator, keys in condition.items():
        wanted = keys[KEY]
        there = query.context.get(KEY.lower())
        if operator == "Null":
            if (str(wanted).lower() == "true") != (there is None):
                return False
            continue
        if there is None:
            if operator in {"StringEquals", "StringLike"}:
                return False
            continue
        if operator.startswith("StringLike"):
            met = any(fnmatchcase(there[0], each) for each in wanted)
        else:
            met = there[0] in wanted
        if met == ("Not" in operator):
            return False
    return True


def plain_verdict(document: list[dict[str, Any]], query: Query) -> Verdict:
    """Evaluate as IAM's page on policy evaluation describes it, statement by statement."""
    effects = set()
    for statement in document:
        lowered = [each.lower() for each in listed(statement.get("Action", statement.get("NotAction")))]
        of_action = any(fnmatchcase(query.action.lower(), each) for each in lowered)
        places = listed(statement.get("Resource", statement.get("NotResource")))
        of_resource = any(fnmatchcase(query.resource, each) for each in places)
        if (
            of_action == ("Action" in statement)
            and of_resource == ("Resource" in statement)
            and plain_condition(statement["Condition"], query)
        ):
            effects.add(statement["Effect"])
    if "Deny" in effects:
        return Verdict.DENY
    return Verdict.ALLOW if effects else Verdict.NONE


@given(documents, st.lists(queries, min_size=1, max_size=6))
def test_a_document_says_what_a_plain_reading_of_it_says(
    document: list[dict[str, Any]], asked: list[Query]
) -> None:
    compiled = read_document(json.dumps({"Statement": document}))
    # Twice, since verdicts are cached.
    for query in (*asked, *asked):
        assert compiled.verdict(query) is plain_verdict(document, query)


@given(st.lists(documents, min_size=1, max_size=4), queries)
def test_a_call_is_allowed_where_no_layer_denies_and_all_allow(
    layers: list[list[dict[str, Any]]], query: Query
) -> None:
    kinds = (Policy.SCP, Policy.IDENTITY, Policy.BOUNDARY, Policy.SESSION)
    whole = [
        Layer(kind, read_document(json.dumps({"Statement": document})))
        for kind, document in zip(kinds, layers, strict=False)
    ]
    verdicts = [plain_verdict(document, query) for document in layers]
    denial = decide(whole, query)
    if Verdict.DENY in verdicts:
        assert denial == (kinds[verdicts.index(Verdict.DENY)], True)
    elif Verdict.NONE in verdicts:
        assert denial == (kinds[verdicts.index(Verdict.NONE)], False)
    else:
        assert denial is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"Effect": "Maybe"}, "Effect"),
        ({"Action": "everything"}, "everything is not an action"),
        ({"Action": []}, "Action is a string"),
        ({"NotAction": "a:Get"}, "not both"),
        ({"Resource": "arn:aws:s3:::${aws:username}"}, "policy variables"),
        ({"Condition": {"NumericEquals": {KEY: "1"}}}, "NumericEquals"),
        ({"Condition": {"StringEquals": {"aws:Colour": "red"}}}, "aws:Colour"),
        ({"Condition": {"Null": {KEY: "maybe"}}}, "true or false"),
        ({"NotPrincipal": "*"}, "NotPrincipal"),
        ({"Principal": {"AWS": "arn:aws:iam::1:role/*"}}, "wildcard"),
    ],
)
def test_what_can_t_be_evaluated_is_refused_when_it_is_read(changes: dict[str, Any], message: str) -> None:
    statement = {"Effect": "Allow", "Action": "a:Get", "Resource": "*", **changes}
    with pytest.raises(PolicyError, match=message):
        read_document(json.dumps({"Statement": statement}))


@pytest.mark.parametrize("element", ["Principal", "NotPrincipal"])
def test_the_policy_of_an_identity_names_no_principal(element: str) -> None:
    statement = {"Effect": "Allow", "Action": "a:Get", "Resource": "*", element: "*"}
    with pytest.raises(PolicyError, match="must not name a principal"):
        read_document(json.dumps({"Statement": statement}), of_identity=True)


@pytest.mark.parametrize("element", ["Resource", "NotResource"])
def test_the_policy_of_an_identity_names_resources(element: str) -> None:
    statement = {"Effect": "Allow", "Action": "a:Get"}
    read_document(json.dumps({"Statement": {**statement, element: "*"}}), of_identity=True)
    text = json.dumps({"Statement": [{**statement, element: "*"}, statement]})
    with pytest.raises(PolicyError, match="needs a Resource or a NotResource"):
        read_document(text, of_identity=True)
    # A trust policy is about its own role.
    read_document(text)


@pytest.mark.parametrize(
    ("operator", "holds"),
    [
        ("StringEquals", False),
        ("StringNotEquals", True),
        ("StringEqualsIfExists", True),
        ("ForAllValues:StringEquals", True),
        ("ForAllValues:StringNotEquals", True),
        ("ForAnyValue:StringEquals", False),
        ("ForAnyValue:StringNotEquals", False),
        ("ForAnyValue:StringNotEqualsIfExists", True),
    ],
)
def test_a_condition_on_a_key_that_the_call_does_not_have(operator: str, holds: bool) -> None:
    statement = {"Effect": "Allow", "Action": "*", "Condition": {operator: {"aws:TagKeys": "team"}}}
    verdict = read_document(json.dumps({"Statement": statement})).verdict(Query("a:Get", "*"))
    assert verdict is (Verdict.ALLOW if holds else Verdict.NONE)


@pytest.mark.parametrize("text", ["{", "[]", "{}", "null", '{"Statement": ["Allow"]}', '{"Statement": []}'])
def test_a_text_that_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(PolicyError):
        read_document(text)
