"""What is known of a container, in words."""

import pytest

from relay.core.container_facts import ContainerFacts
from relay.destinations.common.container_text import (
    describe_given_up,
    describe_restart_policy,
    format_memory,
)

NEVER = ContainerFacts(restart_policy="no")
ALWAYS = ContainerFacts(restart_policy="always", restart_count=5)
THREE = ContainerFacts(restart_policy="on-failure", max_retries=3, restart_count=3)
TWO_OF_THREE = ContainerFacts(restart_policy="on-failure", max_retries=3, restart_count=2)
ENDLESS = ContainerFacts(restart_policy="on-failure", restart_count=0)
NOT_COUNTED = ContainerFacts(restart_policy="on-failure", max_retries=1)
MEMORY_ONLY = ContainerFacts(memory_limit=1)


@pytest.mark.parametrize(
    ("container", "expected"),
    [
        (None, ""),
        (MEMORY_ONLY, ""),
        (NEVER, "it has no restart policy"),
        (THREE, "its restart policy (on-failure, 3 times) gave up"),
        (NOT_COUNTED, "its restart policy (on-failure, once) gave up"),
        (TWO_OF_THREE, ""),
        (ENDLESS, ""),
        (ALWAYS, ""),
    ],
)
def test_says_why_a_policy_gave_up(container: ContainerFacts | None, expected: str) -> None:
    """A policy that would go on did not give up: then somebody stopped the container."""
    assert describe_given_up(container) == expected


@pytest.mark.parametrize(
    ("container", "expected"),
    [
        (MEMORY_ONLY, ""),
        (NEVER, "none"),
        (ALWAYS, "always; restarted 5 times so far"),
        (TWO_OF_THREE, "on-failure, at most 3 times; restarted twice so far"),
        (ENDLESS, "on-failure"),
        (NOT_COUNTED, "on-failure, at most once"),
    ],
)
def test_says_which_policy_restarted_it_how_often(container: ContainerFacts, expected: str) -> None:
    """What is not known is left out."""
    assert describe_restart_policy(container) == expected


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (6 * 2**20, "6 MiB"),
        (256 * 2**20, "256 MiB"),
        (2**30, "1 GiB"),
        (1_500_000_000, "1.4 GiB"),
        (2**50, "1,048,576 GiB"),
    ],
)
def test_writes_a_memory_limit_as_people_set_it(size: int, expected: str) -> None:
    """In powers of 1,024."""
    assert format_memory(size) == expected
