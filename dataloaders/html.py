"""Pages that people look at: one HTML file each, made from a template, with all that it needs."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from dataloaders.files import atomic_write

TEMPLATES = Path(__file__).with_name("templates")  # base.html, and what every page shares


def write_page(path: Path, template: Path, **values: Any) -> None:
    """Write a page whole or not at all.

    Every value is escaped where the template inserts it. In a script the template inserts values
    by the filter `tojson`, from which no text can leave the script.

    Args:
        path: The HTML file.
        template: A template that extends `base.html`; it can include the files beside it.
        **values: What the template inserts, `title` among them.

    Raises:
        FileError: It cannot be written.
    """
    environment = Environment(
        loader=FileSystemLoader([template.parent, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    parts = environment.get_template(template.name).generate(**values)
    # Names of files may be anything, also no text.
    with (
        atomic_write(path) as partial,
        open(partial, "w", encoding="utf-8", errors="backslashreplace") as file,
    ):
        file.writelines(parts)
