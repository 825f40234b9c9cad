"""The Data Science Bowl 2018: nuclei in microscopy.

Layout: ``ID/images/ID.png`` and ``ID/masks/*.png``, a file for each nucleus, below ``stage1_train/``; ``stage1_test/``
has no masks. All nuclei are one class. Names are hashes. Caicedo et al., "Nucleus Segmentation across Imaging
Experiments: the 2018 Data Science Bowl", Nature Methods 2019.
"""

from pathlib import PurePosixPath

from caseunet.datasets.named_files import NamedLayout, compile_path

HASH = r"[0-9a-f]{16,}"


class Dsb2018Layout(NamedLayout):
    """The Data Science Bowl 2018, told by hashes for names."""

    name = "dsb2018"
    looks_like = "ID/images/ID.png and ID/masks/*.png, a mask for each object, with hashes for names"
    image = compile_path(rf"(?P<case>{HASH})/images/(?P=case)\.png")
    mask = compile_path(rf"(?P<case>{HASH})/masks/{HASH}\.png")
    objects = "nucleus"
    group_name = "image"
    several = True

    def find_part(self, path: PurePosixPath) -> str:
        return "test" if any(part.lower().endswith("_test") for part in path.parts) else ""


DSB2018 = Dsb2018Layout()
