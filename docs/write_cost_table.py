"""Print the table of docs/reference/networks.md from benchmarks/networks.json: python docs/write_cost_table.py"""

import json
from pathlib import Path

rows = json.loads((Path(__file__).parents[1] / "benchmarks" / "networks.json").read_text())["networks"]
print("| network | parameters (10⁶) | GMAC | prediction ms | × nnunet | MiB | training step ms | × nnunet | MiB |")
print("|---|--:|--:|--:|--:|--:|--:|--:|--:|")
for name, row in rows.items():
    if "contiguous" in name:
        continue
    cells = [f"{row['parameters'] / 1e6:.1f}", f"{row['gmac']:.1f}"]
    for kind in ("prediction", "training"):
        cost = row[kind]
        cells += [f"{cost['milliseconds']:.0f}", f"{cost['time_to_nnunet']:.2f}", f"{cost['peak_mib']:.0f}"]
    print(f"| {name} | " + " | ".join(cells) + " |")
