"""Connectomes and signal propagation: names, workbooks, the reader, paths, and who answers to whom."""

from __future__ import annotations

import itertools
import struct

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from replicortex.bundle import Bundle
from replicortex.components import make
from replicortex.errors import InputError
from replicortex.features.neuron_pairs import walks
from replicortex.files import read_json, read_tsv, write_text
from replicortex.guard import LeakError
from replicortex.shared.node_folds import folds_of_nodes
from replicortex.shared.rate_network import random_wiring, responses
from replicortex.shared.relations import read_relations, write_relations
from replicortex.shared.worm import NEURONS, canonical
from replicortex.shared.xls import read_xls
from replicortex.stages.fit import fit
from replicortex.stages.guard import check_leaks
from replicortex.stages.splits import make_splits, permute_nodes

CLASSES = {"functional": ["functional"], "silent": ["silent"]}


def recording(subject, kind="chemical"):
    name = f"sub-{subject}_desc-{kind}"
    return {"path": f"sub-{subject}/micr/{name}_relmat.tsv", "recording": name, "suffix": "relmat", "datatype": "micr",
            "extension": ".tsv", "subject": subject, "session": "n/a", "run": "n/a"}  # fmt: skip


# ---- names


def test_names_of_neurons_are_brought_to_one_form():
    assert len(set(NEURONS)) == len(NEURONS) == 302
    assert [canonical(name) for name in (" VB01 ", "VB1", "VB11", "avaL", "AS09")] == [
        "VB1",
        "VB1",
        "VB11",
        "AVAL",
        "AS9",
    ]
    assert [canonical(name) for name in ("dBWML1", "pm1", "mc1v", "VB12", "VB00", "GLRDL", "AVA", "")] == [None] * 8


# ---- workbooks


def record(kind, data):
    return struct.pack("<HH", kind, len(data)) + data


def workbook(texts, cells):
    """A compound file with one sheet; texts are cut in the middle of a letter's string, as Excel does."""
    strings = b"".join(struct.pack("<HB", len(t), 1) + t.encode("utf-16-le") for t in texts)
    cut = 3 + 2 * 2  # two letters of the first text
    sst = record(0xFC, struct.pack("<II", len(texts), len(texts)) + strings[:cut])
    sst += record(0x3C, b"\x01" + strings[cut:])
    bof = record(0x809, struct.pack("<HHHHII", 0x600, 5, 0, 0, 0, 0))
    name = record(0x85, struct.pack("<IBB", 0, 0, 0) + bytes([5, 0]) + b"first")
    head = bof + name + sst + record(0x0A, b"")
    name = record(0x85, struct.pack("<IBB", len(head), 0, 0) + bytes([5, 0]) + b"first")
    stream = bof + name + sst + record(0x0A, b"") + bof + b"".join(cells) + record(0x0A, b"")
    stream = stream.ljust(4096, b"\0")  # not a short stream
    n = len(stream) // 512
    fat = [0xFFFFFFFD, 0xFFFFFFFE, *range(3, n + 2), 0xFFFFFFFE]
    fat += [0xFFFFFFFF] * (128 - len(fat))

    def entry(label, kind, first, size):
        raw = (label.encode("utf-16-le") + b"\0\0").ljust(64, b"\0")
        return (
            raw
            + struct.pack("<HBB3I", 2 * len(label) + 2, kind, 1, *[0xFFFFFFFF] * 3)
            + bytes(36)
            + struct.pack("<IQ", first, size)
        )

    directory = (entry("Root Entry", 5, 0xFFFFFFFE, 0) + entry("Workbook", 2, 2, len(stream))).ljust(512, b"\0")
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16) + struct.pack("<5H", 0x3E, 3, 0xFFFE, 9, 6) + bytes(10)
    header += struct.pack("<9I", 1, 1, 0, 4096, 0xFFFFFFFE, 0, 0xFFFFFFFE, 0, 0) + struct.pack(
        "<108I", *[0xFFFFFFFF] * 108
    )
    return header + struct.pack("<128I", *fat) + directory + stream


