"""What the documentation says: commands run, cards fit their schemas, options, keys, files and links are there.

A page is followed as a reader would: its files are saved under the names in their first lines, and its ``bash`` blocks
run from top to bottom in a project of their own. ``<!-- not run: reason -->`` on the line before keeps a block from
being run, not from being read; ``<!-- status 1 -->`` says how it ends.
"""

from __future__ import annotations

import functools
import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import mne
import numpy as np
import pytest
import yaml

from project import FEATURE, SOURCE, Project
from replicortex import cards, cli, components
from replicortex.errors import InputError

PAGES = [SOURCE / "README.md", *sorted((SOURCE / "docs").rglob("*.md"))]
#: Pages beside the code: read, not followed.
TEXTS = [*PAGES, *sorted((SOURCE / "config").rglob("*.md"))]
COMMENT = re.compile(r"<!-- (?:not run: (?P<reason>.+)|status (?P<status>\d+)) -->")
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^ *```$", re.MULTILINE | re.DOTALL)
#: The file that a block is, or is a part of, as its first line says.
FILE = re.compile(r"# (?P<path>(?:config|scripts|containers)/\S+\.\w+)(?P<part>, part)?")
#: How many blocks may not be run, lest reasons be found for all of them.
MOST_NOT_RUN = 18


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    text: str
    reason: str | None
    status: int

    @property
    def file(self) -> re.Match[str] | None:
        """Which file it is, where it says so."""
        return FILE.fullmatch(self.text.partition("\n")[0])

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def name_of(page: Path) -> str:
    return page.relative_to(SOURCE).as_posix()


@functools.cache
def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        before = text[: match.start()].rstrip("\n").rpartition("\n")[2].strip()
        comment = COMMENT.fullmatch(before)
        said = comment.groupdict() if comment else {"reason": None, "status": None}
        inner = re.sub(f"^{match['indent']}", "", match["text"], flags=re.MULTILINE)
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(name_of(page), line, match["language"], inner, said["reason"], int(said["status"] or 0)))
    return found


def all_blocks(language: str, pages: list[Path] = PAGES) -> list[Block]:
    return [block for page in pages for block in blocks(page) if block.language == language]


# ---- following a page


def write_edf(path: Path, seed: int) -> None:
    """A recording of PhysioNet's kind: movements imagined on cue, told by a rhythm over the other hand's area."""
    names, sfreq, cues = ["FC3", "FC4", "C3", "Cz", "C4", "CP3", "CP4", "Pz"], 160.0, ["T1", "T2"] * 4
    generator = np.random.default_rng(seed)
    times = np.arange(int((4.0 * len(cues) + 2.0) * sfreq)) / sfreq
    # Most of it is common to all electrodes, as it is on a head.
    data = generator.standard_normal((len(names), len(times))) * 5e-6 + generator.standard_normal(len(times)) * 1.5e-5
    for k, cue in enumerate(cues):
        during = (times >= 4.0 * k + 1.0) & (times < 4.0 * k + 4.0)
        data[names.index("C3" if cue == "T1" else "C4"), during] += 2e-5 * np.sin(2 * np.pi * 11.0 * times[during])
    raw = mne.io.RawArray(data, mne.create_info(names, sfreq, "eeg"), verbose="error")
    onsets = [4.0 * k + 1.0 for k in range(len(cues))]
    raw.set_annotations(mne.Annotations([0.0, *onsets], [1.0] + [3.0] * len(cues), ["T0", *cues]))
    path.parent.mkdir(parents=True)
    mne.export.export_raw(path, raw, verbose="error")


@pytest.fixture(scope="module")
def prepared(finished, tmp_path_factory) -> Path:
    """The finished project with what the pages speak of: short recordings, small parameters, tools on the path."""
    project = finished.copy(tmp_path_factory.mktemp("docs") / "replicortex")
    folder = project.folder
    for name in ("workflow_tests", "pyproject.toml", "docs"):
        copy = shutil.copytree if (SOURCE / name).is_dir() else shutil.copy2
        copy(SOURCE / name, folder / name)
    shutil.copytree(folder / "results", folder / "downloaded/results")
    shutil.copytree(folder / "results/site", folder / "site")
    for k, subject in enumerate(("S001", "S002", "S003")):
        write_edf(folder / f"there/data/eegmmidb/{subject}/{subject}R04.edf", k)
    small = {**FEATURE["params"], "channels": ["C3", "Cz", "C4"]}
    for feature in ("central_epochs_8_35", "motor_epochs_8_35"):
        project.card("features", feature, params=small)
    for contrast in ("spatial", "temporal"):
        tiny = components.load("simulators", "motor_imagery_eeg").tiny
        params = {**tiny, "contrast": contrast, "n_subjects": 3, "n_sessions": 1, "n_trials": 8}
        simulate = {"simulator": "motor_imagery_eeg", "params": params}
        project.card("datasets", f"sim_{contrast}", simulate=simulate, blocks=1)
    study = project.card("studies", "log_euclidean")
    for method in study["methods"].values():
        method["params"] = {"n_shrinkages": 2, "n_inner": 2}
    schemes = {"within_session": {"folds": 2}, "leave_one_subject_out": {}}
    evaluation = {**study["evaluation"], "schemes": schemes, "null_variants": 1}
    changes = {"evaluation": evaluation, "figures": {"paired_scores": {}}, "scale": {"demo": {}, "paper": {}}}
    project.card("studies", "log_euclidean", study, **changes)
    tools = folder / ".venv/bin"
    tools.mkdir(parents=True)
    beside = Path(sys.executable).parent
    calls = {name: str(beside / name) for name in ("snakemake", "ruff")}
    for name, call in {**calls, "python": sys.executable, "replicortex": f"{sys.executable} -m replicortex"}.items():
        (tools / name).write_text(f'#!/bin/sh\nexec {call} "$@"\n')
        (tools / name).chmod(0o755)
    (tools / "activate").touch()
    return folder


def moved(text: str, folder: Path) -> str:
    """What a page says of the reader's machine and of the finished run, for a folder of the test; with less to do."""
    text = re.sub(r"null_variants: \d+", "null_variants: 1", text.replace("augmented_covariance", "tiny"))
    return re.sub(r"(?<![\w.])/(data|tmp)/", rf"{folder}/there/\1/", text)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(block.reason is None for block in blocks(page) if block.language == "bash")],
    ids=name_of,
)  # fmt: skip
def test_a_page_can_be_followed(page, prepared, tmp_path):
    folder = Project(prepared).copy(tmp_path / "replicortex").folder
    (folder / "there/tmp").mkdir()
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "REPLICORTEX_PROJECT")}
    environment |= {
        "PATH": f"{folder}/.venv/bin:{os.environ['PATH']}",
        "PYTHONPATH": str(folder / "scripts"),
        "OMP_NUM_THREADS": "1",
    }
    for block in blocks(page):
        if block.file and not block.file["part"]:
            path = folder / block.file["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(moved(block.text, folder))
        if block.language != "bash" or block.reason:
            continue
        done = subprocess.run(
            [shutil.which("bash"), "-euo", "pipefail", "-c", moved(block.text, folder)],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=400,
        )
        logs = Project(folder).logs() if done.returncode != block.status else ""
        assert done.returncode == block.status, f"{block}: {done.returncode}\n{done.stdout[-5000:]}{logs}"


def test_what_is_not_run_is_little_and_has_a_reason(capsys):
    left = [block for block in all_blocks("bash") if block.reason]
    with capsys.disabled():
        print("\nnot run:", *(f"  {block}: {block.reason}" for block in left), sep="\n")
    assert len(left) <= MOST_NOT_RUN
    assert all(re.search(r"cluster|network|minutes|containers", block.reason) for block in left)
    assert len(left) < len(all_blocks("bash")) / 2


# ---- cards


@functools.cache
def schema(kind: str, whole: bool) -> dict:
    found = yaml.safe_load((SOURCE / f"config/schemas/{kind}.schema.yaml").read_text())
    return found if whole else {key: value for key, value in found.items() if key not in ("required", "oneOf")}


def kind_of(block: Block) -> tuple[str, bool]:
    """The schema of a card in a text, and whether the block is all of it."""
    if block.file:
        folder, *parts = Path(block.file["path"]).parts
        return (parts[0] if len(parts) == 2 else folder), not block.file["part"]
    parts = Path(block.page).parts
    assert parts[0] == "config", (
        f"{block}: say in its first line which file it is, as in `# config/datasets/my_eeg.yaml, part`"
    )
    return (parts[1] if len(parts) == 3 else parts[0]), False


