"""In which plane the volumes of a data set are cut into slices: one rule for all, and a layout that follows it."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Literal

from caseunet.datasets.layout import Finding, Layout, Level, SourceCase, SourceDataset
from caseunet.io import raster
from caseunet.io.geometry import PLANES, cut, find_acquired_plane, is_single_slice, plane_of, reslice
from caseunet.types import Geometry, ImageVolume, Mask, Plane, PlaneRule
from caseunet.workers import run_all

MIN_PARALLEL = 500
"""Files whose headers are read in several processes; fewer are read before these have started."""


class CutLayout:
    """A layout whose volumes are cut as a rule says; the layouts themselves know axial slices alone."""

    def __init__(self, layout: Layout, rule: PlaneRule) -> None:
        self.name, self.looks_like, self.rank = layout.name, layout.looks_like, layout.rank
        self.matches, self.cases, self.discover = layout.matches, layout.cases, layout.discover
        self._layout, self._rule = layout, rule

    def read_geometry(self, case: SourceCase) -> Geometry:
        return cut(self._layout.read_geometry(case), self._rule)

    def read_image(self, case: SourceCase, rgb: bool, nan: float | None = None) -> ImageVolume:
        return cut(self._layout.read_image(case, rgb, nan), self._rule)

    def read_mask(self, case: SourceCase, dataset: SourceDataset, image: Geometry) -> Mask:
        return reslice(self._layout.read_mask(case, dataset, reslice(image, "axial")), image.plane)


def choose_plane(
    wanted: PlaneRule | Literal["auto"], layout: Layout, dataset: SourceDataset, workers: int | None
) -> tuple[PlaneRule, tuple[Finding, ...]]:
    """The rule of a data set, and what a person should know of it; images are read as far as their headers go.

    With "auto" volumes are cut as most of them were acquired, isotropic ones like the others, and axially where all
    are isotropic. Single slices have a say only where there is nothing else.

    Args:
        wanted: what is configured.
        layout: that reads the cases, without a rule.
        dataset: the cases.
        workers: processes that read headers, as for :func:`caseunet.workers.run_all`.
    """
    geometries = _read_headers(layout, dataset, workers)
    volumes = {case: geometry for case, geometry in geometries.items() if not is_single_slice(geometry)}
    votes = Counter(filter(None, map(find_acquired_plane, (volumes or geometries).values())))
    most = max(PLANES, key=lambda plane: votes[plane])
    rule = most if wanted == "auto" else wanted
    return rule, tuple(_findings(rule, wanted, geometries, dataset))


def _read_headers(layout: Layout, dataset: SourceDataset, workers: int | None) -> dict[str, Geometry]:
    """{case: geometry} of the volumes whose headers can be read; of the others the audit tells."""
    cases = [case for case in dataset.cases if not raster.is_raster(case.image[0])]
    few = sum(len(case.image) for case in cases) < MIN_PARALLEL
    read = partial(_read_header, layout)
    results = {cases[index].id: result for index, result in run_all(read, cases, 0 if few else workers)}
    found = ((case.id, results.get(case.id)) for case in cases)
    return {case: result for case, result in found if isinstance(result, Geometry) and result.affine is not None}


def _read_header(layout: Layout, case: SourceCase) -> Geometry | None:
    try:
        return layout.read_geometry(case)
    except Exception:  # a file can be damaged in ways that no library foresees
        return None


def _findings(
    rule: PlaneRule,
    wanted: PlaneRule | Literal["auto"],
    geometries: Mapping[str, Geometry],
    dataset: SourceDataset,
) -> Iterator[Finding]:
    by_plane: dict[Plane | None, list[str]] = {}
    for case, geometry in geometries.items():
        by_plane.setdefault(find_acquired_plane(geometry), []).append(case)
    planes = [plane for plane in PLANES if plane in by_plane]
    if not planes or planes == [rule] == ["axial"]:
        return
    shown = [f"{plane}: {_some(by_plane[plane])}" for plane in planes]
    shown += [f"isotropic: {_some(by_plane[None])}"] if None in by_plane else []
    whole = "each volume is cut in its own plane" if rule == "acquired" else f"volumes are cut into {rule} slices"
    single = [c for c, g in geometries.items() if is_single_slice(g) and plane_of(g, rule) != rule != "acquired"]
    kept = f"; single slices stay as they are ({_some(single)})" if single else ""
    level: Level = "warning" if len(planes) > 1 or single else "note"
    advice = "The plane can be told: prepare.plane."
    if level == "warning" and wanted == "auto":
        advice = (
            "Prepare them apart, or tell the plane: prepare.plane is axial, coronal or sagittal for all, or "
            "acquired for each volume its own."
        )
    odd = [case for plane in planes if plane != rule for case in by_plane[plane]]
    by_id = {case.id: case for case in dataset.cases}
    yield Finding(
        level=level,
        kind="plane",
        text=f"slices were taken in the plane {'; '.join(shown)}; {whole}{kept}",
        advice=advice if level == "warning" or wanted == "auto" else "",
        case=odd[0] if odd and level == "warning" else None,
        file=dataset.relative(by_id[odd[0]].image[0]) if odd and level == "warning" else None,
    )


def _some(cases: Sequence[str]) -> str:
    """ "3 (a, b …)"."""
    return f"{len(cases)} ({', '.join(cases[:2])}{' …' if len(cases) > 2 else ''})"
