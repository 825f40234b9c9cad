"""A thread for what must not be loaded in one that goes on."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def in_own_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    """What it gives, from a thread that ends then: for OpenVINO to load its CPU plugin in.

    The plugin gives the thread that loads it a stack for signal handlers, and takes that away when it goes. Where it
    went in another thread, or before one loaded later, the thread was left with a stack that is no more, and the next
    signal, a Ctrl-C or the end of a child, ended the process (OpenVINO 2026.4).
    """
    with ThreadPoolExecutor(1) as alone:
        return alone.submit(function, *arguments).result()
