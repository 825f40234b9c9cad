"""What the command line adds to an error: what to type."""

from collections.abc import Iterator

from cyclopts import App, MissingArgumentError, UnknownOptionError, UnusedCliTokensError, ValidationError

from caseunet.errors import CaseUNetError

MODES = ("--overwrite", "--resume", "--extend")


def explain(error: Exception, app: App, arguments: list[str]) -> str:
    """An error in words, and the flags of the verb that would change the outcome."""
    if isinstance(error, UnknownOptionError):
        flag = (error.token.keyword or error.token.value).partition("=")[0]
        return _explain_unknown(flag, _flags_of(app, arguments)) or str(error)
    if isinstance(error, ValidationError):
        return _explain_value(error)
    if isinstance(error, MissingArgumentError | UnusedCliTokensError) and arguments and arguments[0] in app:
        return _explain_number(error, arguments, _flags_of(app, arguments))
    typed = _flags_for(error.options, _flags_of(app, arguments)) if isinstance(error, CaseUNetError) else ()
    return f"{error}\nOn the command line: {', '.join(typed)}" if typed else str(error)


def _flags_of(app: App, arguments: list[str]) -> set[str]:
    """All flags of the verb that was typed."""
    if not arguments or arguments[0] not in app:
        return set()
    return {name for argument in app[arguments[0]].assemble_argument_collection() for name in argument.names}


def _flags_for(options: tuple[str, ...], known: set[str]) -> tuple[str, ...]:
    """The flags that stand for options in configuration or Python words; none where the verb has no such flag.

    Example:
        >>> _flags_for(("mode", "prepare.repair_plan", "optimizer.lr"), {"--overwrite", "--repair-plan", "--set"})
        ('--overwrite', '--repair-plan', '--optimizer.lr')
    """

    def spell(option: str) -> Iterator[str]:
        flag = f"--{option.rpartition('.')[2].replace('_', '-')}"
        if option == "mode":
            yield from (mode for mode in MODES if mode in known)
        elif flag in known:
            yield flag
        elif "." in option and "--set" in known:
            yield f"--{option}"

    return tuple(dict.fromkeys(flag for option in options for flag in spell(option)))


def _explain_unknown(flag: str, known: set[str]) -> str | None:
    """What an unknown flag is called now, or the configuration keys that end so; None if there is nothing better."""
    from caseunet.config import Config, Section
    from caseunet.former_names import FLAGS

    if FLAGS.get(flag) in known:
        return f"{flag} is now called {FLAGS[flag]}."
    if "--set" not in known:
        return None
    name = flag.removeprefix("--").replace("-", "_")
    sections = {key: field.annotation for key, field in Config.model_fields.items()}
    keys = [
        f"--{key}.{name}"
        for key, section in sections.items()
        if isinstance(section, type) and issubclass(section, Section) and name in section.model_fields
    ]
    return f"Unknown option: {flag}. Did you mean {' or '.join(keys)}?" if keys else None


def _explain_number(error: MissingArgumentError | UnusedCliTokensError, arguments: list[str], known: set[str]) -> str:
    """Which argument is missing, or one too many."""
    verb = arguments[0]
    if isinstance(error, UnusedCliTokensError):
        token = (error.unused_tokens or [""])[0]
        near = f"Did you mean --out {token}?" if "--out" in known else f"See caseunet {verb} --help."
        return f'{verb}: "{token}" is one argument too many. {near}'
    if error.argument is None or error.keyword or error.tokens_so_far or error.argument.tokens:
        return str(error)
    flag, help_text = error.argument.name, str(error.argument.parameter.help or "").rstrip(".")
    if flag == "--out" and len(arguments) > 2 and not arguments[2].startswith("-"):
        return f"{verb}: {flag} is missing. Did you mean {flag} {arguments[2]}?"
    name = flag if error.argument.index is None else flag.removeprefix("--").upper()
    return f"{verb}: {name} is missing: {help_text[:1].lower()}{help_text[1:]}."


def _explain_value(error: ValidationError) -> str:
    """The first value that does not fit, in one sentence."""
    from pydantic import ValidationError as InvalidModel

    if not isinstance(error.__cause__, InvalidModel):
        return str(error)
    problem = error.__cause__.errors()[0]
    flag = "--" + str(problem["loc"][0]).replace("_", "-") if problem["loc"] else ""
    message = problem["msg"].removeprefix("Value error, ").rstrip(".")
    value = " ".join(problem["input"]) if isinstance(problem["input"], list) else problem["input"]
    said = f'{flag} "{value}"' if isinstance(value, str) else flag
    return f"{said}: {message}." if flag else f"{message}."
