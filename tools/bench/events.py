"""The events of the benchmark, as Docker sends them, of about 740 bytes."""

from enum import StrEnum

CONTAINERS = 1_000
"""The events are about this many containers, in turn."""


class Kind(StrEnum):
    """What an event is, for the routes of the benchmark."""

    WANTED = "wanted"
    """A death that the first route matches."""
    OTHER = "other"
    """The same death in another project; only a label differs."""
    NOISE = "noise"
    """The start of a health check's command, an action that no route matches."""


ACTION = {Kind.WANTED: "die", Kind.OTHER: "die", Kind.NOISE: "exec_start: /bin/sh -c check"}
APP = {Kind.WANTED: "shop-0", Kind.OTHER: "forum", Kind.NOISE: "shop-0"}
"""The value of the label that the routes match."""

_LINE = (
    '{"Type":"container","Action":"<action>","Actor":{"ID":"%064x","Attributes":{'
    '"com.docker.compose.config-hash":"0b1946ffad1cbb74afd5d9f45b5ae0a1c2b8c7de7a6f5c4d",'
    '"com.docker.compose.container-number":"1",'
    '"com.docker.compose.depends_on":"",'
    '"app":"<app>",'
    '"com.docker.compose.project":"shop-of-somebody",'
    '"com.docker.compose.service":"web-frontend",'
    '"com.docker.compose.version":"2.29.7",'
    '"org.opencontainers.image.title":"shop-web",'
    '"org.opencontainers.image.version":"1.14.2",'
    '"sent":"%d-%d",'
    '"execDuration":"12","exitCode":"3","image":"registry.example.com/shop/web:1.14.2",'
    '"name":"shop-web-%d"}},"scope":"local","time":%d,"timeNano":%d}\n'
)

_LINES = {
    kind: _LINE.replace("<action>", ACTION[kind]).replace("<app>", APP[kind]).encode()
    for kind in Kind
}


def line(kind: Kind, number: int, sent_ns: int, time_ns: int) -> bytes:
    """Return the ``number``-th event; it is sent at ``sent_ns`` of the monotonic clock.

    The label ``sent`` holds both, for the sink.
    """
    container = number % CONTAINERS
    given = (container, number, sent_ns, container, time_ns // 10**9, time_ns)
    return _LINES[kind] % given
