"""Every operator of the bank against a peer, a closed form or a plain loop; the extractor against tables."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import signal, stats
from sklearn.covariance import LedoitWolf
from sklearn.metrics import mutual_info_score

from replicortex.components import make
from replicortex.errors import InputError
from replicortex.shared.fc_operators import BANK, Window, bank, granger

TR, BAND = 2.0, (0.01, 0.1)


@pytest.fixture(scope="module")
def series():
    """Coupled autoregressive series of nine regions, 90 volumes."""
    generator = np.random.default_rng(3)
    noise = generator.standard_normal((200, 9)) @ (np.eye(9) + 0.4 * generator.standard_normal((9, 9)))
    return 100 + signal.lfilter([1], [1, -0.6], noise, axis=0)[110:] * np.arange(1, 10)


def matrix(name, series, **settings):
    return bank(Window(series, TR, **settings), [name])[0]


def pairwise(function, series):
    """The matrix off the diagonal from a plain loop over pairs."""
    n = series.shape[1]
    made = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            if i != j:
                made[i, j] = function(series[:, i], series[:, j])
    return made


def agree(ours, expected, tolerance=1e-10):
    off = ~np.eye(len(ours), dtype=bool)
    np.testing.assert_allclose(ours[off], expected[off], rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", BANK)
def test_every_operator_is_finite_symmetric_and_says_its_source(name, series):
    made = matrix(name, series)
    assert made.shape == (9, 9)
    assert np.isfinite(made).all()
    np.testing.assert_allclose(made, made.T, atol=1e-12)
    assert len(BANK[name].source) > 20
    if not BANK[name].signed:
        assert made.min() >= 0


@pytest.mark.parametrize("name", BANK)
def test_the_order_of_regions_does_not_matter(name, series):
    order = np.random.default_rng(0).permutation(9)
    np.testing.assert_allclose(matrix(name, series[:, order]), matrix(name, series)[np.ix_(order, order)], atol=1e-8)


@pytest.mark.parametrize("name", [name for name in BANK if name != "covariance"])
def test_units_do_not_matter(name, series):
    scaled = 3.0 * series * np.arange(1, 10) + np.arange(9)
    np.testing.assert_allclose(matrix(name, scaled), matrix(name, series), atol=1e-7)


PEERS = {
    "covariance": lambda x: np.cov(x.T),
    "pearson": lambda x: np.corrcoef(x.T),
    "spearman": lambda x: stats.spearmanr(x).statistic,
    "kendall": lambda x: pairwise(lambda a, b: stats.kendalltau(a, b).statistic, x),
    "euclidean": lambda x: pairwise(lambda a, b: np.linalg.norm(stats.zscore(a) - stats.zscore(b)), x),
    "mi_gaussian": lambda x: pairwise(lambda a, b: -0.5 * np.log(1 - stats.pearsonr(a, b).statistic ** 2), x),
    "coherence": lambda x: pairwise(_coherence, x),
    "envelope_correlation": lambda x: np.corrcoef(np.abs(_hilbert(x)).T),
    "phase_locking": lambda x: pairwise(lambda a, b: abs(np.exp(1j * (_phase(a) - _phase(b))).mean()), x),
    "phase_lag_index": lambda x: pairwise(lambda a, b: abs(np.sign(np.sin(_phase(a) - _phase(b))).mean()), x),
}


def _coherence(a, b):
    length = int(2 * len(a) / 9)
    f, value = signal.coherence(a, b, 1 / TR, "hann", length, length // 2, detrend="constant")
    return value[(f >= BAND[0]) & (f <= BAND[1]) & (f > 0)].mean()


def _hilbert(x):
    """SciPy's analytic signal of what an ideal filter leaves."""
    x = np.asarray(x, float)
    spectrum, f = np.fft.rfft(x, axis=0), np.fft.rfftfreq(len(x), TR)
    spectrum[(f < BAND[0]) | (f > BAND[1])] = 0
    return signal.hilbert(np.fft.irfft(spectrum, len(x), axis=0), axis=0)


