"""The manual of the configuration, made from the schemas so that the two can not drift apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from .cards import KINDS

INTRODUCTION = """\
# Configuration

`config.yaml` is the one file to edit: it says which studies run on which datasets. Everything it names is a *card*, a
YAML file in `datasets/`, `preprocessing/`, `features/` or `studies/`; the name of a card is the name of its file.
An unknown key is refused, and the nearest known one suggested.

```yaml
scale: demo                     # or paper: the published configuration
runs:
  - augmented_covariance        # a study on its own dataset
  - study: augmented_covariance # a study on a dataset of yours
    dataset: my_eeg
    feature: motor_epochs_8_35
    params: {evaluation: {null_variants: 20}}
```

The command line can do the same: `snakemake --config 'runs=[{study: augmented_covariance, dataset: my_eeg}]'`.
Threads, memory and GPUs stand in the rules and in `profiles/`, not here. `python scripts/show_efficiency.py` shows what
jobs used of what they asked for; `python scripts/pin_environments.py` fixes the conda environments to the build.

This page is made from `schemas/`; `python scripts/write_manual.py` writes it again.
"""


def manual(schemas: Path) -> str:
    """Return the manual as Markdown: every key of every card with type, default and meaning."""
    parts = [INTRODUCTION]
    for kind in ("config", *KINDS):
        schema = yaml.safe_load((schemas / f"{kind}.schema.yaml").read_text(encoding="utf-8"))
        place = "" if kind == "config" else f" (`config/{kind}/<name>.yaml`)"
        rows = "\n".join(_keys(schema, ""))
        heading = f"## {schema['title']}{place}\n\n{schema['description']}"
        parts.append(f"{heading}\n\n| key | type | meaning |\n|---|---|---|\n{rows}\n")
    return "\n".join(parts)


def _keys(schema: Mapping[str, Any], prefix: str) -> Iterator[str]:
    required = schema.get("required", [])
    for key, entry in schema.get("properties", {}).items():
        name = f"{prefix}{key}"
        notes = ["required"] if key in required else []
        if "default" in entry:
            notes.append(f"default `{entry['default']}`")
        text = entry["description"] + (f" ({', '.join(notes)})" if notes else "")
        yield f"| `{name}` | {_type(entry)} | {text.replace('|', '/')} |"
        # The two scales repeat keys of the card itself.
        if not prefix.startswith("scale."):
            yield from _keys(entry, f"{name}.")
            if isinstance(entry.get("additionalProperties"), dict):
                yield from _keys(entry["additionalProperties"], f"{name}.<name>.")
                for branch in entry["additionalProperties"].get("oneOf", []):
                    yield from _keys(branch, f"{name}.<name>.")
            for branch in entry.get("items", {}).get("oneOf", []):
                yield from _keys(branch, f"{name}[].")


def _type(entry: Mapping[str, Any]) -> str:
    if "enum" in entry:
        return " or ".join(f"`{value}`" for value in entry["enum"][:6]) + (" ..." if len(entry["enum"]) > 6 else "")
    return {"object": "mapping", "array": "list", "string": "text"}.get(entry.get("type", ""), entry.get("type", ""))
