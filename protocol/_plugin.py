"""The betterproto2 compiler, set up for Flytower. A process of its own: descriptors on stdin, sources on stdout.

Two tables of the compiler are emptied, which is why it is not called as a command:

- Well-known types stay messages. Turned into datetime and timedelta, as the compiler does it, Timestamp and Duration
  lose their nanoseconds, a date past the year 9999 makes the whole message unreadable, and a negative duration changes
  its value (-1 us is written as +999999 us). `flytower.protocol.codec` converts them where a value is wanted.
- No methods are added to them. They are for JSON, and would load dateutil in every process.
"""

from __future__ import annotations


def main() -> None:
    """Answer one CodeGeneratorRequest."""
    from betterproto2_compiler import known_types  # noqa: PLC0415 - a development dependency
    from betterproto2_compiler.plugin.main import main as answer  # noqa: PLC0415 - likewise

    known_types.WRAPPED_TYPES.clear()
    known_types.KNOWN_METHODS.clear()
    answer()


if __name__ == "__main__":
    main()