def _phase(x):
    return np.angle(_hilbert(x))


@pytest.mark.parametrize("name", PEERS)
def test_an_operator_is_its_peer(name, series):
    agree(matrix(name, series), PEERS[name](series), 1e-9)


def test_kendall_counts_ties_as_scipy(series):
    coarse = np.round(series / 200, 0) + np.arange(90)[:, None] % 3
    agree(matrix("kendall", coarse), PEERS["kendall"](coarse))


def test_shrinkage_is_scikit_learns(series):
    z = stats.zscore(series)
    peer = LedoitWolf().fit(z)
    window = Window(series, TR)
    np.testing.assert_allclose(window.shrunk, peer.covariance_, atol=1e-12)
    np.testing.assert_allclose(matrix("precision", series), peer.precision_, atol=1e-8)
    partial = -peer.precision_ / np.sqrt(np.outer(np.diag(peer.precision_), np.diag(peer.precision_)))
    agree(matrix("partial", series), partial, 1e-8)


def test_binned_information_is_scikit_learns(series):
    ranks = (stats.rankdata(series, axis=0) - 1).astype(int) * 4 // len(series)
    agree(matrix("mi_binned", series), pairwise(mutual_info_score, ranks))


def test_distance_correlation_is_the_definition(series):
    def plain(a, b):
        def centred(x):
            d = np.abs(np.subtract.outer(x, x))
            return d - d.mean(0) - d.mean(1)[:, None] + d.mean()

        a, b = centred(a), centred(b)
        return np.sqrt((a * b).mean() / np.sqrt((a * a).mean() * (b * b).mean()))

    agree(matrix("distance_correlation", series), pairwise(plain, series))


def test_lagged_correlation_finds_the_lag():
    generator = np.random.default_rng(1)
    source = generator.standard_normal(403)
    x = np.stack([source[3:], -source[:-3]], axis=1) + 0.1 * generator.standard_normal((400, 2))
    assert abs(matrix("pearson", x)[0, 1]) < 0.15
    assert matrix("lagged_correlation", x)[0, 1] < -0.95
    assert abs(matrix("lagged_correlation", x, max_lag=2)[0, 1]) < 0.15


def test_time_warping_is_the_plain_recursion(series):
    def plain(a, b, width=5):
        a, b = stats.zscore(a), stats.zscore(b)
        table = np.full((len(a) + 1, len(b) + 1), np.inf)
        table[0, 0] = 0
        for i in range(1, len(a) + 1):
            for j in range(max(1, i - width), min(len(b), i + width) + 1):
                best = min(table[i - 1, j], table[i, j - 1], table[i - 1, j - 1])
                table[i, j] = (a[i - 1] - b[j - 1]) ** 2 + best
        return np.sqrt(table[-1, -1])

    small = series[:40, :4]
    agree(matrix("dynamic_time_warping", small), pairwise(plain, small))
    # Without room to warp it is the Euclidean distance.
    agree(matrix("dynamic_time_warping", small, max_lag=0), matrix("euclidean", small))


def test_weighted_phase_lag_index_is_the_definition(series):
    def plain(a, b):
        imaginary = (_hilbert(a) * _hilbert(b).conj()).imag
        return abs(imaginary.mean()) / np.abs(imaginary).mean()

    agree(matrix("weighted_phase_lag_index", series), pairwise(plain, series))


def test_phase_operators_of_rhythms_are_closed_forms():
    t = np.arange(200) * TR
    x = np.stack([np.cos(2 * np.pi * 0.05 * t), np.cos(2 * np.pi * 0.05 * t - np.pi / 3)], axis=1)
    assert matrix("phase_locking", x)[0, 1] == pytest.approx(1)
    assert matrix("phase_lag_index", x)[0, 1] == pytest.approx(1)
    assert matrix("weighted_phase_lag_index", x)[0, 1] == pytest.approx(1)
    # All energy lies in one frequency: |coherency| is one and its imaginary part the sine of the phase.
    # Leakage of the mean of short segments is what the tolerance is for.
    assert Window(x, TR, band=(0.04, 0.06)).coherency[0, 0, 1].imag == pytest.approx(-np.sin(np.pi / 3), abs=0.02)


