"""The Methods section of a run, with its references: what was really done, in words."""

from __future__ import annotations

import inspect
import itertools
import os
import re
import statistics as plain_statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..damage import read_record, read_table
from ..files import read_json, read_tsv, write_text
from ..private import without_names
from ..references import Reference, bibliography, cited, of_dataset, of_paper
from ..shared.statistics import _FEW, _MANY, EXACT, N_PERMUTATIONS, RANKED, bootstrap_mean
from ..shared.words import capital, count, digits, listed, numbers, plain, sentence, spelled, text
from ..texts import Listing, Section, bibtex, html, markdown
from .claims import ALPHA_NULL
from .splits import SHOWN, UNLABELLED

#: In a restricted dataset groups of fewer people are not told.
_FEWEST = 5
#: So many models of one kind or more share an item of a list, if no more words than the second number differ.
_SHARED, _FEW_WORDS = 4, 4
_MANIFEST = ["recording", "subject", "session", "status", "reason"]
_FEATURES = [*_MANIFEST, "n_rows"]
_TARGETS = ["row_id", "subject", "session", "label", "target"]
#: How a recording or a file of one is named; a text to share names none.
_SEXES = {"f": "female", "m": "male"}


def write_methods(
    card: Mapping[str, Any],
    checks: Sequence[str | os.PathLike],
    validation: str | os.PathLike,
    manifests: Sequence[str | os.PathLike],
    features: Sequence[str | os.PathLike],
    splits: str | os.PathLike,
    targets: str | os.PathLike,
    participants: str | os.PathLike,
    claims: str | os.PathLike,
    out: str | os.PathLike,
    page: str | os.PathLike,
    references: str | os.PathLike,
) -> None:
    """Write the Methods section of a run from what its stages left.

    Parameters
    ----------
    card : mapping
        What the cards say: names, paper, deviations, labels and roles of methods, evaluation, titles, licence, seed.
    checks : sequence of path
        ``checks/<family>.json``: the components' own words, parameters and budgets, and versions.
    validation : path
        ``validation.json`` of the dataset.
    manifests, features : sequence of path
        Tables of the blocks after preprocessing and after features.
    splits, targets : path
        Those of the observed variant.
    participants : path
        ``participants.tsv`` of the dataset.
    claims : path
        ``claims.json``.
    out, page, references : path
        Written: ``methods.md`` with citations as pandoc takes them, ``methods.html``, a fragment with its list of
        references, and ``references.bib``, which holds what is cited.

    Raises
    ------
    InputError
        If a file is missing or damaged.
    """
    facts = _Facts(
        checks=[read_json(path) for path in checks],
        validation=read_json(validation),
        manifest=[row for path in manifests for row in read_table(path, _MANIFEST)],
        features=[row for path in features for row in read_table(path, _FEATURES)],
        targets=read_table(targets, _TARGETS),
        folds=_folds(splits),
        participants=read_tsv(participants) if Path(participants).stat().st_size else [],
        claims=read_record(claims, ["claims"]),
        card=card,
    )
    known = {**bibliography(), facts.paper.key: facts.paper, **{entry.key: entry for entry in facts.sources}}
    parts = (_study, _data, _preprocessing, _models, _evaluation, _statistics, _software)
    sections = [part(facts) for part in parts]
    write_text(references, bibtex(sections, known))
    write_text(page, html(sections, known))
    write_text(out, markdown(sections, known))


def _folds(splits: str | os.PathLike) -> dict[str, list[tuple[int, int]]]:
    """Return the numbers of rows to train on and to test on of every fold, by scheme."""
    sizes: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for row in read_table(splits, ["scheme", "fold", "row_id", "role"]):
        sizes[row["scheme"], row["fold"]][row["role"] == "test"] += 1
    found: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for (scheme, _), (train, test) in sizes.items():
        found[scheme].append((train, test))
    return found


