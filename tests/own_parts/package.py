"""The package of one's own that the README files show, written to a folder."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def write_package(folder: Path) -> Path:
    """Write each Python block of the README files that begins with the name of a file; return the package."""
    for name in ("trainables", "search_spaces"):
        text = (ROOT / name / "README.md").read_text()
        for file, code in re.findall(r"^```python\n# (mypkg/\w+\.py)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
            path = folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(code)
    package = folder / "mypkg"
    (package / "__init__.py").touch()
    return package
