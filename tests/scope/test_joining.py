"""Several Organizations: what goes wrong with one of them names it."""

from __future__ import annotations

import pytest

from poolcensus.errors import DestinationError, OrganizationError
from poolcensus.scope.joining import naming


def test_the_problem_names_the_organization_as_the_message_does() -> None:
    with pytest.raises(OrganizationError) as raised, naming("gov"):
        raise OrganizationError("No accounts.", advice="Check `ous`.")
    error = raised.value
    assert str(error) == "Organization gov: No accounts. Check `ous`."
    assert (error.problem, error.advice) == ("Organization gov: No accounts.", "Check `ous`.")


def test_a_destination_is_of_no_organization() -> None:
    with pytest.raises(DestinationError) as raised, naming("gov"):
        raise DestinationError("No room.")
    assert str(raised.value) == raised.value.problem == "No room."
