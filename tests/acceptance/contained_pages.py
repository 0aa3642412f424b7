"""Executes the commands of a page that need relay's image, on a private engine."""

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.acceptance.page_commands import find_of_the_image, substitute
from tests.support.docker import PrivateEngine
from tests.support.image import USER
from tests.support.receiver import Receiver

TIMEOUT_S = 120.0

PAGES = ("docs/quick-start.md", "docs/install.md", "docs/faq.md", "docs/operating.md")
"""The pages with such commands; those of the README are the quick start's."""

# The image is there already. The tests' engines have no bridge, so relay has the host's network.
# A relay that was started has to run.
_DOCKER = """
docker() {
  case $1 in
    build) command docker image inspect relay >/dev/null ;;
    run | create) command docker "$1" --network=host "${@:2}" ;;
    *) command docker "$@" ;;
  esac || return
  if [[ $* =~ ^(run (-d|--detach) |start ) ]]; then
    until command docker logs relay 2>&1 | grep -q '"relay.started"'; do
      state=$(command docker inspect --format '{{.State.Running}} {{.RestartCount}}' relay)
      [[ $state == 'true 0' ]] || { command docker logs relay; return 1; }
      sleep 0.1
    done
  fi
}
"""
_RUN = (
    "docker run -d --name relay -v /var/run/docker.sock:/var/run/docker.sock:ro "
    "-v relay:/var/lib/relay -e RELAY_SLACK_URL=https://hooks.slack.com/services/… relay"
)
_CLEAR = "docker rm --force relay; docker volume rm --force relay"

BEFORE: Mapping[str, str] = {
    "docker stop relay": _RUN,
    "docker create ": _CLEAR,
    "docker run --detach --name relay --read-only": (
        "docker run --rm relay init --slack https://hooks.slack.com/services/… --output - "
        ">config.yaml && chmod 644 config.yaml\n"
        f"mkdir secrets && echo x >secrets/slack_url && chown -R {USER} secrets"
    ),
    "docker run -d --name relay --restart unless-stopped --security-opt": _CLEAR,
}
"""What is done before a command that begins like this, for a page that does not say it itself."""


def run_page(page: str, engine: PrivateEngine, receiver: Receiver, folder: Path) -> None:
    """Execute the commands in order; raise AssertionError with the output if one fails.

    One that makes a container that fails (``--fail``) has to fail.
    """
    lines = [_DOCKER]
    for text in (command.text for command in find_of_the_image(page)):
        lines += [before for start, before in BEFORE.items() if text.startswith(start)]
        lines.append(re.sub(r"^(docker run .* relay --fail)\b", r"! \1", text))
    script = substitute("\n".join(lines), receiver)
    script = re.sub(r"(?<![:\w])/var/run/docker\.sock", str(engine.socket_path), script)
    ended = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=folder,
        env={**engine.environment, "XDG_RUNTIME_DIR": str(engine.folder)},
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