def spelled(text: str) -> str:
    """A card with its digests, which pages cut short, in full length."""
    return re.sub(r"\b([0-9a-f]+)\.\.\.", lambda match: match[1].ljust(64, "a"), text)


@pytest.mark.parametrize("block", all_blocks("yaml", TEXTS), ids=str)
def test_a_card_in_a_text_fits_its_schema(block):
    kind, whole = kind_of(block)
    if kind == "containers":
        assert set(yaml.safe_load(block.text)) <= {path.stem for path in (SOURCE / "envs").glob("*.yaml")}
        return
    try:
        cards.check(cards.parse_yaml(spelled(block.text), str(block)), schema(kind, whole), str(block))
    except InputError as error:
        pytest.fail(str(error))


def test_a_wrong_card_would_be_found():
    with pytest.raises(InputError, match="rot"):
        cards.check({"rot": "/data"}, schema("datasets", False), "a page")


# ---- what is named


def spans(page: Path) -> list[str]:
    """Inline code, and the lines of commands in blocks."""
    text = page.read_text(encoding="utf-8")
    inline = re.findall(r"(?<!`)`([^`\n]+(?:\n[^`\n]+)?)`(?!`)", FENCE.sub("", text))
    lines = [block.text.replace("\\\n", " ") for block in blocks(page) if block.language == "bash"]
    return [" ".join(span.split()) for span in [*inline, *"\n".join(lines).splitlines()]]


