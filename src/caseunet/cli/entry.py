"""The command's entry point: which verbs there are, and how errors are told."""

import sys
from importlib import import_module
from typing import Any

from cyclopts import App, ArgumentCollection, CycloptsError, Parameter
from cyclopts.help import DefaultFormatter, HelpPanel

from caseunet.cli.arguments import join_repeated, spell_settings
from caseunet.cli.hints import explain
from caseunet.cli.terminal import complain, show_default
from caseunet.errors import CaseUNetError, Interrupted

VERBS = {
    "demo": "Run the whole way on a real CT volume: prepare, train, predict, evaluate, report.",
    "audit": "Read a raw data set once and tell what is wrong with it. Exit status 1 if there are errors.",
    "prepare": "Audit a raw data set, and write it as a prepared data set with its splits.",
    "convert": """Write a raw data set or predictions in the format of another tool: nnU-Net, COCO, YOLO, CVAT …

Where a format can hold the masks, each pixel comes through. Where it cannot, the command says what is lost.""",
    "preview": "Draw slices of a prepared data set as a network sees them in training: as loaded, and as augmented.",
    "train": """Train a network on a prepared data set and write the run with its bundle.

With --fold all, train one network for every fold, and write a bundle in which they vote. Ctrl-C and SIGTERM save and
stop (exit status 130 and 75). --resume goes on, to the bit on a CPU.""",
    "predict": """Segment images and write one mask per image, in the image's own geometry and kind of file.

An image that cannot be segmented is reported and the others go on. The exit status is then 2. Where the bundle knows,
each case comes with a predicted Dice, and unusual cases are named to be looked at first.""",
    "evaluate": """Score predictions against the true masks and write a report.

A case without a usable prediction counts as an empty mask. Every number says how it was counted.""",
    "report": "Print the numbers of a report again, or draw a case study from it: a figure fit for a paper.",
    "compare": """Train several networks alike, with several seeds, and say which is better, or that it is a tie.

Splits, budget, augmentation and choice of weights are the same. Masks are scored in source geometry. Paired tests over
patients with Holm's correction stand beside the noise of the seeds. Stopped at any moment, --resume goes on.""",
    "ablate": "Take CASe-UNet apart, one part at a time: scales, levels, attention, loss terms, class weights.",
    "export": "Write a bundle for ONNX Runtime, OpenVINO, torch.export or MONAI, or as a zip; checked against PyTorch.",
    "info": "Check that a bundle is whole and show its model card: data, recipe, scores, input, limits.",
    "import-weights": "Make a bundle from weights of the author's Keras network. Keras is not needed.",
    "models": "List the networks: what they are, their parameters, multiply-adds, and on request what they cost here.",
    "doctor": "Say what this machine has and whether anything will be in the way.",
}
"""{verb: help}. A verb's module is imported when it is called, so that ``caseunet --help`` answers at once."""

ALIASES = {"show": "preview", "import-author": "import-weights"}
"""{former name of a verb: present name}. They work, and the help does not show them."""


class Formatter(DefaultFormatter):
    """The help, in which a flag's --no-… is shown only where a default is: elsewhere nobody needs it."""

    def __call__(self, console: Any, options: Any, panel: HelpPanel) -> None:
        entries = [entry if entry.default else entry.copy(negative_names=()) for entry in panel.entries]
        super().__call__(console, options, panel.copy(entries=entries))


class VerbApp(App):
    """Takes the help of an option from its field, and spares the time to parse the source text of all models for it."""

    def assemble_argument_collection(
        self, *, default_parameter: Parameter | None = None, parse_docstring: bool = False
    ) -> ArgumentCollection:
        return super().assemble_argument_collection(default_parameter=default_parameter)


def read_version() -> str:
    from caseunet import __version__  # needs the names of all installed packages

    return __version__


def create_app(called: str | None = None) -> App:
    """The program with all verbs.

    Args:
        called: the verb to import at once; the others are imported when they are called.
    """
    app = App(
        name="caseunet",
        version=read_version,
        help="Segment CT, MRI, images and video frames: from raw data to a trained, measured, portable model.\n\n"
        "The usual way: prepare RAW, train PREPARED, predict with the bundle, evaluate. Start with: caseunet demo",
        help_format="plaintext",
        help_formatter=Formatter(),
        default_parameter=Parameter(negative_bool=(), negative_iterable=(), show_default=show_default),
        suppress_keyboard_interrupt=False,
        help_epilogue="Every verb has its own --help. Add --debug to any command to see the traceback of an error.",
    )
    for verb, text in VERBS.items():
        unwrapped = "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))
        module, function = f"caseunet.cli.{verb.replace('-', '_')}", f"{verb.replace('-', '_')}_verb"
        if verb == called:
            command = VerbApp(name=verb, help=unwrapped, version=read_version)
            command.default(getattr(import_module(module), function))
            app.command(command)
        else:
            app.command(f"{module}:{function}", name=verb, help=unwrapped)
    return app


def main(arguments: list[str] | None = None) -> None:
    """Entry point of ``caseunet``. A user's error ends with status 2 and one message; --debug shows the traceback."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    arguments[:1] = [ALIASES.get(verb, verb) for verb in arguments[:1]]
    app = create_app(*arguments[:1])
    try:
        app(join_repeated(spell_settings(arguments)), exit_on_error=False, print_error=False)
    except (CaseUNetError, CycloptsError, OSError) as error:  # a full disk, a lost mount: the system explains it best
        if debug:
            raise
        complain(explain(error, app, arguments))
        raise SystemExit(2) from error
    except KeyboardInterrupt:
        complain("interrupted")
        raise SystemExit(130) from None
    except Interrupted as stopped:  # of verbs that cannot go on where they stopped, as demo
        complain(str(stopped))
        raise SystemExit(128 + stopped.signal) from None
    except Exception as error:
        if debug:
            raise
        complain(
            f"{type(error).__name__}: {error}\nThis is a defect of caseunet. Run again with --debug for its traceback."
        )
        raise SystemExit(3) from error
