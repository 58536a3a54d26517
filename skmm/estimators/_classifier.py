"""The classifier."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.metaestimators import available_if

from skmm.estimators._base import MultimodalEstimator
from skmm.estimators._targets import Target, target_of_labels
from skmm.estimators._trained import can_partial_fit


class MultimodalClassifier(ClassifierMixin, MultimodalEstimator):
    """Classifier that fuses several kinds of input in one network.

    Parameters
    ----------
    fusion : str, Fusion, or nn.Module class or instance, default="concat"
        How the modalities are put together: a name from :func:`list_fusions`, ``Fusion("mfb", factor=5)``, or
        your own. "auto" takes "gated" where all of several modalities are sequences, else "concat".
    encoders : None, str, Encoder, nn.Module, or dict of str to these, default=None
        What reads each modality: one for all, or by modality. None, and ``"auto"``, choose by the kind of block
        (see :func:`list_encoders`). A module of your own maps a batch (B, ...) to (B, d) or (B, time, d).
        Fusions of the input, such as ``"early"``, use none.
    modalities : "auto", AutoModalities, ModalityTransformer, dict of str to columns, FlatLayout, default=None
        For a table as X (a 2-D array, a DataFrame of pandas or polars, a pyarrow Table, a Dataset of Hugging Face):
        "auto" finds out what its columns hold (numbers, categories, dates, texts, files of the working directory,
        arrays), and :class:`AutoModalities` says how; ``modalities__image__size``, ``modalities__errors`` and the
        like reach its parameters from here. A :class:`ModalityTransformer` is fitted as it is. Else the columns of
        each modality, by slice, numbers, mask or names, or the layout from :meth:`Blocks.to_flat`. None is "auto"
        for a table that holds anything but numbers; numbers alone are one modality named ``"X"``.
    hidden_dim : int or "auto", default="auto"
        Width of encoders and fusion, where they do not say otherwise. "auto": 256 from 4,000 samples on,
        below them 64, or 128 for more than ten outputs.
    dropout : float or "auto", default="auto"
        Dropout of encoders and fusion, where they do not say otherwise. "auto": 0.3 below 4,000 samples, else 0.1.
    activation : str, default="relu"
        Activation of encoders and fusion, where they do not say otherwise.
    optimizer : str, Optimizer or torch.optim class, default="adamw"
        A name from :func:`list_optimizers`, or ``Optimizer("sgd", momentum=0.9)``.
    lr : float or "auto", default="auto"
        Learning rate. "auto": 0.05 for sgd, 0.003 for adam and its kin.
    weight_decay : float, default=0.05
        Weight decay, on weights only, not on biases, norms and placeholders.
    lr_schedule : {"cosine", "linear", "step", "exponential", "constant"} or None, default="cosine"
        Course of the learning rate over training. "cosine" warms up over the first twentieth; "step" divides by
        ten at each third; "exponential" falls to a hundredth.
    max_epochs : int or "auto", default="auto"
        Passes over the data. "auto": enough for 800 steps, at least 5, at most 100. From 4,000 samples on, several
        members then train for as many again, and again, while the loss of what they left out falls by a hundredth
        and is within 15 % of that of what they saw; the best of these rounds is kept.
    batch_size : int or "auto", default="auto"
        Samples per step. "auto": 32 below 2,500 samples, 64 below 5,000, else 128.
    clip_grad_norm : float or None, default=None
        Largest norm of the gradient.
    early_stopping : bool, default=False
        Hold out a stratified part of the training samples, stop when the loss on it has not fallen for
        ``n_iter_no_change`` epochs, and keep the weights of its best epoch.
    validation_fraction : float, default=0.1
        Share of the training samples held out by ``early_stopping``.
    n_iter_no_change : int, default=10
        Epochs without improvement after which ``early_stopping`` ends training.
    tol : float, default=1e-4
        Least fall of the loss that ``early_stopping`` takes for an improvement.
    class_weight : dict, list of dicts, "balanced" or None, default=None
        Weights of the classes in the loss. For multilabel "balanced", or a dict ``{0: 1, 1: 5}`` for each label;
        the weights of a sample's labels are multiplied, as scikit-learn's forests do.
    scale_inputs : bool, default=True
        Learn a standardisation in fit and apply it: vectors per feature, sequences and images per channel, clipped
        at five deviations; sparse blocks are only divided by one number. False takes the values as they are.
    sparse_components : int or None, default=256
        A sparse block with more columns goes to its encoder compressed to this many by a truncated singular value
        decomposition, learned in fit; its modality head reads all columns besides. None hands the encoder all.
        The decomposition has at most 65,536 columns, those of the largest sum of squares.
    n_members : int, default=8
        Networks trained at once, each from other initial weights, in another order, and without one fold of the
        training samples (stratified by class, and by ``groups`` where given to ``fit``).
    modality_loss : float, default=0.5
        Weight in the loss of one head per modality beside the fused one, which makes each encoder useful by
        itself. 0 builds no such heads.
    modality_dropout : float, default=0.0
        Probability with which each modality of a training sample is hidden from a step, never all that it has: the
        network learns to do without, and then predicts where a whole modality is absent.
    augment : dict of str to augmentation or list of augmentations, or None, default=None
        Changes of training batches, never of predictions: by modality, and under ``"*"`` those of all modalities
        together, ``{"photo": [RandomFlip(), RandomCrop(2)], "*": Mixup(0.2)}`` (see :mod:`skmm.augmentation`). A
        grid reaches ``augment__photo__1__padding`` in a list, and ``augment__*__alpha`` where there is one.
    stack : bool or "auto", default="auto"
        Combine the heads by a convex model fitted on out-of-fold predictions; False averages the members' fused
        heads. "auto" stacks if there are several members.
    experts : "auto", None or dict, default="auto"
        Estimators of scikit-learn that join the heads in the stack by their own out-of-fold predictions, and
        predict as fitted on all samples: ``{"forest": RandomForestClassifier(), "boosting":
        (HistGradientBoostingClassifier(), ["text", "table"])}``, all modalities side by side or those named. They
        read what :class:`ModalitySelector` makes of them with ``form="summary"``, and say nothing of a sample
        without one of them that fewer than 30 training samples lacked. "auto" takes, from 100 samples on, linear
        models and extremely randomised trees, or from 10,000 on boosting, of each modality and of all, and boosting
        of all for one value or two classes; boosting only where its columns are few enough for the time. Of a
        sequence in memory a second linear model, "kernels", reads random convolutions (Dempster et al. 2020), where
        they are few enough for the time, too. None is the network alone. A grid reaches
        ``experts__forest__max_depth``.
    cv : int, splitter, iterable of splits, or None, default=None
        What members and experts leave out: a number of folds, from 2 to ``n_members``, or the splits of a splitter,
        of the samples in the order given. None makes a fold for each member. Where splits leave more out than they
        predict, or some samples in none, half of the members follow them, and the other half, which see all,
        predict.
    store_oof : bool, default=True
        Keep what heads and experts said of samples that they left out, ``oof_heads_``, of which heads and stack can
        be chosen anew after the fit. It takes 4 bytes for each sample, head and output.
    time_limit : float or None, default=None
        Seconds that a fit may take until training ends, with a shorter schedule and at least one epoch; a warning
        says how much was cut. Experts are fitted first: of those of "auto" no more begin after a third of the time,
        which a warning says too. The stack comes after training. Such a fit is not reproducible.
    warm_start : bool, default=False
        Go on from the last fit's network instead of a new one. A pickle then holds the state of the optimizer too.
    callbacks : list of skorch callbacks or None, default=None
        Handed to skorch. Those of scikit-learn are set by ``set_callbacks``, and are told of each epoch; where one
        asks to stop, training ends after it.
    checkpoint : path or None, default=None
        File to which training is written while it lasts: a fit that was killed, and is called again with the same
        parameters, samples and versions, goes on from there and ends with the same numbers. It is deleted when the
        fit has ended well; that of any other fit is refused. Needs ``random_state``. A clone, as searches and
        cross_validate make them, adds a digest of its fit to the name, so that each has a file of its own. The
        experts are not in it, nor anything of callbacks but what those with ``state_dict`` and ``load_state_dict``
        say. With it there is no ``partial_fit``.
    checkpoint_every : int, default=1
        Epochs after which it is written again.
    device : str, default="auto"
        Where to train: "cpu", "cuda", "cuda:1"; "auto" takes a GPU where there is one.
    precision : {"32", "bf16", "16"}, default="32"
        Arithmetic of the network in training: float32, or torch's automatic mixed precision with bfloat16 or
        float16 (its loss scaled against underflow). Weights, losses and predictions stay float32.
    compile : bool, default=False
        Compile the network for training by ``torch.compile``, as CUDA graphs on a GPU: the first steps take tens of
        seconds, those after them less than without, which pays for large networks and long training. Needs
        ``n_members=1`` and a fusion and encoders that torch can compile.
    n_jobs : int or None, default=None
        Processes that read lazy blocks (an HDF5 data set, files of ``ImageLoader(lazy=True)``) ahead of the batches
        that need them; -1 for one per core. None is what such a block's loader says, else 1, which reads each batch
        in this process when it is needed. Blocks in memory need none.
    random_state : int, RandomState instance or None, default=None
        Seed of the weights, the order of batches, dropout and held-out parts. With None each fit differs. Neither
        numpy's nor torch's global random state is read or changed.
    verbose : int, default=0
        1 shows what a fit, or a long prediction, is at: steps, rate and the time left, as bars on stderr; in logs
        and in processes of joblib as a line now and then. 2 prints skorch's log of each epoch as well. Both say
        what the columns of a table were taken for.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels; for multilabel targets the names of the columns of y, where that was a DataFrame, else their
        numbers.
    fusion_ : Fusion or nn.Module
        The fusion, which ``fusion="auto"`` chose.
    modalities_ : dict of str to BlockInfo
        Kind and shape of each modality, in order.
    net_ : skorch.NeuralNet
        The trained net; ``net_.module_`` is the network.
    history_ : skorch.history.History
        What each epoch left, ``history_[:, "train_loss"]``.
    loss_curve_ : list of float
        Training loss after each epoch.
    n_iter_ : int
        Epochs done.
    oof_prediction_ : ndarray of shape (n_samples, n_classes)
        With several members: probabilities of each training sample by the members, and a stack, that did not see
        it.
        Rows that no fold left out are NaN.
    oof_score_ : float
        Accuracy of these: an honest score without a held-out set. With a stack it is slightly optimistic on small
        data (measured on random labels: 0.02 at 120 samples, 0.01 at 1000), since the members whose outputs fit
        the stack know the labels of the fold on which it is scored.
    oof_heads_ : HeadOutputs
        With ``store_oof`` and a stack: what that was fitted to, as arrays: ``heads``, ``outputs`` (n, n_heads, C),
        their ``rows`` of X (distinct samples, in an order of their own), ``target``, ``weights``, ``groups``,
        ``fold`` (of the stack) and ``left_out`` (fold of the members).
    stack_weights_ : Table
        Weight of each head and expert in the stack.
    expert_scores_ : Table
        Accuracy and loss of each head and expert alone, on samples that it left out, of which it knows something:
        whether the network was worth it.
    experts_ : object or None
        The fitted experts; ``experts_.names`` are theirs.
    modality_transformer_ : ModalityTransformer
        Of a table whose columns were typed: what reads them; its ``describe()`` says what was decided of each.
    n_features_in_ : int
        Columns of a 2-D X; of a Blocks all numbers of a sample.
    feature_names_in_ : ndarray of str
        Column names, where X was a DataFrame.

    Notes
    -----
    Training runs in float32. Predictions are computed in float64 where every block is given in float64 or wide
    integers, as scikit-learn keeps the precision of its input, otherwise in float32.

    Identical samples are merged and their weights added before training, and the order in which samples are given
    means nothing: a sample given twice is the same as one of weight 2. Samples with several dimensions, sparse
    or ragged, are treated alike; with a lazily read block samples stay as they come.

    A row that lacks a modality (all NaN, or None) is learned from and predicted without it. A row that lacks all
    gets the class frequencies of training, with a warning.

    Examples
    --------
    >>> import numpy as np
    >>> from skmm import Blocks, MultimodalClassifier
    >>> rng = np.random.RandomState(0)
    >>> y = rng.randint(2, size=60)
    >>> X = Blocks(text=y[:, None] + rng.randn(60, 5), audio=y[:, None, None] + rng.randn(60, 12, 3))
    >>> clf = MultimodalClassifier(fusion="mfb", max_epochs=20, random_state=0).fit(X, y)
    >>> clf.predict_proba(X[:3]).shape
    (3, 2)
    >>> clf.score(X, y) > 0.9
    True
    """

    def __init__(
        self,
        fusion: Any = "concat",
        *,
        encoders: Any = None,
        modalities: Any = None,
        hidden_dim: int | str = "auto",
        dropout: float | str = "auto",
        activation: str = "relu",
        optimizer: Any = "adamw",
        lr: float | str = "auto",
        weight_decay: float = 0.05,
        lr_schedule: str | None = "cosine",
        max_epochs: int | str = "auto",
        batch_size: int | str = "auto",
        clip_grad_norm: float | None = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        class_weight: Any = None,
        scale_inputs: bool = True,
        sparse_components: int | None = 256,
        n_members: int = 8,
        modality_loss: float = 0.5,
        modality_dropout: float = 0.0,
        augment: Any = None,
        stack: bool | str = "auto",
        experts: Any = "auto",
        cv: Any = None,
        store_oof: bool = True,
        time_limit: float | None = None,
        warm_start: bool = False,
        callbacks: list[Any] | None = None,
        checkpoint: Any = None,
        checkpoint_every: int = 1,
        device: str = "auto",
        precision: str = "32",
        compile: bool = False,
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.fusion = fusion
        self.encoders = encoders
        self.modalities = modalities
        self.hidden_dim = hidden_dim
        self.dropout = dropout
        self.activation = activation
        self.optimizer = optimizer
        self.lr = lr
        self.weight_decay = weight_decay
        self.lr_schedule = lr_schedule
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.clip_grad_norm = clip_grad_norm
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.class_weight = class_weight
        self.scale_inputs = scale_inputs
        self.sparse_components = sparse_components
        self.n_members = n_members
        self.modality_loss = modality_loss
        self.modality_dropout = modality_dropout
        self.augment = augment
        self.stack = stack
        self.experts = experts
        self.cv = cv
        self.store_oof = store_oof
        self.time_limit = time_limit
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.checkpoint = checkpoint
        self.checkpoint_every = checkpoint_every
        self.device = device
        self.precision = precision
        self.compile = compile
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    @available_if(can_partial_fit)
    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None, n_parts: int | None = None
    ) -> Self:
        """Train for one pass over some samples; the input scaling is that of the first call.

        Parameters
        ----------
        X : Blocks, dict of arrays, or array-like or sparse matrix of shape (n_samples, n_features)
            Samples.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Class labels, or a matrix of 0 and 1.
        classes : array-like of shape (n_classes,), optional
            All classes that there will be. Needed in the first call, unless ``y`` holds them all.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the samples, not negative.
        n_parts : int, optional
            How many calls there will be, with parts of about this size: the schedule of the learning rate is spread
            over them. Said in the first call; None leaves the learning rate as it is.

        Returns
        -------
        self
        """
        if self.class_weight == "balanced":
            raise ValueError(
                "class_weight='balanced' needs all of y at once; for partial_fit give a dict of weights."
            )
        first = not hasattr(self, "net_")
        if not first and classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            raise ValueError(f"classes={classes!r} is not the same as in the first call, {self.classes_.tolist()}.")
        known = None if classes is None else np.unique(np.asarray(classes))
        return self._fit(X, y, sample_weight, reset=first, epochs=1, classes=known, n_parts=n_parts)

    def _first_target(self, y: Any, classes: np.ndarray | None) -> tuple[Target, np.ndarray]:
        return target_of_labels(y, classes)

    # -- predictions ---------------------------------------------------------------------------------------------

    def decision_function(self, X: Any) -> np.ndarray:
        """Logits.

        Parameters
        ----------
        X : Blocks, dict of arrays, or array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), or (n_samples,) for two classes
            For two classes the log-odds of the second; for multilabel the log-odds of each output.
        """
        logits = self._outputs(X)
        if self._target.competing and logits.shape[1] == 2:
            return logits[:, 1] - logits[:, 0]
        return logits

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of the classes.

        Parameters
        ----------
        X : Blocks, dict of arrays, or array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            For multilabel the probability that each output is 1.
        """
        outputs = self._outputs(X)
        return self._target.finish(outputs)

    def predict_proba_by_head(self, X: Any) -> dict[str, np.ndarray]:
        """Probabilities according to each head alone.

        Parameters
        ----------
        X : Blocks, dict of arrays, or array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        dict of str to ndarray of shape (n_samples, n_classes)
            ``"fused"`` (``"fused_"`` where a modality has that name), and with ``modality_loss`` above 0 each
            modality; averaged over the members, NaN where the modality is missing. Experts by their own names.
        """
        return self._finished_by_head(X)

    def predict(self, X: Any) -> np.ndarray:
        """Most probable class.

        Parameters
        ----------
        X : Blocks, dict of arrays, or array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples,), or (n_samples, n_outputs) of 0 and 1 for multilabel
        """
        outputs = self._outputs(X)
        return self._target.choose(outputs)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
