"""What keeps data, names and files of others from running code, leaving the machine, or telling where it was."""

from __future__ import annotations

import ast
import gzip
import io
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import skops.io

from bids_trees import brainvision, grow
from project import DATASET, FEATURE, STUDY, Project, copy_sources
from raw_guard import contents
from replicortex.cards import Cards
from replicortex.components import make
from replicortex.errors import InputError
from replicortex.job import SILENT
from source_code import ROOT, RULE_FILES, parsed

# ---- commands

#: Everything that a shell, Snakemake or Python could take for something else than text.
EVIL = "a'\"; touch pwned; $(touch pwned) `touch pwned` & | > pwned {input} %s \\n * ?\n-x"
PARAMS = {EVIL: [EVIL, {EVIL: EVIL}]}
HOSTILE_FILE = 'it\'s "a"; touch pwned $(touch pwned).nii'


def commands(text: str) -> list[tuple[str, str]]:
    """Return rule and command of the jobs that a dry run with ``--printshellcmds`` shows."""
    blocks = re.split(r"^(?:local)?rule (?=\w+:$)", text, flags=re.MULTILINE)[1:]
    ending = r"^Shell command: (.*?) > (?:logs/\S+|'logs/.*?') 2>&1$"
    found = [(block.partition(":")[0], re.search(ending, block, re.MULTILINE | re.DOTALL)) for block in blocks]
    return [(rule, match[1]) for rule, match in found if match]


def hostile(folder: Path) -> Project:
    """A project whose cards are full of shell, with runs that need every rule."""
    project = Project(copy_sources(folder))
    root = "it's; touch pwned $(touch pwned)"
    grow(project.folder / root, brainvision("sub-01/eeg/sub-01_task-x"))
    (project.folder / HOSTILE_FILE).touch()
    files = {"evil": str(project.folder / HOSTILE_FILE)}
    common = {"title": EVIL, "licence": EVIL, "classes": {"left_hand": [EVIL], "right_hand": [EVIL]}, "blocks": 1}
    common |= {"filters": {"subject": [EVIL]}, "variables": {"sex": {"column": EVIL, "values": {EVIL: [EVIL]}}}}
    bidsify = {"source": root, "pattern": EVIL, "task": EVIL, "runs": [EVIL], "events": {EVIL: EVIL}, "montage": EVIL}
    gathered = {"source": root, "participants": {"table": EVIL, "id": EVIL}, "metadata": PARAMS}
    origins = {
        "linked": {"root": root},
        "made": {"simulate": {"simulator": "motor_imagery_eeg", "params": {**PARAMS, "n_subjects": 2}}},
        "made_mri": {"simulate": {"simulator": "t1w_anatomies", "family": "mri", "params": PARAMS}},
        "brought": {"bidsify": bidsify},
        "gathered": {"gather": gathered},
        "fetched": {"datalad": {"url": "https://example.org/a", "version": "v1"}, "n_subjects": 2},
    }
    for name, origin in origins.items():
        project.card("datasets", name, {**common, **origin})
    recipes = {"eeg": "average_reference", "anat": "native_anat", "func": "native_func", "pet": "native_pet"}
    recipes["host"] = "fmriprep_anat"
    for name in recipes.values():
        project.card("preprocessing", name, params=PARAMS, files=files)
    project.card("features", "tiny", FEATURE, params=PARAMS, files=files)
    evaluation = STUDY["evaluation"] | {"classes": [EVIL, "b"], "exchangeable": [EVIL], "covariates": [EVIL]}
    evaluation |= {"schemes": {"within_session": PARAMS}, "metrics": {"roc_auc": PARAMS}, "target": EVIL}
    methods = {f"mdm_{family}": {"component": "mdm", "role": "baseline", "family": family, "label": EVIL,
                                 "params": PARAMS} for family in ("signal", "torch")}  # fmt: skip
    claim = {**STUDY["claims"][0], "text": EVIL, "method": "mdm_signal", "than": "mdm_torch"}
    project.card("studies", "tiny", STUDY, evaluation=evaluation, methods=methods, claims=[claim],
                 paper={"title": EVIL, "doi": EVIL, "year": 2026}, figures={"paired_scores": PARAMS})  # fmt: skip
    generate = {key: value for key, value in evaluation.items() if key not in ("target", "classes", "exchangeable")}
    generate |= {"task": "generate", "null_variants": 0}
    project.card("studies", "drawn", STUDY, evaluation=generate, methods=methods, claims=[claim],
                 paper={"title": EVIL, "doi": EVIL, "year": 2026}, figures={"generated_images": PARAMS})  # fmt: skip
    runs = [{"study": "tiny", "dataset": name} for name in origins] + [{"study": "drawn", "dataset": "made"}]
    runs += [{"study": "tiny", "dataset": "made_mri", "preprocessing": recipe, "name": f"by-{kind}"}
             for kind, recipe in recipes.items() if kind != "eeg"]  # fmt: skip
    shown = {"title": EVIL, "provider": "procedural_tokens", "params": PARAMS, "files": files}
    for family in ("signal", "torch"):
        project.card("stimuli", f"seen_{family}", {**shown, "family": family})
        runs.append({"study": "tiny", "dataset": "made", "stimuli": f"seen_{family}", "name": f"seen-{family}"})
    project.card(
        "datasets", "made", stimuli={"column": EVIL, "folder": EVIL, "take": {EVIL: [EVIL]}, "factors": [EVIL]}
    )
    project.card("", "config", {"runs": runs})
    return project


