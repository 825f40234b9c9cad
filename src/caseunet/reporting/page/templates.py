"""The templates of the pages, with what they all write numbers with."""

import jinja2

from caseunet.progress import counted
from caseunet.reporting.page.numbers import shown_interval, shown_number, shown_probability


def open_templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("caseunet", "reporting/templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["counted"] = counted
    environment.globals["shown"] = shown_number
    environment.globals["interval"] = shown_interval
    environment.globals["probability"] = shown_probability
    return environment
