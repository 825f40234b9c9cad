"""The templates of the pages, with what they all write numbers with."""

import jinja2

from caseunet.progress import count_text
from caseunet.reporting.page.numbers import format_number, format_percent


def open_templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("caseunet", "reporting/templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"counted": count_text, "percent": format_percent, "shown": format_number}
    return environment