#: Words that stand for what the reader puts there.
PLACEHOLDER = re.compile(r"[<>*{}$]|\.\.\.|\b[A-Z][A-Z_]{2,}\b")


def commands(page: Path) -> list[tuple[str, list[str]]]:
    """Each call of the project's commands in a page: the program and its words."""
    found = []
    for span in spans(page):
        for part in re.split(r"&&|;|\||\s#\s", span):
            try:
                words = shlex.split(part, comments=True)
            except ValueError:
                continue
            while words and ("=" in words[0].partition("/")[0] or words[0] in ("(", "$")):
                words = words[1:]
            program = Path(words[0]).name if words else ""
            if program == "python" and len(words) > 1 and words[1].startswith("scripts/"):
                found.append((words[1], words[2:]))
            elif program in ("snakemake", "replicortex"):
                found.append((program, words[1:]))
    return found


@functools.cache
def help_of(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, *command, "--help"], cwd=SOURCE, capture_output=True, text=True, check=True, timeout=120,
        env={**os.environ, "PYTHONPATH": str(SOURCE / "scripts")},
    )  # fmt: skip
    return done.stdout


def options_in(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])-{1,2}[a-zA-Z][\w-]*", text))


def is_target(word: str, rules: set[str]) -> bool:
    return word in rules or word.startswith("results/")


def refused(program: str, words: list[str], rules: set[str]) -> list[str]:
    """What a command line names that is not there."""
    given = [word.partition("=")[0] for word in words if word.startswith("-") and len(word) > 2]
    if "--" in words:  # what follows is Snakemake's
        cut = words.index("--")
        return refused(program, words[:cut], rules) + refused("snakemake", words[cut + 1 :], rules)
    if program == "snakemake":
        # The executor's own options are those of its profile.
        known = options_in(help_of("-m", "snakemake")) | options_in((SOURCE / "docs/slurm.md").read_text())
        targets = itertools.takewhile(lambda word: not word.startswith("-"), words)
        return [o for o in given if o not in known] + [target for target in targets if not is_target(target, rules)]
    if program == "replicortex":
        everywhere = options_in(help_of("-m", "replicortex"))
        while words and words[0] in ("--project", "--directory"):
            words = words[2:]
        name = next((word for word in words if not word.startswith("-")), None)
        if name is None:
            return [o for o in given if o not in everywhere]
        if name not in cli.names():
            if not ("/" in name or name.isupper() or name[0].isupper()):
                return [name]
            name = "bids"
        known = everywhere | options_in(help_of("-m", "replicortex", name))
        after = words[words.index(name) + 1 :] if name == "run" else []
        targets = itertools.takewhile(lambda word: not word.startswith("-"), after)
        return [o for o in given if o not in known] + [target for target in targets if not is_target(target, rules)]
    if not (SOURCE / program).is_file():
        return [program]
    return [o for o in given if o not in options_in(help_of(program))]


@pytest.fixture(scope="module")
def rules() -> set[str]:
    texts = [path.read_text() for path in [SOURCE / "Snakefile", *(SOURCE / "rules").glob("*.smk")]]
    return {name for text in texts for name in re.findall(r"^(?:use rule \w+ as|rule) (\w+)", text, re.MULTILINE)}


@pytest.mark.parametrize("page", TEXTS, ids=name_of)
def test_commands_and_options_that_are_named_are_there(page, rules):
    wrong = [
        f"{Path(program).name} {' '.join(words)}: {fault}"
        for program, words in commands(page)
        for fault in refused(program, words, rules)
        if not PLACEHOLDER.search(fault)
    ]
    assert wrong == []


