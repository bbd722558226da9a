"""Write the generated pages. Run from the repository: make docs."""

from pathlib import Path

from tools.generate_docs import PAGES

FOLDER = Path("docs")

for name, make in PAGES.items():
    (FOLDER / name).write_text(make(), encoding="utf-8")
    print(FOLDER / name)