CELLS = [
    record(0xFD, struct.pack("<HHHI", 0, 0, 0, 0)),
    record(0xFD, struct.pack("<HHHI", 0, 1, 0, 1)),
    record(0x203, struct.pack("<HHHd", 1, 0, 0, 2.5)),
    record(0xBD, struct.pack("<HH", 2, 0) + struct.pack("<HIHI", 0, (7 << 2) | 2, 0, (150 << 2) | 3) + b"\1\0"),
]


def test_a_workbook_is_read_cell_by_cell(tmp_path):
    path = tmp_path / "table.xls"
    path.write_bytes(workbook(["NeuronÄ", "Nbr"], CELLS))
    assert read_xls(path) == {"first": [["NeuronÄ", "Nbr"], [2.5, None], [7.0, 1.5]]}


@pytest.mark.parametrize("damage", ["empty", "cut", "text", "circle", "outside", "far"])
def test_a_damaged_workbook_is_one_line(tmp_path, damage):
    whole = bytearray(workbook(["AVAL", "AVAR"], CELLS))
    if damage == "circle":
        whole[512 + 4 * 4 : 512 + 4 * 5] = struct.pack("<I", 3)
    elif damage == "outside":
        whole[512 + 4 * 4 : 512 + 4 * 5] = struct.pack("<I", 10**6)
    elif damage == "far":
        whole = bytearray(workbook(["AVAL", "AVAR"], [record(0x203, struct.pack("<HHHd", 65535, 65535, 0, 1.0))]))
    path = tmp_path / "table.xls"
    path.write_bytes({"empty": b"", "cut": whole[:900], "text": b"Neuron 1,Neuron 2\n" * 40}.get(damage, bytes(whole)))
    with pytest.raises(InputError) as caught:
        read_xls(path)
    assert "table.xls" in str(caught.value)
    assert "\n" not in str(caught.value)


# ---- the reader


def published(folder):
    """A source of three annotations of four neurons and a muscle."""
    folder.mkdir()
    white = "pre\tpost\ttype\tsynapses\nAVAL\tVB1\tchemical\t3\nAVAL\tAVAR\telectrical\t2\nAVAL\tpm1\tchemical\t9\n"
    write_text(folder / "aconnectome_white_1986_whole.csv", white)
    cook = (
        "Source,Target,Weight,Type\nAVAL , VB01   ,4,chemical\nVB01 , AVAR  ,1,electrical\nAVAR , VB01  ,2,electrical\n"
    )
    write_text(folder / "herm_full_edgelist.csv", cook)
    write_text(folder / "leifer_funconn_wildtype_2022-04-01.tsv", "".join(
        f"{a}\t{b}\t{12 * (a == 'AVAL' and b != a)}\n" for a, b in itertools.product(["AVAL", "AVAR", "VB1"], repeat=2)
    ))  # fmt: skip
    return folder


def test_annotations_come_in_one_order_with_what_was_left_out(tmp_path):
    source, root = published(tmp_path / "source"), tmp_path / "bids"
    rows = {row["participant_id"]: row for row in make("readers", "celegans_connectome").read(source, root)}
    assert list(rows) == ["sub-White1986", "sub-Cook2019", "sub-Leifer2022"]
    assert rows["sub-White1986"]["n_neurons"] == 3
    place = {name: i for i, name in enumerate(NEURONS)}
    found = {}
    for subject in ("White1986", "Cook2019"):
        for kind in ("chemical", "gap"):
            nodes, found[subject, kind] = read_relations(root / recording(subject, kind)["path"], "x")
            assert tuple(nodes) == NEURONS
    assert found["White1986", "chemical"][place["AVAL"], place["VB1"]] == 3
    assert found["Cook2019", "chemical"][place["AVAL"], place["VB1"]] == 4
    # Listed once in one source, from both sides with different numbers in the other.
    assert found["White1986", "gap"][place["AVAR"], place["AVAL"]] == 2
    assert found["Cook2019", "gap"][place["VB1"], place["AVAR"]] == 2
    # A neuron that the source does not have was not seen to be unconnected.
    assert np.isnan(found["White1986", "chemical"][place["ALA"]]).all()
    assert found["White1986", "chemical"][place["VB1"], place["AVAL"]] == 0
    told = read_json(root / "sub-White1986" / "micr" / "sub-White1986_desc-chemical_relmat.json")
    assert told["NotNeurons"] == ["pm1"]
    assert told["ConnectionsLeftOut"] == 1