class _Facts:
    """What the files of a run say, as the sections need it."""

    def __init__(self, **told: Any) -> None:
        self.card: Mapping[str, Any] = told["card"]
        self.methods = {name: {"label": label, "role": role} for name, label, role in self.card["methods"]}
        self.checks: list[Mapping[str, Any]] = told["checks"]
        self.validation: Mapping[str, Any] = told["validation"]
        self.manifest: list[Mapping[str, str]] = told["manifest"]
        self.features: list[Mapping[str, str]] = told["features"]
        self.targets: list[Mapping[str, str]] = told["targets"]
        self.folds: Mapping[str, list[tuple[int, int]]] = told["folds"]
        self.participants: list[Mapping[str, str]] = told["participants"]
        self.claims: Mapping[str, Any] = told["claims"]
        self.evaluation: Mapping[str, Any] = self.card["evaluation"]
        self.task: str = self.evaluation["task"]
        self.simulated = bool(self.card["simulated"])
        stated = self.claims["claims"]
        #: Whether the data were also made without the effect.
        self.controlled = self.simulated and (not stated or any("absent" in claim["results"] for claim in stated))
        self.paper: Reference = of_paper(self.card["paper"])
        citation = "" if self.simulated else self.card.get("citation", "")
        self.sources: list[Reference] = of_dataset(self.card["title"], citation, self.card["dataset"])
        self.taken = [row for row in self.features if row["status"] == "ok"]
        self.used = {row["subject"] for row in self.targets}

    def words(self, kind: str) -> dict[str, str]:
        """Return what the components of a kind say, by their names in the cards."""
        return {name: said for check in self.checks for name, said in check["words"].get(kind, {}).items()}

    def budgets(self) -> dict[str, int]:
        """Return how many configurations each method tries."""
        return {name: entry["n_configurations"] for check in self.checks for name, entry in check["methods"].items()}

    @property
    def row(self) -> str:
        """What a row of the features is, as a noun."""
        if self.task == "select":
            return "window"
        if self.task in SHOWN:
            return "presentation"
        if self.task == "decode":
            return "moment"
        if any("events" in check.get("offers", {}) for check in self.checks):
            return "trial"
        return "recording" if sum(int(row["n_rows"]) for row in self.taken) == len(self.taken) else "row"


def _study(facts: _Facts) -> Section:
    paper, section = facts.card["paper"], Section("Study")
    people = _short_authors(facts.paper)
    scale = {
        "demo": "in a small configuration, which is not the published one",
        "paper": "in the published configuration",
    }[facts.card["scale"]]
    by = f" by {people}" if people else ""
    section.say(
        f"This is a reproduction of the work “{paper['title']}”{by} [@{facts.paper.key}] {scale}.",
        Listing("It differs from the published work as follows.", [("", words) for words in facts.card["deviations"]]),
    )
    return section


def _short_authors(paper: Reference) -> str:
    """Return the family names of one or two authors, else that of the first and others."""
    names = [person.partition(", ")[0] for person in paper.fields.get("author", "").split(" and ") if person]
    return f"{names[0]} et al." if len(names) > 2 or "others" in names else listed(names or [""])


# ---- the data


def _data(facts: _Facts) -> Section:
    card, section = facts.card, Section("Participants and data")
    title = card["title"].rstrip(".")
    licence = f"licence {card['licence']}"
    if facts.simulated:
        section.say(
            text(
                f"The data are simulated (“{title}”, seed {card['seed']}), so that what is to be found is known.",
                *facts.words("simulators").values(),
                "The same data without the effect, all else alike, served as a control." if facts.controlled else "",
            )
        )
    else:
        source = "".join(f" [@{entry.key}]" for entry in facts.sources)
        published = card["openneuro"]
        version = f", OpenNeuro {published['accession']}, version {published['snapshot']}" if published else ""
        used = f"The dataset “{title}”{source} was used ({licence}{version})"
        section.say(f"{used}, in the form of BIDS [@gorgolewski2016].")
    filters = [f"{plain(entity)} {listed(map(str, labels), 'or')}" for entity, labels in card["filters"].items()]
    section.say(sentence("only recordings of ", listed(filters), " were taken") if filters else "")
    section.say(_recordings(facts), _people(facts), _classes(facts), _validated(facts))
    return section


