"""The command line: parse, resolve the configuration, call one pipeline, say what came out."""

import shlex
import shutil
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter
from rich.markup import escape
from rich.table import Table

from caseunet import __version__
from caseunet.config import (
    LAYOUTS,
    Config,
    PredictionOutputs,
    PredictionSettings,
    load_config,
    parse_settings,
    to_yaml,
)
from caseunet.errors import CaseUNetError, Interrupted
from caseunet.files import location
from caseunet.progress import TerminalDisplay, count_text
from caseunet.terminal import (
    complain,
    console,
    number,
    print_costs,
    print_findings,
    print_first_looks,
    print_numbers,
    print_study,
    say,
    say_next,
)

app = App(
    name="caseunet",
    version=__version__,
    help="Segment CT, MRI, images and video frames: from raw data to a trained, measured, portable model.\n\n"
    "The usual way: prepare RAW, train PREPARED, predict with the bundle, evaluate. Start with: caseunet demo",
    suppress_keyboard_interrupt=False,
    help_epilogue="Every verb has its own --help. Add --debug to any command to see the traceback of an error.",
)
RESUME_ME = 75
"""Exit status of a training that a signal stopped and that goes on with --resume (EX_TEMPFAIL: try again later)."""

Out = Annotated[Path, Parameter(help="Folder to write.")]
OutLocation = Annotated[str, Parameter(help="Folder to write, on this machine or an fsspec URL (s3://bucket/folder).")]
Overwrite = Annotated[
    bool, Parameter(negative="", show_default=False, help="Replace what an earlier run of this verb left in --out.")
]
ConfigFile = Annotated[Path | None, Parameter(help="YAML file with configuration.")]
Recipe = Annotated[
    Literal["default", "paper"] | None,
    Parameter(help="Start from the best we know (default) or from the paper (paper)."),
]
SplitFile = Annotated[
    Path | None, Parameter(help="splits.json of a prepared data set: only the fold's validation part.")
]
LayoutName = Annotated[str | None, Parameter(help=f"Raw layout: {', '.join(LAYOUTS)}; found by itself if not given.")]
PlanFile = Annotated[Path | None, Parameter(help="Repair plan, written by audit --repair.")]
SplitName = Annotated[
    str | None,
    Parameter(
        help="How to split: auto (the data set's own split, else group), group, lits, isinet, slice-blocks, "
        "splits_final.json or a CSV."
    ),
]
FoldNumber = Annotated[int | None, Parameter(help="Fold of --split; if not given, the model's own.")]
Device = Annotated[Literal["auto", "cpu", "cuda", "mps"], Parameter(help="Where to compute.")]
Settings = Annotated[
    tuple[str, ...],
    Parameter(
        name="--set",
        negative="",
        show_default=False,
        help="A configuration key and its value: --set optimizer.lr=0.001, or in short --optimizer.lr 0.001. "
        "caseunet train --print-config lists the keys.",
    ),
]
ProtocolName = Annotated[
    str | None,
    Parameter(
        help="How to count: volumes, slices, lits-official, lits-corrected, endovis-2018 or paper; by default volumes "
        "for CT and MRI, else slices."
    ),
]
Seeds = Annotated[int, Parameter(help="Trainings of each model: seeds 0, 1, 2 …")]
Folds = Annotated[list[int], Parameter(negative="", consume_multiple=True, help="Folds to validate on.")]
RawFolder = Annotated[
    Path | None, Parameter(help="Raw data set with the true masks; where it was prepared from if not given.")
]
Jobs = Annotated[int, Parameter(help="Trainings at a time, each with its share of the processors.")]
ResumeStudy = Annotated[
    bool, Parameter(negative="", show_default=False, help="Go on with what is in --out; seeds and folds may be added.")
]
PrintConfig = Annotated[
    bool, Parameter(negative="", show_default=False, help="Print the resolved configuration as YAML, and stop.")
]


