"""Nearhit, a caching proxy for Redis and Valkey. ``nearhit.proxy`` is the folder proxy/ beside this
one, and so on: here is only what the package itself has."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036  # where it was not pip that put it there
    this = ".".join(map(str, sys.version_info[:2]))
    sys.exit(f"nearhit needs Python 3.11 or newer, and this is {this}")

__version__ = "0.1.0"
