"""EndoVis 2018, instrument types: background and seven instruments on the frames of the scene challenge.

Layout: ``{train,val}/{images,annotations}/seqN_frameNNN.png``; masks hold ids. The release numbers the instruments 1,
2, 3, 6, 7, 8, 9; later repositories renumbered them each in its own way, so that classes go by name: a ``labels.json``
at the root ({name, classid} of each class) tells of other ids. Training and validation part are ISINet's: sequences 2,
5, 9 and 15 validate. González et al., "ISINet: An Instance-Based Approach for Surgical Instrument Segmentation", MICCAI
2020.
"""

import re
from pathlib import Path, PurePosixPath

from caseunet.datasets.coding import coding_of, read_labels_json
from caseunet.datasets.folder import FOLDER
from caseunet.datasets.layout import (
    Finding,
    Listing,
    SourceCase,
    SourceDataset,
    by_key,
    extra_mask,
    fault,
    files_below,
    no_cases,
    relative,
    twice_apart,
)
from caseunet.datasets.names import part_of
from caseunet.datasets.reading import FileLayout
from caseunet.io import raster

NAMES = {
    0: "background",
    1: "Bipolar Forceps",
    2: "Prograsp Forceps",
    3: "Large Needle Driver",
    6: "Monopolar Curved Scissors",
    7: "Ultrasound Probe",
    8: "Suction Instrument",
    9: "Clip Applier",
}
LICENCE = "EndoVis 2018: terms of the challenge's organisers; instrument types by González et al. 2020"

RENUMBERED = (
    "The release has the ids 1, 2, 3, 6, 7, 8, 9. Others mean that the masks were renumbered, by each repository in "
    "its own way: put a labels.json with the name and classid of each class beside train/ and val/."
)

_FRAME = re.compile(r"seq_?(?P<sequence>\d+)_frame(?P<frame>\d+)$", re.IGNORECASE)


def _name(path: Path) -> str | None:
    match = _FRAME.match(path.stem)
    return f"seq_{int(match['sequence'])}/frame{int(match['frame']):03d}" if match else None


def _split_parts(mask: Path | None, image: Path) -> bool:
    return mask is not None and mask.parent.parent != image.parent.parent


def _apart(mask: Path, image: Path, root: Path) -> Finding:
    text = f"its mask lies in another part, {relative(mask, root)}"
    return fault("apart", image, root, text, "Put image and mask into the same part, train or val.")


class EndoVis2018TypesLayout(FileLayout):
    """The instrument types of EndoVis 2018."""

    name = "endovis2018-types"
    looks_like = "{train,val}/images/seqN_frameNNN.png and {train,val}/annotations/seqN_frameNNN.png"
    rank = 0

    def matches(self, root: Path) -> bool:
        """Whether frames are there, with masks in annotations/ or without any that the layout folder finds."""
        frames = [path for path in files_below(root) if raster.is_raster(path) and _name(path)]
        folders = {path.parent.name for path in frames}
        return "images" in folders and ("annotations" in folders or not FOLDER.matches(root))

    def cases(self, root: Path) -> Listing:
        """List the frames; ``id`` is "seq_N/frameNNN", as in the scene release, and the group is the sequence.

        Raises:
            CaseUNetError: there are no frames.
        """
        files = [path for path in files_below(root) if raster.is_raster(path)]
        images, images_twice = by_key((path for path in files if path.parent.name == "images"), _name)
        masks, masks_twice = by_key((path for path in files if path.parent.name == "annotations"), _name)
        if not images:
            raise no_cases(root, "images/seqN_frameNNN.png")
        findings = [twice_apart(path, root, images[_name(path) or ""]) for path in images_twice]
        findings += [twice_apart(path, root, masks[_name(path) or ""]) for path in masks_twice]
        findings += [
            extra_mask(path, root, f"images/{path.name}") for name, path in masks.items() if name not in images
        ]
        findings += [
            _apart(masks[name], path, root) for name, path in images.items() if _split_parts(masks.get(name), path)
        ]
        found = tuple(
            SourceCase(
                id=name,
                image=(path,),
                label=(masks[name],) if name in masks else (),
                group=name.split("/")[0],
                part=part_of(PurePosixPath(relative(path, root))),
            )
            for name, path in images.items()
        )
        return Listing(found, tuple(findings))

    def discover(self, root: Path) -> SourceDataset:
        listed, findings = self.cases(root)
        own = root / "labels.json"
        return SourceDataset(
            format="endovis2018-types",
            root=root,
            cases=listed,
            coding=read_labels_json(own, colored=False) if own.is_file() else coding_of(NAMES),
            modality="rgb",
            group_name="sequence",
            licence=LICENCE,
            findings=findings,
            hint="" if own.is_file() else RENUMBERED,
        )


ENDOVIS2018_TYPES = EndoVis2018TypesLayout()
