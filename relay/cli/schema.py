"""``relay schema``: prints the JSON Schema of the configuration."""

import json

import click

from relay.config.schema import build_schema
from relay.destinations.catalog import DESTINATION_TYPES


@click.command()
def schema() -> None:
    """Print the JSON Schema of the configuration, for editors.

    For the YAML language server, write it to a file, and name that at the top of the configuration:

    \b
    # yaml-language-server: $schema=relay.schema.json
    """
    click.echo(json.dumps(build_schema(DESTINATION_TYPES), indent=2, ensure_ascii=False))
