"""The commands of the pages, which of them are executed, and what has to be printed then."""

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import chain, repeat

from tests.support.receiver import Received, Receiver, Reply
from tests.support.throwaway import REPOSITORY
from tests.unit.docs.commands import Command, find_commands
from tests.unit.docs.pages import PAGES, Block, find_blocks, page_name

MARK = "\x1e"
"""What stands before the output of each command."""

NOT_RUN: Mapping[str, str] = {
    r"docker compose .+": "takes Compose and the proxy's image, which comes from a registry",
    r'RELAY="docker run [^"]+" \./prepare .+': "takes relay's image; the next one is executed",
    r"for server in .+": "takes the three servers of a fleet",
    r"relay fleet setup .+": "takes the three servers of a fleet; test_fleet_files tries it",
    r"docker secret create .+": "takes a swarm",
    r"RELAY_IMAGE=\S+ docker stack deploy .+": "takes a swarm, and an image in a registry",
    r"podman (build|secret) .+": "takes Podman 5",
    r"systemctl --user .+|loginctl .+": "takes a systemd that has a session for a user",
    r'eval "\$\(_RELAY_COMPLETE=zsh_source relay\)".+': "takes zsh",
    r"_RELAY_COMPLETE=fish_source relay \| source.+": "takes fish",
    r"curl .+api\.telegram\.org.+|RELAY_TELEGRAM_TOKEN=.+": "asks Telegram itself",
    r".+\.venv/bin/pytest.*|.*\.venv/bin/pytest .+": "it would be these tests",
    r"relay dead drop .+": "asks a person, on a terminal",
    r"(docker exec relay )?relay demo( .*)?": "takes ten seconds; test_demo tries it",
    r"python -m tests\.support\.engines .+": "downloads engines",
    r"python -m tools\.bench.*": "takes from a minute to half an hour; test_bench tries it",
}
"""Why a command that looks like this is not executed; it is still parsed, by bash and by relay."""

_EXPLAIN = "relay explain --action die --name web --attribute exitCode=1"
ELSEWHERE: Mapping[tuple[str, str], str] = {
    ("docs/incidents.md", "relay check"): "tests/unit/docs/test_incidents.py",
    **{
        ("docs/quiet.md", command): "tests/unit/docs/test_quiet.py"
        for command in (
            "relay check",
            f'{_EXPLAIN} --at "2026-11-26 23:00"',
            _EXPLAIN,
        )
    },
    ("docs/quick-start.md", "RELAY_NTFY_TOPIC=my-containers relay check --show"): (
        "tests/unit/docs/test_quick_start.py"
    ),
}
"""Commands that a test of their page compares with what relay prints."""

NEEDS_IMAGE = "needs relay's image: test_image executes it"
OF_THE_IMAGE = re.compile(r"docker (build|run|exec|create|stop|start|cp|rm) .*\b(relay|try)\b.*")


def find_shell(page: str) -> list[Block]:
    """Return the blocks of a page that have commands."""
    return [it for it in find_blocks(REPOSITORY / page) if it.language in ("sh", "console")]


def find_reason(page: str, command: Command) -> str | None:
    """Return why a command is not executed here; None if it is."""
    if (page, command.text) in ELSEWHERE:
        return ELSEWHERE[page, command.text]
    for form, why in NOT_RUN.items():
        if re.fullmatch(form, command.text):
            return why
    return NEEDS_IMAGE if OF_THE_IMAGE.fullmatch(command.text) else None


COMMANDS = {
    page: [command for block in find_shell(page) for command in find_commands(block)]
    for page in map(page_name, PAGES)
}
"""All commands, by the name of their page."""


def find_executed(page: str) -> list[Command]:
    """Return the commands of a page that are executed here."""
    return [it for it in COMMANDS[page] if find_reason(page, it) is None]


def find_of_the_image(page: str) -> list[Command]:
    """Return the commands of a page that need relay's image."""
    return [it for it in COMMANDS[page] if find_reason(page, it) == NEEDS_IMAGE]


def make_answers() -> Callable[[Received], Reply]:
    """Return what decides how each request is answered, as `page_scenes` says."""
    wavering = chain([200], repeat(500))

    def answer(request: Received) -> Reply:
        if request.path.startswith("/discord"):
            return Reply(200, body=b'{"id": "1"}')
        if request.path == "/wavering":
            return Reply(next(wavering))
        return Reply(500 if request.path == "/failing" else 200)

    return answer


def substitute(text: str, receiver: Receiver) -> str:
    """Put the receiver in the place of services, and names in that of what a reader fills in."""
    text = re.sub(r"https://hooks\.slack\.com/services/…", receiver.url("/slack"), text)
    text = re.sub(r"https://discord\.com/api/webhooks/…", receiver.url("/discord"), text)
    text = re.sub(r"(relay dead (?:show|replay)) 17", r"\1 $LETTER", text)
    return text.replace("RELAY_TEAMS_URL=…", f"RELAY_TEAMS_URL={receiver.url('/teams')}")


WILD = (
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ"),
    (r"\d\d:\d\d:\d\dZ", r"\d\d:\d\d:\d\dZ"),
    (r"inc_[0-9a-f]+", r"inc_[0-9a-f]+"),
    (r"next probe in \d+ s", r"next probe (in \d+ s|now)"),
    (r"\d+ (s|min|h|d)\b( \d+ s)?", r"\d+ (s|min|h|d)( \d+ s)?"),
    (r"\d+(st|nd|rd|th)\b", r"\d+(st|nd|rd|th)"),
    (r"(?<!code )(?<!code_)(?<![\w.-])\d+(?![\w.])", r"\d+"),
    (r" +", r" +"),
)
"""What differs each time, and what has to be there instead: times, ids, durations, counts."""
_WILD = re.compile("|".join(f"(?P<w{number}>{form})" for number, (form, _) in enumerate(WILD)))


def make_pattern(line: str) -> str:
    """Return the pattern of a line that a page shows."""
    parts, at = [], 0
    for found in _WILD.finditer(line):
        assert found.lastgroup is not None
        name = next(name for name, text in found.groupdict().items() if text is not None)
        parts += [re.escape(line[at : found.start()]), WILD[int(name[1:])][1]]
        at = found.end()
    return "".join([*parts, re.escape(line[at:])]).replace("…", ".*")


def find_unprinted(shown: str, printed: str) -> Iterator[str]:
    """Yield the lines that are shown and were not printed, in this order; others may be between."""
    rest = iter(printed.splitlines())
    for line in filter(str.strip, shown.splitlines()):
        if line != "…" and not any(re.fullmatch(make_pattern(line) + " *", it) for it in rest):
            yield line
            return
