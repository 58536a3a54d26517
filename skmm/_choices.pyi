# Written by tests/choices.py, not by hand.

from typing import Any

from skmm.spec import Encoder, Fusion, Optimizer

class EncoderNames:
    @classmethod
    def conformer(
        cls,
        *,
        hidden_dim: int | None = None,
        n_layers: int = 2,
        n_heads: int = 4,
        kernel_size: int = 15,
        n_segments: int = 1,
        statistics: bool = False,
        dropout: float | None = None,
        activation: str | None = None,
        lr_factor: float = 1.0,
    ) -> Encoder:
        """Conformer: self-attention and convolution over the steps, between two halves of a feed-forward network."""

    @classmethod
    def conv1d(
        cls,
        *,
        hidden_dim: int | None = None,
        channels: tuple[int, ...] = (16, 32),
        kernel_size: int = 5,
        n_segments: int = 4,
        statistics: bool = False,
        dropout: float | None = None,
        activation: str | None = None,
        lr_factor: float = 1.0,
    ) -> Encoder:
        """Convolutions over time, each followed by the activation; between two of them, max-pooling by 2."""

    @classmethod
    def conv2d(
        cls,
        *,
        hidden_dim: int | None = None,
        channels: tuple[int, ...] = (16, 32),
        stride: Any = 'auto',
        grid: int = 4,
        dropout: float | None = None,
        activation: str | None = None,
        lr_factor: float = 1.0,
    ) -> Encoder:
        """3 x 3 convolutions, each followed by the activation and, while the picture is larger than the grid,"""

    @classmethod
    def conv2d_temporal(
        cls,
        *,
        hidden_dim: int | None = None,
        temporal: Any = 'conv1d',
        channels: tuple[int, ...] = (16, 32),
        grid: int = 4,
        dropout: float | None = None,
        activation: str | None = None,
        lr_factor: float = 1.0,
    ) -> Encoder:
        """One picture encoder for every frame, then an encoder of sequences over what it makes of them."""

    @classmethod
    def conv3d(
        cls,
        *,
        hidden_dim: int | None = None,
        channels: tuple[int, ...] = (16, 32),
        kernel_size: int = 3,
        factorised: bool = False,
        grid: int = 4,
        n_segments: int = 2,
        dropout: float | None = None,
        activation: str | None = None,
        lr_factor: float = 1.0,
    ) -> Encoder:
        """Convolutions over time, height and width, each followed by the activation and, while the pictures are larger"""

    @classmethod
    def embedding(
        cls,
        *,
        hidden_dim: int | None = None,
        n_segments: int = 1,
        dropout: float | None = None,
        activation: str | None = None,
        lr_factor: float = 1.0,
    ) -> Encoder:
        """A learned vector per id that training saw."""

    @classmethod
    def gru(
        cls,
        *,
        hidden_dim: int | None = None,
        n_layers: int = 1,
        bidirectional: bool = False,
        n_segments: int = 1,
        statistics: bool = False,
        dropout: float | None = None,
        activation: str | None = None,
        lr_factor: float = 1.0,
    ) -> Encoder:
        """Gated recurrent units (Cho et al. 2014) over the steps of a sequence."""

    @classmethod
    def identity(
        cls,
        *,
        lr_factor: float = 1.0,
    ) -> Encoder:
        """The vector as it is: for features that need no encoder of their own."""

    @classmethod
    def lstm(
        cls,
        *,
        hidden_dim: int | None = None,
        n_layers: int = 1,
        bidirectional: bool = False,
        n_segments: int = 1,
        statistics: bool = False,
        dropout: float | None = None,
        activation: str | None = None,
        lr_factor: float = 1.0,
    ) -> Encoder:
        """Long short-term memory (Hochreiter and Schmidhuber 1997) over the steps of a sequence."""

    @classmethod
    def mlp(
        cls,
        *,
        hidden_dim: int | None = None,
        n_layers: int = 1,
        input_dropout: float = 0.0,
        dropout: float | None = None,
        norm: bool = True,
        activation: str | None = None,
        lr_factor: float = 1.0,
    ) -> Encoder:
        """Dense blocks (linear, LayerNorm, activation, dropout) on a vector; a sparse one is never made dense."""

    @classmethod
    def pretrained(
        cls,
        *,
        hidden_dim: int | None = None,
        model: Any = None,
        freeze: bool | str = True,
        lora_rank: int | None = None,
        pooling: str = 'auto',
        max_length: int | None = None,
        batch_size: int = 32,
        memory: Any = None,
        dropout: float | None = None,
        activation: str | None = None,
        lr_factor: float = 1.0,
    ) -> Encoder:
        """A pretrained model of text, images or waveforms, and a dense block on what it gives."""

    @classmethod
    def timesformer(
        cls,
        *,
        hidden_dim: int | None = None,
        patch_size: int = 8,
        n_layers: int = 2,
        n_heads: int = 4,
        n_segments: int = 1,
        dropout: float | None = None,
        activation: str | None = None,
        lr_factor: float = 1.0,
    ) -> Encoder:
        """Attention between patches, factorised: with those at the same place in other frames, then with those of the"""

    @classmethod
    def transformer(
        cls,
        *,
        hidden_dim: int | None = None,
        n_layers: int = 1,
        n_heads: int = 4,
        n_segments: int = 1,
        statistics: bool = False,
        dropout: float | None = None,
        activation: str | None = None,
        lr_factor: float = 1.0,
    ) -> Encoder:
        """Transformer over the steps of a sequence, with sinusoidal positions."""