def test_whatever_cards_say_stays_one_word_in_the_command_of_every_rule(tmp_path):
    """A command is what joining its own words gives, and cards wrote text into it."""
    project = hostile(tmp_path / "project")
    found = commands(project.run("--dry-run", "--printshellcmds"))
    for rule, command in found:
        # A switch that is off leaves two spaces, outside quotes.
        words = shlex.split(command)
        assert shlex.join(words) == command or shlex.join(words) == re.sub("  +", " ", command), rule
        assert "touch" not in words, rule
    text = "\n".join(path.read_text() for path in RULE_FILES)
    written = set(re.findall(r"^rule (\w+):\n(?:(?!^\S).*\n)*?    shell:", text, re.MULTILINE))
    written |= {new for old, new in re.findall(r"^use rule (\w+) as (\w+) with:", text, re.MULTILINE)}
    made = set(re.findall(r"^rule (\w+):\n(?:(?!^\S).*\n)*?    output:", text, re.MULTILINE))
    derived = dict(re.findall(r"^use rule (\w+) as (\w+) with:", text, re.MULTILINE))
    wanted = {rule for rule in written if rule in made or rule in derived.values()}
    assert wanted - {rule for rule, _ in found} == set()
    assert {rule for rule, command in found if "touch pwned" in command} >= {
        *("simulate_dataset", "simulate_dataset_mri", "bidsify_dataset", "gather_dataset", "check_study"),
        *("check_study_mri", "check_study_torch", "preprocess_eeg", "preprocess_anat", "preprocess_func"),
        *("preprocess_pet", "preprocess_on_host", "extract_features", "extract_features_mri", "make_splits"),
        *("make_stimuli", "extract_stimuli", "extract_stimuli_torch"),
        *("fit", "fit_torch", "check_leaks", "score_predictions", "judge_claims", "plot_figure"),
    }
    assert not list(project.folder.rglob("pwned"))


# ---- source

