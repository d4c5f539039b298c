"""`python -m flytower` and the console script."""

from flytower.cli.app import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
