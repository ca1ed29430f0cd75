"""The files of the status page, as they lie beside this module: markup, style and script, with no
build step and nothing from elsewhere. They hold no data, so that everybody may read them."""

from __future__ import annotations

from importlib import resources
from typing import Final

# Path, file, and its type.
FILES: Final = {
    "/": ("status.html", "text/html"),
    "/status.css": ("status.css", "text/css"),
    "/status.js": ("status.js", "text/javascript"),
}


def text_of(name: str) -> str:
    return resources.files(__package__ or "").joinpath(name).read_text("utf-8")