def test_wrong_commands_would_be_found(rules):
    assert refused("snakemake", ["plann", "--coers", "4"], rules) == ["--coers", "plann"]
    assert refused("replicortex", ["figurs"], rules) == ["figurs"]
    assert refused("replicortex", ["run", "qualty", "--scale", "demo"], rules) == ["qualty"]
    assert refused("replicortex", ["figures", "--chek", "--", "--fast"], rules) == ["--chek", "--fast"]
    assert refused("replicortex", ["/data/a", "out", "group", "--scale", "demo", "--scales"], rules) == ["--scales"]
    assert refused("scripts/no.py", [], rules) == ["scripts/no.py"]
    assert refused("scripts/build_site.py", ["--outt", "x"], rules) == ["--outt"]


@functools.cache
def keys() -> frozenset[str]:
    """All keys that cards and profiles may have."""
    found: set[str] = set()

    def collect(node: object) -> None:
        if isinstance(node, dict):
            found.update(map(str, node.get("properties", {})))
            for value in node.values():
                collect(value)
        elif isinstance(node, list):
            for value in node:
                collect(value)

    for path in (SOURCE / "config/schemas").glob("*.yaml"):
        collect(yaml.safe_load(path.read_text()))
    for path in (SOURCE / "config/profiles").glob("*/config.yaml"):
        found.update(yaml.safe_load(path.read_text()))
    return frozenset(found)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_keys_and_files_that_are_named_are_there(page):
    wrong = []
    for span in spans(page):
        # Not messages, which are `where: what is wrong`.
        key = re.fullmatch(r"([a-z_-]+):(?: (?:[\[{\"].*|\S+))?", span)
        if key and key[1] not in keys():
            wrong.append(span)
        path = re.fullmatch(r"(?:config|scripts|rules|docs|envs|workflow_tests|benchmarks|containers)/[\w./-]+", span)
        there = (SOURCE / span).exists() or span in MADE or (page.parent / span).exists()
        if path and not there and not re.search(r"\bmy_", span) and span not in written(page):
            wrong.append(span)
    assert wrong == []


#: Files that commands of the pages make.
MADE = {"config/profiles/slurm/partitions.yaml", "containers/signal.sif"}


@functools.cache
def written(page: Path) -> set[str]:
    """The files that a page lets its reader write."""
    begun = [words for program, words in commands(page) if program == "replicortex" and words[:1] == ["new"]]
    folders = {"method": "scripts/replicortex/methods/{}.py", "study": "config/studies/{}.yaml"}
    made = {folders[words[1]].format(words[2]) for words in begun if words[1] in folders}
    return made | {block.file["path"] for block in blocks(page) if block.file}


# ---- links


def anchors(page: Path) -> set[str]:
    """The anchors of headings, as GitHub names them."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", TEXTS, ids=name_of)
def test_links_lead_somewhere(page):
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    wrong = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        address, _, anchor = link.partition("#")
        if re.match(r"https?:|mailto:", address):
            continue
        target = (page.parent / address).resolve() if address else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            wrong.append(link)
    assert wrong == []


def test_every_page_is_on_the_map():
    index = (SOURCE / "docs/README.md").read_text()
    pages = {path.relative_to(SOURCE / "docs").as_posix() for path in PAGES if path.parent != SOURCE} - {"README.md"}
    assert pages == {link for link in re.findall(r"\]\(([\w/-]+\.md)\)", index) if not link.startswith("..")}


# ---- results


def test_files_that_are_said_to_come_out_do(finished):
    text = (SOURCE / "docs/results.md").read_text().partition("\n## ")[0]
    named = {name for row in re.findall(r"^\| (`.+?) \|", text, re.MULTILINE) for name in re.findall(r"`([^`]+)`", row)}
    assert len(named) > 15
    missing = [
        name for name in sorted(named) if not list((finished.folder / "results").glob(re.sub(r"<\w+>", "*", name)))
    ]
    assert missing == ["report.html"], "all but what is made when asked for"


def test_the_catalog_is_told_what_there_is():
    told = yaml.safe_load((SOURCE / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    offered = {name for name, there in told["software-stack-deployment"].items() if there}
    profiles = {path.parent.name for path in (SOURCE / "config/profiles").glob("*/config.yaml")}
    assert offered == {"report", *({"conda", "apptainer"} & profiles)}
    assert refused("snakemake", shlex.split(told["mandatory-flags"]["flags"]), set()) == []
