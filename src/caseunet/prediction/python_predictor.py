"""What Python calls: a bundle that segments whatever holds an image, as the command does."""

from collections.abc import Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from caseunet.errors import CaseUNetError, InvalidOptionError
from caseunet.io import images, itk
from caseunet.io.dicom_seg import segments_of
from caseunet.io.geometry import to_source, voxel_steps
from caseunet.io.nifti import WHOLE
from caseunet.io.overlay import overlaid, to_display
from caseunet.io.seg_nrrd import write_seg_nrrd
from caseunet.prediction import predictor
from caseunet.prediction.case import segment_picture
from caseunet.prediction.channels import channels_of
from caseunet.prediction.context import display_window
from caseunet.prediction.image_kind import check_no_mask
from caseunet.prediction.operating_points import list_doubts
from caseunet.prediction.predictor import SliceBatch
from caseunet.prediction.probabilities import ProbabilityAccumulator
from caseunet.prediction.python_images import PythonImage, read_python_image
from caseunet.progress import Notices, count_text
from caseunet.quality.judgement import CaseQuality
from caseunet.types import Geometry, LabelMap

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, repr=False, eq=False)
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
        warnings: what a person should know of the image, of how it was read, of whether training has seen it, and of
            the mask; Python's logging has each too.
        canonical: the ids as (slices, rows, columns), as the network sees them.
        given: the image as it was read.
        window: the intensities that :meth:`plot` shows as black and white; None for the image's own.
        probabilities: {class name: its calibrated probability, float32, in the axes of ``labels``} for each class but
            the background; None where they were not asked for.
    """

    labels: np.ndarray
    label_map: LabelMap
    geometry: Geometry | None
    source: Path | None
    quality: CaseQuality | None
    warnings: tuple[str, ...]
    canonical: np.ndarray
    given: PythonImage
    window: tuple[float, float] | None = None
    probabilities: Mapping[str, np.ndarray] | None = None

    def __repr__(self) -> str:
        """Its shape, how much there is of each class, and how many warnings: one line."""
        shape = " × ".join(map(str, self.labels.shape))
        classes = [self._size(label.id, label.name) for label in self.label_map.labels[1:]]
        return f"<Segmentation {shape}: {', '.join([*classes, count_text(len(self.warnings), 'warning')])}>"

    def _size(self, number: int, name: str) -> str:
        """How much there is of one class, in millilitres, or in pixels where no volume is known."""
        pixels = int(np.count_nonzero(self.canonical == number))
        steps = voxel_steps(self.given.picture.geometry)
        if steps is None or not self.given.picture.geometry.has_thickness:
            return f"{name} {count_text(pixels, 'pixel')}"
        voxel = abs(np.linalg.det(steps)) if np.ndim(steps) == 2 else np.prod(steps)
        return f"{name} {pixels * voxel / 1000:,.1f} mL"

    @property
    def image(self) -> np.ndarray:
        """The image's values in the axes of ``labels``; several channels are the last axis."""
        pixels = self.given.picture.pixels
        channels = [self.given.turn(pixels[:, channel]) for channel in range(pixels.shape[1])]
        return channels[0] if len(channels) == 1 else np.stack(channels, axis=-1)

    def plot(self, slice: int | None = None) -> "Figure":
        """A figure of one slice with its classes laid over it.

        Args:
            slice: as the network sees them, from 0; by default that with the most pixels of any class.

        Raises:
            CaseUNetError: there is no such slice.
        """
        from matplotlib.figure import Figure
        from matplotlib.patches import Patch

        number = int(np.count_nonzero(self.canonical, axis=(1, 2)).argmax()) if slice is None else slice
        if not 0 <= number < len(self.canonical):
            raise InvalidOptionError(f"There is no slice {number}: the image has 0 to {len(self.canonical) - 1}.")
        labels, picture = self.canonical[number], self.given.picture
        shown = overlaid(to_display(picture.pixels[number], self.window), labels, self.label_map.colors)
        spacing = picture.geometry.spacing or (1.0, 1.0, 1.0)
        figure = Figure(layout="constrained")
        axes = figure.add_subplot()
        axes.imshow(shown, aspect=spacing[1] / spacing[2])
        axes.set_axis_off()
        axes.set_title(f"slice {number} of {len(self.canonical)}" if len(self.canonical) > 1 else "")
        found = [label for label in self.label_map.labels[1:] if (labels == label.id).any()]
        if found:
            patches = [Patch(color=np.divide(label.color, 255), label=label.name) for label in found]
            figure.legend(handles=patches, loc="outside right upper")
        return figure

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.labels, dtype=dtype, copy=copy)

    def save(self, path: str | Path) -> None:
        """Write it in source geometry: NIfTI, NRRD or MetaImage for volumes, palette PNG, TIFF or BMP for images.

        A name that ends in .seg.nrrd makes a segmentation of 3D Slicer, which names its classes.

        Raises:
            CaseUNetError: that kind of file cannot hold it.
        """
        geometry = self.geometry or Geometry(shape=self.canonical.shape[-2:])
        colors, names = self.label_map.colors, self.label_map.names
        if Path(path).name.lower().endswith(".seg.nrrd"):
            write_seg_nrrd(Path(path), self.canonical, self._place(), segments_of(self.label_map))
            return
        images.write_mask_file(Path(path), self.canonical, geometry, colors, self.source, names)

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


