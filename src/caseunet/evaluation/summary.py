"""What is stored of an evaluation: numbers, each with what it means, and what was scored."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from caseunet.config import PrepareConfig
from caseunet.errors import InvalidOptionError
from caseunet.evaluation.comparison import Difference
from caseunet.types import FrozenModel, LabelMap, Modality, PlaneRule, Ranges

Better = Literal["higher", "lower", "nearer to 0"]


class Measure(FrozenModel):
    """What a column of cases.csv, or a number made of such columns, means.

    ``empty`` is its empty-mask policy: what it is worth where reference or prediction, or both, hold nothing.
    """

    label: str
    definition: str
    empty: str
    better: Better
    unit: str = ""


class Number(FrozenModel):
    """One number of a report, with all that a reader needs to know what it is.

    ``structure`` is None for a number over all structures. ``n`` counts the units (cases, slices, frames or lesions)
    that it is made of, and ``undefined`` those left out because it has no value there; ``sd`` (n − 1) and ``median``
    are of means only. ``interval`` is the 95 % percentile bootstrap interval over groups (patients, sequences), whose
    units are near copies of each other; None with fewer than five groups, where it would say little, and where the
    bootstrap does not apply.
    """

    model: str
    structure: str | None
    metric: str
    value: float | None
    interval: tuple[float, float] | None
    n: int
    undefined: int = 0
    sd: float | None = None
    median: float | None = None
    averaging: str
    measure: Measure


class Remark(FrozenModel):
    """Something about one case: why it could not be scored, or how it differs."""

    case: str
    text: str


class ScoredModel(FrozenModel):
    """The predictions of one model and which of them were scored.

    Attributes:
        name: in cases.csv.
        folder: of the predictions.
        bundle: that made them, and the hash of its weights; "" where another tool made them.
        missing: cases without a prediction; they count as empty masks.
        unusable: cases whose prediction cannot be read or does not fit; they count as empty masks too.
        extra: predictions without a reference; they count for nothing.
        only_prediction: structures that the references have not, and that count for nothing.
        remarks: what else was seen, as a file whose axes run otherwise than its image's.
        caution: what a reader of the scores must know.
    """

    name: str
    folder: str
    bundle: str = ""
    missing: tuple[Remark, ...] = ()
    unusable: tuple[Remark, ...] = ()
    extra: tuple[str, ...] = ()
    only_prediction: tuple[str, ...] = ()
    remarks: tuple[Remark, ...] = ()
    caution: str = ""


class Source(FrozenModel):
    """Where the references come from and how they were read; enough to draw a case again."""

    references: str
    layout: str
    modality: Modality
    plan: str | None = None
    labels: str | None = None
    """The labels.json that says what their values mean."""
    group: str | None = None
    images: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    field_of_view: tuple[str, ...] = ()
    raters: Literal["majority", "staple"] | None = None
    regions: dict[str, tuple[int | str, ...]] = Field(default_factory=dict)
    window: tuple[float, float] | None = None
    plane: PlaneRule = "axial"
    """In which volumes were cut into slices."""
    ranges: dict[str, Ranges] = Field(default_factory=dict)
    """Of cases of which only some slices were scored."""

    @property
    def config(self) -> PrepareConfig:
        """How to read the references again."""
        return PrepareConfig(
            layout=self.layout,
            modality=self.modality,
            group=self.group,
            images=self.images,
            masks=self.masks,
            channels=self.channels,
            field_of_view=self.field_of_view,
            raters=self.raters,
            regions=self.regions,
            repair_plan=None if self.plan is None else Path(self.plan),
            plane=self.plane,
        )


class EvaluationSummary(FrozenModel):
    """Content of summary.json.

    Attributes:
        protocol: its name.
        text: the protocol in its own words.
        structures: the scored structures and the label ids that make up each.
        columns: what the measured columns of cases.csv mean.
        scope: what was scored, in words.
        cases: how many were scored.
        not_asked: labelled cases that were not to be predicted; they count for nothing.
        only_reference: structures that not all predictions have; they are not scored.
        notes: how classes were matched and what was left out, where a reader must know it.
        headings: {note: its heading}, of those that are not about how classes were matched.
        ranked: the column of cases.csv by which cases are called worst, median and best.
        chief: the metrics of a short table.
        models: in the order in which they were given.
        numbers: in the order of the report.
        comparison: paired tests of every two models.
    """

    format_version: Literal[2] = 2
    code_version: str
    protocol: str
    text: str
    structures: dict[str, tuple[int, ...]]
    label_map: LabelMap
    columns: dict[str, Measure]
    scope: str
    cases: int
    not_asked: tuple[str, ...] = ()
    only_reference: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    headings: dict[str, str] = Field(default_factory=dict)
    ranked: str
    chief: tuple[str, ...]
    models: tuple[ScoredModel, ...]
    numbers: tuple[Number, ...]
    comparison: tuple[Difference, ...] = ()
    source: Source
    facts: tuple[tuple[str, str], ...] = Field(default=())

    def number(self, metric: str, structure: str | None = None, model: str | None = None) -> Number:
        """One of the numbers; of the first model if none is named.

        Raises:
            CaseUNetError: there is no such number.
        """
        model = self.models[0].name if model is None else model
        for number in self.numbers:
            if (number.metric, number.structure, number.model) == (metric, structure, model):
                return number
        known = sorted({n.metric for n in self.numbers if n.structure == structure})
        raise InvalidOptionError(
            f'There is no "{metric}" of {structure or "all structures"}; there is {", ".join(known)}.'
        )
