"""Write docs/schemas/model-N.json, the schema of a bundle's model.json: python docs/write_bundle_schema.py"""

import json
from pathlib import Path

from caseunet.bundle.info import FORMAT, bundle_schema

if __name__ == "__main__":
    folder = Path(__file__).parent / "schemas"
    folder.mkdir(exist_ok=True)
    text = json.dumps(bundle_schema(), indent=2, ensure_ascii=False)
    (folder / f"model-{FORMAT}.json").write_text(text + "\n", encoding="utf-8")
