"""Blocks as a DataFrame, where a transformer is asked for one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import scipy.sparse as sp

from skmm._optional import import_optional
from skmm.blocks import Block, Blocks, RaggedArray
from skmm.blocks._divided import note_modalities


class FrameOutput:
    """``set_output`` of what makes Blocks: a column for each number of a sample."""

    _templates: Mapping[str, Block]

    _container: str | None = None

    def set_output(self, *, transform: str | None = None) -> Self:
        """Have ``transform`` return a DataFrame, with a column for each number of a sample.

        Parameters
        ----------
        transform : {"default", "pandas"} or None, default=None
            "default" are Blocks again; None changes nothing. scikit-learn's global setting is not listened to.

        Returns
        -------
        self : ModalityTransformer

        Raises
        ------
        ValueError
            If ``transform`` is none of these. Once it is "pandas", ``transform`` raises where a modality is neither
            a vector nor sparse: a row of numbers has no place for its shape.

        Notes
        -----
        The frame notes which columns are which modality, and an estimator whose ``modalities`` is None reads them
        so. Missing rows are NaN, and what was sparse is dense.

        Examples
        --------
        >>> import pandas as pd
        >>> from sklearn.preprocessing import StandardScaler
        >>> from skmm.compose import ModalityTransformer
        >>> df = pd.DataFrame({"price": [3.0, 5.0], "age": [8.0, 1.0]})
        >>> cost, age = ("cost", StandardScaler(), ["price"]), ("age", "passthrough", ["age"])
        >>> transformer = ModalityTransformer([cost, age])
        >>> transformer.set_output(transform="pandas").fit_transform(df)
           cost__price  age__age
        0         -1.0       8.0
        1          1.0       1.0
        """
        if transform not in (None, "default", "pandas"):
            raise ValueError(
                f"transform={transform!r} is none of 'default' and 'pandas'; from a frame of pandas others are "
                "made, polars.from_pandas(frame)."
            )
        if transform is not None:
            self._container = None if transform == "default" else transform
        return self

    def _check_container(self) -> None:
        """Refuse a frame of what is read batch by batch."""
        if self._container is not None:
            raise ValueError(
                "of a LazyTable Blocks are made, which are read batch by batch, and no frame: "
                "set_output(transform='default')."
            )

    def _contained(self, blocks: Blocks, X: Any) -> Any:
        """Blocks in the form that ``set_output`` asked for."""
        if self._container is None:
            return blocks
        pandas = import_optional("pandas", extra="dataframe")
        for name, kind in blocks.kinds.items():
            if kind not in ("vector", "sparse"):
                raise ValueError(
                    f"modality {name!r} is a {kind} block, of which set_output(transform='pandas') makes no "
                    "columns. Of Blocks, after set_output(transform='default'), ModalitySelector(form='summary') "
                    "does, and FlatEstimator gives them to tools that need one table."
                )
        names = self.get_feature_names_out()
        widths = {name: width(template) for name, template in self._templates.items()}
        ends = dict(zip(widths, np.cumsum(list(widths.values())).tolist(), strict=True))
        parts = [_as_columns(blocks[name], blocks.present[name]) for name in blocks]
        columns = np.concatenate([names[ends[name] - widths[name] : ends[name]] for name in blocks])
        frame = pandas.DataFrame(np.hstack(parts), index=getattr(X, "index", None), columns=columns)
        note_modalities(frame, {name: widths[name] for name in blocks})
        return frame

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        raise NotImplementedError


def _as_columns(block: Block, present: np.ndarray) -> np.ndarray:
    """A vector or sparse block as an array (n, d), missing rows NaN."""
    array = block.toarray() if sp.issparse(block) else np.asarray(block)
    if present.all():
        return array
    array = array.astype(np.result_type(array.dtype, np.float32))
    array[~present] = np.nan
    return array


def width(block: Block) -> int:
    """How many numbers make up a sample, or one step of a ragged sequence."""
    return int(np.prod(block.inner_shape if isinstance(block, RaggedArray) else block.shape[1:]))
