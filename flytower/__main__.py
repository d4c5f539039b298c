"""`python -m flytower` and the console script."""

from flytower.cli.lean_imports import lean_imports

with lean_imports():
    from flytower.cli.app import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
