"""``caseunet predict``."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from caseunet.cli.parameters import Flat, Out, Overwrite, Resume, choose_mode, spell_options
from caseunet.cli.terminal import console, print_costs, print_first_looks, say, say_next
from caseunet.errors import CaseUNetError
from caseunet.options import PredictOptions
from caseunet.progress import TerminalDisplay, count_text


def predict_verb(
    bundle: Annotated[Path, Parameter(help="Folder with model.json and model.safetensors, or a training run.")],
    *inputs: Annotated[Path, Parameter(help="Images, videos, zips, folders of them, or raw data sets.")],
    out: Out = Path("predictions"),
    options: Annotated[PredictOptions, Flat] = PredictOptions(),
    dry_run: Annotated[bool, Parameter(help="Say what it would take, and stop.")] = False,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    if not inputs:
        raise CaseUNetError("Nothing to segment: name at least one image or folder after the bundle.")
    mode = choose_mode(overwrite, resume)
    if dry_run:
        estimate_costs(bundle, inputs, options)
        return
    from caseunet.commands.predict import find_raw_data, predict
    from caseunet.prediction.store import is_unfinished, summarize_defects

    try:
        done = predict(bundle, inputs, out=out, mode=mode, options=options, display=TerminalDisplay(console))
    except KeyboardInterrupt:
        if is_unfinished(out):
            say("Stopped; what is done is kept. Go on with the same command and --resume.", style="yellow")
        raise
    say(f"{count_text(len(done.cases), 'mask')} in {out}")
    print_first_looks(done)
    if options.overlay:
        say(f"look    {out / 'preview.html'}")
    if defect := summarize_defects(done.failed):
        raise defect
    if done.failed:
        raise CaseUNetError(
            f"{len(done.failed)} of {count_text(len(done.cases) + len(done.failed), 'image')} could not be segmented; "
            f"the reasons stand above and in {out / 'predictions.json'}."
        )
    split = () if options.split is None else ("--split", options.split)
    raw, reading = find_raw_data(done, options.split)
    say_next("evaluate", out, raw or "RAW", "--out", "report", *split, *spell_options(reading))


def estimate_costs(bundle: Path, inputs: tuple[Path, ...], options: PredictOptions) -> None:
    """Say what prediction would take."""
    from caseunet.commands.predict import dry_run

    costs, unfit = dry_run(bundle, inputs, options=options, display=TerminalDisplay(console))
    print_costs(costs)
    for failure in unfit:
        say(f"  {failure.error}", style="red")
    if unfit:
        raise CaseUNetError(f"{count_text(len(unfit), 'image')} could not be segmented; the reasons stand above.")