def test_granger_is_least_squares_and_knows_the_direction():
    generator = np.random.default_rng(5)
    e = generator.standard_normal((600, 2))
    x = np.zeros((600, 2))
    for t in range(2, 600):
        x[t, 0] = 0.5 * x[t - 1, 0] + e[t, 0]
        x[t, 1] = 0.3 * x[t - 1, 1] + 0.6 * x[t - 2, 0] + e[t, 1]
    z = stats.zscore(x)
    ours = granger(z, 2)

    def residual(target, sources):
        design = np.column_stack([z[2 - lag : -lag, s] for s in sources for lag in (1, 2)])
        return np.linalg.lstsq(design, z[2:, target])[1][0]

    for i, j in ((0, 1), (1, 0)):
        assert ours[i, j] == pytest.approx(np.log(residual(j, [j]) / residual(j, [j, i])), abs=1e-10)
    assert ours[0, 1] > 0.2 > 0.02 > ours[1, 0]
    assert matrix("granger", x)[0, 1] == pytest.approx(ours.sum())


def test_what_zero_lag_and_what_lag_operators_see():
    """An instantaneous mixture has no phase lag; a quadratic dependence has no correlation."""
    generator = np.random.default_rng(2)
    shared = signal.lfilter([1], [1, -0.8], generator.standard_normal(4100))[100:]
    noise = signal.lfilter([1], [1, -0.8], generator.standard_normal((4100, 2)), axis=0)[100:]
    mixed = shared[:, None] + noise
    assert matrix("pearson", mixed)[0, 1] > 0.4
    assert matrix("imaginary_coherence", mixed)[0, 1] < 0.1
    assert matrix("weighted_phase_lag_index", mixed)[0, 1] < 0.15
    quadratic = np.column_stack([noise[:500, 0], noise[:500, 0] ** 2 + 0.1 * noise[:500, 1]])
    assert abs(matrix("pearson", quadratic)[0, 1]) < 0.3
    assert matrix("mi_binned", quadratic)[0, 1] > 0.4
    assert matrix("distance_correlation", quadratic)[0, 1] > 0.4


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda x: x[:10], "has 10 volumes"),
        (lambda x: np.where(np.arange(9) == 4, 7.3, x), "region 5 is constant"),
        (lambda x: np.where(np.arange(9) == 4, np.nan, x), "n/a or infinite"),
    ],
)
def test_bad_series_are_refused(spoil, message, series):
    with pytest.raises(InputError, match=message):
        matrix("pearson", spoil(series))


def test_a_band_without_frequencies_is_refused(series):
    with pytest.raises(InputError, match="no frequency"):
        matrix("coherence", series, band=(0.001, 0.002))


# ---- the extractor


