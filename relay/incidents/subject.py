"""The subject of an event: the container, engine or destination that it is about.

A container is known by its name and not by its id, because the engine keeps names unique, nobody
can fake them, and Compose keeps them when it recreates a container. The engines of other hosts are
told apart by `relay.core.event.source_of`.
"""

import hashlib
from collections.abc import Mapping

from relay.core.event import (
    RELAY_ENGINE,
    TYPE_RELAY,
    Event,
    is_about_host,
    is_self_event,
    source_of,
)

SWARM_SERVICE_ID = "com.docker.swarm.service.id"
"""The label of a swarm task that names its service."""

OWN_PREFIX = "relay:"
"""How the keys of relay's own subjects begin. No engine's name contains a colon."""

_RELAY_SUBJECTS = (f"{RELAY_ENGINE}/engine/", f"{RELAY_ENGINE}/destination/")
"""How the keys of such subjects of other hosts go on behind the host."""

MAX_TEXT = 200
"""The longest name that is kept, in characters. Docker's and Podman's are shorter."""


def subject_key(event: Event) -> str:
    """Return the key of an event's subject: its engine, type and name; without a name its id."""
    actor = event.actor
    if event.type == "container":  # first, because nearly every event is about one
        return container_key(source_of(event), actor.name, actor.id, actor.attributes)
    if event.type == TYPE_RELAY:
        return own_key(event)
    return f"{source_of(event)}/{event.type}/{bounded(actor.name or actor.id)}"


def container_key(engine: str, name: str | None, id_: str, labels: Mapping[str, str]) -> str:
    """Return the key of a container; ``engine`` is the key of its engine.

    A swarm task has its service and its name without the last part, and no engine, because a task
    that fails is replaced by one with another last part, maybe on another engine.
    """
    if not name or len(name) > MAX_TEXT:
        return f"{engine}/container/{bounded(name or id_)}"
    if SWARM_SERVICE_ID in labels and "." in name:
        return f"swarm:{bounded(labels[SWARM_SERVICE_ID])}/{name.rpartition('.')[0]}"
    return f"{engine}/container/{name}"


def own_key(event: Event) -> str:
    """Return the key of the subject of an event of ``type: relay``: a destination or an engine.

    Those of other hosts are not `is_own`: this relay knows no more of them than such events say.
    """
    destination = event.actor.attributes.get("destination")
    if not is_self_event(event):
        kind, name = ("engine", event.engine)
        if destination is not None:
            kind, name = ("destination", destination)
        return f"{source_of(event)}/{kind}/{bounded(name)}"
    return engine_key(event.engine) if destination is None else destination_key(destination)


def engine_key(engine: str) -> str:
    """Return the key of the subject of ``engine_lost`` and ``engine_back``."""
    return f"{OWN_PREFIX}engine/{engine}"


def destination_key(destination: str) -> str:
    """Return the key of the subject of ``destination_failing`` and ``destination_recovered``."""
    return f"{OWN_PREFIX}destination/{destination}"


def is_own(key: str) -> bool:
    """Whether the subject is relay's own: an engine or a destination."""
    return key.startswith(OWN_PREFIX)


def is_about_relay(key: str) -> bool:
    """Whether the subject is an engine or a destination, or another host, and no object of an
    engine."""
    *_, rest = key.split(" ", 2)
    return is_own(key) or (rest != key and rest.startswith(_RELAY_SUBJECTS))


def is_service(key: str) -> bool:
    """Whether the subject is a service of a Swarm."""
    _, _, rest = key.partition("/")
    return rest.startswith("service/") and not is_own(key)


def is_task(key: str) -> bool:
    """Whether the subject is a task of a Swarm: see `container_key`."""
    return key.startswith("swarm:")


def display_name(event: Event) -> str:
    """Return the name by which people know an event's subject."""
    if event.type == TYPE_RELAY:
        if is_about_host(event):
            return bounded(event.host)
        return bounded(event.actor.attributes.get("destination") or event.engine)
    name = event.actor.name
    if name and "." in name and SWARM_SERVICE_ID in event.actor.attributes:
        name = name.rpartition(".")[0]
    return bounded(name or event.actor.id)


def bounded(text: str) -> str:
    """Return a text, or its beginning with a hash if it is longer than `MAX_TEXT` characters."""
    if len(text) <= MAX_TEXT:
        return text
    digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).hexdigest()
    return f"{text[: MAX_TEXT - 40]}~{digest}"