@pytest.mark.parametrize(
    ("file", "content", "fault"),
    [
        ("aconnectome_white_1986_whole.csv", "a,b\n1,2\n", "columns"),
        ("aconnectome_white_1986_whole.csv", "pre\tpost\ttype\tsynapses\nAVAL\tAVAR\tchemical\t-3\n", "line 2"),
        ("aconnectome_white_1986_whole.csv", "pre\tpost\ttype\tsynapses\nAVAL\tAVAR\tmagic\t3\n", "magic"),
        ("herm_full_edgelist.csv", "Source,Target,Weight,Type\nAVAL,AVAR\n", "columns"),
        ("NeuronConnect.xls", "no workbook", "workbook"),
        ("leifer_funconn_wildtype_2022-04-01.tsv", "AVAL\tAVAR\tx\n", "line 1"),
        ("funatlas.h5", "no hdf5", "not readable"),
    ],
)
def test_a_damaged_table_is_one_line_that_names_it(tmp_path, file, content, fault):
    write_text(tmp_path / "source" / file, content)
    with pytest.raises(InputError) as caught:
        make("readers", "celegans_connectome").read(tmp_path / "source", tmp_path / "bids")
    assert file in str(caught.value)
    assert fault in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_atlas_is_read_from_stimulated_to_answering_and_only_where_observed(tmp_path):
    import h5py

    source = tmp_path / "source"
    source.mkdir()
    with h5py.File(source / "funatlas.h5", "w") as file:
        file["neuron_ids"] = np.array([b"AVAR", b"AVAL"])
        # Answering by stimulated: AVAL answers to AVAR.
        file["wt/q"] = np.array([[np.nan, 0.6], [0.01, np.nan]])
        file["wt/occ1"] = np.array([[0, 0], [3, 0]])
    make("readers", "celegans_connectome").read(source, tmp_path / "bids")
    name = "sub-Randi2023/micr/sub-Randi2023_desc-functional_relmat.tsv"
    nodes, q = read_relations(tmp_path / "bids" / name, name)
    left, right = nodes.index("AVAL"), nodes.index("AVAR")
    assert q[right, left] == 0.01
    assert np.isfinite(q).sum() == 1
    with h5py.File(source / "funatlas.h5", "a") as file:
        del file["wt/q"]
        file["wt/q"] = h5py.ExternalLink("/etc/passwd", "/q")
    with pytest.raises(InputError, match=r"funatlas\.h5: not readable"):
        make("readers", "celegans_connectome").read(source, tmp_path / "bids2")


def test_the_published_connectomes_tell_what_they_are_known_to(real_data, tmp_path):
    rows = make("readers", "celegans_connectome").read(real_data / "celegans-connectome", tmp_path)
    n = {row["participant_id"]: row["n_neurons"] for row in rows}
    assert n["sub-Cook2019"] == 300
    assert n["sub-White1986"] == 300
    assert n["sub-Varshney2011"] == 279
    assert n["sub-Witvliet8"] == 180
    chemical, gap = (
        read_relations(tmp_path / recording("Varshney2011", kind)["path"], "x")[1] for kind in ("chemical", "gap")
    )
    # The numbers of the paper (Varshney et al. 2011): 6,393 chemical synapses, 890 gap junctions.
    assert np.nansum(chemical) == pytest.approx(6393, abs=5)
    assert np.nansum(np.triu(gap)) == pytest.approx(890, abs=5)
    # Two tables of the same animals agree on most contacts.
    white = read_relations(tmp_path / recording("White1986")["path"], "x")[1]
    known = np.isfinite(white) & np.isfinite(chemical)
    assert np.corrcoef(white[known] > 0, chemical[known] > 0)[0, 1] > 0.75


