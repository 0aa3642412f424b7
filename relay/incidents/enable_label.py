"""The label by which a container says whether people are notified of it.

The labels of a container are written by those who start it and by those who built its image. So
the label counts for that container only, and only as yes or no: routes decide everything else.
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
