"""KiTS 2019, 2021 and 2023: kidney, tumour and cyst in CT.

Layout: ``case_00000/imaging.nii.gz`` and ``case_00000/segmentation.nii.gz``, also below ``data/`` or ``dataset/``. 2021
has the masks of several people, of which the majority's, ``aggregated_MAJ_seg.nii.gz``, is read; the others are left
out. One case is one patient. Heller et al., "The KiTS21 Challenge", arXiv 2307.01984.
"""

from caseunet.datasets.named_files import NamedLayout, compile_path


class KitsLayout(NamedLayout):
    """KiTS, told by the names of its files and their folders."""

    name = "kits"
    looks_like = "case_NNNNN/imaging.nii.gz and case_NNNNN/segmentation.nii.gz (or aggregated_MAJ_seg.nii.gz)"
    image = compile_path(r"(?P<case>case_\d{5})/imaging\.nii(\.gz)?")
    mask = compile_path(r"(?P<case>case_\d{5})/(segmentation|aggregated_MAJ_seg)\.nii(\.gz)?")
    class_tables = ({1: "kidney", 2: "tumour"}, {1: "kidney", 2: "tumour", 3: "cyst"})
    fixed_modality = "ct"


KITS = KitsLayout()
