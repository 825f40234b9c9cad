"""What Python calls: a bundle that segments whatever holds an image, as the command does."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

import numpy as np

from caseunet.errors import CaseUNetError
from caseunet.io import images, itk
from caseunet.io.geometry import to_source
from caseunet.prediction import predictor
from caseunet.prediction.case import segment_picture
from caseunet.prediction.image_kind import check_no_mask
from caseunet.prediction.inputs import channels_of
from caseunet.prediction.python_images import read_image
from caseunet.quality.judgement import CaseQuality
from caseunet.types import Geometry, LabelMap

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Segmentation:
    """Class ids of one image.

    Attributes:
        labels: uint8, in the axes of what was given. Of a volume file, a DICOM series or a nibabel image: (x, y, z), as
            nibabel gives the mask that the command writes; of a SimpleITK image: (z, y, x), as its GetArrayFromImage
            does; of a picture: (H, W); of an array: its own axes without channels.
        label_map: names and colours of the ids.
        geometry: where the image lies; None for an array.
        source: the file; None for objects and arrays.
        quality: what to think of image and mask; None where the bundle cannot tell.
        remarks: what a person should know of how the image was read, and whether training has seen it.
        canonical: the ids as (slices, rows, columns), as the network sees them.
    """

    labels: np.ndarray
    label_map: LabelMap
    geometry: Geometry | None
    source: Path | None
    quality: CaseQuality | None
    remarks: tuple[str, ...]
    canonical: np.ndarray = field(repr=False)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.labels, dtype=dtype, copy=copy)

    def save(self, path: str | Path) -> None:
        """Write it in source geometry: NIfTI, NRRD or MetaImage for volumes, palette PNG, TIFF or BMP for images."""
        geometry = self.geometry or Geometry(shape=self.canonical.shape[-2:])
        images.write_labels(Path(path), self.canonical, geometry, self.label_map.colors, self.source)

    def to_nibabel(self) -> Any:
        """As a NIfTI image of nibabel, where the source lies.

        Raises:
            CaseUNetError: the source has no position.
        """
        import nibabel

        geometry = self._place()
        return nibabel.Nifti1Image(to_source(self.canonical, geometry), geometry.affine)

    def to_sitk(self) -> Any:
        """As an image of SimpleITK, where the source lies.

        Raises:
            CaseUNetError: the source has no position.
        """
        return itk.labels_image(self.canonical, self._place())

    def _place(self) -> Geometry:
        if self.geometry is None or self.geometry.affine is None:
            raise CaseUNetError("The image has no position in a patient, so its mask is no volume; take .labels.")
        return self.geometry


class Predictor(predictor.Predictor):
    __doc__ = predictor.Predictor.__doc__

    @overload
    def predict(
        self,
        image: list[Any],
        *,
        axes: str | Sequence[str] | None = ...,
        spacing: Sequence[float] | None = ...,
        postprocess: bool = ...,
    ) -> list[Segmentation]: ...
    @overload
    def predict(
        self,
        image: Any,
        *,
        axes: str | Sequence[str] | None = ...,
        spacing: Sequence[float] | None = ...,
        postprocess: bool = ...,
    ) -> Segmentation: ...
    def predict(
        self,
        image: Any,
        *,
        axes: str | Sequence[str] | None = None,
        spacing: Sequence[float] | None = None,
        postprocess: bool = True,
    ) -> Segmentation | list[Segmentation]:
        """Segment one image, or each of a list, as ``caseunet predict`` does.

        Args:
            image: a file; a folder or zip with one image, such as a DICOM series; an image of nibabel, SimpleITK or
                Pillow; a numpy array or torch tensor in the training data's units (HU for CT), (H, W) for models of one
                channel, (H, W, C) for models of several, or other axes with ``axes``; or a list of these.
            axes: of an array, a letter for each axis, in a text or a sequence. Of a volume whereto in the patient it
                runs, as ``nibabel.aff2axcodes`` says it: "RAS", or "SPL" of an axial scan as SimpleITK gives it. Of
                images N (one after another), H, W: "NHW" are slices as the network cuts them. C are channels: "CHW",
                "RASC".
            spacing: of an array, millimetres along each axis but C, in their order. A volume needs it; images without
                it are taken to have the training data's.
            postprocess: whether components and holes are cleaned as was learned in validation; never where the
                settings say no.

        Raises:
            CaseUNetError: it cannot be read, is no image for this model, or nothing tells which way its axes run.
        """
        if isinstance(image, list):
            return [self._predict_one(one, axes, spacing, postprocess) for one in image]
        return self._predict_one(image, axes, spacing, postprocess)

    def _predict_one(
        self, image: Any, axes: str | Sequence[str] | None, spacing: Sequence[float] | None, postprocess: bool
    ) -> Segmentation:
        given = read_image(image, self.info.preprocessing, axes, spacing, channels_of(self.info))
        try:
            if self.settings.check_image:
                check_no_mask(given.picture.pixels, given.source or Path(), self.info.training_data)
            labels, quality, doubts = segment_picture(self, given.picture, postprocess=postprocess)
        except CaseUNetError as error:
            raise type(error)(f"{given.name}: {error}") from error
        match = self.known_images.find(given.picture.pixels)
        remarks = (*given.picture.geometry.remarks, *doubts, *([match.sentence] if match else []))
        reasons = (*quality.reasons, *quality.mask_reasons) if quality and quality.is_first else ()
        for remark in (*remarks, *reasons):
            _log.warning("%s: %s", given.name, remark)
        return Segmentation(
            labels=given.turn(labels),
            label_map=self.info.label_map,
            geometry=given.geometry,
            source=given.source,
            quality=quality,
            remarks=remarks,
            canonical=labels,
        )
