"""The pages in a real browser, without network: of a run of the workflow, and of a folder of many claims."""

from __future__ import annotations

import html
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from made_results import add_dataset, add_run, add_status, claim
from replicortex.site.words import VERDICTS
from replicortex.stages.site import build_site

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
#: The browser itself must not ask for anything either.
OPTIONS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
RUNS, CLAIMS = 12, 8
WAIT = 20_000  # ms
#: What a reader of the page can not see, told by the page itself.
CUT_OFF = """() => [...document.querySelectorAll("main *")]
    .filter((e) => !e.closest(".scroll, svg, .visually-hidden") && e.getBoundingClientRect().right > innerWidth + 1)
    .map((e) => e.outerHTML.slice(0, 80))"""


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Path:
    """A site of 12 runs with 8 claims each, and of a dataset with people and recordings."""
    results = tmp_path_factory.mktemp("many") / "results"
    verdicts = list(VERDICTS)
    for run in range(RUNS):
        claims = [
            claim(f"claim_{k}", verdicts[(run + k) % 4], round(0.01 * (run * 37 % 23) - 0.05 * k, 4))
            for k in range(CLAIMS)
        ]
        add_run(results, f"study_{run:02d}", claims, subjects=[f"s{k}" for k in range(9)])
    people = [{"participant_id": f"sub-{k}", "age": 20 + k, "sex": "FM"[k % 2]} for k in range(9)]
    quality = [
        {"recording": f"sub-{k}", "subject": k, "status": "ok", "fd_mean": 0.1 * k, "n_outlying": k == 8,
         "outlying": "fd_mean" if k == 8 else None}
        for k in range(9)
    ]  # fmt: skip
    add_dataset(results, participants=people, quality=quality, warnings=[("SOME_CODE", "Something is missing.")])
    add_status(results, [{"dataset": "made", "recipe": "average_reference", "stage": "preprocess", **row}
                         for row in quality])  # fmt: skip
    build_site(results, results.parent / "site")
    return results.parent / "site"


@pytest.fixture(scope="module")
def ran(finished) -> Path:
    """The site that the workflow itself made."""
    return finished.folder / "results/site"


class Watched:
    """A page of which is noted what it complains of, and what it asks for."""

    def __init__(self, browser, path: Path, width: int = 1280, **options) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(WAIT)
        self.complaints: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._asked)
        self.page.goto(path.as_uri())

    def _asked(self, request) -> None:
        if not request.url.startswith(("file:", "data:")):
            self.complaints.append(f"asked for {request.url}")

    def scroll_through(self) -> None:
        """Come past everything, and wait for all charts."""
        for chart in self.page.query_selector_all(".chart"):
            chart.scroll_into_view_if_needed()
        for image in self.page.query_selector_all("img"):
            image.scroll_into_view_if_needed()
        script = """() => [...document.querySelectorAll(".chart")].every((box) => box.dataset.drawn !== undefined
            || document.getElementById(box.dataset.source).textContent === "[]")"""
        self.page.wait_for_function(script)


@pytest.fixture
def opened(browser) -> Iterator:
    found = []

    def start(path: Path, width: int = 1280, **options) -> Watched:
        found.append(Watched(browser, path, width, **options))
        return found[-1]

    yield start
    for watched in found:
        watched.context.close()


def look(watched: Watched) -> None:
    """What holds for every page."""
    watched.scroll_through()
    page = watched.page
    assert watched.complaints == []
    assert len(page.query_selector_all("h1")) == 1
    for image in page.query_selector_all("img"):
        page.wait_for_function("(image) => image.complete", arg=image)
        assert image.evaluate("(image) => image.naturalWidth") > 0
        assert image.get_attribute("alt").strip()
    width = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert width[0] <= width[1], page.evaluate(CUT_OFF)
    assert page.evaluate(CUT_OFF) == []


def accessible(watched: Watched) -> None:
    """No serious fault by axe's rules for WCAG 2.2 AA."""
    from axe_playwright_python.sync_playwright import Axe

    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    found = Axe().run(watched.page, options={"runOnly": {"type": "tag", "values": tags}}).response["violations"]
    serious = {fault["id"]: fault["nodes"][0]["html"] for fault in found if fault["impact"] in ("serious", "critical")}
    assert serious == {}


# ---- every page


