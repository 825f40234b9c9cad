"""EndoVis 2017, instrument parts: shaft, wrist and clasper in frames of robotic surgery.

Layout: ``instrument_dataset_N/left_frames/frameNNN.png`` and, for every instrument in the sequence,
``instrument_dataset_N/ground_truth/NAME_labels/frameNNN.png`` with 10, 20 and 30 for the parts; a frame's mask is all
of them together, but for folders "Other…", which hold instruments without parts. Frames are recorded with black
borders, 1080×1920; they and their masks are cut to the camera's own picture, 1024×1280 from row 28 and column 320. The
group is the sequence. Allan et al., "2017 Robotic Instrument Segmentation Challenge", arXiv:1902.06426.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from caseunet.datasets.coding import coding_of
from caseunet.datasets.frames import frame_name, images_in, is_endovis2017, sequences_below
from caseunet.datasets.layout import (
    Finding,
    Listing,
    SourceCase,
    SourceDataset,
    extra_mask,
    fault,
    left_out,
    no_cases,
)
from caseunet.errors import InvalidInputError
from caseunet.io import raster
from caseunet.types import Geometry, ImageVolume, Mask

RECORDED = (1080, 1920)
CUT = (1024, 1280)
CROP = (slice(28, 28 + CUT[0]), slice(320, 320 + CUT[1]))

CODING = coding_of(
    {0: "background", 10: "shaft", 20: "wrist", 30: "clasper"},
    colors={0: (0, 0, 0), 10: (0, 200, 80), 20: (255, 200, 0), 30: (0, 140, 255)},
)
LICENCE = "EndoVis 2017: terms of the challenge's organisers (registration; research use)"


def _cut(pixels: np.ndarray) -> np.ndarray:
    """Without the black borders, if they are there: (…, H, W)."""
    return pixels[..., CROP[0], CROP[1]] if pixels.shape[-2:] == RECORDED else pixels


class EndoVis2017Layout:
    """EndoVis 2017, whose masks are one for each instrument and whose frames have borders."""

    name = "endovis2017"
    looks_like = "instrument_dataset_N/left_frames/*.png and instrument_dataset_N/ground_truth/*_labels/*.png"
    rank = 0

    def matches(self, root: Path) -> bool:
        return any(is_endovis2017(sequence) for sequence in sequences_below(root))

    def cases(self, root: Path) -> Listing:
        """List the frames; ``id`` is "instrument_dataset_N/frameNNN". A frame has a mask if every instrument has one.

        Raises:
            CaseUNetError: there are no sequences.
        """
        sequences = sequences_below(root)
        if not sequences:
            raise no_cases(root, "a folder with left_frames/")
        found: list[SourceCase] = []
        findings: list[Finding] = []
        for sequence in sequences:
            name = frame_name(sequence, root)
            frames, frames_twice = images_in(sequence / "left_frames", root)
            findings += frames_twice
            truth = sequence / "ground_truth"
            folders = sorted(folder for folder in truth.iterdir() if folder.is_dir()) if truth.is_dir() else []
            instruments = [folder for folder in folders if not folder.name.startswith("Other")]
            findings += left_out(
                [f for f in folders if f not in instruments], root, "instruments whose parts have no labels"
            )
            masks: dict[str, list[Path]] = {}
            for folder in instruments:
                of_instrument, masks_twice = images_in(folder, root)
                findings += masks_twice
                for stem, path in of_instrument.items():
                    masks.setdefault(stem, []).append(path)
                    if stem not in frames:
                        findings.append(extra_mask(path, root, f"{name}/left_frames/{stem}.png"))
            for stem, path in frames.items():
                whole = len(masks.get(stem, ())) == len(instruments)
                if masks.get(stem) and not whole:
                    missing = [f.name for f in instruments if f not in {mask.parent for mask in masks[stem]}]
                    text = f"has no mask in {', '.join(missing)}, though other frames do"
                    advice = "Add it (all 0 if the instrument is out of sight), or take the frame away."
                    findings.append(fault("missing-mask", path, root, text, advice))
                label = tuple(masks[stem]) if whole and instruments else ()
                found.append(SourceCase(id=f"{name}/{stem}", image=(path,), label=label, group=name))
        return Listing(tuple(found), tuple(findings))

    def discover(self, root: Path) -> SourceDataset:
        listed, findings = self.cases(root)
        return SourceDataset(
            format="endovis2017",
            root=root,
            cases=listed,
            coding=CODING,
            modality="rgb",
            group_name="sequence",
            licence=LICENCE,
            findings=findings,
        )

    def read_geometry(self, case: SourceCase) -> Geometry:
        shape = raster.read_shape(case.image[0])
        return Geometry(shape=CUT if shape == RECORDED else shape)

    def read_image(self, case: SourceCase, rgb: bool, nan: float | None = None) -> ImageVolume:
        picture = raster.read_raster(case.image[0], 3 if rgb else 1)
        pixels = _cut(picture.pixels)
        return ImageVolume(np.ascontiguousarray(pixels), Geometry(shape=pixels.shape[-2:]))

    def read_mask(self, case: SourceCase, dataset: SourceDataset, image: Geometry) -> Mask:
        """The masks of all instruments laid over each other; where two overlap, the later name's is on top.

        Raises:
            CaseUNetError: one cannot be read, or they differ in shape.
        """
        masks = [raster.read_raster_mask(path, colored=False) for path in case.label]
        codes = masks[0].label_values.copy()
        for path, mask in zip(case.label[1:], masks[1:], strict=True):
            if mask.label_values.shape != codes.shape:
                raise InvalidInputError(f"{path}: its shape {mask.geometry.shape} is not that of {case.label[0]}.")
            codes = np.where(mask.label_values != 0, mask.label_values, codes)
        codes = np.ascontiguousarray(_cut(codes))
        return replace(masks[0], label_values=codes, geometry=Geometry(shape=codes.shape[-2:]))


ENDOVIS2017 = EndoVis2017Layout()