# ---- pairs


def wired(root, q=None, measure="q"):
    names = ["AVAL", "AVAR", "AVBL", "AVBR"]
    chemical = np.array([[0, 3, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0.0]])
    gap = np.zeros((4, 4))
    gap[2, 3] = 2
    q = (
        np.array([[np.nan, 0.001, 0.02, 0.9], [0.5, np.nan, np.nan, 0.2], [np.nan] * 4, [0.3, 0.04, 0.06, 0]])
        if q is None
        else q
    )
    for kind, matrix in (("chemical", chemical), ("gap", gap), ("functional", q)):
        path = root / recording("01", kind)["path"]
        write_relations(path, names, matrix)
        write_text(path.with_suffix(".json"), f'{{"Directed": true, "Measure": "{measure}"}}')
    return names


def pairs(root, out, params=None):
    out.mkdir(exist_ok=True)
    made = make("preprocessing", "connectome_pairs", params).preprocess(recording("01"), root, out)
    return out / made["MainFile"], made


def test_pairs_have_both_kinds_of_contacts_and_what_was_measured(tmp_path):
    wired(tmp_path / "bids")
    path, made = pairs(tmp_path / "bids", tmp_path / "out")
    table = {(row["node_from"], row["node_to"]): row for row in read_tsv(path)}
    assert len(table) == 12
    assert table["AVAL", "AVAR"]["chemical"] == "3"
    assert table["AVBR", "AVBL"]["gap"] == table["AVBL", "AVBR"]["gap"] == "2"
    assert [table["AVAL", to]["functional"] for to in ("AVAR", "AVBL", "AVBR")] == ["1", "1", "0"]
    assert table["AVBL", "AVAL"]["functional"] == "n/a"
    assert made["Quality"]["n_pairs"] == 8
    wired(tmp_path / "other", np.array([[0, 9, 0, 0], [0, 7, 0, 0], [0, -3, 0, 0], [0] * 4]), "amplitude")
    table = {(r["node_from"], r["node_to"]): r for r in read_tsv(pairs(tmp_path / "other", tmp_path / "out")[0])}
    measured = {pair for pair, row in table.items() if row["functional"] != "n/a"}
    # What answers to itself is no pair; AVAL and AVBL were stimulated, and AVAR is all that ever answered.
    assert measured == {("AVAL", "AVAR"), ("AVBL", "AVAR")}


def test_an_atlas_that_says_nothing_of_its_measure_is_refused(tmp_path):
    wired(tmp_path / "bids", measure="colour")
    with pytest.raises(InputError, match="does not say Measure"):
        pairs(tmp_path / "bids", tmp_path / "out")
    (tmp_path / "bids" / "sub-Other" / "micr").mkdir(parents=True)
    with pytest.raises(InputError, match="sub-Other/micr: holds 0 tables"):
        pairs(tmp_path / "bids", tmp_path / "out", {"atlas": "Other"})


def test_paths_are_the_random_walks_that_lead_there():
    graph = random_wiring(9, 0.3, 0.2, np.random.default_rng(3)).chemical.astype(float)
    found = walks(graph, 4)
    for start, end in ((0, 5), (2, 2), (7, 1)):
        total = 0.0
        for between in itertools.product(range(9), repeat=2):
            way = [start, *between, end]
            steps = [graph[a, b] / graph[a].sum() if graph[a].sum() else 0.0 for a, b in itertools.pairwise(way)]
            total += np.prod(steps)
        assert found[2][start, end] == pytest.approx(total, abs=1e-12)
    arrives = found[3].sum(axis=1)
    assert np.all(arrives <= 1 + 1e-12)