@pytest.mark.parametrize("width", [1280, 360])
def test_pages_of_a_run_of_the_workflow_load_quietly_and_fit(opened, ran, width):
    pages = sorted(ran.rglob("*.html"))
    assert {path.relative_to(ran).as_posix() for path in pages} >= {
        "index.html", "run.html", "studies/tiny.html", "datasets/tiny.html",
    }  # fmt: skip
    for path in pages:
        if "displays" not in path.as_posix() and path.parent.name in ("site", "studies", "datasets"):
            look(opened(path, width))


@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [
        ("index", 1280, "light"),
        ("index", 360, "dark"),
        ("studies/study_00", 1280, "dark"),
        ("studies/study_00", 360, "light"),
        ("datasets/made", 1280, "light"),
        ("datasets/made", 360, "dark"),
        ("run", 1280, "light"),
    ],
)
def test_pages_are_accessible(opened, many, name, width, scheme):
    watched = opened(many / f"{name}.html", width, color_scheme=scheme)
    look(watched)
    accessible(watched)


def test_pages_of_a_run_are_accessible(opened, ran):
    for name in ("index", "run", "studies/tiny", "datasets/tiny"):
        watched = opened(ran / f"{name}.html")
        watched.scroll_through()
        accessible(watched)


# ---- the board


def visible(page, attribute: str) -> list[str]:
    script = "(rows, name) => rows.filter((row) => row.offsetParent !== null).map((row) => row.dataset[name])"
    return page.eval_on_selector_all("#board tr.claim", script, attribute)


def test_the_board_sorts_by_click_and_by_key(opened, many):
    page = opened(many / "index.html").page
    assert len(visible(page, "effect")) == 3 * CLAIMS, "the first three of many are open"
    header = page.locator("#board th[data-key=effect]")
    header.locator("button").click()
    assert header.get_attribute("aria-sort") == "ascending"
    effects = [float(value) for value in visible(page, "effect")]
    assert effects == sorted(effects)
    assert len(effects) == 60
    page.locator("#more").click()
    assert len(visible(page, "effect")) == RUNS * CLAIMS
    header.locator("button").focus()
    page.keyboard.press("Enter")
    assert header.get_attribute("aria-sort") == "descending"
    effects = [float(value) for value in visible(page, "effect")]
    assert effects == sorted(effects, reverse=True)
    page.locator("#board th[data-key=study] button").click()
    assert header.get_attribute("aria-sort") == "none"
    assert page.locator("#board tr.group:visible").count() == RUNS


def test_the_board_filters(opened, many):
    page = opened(many / "index.html").page
    status = page.locator("#shown")
    assert status.inner_text() == f"All {RUNS * CLAIMS} claims."
    for name in ("holds", "fails", "undecided"):
        page.locator(f"#filters input[value={name}]").uncheck()
    assert status.inner_text() == f"{RUNS * CLAIMS // 4} of {RUNS * CLAIMS} claims."
    assert set(visible(page, "verdict")) == {"invalid"}
    assert len(visible(page, "verdict")) == RUNS * CLAIMS // 4, "a filter opens what it finds"
    page.locator("#surprises").check()
    assert set(visible(page, "surprise")) == {"0"}
    page.select_option("#study", label="study_05")
    assert set(visible(page, "study")) == {"5"}
    page.fill("#search", "no such words")
    assert status.inner_text() == f"0 of {RUNS * CLAIMS} claims."
    assert visible(page, "verdict") == []


def test_studies_open_and_close_by_key(opened, many):
    page = opened(many / "index.html").page
    last = page.locator("button.toggle").last
    assert last.get_attribute("aria-expanded") == "false"
    last.focus()
    page.keyboard.press("Space")
    assert last.get_attribute("aria-expanded") == "true"
    assert len(visible(page, "effect")) == 4 * CLAIMS
    page.locator("#close-all").click()
    assert visible(page, "effect") == []


def test_any_table_sorts(opened, many):
    page = opened(many / "studies/study_00.html").page
    table = page.locator("#scores ~ .scroll table").first
    button = table.locator("th button", has_text="Mean")
    column = "(rows) => rows.map((row) => row.cells[3].textContent)"
    button.click()
    assert table.locator("tbody tr").evaluate_all(column) == ["0.55", "0.65"]
    button.press("Enter")
    assert table.locator("tbody tr").evaluate_all(column) == ["0.65", "0.55"]


# ---- charts


