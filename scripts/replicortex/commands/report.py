"""Write the site of all studies, also of results that are not complete yet."""

from __future__ import annotations

GROUP = "results"
SCRIPT = "build_site"
ASKS = False
DEFAULTS = {"--results": "results", "--out": "results/site", "--source": "{project}"}
