"""Parses one record of an engine's stream into an `Event`."""

import msgspec

from relay.core.event import TYPE_RELAY, Actor, Event, Origin, ParseErrorKind, make_event_id
from relay.ingest.docker.engine.repair import repair_record

HEAD_BYTES = 200
"""How much of an invalid record is kept for the log."""

MAX_TIME_NS = 7_258_118_400 * 1_000_000_000
"""Times from here on, the year 2200, are not accepted from an engine. The store's signed 64 bits of
nanoseconds end in the year 2262, and relay adds spans to times."""

TYPE_FORGED = "engine-relay"
"""The type of an engine's event that claims to be of relay's own type."""

_EXIT_CODE_KEYS = {
    "die": ("exitCode", "containerExitCode"),
    "exec_die": ("exitCode",),
    "exec_died": ("containerExitCode",),
}
"""The attributes with an action's exit code; with other actions they are labels.
``containerExitCode`` and ``exec_died`` are Podman's. It sends ``containerExitCode`` with every
event, but only with these actions is that the exit code."""

# To look these up for each event would cost noticeable time.
_LIVE, _REPLAYED = Origin.LIVE, Origin.REPLAYED


class InvalidRecord(msgspec.Struct, frozen=True):
    """A record that is not an event."""

    error: ParseErrorKind
    head: bytes
    """Its first `HEAD_BYTES` bytes."""
    digest: int = 0
    """The same for the same record, as long as this process lives."""


class _WireActor(msgspec.Struct, gc=False):
    id: str = msgspec.field(default="", name="ID")
    attributes: dict[str, str] | None = msgspec.field(default=None, name="Attributes")


class _WireEvent(msgspec.Struct, gc=False):
    """The needed fields of the engine's event (Docker Engine API, ``GET /events``).

    The top-level ``status``, ``id`` and ``from`` are never read: they repeat the others, and API
    1.52 removed them.
    """

    type: str = msgspec.field(default="", name="Type")
    action: str = msgspec.field(default="", name="Action")
    actor: _WireActor | None = msgspec.field(default=None, name="Actor")
    scope: str = "local"
    time_s: int = msgspec.field(default=0, name="time")
    time_ns: int = msgspec.field(default=0, name="timeNano")
    health: str = msgspec.field(default="", name="HealthStatus")
    """Podman's; Docker writes it behind the action."""


_decode = msgspec.json.Decoder(_WireEvent).decode


def parse_event(
    record: bytes,
    *,
    engine: str,
    host: str,
    live_from_ns: int,
    podman: bool = False,
    may_be_relay: bool = False,
) -> Event | InvalidRecord:
    """Return the event in a record, or what is wrong with the record.

    A record that breaks the API's rules is repaired if possible (see `repair`). An event older than
    ``live_from_ns``, the engine's time when the stream was opened, came from the engine's history.
    Podman does not say which signal was sent: its ``signal`` attribute is a label. An event that
    claims to be relay's own becomes one of `TYPE_FORGED`, unless it ``may_be_relay``.
    """
    incomplete = ParseErrorKind.MISSING_FIELD
    try:
        wire = _decode(record)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        is_json = isinstance(error, msgspec.ValidationError)
        incomplete = ParseErrorKind.ODD_TYPE if is_json else ParseErrorKind.NOT_JSON
        repaired = repair_record(record)
        if repaired is None:
            return _invalid(incomplete, record)
        wire = _decode(repaired)
    time_ns = wire.time_ns
    if not 0 < time_ns < MAX_TIME_NS:
        time_ns = wire.time_s * 1_000_000_000
    if not (wire.type and wire.action and (time_ns or wire.time_ns)):
        return _invalid(incomplete, record)
    if not 0 < time_ns < MAX_TIME_NS:
        return _invalid(ParseErrorKind.ODD_TYPE, record)
    if wire.type == TYPE_RELAY and not may_be_relay:
        wire.type = TYPE_FORGED
    origin = _REPLAYED if time_ns < live_from_ns else _LIVE
    event = _make_event(wire, time_ns, engine, host, origin)
    return msgspec.structs.replace(event, signal=None) if podman else event


def _invalid(error: ParseErrorKind, record: bytes) -> InvalidRecord:
    return InvalidRecord(error, record[:HEAD_BYTES], hash(record))


def _make_event(wire: _WireEvent, time_ns: int, engine: str, host: str, origin: Origin) -> Event:
    actor, type_ = wire.actor or _WireActor(), wire.type
    attributes = actor.attributes or {}
    action, _, rest = wire.action.partition(": ")
    detail = rest.strip() or None
    is_health = action == "health_status"
    if is_health and detail is None:
        detail = wire.health or None
    return Event(  # positional arguments: keywords would cost a tenth of the whole
        make_event_id(engine, time_ns, type_, wire.action, actor.id, attributes, wire.scope),
        engine,
        host,
        type_,
        action,
        detail,
        wire.scope,
        time_ns,
        _make_actor(type_, actor.id, attributes),
        None,  # the tracker finds the cause later
        _find_exit_code(action, attributes) if action in _EXIT_CODE_KEYS else None,
        _parse_number(attributes.get("signal")) if action == "kill" else None,
        detail if is_health else None,
        origin,
    )


def _make_actor(type_: str, id_: str, attributes: dict[str, str]) -> Actor:
    """Make the actor, named as people name it: a volume by its id, an image by its own name."""
    name = attributes.get("name") or (id_ if type_ == "volume" else None)
    image = name if type_ == "image" else attributes.get("image")
    return Actor(id_, name, image, attributes)


def _find_exit_code(action: str, attributes: dict[str, str]) -> int | None:
    for key in _EXIT_CODE_KEYS[action]:
        if (code := _parse_number(attributes.get(key))) is not None:
            return code
    return None


def _parse_number(text: str | None) -> int | None:
    """Parse a small number as the engine writes it; None for the free text of a label."""
    if text is None or len(text) > 10 or not text.removeprefix("-").isdecimal():
        return None
    return int(text)
