"""Kinds of options that click does not have."""

from __future__ import annotations

import click


class SeveralValues(click.Option):
    """An option that takes all the words up to the next option: `--modules a b --modules c`.

    For commands without arguments; Flyte's own deployments start connector servers this way.
    """


class CommandOfSeveralValues(click.Command):
    """A command whose options may be `SeveralValues`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Repeat the option before each of its further values, which is what click understands."""
        names = {name for option in self.params if isinstance(option, SeveralValues) for name in option.opts}
        return super().parse_args(ctx, spread(args, names))


def spread(args: list[str], names: set[str]) -> list[str]:
    """Return the arguments with each option of `names` repeated before each of its values."""
    result: list[str] = []
    current = ""
    for arg in args:
        if arg.startswith("-"):
            option = arg.partition("=")[0]
            current = option if option in names else ""
            result.append(arg)
        elif current and result[-1] != current:
            result += [current, arg]
        else:
            result.append(arg)
    return result
