"""GlaS: glands in stained slices of the colon.

Layout: ``train_1.bmp`` and ``train_1_anno.bmp``, ``testA_1.bmp``, ``testB_1.bmp``. Masks number the glands of an image,
which are one class. ``Grade.csv`` tells the patients. Sirinukunwattana et al., "Gland Segmentation in Colon Histology
Images: The GlaS Challenge Contest", Medical Image Analysis 2017.
"""

import csv
from pathlib import Path, PurePosixPath

from caseunet.datasets.named_files import NamedLayout, compile_path


class GlasLayout(NamedLayout):
    """GlaS, told by the names of its files."""

    name = "glas"
    looks_like = "train_N.bmp, testA_N.bmp, testB_N.bmp and each with _anno.bmp"
    image = compile_path(r"(?P<case>(train|testA|testB)_\d+)\.bmp")
    mask = compile_path(r"(?P<case>(train|testA|testB)_\d+)_anno\.bmp")
    objects = "gland"
    fixed_modality = "rgb"

    def find_part(self, path: PurePosixPath) -> str:
        return "train" if path.name.lower().startswith("train") else "test"

    def find_group(self, case: str, root: Path) -> str:
        """By Grade.csv, if it is there and names the image."""
        path = root / "Grade.csv"
        if not path.is_file():
            return case
        rows = csv.reader(path.read_text(encoding="utf-8-sig", errors="replace").splitlines())
        patients = {row[0].strip(): row[1].strip() for row in rows if len(row) > 1}
        return f"patient {patients[case]}" if patients.get(case) else case


GLAS = GlasLayout()
