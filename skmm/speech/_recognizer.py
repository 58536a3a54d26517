"""SpeechRecognizer: audio, and what helps to understand it, to transcripts."""

from __future__ import annotations

import copy
import functools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from sklearn.callback import with_callbacks
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import check_is_fitted, column_or_1d

from skmm._checks import unknown
from skmm._devices import draw_seed, find_device, seeded
from skmm._fitting import all_or_nothing
from skmm._private import check_sample_weight
from skmm._progress import showing
from skmm._ranks import current
from skmm._warnings import warn
from skmm.augmentation import CutMix, Mixup, ModalityDropout, augmentations, compose
from skmm.blocks import Blocks
from skmm.blocks._given import as_blocks, check_finite
from skmm.estimators._trained import TrainedEstimator, of_training
from skmm.inputs._inputs import Inputs
from skmm.metrics import check_transcripts, word_error_rate
from skmm.network._encoders import check_encoders, settled
from skmm.network._members import MemberNetworks
from skmm.speech._audio import Audio, audio_lengths, choose_strides, find_audio, given_audio, refuse_integers
from skmm.speech._network import (
    ContextDropout,
    SpeechNet,
    SpeechNetwork,
    SpeechSet,
    ctc_error,
    n_frames,
    split_by_length,
)
from skmm.speech._transcribing import Decoding
from skmm.speech._transcripts import drop_unusable, encode
from skmm.speech.decoding import tidy
from skmm.training._losses import HeadsLoss
from skmm.training._optimizers import auto_batch_size
from skmm.training._plan import encode_marks
from skmm.training._samples import canonical
from skmm.training._tasks import FitTasks

_ERRORS = ("raise", "drop")


class Prepared(NamedTuple):
    """What a fit knows before there is a network; nothing of it is changed later.

    Attributes
    ----------
    blocks : Blocks
        All samples.
    inputs : Inputs
        What is remembered of the modalities.
    audio : Audio
        The audio among them.
    symbols : list of str
        What transcripts are made of.
    encoded : ndarray of int, shape (n_samples, longest)
        Transcripts as numbers of the symbols, filled up with -1.
    rows, weights : ndarray of shape (n_distinct,)
        A row of each distinct sample, and its weight.
    train, valid : ndarray of int
        Those that train, and those that stop the training early (None for none), as positions in ``rows``.
    texts : Counter of str
        The transcripts that are learned from.
    random : RandomState
        From which the fit draws on, in a copy.
    split_seed : int
        Seed of the part that is held out.
    """

    blocks: Blocks
    inputs: Inputs
    audio: Audio
    symbols: list[str]
    encoded: np.ndarray
    rows: np.ndarray
    weights: np.ndarray
    train: np.ndarray
    valid: np.ndarray | None
    texts: Counter[str]
    random: np.random.RandomState
    split_seed: int


