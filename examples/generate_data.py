"""Write made-up raw data to try the commands on: python examples/generate_data.py lits raw"""

import sys
from pathlib import Path

from caseunet.sources.generate import write_endovis2018, write_lits

WRITERS = {"lits": write_lits, "endovis2018": write_endovis2018}

if len(sys.argv) != 3 or sys.argv[1] not in WRITERS:
    raise SystemExit(f"usage: python examples/generate_data.py {{{','.join(WRITERS)}}} FOLDER")
WRITERS[sys.argv[1]](Path(sys.argv[2]))
