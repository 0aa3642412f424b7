"""What was there before somebody typed the commands of a page: a configuration, and trouble.

Scripts for a machine of `tests.support.throwaway`. ``$RECEIVER`` is a URL where every path answers
200; ``/failing`` answers 500, and ``/wavering`` does so from its second request on.
"""

from collections.abc import Mapping

import msgspec


class Scene(msgspec.Struct, frozen=True):
    """A machine, and the pages whose commands are typed there, one after the other."""

    pages: tuple[str, ...]
    script: str = ""


_EXAMPLE = r"""
export SLACK_WEBHOOK_URL=$RECEIVER/slack AUDIT_TOKEN=s3cret
mkdir -p /etc/relay
sed "s|https://audit.example.com/hook|$RECEIVER/audit|" config.example.yaml >/etc/relay/config.yaml
cat >>/etc/relay/config.yaml <<'END'
  - {name: stopped, match: {action: die, cause: requested}, to: audit}
  - {name: started, match: {action: start, name: db}, to: ops}
END
container() { docker run --detach --network=none --name "$@" >/dev/null; }
logged() { until grep -q "$1" /run/relay.log; do sleep 0.05; done; }
container db bb:1 sh -c 'trap "exit 0" TERM; while :; do sleep 0.05; done'
"""
"""The example of the repository, with a route for what somebody stopped and one for a start."""

_LOOPING = r"""
container shop-web-1 --label com.docker.compose.project=shop --restart always bb:1 sh -c 'exit 42'
"""
"""A container that the engine restarts again and again."""

SCENES = (
    Scene(
        ("docs/troubleshooting.md", "docs/incidents.md", "docs/operating.md", "docs/testing.md"),
        _EXAMPLE + "start-relay\n" + _LOOPING + "logged incident.told\n",
    ),
    Scene(
        ("docs/commands.md", "docs/delivery.md"),
        _EXAMPLE
        + r"""
export SLACK_WEBHOOK_URL=$RECEIVER/wavering
sed -i "s|^    type: slack|&\n    retry: {initial: 200ms}|
  s|^destinations:|&\n  lost: {type: http, url: $RECEIVER/failing, retry: {max_attempts: 1}}|" \
  /etc/relay/config.yaml
echo '  - {name: lost, match: {action: start, name: db}, to: lost}' >>/etc/relay/config.yaml
start-relay
docker restart db >/dev/null
"""
        + _LOOPING
        + "logged '\"ops\".*destination.failing'\n",
    ),
    Scene(
        ("docs/quiet.md",),
        r"""
mkdir -p /etc/relay /root/.docker/cli-plugins
cat >/etc/relay/config.yaml <<END
time_zone: Africa/Algiers
engines: {local: {}, edge-1: {url: unix:///nowhere/docker.sock}}
destinations: {ops: {type: slack, url: $RECEIVER/slack, resolve_after: 1s, group_wait: 100ms}}
routes: [{name: died, match: {action: die, cause: crashed}, to: ops}]
END
cat >/root/.docker/cli-plugins/docker-compose <<'END'
#!/bin/sh
[ "$1" = docker-cli-plugin-metadata ] && exec echo '{"SchemaVersion": "0.1.0", "Vendor": "a test"}'
crash() { docker run --detach --network=none --label com.docker.compose.project=shop "$@"; }
crash --name shop-db-1 bb:1 sh -c 'exit 3'
crash --name shop-web-1 --volume came:/data --restart=always bb:1 \
    sh -c 'n=$(cat /data/n || true); echo "x$n" >/data/n; [ "$n" = xx ] && exec sleep 99999; exit 3'
END
chmod +x /root/.docker/cli-plugins/docker-compose
export USER=ann
start-relay
""",
    ),
)
"""The pages that are in none have a machine each, with nothing on it.

In Algiers it is CET all year. Of the two services that the deployment starts, one crashes twice on
its way, and one is down.
"""

_TESTS = r"""
sed 's/{action: die, cause: \[crashed, oom\]}/{action: die}/' config.example.yaml >config.yaml
cp tests/streams/docker26.jsonl last-night.jsonl
"$PYTHON" -c '
from tests.unit.docs.pages import DOCS, blocks
print(blocks(DOCS / "testing.md", "yaml")[0])' >tests.yaml
"""
"""The tests of the page, of a configuration that does not look at why a container ended."""

BEFORE: Mapping[tuple[str, str], str] = {
    ("docs/incidents.md", "relay incidents"): (
        "container shop-api-1 --label com.docker.compose.project=shop bb:1 sh -c 'exit 1'\n"
        "sleep 0.3"
    ),
    ("docs/operating.md", "relay tail --all"): (
        "export MEANWHILE='docker exec db true; docker restart db'"
    ),
    ("docs/operating.md", "relay tail"): r"""export MEANWHILE='
        docker rm --force web; docker run --name web --network=none bb:1 sh -c "exit 3"
        docker start --attach web; docker restart db'""",
    ("docs/operating.md", "relay tail --since 10m"): r"""
        "$PYTHON" -c '
from pathlib import Path
from tests.support.engine_api import EngineApi
EngineApi(Path("/run/docker.sock")).make_events(256)'
        container pod-crash bb:1 sh -c 'exit 3'
        container pod-stop bb:1 sh -c 'trap "exit 0" TERM; while :; do sleep 0.05; done'
        docker stop pod-stop >/dev/null
        sed 's|^  here: .*|  here: {}\n  podman: {}\n  gone: {url: unix:///nowhere/docker.sock}|' \
            /etc/relay/config.yaml >/etc/relay/three.yaml
        export RELAY_CONFIG=/etc/relay/three.yaml""",
    ("docs/testing.md", "relay test tests.yaml"): _TESTS,
    (
        "docs/testing.md",
        "docker events --since 24h --until 0s --format '{{json .}}' | relay replay -",
    ): r"""unset RELAY_CONFIG
        # its last end is so late that a restart may still be expected when the message is due
        container looping --restart on-failure:3 bb:1 sh -c 'sleep 0.3; exit 1'
        state='{{.RestartCount}} {{.State.Running}} {{.State.Restarting}}'
        until [[ $(docker inspect --format "$state" looping) == '3 false false' ]]; do
            sleep 0.1
        done
        sleep 4  # it is reported before it is removed
        docker rm --force looping >/dev/null
        sleep 1""",
    (
        "docs/delivery.md",
        "relay dead show 17",
    ): "LETTER=$(relay dead list | awk 'NR == 2 {print $1}')",
    ("docs/quiet.md", "relay silence list"): (
        "until relay silence list | grep -q '1 incident, 2 events'; do sleep 0.1; done"
    ),
    ("docs/commands.md", "relay tail"): r"""export MEANWHILE='
        docker restart shop-web-1; docker restart db; docker rm --force greedy
        docker run --name greedy --network=none --memory=16m --memory-swap=16m \
            bb:1 sh -c "x=a; while true; do x=\$x\$x; done"'""",
}
"""What happens before a command, by its page and text."""
