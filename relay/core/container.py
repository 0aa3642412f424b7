"""The state of one container: what explains its next death, and which deaths were reported."""

from collections.abc import Mapping

import msgspec

from relay.core.container_facts import ContainerFacts


class Container(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One container of one engine, as the store keeps it.

    All times are the engine's, in nanoseconds since 1970. The store has a column for each of the
    `CHANGING_FIELDS`; the other fields, which hardly ever change, are stored as JSON under their
    names.
    """

    id: str
    name: str | None = None
    image: str | None = None
    labels: Mapping[str, str] = {}
    """Its labels, as far as there is memory: see `relay.ingest.docker.containers.registry`."""
    exit_code_hidden: bool = False
    """Whether a label named ``exitCode`` replaces the real exit code in its events."""
    signal_hidden: bool = False
    """Whether a label named ``signal`` replaces the real signal in its events."""
    run_time_hidden: bool = False
    """Whether a label named ``execDuration`` replaces how long it ran in its events."""
    started_ns: int | None = None
    """Its last start."""
    died_ns: int | None = None
    """Its last death, whether or not an event reported it."""
    inferred_ns: int | None = None
    """The time of the death that relay inferred, as long as the engine's own event may still
    arrive."""
    requested_ns: int | None = None
    """When somebody last asked it to end in a way that it cannot ignore: by a stop or a kill."""
    signal_ns: int | None = None
    """When it was last sent a signal that may have asked it to end, and that it may ignore."""
    oom_ns: int | None = None
    """When the kernel last killed one of its processes for memory."""
    oom_inferred_ns: int | None = None
    """The time of the last kill for memory that relay inferred."""
    signal: int | None = None
    """The signal of `signal_ns`; None if relay cannot know its number: the engine does not name it,
    or a label hides it."""
    health: str | None = None
    """What its last health check said since its last start; None if the engine reports only
    changes."""
    stop_signal: int | None = None
    """The stop signal that it is configured with; None until relay had to inspect it."""
    interactive: bool | None = None
    """See `Event.interactive`; None until relay inspected it."""
    auto_remove: bool | None = None
    """Whether the engine removes it when it ends (``--rm``); None until relay inspected it."""
    restart_policy: str | None = None
    """Its restart policy; None until relay inspected it."""
    max_retries: int = 0
    """See `ContainerFacts.max_retries`."""
    memory_limit: int | None = None
    """In bytes; None if it has none, and until relay inspected it."""
    ended_unasked: bool = False
    """Whether it should still run: its restart policy keeps it running, and nobody asked for its
    last end."""
    start_failed: bool = False
    """Whether it was reported that it cannot be started. Its next start resets this.

    A service of a Swarm whose tasks cannot start is kept like a container, for as long as that is
    so.
    """

    def has_texts_of(self, other: "Container") -> bool:
        """Whether the name, the image and the labels are the same."""
        return (
            self.name == other.name
            and self.image == other.image
            and (self.labels is other.labels or self.labels == other.labels)
        )

    def is_described_as(self, other: "Container") -> bool:
        """Whether everything but the `CHANGING_FIELDS` is the same."""
        return (
            self.has_texts_of(other)
            and self.exit_code_hidden == other.exit_code_hidden
            and self.signal_hidden == other.signal_hidden
            and self.run_time_hidden == other.run_time_hidden
            and self.health == other.health
            and self.stop_signal == other.stop_signal
            and self.interactive == other.interactive
            and self.auto_remove == other.auto_remove
            and self.restart_policy == other.restart_policy
            and self.max_retries == other.max_retries
            and self.memory_limit == other.memory_limit
            and self.ended_unasked == other.ended_unasked
            and self.start_failed == other.start_failed
        )

    @property
    def facts(self) -> ContainerFacts | None:
        """What an inspection showed of it that does not change with every life; None without
        one."""
        if self.restart_policy is None:
            return None
        return ContainerFacts(self.restart_policy, self.max_retries, None, self.memory_limit)

    @property
    def is_dead(self) -> bool:
        """Whether it has died since its last start."""
        return self.died_ns is not None and self.died_ns >= (self.started_ns or 0)

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not died since then."""
        return self.started_ns is not None and not self.is_dead


CHANGING_FIELDS = (
    "started_ns",
    "died_ns",
    "inferred_ns",
    "requested_ns",
    "signal_ns",
    "oom_ns",
    "oom_inferred_ns",
    "signal",
)
"""The integers of a `Container` that its events change: times, and the last signal."""
