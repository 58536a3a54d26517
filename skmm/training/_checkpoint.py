"""What a fit that was killed goes on from: the state of training on disk, which a fit of nothing else takes up."""

from __future__ import annotations

import contextlib
import glob
import io
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from skorch.callbacks import Callback, LRScheduler, ParamMapper
from skorch.callbacks import EarlyStopping as SkorchEarlyStopping
from torch import Tensor

from skmm._private import tree_map
from skmm._ranks import current
from skmm.training._identity import digest_of, versions

if TYPE_CHECKING:
    from skmm.training._net import MultimodalNet
    from skmm.training._sets import TrainingSet

_FORMAT = 1

# callbacks that steer training by what they have seen of it, which is not kept
_BEGIN_ANEW = (LRScheduler, ParamMapper, SkorchEarlyStopping)

# What makes up a fit, by name: digests, and under "parameters" those of each with how a message quotes it.
Identity = dict[str, Any]


def identify(
    parameters: dict[str, tuple[str, str]],
    net: MultimodalNet,
    training: TrainingSet,
    validation: TrainingSet | None,
) -> Identity:
    """All on which the numbers that training gives depend.

    Parameters
    ----------
    parameters : dict of str to (str, str)
        The estimator's, as digests and as a message quotes them.
    net : MultimodalNet
        Before its first epoch.
    training, validation : TrainingSet
        What trains it, and what stops its training early, if anything.
    """
    held = None if validation is None else (validation.rows, validation.weights)
    return {
        "parameters": {name: list(pair) for name, pair in parameters.items()},
        "samples, as they are scaled": digest_of(training.data),
        "targets": digest_of(training.target),
        "sample weights, groups, time or folds": digest_of(training.rows, training.weights),
        "samples held out": digest_of(held),
        "initial weights": digest_of(_tensors(net), net.seeds, len(net.history)),
    }


def check_callbacks(callbacks: list[Any] | None) -> None:
    """Refuse callbacks of skorch with which a fit would not go on as it began."""
    for given in callbacks or []:
        callback = given[1] if isinstance(given, tuple | list) else given
        kind = callback if isinstance(callback, type) else type(callback)
        if issubclass(kind, _BEGIN_ANEW) and not hasattr(kind, "load_state_dict"):
            raise ValueError(
                f"checkpoint does not keep the state of the callback {kind.__name__}, which steers training; set "
                "lr_schedule or early_stopping of the estimator, or give it state_dict() and load_state_dict()."
            )


