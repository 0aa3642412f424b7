"""``relay init``: writes a configuration file, without asking anything."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import click

from relay.cli.options import DEFAULT_FILE
from relay.config import builtin, variables
from relay.config.load import name_source
from relay.config.services import SERVICES, Service, Setting, all_settings
from relay.core.errors import ConfigError, Problem, RelayError
from relay.destinations.catalog import parse_config

INTRODUCTION = (
    "relay's configuration. `relay check` finds every error in it before relay runs.",
    'docs/configuration.md explains it. "${NAME}" is a variable of relay\'s environment, "$$" is a',
    '"$". A secret can also be in a file: "url_file: /path" in place of "url".',
)
SECRET_MODE, PLAIN_MODE = 0o600, 0o644

Command = TypeVar("Command", bound=Callable[..., object])
Given = Mapping[str, str]
"""The values of options, by the name of the option."""


class NotWritten(RelayError):
    """The file was not written."""


def _service_options(command: Command) -> Command:
    """Add an option for each value that a service needs."""
    for setting in reversed(list(all_settings())):
        option = click.option(f"--{setting.option}", metavar=setting.metavar, help=setting.meaning)
        command = option(command)
    return command


@click.command()
@_service_options
@click.option(
    "--project",
    "projects",
    multiple=True,
    metavar="NAME",
    help="Only containers of this compose project; may be given several times.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, allow_dash=True),
    metavar="FILE",
    help=f"The file to write, - for standard output. Default: $RELAY_CONFIG, else {DEFAULT_FILE}.",
)
@click.option("--force", is_flag=True, help="Replace a file that is there.")
def init(
    projects: tuple[str, ...], output: Path | None, force: bool, **options: str | None
) -> None:
    """Write a configuration file that notifies the given services of what fails.

    It asks nothing. What is not given by an option comes from variables such as
    $RELAY_SLACK_URL. The file refers to these by their name, so it holds no secret then; a value
    that is given by an option is written into the file, which only its owner can read.
    """
    given = {name.replace("_", "-"): value for name, value in options.items() if value is not None}
    choices = _choose(given, projects)
    text = builtin.compose(choices, INTRODUCTION)
    path = output or Path(os.environ.get(variables.CONFIG) or DEFAULT_FILE)
    _check(text, path.parent if str(path) != "-" else Path())
    if str(path) == "-":
        click.echo(text, nl=False)
        return
    mode = SECRET_MODE if given else PLAIN_MODE
    _write(path, text, mode, replaces=force)
    click.echo(f"wrote {path}{_describe_secrets(text, given)}")
    click.echo(_describe_next(path, choices))


def _choose(given: Given, projects: tuple[str, ...]) -> builtin.Choices:
    """Return what options and variables choose.

    Raises `ConfigError` if they contradict each other, or name no destination.
    """
    from_variables = variables.read_variables(os.environ) or builtin.Choices(())
    problems: list[Problem] = []
    destinations: list[builtin.Destination] = []
    for service in SERVICES:
        named = [it for it in from_variables.destinations if it.name == service.name]
        options = [setting for setting in service.settings if setting.option in given]
        if options:
            problems += _find_contradictions(service, options)
            values = (builtin.Value.literal(it.key, given[it.option]) for it in options)
            named = [builtin.Destination(service.name, service.type, tuple(values))]
        destinations += named
    if "" in projects:
        problems.append(_problem("--project", "is empty: name a compose project"))
    if problems:
        raise ConfigError(problems)
    if not destinations:
        raise click.UsageError(
            "there is nobody to tell: name a destination, as in "
            f"'relay init --{SERVICES[0].settings[0].option} https://…', or set a variable, as "
            f"{SERVICES[0].settings[0].variable}; relay init --help lists all"
        )
    return builtin.Choices(tuple(destinations), from_variables.host, projects, includes_logs=True)


def _find_contradictions(service: Service, options: list[Setting]) -> Iterator[Problem]:
    for setting in service.settings:
        if setting.is_required and setting not in options:
            yield _problem(f"--{setting.option}", f"is missing beside --{options[0].option}")
    for setting in service.settings:
        for variable in (setting.variable, setting.file_variable):
            if variable in os.environ:
                message = f"is given, and {variable} is set: keep one of the two"
                yield _problem(f"--{options[0].option}", message)


def _check(text: str, folder: Path) -> None:
    """Raise `ConfigError` if `relay check` would find a problem in the text."""
    try:
        parse_config(text, file="relay init", environ=os.environ, folder=folder)
    except ConfigError as error:
        raise ConfigError([_name_option(problem) for problem in error.problems]) from None


def _name_option(problem: Problem) -> Problem:
    """Return a problem of the text as one of the option or the variable that led to it."""
    if problem.path.startswith("routes"):
        return _problem("--project", problem.message)
    variable = variables.find_source(problem.path)
    if variable is None or variable in os.environ:
        return name_source(problem, os.environ)
    (option,) = (it.option for it in all_settings() if it.variable == variable)
    return _problem(f"--{option}", problem.message)


def _problem(name: str, message: str) -> Problem:
    return Problem("relay init", 0, 0, name, message)


def _write(path: Path, text: str, mode: int, *, replaces: bool) -> None:
    """Write a file that is there as a whole or not at all. Raises `NotWritten`."""
    target = path.with_name(f".{path.name}.{os.getpid()}") if replaces else path
    try:
        with suppress(FileExistsError):
            path.parent.mkdir()
        number = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(number, "w", encoding="utf-8") as file:
            try:
                file.write(text)
                file.flush()
                if replaces:
                    target.replace(path)
            except OSError:
                target.unlink()
                raise
    except FileExistsError:
        raise NotWritten(
            f"{path} is there already: name another file with --output, or replace it with --force"
        ) from None
    except OSError as error:
        raise NotWritten(
            f"{path} cannot be written: {error.strerror}; name another file with --output, or - "
            "for standard output"
        ) from None


def _describe_secrets(text: str, given: Given) -> str:
    """Say what the file holds, and which variables have to be set where relay runs."""
    names = [it for it in variables.find_destination_variables(os.environ) if f"${{{it}}}" in text]
    kept = "; only its owner can read it, because it holds a secret" if given else ""
    needs = f"; it refers to {', '.join(names)}, which relay needs as well" if names else ""
    return kept + needs


def _describe_next(path: Path, choices: builtin.Choices) -> str:
    is_usual = path == Path(os.environ.get(variables.CONFIG) or DEFAULT_FILE)
    option = "" if is_usual else f" --config {path}"
    name = choices.destinations[0].name
    return f"next: relay check{option}, relay send {name}{option}, relay run{option}"
