"""ACDC: the heart's chambers in cine MR, at end diastole and end systole.

Layout: ``training/patient001/patient001_frame01.nii.gz`` and ``patient001_frame01_gt.nii.gz``, also below ``testing/``.
``patient001_4d.nii.gz`` holds all frames, without masks, and is left out. Bernard et al., "Deep Learning Techniques for
Automatic MRI Cardiac Multi-Structures Segmentation and Diagnosis", IEEE TMI 2018.
"""

from pathlib import Path

from caseunet.datasets.named_files import NamedLayout, compile_path


class AcdcLayout(NamedLayout):
    """ACDC, told by the names of its files."""

    name = "acdc"
    looks_like = "patientNNN_frameNN.nii.gz and patientNNN_frameNN_gt.nii.gz at any depth"
    image = compile_path(r"(?P<case>patient\d{3}_frame\d{2})\.nii(\.gz)?")
    mask = compile_path(r"(?P<case>patient\d{3}_frame\d{2})_gt\.nii(\.gz)?")
    class_tables = ({1: "right ventricle", 2: "myocardium", 3: "left ventricle"},)
    fixed_modality = "mr"

    def find_group(self, case: str, root: Path) -> str:
        return case.partition("_")[0]


ACDC = AcdcLayout()