@app.command
def demo(
    *,
    out: Out = Path("caseunet-demo"),
    minutes: Annotated[float, Parameter(help="Training budget in minutes.")] = 2.0,
    seed: Annotated[int, Parameter(help="Of everything that is drawn.")] = 0,
    synthetic: Annotated[
        bool, Parameter(negative="", show_default=False, help="Made-up patients instead of the real CT volume.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Run the whole way on a real CT volume: prepare, train, predict, evaluate, report."""
    from caseunet.commands.demo import demo as run_demo

    result = run_demo(out, minutes, seed, synthetic, overwrite, TerminalDisplay(console))
    print_numbers(result.evaluation.summary)
    say(f"report  {result.evaluation.report}")
    say(f"bundle  {result.bundle}")
    program = "caseunet" if shutil.which("caseunet") else sys.argv[0]
    say("\nSegment your own CT volume with it:")
    say(f"  {program} predict {shlex.quote(str(result.bundle))} my-ct.nii.gz --out predictions")


@app.command
def prepare(
    raw: Annotated[Path, Parameter(help="Raw data set as it was downloaded.")],
    *,
    out: OutLocation,
    config: ConfigFile = None,
    recipe: Recipe = None,
    format: LayoutName = None,
    plan: PlanFile = None,
    split: SplitName = None,
    settings: Settings = (),
    overwrite: Overwrite = False,
) -> None:
    """Audit a raw data set, and write it as a prepared data set with its splits."""
    from caseunet.commands.prepare import prepare as run_prepare

    options = {"prepare.format": format, "prepare.plan": plan, "prepare.split": split}
    resolved = _resolve(config, recipe, settings, options)
    prepared = run_prepare(raw, location(out), resolved.prepare, overwrite, TerminalDisplay(console))
    slices = int(prepared.cases["slices"].sum())
    folds = f"{len(prepared.split.folds)} folds by {prepared.split.by}"
    say(f"{count_text(len(prepared.cases), 'case')}, {count_text(slices, 'slice')}, {folds}")
    say(f"look    caseunet show {shlex.quote(out)} --out prepared.png")
    say_next("train", out, "--out", "run")


@app.command
def show(
    prepared: Annotated[str, Parameter(help="Folder or URL written by caseunet prepare.")],
    *,
    out: Annotated[Path, Parameter(help="PNG to write.")] = Path("prepared.png"),
    cases: Annotated[int, Parameter(help="Cases to show.")] = 6,
    slices: Annotated[int, Parameter(help="Slices of each case.")] = 3,
    config: ConfigFile = None,
    recipe: Recipe = None,
    fold: Annotated[int | None, Parameter(help="Fold whose training cases are shown.")] = None,
    seed: Annotated[int | None, Parameter(help="Of everything that is drawn.")] = None,
    settings: Settings = (),
    overwrite: Overwrite = False,
) -> None:
    """Draw slices of a prepared data set as a network sees them in training: as loaded, and as augmented."""
    from caseunet.commands.preview import show as run_show

    if cases < 1 or slices < 1:
        raise CaseUNetError("--cases and --slices must be at least 1.")
    resolved = _resolve(config, recipe, settings, {"data.fold": fold, "seed": seed})
    drawn = run_show(location(prepared), out, resolved, cases, slices, overwrite)
    say(f"{count_text(drawn, 'slice')} in {out}")


@app.command
def audit(
    raw: Annotated[Path, Parameter(help="Raw data set as it was downloaded.")],
    *,
    out: Out = Path("audit"),
    repair: Annotated[
        Path | None, Parameter(help="Write a repair plan for what is wrong; read it, then prepare with --plan.")
    ] = None,
    plan: PlanFile = None,
    split: SplitName = None,
    format: LayoutName = None,
    config: ConfigFile = None,
    settings: Settings = (),
    overwrite: Overwrite = False,
) -> None:
    """Read a raw data set once and tell what is wrong with it. Exit status 1 if there are errors."""
    from caseunet.commands.audit import audit as run_audit

    options = {"prepare.format": format, "prepare.plan": plan, "prepare.split": split}
    resolved = _resolve(config, None, settings, options)
    found = run_audit(raw, out, resolved.prepare, repair, overwrite, TerminalDisplay(console))
    print_findings(found)
    say(f"page    {out / 'audit.html'}")
    if repair is not None:
        proposals = found.proposed.proposals if found.proposed is not None else ()
        open_ones = sum(proposal.choice is None for proposal in proposals)
        choose = f", choose a repair for {count_text(open_ones, 'case')} in it" if open_ones else ""
        say(f"plan    {repair}: read it{choose}, then")
        given = [f"--{setting}" for setting in settings] + (["--format", format] if format else [])
        say_next("prepare", raw, "--out", "prepared", "--plan", repair, *given)
    elif any(finding.repairs for finding in found.findings):
        given = [f"--{setting}" for setting in settings] + (["--format", format] if format else [])
        say_next("audit", raw, "--out", out, "--overwrite", "--repair", "plan.yaml", *given)
    if found.at_level("error"):
        raise SystemExit(1)


@app.command
def train(
    prepared: Annotated[str | None, Parameter(help="Folder or URL written by caseunet prepare.")] = None,
    *,
    out: Out = Path("run"),
    config: ConfigFile = None,
    recipe: Recipe = None,
    minutes: Annotated[float | None, Parameter(help="Training budget in minutes, instead of steps.")] = None,
    steps: Annotated[int | None, Parameter(help="Training budget in steps.")] = None,
    batch: Annotated[int | Literal["auto"] | None, Parameter(help="Slices in a step; auto: what a GPU holds.")] = None,
    devices: Annotated[int | None, Parameter(help="GPUs, or processes on a CPU, that share each batch.")] = None,
    fold: Annotated[int | Literal["all"] | None, Parameter(help="Fold to validate on; all: one after another.")] = None,
    raw: Annotated[
        Path | None,
        Parameter(help="With --fold all: raw data set, to keep predictions by networks that never saw them."),
    ] = None,
    seed: Annotated[int | None, Parameter(help="Of everything that is drawn.")] = None,
    start_from: Annotated[Path | None, Parameter(name="--from", help="Bundle whose weights to start from.")] = None,
    resume: Annotated[
        bool,
        Parameter(negative="", show_default=False, help="Go on with the run in --out, or begin it if there is none."),
    ] = False,
    extend: Annotated[
        bool,
        Parameter(negative="", show_default=False, help="Go on with another budget: the schedule is planned anew."),
    ] = False,
    settings: Settings = (),
    overwrite: Overwrite = False,
    print_config: PrintConfig = False,
) -> None:
    """Train a network on a prepared data set and write the run with its bundle.

    With --fold all, one for every fold, and a bundle in which they vote. Ctrl-C and SIGTERM save and stop (exit status
    130 and 75); --resume goes on, to the bit on a CPU.
    """
    options: dict[str, Any] = {
        "data.fold": None if fold == "all" else fold,
        "data.batch_size": batch,
        "training.devices": devices,
        "training.pretrained": start_from,
        "seed": seed,
    }
    if minutes is not None or steps is not None:  # a budget given here replaces the configured one
        options |= {"training.minutes": _without_none(minutes), "training.steps": _without_none(steps)}
    if raw is not None and fold != "all":
        raise CaseUNetError(
            "--raw is for --fold all: caseunet predict --split predicts what a single run has not seen."
        )
    began = (out / "fold-0" if fold == "all" else out) / "config.yaml"
    resolved = _resolve(config, recipe, settings, options, began if (resume or extend) and began.is_file() else None)
    if print_config:
        print(to_yaml(resolved), end="")
        return
    from caseunet.commands.cross_validation import cross_validate
    from caseunet.commands.train import is_first_process
    from caseunet.commands.train import train as run_train

    console.quiet = not is_first_process()
    data = None if prepared is None else location(prepared)
    display = TerminalDisplay(console)
    try:
        if fold == "all":
            bundle = cross_validate(data, out, resolved, overwrite, display, resume, extend, raw)
        else:
            bundle = run_train(data, out, resolved, overwrite, display, resume, extend)
    except Interrupted as stopped:
        say(str(stopped), style="yellow")
        say_next("train", "--resume", "--out", out, *(("--fold", "all") if fold == "all" else ()))
        raise SystemExit(130 if stopped.signal == signal.SIGINT else RESUME_ME) from None
    score = bundle.info.validation
    values = ", ".join(f"{name} {number(value)}" for name, value in score.structures.items())
    which = "out of fold" if score.step is None else f"step {score.step}"
    cleaned = ", post-processed" if bundle.info.quality is not None and bundle.info.quality.cleaning else ""
    say(f"validation Dice of the {score.selected} weights ({which}{cleaned}): {values}")
    if fold != "all":
        say_next("predict", bundle.folder, "IMAGES", "--out", "predictions")
    elif raw is None:
        say_next("predict", bundle.folder, "RAW", "--out-of-fold", "--out", "out-of-fold")
    else:
        say_next("evaluate", out / "out-of-fold", raw, "--out", "report")


@app.command
def predict(
    bundle: Annotated[Path, Parameter(help="Folder with model.json and model.safetensors.")],
    *inputs: Annotated[Path, Parameter(help="Images, videos, zips, folders of them, or raw data sets.")],
    out: Out = Path("predictions"),
    split: SplitFile = None,
    fold: FoldNumber = None,
    out_of_fold: Annotated[
        bool,
        Parameter(
            negative="", show_default=False, help="Of an ensemble, only networks that were not trained on an image."
        ),
    ] = False,
    device: Device = "auto",
    engine: Annotated[
        str,
        Parameter(
            help="What computes the network: torch, openvino, onnx; auto: OpenVINO on a CPU if it is installed, else "
            "torch; or the folder of an export of the bundle, such as one in int8."
        ),
    ] = "torch",
    precision: Annotated[
        Literal["32", "bf16"],
        Parameter(help="bf16: faster and smaller on processors made for it, a little less exact."),
    ] = "32",
    flips: Annotated[
        bool, Parameter(negative="", show_default=False, help="Mean over mirrored images too: four times the work.")
    ] = False,
    scales: Annotated[str, Parameter(help="Mean over images of these sizes: 0.75,1,1.25.")] = "1",
    clean: Annotated[bool, Parameter(help="Mend masks as was learned in validation.")] = True,
    check_image: Annotated[
        bool, Parameter(help="Refuse masks, and images that are clearly of another kind than the training data.")
    ] = True,
    overlay: Annotated[
        bool, Parameter(negative="", show_default=False, help="Also a picture of each, and preview.html.")
    ] = False,
    measurements: Annotated[
        bool, Parameter(negative="", show_default=False, help="Also volumes, lesions, diameters: measurements.csv.")
    ] = False,
    probabilities: Annotated[
        bool, Parameter(negative="", show_default=False, help="Also the probability of each class, calibrated.")
    ] = False,
    dicom_seg: Annotated[
        bool, Parameter(negative="", show_default=False, help="Of DICOM series also a DICOM segmentation object.")
    ] = False,
    dry_run: Annotated[
        bool, Parameter(negative="", show_default=False, help="Say what it would take, and stop.")
    ] = False,
    max_ram: Annotated[str | None, Parameter(help="Memory that may be taken: 4GB, 1500MiB.")] = None,
    resume: Annotated[
        bool, Parameter(negative="", show_default=False, help="Go on with what is in --out: skip what is done.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Segment images and write one mask per image, in the image's own geometry and kind of file.

    An image that cannot be segmented is reported and the others go on; the exit status is then 2. Where the bundle
    knows, each case comes with a predicted Dice, and unusual cases are named to be looked at first.
    """
    from caseunet.commands.predict import dry_run as run_dry
    from caseunet.commands.predict import predict as run_predict
    from caseunet.prediction.resources import parse_size
    from caseunet.prediction.store import is_unfinished

    if not inputs:
        raise CaseUNetError("Nothing to segment: name at least one image or folder after the bundle.")
    outputs = PredictionOutputs(
        probabilities=probabilities, overlay=overlay, measurements=measurements, dicom_seg=dicom_seg
    )
    try:
        factors = tuple(float(factor) for factor in scales.split(","))
        how = PredictionSettings(precision=precision, flips=flips, scales=factors, clean=clean, check_image=check_image)
    except ValueError as error:
        raise CaseUNetError(f'--scales "{scales}": expected factors from 0.25 to 4, such as 0.75,1,1.25.') from error
    ram = None if max_ram is None else parse_size(max_ram)
    display = TerminalDisplay(console)
    if dry_run:
        costs, unfit = run_dry(bundle, inputs, device, engine, how, outputs, ram, display)
        print_costs(costs)
        for failure in unfit:
            say(f"  {failure.error}", style="red")
        if unfit:
            raise CaseUNetError(f"{count_text(len(unfit), 'image')} could not be segmented; the reasons stand above.")
        return
    try:
        done = run_predict(
            bundle,
            inputs,
            out,
            split=split,
            fold=fold,
            device=device,
            engine=engine,
            overwrite=overwrite,
            display=display,
            out_of_fold=out_of_fold,
            settings=how,
            outputs=outputs,
            max_ram=ram,
            resume=resume,
        )
    except KeyboardInterrupt:
        if is_unfinished(out):
            say("Stopped; what is done is kept. Go on with the same command and --resume.", style="yellow")
        raise
    say(f"{count_text(len(done.cases), 'mask')} in {out}")
    print_first_looks(done)
    if overlay:
        say(f"look    {out / 'preview.html'}")
    if done.failed:
        raise CaseUNetError(
            f"{len(done.failed)} of {count_text(len(done.cases) + len(done.failed), 'image')} could not be segmented; "
            f"the reasons stand above and in {out / 'predictions.json'}."
        )
    say_next("evaluate", out, "RAW", "--out", "report", *(("--split", split) if split is not None else ()))


@app.command
def evaluate(
    predictions: Annotated[
        Path, Parameter(help="Folder written by caseunet predict, or masks of any other tool; a zip, or a single file.")
    ],
    references: Annotated[
        Path, Parameter(help="The true masks: a folder or zip of them, a raw data set, or a single file.")
    ],
    *,
    out: Out = Path("report"),
    protocol: ProtocolName = None,
    compare: Annotated[
        list[Path],
        Parameter(
            negative="", consume_multiple=True, show_default=False, help="Predictions of other models: paired tests."
        ),
    ] = [],  # noqa: B006
    labels: Annotated[
        Path | None, Parameter(help="labels.json that says what the values of the true masks mean.")
    ] = None,
    lesions: Annotated[
        list[str] | None,
        Parameter(
            negative="",
            consume_multiple=True,
            show_default=False,
            help="Structures whose components are lesions; by default those with such names.",
        ),
    ] = None,
    tolerance: Annotated[float, Parameter(help="Of the normalised surface distance, in mm or pixels.")] = 2.0,
    split: SplitFile = None,
    fold: FoldNumber = None,
    run: Annotated[Path | None, Parameter(help="Training run, to show its curves.")] = None,
    format: LayoutName = None,
    plan: PlanFile = None,
    config: ConfigFile = None,
    settings: Settings = (),
    overwrite: Overwrite = False,
) -> None:
    """Score predictions against the true masks and write a report.

    A case without a usable prediction counts as an empty mask. Every number says how it was counted.
    """
    from caseunet.commands.evaluate import evaluate as run_evaluate

    reading = _resolve(config, None, settings, {"prepare.format": format, "prepare.plan": plan}).prepare
    result = run_evaluate(
        predictions,
        references,
        out,
        protocol=protocol,
        compared=compare,
        tolerance=tolerance,
        split=split,
        fold=fold,
        run=run,
        config=reading,
        overwrite=overwrite,
        labels=labels,
        lesions=lesions,
        display=TerminalDisplay(console),
    )
    print_numbers(result.summary)
    say(f"report  {result.report}")
    say_next("report", out, "--case-study", "--out", "case-study.png")


@app.command
def report(
    folder: Annotated[Path, Parameter(help="Report written by caseunet evaluate.")],
    *,
    case_study: Annotated[
        bool,
        Parameter(negative="", show_default=False, help="Draw cases side by side: image, reference, each model."),
    ] = False,
    out: Annotated[Path, Parameter(help="Picture to write: .png, .svg or .pdf.")] = Path("case-study.png"),
    cases: Annotated[
        list[str],
        Parameter(
            negative="",
            consume_multiple=True,
            show_default=False,
            help="Cases to draw, CASE or CASE:SLICE; the worst, the median and the best if not given.",
        ),
    ] = [],  # noqa: B006
    fill: Annotated[bool, Parameter(help="Tint the masks, not only outline them.")] = True,
    overwrite: Annotated[
        bool, Parameter(negative="", show_default=False, help="Replace the picture if it is there.")
    ] = False,
) -> None:
    """Print the numbers of a report again, or draw a case study from it: a figure fit for a paper."""
    from caseunet.commands.report import case_study as run_case_study
    from caseunet.commands.report import read_report

    if not case_study:
        if cases:
            raise CaseUNetError("--cases says what --case-study draws: give both.")
        print_numbers(read_report(folder).summary)
        return
    drawn = run_case_study(folder, out, cases, fill, overwrite, TerminalDisplay(console))
    say(f"{count_text(drawn, 'case')} in {out}")


@app.command
def compare(
    prepared: Annotated[str, Parameter(help="Folder or URL written by caseunet prepare.")],
    *,
    models: Annotated[
        list[str],
        Parameter(
            negative="",
            consume_multiple=True,
            help="Networks (caseunet models lists them), recipes (default, paper), or YAML files laid over the rest.",
        ),
    ],
    predictions: Annotated[
        list[str],
        Parameter(
            negative="",
            consume_multiple=True,
            show_default=False,
            help="Masks of other tools, to be scored and tested like the models: NAME=FOLDER, where FOLDER holds the "
            "folders seed-0-fold-0 and so on, or, for one seed and one fold, the masks.",
        ),
    ] = [],  # noqa: B006
    out: Out = Path("comparison"),
    seeds: Seeds = 3,
    minutes: Annotated[float | None, Parameter(help="Budget of each training in minutes, instead of steps.")] = None,
    steps: Annotated[int | None, Parameter(help="Budget of each training in steps.")] = None,
    folds: Folds = [0],  # noqa: B006
    raw: RawFolder = None,
    protocol: ProtocolName = None,
    config: ConfigFile = None,
    settings: Settings = (),
    jobs: Jobs = 1,
    resume: ResumeStudy = False,
    overwrite: Overwrite = False,
) -> None:
    """Train several networks alike, with several seeds, and say which is better, or that it is a tie.

    Same splits, budget, augmentation and choice of weights; scored in source geometry; paired tests over patients with
    Holm's correction, beside the noise of the seeds. Stopped at any moment, --resume goes on.
    """
    from caseunet.studies.design import Design, predictions_of, variants_of

    variants = variants_of(models, config, _study_overrides(settings, minutes, steps))
    design = Design(variants, seeds, folds, protocol, predictions=predictions_of(predictions))
    _study(prepared, design, out, raw, overwrite, resume, jobs)


@app.command
def ablate(
    prepared: Annotated[str, Parameter(help="Folder or URL written by caseunet prepare.")],
    *,
    out: Out = Path("ablation"),
    seeds: Seeds = 3,
    minutes: Annotated[float | None, Parameter(help="Budget of each training in minutes, instead of steps.")] = None,
    steps: Annotated[int | None, Parameter(help="Budget of each training in steps.")] = None,
    folds: Folds = [0],  # noqa: B006
    raw: RawFolder = None,
    protocol: ProtocolName = None,
    recipe: Recipe = None,
    config: ConfigFile = None,
    settings: Settings = (),
    jobs: Jobs = 1,
    resume: ResumeStudy = False,
    overwrite: Overwrite = False,
) -> None:
    """Take CASe-UNet apart, one part at a time: scales, levels, attention, loss terms, class weights."""
    from caseunet.commands.ablate import ablations
    from caseunet.studies.design import Design

    variants = ablations(recipe, config, _study_overrides(settings, minutes, steps))
    design = Design(variants, seeds, folds, protocol, "Ablation of CASe-UNet")
    _study(prepared, design, out, raw, overwrite, resume, jobs)


@app.command
def export(
    bundle: Annotated[Path, Parameter(help="Folder of a bundle, or a zip of it.")],
    *,
    format: Annotated[
        Literal["onnx", "openvino", "torch-export", "zip", "monai"],
        Parameter(help="For which runtime; zip: the bundle as one file; monai: as a MONAI bundle."),
    ],
    out: Annotated[Path | None, Parameter(help="Folder to write, or with zip the file.", show_default=False)] = None,
    precision: Annotated[
        Literal["32", "bf16", "fp16", "int8"], Parameter(help="Of the arithmetic; int8 needs --data.")
    ] = "32",
    data: Annotated[
        str | None, Parameter(help="Prepared data set: the export is compared with PyTorch on its slices.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a bundle for ONNX Runtime, OpenVINO or torch.export, checked against PyTorch; or as a zip, or for MONAI."""
    from caseunet.commands.export import export as run_export

    out = out or Path("bundle.zip" if format == "zip" else f"export-{format}")
    place = location(data) if data is not None else None
    written = run_export(bundle, out, format, precision, place, overwrite, TerminalDisplay(console))
    if written is None:
        say(f"{out}: the bundle, whole")
        say_next("predict", out, "IMAGES", "--out", "masks")
        return
    p = written.parity
    say(f"{out / written.file}: {written.input} → {written.output}")
    say(f"compared with PyTorch on {p.slices} {p.on}" if data else f"compared with PyTorch on {p.on}")
    dice = ", ".join(f"{name} {value:.4f}" for name, value in p.dice.items() if value is not None) or "nothing found"
    say(f"logits differ by {p.largest:.2g} at most, {p.mean:.2g} in the mean; {p.equal:.4%} of pixels equal")
    say(f"Dice between the masks: {dice}")


@app.command
def info(
    bundle: Annotated[Path, Parameter(help="Folder of a bundle, or a zip of it.")],
    *,
    as_json: Annotated[
        bool, Parameter(name="--json", negative="", show_default=False, help="Print model.json instead.")
    ] = False,
) -> None:
    """Check that a bundle is whole and show its model card: data, recipe, scores, input, limits."""
    from rich.markdown import Markdown

    from caseunet.commands.info import describe_bundle

    found = describe_bundle(bundle)
    if as_json:
        print(found.info.model_dump_json(indent=2))
        return
    console.print(Markdown(found.text))
    say(f"\n✓ {bundle}: whole; {found.parameters:,} numbers that fit {found.info.architecture.name}")


@app.command
def import_author(
    file: Annotated[Path, Parameter(help="Keras' weights or model (.h5, .weights.h5, .keras), or .npz.")],
    *,
    out: Out = Path("bundle"),
    modality: Annotated[
        Literal["ct", "mr", "rgb", "gray"], Parameter(help="Images that it segments; the file does not tell.")
    ] = "ct",
    labels: Annotated[
        str | None, Parameter(help="Names of the classes behind the background, in order: liver,tumour.")
    ] = None,
    window: Annotated[
        tuple[float, float] | None,
        Parameter(negative="", help="Intensities that become 0 and 1; by default -200 250 for CT, 0 255 for images."),
    ] = None,
    size: Annotated[tuple[int, int], Parameter(negative="", help="Height and width that the network sees.")] = (
        512,
        512,
    ),
    overwrite: Overwrite = False,
) -> None:
    """Make a bundle from weights of the author's Keras network, of either fusion size. No Keras is needed."""
    from caseunet.commands.import_weights import describe_network
    from caseunet.commands.import_weights import import_author as run_import

    names = () if labels is None else tuple(name.strip() for name in labels.split(","))
    bundle = run_import(file, out, modality, names, window, size, overwrite, TerminalDisplay(console))
    say(f"{describe_network(bundle)}; classes {', '.join(bundle.info.label_map.names)}")
    say_next("predict", out, "IMAGES", "--out", "predictions")


@app.command
def models(
    *names: Annotated[str, Parameter(help="Networks to show; all if not given.")],
    size: Annotated[tuple[int, int], Parameter(help="Height and width of the image.")] = (512, 512),
    measure: Annotated[
        bool, Parameter(negative="", show_default=False, help="Also run each, and show its time and memory here.")
    ] = False,
    training: Annotated[
        bool, Parameter(negative="", show_default=False, help="With --measure: a training step, not the forward alone.")
    ] = False,
    device: Annotated[Literal["cpu", "cuda"], Parameter(help="Where to measure.")] = "cpu",
) -> None:
    """List the networks: what they are, their parameters, multiply-adds, and on request what they cost here."""
    if training and not measure:
        raise CaseUNetError("--training says what --measure measures: give both.")
    from caseunet.commands.models import describe_models

    table = Table("name", "what it is", box=None, pad_edge=False)
    for column in ("parameters", "GMAC", *(("ms", "images/s", "peak MiB") if measure else ())):
        table.add_column(column, justify="right")
    for row in describe_models(names, size, device if measure else None, training, TerminalDisplay(console)):
        cells = [row.name, escape(row.summary), f"{row.parameters:,}", f"{row.gmac:.1f}"]
        if row.cost is not None:
            cells += [
                f"{row.cost.milliseconds:.0f}",
                f"{row.cost.images_per_second:.2f}",
                f"{row.cost.peak_mib:,.0f}",
            ]
        table.add_row(*cells)
    console.print(table)
    what = "a training step" if training else "a forward"
    console.print(
        f"\nDefault arguments, 3 input channels, 3 classes. GMAC: 10⁹ multiply-adds of one {size[0]}×{size[1]} image."
        + (f" Measured: {what} of one such image, float32, channels last, on {device}." if measure else ""),
        style="dim",
        highlight=False,
    )


@app.command
def doctor() -> None:
    """Say what this machine has and whether anything will be in the way."""
    from caseunet.commands.doctor import check_machine

    findings = check_machine()
    signs = {"ok": "[green]✓[/green]", "note": "[yellow]![/yellow]", "problem": "[red]✗[/red]"}
    for finding in findings:
        console.print(
            f"{signs[finding.level]} {finding.subject}: {escape(finding.text)}", highlight=False, soft_wrap=True
        )
    if any(finding.level == "problem" for finding in findings):
        raise SystemExit(1)


def main(arguments: list[str] | None = None) -> None:
    """Entry point of ``caseunet``. A user's error ends with status 2 and one message; --debug shows the traceback."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    try:
        arguments = _with_settings([argument for argument in arguments if argument != "--debug"])
        app(arguments, exit_on_error=False, print_error=False)
    except (CaseUNetError, CycloptsError) as error:
        if debug:
            raise
        complain(str(error))
        raise SystemExit(2) from error
    except OSError as error:  # a full disk, a lost mount: not ours to explain better than the system does
        if debug:
            raise
        complain(str(error))
        raise SystemExit(2) from error
    except KeyboardInterrupt:
        complain("interrupted")
        raise SystemExit(130) from None
    except Exception as error:
        if debug:
            raise
        complain(
            f"{type(error).__name__}: {error}\nThis is a defect of caseunet. Run again with --debug for its traceback."
        )
        raise SystemExit(3) from error


def _study_overrides(settings: tuple[str, ...], minutes: float | None, steps: int | None) -> dict[str, Any]:
    """Settings, and a budget that replaces the configured one."""
    given = parse_settings(settings)
    if minutes is not None or steps is not None:
        given |= {"training.minutes": minutes, "training.steps": steps}
    return given


def _study(prepared: str, design: Any, out: Path, raw: Path | None, overwrite: bool, resume: bool, jobs: int) -> None:
    from caseunet.commands.compare import compare as run_compare

    display = TerminalDisplay(console)
    try:
        study = run_compare(location(prepared), design, out, raw, overwrite, resume, jobs, display)
    except (Interrupted, KeyboardInterrupt) as stopped:
        say("Stopped; what is done is kept. Go on with the same command and --resume.", style="yellow")
        ended = isinstance(stopped, KeyboardInterrupt) or stopped.signal == signal.SIGINT
        raise SystemExit(130 if ended else RESUME_ME) from None
    print_study(study.summary)
    say(f"page    {study.page}")


def _without_none(value: float | None) -> float | Literal["none"]:
    return "none" if value is None else value


def _resolve(
    file: Path | None,
    recipe: str | None,
    settings: tuple[str, ...],
    options: dict[str, Any],
    base: Path | None = None,
) -> Config:
    """Recipe or ``base``, file, settings, then the verb's own options that were given."""
    given = {key: None if value == "none" else value for key, value in options.items() if value is not None}
    return load_config(file, recipe, parse_settings(settings) | given, base)


def _with_settings(arguments: list[str]) -> list[str]:
    """Spell options with a dot in their name, ``--optimizer.lr 0.001``, as ``--set optimizer.lr=0.001``."""
    if arguments[:1] not in (["audit"], ["prepare"], ["show"], ["train"], ["evaluate"], ["compare"], ["ablate"]):
        return arguments
    spelled: list[str] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        key, equals, value = argument.partition("=")
        if not key.startswith("--") or "." not in key:
            spelled.append(argument)
            continue
        if not equals:
            if not rest:
                raise CaseUNetError(f"{key}: its value is missing.")
            value = rest.pop(0)
        spelled += ["--set", f"{key.removeprefix('--')}={value}"]
    return spelled
