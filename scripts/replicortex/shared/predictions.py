"""The form of predictions, so that scoring never needs to know a method."""

from __future__ import annotations

import numpy as np

from ..bundle import Bundle


def two_columns(decision: np.ndarray) -> np.ndarray:
    """Return decision values as (n_rows, n_classes); scikit-learn gives one column for two classes."""
    return np.column_stack([-decision, decision]) if decision.ndim == 1 else decision


def classified(test: Bundle, y_score: np.ndarray, classes: np.ndarray) -> Bundle:
    """Return class scores as a predictions bundle on the rows of ``test``.

    Parameters
    ----------
    y_score : ndarray of shape (n_rows, n_classes)
        Greater is likelier; columns in the order of ``classes``.
    """
    return Bundle(
        {"y_score": np.asarray(y_score, dtype=np.float64)},
        test.rows,
        {"class": [str(name) for name in classes]},
    )


def regressed(test: Bundle, y_pred: np.ndarray) -> Bundle:
    """Return predicted numbers, of shape (n_rows,), as a predictions bundle on the rows of ``test``."""
    return Bundle({"y_pred": np.asarray(y_pred, dtype=np.float64)}, test.rows)


def predicted(test: Bundle, values: np.ndarray, classes: np.ndarray) -> Bundle:
    """Return class scores where there are ``classes``, predicted numbers where there are none."""
    return classified(test, values, classes) if len(classes) else regressed(test, values)


def selected(test: Bundle, y_selected: np.ndarray, **judged_by: np.ndarray) -> Bundle:
    """Return an order of preference among the rows of ``test`` as a predictions bundle.

    Parameters
    ----------
    y_selected : ndarray of shape (n_rows,)
        Greater is taken earlier.
    judged_by : ndarray of shape (n_rows, ...)
        The arrays of ``test`` that the metrics compare the selection with the whole by.
    """
    return Bundle({"y_selected": np.asarray(y_selected, dtype=np.float64), **judged_by}, test.rows, test.axes)
