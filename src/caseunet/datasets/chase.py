"""CHASE_DB1: vessels in photographs of the retina of both eyes.

Layout: ``Image_01L.jpg``, ``Image_01L_1stHO.png`` and ``Image_01L_2ndHO.png``: the masks of two people, of which one is
chosen, or both are merged. Both eyes are of one child. Fraz et al., "An Ensemble Classification-Based Approach Applied
to Retinal Blood Vessel Segmentation", IEEE TBME 2012.
"""

from pathlib import Path

from caseunet.datasets.named_files import NamedLayout, compile_path


class ChaseLayout(NamedLayout):
    """CHASE_DB1, told by the names of its files."""

    name = "chase"
    looks_like = "Image_NNL.jpg, Image_NNR.jpg and each with _1stHO.png and _2ndHO.png"
    image = compile_path(r"(?P<case>Image_\d{2}[LR])\.(jpg|png|tif)")
    mask = compile_path(r"(?P<case>Image_\d{2}[LR])_(1st|2nd)HO\.png")
    class_tables = ({255: "vessel"}, {1: "vessel"})
    fixed_modality = "rgb"
    several = True

    def find_group(self, case: str, root: Path) -> str:
        return case[:-1]


CHASE = ChaseLayout()
