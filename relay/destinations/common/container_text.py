"""What is known of a container, in words: its restart policy and its memory limit."""

from relay.core.container_facts import ContainerFacts

_MIB = 2**20
_GIB = 2**30


def format_times(times: int) -> str:
    """Return how often, as in ``once``, ``twice`` and ``3 times``."""
    return {1: "once", 2: "twice"}.get(times, f"{times:,} times")


def describe_given_up(container: ContainerFacts | None) -> str:
    """Return why an engine does not restart a container that is down; empty if that is not known.

    As in ``its restart policy (on-failure, 3 times) gave up``.
    """
    policy = None if container is None else container.restart_policy
    if container is None or policy is None:
        return ""
    if policy == "no":
        return "it has no restart policy"
    most, count = container.max_retries, container.restart_count
    if policy != "on-failure" or not most or (count is not None and count < most):
        return ""
    return f"its restart policy (on-failure, {format_times(most)}) gave up"


def describe_restart_policy(container: ContainerFacts) -> str:
    """Return which policy restarts a container, and how often it did; empty if it is not known.

    As in ``on-failure, at most 3 times; restarted twice so far``.
    """
    policy = container.restart_policy
    if policy is None:
        return ""
    if policy == "no":
        return "none"
    most, count = container.max_retries, container.restart_count
    bound = f", at most {format_times(most)}" if policy == "on-failure" and most else ""
    restarted = f"; restarted {format_times(count)} so far" if count else ""
    return f"{policy}{bound}{restarted}"


def format_memory(size: int) -> str:
    """Return bytes in the units that limits are written in: ``256 MiB``, ``1.5 GiB``."""
    unit, name = (_GIB, "GiB") if size >= _GIB else (_MIB, "MiB")
    return f"{size / unit:,.1f}".removesuffix(".0") + f" {name}"