def write_table(folder, series, regions, name="sub-01_task-rest_atlas-X_stat-mean", sidecar='{"RepetitionTime": 2.0}'):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}_timeseries.tsv"
    lines = ["\t".join(regions), *("\t".join(map(str, row)) for row in series)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    path.with_suffix(".json").write_text(sidecar)
    entities = {"subject": "01", "session": "n/a", "run": "n/a", "recording": name, "suffix": "timeseries"}
    return path, {**entities, "path": f"sub-01/func/{path.name}", "datatype": "func", "repetition_time": "n/a"}


@pytest.fixture
def table(tmp_path, series):
    regions = [f"R{i}" for i in range(9)]
    return *write_table(tmp_path, series, regions), series, regions


RAW = {"strategy": "none", "standardize": "none", "detrend": False}


def extractor(**params):
    return make("features", "fc_operators", {"denoise": RAW, **params})


def test_windows_of_a_table_hold_what_the_bank_gives(table):
    path, recording, series, regions = table
    made = extractor(operators=["kendall", "coherence"], window=40, stride=25).extract(recording, path, {})
    assert made.axes["operator"] == ["kendall", "coherence"]
    assert made.axes["region"] == regions
    assert made.axes["edge"][:2] == ["R0--R1", "R0--R2"]
    assert made["x"].shape == (3, 2, 36)
    assert made["x"].dtype == np.float32
    np.testing.assert_array_equal(made["span"], [[0, 40], [25, 65], [50, 90]])
    part = series[25:65]
    expected = bank(Window(part, TR), ["kendall", "coherence"])[:, *np.triu_indices(9, 1)]
    np.testing.assert_allclose(made["x"][1], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(made["cov"][1], np.cov(part.T), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(made["series"][1], part.T, rtol=1e-6)
    assert made.rows["row_id"][2] == "sub-01_task-rest_atlas-X_stat-mean_timeseries_0002"
    assert np.isnan(made.rows["mean_fd"]).all()


def test_a_whole_run_is_one_row_without_series(table):
    path, recording, _series, _ = table
    made = extractor(window=0).extract(recording, path, {})
    assert made["x"].shape == (1, len(BANK), 36)
    assert made.axes["operator"] == list(BANK)
    assert "series" not in made.arrays
    assert made.rows["row_id"].tolist() == ["sub-01_task-rest_atlas-X_stat-mean_timeseries"]
    np.testing.assert_array_equal(made["span"], [[0, 90]])


def test_displacement_comes_from_the_sidecar(tmp_path, series):
    sidecar = '{"RepetitionTime": 2, "MeanFramewiseDisplacement": 0.25}'
    path, recording = write_table(tmp_path, series, [f"R{i}" for i in range(9)], sidecar=sidecar)
    assert (extractor().extract(recording, path, {}).rows["mean_fd"] == 0.25).all()


def test_a_missing_region_keeps_its_place(table):
    path, recording, series, regions = table
    whole = extractor(operators=["pearson"], window=0).extract(recording, path, {})
    write_table(path.parent, np.where(np.arange(9) == 3, 5.0, series), regions)
    with pytest.raises(InputError, match="R3"):
        extractor(max_missing=0.0).extract(recording, path, {})
    made = extractor(operators=["pearson"], window=0, max_missing=0.2).extract(recording, path, {})
    gone = np.array(["R3" in edge.split("--") for edge in made.axes["edge"]])
    assert (made["x"][0, 0, gone] == 0).all()
    np.testing.assert_allclose(made["x"][0, 0, ~gone], whole["x"][0, 0, ~gone], atol=1e-6)
    assert made["coverage"][0].tolist() == [1, 1, 1, 0, 1, 1, 1, 1, 1]
    present = np.arange(9) != 3
    assert made["cov"][0, 3, 3] == pytest.approx(np.diag(made["cov"][0])[present].mean())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda text: text.replace("R3", "R2"), "R2"),
        (lambda text: text.replace(text.split()[10], "five"), "not a number"),
        (lambda text: "A\tB\n" + "1\t7\n2\t7\n" * 45, "region"),
        (lambda text: "\n".join(text.splitlines()[:31]), "has 30 volumes that stay, a window 70"),
    ],
)
def test_a_bad_table_is_refused_in_one_line(spoil, message, table):
    path, recording, *_ = table
    path.write_text(spoil(path.read_text()))
    with pytest.raises(InputError, match=message) as caught:
        extractor().extract(recording, path, {})
    assert str(caught.value).startswith("sub-01/func/")
    assert str(path.parent) not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_region_that_is_flat_in_one_window_is_named(table):
    path, recording, series, regions = table
    flat = series.copy()
    flat[:40, 4] = 3.0
    write_table(path.parent, flat, regions)
    with pytest.raises(InputError, match="window 0: the series of region 5 is constant"):
        extractor(window=40).extract(recording, path, {})