def test_features_say_of_each_measured_pair_what_leads_there(tmp_path):
    wired(tmp_path / "bids")
    path, _ = pairs(tmp_path / "bids", tmp_path / "out")
    bundle = make("features", "neuron_pairs", {"hops": 3}).extract(recording("01"), path, CLASSES)
    of = {(a, b): i for i, (a, b) in enumerate(zip(bundle.rows["node_from"], bundle.rows["node_to"], strict=True))}
    value = lambda pair, name: bundle["x"][of[pair], bundle.axes["variable"].index(name)]  # noqa: E731
    assert len(bundle) == 8
    assert bundle.rows["label"][of["AVAL", "AVBL"]] == "functional"
    assert value(("AVAL", "AVBL"), "hop1") == 0
    # AVAL has one target, which has one: all of the signal arrives.
    assert value(("AVAL", "AVBL"), "hop2") == pytest.approx(1)
    assert value(("AVAL", "AVBR"), "hop3") == pytest.approx(1)
    assert value(("AVAL", "AVAR"), "reversed1") == 0
    assert value(("AVBR", "AVAR"), "reversed2") > 0
    labels = np.where(bundle.rows["label"] == "functional", "silent", "functional")
    assert list(make("features", "neuron_pairs").extract(
        recording("01"), path, {"functional": ["silent"], "silent": ["functional"]}
    ).rows["label"]) == list(labels)  # fmt: skip


# ---- who answers to whom


def test_weakly_coupled_neurons_answer_along_all_paths():
    coupling = random_wiring(20, 0.15, 0.3, np.random.default_rng(1)).coupling(0.5)
    found = responses(coupling, strength=1e-3, duration=40)
    # The stationary state of the linear network: the sum over paths of all lengths.
    np.testing.assert_allclose(found, 1e-3 * np.linalg.inv(np.eye(20) - coupling), rtol=1e-4, atol=1e-9)


def table(truth, seed=5, n_subjects=3, n_neurons=30, tmp_path=None):
    root = tmp_path / f"{truth}{seed}"
    make("simulators", "wired_worms", {"n_subjects": n_subjects, "n_neurons": n_neurons}).simulate(root, truth, seed)
    parts = []
    for subject in range(1, n_subjects + 1):
        row = recording(f"{subject:02d}")
        (root / "out").mkdir(exist_ok=True)
        made = make("preprocessing", "connectome_pairs").preprocess(row, root, root / "out")
        parts.append(make("features", "neuron_pairs").extract(row, root / "out" / made["MainFile"], CLASSES))
    from replicortex.bundle import concatenate

    return concatenate(parts)


def area(bundle, params=None, labels=None):
    """Area under the curve on source neurons that were held out."""
    labels = bundle.rows["label"] if labels is None else labels
    known = np.isin(labels, ["functional", "silent"])
    bundle, labels = bundle.take(known), labels[known]
    train, test = folds_of_nodes(bundle.rows, labels, 2, 0)[0]
    model = make("methods", "graph_propagation", params)
    model.fit(bundle.take(train).with_rows(target=labels[train], label=None), 0)
    predicted = model.predict(bundle.take(test).with_rows(label=None))
    y_score = predicted["y_score"][:, predicted.axes["class"].index("functional")]
    return roc_auc_score(labels[test] == "functional", y_score), model


