"""Made-up patients and operations in the exact raw layouts, for trying the software without the real data.

The pictures are drawn from simple shapes with plausible intensities; no real person's data enters them. Everything
follows from the seed.
"""

from caseunet.datasets.generate.frames import (
    write_endovis2017,
    write_endovis2018,
    write_endovis2018_types,
    write_folder,
)
from caseunet.datasets.generate.series import write_dicom
from caseunet.datasets.generate.volumes import write_lits, write_msd, write_nnunet

__all__ = [
    "write_dicom",
    "write_endovis2017",
    "write_endovis2018",
    "write_endovis2018_types",
    "write_folder",
    "write_lits",
    "write_msd",
    "write_nnunet",
]
