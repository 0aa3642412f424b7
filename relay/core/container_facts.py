"""What people ask of a container that failed: what restarts it, how often, what may it use."""

import msgspec


class ContainerFacts(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """How a container is configured, and what its engine did with it.

    None is what is not known, and for `memory_limit` also a container without a limit.
    """

    restart_policy: str | None = None
    """``always``, ``unless-stopped``, ``on-failure`` or ``no``, as the engine names it."""
    max_retries: int = 0
    """How often ``on-failure`` restarts it, at most; 0 for as often as it fails."""
    restart_count: int | None = None
    """How often its policy has restarted it since somebody started it last."""
    memory_limit: int | None = None
    """In bytes."""

    @property
    def restart_option(self) -> str | None:
        """The policy as ``docker run --restart`` takes it: ``on-failure:2``."""
        limited = self.restart_policy == "on-failure" and self.max_retries
        return f"on-failure:{self.max_retries}" if limited else self.restart_policy

    @property
    def is_exhausted(self) -> bool:
        """Whether its policy does not restart it once it is down: it says no, or has done so as
        often as it may."""
        if self.restart_policy == "on-failure":
            return 0 < self.max_retries <= (self.restart_count or 0)
        return self.restart_policy == "no"


def container_object(facts: ContainerFacts | None, ran_ns: int | None) -> dict[str, object]:
    """Return what is known of a container as programs get it; None for what is not known.

    ``ran_ns`` is how long the life that ended had lasted, which they get in seconds.
    """
    facts = facts or ContainerFacts()
    return {
        "restart_policy": facts.restart_option,
        "restart_count": facts.restart_count,
        "memory_limit": facts.memory_limit,
        "ran_for": None if ran_ns is None else ran_ns // 1_000_000 / 1_000,
    }
