"""What is known of one container: what its death will be judged by, and whether it was told."""

from collections.abc import Mapping

import msgspec


class Container(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One container of one engine. All times are the engine's, in nanoseconds since 1970."""

    id: str
    name: str | None = None
    image: str | None = None
    labels: Mapping[str, str] = {}
    """As far as they are kept: see `relay.ingest.docker.containers.registry`."""
    exit_code_hidden: bool = False
    """Whether a label named ``exitCode`` stands where its events have their exit code."""
    signal_hidden: bool = False
    """Likewise ``signal``."""
    started_ns: int | None = None
    """Its last start."""
    died_ns: int | None = None
    """Its last death, whether an event told of it or not."""
    inferred_ns: int | None = None
    """The death that was inferred, for as long as its event may still turn up."""
    asked_ns: int | None = None
    """When it was last asked to end."""
    killed_ns: int | None = None
    """When it was sent a signal that the engine does not tell, or that a label hides."""
    oom_ns: int | None = None
    """When the kernel last killed a process of it for memory."""
    oom_inferred_ns: int | None = None
    """The last kill for memory that was inferred."""
    stop_signal: int | None = None
    """Its own stop signal, once somebody needed to know."""

    @property
    def is_dead(self) -> bool:
        """Whether it has died since its last start."""
        return self.died_ns is not None and self.died_ns >= (self.started_ns or 0)

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not died since."""
        return self.started_ns is not None and not self.is_dead