class Predictor(predictor.SlicePredictor):
    __doc__ = predictor.SlicePredictor.__doc__

    @overload
    def predict(
        self,
        image: list[Any],
        *,
        axes: str | Sequence[str] | None = ...,
        spacing: Sequence[float] | None = ...,
        postprocess: bool = ...,
        probabilities: bool = ...,
    ) -> list[Segmentation]: ...
    @overload
    def predict(
        self,
        image: Any,
        *,
        axes: str | Sequence[str] | None = ...,
        spacing: Sequence[float] | None = ...,
        postprocess: bool = ...,
        probabilities: bool = ...,
    ) -> Segmentation: ...
    def predict(
        self,
        image: Any,
        *,
        axes: str | Sequence[str] | None = None,
        spacing: Sequence[float] | None = None,
        postprocess: bool = True,
        probabilities: bool = False,
    ) -> Segmentation | list[Segmentation]:
        """Segment one image, or each of a list, as ``caseunet predict`` does.

        Args:
            image: a file; a folder or zip with one image, such as a DICOM series; an image of nibabel, SimpleITK or
                Pillow; a numpy array or torch tensor in the training data's units (HU for CT), (H, W) for models of one
                channel, (H, W, C) for models of several, or other axes with ``axes``; a dict {name of a channel: its
                array}; or a list of these.
            axes: of an array, a letter for each axis, in a text or a sequence. Of a volume whereto in the patient it
                runs, as ``nibabel.aff2axcodes`` says it: "RAS", or "SPL" of an axial scan as SimpleITK gives it. Of
                images N (one after another), H, W: "NHW" are slices as the network cuts them. C are channels: "CHW",
                "RASC"; of channels by name, the axes of each.
            spacing: of an array, millimetres along each axis but C, in their order. A volume needs it; images without
                it are taken to have the training data's.
            postprocess: whether components and holes are cleaned as was learned in validation; never where the
                settings say no, nor of structures for which they ask a sensitivity.
            probabilities: whether the result has the probability of each class too: four bytes a class and pixel.

        Raises:
            CaseUNetError: it cannot be read, is no image for this model, or nothing tells which way its axes run.
        """
        if isinstance(image, list):
            return [self._predict_one(one, axes, spacing, postprocess, probabilities) for one in image]
        return self._predict_one(image, axes, spacing, postprocess, probabilities)

    def _predict_one(
        self,
        image: Any,
        axes: str | Sequence[str] | None,
        spacing: Sequence[float] | None,
        postprocess: bool,
        probabilities: bool,
    ) -> Segmentation:
        notices = Notices()
        given = read_python_image(
            image, self.info.preprocessing, axes, spacing, channels_of(self.info), display=notices
        )
        temperature = self.info.quality.temperature if self.info.quality else 1.0
        pixels = given.picture.pixels
        size = (len(pixels), *pixels.shape[-2:])
        accumulator = ProbabilityAccumulator(size, len(self.info.label_map), temperature) if probabilities else None

        def on_batch(group: SliceBatch) -> None:
            if accumulator:
                accumulator.add(group)

        try:
            if self.settings.check_image:
                check_no_mask(given.picture.pixels, given.source or Path(), self.info.training_data)
            with closing(accumulator) if accumulator else nullcontext():
                labels, quality, doubts = segment_picture(
                    self, given.picture, on_batch=on_batch, postprocess=postprocess
                )
                names = self.info.label_map.names
                chances = (
                    {names[c]: given.turn(v / np.float32(WHOLE)) for c, v in accumulator.each()}
                    if accumulator
                    else None
                )
        except CaseUNetError as error:
            raise error.with_message(f"{given.name}: {error}") from error
        for doubt in list_doubts(self.operating_points):
            notices.caution(doubt)
        match = self.known_images.find(given.picture.pixels)
        reasons = (*quality.reasons, *quality.mask_reasons) if quality and quality.is_first else ()
        for remark in (*given.picture.geometry.remarks, *doubts, *([match.sentence] if match else []), *reasons):
            notices.caution(f"{given.name}: {remark}")
        return Segmentation(
            labels=given.turn(labels),
            label_map=self.info.label_map,
            geometry=given.geometry,
            source=given.source,
            quality=quality,
            warnings=notices.warnings,
            canonical=labels,
            given=given,
            window=display_window(self),
            probabilities=chances,
        )
