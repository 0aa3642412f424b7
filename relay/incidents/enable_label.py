"""The label by which a container says whether people are notified of it.

Whoever starts a container, and whoever built its image, writes its labels. So the label counts for
that container only, and is no more than a word: everything else about it is a matter of routes.
"""

from relay.core.event import Event

ENABLE_LABEL = "relay.enable"

_VALUES = {"true": True, "false": False}


def read_enable_label(event: Event) -> bool | None:
    """Return what the label of an event's container says; None if it has none, or nonsense.

    ``true`` and ``false`` count, in any case. Labels of volumes, networks and services do not.
    """
    if event.type != "container":
        return None
    value = event.actor.attributes.get(ENABLE_LABEL)
    return None if value is None else _VALUES.get(value.strip().lower())