def _recordings(facts: _Facts) -> str:
    """Say how many recordings there are and are used, and why the others are not."""
    subjects = {row["subject"] for row in facts.manifest}
    sessions = {(row["subject"], row["session"]) for row in facts.manifest}
    several = f" in {count(len(sessions), 'session')}" if len(sessions) > len(subjects) else ""
    said = [
        f"The dataset holds {count(len(facts.manifest), 'recording')} of the kind that the study takes, of"
        f" {count(len(subjects), 'participant')}{several}."
    ]
    lost = [row for row in facts.manifest if row["status"] != "ok"]
    bad = {row["recording"] for row in lost}
    later = [row for row in facts.features if row["status"] != "ok" and row["recording"] not in bad]
    for rows, stage in ((lost, "could not be preprocessed"), (later, "gave no features")):
        if rows:
            reasons = Counter(_reason(row["reason"]) for row in rows).most_common()
            why = "; ".join(f"{reason} ({spelled(n)})" for reason, n in reasons)
            said.append(sentence(f"{count(len(rows), 'recording')} {stage}: {why}"))
    unlabelled = {row["subject"] for row in facts.taken} - facts.used
    if unlabelled:
        target = plain(facts.evaluation.get("target") or "class")
        said.append(
            f"{capital(count(len(unlabelled), 'participant'))} took no part: the {target} is unknown, or none of those"
            " that are compared."
        )
    if not bad and not later and facts.used == subjects:
        said.append("All of them were used." if len(facts.manifest) > 1 else "")
    else:
        said.append(f"In all, {count(len(facts.used), 'participant')} could be used.")
    return text(*said)


def _reason(told: str) -> str:
    """Return the fault of a line of the status table, without its place, its remedy and the names of recordings."""
    fault = told.rpartition("; ")[0] or told
    place, _, rest = fault.partition(": ")
    fault = rest if rest and " " not in place else fault
    return without_names(fault, "the recording", "a file").strip()


def _people(facts: _Facts) -> str:
    """Say age and sex of those who were used, as far as the table of participants tells."""
    rows = [row for row in facts.participants if row.get("participant_id", "").removeprefix("sub-") in facts.used]
    said = []
    ages = [float(value) for value in _column(rows, "age", facts) if re.fullmatch(r"\d+(\.\d+)?", value)]
    if len(ages) >= _FEWEST:
        span = "" if facts.card["restricted"] else f", range {digits(min(ages))} to {digits(max(ages))}"
        known = "" if len(ages) == len(facts.used) else f", known of {len(ages)}"
        mean, deviation = plain_statistics.fmean(ages), plain_statistics.stdev(ages)
        said.append(f"Their mean age was {mean:.1f} years (standard deviation {deviation:.1f}{span}{known}).")
    for name in ("sex", "gender"):
        values = Counter(value for value in _column(rows, name, facts) if value != "n/a")
        if values:
            told = [f"{_few(n, facts)} {_SEXES.get(value.lower(), value)}" for value, n in sorted(values.items())]
            said.append(f"By {name}, there were {listed(told)}.")
            break
    return text(*said)


def _column(rows: Sequence[Mapping[str, str]], name: str, facts: _Facts) -> list[str]:
    """Return the values of a variable of the dataset card, or of a column of that name."""
    entry = facts.card["variables"].get(name)
    columns = {column.lower(): column for column in (rows[0] if rows else {})}
    column = entry["column"] if entry else columns.get(name)
    if column is None or (rows and column not in rows[0]):
        return []
    meaning = {str(value): label for label, values in (entry or {}).get("values", {}).items() for value in values}
    return [meaning.get(row[column], row[column]) for row in rows]