class FusionNames:
    @classmethod
    def attention(
        cls,
        *,
        hidden_dim: int | None = None,
        n_heads: int = 4,
        dropout: float | None = None,
        null_token: bool = True,
    ) -> Fusion:
        """Cross-modal attention: each modality reads the tokens of the others, then the modalities are weighed."""

    @classmethod
    def block(
        cls,
        *,
        hidden_dim: int | None = None,
        chunks: int | None = None,
        rank: int = 15,
        dropout: float | None = None,
    ) -> Fusion:
        """Bilinear superdiagonal fusion: projections cut in chunks, z_c = Σ_r ∘_m (A_{m,c,r} x_{m,c}) for each chunk."""

    @classmethod
    def bottleneck(
        cls,
        *,
        hidden_dim: int | None = None,
        n_layers: int = 2,
        fusion_layer: int = 0,
        n_bottlenecks: int = 4,
        n_heads: int = 4,
        dropout: float = 0.1,
        activation: str | None = None,
        null_token: bool = False,
        feed_forward_factor: int = 2,
    ) -> Fusion:
        """Multimodal bottleneck transformer: modalities exchange what fits into a few shared tokens."""

    @classmethod
    def concat(
        cls,
        *,
        hidden_dim: int | None = None,
        n_layers: int = 1,
        dropout: float | None = None,
        activation: str | None = None,
    ) -> Fusion:
        """The vectors side by side, [x_1; …; x_M], then dense layers; a learned vector stands in for an absent one."""

    @classmethod
    def crossmodal(
        cls,
        *,
        hidden_dim: int | None = None,
        n_layers: int = 1,
        n_heads: int = 4,
        dropout: float | None = None,
        activation: str | None = None,
        null_token: bool = True,
        feed_forward_factor: int = 2,
    ) -> Fusion:
        """Multimodal transformer: each modality is adapted by each other one through layers of cross-attention."""

    @classmethod
    def early(
        cls,
        *,
        hidden_dim: int | None = None,
        n_layers: int = 1,
        dropout: float | None = None,
        activation: str | None = None,
    ) -> Fusion:
        """The blocks side by side into one joint network, without encoders of their own."""

    @classmethod
    def film(
        cls,
        *,
        conditioning: str | None = None,
        hidden_dim: int | None = None,
        activation: str | None = None,
    ) -> Fusion:
        """Feature-wise linear modulation (FiLM): one modality scales and shifts the features of the others."""

    @classmethod
    def gated(
        cls,
        *,
        hidden_dim: int | None = None,
    ) -> Fusion:
        """Gated multimodal unit (GMU): a gate per modality and unit, which reads all modalities."""

    @classmethod
    def late(
        cls,
        *,
        rule: str = 'mean',
    ) -> Fusion:
        """One linear head per modality, their decisions combined by a rule; an absent modality has no say."""

    @classmethod
    def lowrank(
        cls,
        *,
        hidden_dim: int | None = None,
        rank: int = 4,
    ) -> Fusion:
        """Low-rank multimodal fusion (LMF): a linear map of the tensor of all products, computed without the tensor."""

    @classmethod
    def mcb(
        cls,
        *,
        sketch_dim: int | None = None,
    ) -> Fusion:
        """Multimodal compact bilinear pooling: a count sketch of the modalities' outer product ⊗_m x_m."""

    @classmethod
    def mfb(
        cls,
        *,
        hidden_dim: int | None = None,
        factor: int = 5,
        dropout: float = 0.1,
    ) -> Fusion:
        """Multi-modal factorised bilinear pooling."""

    @classmethod
    def mfh(
        cls,
        *,
        hidden_dim: int | None = None,
        factor: int = 5,
        order: int = 2,
        dropout: float = 0.1,
    ) -> Fusion:
        """Multi-modal factorised high-order pooling: a cascade of MFB blocks."""

    @classmethod
    def mlb(
        cls,
        *,
        hidden_dim: int | None = None,
        dropout: float | None = None,
    ) -> Fusion:
        """Multimodal low-rank bilinear pooling: P^T ∘_m tanh(U_m^T x_m) + b, a product of projected modalities."""

    @classmethod
    def moe(
        cls,
        *,
        hidden_dim: int | None = None,
        dropout: float | None = None,
        activation: str | None = None,
    ) -> Fusion:
        """Mixture of experts: one expert per modality and one of all of them, weighed by a softmax gate."""

    @classmethod
    def mutan(
        cls,
        *,
        hidden_dim: int | None = None,
        rank: int = 10,
        dropout: float | None = None,
    ) -> Fusion:
        """Multimodal Tucker fusion with a core of low rank: z = Σ_r ∘_m (x̃_m^T M_{m,r}), x̃_m = tanh(W_m^T x_m)."""

    @classmethod
    def sum(
        cls,
        *,
        hidden_dim: int | None = None,
        activation: str | None = None,
        output_activation: str = 'identity',
    ) -> Fusion:
        """Multi-modal neural network: the sum of one hidden layer per modality."""

    @classmethod
    def tensor(
        cls,
        *,
        hidden_dim: int | None = None,
        modality_dim: Any = None,
        n_layers: int = 1,
        dropout: float | None = None,
        activation: str | None = None,
        max_size: int = 262144,
    ) -> Fusion:
        """Tensor fusion network (TFN): the outer product of all modalities, each with a 1 before it, then dense layers."""