@pytest.mark.parametrize("sidecar", ["{}", '{"RepetitionTime": -1}', '{"RepetitionTime": "2"}'])
def test_a_table_without_repetition_time_is_refused(sidecar, tmp_path, series):
    path, recording = write_table(tmp_path, series, [f"R{i}" for i in range(9)], sidecar=sidecar)
    with pytest.raises(InputError, match="RepetitionTime"):
        extractor().extract(recording, path, {})


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"operators": ["persons"]}, "did you mean 'pearson'"),
        ({"operators": ["pearson", "pearson"]}, "stands twice"),
        ({"window": 8}, "too short"),
        ({"band": [0.1, 0.1]}, "is empty"),
    ],
)
def test_odd_parameters_are_refused(params, message):
    with pytest.raises(InputError, match=message):
        extractor(**params)


# ---- the simulator


def identified(parts, subjects, runs, name):
    """Share of windows whose likeliest window of another run is of the same subject."""
    x = np.array([bank(Window(part, TR), [name])[0][np.triu_indices(parts[0].shape[1], 1)] for part in parts])
    similar = np.corrcoef(x)
    similar[runs[:, None] == runs] = -1
    return np.mean(subjects[similar.argmax(axis=1)] == subjects)


def simulated(truth, n_subjects=20, **params):
    simulator = make("simulators", "roi_series", {"n_subjects": n_subjects, "noisy_share": 0.0, **params})
    runs = [(subject, session) for subject in range(1, n_subjects + 1) for session in (1, 2)]
    parts = [simulator.series(*run, 1, truth, 0)[0] for run in runs]
    return parts, np.array([subject for subject, _ in runs]), np.arange(len(runs))


def test_subjects_are_told_apart_only_where_that_is_planted():
    assert identified(*simulated("planted"), "pearson") > 0.8
    assert identified(*simulated("absent"), "pearson") < 0.2  # one in twenty by chance


def test_operators_see_the_kind_of_coupling_that_is_planted():
    linear = simulated("planted", linear=0.5, lagged=0.0, nonlinear=0.0)
    assert identified(*linear, "pearson") > 0.9
    assert identified(*linear, "weighted_phase_lag_index") < 0.3
    lagged = simulated("planted", linear=0.0, lagged=0.6, nonlinear=0.0)
    assert identified(*lagged, "weighted_phase_lag_index") > 0.5
    nonlinear = simulated("planted", linear=0.0, lagged=0.0, nonlinear=0.8)
    assert identified(*nonlinear, "envelope_correlation") > 2 * identified(*nonlinear, "pearson")


def test_the_diagnosis_couples_the_planted_edges_alone():
    simulator = make("simulators", "roi_series", {"noisy_share": 0.0, "site_effect": 0.0})
    group, off = simulator.group_regions(0), np.ones((20, 20), bool)
    off[np.ix_(group, group)] = False
    for truth, least, most in (("planted", 0.1, 0.3), ("absent", -0.05, 0.05)):
        mean = {"patient": [], "control": []}
        for subject in range(1, 61):
            mean[simulator.person(subject, truth, 0).diagnosis].append(
                np.corrcoef(simulator.series(subject, 1, 1, truth, 0)[0].T)
            )
        difference = np.mean(mean["patient"], axis=0) - np.mean(mean["control"], axis=0)
        inside = difference[np.ix_(group, group)][np.triu_indices(len(group), 1)].mean()
        assert least < inside < most
        assert abs(difference[off & ~np.eye(20, dtype=bool)].mean()) < 0.03


def test_bursts_are_where_the_facts_say_and_move_the_head():
    simulator = make("simulators", "roi_series", {"noisy_share": 0.3})
    still = make("simulators", "roi_series", {"noisy_share": 0.3, "noise_gain": 0.0})
    for subject in range(1, 5):
        changed = (
            simulator.series(subject, 1, 1, "planted", 0)[0] != still.series(subject, 1, 1, "planted", 0)[0]
        ).any(1)
        inside = np.zeros(len(changed), bool)
        for start, stop in simulator.bursts(subject, 1, 1, 0):
            inside[start:stop] = True
        assert not changed[~inside].any()
        assert changed.sum() > 0.7 * inside.sum()


def test_shares_that_leave_no_noise_are_refused():
    with pytest.raises(InputError, match="leave some variance"):
        make("simulators", "roi_series", {"linear": 0.9})
