"""Write made-up raw data to try the commands on: python examples/generate_data.py lits raw"""

import sys
from pathlib import Path

try:
    from caseunet.datasets import generate
except ImportError as missing:
    raise SystemExit(f"{missing}. Install caseunet first, then run this with the same Python: pip install .") from None

WRITERS = {
    "lits": generate.write_lits,
    "endovis2018": generate.write_endovis2018,
    "endovis2018-types": generate.write_endovis2018_types,
    "endovis2017": generate.write_endovis2017,
    "nnunet": generate.write_nnunet,
    "msd": generate.write_msd,
    "folder": generate.write_folder,
    "dicom": generate.write_dicom,
}

if len(sys.argv) != 3 or sys.argv[1] not in WRITERS:
    raise SystemExit(f"usage: python examples/generate_data.py {{{','.join(WRITERS)}}} FOLDER")
WRITERS[sys.argv[1]](Path(sys.argv[2]))
