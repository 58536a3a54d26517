"""Which types a file may name without the user's saying so.

A list of names, not a rule: what is added to the package later is not trusted before somebody has thought about it.
What looks for a model by a name or path that the file gives, and what reads files of one, is not on it.
"""

from __future__ import annotations

import torch

from skmm.spec import OPTIMIZERS

_SKMM = {
    "augmentation._compose": "_OfModality",
    "augmentation.joint": "CutMix Mixup ModalityDropout",
    "augmentation.modality": "ColorJitter GaussianNoise RandomCrop RandomFlip SpecAugment TimeMask TimeShift "
    "TokenDropout TokenSwap",
    "blocks._blocks": "FlatLayout FlatPart",
    "blocks._flat": "FlatLayout FlatPart",
    "blocks._kinds": "BlockInfo RaggedArray",
    "columns._cells": "ColumnTfidf as_date date_names dates listed numbers stacked texts token_ids",
    "columns._levels": "Categories Known",
    "columns._written": "NumberForm",
    "compose._auto": "AutoModalities",
    "compose._findings": "Found",
    "compose._flat": "FlatEstimator",
    "compose._frames": "_Decision",
    "compose._selector": "ModalitySelector",
    "compose._table": "_Compression _KnownColumns _segments _tokens",
    "compose._transformer": "ModalityTransformer",
    "compression._distilled": "Distilled",
    "compression._pruned": "Pruned",
    "estimators._classifier": "MultimodalClassifier",
    "estimators._expert_menu": "Choice",
    "estimators._experts": "Experts Trained",
    "estimators._flat": "FlatForm",
    "estimators._kernels": "RandomKernels",
    "estimators._regressor": "MultimodalRegressor",
    "estimators._stack": "Stack",
    "estimators._stacking": "HeadOutputs",
    "estimators._targets": "ClassTarget LabelsTarget ValueTarget",
    "inputs._inputs": "Inputs",
    "inputs._scaling": "Projection Scaler",
    "inspection.prediction_sets": "ConformalClassifier ConformalRegressor",
    "layers": "Attention Conv1d DenseBlock SparseLinear TransformerBlock",
    "model_selection._search": "FusionSearchCV",
    "network._encoders": "UserEncoder",
    "preprocessing.audio": "AudioLoader LogMel MFCC",
    "preprocessing.image": "ImageLoader",
    "preprocessing.table": "TableTokens",
    "preprocessing.text": "TextTokens",
    "preprocessing.video": "VideoAudio VideoFrames",
    "spec": "Encoder Fusion Optimizer",
    "speech._network": "ContextDropout FrameFusion SpeechNet",
    "speech._recognizer": "SpeechRecognizer",
    "training._net": "MultimodalNet",
}
TRUSTED = frozenset(
    {f"skmm.{module}.{name}" for module, names in _SKMM.items() for name in names.split()}
    # what boosting and searches hold, which are no estimators
    | {"sklearn.ensemble._hist_gradient_boosting.binning._BinMapper", "sklearn.metrics._scorer._PassthroughScorer"}
    | {f"{cls.__module__}.{cls.__qualname__}" for cls in OPTIMIZERS.values()}
    # layers that a module of the user's own may have
    | {
        f"{cls.__module__}.{cls.__qualname__}"
        for cls in vars(torch.nn).values()
        if isinstance(cls, type) and issubclass(cls, torch.nn.Module)
    }
)

_TREE = (
    "sklearn.tree._tree.Tree",
    "it calls its trees without a look at their samples, and follows indices in them, which may lead anywhere",
)
_SVM = "libsvm computes with its arrays without a look at their sizes"
_LOOKS_UP = "it looks for a model by a name or path that the file gives"
# Types that skops trusts, or that are no secret, with the type that the user must name all the same, and why.
WARNED: dict[str, tuple[str, str]] = {
    **{
        f"sklearn.ensemble.{name}": _TREE
        for name in ("_gb.GradientBoostingClassifier", "_gb.GradientBoostingRegressor", "_iforest.IsolationForest")
    },
    **{
        (path := f"sklearn.svm._classes.{name}"): (path, _SVM)
        for name in ("SVC", "NuSVC", "SVR", "NuSVR", "OneClassSVM")
    },
    **{
        (path := f"skmm.{name}"): (path, _LOOKS_UP)
        for name in (
            "encoders.pretrained.PretrainedEncoder",
            "encoders.pretrained.PretrainedReader",
            "preprocessing.image.ImageEmbedder",
            "preprocessing.pretrained.PretrainedTokens",
            "preprocessing.text.TextEmbedder",
        )
    },
}
