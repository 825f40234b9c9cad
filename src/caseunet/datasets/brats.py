"""BraTS since 2017: brain tumours in four MR contrasts.

Layout: ``BraTS-GLI-00000-000/BraTS-GLI-00000-000-t1n.nii.gz``, ``-t1c``, ``-t2w``, ``-t2f`` and ``-seg``; before 2023
``BraTS20_Training_001/BraTS20_Training_001_flair.nii``, ``_t1``, ``_t1ce``, ``_t2`` and ``_seg``. The mask of case 355
of 2020 is ``W39_1998.09.19_Segm.nii``. The last number is a visit of the patient before it. Baid et al., "The
RSNA-ASNR-MICCAI BraTS 2021 Benchmark", arXiv 2107.02314.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from caseunet.datasets.layout import SourceCase
from caseunet.datasets.named_files import NamedLayout, compile_path
from caseunet.errors import InvalidInputError

ENHANCING, CAVITY = "enhancing tumour", "resection cavity"
GLIOMA = {1: "necrotic core", 2: "oedema"}
OTHERS = {1: "non-enhancing core", 2: "surrounding hyperintensity"}
"""Of meningiomas and metastases."""

CORES = (GLIOMA[1], OTHERS[1], ENHANCING)
REGIONS = {
    "whole tumour": (*CORES, GLIOMA[2], OTHERS[2]),
    "tumour core": CORES,
    ENHANCING: (ENHANCING,),
    CAVITY: (CAVITY,),
}
"""On which the challenge scores, each learnt by itself."""

_VISIT = re.compile(r"(.+-\d{5})-\d{3}")
_OLD = re.compile(r"brats(20)?\d\d_", re.IGNORECASE)
_KIND = re.compile(r"brats-(\w+?)-", re.IGNORECASE)


class BratsLayout(NamedLayout):
    """BraTS, told by the names of its files."""

    name = "brats"
    looks_like = "BraTS-…-00000-000-t1n, -t1c, -t2w, -t2f, -seg.nii.gz, or BraTS20_…_flair, _t1, _t1ce, _t2, _seg.nii"
    image = compile_path(r"(?P<case>BraTS[\w-]*\d)[-_](?P<channel>t1n|t1c|t2w|t2f|flair|t1ce|t1|t2)\.nii(\.gz)?")
    mask = compile_path(r"(?P<case>BraTS[\w-]*\d)([-_]seg|/[^/]*_Segm)\.nii(\.gz)?")
    fixed_modality = "mr"
    class_regions = MappingProxyType(REGIONS)

    def find_group(self, case: str, root: Path) -> str:
        match = _VISIT.fullmatch(case)
        return match[1] if match else case

    def find_part(self, path: PurePosixPath) -> str:
        words = str(path).lower()
        return "val" if "validation" in words else "test" if "testing" in words else ""

    def find_tables(self, cases: Sequence[SourceCase]) -> tuple[Mapping[int, str], ...]:
        """Of gliomas, or of meningiomas and metastases; others, and mixtures, are numbered otherwise."""
        old = [case.id for case in cases if _OLD.match(case.id)]
        if 0 < len(old) < len(cases):
            new_one = next(case.id for case in cases if case.id not in old)
            raise InvalidInputError(
                f"{cases[0].image[0]}: cases of BraTS before 2023, such as {old[0]}, lie beside later ones, such as "
                f"{new_one}. Their masks number the enhancing tumour 4 and 3. Keep them in folders of their own, or "
                "map the values of one kind first."
            )
        kinds = {match[1].lower() if (match := _KIND.match(case.id)) else "gli" for case in cases}
        if kinds <= {"gli", "ssa"}:
            known = GLIOMA
        elif kinds <= {"men", "met"}:
            known = OTHERS
        else:
            return ()
        new = {**known, 3: ENHANCING}
        return (new, {**known, 4: ENHANCING}, {**new, 4: CAVITY})


BRATS = BratsLayout()