#: What runs text or foreign bytes as code, or a command line through a shell.
NEVER = {
    *("eval", "exec", "compile", "__import__", "execfile"),
    *("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "tempfile.mktemp"),
    *("yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load", "yaml.Loader", "yaml.UnsafeLoader"),
    *("yaml.FullLoader", "yaml.CLoader", "yaml.CUnsafeLoader"),
    *("pd.read_pickle", "pandas.read_pickle", "pd.eval", "pandas.eval", "torch.jit.load", "torch.hub.load"),
    *("np.core.multiarray", "numpy.memmap.__reduce__", "shelve.open", "code.interact"),
}
FORBIDDEN = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle", "pty", "telnetlib"}


def dangers(tree: ast.AST) -> Iterator[str]:
    """Yield what in a module could run foreign code."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + ([node.module or ""] if hasattr(node, "module") else [])
            yield from (name for name in names if name.split(".")[0] in FORBIDDEN)
        elif isinstance(node, ast.Attribute | ast.Name):
            if ast.unparse(node) in NEVER:
                yield ast.unparse(node)
        elif isinstance(node, ast.Call):
            given = {keyword.arg: keyword.value for keyword in node.keywords}
            called = ast.unparse(node.func)
            if "shell" in given and not (isinstance(given["shell"], ast.Constant) and given["shell"].value is False):
                yield f"{called}(shell=...)"
            if "allow_pickle" in given and ast.unparse(given["allow_pickle"]) != "False":
                yield f"{called}(allow_pickle=True)"
            if called in ("np.load", "numpy.load") and "allow_pickle" not in given:
                yield f"{called} without allow_pickle=False"
            if called == "torch.load" and ast.unparse(given.get("weights_only", ast.Constant(0))) != "True":
                yield "torch.load without weights_only=True"
            if called.endswith(".extractall") and "filter" not in given:
                yield "extractall without a filter"
            if called.endswith("io.loads") and ast.unparse(given.get("trusted", ast.Constant(0))) in (
                "True",
                "unknown",
            ):
                yield f"{called}(trusted=all)"


def test_no_source_runs_text_or_foreign_bytes_as_code():
    sources = [*(ROOT / "scripts").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
    assert len(sources) > 100
    found = {(path.relative_to(ROOT).as_posix(), danger) for path in sources for danger in dangers(parsed(path))}
    assert found == set()


@pytest.mark.parametrize(
    "bad",
    [
        "eval(x)", "exec(x)", "os.system(x)", "import pickle", "from joblib import load", "yaml.load(x)",
        "subprocess.run(x, shell=True)", "subprocess.run(x, shell=y)", "np.load(x)", "np.load(x, allow_pickle=True)",
        "torch.load(x)", "torch.load(x, weights_only=False)", "tar.extractall(x)", "loader = yaml.UnsafeLoader",
        "skops.io.loads(x, trusted=unknown)",
    ],
)  # fmt: skip
def test_the_search_for_dangers_finds_them(bad):
    assert list(dangers(ast.parse(bad)))


def test_rules_run_no_python_of_their_own_from_text():
    for path in RULE_FILES:
        assert not re.search(r"\b(eval|exec|compile|os\.system|os\.popen|pickle|shell)\(", path.read_text()), path


# ---- models


def crafted(module: str, name: str, arguments: tuple) -> bytes:
    """Return a skops file that has ``module.name(*arguments)`` called where it is loaded with trust."""
    whole = zipfile.ZipFile(io.BytesIO(skops.io.dumps(arguments)))
    schema = json.loads(whole.read("schema.json"))
    call = {"__class__": name, "__module__": module, "__loader__": "ConstructorFromReduceNode", "__id__": 1}
    top = {key: schema.pop(key) for key in ("protocol", "_skops_version") if key in schema}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("schema.json", json.dumps({**call, "content": schema, **top}))
        for member in set(whole.namelist()) - {"schema.json"}:
            archive.writestr(member, whole.read(member))
    return buffer.getvalue()


def test_a_model_file_calls_no_function_of_a_package_that_models_are_made_with(tmp_path, monkeypatch):
    """numpy has a function that runs text as code: trusting a whole package trusts it too."""
    monkeypatch.chdir(tmp_path)
    text = "import pathlib; pathlib.Path('pwned').touch()"
    attack = crafted("numpy.testing._private.utils", "runstring", (text, {}))
    skops.io.loads(attack, trusted=skops.io.get_untrusted_types(data=attack))
    assert Path("pwned").exists(), "the attack is real"
    Path("pwned").unlink()
    others = [
        crafted("os", "system", ("touch pwned",)),
        crafted("builtins", "exec", (text,)),
        crafted("replicortex.files", "write_text", ("pwned", "x")),
        crafted("sklearn.utils._testing", "subprocess.getoutput", ("touch pwned",)),
    ]
    model = make("methods", "mdm", {})
    for content in [attack, *others, b"PK", b"", attack[:200]]:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name in model.state:
                archive.writestr(name, content)
        with pytest.raises(InputError, match=r"^model: (holds .*; read only|not readable .*; fit it)"):
            model.restore(buffer.getvalue())
        assert not Path("pwned").exists()
    for content in (b"", b"PK\x05\x06", b"no zip"):
        with pytest.raises(InputError, match=r"^model: not readable"):
            model.restore(content)


# ---- silence

#: Counts and stops everything that would leave the machine; its own sockets, to itself, stay possible.
DEAF = """
import os, sys
tried = []

def stop(event, args):
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "urllib.Request", "ftplib.connect"):
        tried.append((event, str(args[:2])))
        raise OSError(f"{event} {args[:2]}")
    if event == "socket.connect" and isinstance(args[1], tuple):
        tried.append((event, str(args[1])))
        raise OSError(f"{event} {args[1]}")