class OptimizerNames:
    @classmethod
    def adadelta(
        cls,
        *,
        rho: float = 0.9,
        eps: float = 1e-06,
        foreach: bool | None = None,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> Optimizer:
        """Implements Adadelta algorithm."""

    @classmethod
    def adafactor(
        cls,
        *,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 0.001),
        d: float = 1.0,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> Optimizer:
        """Implements Adafactor algorithm."""

    @classmethod
    def adagrad(
        cls,
        *,
        lr_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> Optimizer:
        """Implements Adagrad algorithm."""

    @classmethod
    def adam(
        cls,
        *,
        betas: Any = (0.9, 0.999),
        eps: float = 1e-08,
        amsgrad: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> Optimizer:
        """Implements Adam algorithm."""

    @classmethod
    def adamax(
        cls,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-08,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> Optimizer:
        """Implements Adamax algorithm (a variant of Adam based on infinity norm)."""

    @classmethod
    def adamw(
        cls,
        *,
        betas: Any = (0.9, 0.999),
        eps: float = 1e-08,
        amsgrad: bool = False,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> Optimizer:
        """Implements AdamW algorithm, where weight decay does not accumulate in the momentum nor variance."""

    @classmethod
    def asgd(
        cls,
        *,
        lambd: float = 0.0001,
        alpha: float = 0.75,
        t0: float = 1000000.0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> Optimizer:
        """Implements Averaged Stochastic Gradient Descent."""

    @classmethod
    def lbfgs(
        cls,
        *,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-07,
        tolerance_change: float = 1e-09,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> Optimizer:
        """Implements L-BFGS algorithm."""

    @classmethod
    def muon(
        cls,
        *,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        eps: float = 1e-07,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> Optimizer:
        """Implements Muon algorithm."""

    @classmethod
    def nadam(
        cls,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-08,
        momentum_decay: float = 0.004,
        decoupled_weight_decay: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> Optimizer:
        """Implements NAdam algorithm."""

    @classmethod
    def radam(
        cls,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-08,
        decoupled_weight_decay: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> Optimizer:
        """Implements RAdam algorithm."""

    @classmethod
    def rmsprop(
        cls,
        *,
        alpha: float = 0.99,
        eps: float = 1e-08,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> Optimizer:
        """Implements RMSprop algorithm."""

    @classmethod
    def rprop(
        cls,
        *,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-06, 50),
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> Optimizer:
        """Implements the resilient backpropagation algorithm."""

    @classmethod
    def sgd(
        cls,
        *,
        momentum: float = 0,
        dampening: float = 0,
        nesterov: bool = False,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> Optimizer:
        """Implements stochastic gradient descent (optionally with momentum)."""
