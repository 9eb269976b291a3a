"""Print the requirements of pyproject.toml as a requirements file for pip, with the extras that tests need."""

from __future__ import annotations

from pathlib import Path

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    from pip._vendor import tomli as tomllib

project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
extras = [group for name, group in project["optional-dependencies"].items() if name not in ("rivals", "torch")]
groups = [project["dependencies"], *extras]
for requirement in dict.fromkeys(line for group in groups for line in group):
    if not requirement.startswith("drpass["):
        print(requirement)