class Checkpoint(Callback):
    """Writes the state of training to a file, and takes it up from there.

    Parameters
    ----------
    path : Path
        The file.
    every : int
        Epochs from one writing to the next.
    identity : dict
        What :func:`identify` says of this fit.
    device : torch.device
        Where the network trains.
    own : bool
        Whether the file has the digest of the identity in its name, so that several fits share one path.
    """

    def __init__(
        self, path: Path, every: int, identity: Identity, device: torch.device, *, own: bool = False
    ) -> None:
        self.every, self.identity, self.device = every, identity, device
        if own:
            digests = {name: digest for name, (digest, _) in identity["parameters"].items()}
            key = digest_of({**identity, "parameters": digests})
            path = path.with_name(f"{path.stem}-{key[:16]}{path.suffix}")
        self.path = path
        self.begun, self.checked = time.time(), False
        self.state: dict[str, Any] = {}
        self.orders: list[Tensor] = []

    def find(self) -> int:
        """Epochs that the file has already, of this fit; the file is this fit's from then on.

        Raises
        ------
        ValueError
            If it is another fit's, of another version, or no checkpoint that can be read.
        """
        self.state = current().first(self._found)
        self.done: int = self.state.get("epochs", 0)
        return self.done

    def _found(self) -> dict[str, Any]:
        if not self.path.exists():
            self._write({}, new=True)
        return self._read()

    def remove(self) -> None:
        """Delete the file of a fit that has ended well, and what was left where it was killed while writing."""
        if current().rank:
            return
        self.path.unlink(missing_ok=True)
        for left in self.path.parent.glob(f"{glob.escape(self.path.name)}.*.tmp"):
            with contextlib.suppress(FileNotFoundError):
                if left.stat().st_mtime < self.begun:
                    left.unlink()

    # -- in training ---------------------------------------------------------------------------------------------

    def on_train_begin(self, net: MultimodalNet, **kwargs: Any) -> None:
        state, self.state = self.state, {}
        if not self.done:
            return
        with torch.no_grad():
            for own, saved in zip(_tensors(net), state["tensors"], strict=True):
                own.copy_(saved)
        net.optimizer_.load_state_dict(state["optimizer"])
        net.scaler_.load_state_dict(state["scaler"])
        net.step_, net.total_steps_, net.n_batches_ = state["schedule"]
        net.history.clear()
        net.history.extend(state["history"])
        for name, callback in _stateful(net):
            callback.load_state_dict(state["callbacks"][name])
        saved = state["random"] if current().rank == 0 else []  # the others draw numbers of their own, anew
        for own in saved[:1]:
            torch.set_rng_state(own.cpu())
        for other in saved[1:]:
            torch.cuda.set_rng_state(other.cpu(), self.device)
        self.orders = state["orders"]
        if net.verbose:
            print(f"{self.path}: goes on after epoch {len(net.history)}")

    def on_epoch_begin(self, net: MultimodalNet, **kwargs: Any) -> None:
        # the orders of batches are drawn after this, by generators that were made with the training loop
        for generator, state in zip(net.orders_, self.orders, strict=False):
            generator.set_state(state.cpu())
        self.orders = []

    def on_epoch_end(self, net: MultimodalNet, **kwargs: Any) -> None:
        self.done += 1
        if self.done % self.every == 0 and current().rank == 0:
            self._write(self._state(net))

    def _state(self, net: MultimodalNet) -> dict[str, Any]:
        on_gpu = self.device.type == "cuda"
        history = tree_map(
            lambda x: x.item() if isinstance(x, np.generic) else x, [dict(row) for row in net.history]
        )
        return {
            "epochs": self.done,
            "tensors": [x.detach() for x in _tensors(net)],
            "optimizer": net.optimizer_.state_dict(),
            "scaler": net.scaler_.state_dict(),
            "schedule": [net.step_, net.total_steps_, net.n_batches_],
            "history": history,
            "callbacks": {name: callback.state_dict() for name, callback in _stateful(net)},
            "random": [torch.get_rng_state(), *([torch.cuda.get_rng_state(self.device)] if on_gpu else [])],
            "orders": [generator.get_state() for generator in net.orders_],
        }

    # -- the file ------------------------------------------------------------------------------------------------

    def _write(self, state: dict[str, Any], *, new: bool = False) -> None:
        """Put a state into the place of the one before: at every moment one of both is there, whole."""
        buffer = io.BytesIO()
        content = {"format": _FORMAT, "versions": versions(), "identity": self.identity, "state": state}
        torch.save(content, buffer)
        if state and not self.checked:
            self._check(buffer)
        handle, name = tempfile.mkstemp(".tmp", f"{self.path.name}.", self.path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(buffer.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            _place(name, self.path, new=new)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
            raise

    def _check(self, buffer: io.BytesIO) -> None:
        """Refuse what could not be read again, while there is hardly anything to lose."""
        buffer.seek(0)
        try:
            torch.load(buffer, weights_only=True)
        except Exception as error:
            raise ValueError(
                f"checkpoint={str(self.path)!r} holds numbers, strings and tensors, and lists and dicts of them; "
                f"what a callback records or the optimizer's state holds is none: {_reason(error)}"
            ) from error
        self.checked = True

    def _read(self) -> dict[str, Any]:
        """The state in the file, after a check whose it is."""
        found = self._load()
        if found["format"] != _FORMAT:
            raise ValueError(
                f"checkpoint={str(self.path)!r} is of format {found['format']!r}, this version reads {_FORMAT}; go "
                "on with the version that wrote it, or delete it to train from the start."
            )
        differs = _differences(found["identity"], self.identity)
        differs += [
            f"the version of {name} ({found['versions'].get(name)} there, {version} here)"
            for name, version in versions().items()
            if found["versions"].get(name) != version
        ]
        if differs:
            raise ValueError(
                f"checkpoint={str(self.path)!r} holds another fit, which is not finished; what differs: "
                f"{'; '.join(differs)}. Go on with that one, delete the file to train this one from the start, or "
                "name another file."
            )
        return found["state"]

    def _load(self) -> dict[str, Any]:
        try:
            found = torch.load(self.path, map_location=self.device, weights_only=True)
            if not isinstance(found, dict) or "format" not in found:
                raise ValueError("it holds something else")
        except Exception as error:
            raise ValueError(
                f"checkpoint={str(self.path)!r} is cut or no checkpoint: {_reason(error)}. If it is nothing that "
                "you need, delete it to train from the start."
            ) from error
        return found


def _tensors(net: MultimodalNet) -> list[Tensor]:
    return [*net.module_.parameters(), *net.module_.buffers()]


def _stateful(net: MultimodalNet) -> list[tuple[str, Any]]:
    """The callbacks, the user's own among them, that have a state to keep."""
    return [(name, callback) for name, callback in net.callbacks_ if hasattr(callback, "load_state_dict")]


def _differences(there: Identity, here: Identity) -> list[str]:
    """What two fits do not have in common, in words."""
    nothing = ["", "nothing"]
    one, other = there["parameters"], here["parameters"]
    found = [
        f"{name} ({one.get(name, nothing)[1]} there, {other.get(name, nothing)[1]} here)"
        for name in {**one, **other}
        if one.get(name, nothing)[0] != other.get(name, nothing)[0]
    ]
    return found + [f"the {name}" for name in here if name != "parameters" and there.get(name) != here[name]]


def _place(written: str, path: Path, *, new: bool) -> None:
    """Give a file its name, for good; of several fits that do so with a ``new`` one at a time the first has it."""
    if new:
        with contextlib.suppress(OSError):  # another was first, or the file system has no links
            os.link(written, path)
    if new and path.exists():
        os.unlink(written)
    else:
        os.replace(written, path)
    if hasattr(os, "O_DIRECTORY"):  # the name is on disk when the folder is
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _reason(error: BaseException) -> str:
    """Why torch does not read a file, without its advice to read it all the same."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
    line = next((line for line in lines if "Unsupported" in line), lines[0])
    return f"{type(error).__name__}: {line.partition('. ')[0]}".rstrip(": .")
