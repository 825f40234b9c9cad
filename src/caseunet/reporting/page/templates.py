"""The templates of the pages, with what they all write numbers with."""

import jinja2

from caseunet.progress import count_text
from caseunet.reporting.page.numbers import format_interval, format_number, format_percent
from caseunet.reporting.page.scores import MAX_CARDS, card_numbers, chief_metrics
from caseunet.reporting.page.tables import link_note


def open_templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("caseunet", "reporting/templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "card_numbers": card_numbers,
        "chief_metrics": chief_metrics,
        "counted": count_text,
        "interval": format_interval,
        "most_cards": MAX_CARDS,
        "note": link_note,
        "percent": format_percent,
        "shown": format_number,
    }
    return environment
