"""The tasks of a fit, of which scikit-learn's callbacks are told: what ``set_callbacks`` was given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sklearn.callback import AutoPropagatedCallback
from sklearn.callback import CallbackContext as Task


def refuse_propagated(estimator: Any) -> None:
    """Refuse, before anything is fitted, what scikit-learn refuses on an estimator that another one fits."""
    for callback in getattr(estimator, "_skl_callbacks", ()):
        if isinstance(callback, AutoPropagatedCallback):
            raise TypeError(
                f"{type(callback).__name__} is set on the {type(estimator).__name__} that is to be fitted; set it "
                "on what fits that, with set_callbacks, from where it comes to all others."
            )


class FitTasks:
    """The tree of tasks of one fit; it begins with the fit itself.

    Parameters
    ----------
    estimator : estimator
        What is fitted; its ``fit`` is decorated by :func:`sklearn.callback.with_callbacks`.
    n_tasks : int
        Tasks that the fit may have.
    X, y, sample_weight : object
        What it was given.

    Attributes
    ----------
    fitted : callable
        Of the net in training, the attributes with which a copy of the estimator predicts; None for nothing.
    """

    def __init__(self, estimator: Any, n_tasks: int, X: Any, y: Any, sample_weight: Any = None) -> None:
        self.estimator = estimator
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        self.given = {"X": X, "y": y, "metadata": metadata}
        self.fitted: Callable[[Any], dict[str, Any] | None] = lambda net: None
        self.fit: Task = estimator._init_callback_context(max_subtasks=n_tasks)
        self.fit.call_on_fit_task_begin(estimator=estimator, **self.given)

    @property
    def heard(self) -> bool:
        """Whether there are callbacks, of which each step costs time."""
        return bool(getattr(self.estimator, "_skl_callbacks", ()))

    def begin(self, parent: Task, name: str, net: Any = None) -> Task:
        """A step of a part begins."""
        task = parent.subcontext(task_name=name)
        return task.call_on_fit_task_begin(
            estimator=self.estimator, **self.given, reconstruction_attributes=lambda: self.fitted(net)
        )

    def end(self, task: Task, net: Any = None) -> bool:
        """A step of a part ends; whether a callback asks to stop after it."""
        return task.call_on_fit_task_end(
            estimator=self.estimator, **self.given, reconstruction_attributes=lambda: self.fitted(net)
        )

    @contextmanager
    def task(self, name: str, n_steps: int | None = 0) -> Iterator[Task]:
        """A part of the fit, of so many steps, or of nobody knows how many."""
        task = self.fit.subcontext(task_name=name, max_subtasks=n_steps)
        task.call_on_fit_task_begin(estimator=self.estimator, **self.given)
        yield task
        task.call_on_fit_task_end(estimator=self.estimator, **self.given)

    @contextmanager
    def fitting(self, name: str, estimator: Any) -> Iterator[None]:
        """A part of the fit that fits another estimator, which has the callbacks that ask for it meanwhile."""
        task = self.fit.subcontext(task_name=name)
        with task.propagate_callback_context(estimator):
            task.call_on_fit_task_begin(estimator=self.estimator, **self.given)
            yield
        task.call_on_fit_task_end(estimator=self.estimator, **self.given)

    def finish(self) -> None:
        """The fit ends, and the estimator is fitted."""
        self.fit.call_on_fit_task_end(estimator=self.estimator, **self.given, reconstruction_attributes=dict)
