"""The processes that fit one estimator together, each a rank of ``torch.distributed``, or this one alone.

Whatever they share asks :func:`current`, and need not know whether there are several: alone, one rank has all.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:  # what predicts without torch says how far it is, and warns, as well
    from torch import Tensor

T = TypeVar("T")


class Ranks:
    """This process, alone.

    Attributes
    ----------
    rank : int
        Number of this process, from 0.
    world_size : int
        How many there are.
    local_rank : int or None
        Its number on its machine, by which it takes a GPU; None where it may take any.

    Examples
    --------
    >>> from skmm.distributed import data_parallel
    >>> with data_parallel() as ranks:
    ...     print(ranks.rank, ranks.world_size)
    0 1
    """

    rank = 0
    world_size = 1
    local_rank: int | None = None
    members = False  # whether each trains members of its own, not rows of its own

    def __repr__(self) -> str:
        return f"<rank {self.rank} of {self.world_size}>"

    @property
    def rows(self) -> Ranks:
        """Those among which rows are divided now."""
        return self

    @property
    def decisions(self) -> Ranks:
        """Those that decide together whether training goes on."""
        return self

    def mine(self, items: Sequence[T]) -> list[T]:
        """This rank's share of what is to be done."""
        return list(items[self.rank :: self.world_size])

    def gather(self, value: T) -> list[T]:
        """What each rank has, by rank."""
        return [value]

    def first(self, make: Callable[[], T]) -> T:
        """What the first rank makes, for all."""
        return make()

    def add(self, flat: Tensor) -> None:
        """Replace a tensor in place by its sum over the ranks, the same to the bit on each."""

    def spread(self, do: Callable[[Any], T], tasks: Sequence[Any]) -> list[T]:
        """What ``do`` gives for each task, each done by one of the ranks; the first error is raised on all."""
        return [do(task) for task in tasks]

    def agree(self, make: Callable[[], T], identity: Callable[[T], dict[str, Any]] | None = None) -> T:
        """What each rank makes alone, once it is known that all have made the same.

        Raises
        ------
        Exception
            Of this rank, as it is.
        RuntimeError
            If another rank raised; says which, and what.
        ValueError
            If what ``identity`` tells of a rank's result differs from that of the first; says in what.
        """
        return make()

    @contextlib.contextmanager
    def leaving(self) -> Iterator[None]:
        """What each rank does beside the others: if it raises here, these are not left waiting."""
        yield


class GroupRanks(Ranks):
    """This process among those of the default group of ``torch.distributed``, which has been made."""

    def __init__(self, local_rank: int | None, timeout: float, *, members: bool = False) -> None:
        import torch.distributed as dist

        self.dist = dist
        self.rank, self.world_size = dist.get_rank(), dist.get_world_size()
        self.local_rank, self.timeout, self.members = local_rank, timeout, members

    @contextlib.contextmanager
    def leaving(self) -> Iterator[None]:
        global _left
        try:
            yield
        except Exception as error:
            if not (_left or getattr(error, "of_all_ranks", False)):
                _left = f"{type(error).__name__} in a fit before, on rank {self.rank}"
                self.dist.destroy_process_group()  # which the others notice at once
            raise

    @contextlib.contextmanager
    def _together(self) -> Iterator[None]:
        """What all ranks do together; says so where one of them does not."""
        global _left
        check_together()
        try:
            yield
        except RuntimeError as error:
            _left = "an exchange that another rank did not take part in"
            raise RuntimeError(
                f"rank {self.rank} of {self.world_size}: another rank has ended, or did not answer within "
                f"{self.timeout:g} s (data_parallel(timeout=...)): {str(error).splitlines()[0]}"
            ) from error

    def gather(self, value: T) -> list[T]:
        found: list[Any] = [None] * self.world_size
        with self._together():
            self.dist.all_gather_object(found, value)
        return found

    def first(self, make: Callable[[], T]) -> T:
        found: list[Any] = [None]
        if self.rank == 0:
            found = [_tried(make)]
        with self._together():
            self.dist.broadcast_object_list(found, src=0)
        return _result(found[0])

    def add(self, flat: Tensor) -> None:
        with self._together():
            self.dist.all_reduce(flat)

    def spread(self, do: Callable[[Any], T], tasks: Sequence[Any]) -> list[T]:
        found = self.gather([_tried(functools.partial(do, task)) for task in self.mine(tasks)])
        return [_result(found[i % self.world_size][i // self.world_size]) for i in range(len(tasks))]

    def agree(self, make: Callable[[], T], identity: Callable[[T], dict[str, Any]] | None = None) -> T:
        made, error = _tried(make)
        told = None if error is not None or identity is None else identity(made)
        everyone = self.gather((None if error is None else f"{type(error).__name__}: {error}", told))
        if error is not None:
            raise error
        for rank, (raised, _) in enumerate(everyone):
            if raised is not None:
                raise RuntimeError(f"rank {rank} of {self.world_size} ended with {raised}")
        told_first = everyone[0][1] or {}
        differs = [
            f"{name} of rank {rank}{_quoted(value, told_first.get(name))}"
            for rank, (_, own) in enumerate(everyone)
            for name, value in (own or {}).items()
            if value != told_first.get(name)
        ]
        if differs:
            raise ValueError(
                f"the {self.world_size} ranks do not fit the same, rank 0 has another: {'; '.join(differs)}. Give "
                "every rank the same samples in the same order, and the same parameters."
            )
        return made


class ApartRanks(GroupRanks):
    """The same where each rank trains members of its own: rows are not divided.

    Where all have as many epochs they decide together (``in_step``) when training ends.
    """

    def __init__(self, ranks: GroupRanks, *, in_step: bool) -> None:
        self.__dict__.update(vars(ranks))
        self.in_step = in_step

    @property
    def rows(self) -> Ranks:
        return ALONE

    @property
    def decisions(self) -> Ranks:
        return self if self.in_step else ALONE


ALONE = Ranks()
_current: Ranks = ALONE
_left = ""  # why the ranks of this process are not together any more


def common(error: T) -> T:
    """An error that all ranks raise alike, so that they stay together."""
    vars(error)["of_all_ranks"] = True
    return error


def check_together() -> None:
    """Refuse to go on where a rank has left the others.

    Raises
    ------
    RuntimeError
        If it has; says why, and what to do.
    """
    if _left:
        raise RuntimeError(
            f"the ranks are not together any more, after {_left}: start all of them anew, "
            "with checkpoint= to go on where they were."
        )


def current() -> Ranks:
    """The ranks that fit together now."""
    return _current


@contextlib.contextmanager
def using(ranks: Ranks) -> Iterator[None]:
    """Fit with these in the block."""
    global _current
    before, _current = _current, ranks
    try:
        yield
    finally:
        _current = before


def _tried(make: Callable[[], Any]) -> tuple[Any, Exception | None]:
    """What is made, or the error."""
    try:
        return make(), None
    except Exception as error:
        return None, error


def _result(tried: tuple[Any, Exception | None]) -> Any:
    """What was made for all; the error is raised, on all."""
    made, error = tried
    if error is not None:
        raise common(error)
    return made


def _quoted(own: Any, of_first: Any) -> str:
    """Both values, where they come with what a message quotes."""
    if not (isinstance(own, tuple) and isinstance(of_first, tuple)):
        return ""
    return f" ({own[1]} there, {of_first[1]} on rank 0)"