def test_paths_tell_which_neurons_answer_and_their_permutation_does_not(tmp_path):
    bundle = table("planted", tmp_path=tmp_path)
    planted, model = area(bundle)
    direct, _ = area(bundle, {"hops": [1]})
    reverse, _ = area(bundle, {"prefix": "reversed"})
    assert planted > 0.8
    assert planted > direct + 0.05
    assert planted > reverse + 0.1
    assert model.chosen()["hops"] > 1
    assert area(table("absent", tmp_path=tmp_path))[0] == pytest.approx(0.5, abs=0.06)
    sides, fixed, null = [bundle.rows[name] for name in ("node_from", "node_to")], {"hops": [3], "decays": [1.0]}, []
    for seed in range(60):
        null.append(area(bundle, fixed, permute_nodes(bundle.rows["label"], *sides, bundle.rows["subject"], seed))[0])
    # One permutation alone can be far off: neurons with many connections may come to lie on those that answer to many.
    assert np.mean(null) == pytest.approx(0.5, abs=4 * np.std(null) / np.sqrt(len(null)))
    assert np.std(null) < 0.1


def test_the_score_is_the_sum_over_steps_that_the_search_chose():
    generator = np.random.default_rng(0)
    x = generator.random((200, 3))
    target = np.where(x[:, 0] + 0.5 * x[:, 1] > 0.75, "functional", "silent")
    rows = {"row_id": np.arange(200).astype(str), "subject": np.full(200, "01"), "node_from": np.arange(200) % 20 * 1}
    rows["node_from"] = rows["node_from"].astype(str)
    bundle = Bundle({"x": x}, rows, {"variable": ["hop1", "hop2", "hop3"]}, {})
    model = make("methods", "graph_propagation", {"hops": [1, 2, 3]})
    model.fit(bundle.with_rows(target=target), 0)
    assert model.chosen() == {"hops": 2, "decay": 0.5, "inner_score": 1.0}
    np.testing.assert_array_equal(model.found()["step_weights"], [1, 0.5, 0])
    order = np.argsort(model.predict(bundle)["y_score"][:, 0])
    np.testing.assert_array_equal(order, np.argsort(x[:, 0] + 0.5 * x[:, 1]))


def test_a_source_neuron_is_held_out_with_all_its_pairs():
    generator = np.random.default_rng(2)
    nodes = generator.integers(12, size=400).astype(str)
    target = np.where(generator.random(400) < 0.1, "functional", "silent")
    rows = {"row_id": np.arange(400).astype(str), "node_from": nodes, "subject": np.full(400, "01")}
    held = []
    for _, train, test in make("splitters", "node_k_fold", {"folds": 4}).split(rows, target, 0):
        assert not set(nodes[train]) & set(nodes[test])
        held.extend(test)
    assert sorted(held) == list(range(400))


def test_the_guard_knows_which_neurons_are_held_out(tmp_path):
    table("planted", n_subjects=2, n_neurons=14, tmp_path=tmp_path).save(tmp_path / "x.npz")
    splits, targets, scheme = tmp_path / "splits.tsv", tmp_path / "targets.tsv", {"node_k_fold": {"folds": 2}}
    made = [tmp_path / name for name in ("predictions.npz", "models.zip", "fit.json")]
    asked = {"variant": "null-1", "seed": 0, "task": "classify"}
    make_splits(
        [tmp_path / "x.npz"], splits, targets, scheme, classes=["functional", "silent"], exchange="nodes",
        exchangeable=["subject"], **asked,
    )  # fmt: skip
    fit(
        [tmp_path / "x.npz"],
        splits,
        targets,
        *made,
        "paths",
        "graph_propagation",
        {"hops": [2, 3]},
        part="0of1",
        **asked,
    )
    check_leaks([made[2]], splits, targets, tmp_path / "guard.json", scheme)
    assert read_json(tmp_path / "guard.json")["leaks"] == 0
    lines = splits.read_text().splitlines()
    first = next(i for i, line in enumerate(lines) if line.endswith("test"))
    write_text(splits, "\n".join([*lines[:first], lines[first].replace("test", "train"), *lines[first + 1 :]]) + "\n")
    with pytest.raises(LeakError, match=r"node_from N\d\d is on both sides"):
        check_leaks([made[2]], splits, targets, tmp_path / "guard.json", scheme)