def _few(n: int, facts: _Facts) -> str:
    return f"fewer than {spelled(_FEWEST)}" if facts.card["restricted"] and n < _FEWEST else digits(n)


def _classes(facts: _Facts) -> str:
    """Say how many rows take part, and of which class."""
    n, total = len(facts.targets), sum(int(row["n_rows"]) for row in facts.taken)
    left = f" of {digits(total)}" if n < total else ""
    if facts.task == "select":
        return f"{digits(n)}{left} windows took part; the target of each is the participant that it comes from."
    if facts.task in SHOWN:
        shown = count(len({row["label"] for row in facts.targets}), "stimulus", "stimuli")
        return f"{digits(n)}{left} presentations of {shown} took part."
    if facts.task in UNLABELLED:
        return f"{digits(n)}{left} {facts.row}s took part."
    if facts.task == "regress":
        values = {row["subject"]: row["label"] for row in facts.targets}
        return f"The target is {plain(facts.evaluation['target'])}, known of {count(len(values), 'participant')}."
    if "target" in facts.evaluation:
        counts = Counter({row["subject"]: row["label"] for row in facts.targets}.values())
        shown = listed(f"{_few(counts[name], facts)} {plain(name)}" for name in facts.evaluation["classes"])
        return f"By {plain(facts.evaluation['target'])}, {shown} took part."
    counts = Counter(row["label"] for row in facts.targets)
    shown = listed(f"{digits(counts[name])} {plain(name)}" for name in facts.evaluation["classes"])
    return f"{digits(n)}{left} {facts.row}s took part: {shown}."


def _validated(facts: _Facts) -> str:
    """Say what the BIDS validator found."""
    if facts.validation["skipped"]:
        return "The dataset was not checked by the BIDS validator."
    warnings = facts.validation["counts"].get("warning", 0)
    return (
        f"The dataset was checked by the BIDS validator ({facts.validation['validator']}, schema"
        f" {facts.validation['schema']}), which found no error and {count(warnings, 'warning')}."
    )


# ---- what was done with them


def _preprocessing(facts: _Facts) -> Section:
    section = Section("Preprocessing and features")
    section.say(*(words for kind in ("preprocessing", "features", "providers") for words in facts.words(kind).values()))
    return section


def _models(facts: _Facts) -> Section:
    section, budgets = Section("Models"), facts.budgets()
    number = count(len(facts.methods), "model was", "models were")
    section.say(Listing(f"{capital(number)} compared.", _items(facts, budgets)))
    if max(budgets.values()) > 1:
        section.say(_nested(facts, budgets))
    return section


def _items(facts: _Facts, budgets: Mapping[str, int]) -> list[tuple[str, str]]:
    """Return label and words of each model; models that differ in a few words only share an item."""
    words = facts.words("methods")
    components = {name: entry["component"] for check in facts.checks for name, entry in check["methods"].items()}
    alike: dict[tuple, list[str]] = defaultdict(list)
    for name, method in facts.methods.items():
        alike[components[name], method["role"], budgets[name], words[name].count(". ")].append(name)
    items = []
    for (_, role, budget, _), group in alike.items():
        shared = _respectively([words[name] for name in group]) if len(group) >= _SHARED else None
        tried = f" {'Each' if shared else 'It'} tried {count(budget, 'configuration')}." if budget > 1 else ""
        shown = {"proposed": "of the paper", "baseline": "baseline"}.get(role, plain(role))
        for names in [group] if shared else [[name] for name in group]:
            label = listed(facts.methods[name]["label"] for name in names)
            items.append((f"{label} ({shown})", (shared or words[names[0]]) + tried))
    return items


