"""Displays as the workflow makes them, and a viewer in a browser that may load nothing."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest

from replicortex.files import digest_file, read_json

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
OPTIONS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
           "--disable-background-networking", "--disable-component-update"]  # fmt: skip
DISPLAYS = "results/quality/tiny/average_reference.displays"


def index_of(project) -> dict[str, dict]:
    return {entry["name"]: entry for entry in read_json(project.folder / DISPLAYS / "index.json")}


def test_a_run_shows_its_dataset_and_names_nobody(finished):
    index = index_of(finished)
    assert {"electrodes_table", "spectrum", "numbers"} <= set(index)
    for entry in index.values():
        text = (finished.folder / DISPLAYS / entry["file"]).read_text(encoding="utf-8")
        assert not re.search(r"sub-[0-9]", text + str(entry))
        assert str(finished.folder) not in text
    assert "Of 3 recordings, 3 are shown" in index["spectrum"]["caption"]


def test_displays_follow_their_code_and_nothing_else_does(project):
    assert project.planned(DISPLAYS) == {}
    module = project.folder / "scripts/replicortex/displays/eeg_group.py"
    module.write_text(module.read_text().replace("window_s: float = 2.0", "window_s: float = 1.0"))
    assert project.planned(DISPLAYS) == {"show_quality": 1}
    assert "fit" not in project.planned()


def test_a_restricted_dataset_of_few_people_is_not_shown_and_an_open_one_comes_back_as_it_was(project):
    before = {path.name: digest_file(path) for path in (project.folder / DISPLAYS).iterdir() if path.suffix}
    card = project.card("datasets", "tiny", restricted=True)
    project.run(DISPLAYS)
    assert index_of(project) == {}
    assert {path.name for path in (project.folder / DISPLAYS).iterdir() if path.suffix} == {"index.json"}
    project.card("datasets", "tiny", {key: value for key, value in card.items() if key != "restricted"})
    project.run(DISPLAYS)
    assert {path.name: digest_file(path) for path in (project.folder / DISPLAYS).iterdir() if path.suffix} == before


def test_a_viewer_runs_in_a_sandbox_without_network(tmp_path):
    """In a frame that may run scripts and nothing else: it draws, follows a click, and asks for no other file."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no chromium on the search path")
    from replicortex.shared.group_maps import Look, write_viewer
    from replicortex.shared.nifti import template

    image = template("GM", 6.0)
    write_viewer(tmp_path / "viewer.html", "Grey <b>matter", np.asarray(image.dataobj), image.affine, Look("x"))
    frame = '<iframe sandbox="allow-scripts" src="viewer.html" width="800" height="400" title="viewer"></iframe>'
    (tmp_path / "page.html").write_text(f'<!doctype html><html lang="en"><title>page</title>{frame}</html>')
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        page = browser.new_page(viewport={"width": 900, "height": 500})
        asked, said = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto((tmp_path / "page.html").as_uri(), timeout=30_000)
        frame = page.locator("iframe")
        page.wait_for_function("() => document.querySelector('iframe')")
        page.wait_for_timeout(1500)
        before = frame.screenshot()
        page.mouse.click(120, 120)
        page.wait_for_timeout(500)
        after = frame.screenshot()
        browser.close()
    assert said == []
    assert {url.partition(":")[0] for url in asked} <= {"file", "data"}
    assert [url for url in asked if url.startswith("file:")] == [
        (tmp_path / name).as_uri() for name in ("page.html", "viewer.html")
    ]
    # A picture of one colour packs into far less.
    assert len(before) > 10_000
    assert before != after, "a click moves the slices"
