"""BUSI: lesions in ultrasound images of the breast.

Layout: ``benign/benign (1).png`` and ``benign (1)_mask.png``, also below ``malignant/`` and ``normal/``. Several
lesions of an image have masks of their own, ``_mask_1.png``, which are united; those of ``normal`` are empty.
Al-Dhabyani et al., "Dataset of Breast Ultrasound Images", Data in Brief 2020.
"""

from caseunet.datasets.named_files import NamedLayout, compile_path

KIND = r"(?P<case>(?P<kind>benign|malignant|normal)/(?P=kind) \(\d+\))"


class BusiLayout(NamedLayout):
    """BUSI, told by the names of its files and their folders."""

    name = "busi"
    looks_like = "benign/benign (N).png and benign/benign (N)_mask.png, and malignant/ and normal/ likewise"
    image = compile_path(rf"{KIND}\.png")
    mask = compile_path(rf"{KIND}_mask(_\d+)?\.png")
    objects = "lesion"
    group_name = "image"
    several = True


BUSI = BusiLayout()
