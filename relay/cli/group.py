"""A group of commands, as `relay` itself and `relay dead` are."""

import sys

import click


class Group(click.Group):
    """A group of commands whose help shows the whole summary of each command."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands; click would cut each summary at the end of its line."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, it.get_short_help_str(sys.maxsize)) for name, it in commands if it]
        with formatter.section("Commands"):
            formatter.write_dl(rows)