sys.addaudithook(stop)
"""
TOOLS = """
import matplotlib.pyplot, mne, mne_bids, nibabel, nilearn.datasets, nilearn.image, nipype.interfaces.base
import pyriemann, skops.io, sklearn.pipeline, torch, ants
"""


def tried(code: str, **environment: str) -> list[str]:
    """Return what a Python that runs ``code`` tried to reach."""
    report = "import atexit, json; atexit.register(lambda: print('TRIED', json.dumps(tried)))"
    kept = {key: value for key, value in os.environ.items() if key not in SILENT}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"{DEAF}\n{report}\n{code}"],
        capture_output=True, text=True, check=False, timeout=300, cwd=ROOT / "scripts", env=kept | environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.rpartition("TRIED ")[2])


def test_wrapped_tools_call_nobody_in_a_job():
    code = "\n".join(f"    {line}" for line in TOOLS.strip().splitlines())
    assert tried(f"from replicortex import job\ndef main():\n{code}\njob.run(main)") == []
    # Without it, one of them does: the watch is able to see it.
    pytest.importorskip("etelemetry", reason="nipype's way home is not installed")
    assert tried("import time, nipype\ntime.sleep(2)")


def test_the_validator_needs_and_seeks_no_network(tiny_data, tmp_path):
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("no strace: what a compiled program tries can not be seen")
    command = [strace, "-f", "-qq", "-e", "trace=connect,sendto,sendmsg", "-o", tmp_path / "trace",
               Path(sys.executable).with_name("bids-validator-deno"), "--format", "json", tiny_data]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, env={**SILENT, "HOME": "/"}
    )
    if "ptrace" in done.stderr and "{" not in done.stdout:
        pytest.skip(f"strace is not allowed here: {done.stderr[:100]}")
    assert json.loads(done.stdout)["summary"]["totalFiles"] > 3
    assert [line for line in (tmp_path / "trace").read_text().splitlines() if "AF_INET" in line] == []


# ---- what results tell of the machine


def texts_of(content: bytes, name: str) -> Iterator[bytes]:
    """Yield the content of a file, and of what is packed in it."""
    yield content
    if name.endswith(".gz"):
        yield gzip.decompress(content)
    elif zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for member in archive.namelist():
                yield from texts_of(archive.read(member), member)


def traces(folder: Path, needles: dict[str, str]) -> list[str]:
    """Return the files below ``folder`` that hold one of ``needles``, in the encodings that are in use."""
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        for content in texts_of(path.read_bytes(), path.name):
            for what, needle in needles.items():
                encoded = [needle.encode(code) for code in ("utf-8", "utf-16-le", "utf-32-le")]
                encoded.append(json.dumps(needle)[1:-1].replace("/", "\\/").encode())
                if any(form in content for form in encoded):
                    found.append(f"{path.relative_to(folder)} tells the {what}")
    return found


def needles(project: Project) -> dict[str, str]:
    """What results must not tell. Names too short to be looked for are left out."""
    here = {"working folder": str(project.folder), "folder of temporary files": str(project.folder.parent.parent)}
    here |= {"environment": sys.prefix, "source": f"{ROOT}/", "home": f"{Path.home()}/", "host": socket.gethostname()}
    return {what: needle for what, needle in here.items() if len(needle) > 4}


def test_results_do_not_tell_where_they_were_made(finished):
    results = finished.folder / "results"
    assert len(list(results.rglob("*.*"))) > 40
    assert traces(results, needles(finished)) == []


def test_a_run_leaves_raw_data_as_they_were(finished, tiny_data):
    assert contents(finished.folder / "data") == contents(tiny_data)
    assert len(contents(tiny_data)) > 10


def test_the_search_for_traces_finds_them(tmp_path):
    secret = str(tmp_path)
    (tmp_path / "a.json").write_text(json.dumps({"a": secret}))
    with gzip.open(tmp_path / "b.tsv.gz", "wb") as stream:
        stream.write(secret.encode())
    np.savez_compressed(tmp_path / "c.npz", x=np.array([secret]))
    (tmp_path / "d.txt").write_text("nothing")
    found = traces(tmp_path, {"folder": secret})
    assert found == [f"{name} tells the folder" for name in ("a.json", "b.tsv.gz", "c.npz")]


def test_the_report_does_not_tell_where_it_was_made(project):
    project.run("--report", "report.html")
    folder = project.folder / "page"
    folder.mkdir()
    (project.folder / "report.html").rename(folder / "report.html")
    assert "paired_scores" in (folder / "report.html").read_text()
    assert traces(folder, needles(project)) == []


# ---- restricted data


@pytest.fixture
def restricted(tmp_path, tiny_data) -> Project:
    project = Project(copy_sources(tmp_path / "project"))
    (project.folder / "data").symlink_to(tiny_data)
    project.card("studies", "tiny", STUDY)
    project.card("features", "tiny", FEATURE)
    project.card("datasets", "tiny", DATASET, blocks=1, restricted=True)
    project.card("", "config", {"runs": ["tiny"]})
    return project


def test_restricted_data_never_enter_a_cache_that_others_read(restricted, tmp_path):
    cache = {"SNAKEMAKE_OUTPUT_CACHE": str(tmp_path / "cache")}
    (tmp_path / "cache").mkdir()
    done = restricted.snakemake("--dry-run", "--cache", **cache)
    assert done.returncode == 1
    assert "config/datasets/tiny.yaml: the dataset is restricted, and the cache that workflows share" in done.stdout
    assert "Traceback" not in done.stdout
    assert "; run without --cache" in done.stdout
    restricted.run("--dry-run")
    restricted.card("datasets", "tiny", restricted=False)
    assert restricted.snakemake("--dry-run", "--cache", **cache).returncode == 0


def test_the_datasets_that_are_restricted_are_known(restricted):
    cards = Cards(restricted.folder / "config", {"runs": ["tiny"]})
    assert cards.restricted == ["tiny"]
    cards.check_cache(None)
    with pytest.raises(InputError, match="restricted"):
        cards.check_cache([])


def test_the_report_of_restricted_data_names_no_subject(project):
    """Tables by subject are left out of it; verdicts and figures, which name none, stay."""

    def reported() -> set[str]:
        return set(re.findall(r"^Adding (\S+) \(", project.run("--report", "report.html"), re.MULTILINE))

    by_subject, others = {"status.tsv", "average_reference.tsv"}, {"claims.tsv", "paired_scores.svg"}
    assert by_subject | others <= reported()
    project.card("datasets", "tiny", restricted=True)
    # Figures and numbers are made again, without single subjects and small groups.
    assert {"collect_numbers", "plot_figure"} <= set(project.planned())
    project.run()
    found = reported()
    assert others <= found
    assert not by_subject & found
