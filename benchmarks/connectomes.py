"""Published connectomes beside the package cect and wormneuroatlas: are the graphs equal, and how long does it take.

For each annotation that both read, the table gives the connections between neurons, how many of them differ, and the
seconds that reading takes. White et al. and Varshney et al. are the same files for both, and nothing may differ; of
Witvliet et al. and Cook et al. cect reads other releases, the journals' workbooks, and what differs is what these
differ in. For the workbook of Varshney et al. the table gives the cells that differ from xlrd's, of the atlas of signal
propagation that wormneuroatlas ships the pairs, and for walks of six steps the difference to SciPy's sparse matrices.
All tables are those that the packages ship; these are installed into an environment that is made in ``--environment``
(``pip install cect wormneuroatlas xlrd``; wormneuroatlas is GPL-3.0), or name its Python by ``--peer-python``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from peers import environment
from scipy.sparse import csr_matrix, diags

from replicortex.features.neuron_pairs import walks
from replicortex.readers.celegans_connectome import _ATLASES, _SOURCES
from replicortex.shared.worm import NEURONS, canonical
from replicortex.shared.xls import read_xls

PACKAGES = ("cect==0.3.5", "wormneuroatlas==0.0.7.3", "xlrd==2.0.2")
#: Our annotations by the reader of cect that has the same source.
PEERS = {
    "White1986": "White_whole",
    "Witvliet7": "WitvlietDataReader7",
    "Witvliet8": "WitvlietDataReader8",
    "Cook2019": "Cook2019HermReader",
    "Varshney2011": "VarshneyDataReader",
}
#: Runs in the environment of the packages: reads what each reader reads, writes graphs and seconds.
PEER = """
import contextlib, importlib, io, json, sys, time
import numpy as np
folder = sys.argv[1]
found = {}
for name in json.loads(sys.argv[2]):
    with contextlib.redirect_stdout(io.StringIO()):
        reader = importlib.import_module("cect.readers." + name)
        start = time.process_time()
        data = reader.get_instance(from_cache=False)
        found[name + "|seconds"] = np.array(time.process_time() - start)
    found[name + "|nodes"] = np.array(data.nodes)
    for kind, key in (("chemical", "Generic_CS"), ("gap", "Generic_GJ")):
        found[name + "|" + kind] = np.asarray(data.connections[key], float)
import os, cect, wormneuroatlas, xlrd
folders = [os.path.join(os.path.dirname(package.__file__), "data") for package in (wormneuroatlas, cect)]
taken = []
for _ in range(3):
    start = time.process_time()
    sheet = xlrd.open_workbook(folders[1] + "/NeuronConnect.xls").sheet_by_index(0)
    rows = [sheet.row_values(row) for row in range(sheet.nrows)]
    taken.append(time.process_time() - start)
found["xls|seconds"], found["xls|cells"] = np.array(min(taken)), np.array([[str(cell) for cell in row] for row in rows])
found["folders"] = np.array(folders)
np.savez(folder + "/found.npz", **found)
"""


def in_our_order(nodes: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return a peer's graph among the 302 neurons; 0 for those that it does not have."""
    place = {canonical(str(name)): i for i, name in enumerate(nodes) if canonical(str(name))}
    index = np.array([place.get(name, -1) for name in NEURONS])
    out = matrix[np.ix_(index, index)].copy()
    out[index < 0], out[:, index < 0] = 0, 0
    return out


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--peer-python", help="Python of an environment with the packages")
    arguments.add_argument("--environment", type=Path, help="where that environment is, or is to be made")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        python = options.peer_python or environment(options.environment or Path(folder, "environment"), PACKAGES)
        subprocess.run(
            [python, "-c", PEER, folder, json.dumps([*PEERS.values()])], check=True, stderr=subprocess.DEVNULL
        )
        compare(dict(np.load(f"{folder}/found.npz", allow_pickle=False)))


def compare(peer: dict[str, np.ndarray]) -> None:
    """Print what differs, and the seconds."""

    def shipped(name: str) -> Path:
        return next(path for path in (Path(str(folder)) / name for folder in peer["folders"]) if path.is_file())

    print(f"{'annotation':14} {'kind':9} {'ours':>7} {'peer':>7} {'differ':>7} {'s ours':>8} {'s peer':>8}")
    for name, other in PEERS.items():
        file, reading = _SOURCES[name]
        path = shipped(file)
        reading(path, file)
        start = time.process_time()
        ours = reading(path, file).finished()
        seconds = time.process_time() - start
        for kind in ("chemical", "gap"):
            mine = np.nan_to_num(ours.matrices[kind])
            theirs = in_our_order(peer[f"{other}|nodes"], peer[f"{other}|{kind}"])
            # Theirs may list a junction from one side only.
            theirs = np.maximum(theirs, theirs.T) if kind == "gap" else theirs
            differ = np.count_nonzero(mine != theirs)
            times = f"{seconds:8.3f} {float(peer[f'{other}|seconds']):8.3f}" if kind == "chemical" else ""
            print(f"{name:14} {kind:9} {np.count_nonzero(mine):7d} {np.count_nonzero(theirs):7d} {differ:7d} {times}")
    taken = []
    for _ in range(3):
        start = time.process_time()
        cells = next(iter(read_xls(shipped("NeuronConnect.xls")).values()))
        taken.append(time.process_time() - start)
    seconds = min(taken)
    same = [["" if cell is None else str(cell) for cell in row] for row in cells] == peer["xls|cells"].tolist()
    print(f"{'workbook':14} {'cells':9} {len(cells) * 4:7d} {peer['xls|cells'].size:7d} {0 if same else 'differ':>7}"
          f" {seconds:8.3f} {float(peer['xls|seconds']):8.3f}  (xlrd)")  # fmt: skip
    q, _ = _ATLASES["Randi2023"][1](shipped("funatlas.h5"), "funatlas.h5")
    print(f"signal propagation: {np.isfinite(q).sum()} pairs observed, {np.sum(q < 0.05)} with q < 0.05")
    cook, reading = _SOURCES["Cook2019"]
    graph = np.log1p(np.nan_to_num(reading(shipped(cook), cook).matrices["chemical"]))
    start = time.process_time()
    found = walks(graph, 6)
    seconds = time.process_time() - start
    start = time.process_time()
    leaving = np.asarray(graph.sum(axis=1)).ravel()
    step = diags(np.divide(1, leaving, out=np.zeros_like(leaving), where=leaving > 0)) @ csr_matrix(graph)
    power = step
    for _ in range(5):
        power = power @ step
    other = time.process_time() - start
    print(f"walks of 6 steps: greatest difference {np.abs(found[-1] - power.toarray()).max():.1e},"
          f" {seconds:.3f} s, SciPy's sparse matrices {other:.3f} s")  # fmt: skip


if __name__ == "__main__":
    main()