def _respectively(texts: Sequence[str]) -> str | None:
    """Return texts as one, which lists the few words in one place that they differ by; None if they differ by more."""
    tokens = [re.findall(r"\w+|\W+", one) for one in texts]
    begin = _n_common(tokens)
    end = _n_common([one[begin:][::-1] for one in tokens])
    middles = ["".join(one[begin : len(one) - end]) for one in tokens]
    if not all(0 < len(middle.split()) <= _FEW_WORDS for middle in middles):
        return None
    before, after = ("".join(part) for part in (tokens[0][:begin], tokens[0][len(tokens[0]) - end :]))
    return f"{before}{listed(middles)}, respectively{after}"


def _n_common(lists: Sequence[Sequence[str]]) -> int:
    """Return how many entries lists have in common at their beginning."""
    same = (len(set(entries)) == 1 for entries in zip(*lists, strict=False))
    return sum(1 for _ in itertools.takewhile(bool, same))


def _nested(facts: _Facts, budgets: Mapping[str, int]) -> str:
    """Say how nested searches choose, which is the same for all methods of this library."""
    criteria = {
        "classify": "balanced accuracy" if len(facts.evaluation.get("classes", [])) > 2 else "area under the ROC curve",
        "regress": "coefficient of determination",
    }
    criterion = criteria.get(facts.task)
    chosen = f"the configuration with the greatest mean {criterion} was kept, and" if criterion else ""
    held = (
        "whole stimuli"
        if facts.task in SHOWN
        else "whole participants where there were at least as many as folds, else rows"
    )
    return text(
        f"Unless stated otherwise, inner folds were made of the training rows alone; they held out {held};"
        f" {chosen} the model was then fitted to all training rows [@varma2006].",
        _budgets(facts, budgets),
    )


def _budgets(facts: _Facts, budgets: Mapping[str, int]) -> str:
    """Say whether what a method is compared with was given as many configurations to try."""
    pairs = {(claim["method"], claim["than"]) for claim in facts.claims["claims"] if claim["kind"] == "better"}
    pairs = {(method, than) for method, than in pairs if facts.methods[method]["role"] == "proposed"}
    fewer = sorted(than for method, than in pairs if budgets[than] < budgets[method])
    if not pairs:
        return ""
    if not fewer:
        return "In every comparison that a claim makes, the other model tried at least as many configurations."
    labels = listed(dict.fromkeys(facts.methods[name]["label"] for name in fewer))
    return f"In the comparisons that claims make, {labels} tried fewer configurations than the model of the paper."


# ---- how it was judged


def _evaluation(facts: _Facts) -> Section:
    section, evaluation = Section("Evaluation"), facts.evaluation
    for name, words in facts.words("splitters").items():
        folds = facts.folds.get(name)
        if folds is None:
            section.say(f"The scheme “{plain(name)}” of the study is not possible with these data.")
            continue
        train, test = (plain_statistics.median(side) for side in zip(*folds, strict=True))
        section.say(
            f"{words} This made {count(len(folds), 'fold')}, with a median of {digits(train)} {facts.row}s to train on"
            f" and {digits(test)} to test."
        )
    seeds = evaluation["seeds"]
    models = f"the seeds {numbers(seeds)}" if len(seeds) > 1 else f"seed {seeds[0]}"
    section.say(
        text(
            f"Folds were drawn with seed {facts.card['seed']}, and models were fitted with {models}. Nothing was fitted"
            " before the split: which rows each fit had seen was recorded and compared with what was held out.",
            f"Covariates handed to the models were {listed(map(plain, evaluation['covariates']))}."
            if evaluation["covariates"]
            else "",
        ),
        " ".join(facts.words("metrics").values()),
        _controls(facts),
    )
    return section


