"""Print the requirements of pyproject.toml, all extras included, as a requirements file for pip."""

from __future__ import annotations

from pathlib import Path

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    from pip._vendor import tomli as tomllib

project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
groups = [project["dependencies"], *project["optional-dependencies"].values()]
for requirement in dict.fromkeys(line for group in groups for line in group):
    if not requirement.startswith("drpass["):
        print(requirement)
