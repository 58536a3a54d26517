"""What is known of the modalities that an estimator was fitted to, and the checks of others against it.

Nothing here needs torch, so that what predicts without it reads its samples in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from skmm._checks import unknown
from skmm.blocks import KINDS, BlockInfo, Blocks, block_kind
from skmm.blocks._blocks import trusted_blocks
from skmm.blocks._given import check_finite
from skmm.blocks._kinds import as_kind, is_list_of_none, sample_shape


class KnownInputs:
    """Names, kinds and shapes of the modalities of a fit, and which of them its samples had and lacked.

    Attributes
    ----------
    infos : dict of str to BlockInfo
        The modalities as the network reads them.
    sources : dict of str to BlockInfo
        What a frozen encoder reads, where it makes vectors of a modality.
    readers : dict of str to object
        What prepares the raw samples of an encoder that reads such.
    seen : set of str
        Modalities that some training sample had.
    lacked : set of str
        Modalities that some training sample lacked.
    held_out : set of str
        Modalities that only samples had which the training did not see.
    ignored : frozenset of str
        Modalities that are not read, whether they are there or not: those that were pruned.
    """

    infos: dict[str, BlockInfo]
    sources: dict[str, BlockInfo]
    readers: dict[str, Any]
    seen: set[str]
    lacked: set[str]
    held_out: set[str]
    ignored: frozenset[str] = frozenset()

    def _note(self, blocks: Blocks) -> None:
        """Remember which modalities samples had, and which they lacked."""
        # new sets: what a fit that goes on adds is to be forgotten if it fails
        self.seen = self.seen | {name for name, mask in blocks.present.items() if mask.any()}
        lacked = {name for name, mask in blocks.present.items() if not mask.all()}
        self.lacked = self.lacked | lacked | (self.infos.keys() - blocks.keys())
        self.held_out = self.held_out - self.seen

    def convert(self, blocks: Blocks) -> Blocks:
        """The modalities of the fit, in its order and of the kinds that it had there.

        Those of which no sample tells anything are left out.
        """
        present = {
            name: np.zeros_like(mask) if name in self.held_out else mask for name, mask in blocks.present.items()
        }
        names = [n for n in self.infos if n in blocks and not is_list_of_none(blocks[n], present[n])]
        converted = {name: as_kind(blocks[name], (self._read_info(name).kind,)) for name in names}
        return trusted_blocks(converted, {name: present[name] for name in names}, len(blocks))

    def _read_info(self, name: str) -> BlockInfo:
        """The block as it comes in, which a frozen encoder turns into vectors."""
        return self.sources.get(name, self.infos[name])

    @property
    def n_features(self) -> int:
        """Numbers per sample; per step for a sequence without one length."""
        return sum(math.prod(info.shape) * (info.length or 1) for info in self.infos.values())

    def check_present(self, present: Mapping[str, np.ndarray]) -> None:
        """Refuse modalities that are absent, foreign, or there where nothing is known of them, by rows of each."""
        if list(present) == ["X"] and "X" not in self.infos:
            raise ValueError(
                f"X is a table without names of modalities; fitted with {list(self.infos)}. Give Blocks of these. "
                "To a tool that makes arrays of X, as MAPIE does, give flat, layout = X.to_flat(), and to the "
                "estimator modalities=layout; or FlatEstimator(estimator) in a pipeline."
            )
        for name in self.infos:
            if name not in present and name not in self.lacked:
                raise ValueError(
                    f"modality {name!r} is missing; fitted with {list(self.infos)}, got {list(present)}, and no "
                    "training sample lacked it. An estimator learns to do without a modality from samples that "
                    "lack it, or with modality_dropout, e.g. modality_dropout=0.2."
                )
        for name in present:
            if name not in self.infos:
                raise unknown("modality", name, self.infos)
            if name not in self.seen | self.held_out and present[name].any():
                raise ValueError(
                    f"modality {name!r}, row {present[name].argmax()}: there is a value, but every training "
                    "sample lacked this modality, so nothing is known of it."
                )

    def check(self, blocks: Blocks, *, training: bool = False) -> Blocks:
        """Samples as training's were, or an error that names the modality and what was expected.

        A modality may be absent as a whole where training knew samples without it. What ``training`` goes on with
        adds to what is known. One that is a list of None is left out of what is returned.
        """
        if self.ignored:
            there = {name: mask for name, mask in blocks.present.items() if name not in self.ignored}
            blocks = trusted_blocks({name: blocks[name] for name in there}, there, len(blocks))
        if training:
            self._note(blocks)
        self.check_present(blocks.present)
        blocks = self.convert(blocks)
        for name, block in blocks.items():
            info = self._read_info(name)
            kind = block_kind(block)
            if kind != info.kind:
                raise ValueError(
                    f"modality {name!r} was {info.kind} in fit ({KINDS[info.kind]}), now it is {kind}."
                )
            if kind != "tokens" and sample_shape(block) != info.shape:
                raise ValueError(
                    f"modality {name!r} has {_shape_text(kind, sample_shape(block))}, "
                    f"fitted with {_shape_text(kind, info.shape)}."
                )
            if name in self.readers:
                self.readers[name].check(name, kind, block)
        check_finite(blocks)
        return blocks


def _shape_text(kind: str, shape: tuple[int, ...]) -> str:
    if kind in ("vector", "sparse"):
        return f"{shape[0]} features"
    return f"steps of shape {shape}" if kind == "sequence" else f"samples of shape {shape}"