def _controls(facts: _Facts) -> str:
    """Say what was done to know what the evaluation says where there is nothing to find."""
    n, said = int(facts.evaluation["null_variants"]), []
    if n and facts.task in SHOWN:
        said.append(
            f"The whole evaluation was repeated {_times(n)} with stimuli exchanged for others, all presentations of one"
            " for all of another [@ojala2010]."
        )
    elif n:
        blocks = [plain(name) for name in facts.evaluation["exchangeable"]]
        within = f" among {'participants' if 'target' in facts.evaluation else facts.row + 's'}"
        within += f" of the same {listed(blocks)}" if blocks else ""
        how = f"with targets permuted{within}"
        if facts.evaluation.get("exchange") == "nodes":
            how = "with the nodes of the graph permuted against the labels of their pairs"
        elif facts.task == "decode":
            of_each = f" within each {listed(blocks)}" if blocks else ""
            how = f"with targets shifted in time against the data, as on a circle,{of_each}"
        said.append(f"The whole evaluation was repeated {_times(n)} {how} [@ojala2010].")
    twins = int(facts.evaluation.get("random_variants", 0))
    if twins:
        said.append(f"It was repeated {_times(twins)} with networks that kept their random initial weights.")
    if facts.controlled:
        said.append("It was also repeated on the data without the effect.")
    return text(*said)


def _times(n: int) -> str:
    return {1: "once", 2: "twice"}.get(n, f"{spelled(n)} times")


def _statistics(facts: _Facts) -> Section:
    section, claims = Section("Statistics"), facts.claims["claims"]
    section.say(_tests(facts, claims) if claims else "", _of_controls(facts, claims))
    section.say(
        text(
            "P-values of the claims of a study are also given adjusted for their number [@holm1979].",
            _intervals(),
            "The permutation p-value of a mean score is its rank among those with permuted targets [@phipson2010]."
            if facts.evaluation["null_variants"]
            else "",
            "All tests are about new participants given the fitted models; that folds share training rows makes them"
            " somewhat liberal [@nadeau2003].",
        ),
    )
    return section


def _tests(facts: _Facts, claims: Sequence[Mapping[str, Any]]) -> str:
    """Say what is tested, and how."""
    undecided = any(claim["results"]["observed"]["verdict"] == "undecided" for claim in claims)
    alphas = sorted({claim["alpha"] for claim in claims})
    return text(
        f"What the paper claims is stated in the card of the study as {count(len(claims), 'one-sided test')} at level"
        f" {listed(map(digits, alphas), 'or')}: {'; '.join(_kinds(claims))}.",
        *_units([claim for claim in claims if claim["kind"] != "beats_twins"], facts),
        _of_twins(claims),
        "A claim is undecided where even the clearest result of the units there are could not reach its level, or the"
        " interval contains the stated value."
        if undecided
        else "",
    )


