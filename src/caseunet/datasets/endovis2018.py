"""EndoVis 2018, robotic scene segmentation: frames of surgery with colour-coded masks.

Layout: ``seq_N/left_frames/frameNNN.png`` with ``seq_N/labels/frameNNN.png``, and a ``labels.json`` that names each
colour, either as a list or as {"classes": [...]}, with RGB or RGBA. The organisers mended some masks of seq_1 and seq_4
after the release and ship them apart: a folder with ``labels/`` but no frames, named like a sequence, replaces that
sequence's masks of the same names. Neighbouring frames are near copies, so the group is the sequence. Allan et al.,
"2018 Robotic Scene Segmentation Challenge", arXiv:2001.11190.
"""

from pathlib import Path

from caseunet.datasets.coding import read_labels_json
from caseunet.datasets.frames import frame_name, images_in, is_endovis2017, sequences_below
from caseunet.datasets.layout import (
    Finding,
    Listing,
    SourceCase,
    SourceDataset,
    extra_mask,
    fault,
    no_cases,
    relative,
)
from caseunet.datasets.reading import FileLayout
from caseunet.errors import InvalidInputError

LICENCE = "EndoVis 2018: terms of the challenge's organisers (registration; research use)"


def _repairs(root: Path, sequences: list[Path]) -> tuple[dict[Path, dict[str, Path]], list[Finding]]:
    """{sequence: {frame: mended mask}} of folders with masks but no frames, and what was done with them."""
    mended: dict[Path, dict[str, Path]] = {}
    findings = []
    for folder in sequences_below(root, "labels"):
        if folder in sequences:
            continue
        masks, findings_twice = images_in(folder / "labels", root)
        findings += findings_twice
        same_name = [sequence for sequence in sequences if sequence.name == folder.name]
        nearest = max((_count_shared_folders(folder, sequence) for sequence in same_name), default=0)
        targets = [sequence for sequence in same_name if _count_shared_folders(folder, sequence) == nearest]
        if len(targets) != 1:
            what = f"{len(targets)} sequences have its name" if targets else "no sequence has its name"
            advice = "Lay it beside the sequence that it mends, in a folder of the same name."
            findings.append(
                fault("unplaced-repair", folder / "labels", root, f"holds mended masks, but {what}", advice)
            )
            continue
        mended.setdefault(targets[0], {}).update(masks)
        text = f"mended masks replace those of {frame_name(targets[0], root)}: {', '.join(masks)}"
        findings.append(Finding(level="note", kind="mended-masks", text=text, file=relative(folder / "labels", root)))
    return mended, findings


def _count_shared_folders(a: Path, b: Path) -> int:
    """How many folders two paths have in common from the top."""
    same = [x == y for x, y in zip(a.parts, b.parts, strict=False)]
    return same.index(False) if False in same else len(same)


def _find_labels_json(root: Path, sequences: list[Path]) -> Path:
    """labels.json at the root, or beside or above a sequence."""
    places = [root, *(folder for sequence in sequences for folder in (sequence, sequence.parent))]
    for folder in places:
        if (folder / "labels.json").is_file():
            return folder / "labels.json"
    raise InvalidInputError(
        f"{root}: labels.json is missing; it names the colours of the masks. Put it beside the sequences."
    )


class EndoVis2018Layout(FileLayout):
    """The scene segmentation of EndoVis 2018."""

    name = "endovis2018"
    looks_like = "seq_N/left_frames/*.png, seq_N/labels/*.png and labels.json"
    rank = 0

    def matches(self, root: Path) -> bool:
        return any(not is_endovis2017(sequence) for sequence in sequences_below(root))

    def cases(self, root: Path) -> Listing:
        """List the frames; ``id`` is "seq_N/frameNNN", the group is the sequence.

        Raises:
            CaseUNetError: there are no sequences.
        """
        sequences = sequences_below(root)
        if not sequences:
            raise no_cases(root, "a folder with left_frames/")
        repairs, findings = _repairs(root, sequences)
        found = []
        for sequence in sequences:
            name = frame_name(sequence, root)
            frames, frames_twice = images_in(sequence / "left_frames", root)
            masks, masks_twice = images_in(sequence / "labels", root)
            masks |= repairs.get(sequence, {})
            findings += [*frames_twice, *masks_twice]
            findings += [
                extra_mask(path, root, f"{name}/left_frames/{stem}.png")
                for stem, path in masks.items()
                if stem not in frames
            ]
            found += [
                SourceCase(
                    id=f"{name}/{stem}", image=(path,), label=(masks[stem],) if stem in masks else (), group=name
                )
                for stem, path in frames.items()
            ]
        return Listing(tuple(found), tuple(findings))

    def discover(self, root: Path) -> SourceDataset:
        """The frames, and the classes that labels.json names.

        Raises:
            CaseUNetError: see :meth:`cases` and :func:`read_labels_json`.
        """
        listed, findings = self.cases(root)
        return SourceDataset(
            format="endovis2018",
            root=root,
            cases=listed,
            coding=read_labels_json(_find_labels_json(root, sequences_below(root))),
            modality="rgb",
            group_name="sequence",
            licence=LICENCE,
            findings=findings,
        )


ENDOVIS2018 = EndoVis2018Layout()
