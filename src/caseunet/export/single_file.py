"""A module and the modules of imaging/ that it uses as one file, which needs this package no longer."""

import ast
import inspect
from types import ModuleType

from caseunet.imaging import body, resampling, slices, threads, windows

PARTS = (body, resampling, slices, threads, windows)


def bundle_source(module: ModuleType) -> str:
    """The text of a module with what it imports of :data:`PARTS` put before it, under one list of other imports.

    The modules name what they import, none renames it but numpy, and no two of them use one name for two things.
    """
    docstring = ast.get_docstring(ast.parse(inspect.getsource(module)), clean=False)
    plain: set[str] = set()
    names: dict[str, set[str]] = {}
    texts = []
    for part in (*PARTS, module):
        source = inspect.getsource(part)
        imports = [node for node in ast.parse(source).body if isinstance(node, ast.Import | ast.ImportFrom)]
        for node in imports:
            if isinstance(node, ast.Import):
                plain.add(ast.unparse(node))
            elif not str(node.module).startswith("caseunet."):
                names.setdefault(str(node.module), set()).update(alias.name for alias in node.names)
        texts.append("\n".join(source.split("\n")[imports[-1].end_lineno :]).strip())
    lines = sorted(plain) + [f"from {home} import {', '.join(sorted(names[home]))}" for home in sorted(names)]
    return "\n\n".join([f'"""{docstring}"""', "\n".join(lines), *texts]) + "\n"