def _kinds(claims: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return each kind of test among claims, in words."""
    words = {
        "better": "that one method scores better than another, by the paired differences",
        "at_least": "that the mean score of a method exceeds a stated value",
        "recovers": "that a method recovers what was planted, to a stated value at least",
        "equals_chance": "that the mean score of a method lies within a margin of chance, by two one-sided tests"
        " [@schuirmann1987]",
        "monotone": "that scores rise or fall along a series of methods [@page1963]",
        "beats_twins": "that a method scores better on a trained network than on networks that learned nothing"
        " [@meloux2025]",
    }
    return [words[kind] for kind in words if any(claim["kind"] == kind for claim in claims)]


def _units(claims: Sequence[Mapping[str, Any]], facts: _Facts) -> list[str]:
    """Say what the units of the tests are, and which test that means for as many as there are."""
    said = []
    for unit in sorted({claim["unit"] for claim in claims}):
        results = [claim["results"]["observed"] for claim in claims if claim["unit"] == unit]
        numbers_of = sorted({result["n_subjects"] for result in results if result["n"]})
        if not numbers_of:
            continue
        pseudo = unit != "fold" and facts.card["scored_together"]
        if pseudo:
            said.append(
                "Participants who are held out together are scored together; the units of tests are the participants'"
                " jackknife pseudo-values [@efron1993], and the test is the t test, which for the area under the curve"
                f" is that of DeLong et al. [@delong1988] (n = {listed(map(digits, numbers_of), 'or')})."
            )
            continue
        name = "participant" if unit == "subject" else unit
        tests = listed(dict.fromkeys(map(_test_of, numbers_of)), "or")
        nested = ", whose signs flip participant by participant" if unit == "session" else ""
        said.append(f"The units are {name}s{nested}, and the test is {tests}, as in MOABB [@chevallier2024].")
        if unit == "fold":
            said.append("Folds share training rows, so that tests and intervals over folds are narrow.")
    return said


def _of_twins(claims: Sequence[Mapping[str, Any]]) -> str:
    """Say how a network is compared with those that learned nothing."""
    kinds = {name for claim in claims if claim["kind"] == "beats_twins" for name in claim["against"]}
    random = (
        "Against networks with random weights, the trained one changes places with its twins, fold by fold where each"
        " draws its own weights, in all arrangements or a random sample of them [@phipson2010]."
    )
    permuted = (
        "Against networks trained on permuted targets the whole evaluation is the unit: the p-value is its rank among"
        " 19 or more, and by Student's t for one further draw where there are fewer."
    )
    several = "A claim that names both must hold against both." if len(kinds) > 1 else ""
    return text(random if "random" in kinds else "", permuted if "null" in kinds else "", several)


def _test_of(n: int) -> str:
    if n <= EXACT:
        return f"the sign-flip permutation test over all flips (n = {n})"
    if n < RANKED:
        return f"the sign-flip permutation test over {N_PERMUTATIONS:,} random flips (n = {n})"
    return f"Wilcoxon's signed-rank test [@wilcoxon1945] (n = {n})"


def _of_controls(facts: _Facts, claims: Sequence[Mapping[str, Any]]) -> str:
    """Say how the controls bear on the verdicts."""
    there = {name for claim in claims for name in claim["results"]} & {"null", "absent"}
    shown = {"null": "with permuted targets (units averaged over permutations)", "absent": "on data without the effect"}
    if not there:
        return ""
    return (
        f"Each claim was tested in the same way {listed(shown[name] for name in sorted(there, reverse=True))}, at level"
        f" {digits(ALPHA_NULL)}, or the smallest that the number of units allows. A claim that does not come out there"
        " as it should is called invalid, whatever the observed scores say."
    )


def _intervals() -> str:
    n = inspect.signature(bootstrap_mean).parameters["n_resamples"].default
    return (
        "Intervals cover 95 % and are bias-corrected and accelerated bootstrap intervals of the mean over participants"
        f" [@efron1987] with {n:,} resamples, their quantiles widened for small samples [@hesterberg2015]; for fewer"
        f" than {spelled(_FEW)} and more than {_MANY} units they are t intervals."
    )


# ---- what it was done with


def _software(facts: _Facts) -> Section:
    section = Section("Software")
    imported = {name for check in facts.checks for name in check["software"]}
    said = [words for check in facts.checks for kind in check["words"].values() for words in kind.values()]
    imported |= {entry.fields.get("software") for key, entry in bibliography().items() if key in cited(said)}
    versions = {name: version for check in facts.checks for name, version in check["versions"].items()}
    keys = {entry.fields["software"]: key for key, entry in bibliography().items() if "software" in entry.fields}
    packages = [_package(name, versions[name], keys) for name in sorted(imported & set(versions))]
    section.say(
        f"Everything was run by Replicortex {versions['replicortex']}, a workflow of Snakemake"
        f" {facts.card['snakemake']} [@molder2021], with {listed(packages)}."
        if packages
        else ""
    )
    return section


def _package(name: str, version: str, keys: Mapping[str, str]) -> str:
    return f"{name} {version}" + (f" [@{keys[name]}]" if name in keys else "")
