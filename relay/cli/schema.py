"""``relay schema``."""

import json

import click

from relay.config.schema import build_schema as schema_of_configuration


@click.command()
def schema() -> None:
    """Print the JSON Schema of the configuration, for editors.

    With the YAML language server, write it into a file, and on top of the configuration:
    # yaml-language-server: $schema=relay.schema.json
    """
    click.echo(json.dumps(schema_of_configuration(), indent=2, ensure_ascii=False))
