"""Build the pages of many studies, and open them in a browser.

    python benchmarks/site.py                      80 runs of 8 claims and 20 figures, about a minute
    python benchmarks/site.py --runs 10 --jobs 500

The results folder is made up: for each run claims with controls, scores of every subject, figures of 80 kB; one
dataset of as many people; Snakemake's records of as many jobs as asked for. Measured are the time that building takes
(``scripts/build_site.py``, CPU and wall), its memory, the size of the site, and, where there is a Chromium, the time
until each kind of page has loaded and has drawn its charts, and how long sorting and filtering the board takes.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(SOURCE / "workflow_tests"), str(SOURCE / "scripts")]

from made_results import PICTURE, add_dataset, add_run, add_status, claim  # noqa: E402 - from the folders just named

VERDICTS = ["holds", "fails", "undecided", "invalid"]


def make(folder: Path, n_runs: int, n_claims: int, n_figures: int, n_subjects: int, n_jobs: int) -> Path:
    """Write a results folder, and Snakemake's records beside it."""
    results = folder / "results"
    subjects = [f"{k:04d}" for k in range(n_subjects)]
    picture = PICTURE.replace("</svg>", '<path d="' + "L1 2" * 20000 + '" opacity="0"/></svg>')
    for run in range(n_runs):
        claims = [
            claim(f"claim_{k}", VERDICTS[(run + k) % 4], 0.01 * (run * 37 % 23) - 0.02 * k) for k in range(n_claims)
        ]
        methods = {"new": "New", "old": "Old", **{f"other_{k}": f"Other {k}" for k in range(4)}}
        made = add_run(results, f"study_{run:02d}", claims, subjects=subjects, methods=methods, n_figures=n_figures)
        for path in (made / "figures").glob("*.svg"):
            path.write_text(picture)
    people = [
        {"participant_id": f"sub-{name}", "age": 20 + k % 50, "sex": "FM"[k % 2]} for k, name in enumerate(subjects)
    ]
    quality = [{"recording": f"sub-{name}", "subject": name, "status": "ok", "fd_mean": 0.01 * k, "snr": 5 + k % 7}
               for k, name in enumerate(subjects)]  # fmt: skip
    add_dataset(results, participants=people, quality=quality)
    add_status(results, [{"dataset": "made", "recipe": "r", "stage": "preprocess", **row} for row in quality])
    records = folder / ".snakemake" / "metadata"
    records.mkdir(parents=True)
    now = 1_790_000_000
    for job in range(n_jobs):
        output = f"results/runs/study_{job % n_runs:02d}/observed/fit_{job}.json"
        (folder / output).parent.mkdir(parents=True, exist_ok=True)
        (folder / output).touch()
        told = {"rule": f"rule_{job % 15}", "starttime": now + job, "endtime": now + job + 5, "input": [],
                "log": [f"logs/rule_{job % 15}/{job}.log"], "shellcmd": "true"}  # fmt: skip
        (records / base64.urlsafe_b64encode(output.encode()).decode()).write_text(json.dumps(told))
    return results


def build(results: Path, out: Path) -> dict[str, float]:
    """Build the site as a rule does; return seconds and memory."""
    command = [sys.executable, str(SOURCE / "scripts/build_site.py"), "--results", str(results), "--out", str(out)]
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"building ended with status {status}")
    return {"wall": time.monotonic() - started, "cpu": used.ru_utime + used.ru_stime, "mb": used.ru_maxrss / 1000}


def browse(site: Path, chromium: str) -> None:
    """Time pages in a browser."""
    from playwright.sync_api import sync_playwright

    drawn = "() => [...document.querySelectorAll('.chart')].every((box) => box.dataset.drawn !== undefined)"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for name in ("index", "studies/study_00", "datasets/made", "run"):
            page = browser.new_page()
            started = time.monotonic()
            page.goto((site / f"{name}.html").as_uri(), wait_until="load")
            loaded = time.monotonic() - started
            for chart in page.query_selector_all(".chart"):
                chart.scroll_into_view_if_needed()
            page.wait_for_function(drawn)
            charts = time.monotonic() - started
            size = (site / f"{name}.html").stat().st_size / 1e6
            print(f"{name:<18} {size:6.2f} MB   loaded {loaded:5.2f} s   charts drawn {charts:5.2f} s")
            if name == "index":
                for what, act in {
                    "sort by effect": lambda page=page: page.locator("th[data-key=effect] button").click(),
                    "search": lambda page=page: page.fill("#search", "study_07"),
                }.items():
                    started = time.monotonic()
                    act()
                    page.evaluate("() => new Promise((resolve) => requestAnimationFrame(() => resolve()))")
                    print(f"{'  ' + what:<18} {time.monotonic() - started:29.2f} s")
            page.close()
        browser.close()


def main() -> None:
    """Make, build, browse."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--runs", type=int, default=80)
    arguments.add_argument("--claims", type=int, default=8)
    arguments.add_argument("--figures", type=int, default=20)
    arguments.add_argument("--subjects", type=int, default=100)
    arguments.add_argument("--jobs", type=int, default=5000)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = make(Path(folder), given.runs, given.claims, given.figures, given.subjects, given.jobs)
        site = Path(folder) / "site"
        took = build(results, site)
        n_files = sum(path.is_file() for path in site.rglob("*"))
        size = sum(path.stat().st_size for path in site.rglob("*") if path.is_file()) / 1e6
        print(f"{given.runs} runs, {given.runs * given.claims} claims, {given.runs * given.figures} figures")
        print(f"built in {took['wall']:.1f} s ({took['cpu']:.1f} s CPU), {took['mb']:.0f} MB memory: "
              f"{n_files} files, {size:.0f} MB")  # fmt: skip
        chromium = shutil.which("chromium") or shutil.which("chromium-browser")
        if chromium:
            browse(site, chromium)


if __name__ == "__main__":
    main()