class SpeechRecognizer(Decoding, TrainedEstimator):
    """Recogniser of speech: y are transcripts, X is audio and, if there is any, what helps to understand it.

    Convolutions shorten the audio's time axis, an encoder reads it, a fusion brings the other modalities (a context
    sentence, expected words, a first-pass hypothesis, lips) to each of its frames, and a softmax gives the
    probability of each symbol in each frame, trained by connectionist temporal classification (CTC), which needs
    no alignment. The symbols are the characters of the training transcripts, in any script. Text helps a second
    way: an n-gram language model of words or characters, learned from the transcripts and from any further text,
    is weighed in by the beam search.

    Parameters
    ----------
    fusion : {"concat", "film", "attention", "crossmodal"} or Fusion, default="concat"
        How each frame of the audio is put together with the other modalities. "concat" and "film" take the mean of
        a modality's tokens; with "attention" each frame reads the tokens, "crossmodal" stacks layers of it.
        ``Fusion("crossmodal", n_layers=2)`` sets parameters. Without another modality nothing is fused.
    audio : str, default=None
        The modality that is transcribed: a sequence, log-mel frames (time, d) or a waveform (time,), one channel of
        floats. None takes the only sequence there is.
    encoders : None, str, Encoder, nn.Module, or dict of str to these, default=None
        What reads each modality (see :func:`list_encoders`); for the audio it reads the shortened frames and keeps
        their number: "gru", "lstm", "conformer", "transformer". None is for the audio
        ``Encoder("gru", n_layers=2, bidirectional=True)``, for the others chosen by the kind of block.
    subsampling : tuple of int or "auto", default="auto"
        Strides of the convolutions before the encoder. "auto": ``(2,)`` for frames of several features, which at
        the usual 100 per second leaves one symbol every 20 ms at most, and ``(80, 2)`` for waveforms.
    hidden_dim : int, default=128
        Width of subsampling, encoders and fusion, where they do not say otherwise.
    dropout : float, default=0.2
        Dropout of encoders and fusion, where they do not say otherwise.
    activation : str, default="relu"
        Activation, where encoders and fusion do not say otherwise.
    decoder : {"greedy", "beam"}, default="greedy"
        "greedy" takes the most probable path; "beam" searches for the most probable transcript, with the language
        model. This and the next six parameters can be set after ``fit`` and hold from then on; see also
        :meth:`tune_decoding`.
    beam_width : int, default=16
        Beginnings of transcripts that the beam search keeps.
    lm_weight : float, default=0.5
        Weight of the language model's log-probability in the beam search.
    word_bonus : float, default=0.0
        Added to a transcript's score per word (per character with ``lm_unit="character"``).
    lm_unit : {"word", "character"}, default="word"
        What the language model counts. With "word" unseen words are spelled by a model of characters;
        "character" is for scripts without spaces.
    lm_order : int, default=3
        n of the language model's n-grams.
    lm_corpus : iterable of str, default=None
        Sentences that the language model learns from beside the transcripts: a list, an array, a Series. It is read
        anew each time, so a change in it holds from the next prediction on.
    errors : {"raise", "drop"}, default="raise"
        What ``fit`` does with a transcript that has more symbols than its audio has frames for, whose CTC loss is
        infinite: an error that names the row, or leave these rows out, with one warning. Of what is left out
        nothing is learned, neither symbols nor words.
    optimizer : str, Optimizer or torch.optim class, default="adamw"
        A name from :func:`list_optimizers`, or ``Optimizer("sgd", momentum=0.9)``.
    lr : float or "auto", default="auto"
        Learning rate. "auto": 0.05 for sgd, 0.003 for adam and its kin.
    weight_decay : float, default=0.01
        Weight decay, on weights only.
    lr_schedule : {"cosine", "linear", "step", "exponential", "constant"} or None, default="cosine"
        Course of the learning rate over training.
    max_epochs : int or "auto", default="auto"
        Passes over the data. "auto": enough for 2000 steps, at least 10, at most 100.
    batch_size : int or "auto", default="auto"
        Most samples per step. "auto": 32 below 2,500 samples, 64 below 5,000, else 128. Batches are of samples of
        similar length, and smaller where these are much longer than most.
    clip_grad_norm : float or None, default=5.0
        Largest norm of the gradient.
    early_stopping, validation_fraction, n_iter_no_change, tol
        As for :class:`MultimodalClassifier`, with the CTC loss; not stratified.
    scale_inputs : bool, default=True
        Standardise each feature of the frames and of the other modalities, as learned in fit.
    sparse_components : int or None, default=256
        As for :class:`MultimodalClassifier`, for a sparse context.
    modality_dropout : float, default=0.0
        Probability with which each modality but the audio is hidden from a training sample: the network learns to
        do without, and then predicts where it is absent.
    augment : dict of str to augmentations, default=None
        What is done to training samples, as for :class:`MultimodalClassifier`; ``{"audio": SpecAugment()}`` hides
        stretches of time and bands of log-mel frames. Mixup and CutMix are refused: they would have the transcript
        of one sample said by the audio of another, which may be too short for it.
    warm_start : bool, default=False
        Go on from the last fit's network; the symbols stay those of the first. The language model counts each
        transcript as often as the fit that held it most often did: the same samples are not counted twice.
    callbacks : list of skorch callbacks or None, default=None
        Handed to skorch. Those of scikit-learn are set by ``set_callbacks``.
    checkpoint, checkpoint_every
        As for :class:`MultimodalClassifier`.
    device : str, default="auto"
        Where to train; "auto" takes a GPU where there is one.
    random_state : int, RandomState instance or None, default=None
        Seed of the weights, the order of batches, dropout and held-out parts. Neither numpy's nor torch's global
        random state is read or changed.
    verbose : int, default=0
        1 shows steps, rate and the time left on stderr, 2 skorch's log of each epoch as well.

    Attributes
    ----------
    symbols_ : list of str
        Characters that can be predicted, sorted; ``emissions`` has the blank before them.
    audio_ : str
        The modality that is transcribed.
    modalities_ : dict of str to BlockInfo
        Kind and shape of each modality.
    n_features_in_ : int
        Numbers per sample, over all modalities; of a sequence without one length, per step.
    net_ : skorch.NeuralNet
        The trained net; ``net_.module_`` is the network.
    history_, loss_curve_, n_iter_
        As for :class:`MultimodalClassifier`.

    Notes
    -----
    All audio must have one rate: arrays carry none, and frames of a 16 kHz recording mean nothing to a network that
    learned from 8 kHz. :class:`skmm.preprocessing.audio.AudioLoader` brings files, and pairs of array and sample
    rate, to one; bare arrays it takes to have it already. It also scales integers to floats and makes one channel
    of several: an array (time, 2) is otherwise read as frames of two features, or refused, if it has more than 2000
    steps and ``subsampling="auto"``.

    Spaces at the ends of a transcript are dropped, several in a row are one. An empty transcript is learned from:
    it says that all frames are blank. A sample without audio is left out of training, and its prediction is empty,
    both with a warning. A symbol that no training transcript held is never predicted: in ``score`` it is an error.
    Where ``warm_start`` goes on, a transcript that holds one is refused.

    Batches are of samples of similar length and of bounded size, so that a recording of a minute among seconds
    costs the memory of a minute, not that of a batch of minutes.

    The beam search is that of flashlight-text, the word error rate that of jiwer (``pip install "skmm[speech]"``).
    Training and greedy decoding need neither.

    The score of a transcript y in the beam search is log p(y | x) + ``lm_weight`` · log p(y) + ``word_bonus`` ·
    words(y). A search over decoding parameters trains a network per candidate if GridSearchCV does it;
    :meth:`tune_decoding` trains none.

    References
    ----------
    Graves et al. 2006, Connectionist temporal classification: labelling unsegmented sequence data with recurrent
    neural networks.

    Examples
    --------
    >>> from skmm.datasets import make_spoken_sequences
    >>> from skmm.preprocessing import LogMel
    >>> from skmm.speech import SpeechRecognizer
    >>> X, y = make_spoken_sequences(60, n_words=(1, 3), n_syllables=4, difficulty=0.0, random_state=0)
    >>> X = {"audio": LogMel(8000, n_mels=20).fit_transform(X["audio"]), "context": X["context"]}
    >>> recognizer = SpeechRecognizer(
    ...     encoders={"audio": "gru"}, subsampling=(4,), hidden_dim=48, dropout=0.0, lr=0.01, batch_size=4,
    ...     max_epochs=20, random_state=0,
    ... )
    >>> recognizer.fit(X, y).score(X, y) > 0.9
    True
    >>> len(recognizer.predict(X)), recognizer.symbols_[:4]
    (60, [' ', 'a', 'i', 'k'])
    """

    inputs_: Inputs
    net_: SpeechNet
    audio_: str
    _strides: tuple[int, ...]

    def __init__(
        self,
        fusion: Any = "concat",
        *,
        audio: str | None = None,
        encoders: Any = None,
        subsampling: Any = "auto",
        hidden_dim: int = 128,
        dropout: float = 0.2,
        activation: str = "relu",
        decoder: str = "greedy",
        beam_width: int = 16,
        lm_weight: float = 0.5,
        word_bonus: float = 0.0,
        lm_unit: str = "word",
        lm_order: int = 3,
        lm_corpus: Iterable[str] | None = None,
        errors: str = "raise",
        optimizer: Any = "adamw",
        lr: float | str = "auto",
        weight_decay: float = 0.01,
        lr_schedule: str | None = "cosine",
        max_epochs: int | str = "auto",
        batch_size: int | str = "auto",
        clip_grad_norm: float | None = 5.0,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        scale_inputs: bool = True,
        sparse_components: int | None = 256,
        modality_dropout: float = 0.0,
        augment: Mapping[str, Any] | None = None,
        warm_start: bool = False,
        callbacks: list[Any] | None = None,
        checkpoint: Any = None,
        checkpoint_every: int = 1,
        device: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.fusion = fusion
        self.audio = audio
        self.encoders = encoders
        self.subsampling = subsampling
        self.hidden_dim = hidden_dim
        self.dropout = dropout
        self.activation = activation
        self.decoder = decoder
        self.beam_width = beam_width
        self.lm_weight = lm_weight
        self.word_bonus = word_bonus
        self.lm_unit = lm_unit
        self.lm_order = lm_order
        self.lm_corpus = lm_corpus
        self.errors = errors
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
        self.scale_inputs = scale_inputs
        self.sparse_components = sparse_components
        self.modality_dropout = modality_dropout
        self.augment = augment
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.checkpoint = checkpoint
        self.checkpoint_every = checkpoint_every
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    # -- input ---------------------------------------------------------------------------------------------------

    def _check_params(self) -> None:
        super()._check_params()
        self._check_decoding()
        if self.errors not in _ERRORS:
            raise unknown("errors", self.errors, _ERRORS)
        for _, change in augmentations(self.augment):
            if isinstance(change, ModalityDropout):
                raise ValueError(
                    "augment holds a ModalityDropout, which would hide the audio too; modality_dropout= hides the "
                    "others alone."
                )
            if isinstance(change, Mixup | CutMix):
                raise ValueError(
                    f"augment holds a {type(change).__name__}, which would have the audio of one sample say the "
                    "transcript of another, for which it may be too short; augmentations of the audio alone, such "
                    "as SpecAugment, do not."
                )
        strides = self.subsampling
        auto = isinstance(strides, str) and strides == "auto"
        if not auto and not (
            isinstance(strides, Sequence)
            and strides
            and all(isinstance(s, int | np.integer) and not isinstance(s, bool) and s > 0 for s in strides)
        ):
            raise ValueError(f"subsampling must be 'auto' or a tuple of strides such as (2, 2), got {strides!r}.")

    def _read(self, X: Any, *, reset: bool) -> Blocks:
        """X as Blocks; audio alone may come without its name, and as files."""
        return as_blocks(given_audio(X, self.audio), reset=reset)

    def _check_input(self, blocks: Blocks) -> Blocks:
        """Samples as the first fit's were."""
        if self.audio_ in blocks:
            refuse_integers(self.audio_, blocks[self.audio_])
        return self.inputs_.check(blocks)

    # -- fit -----------------------------------------------------------------------------------------------------

    @with_callbacks
    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> Self:
        """Train the network, and learn the symbols and the language model.

        Parameters
        ----------
        X : Blocks, dict of arrays, or list or array of audio
            Samples. Files of sound, by their paths or contents, become the log-mel frames of ``AudioLoader()`` and
            ``LogMel()``; where paths come from others, let ``AudioLoader(within=...)`` read them in a pipeline.
        y : array-like of str, shape (n_samples,)
            Transcripts.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the samples, not negative.
        groups : array-like of shape (n_samples,), optional
            Group of each sample, such as its speaker, which ``early_stopping`` does not part.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If something is wrong with the parameters or the samples. The estimator is then as it was before.
        KeyboardInterrupt
            After Ctrl-C, so that whatever runs this fit ends too. After whole epochs what was learned is kept, and
            the estimator is fitted; before the first has ended it is as it was before.
        """
        going_on = self.warm_start and hasattr(self, "net_")
        current().agree(self._check_params)
        tasks = FitTasks(self, 1, X, y, sample_weight)
        with showing(bool(self.verbose)), all_or_nothing(self, self.net_.undo() if going_on else None):
            prepared = self._prepare(X, y, sample_weight, groups, reset=not going_on)
            random, device = copy.deepcopy(prepared.random), find_device(self.device)
            with seeded(draw_seed(random), device):
                net = self.net_ if going_on else self._build(prepared, random, device)
                training, validation = self._load_training(prepared, net, device)
                tasks.fitted = functools.partial(self._fitted_by, prepared, random, reset=not going_on)
                checkpoint = self._train(net, training, validation, tasks=tasks)
            self._learn_language(prepared.texts, reset=not going_on)
            self._assign(self._learned(prepared, random, reset=not going_on), net)
            tasks.finish()
        self._end(checkpoint)
        return self

    @staticmethod
    def _learned(prepared: Prepared, random: np.random.RandomState, *, reset: bool) -> dict[str, Any]:
        """Fitted attributes beside those of the net and of the language."""
        fitted = {"inputs_": prepared.inputs, "symbols_": prepared.symbols, "_random": random}
        if reset:
            fitted |= {
                "audio_": prepared.audio.name,
                "modalities_": prepared.inputs.infos,
                "n_features_in_": prepared.inputs.n_features,
                "_strides": prepared.audio.strides,
                "_split_seed": prepared.split_seed,
            }
        return fitted

    def _fitted_by(
        self, prepared: Prepared, random: np.random.RandomState, net: SpeechNet, *, reset: bool
    ) -> dict[str, Any]:
        """All with which a copy of the recogniser transcribes by a net in training."""
        language = {"_texts": prepared.texts if reset else self._texts | prepared.texts, "_language_made": None}
        return {**language, **self._learned(prepared, random, reset=reset), **of_training(net.snapshot())}

    def _read_samples(
        self, X: Any, y: Any, sample_weight: Any, groups: Any, *, reset: bool
    ) -> tuple[Blocks, list[str], np.ndarray, np.ndarray | None]:
        """Samples, transcripts, weights and groups as they were given, checked."""
        self._check_supervised(y)
        blocks = self._read(X, reset=reset)
        texts = [tidy(text) for text in check_transcripts(y)]
        check_consistent_length(blocks, texts, groups)
        groups = None if groups is None else encode_marks(column_or_1d(groups), "groups")
        weights = check_sample_weight(
            sample_weight,
            np.empty(len(texts)),
            dtype=np.float64,
            ensure_non_negative=True,
            allow_all_zero_weights=False,
        )
        return blocks, texts, weights, groups

    def _prepare(self, X: Any, y: Any, sample_weight: Any, groups: Any, *, reset: bool) -> Prepared:
        """Read the samples and divide them, all that comes before there is a network; nothing is set here."""
        read = functools.partial(self._read_samples, X, y, sample_weight, groups, reset=reset)
        blocks, texts, weights, groups = current().agree(
            read, lambda x: self._in_common(x[0], y=x[1], sample_weight=x[2], groups=x[3])
        )
        random, split_seed = self._start_random(reset=reset)
        if reset:
            name = find_audio(blocks, self.audio)
            check_finite(blocks)
            strides = choose_strides(blocks, name, self.subsampling)
        else:
            inputs = copy.copy(self.inputs_)
            name, strides = self.audio_, self._strides
            if name in blocks:
                refuse_integers(name, blocks[name])
            blocks = inputs.check(blocks, training=True)
        audio = Audio(name, strides, audio_lengths(blocks, name))
        weights = drop_unusable(audio, texts, weights, self.errors)
        # what has no weight is absent: its symbols and words are not learned either
        kept = [text for text, weight in zip(texts, weights, strict=True) if weight]
        symbols = sorted(set().union(*kept)) if reset else self.symbols_
        if not symbols:
            raise ValueError(f"y holds no symbol: all {len(kept)} transcripts are empty.")
        encoded = encode([text if weight else "" for text, weight in zip(texts, weights, strict=True)], symbols)
        rows, weights, _ = canonical(blocks, encoded, weights, groups)
        train, valid = self._split(None, None if groups is None else groups[rows], len(rows), split_seed)
        if reset:
            inputs = self._learn_inputs(blocks[rows[train]], weights[train], name)
            blocks = inputs.begin(blocks, rows[[] if valid is None else valid])
        return Prepared(
            blocks, inputs, audio, symbols, encoded, rows, weights, train, valid, Counter(kept), random, split_seed
        )

    def _learn_inputs(self, blocks: Blocks, weights: np.ndarray, audio: str) -> Inputs:
        """What is remembered of the modalities, learned from the samples that train."""
        inputs = Inputs(
            blocks,
            weights,
            check_encoders(self.encoders, list(blocks)),
            self.scale_inputs,
            self.sparse_components,
            device=find_device(self.device),
        )
        if self.modality_dropout:
            inputs.lacked.update(name for name in blocks if name != audio)
        return inputs

    def _load_training(
        self, prepared: Prepared, net: SpeechNet, device: torch.device
    ) -> tuple[SpeechSet, SpeechSet | None]:
        """Samples on the device, as the rows that train and those that stop the training early."""
        data = prepared.inputs.load(prepared.blocks, torch.float32, device)
        encoded = torch.as_tensor(prepared.encoded, device=device)

        def part(chosen: np.ndarray) -> SpeechSet:
            each = prepared.weights[chosen] / prepared.weights[chosen].mean()
            weights = None if np.ptp(each) == 0 else torch.tensor(each[None], dtype=torch.float32, device=device)
            own = torch.as_tensor(prepared.rows[chosen][None], device=device)
            return SpeechSet(data, encoded, weights, own, prepared.audio.lengths, net.most)

        return part(prepared.train), None if prepared.valid is None else part(prepared.valid)

    def _build(self, prepared: Prepared, random: np.random.RandomState, device: torch.device) -> SpeechNet:
        """The network and the net that trains it."""
        inputs, audio = prepared.inputs, prepared.audio
        seed = draw_seed(random)
        torch.manual_seed(seed)
        args: dict[str, Any] = {
            "infos": inputs.infos,
            "audio": audio.name,
            "fusion": self.fusion,
            "encoders": self.encoders,
            "n_symbols": len(prepared.symbols),
            "strides": audio.strides,
            "inherited": self._inherited(),
        }
        network = SpeechNetwork(**args)
        n_samples, lengths = len(prepared.train), audio.lengths[prepared.rows[prepared.train]]
        batch_size: Any = auto_batch_size(n_samples) if self.batch_size == "auto" else self.batch_size
        # a batch of ordinary samples is whole, one of long ones small
        most = int(2 * batch_size * np.median(lengths))
        auto = min(100, max(10, math.ceil(2000 / len(split_by_length(lengths, batch_size, most)))))
        hide = [ContextDropout(audio.name, self.modality_dropout)] if self.modality_dropout else []
        members: Any = [network]
        net = SpeechNet(
            MemberNetworks(members),
            HeadsLoss(ctc_error),
            most=most,
            seeds=(seed,),
            batch_size=batch_size,
            max_epochs=auto if self.max_epochs == "auto" else self.max_epochs,
            augment=(*compose(self.augment, inputs.infos, inputs.scalers), *hide),
            **self._net_params(device),
        )
        net.made_of_ = {**args, "encoders": settled(self.encoders, network.names, network.encoders)}
        return net.initialize()

    # -- prediction ----------------------------------------------------------------------------------------------

    def emissions(self, X: Any) -> list[np.ndarray]:
        """Log-probabilities of the symbols in each frame.

        Parameters
        ----------
        X : Blocks, dict of arrays, or list or array of audio
            Samples.

        Returns
        -------
        list of ndarray of shape (n_frames, 1 + n_symbols)
            Of each sample; the blank's column is the first, then ``symbols_``. Without audio there is no frame.
        """
        check_is_fitted(self)
        with showing(bool(self.verbose)):
            return self._emissions(X)

    def _emissions(self, X: Any) -> list[np.ndarray]:
        blocks = self._check_input(self._read(X, reset=False))
        lengths = audio_lengths(blocks, self.audio_)
        if not lengths.all():
            warn(
                f"{(lengths == 0).sum()} of {len(blocks)} samples have no audio ({self.audio_!r}), the first is "
                f"row {lengths.argmin()}; their transcripts are empty."
            )
        device = next(self.net_.module_.parameters()).device
        data = self.inputs_.load(blocks, torch.float32, device, once=True)
        frames = n_frames(lengths, self._strides)
        outputs = self.net_.log_probs(data, lengths)
        return [output[:n].numpy() for output, n in zip(outputs, frames, strict=True)]

    def predict(self, X: Any, return_alternatives: int | None = None) -> Any:
        """Transcripts.

        Parameters
        ----------
        X : Blocks, dict of arrays, or list or array of audio
            Samples.
        return_alternatives : int, default=None
            Return this many transcripts of each sample, where the beam holds as many; needs ``decoder="beam"``.

        Returns
        -------
        ndarray of str, shape (n_samples,), or list of lists of (str, float)
            With ``return_alternatives`` the transcripts of each sample and their scores, the best first.
        """
        return self.decode(self.emissions(X), return_alternatives)

    def score(self, X: Any, y: Any) -> float:
        """1 - word error rate.

        Parameters
        ----------
        X : Blocks, dict of arrays, or list or array of audio
            Samples.
        y : array-like of str, shape (n_samples,)
            Transcripts.

        Returns
        -------
        float
            1 is perfect; below 0 where there are more errors than words.
        """
        return 1.0 - word_error_rate(y, self.predict(X))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.input_tags.three_d_array = True
        return tags