def test_a_chart_tells_numbers_when_pointed_at(opened, many):
    watched = opened(many / "studies/study_00.html")
    watched.scroll_through()
    points = watched.page.locator("#scores-chart .drawn .scatterlayer .point")
    assert points.count() == 2 * (9 + 2 + 1), "nine subjects, two permuted evaluations, a mean, by two methods"
    box = (
        watched.page.locator("#scores-chart .drawn .scatterlayer .trace").nth(1).locator(".point").first.bounding_box()
    )
    watched.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    told = watched.page.locator(".hoverlayer .hovertext").first
    told.wait_for()
    assert re.search(r"New.*subject 1 of 9: 0\.500", told.text_content())
    assert not watched.page.locator("#scores-chart .static").is_visible()


def test_charts_take_their_numbers_from_the_page(opened, many):
    watched = opened(many / "datasets/made.html")
    watched.scroll_through()
    box = watched.page.locator(".chart .drawn")
    x = box.evaluate("(box) => box.data.filter((t) => t.type === 'scatter').flatMap((t) => t.x)")
    assert sorted(round(value, 6) for value in x) == [round(0.1 * k, 6) for k in range(9)]


def test_without_script_everything_is_there(opened, many):
    page = opened(many / "index.html", java_script_enabled=False).page
    assert page.locator("#board tr.claim:visible").count() == RUNS * CLAIMS
    assert not page.locator("#filters").is_visible()
    page.goto((many / "studies/study_00.html").as_uri())
    assert page.locator("#scores-chart .static svg").is_visible()
    assert page.locator("#scores-chart .static svg circle.unit").count() == 2 * 9


def test_pages_print_with_all_claims_and_still_pictures(opened, many):
    watched = opened(many / "index.html")
    watched.page.emulate_media(media="print")
    assert watched.page.locator("#board tr.claim:visible").count() == RUNS * CLAIMS
    assert not watched.page.locator("#filters").is_visible()
    study = opened(many / "studies/study_00.html")
    study.scroll_through()
    study.page.emulate_media(media="print")
    assert study.page.locator("#scores-chart .static").is_visible()
    assert not study.page.locator("#scores-chart .drawn").is_visible()
    assert study.page.pdf(format="A4").startswith(b"%PDF")


# ---- as a part of the workflow


def test_the_page_of_a_run_names_the_command_that_makes_it(finished, ran):
    page = (ran / "studies/tiny.html").read_text()
    command = html.unescape(re.search(r'<pre class="command"[^>]*><code>(.*?)</code>', page, re.DOTALL)[1])
    arguments = shlex.split(command)
    given = arguments[arguments.index("--config") :]
    # The research object tells by which words a run was asked for.
    assert finished.planned(*given).keys() <= {"describe_results", "all"}, "it asks for what is there"
    changed = [word.replace("tiny", "augmented_covariance") for word in given]
    assert finished.planned(*changed)["fit"] > 0, "and is understood"


def test_what_ran_is_told_rule_by_rule(ran, finished):
    page = (ran / "run.html").read_text()
    table = page[page.index("Cost by rule") :]
    told = {name: int(n) for name, n in re.findall(r'<code>(\w+)</code></th><td class="n">(\d+)</td>', table)}
    assert told["fit"] == 4
    assert told["preprocess_eeg"] == 2
    logged = {path.relative_to(finished.folder / "logs").parts[0].removesuffix(".log")
              for path in (finished.folder / "logs").rglob("*.log")}  # fmt: skip
    assert set(told) <= logged


def test_words_and_looks_rebuild_only_the_pages(project):
    with (project.folder / "scripts/replicortex/site/site.css").open("a") as stream:
        stream.write("/* changed */\n")
    assert project.planned() == {"build_site": 1, "describe_results": 1, "all": 1}, "and what lists the pages"
    project.card("studies", "tiny", deviations=["Nothing at all."])
    assert {"describe_run", "build_site"} <= project.planned().keys()
    assert {"fit", "judge_claims", "plot_figure"}.isdisjoint(project.planned())


def test_a_half_finished_run_has_pages_too(project):
    shutil.rmtree(project.folder / "results/runs/tiny/observed")
    for name in ("claims.json", "summary.tsv"):
        (project.folder / "results/runs/tiny" / name).unlink()
    build_site(project.folder / "results", project.folder / "half")
    assert "There are no verdicts yet." in (project.folder / "half/studies/tiny.html").read_text()
