"""
Why it said so: displays of a fitted estimator
==============================================

What each modality is worth, how one prediction comes about, who speaks in the stack, how training went and where
the samples lie: a display for each question, as scikit-learn has them.
"""

# %%
# The data
# --------
# Generated reviews: a sentence, a face and a voice that show the same sentiment, each with an error of its own, of
# which a tenth is missing. A pipeline reads the raw table.

# sphinx_gallery_thumbnail_number = 2
import matplotlib.pyplot as plt
import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from skmm import ModalityTransformer, MultimodalClassifier
from skmm.datasets import make_sentiment
from skmm.preprocessing import ImageLoader, LogMel

reviews = make_sentiment(500, difficulty=0.25, missing_rate=0.1, random_state=0)
X, y = reviews.data, np.array(["bad", "so-so", "good"])[np.digitize(reviews.target, [-1, 1])]
read = ModalityTransformer(
    [
        ("text", TfidfVectorizer(), "text"),
        ("face", ImageLoader(size=16), "image"),
        ("voice", LogMel(reviews.sample_rate, n_mels=16, hop=0.03), "audio"),
    ]
)
classifier = MultimodalClassifier(
    n_members=2,
    max_epochs=40,
    early_stopping=True,
    modality_dropout=0.2,
    experts={"linear": (LogisticRegression(), ["text"])},
    random_state=0,
)
model = make_pipeline(read, classifier).fit(X[:350], y[:350])
test, truth = X[350:], y[350:]
print(f"accuracy {model.score(test, truth):.2f}")

# %%
# What each modality is worth
# ---------------------------
# The accuracy above that of what is most common, shared between the modalities, with intervals. Beside it what each
# two give beyond each alone: below 0, for the three say the same, and one of them makes up for another.

from skmm.inspection import ImportanceDisplay

ImportanceDisplay.from_estimator(model, test, truth, kind="both", random_state=0)
plt.show()

# %%
# One review
# ----------
# From what is said of a review of which nothing is known to the answer, with the review itself beside it.

from skmm.inspection import ContributionDisplay

row = int(np.flatnonzero(test.notna().all(axis=1) & (truth == "good"))[0])
ContributionDisplay.from_estimator(model, test, row=row)
plt.show()

# %%
# A prediction that is wrong can be asked in the same way, and for the class that is true.

wrong = int(np.flatnonzero(model.predict(test) != truth)[0])
print("predicted", model.predict(test[wrong : wrong + 1])[0])
ContributionDisplay.from_estimator(model, test, row=wrong, output=truth[wrong])
plt.show()

# %%
# Who speaks
# ----------
# The network has a head on all modalities and one on each; experts, here one linear model of the words, stand
# beside them. The stack weighs them by what they said of samples that they had not seen. Where a modality is
# missing, what is left is made less sure of itself, or surer: by its temperature.

from skmm.inspection import StackDisplay

StackDisplay.from_estimator(model)
plt.show()

# %%
# How training went
# -----------------
# With ``early_stopping`` a part is held out, and the weights of the best epoch are kept.

from skmm.inspection import LearningCurveDisplay

LearningCurveDisplay.from_estimator(model)
plt.show()

# %%
# Where the samples lie
# ---------------------
# The representation in which the modalities are fused, in two dimensions: by principal components, or by any
# transformer that makes two columns, such as ``reducer=TSNE(random_state=0)``.

from skmm.inspection import FusionSpaceDisplay

FusionSpaceDisplay.from_estimator(model, test, truth, target_name="sentiment")
plt.show()

# %%
# What was searched
# -----------------
# Of a search, the scores of each fusion along a parameter, with the deviation over the folds.

from skmm.inspection import SearchDisplay
from skmm.model_selection import FusionSearchCV

network = MultimodalClassifier(n_members=1, max_epochs=6, random_state=0)
grid = {"fusion": ["concat", "gated"], "lr": [0.0003, 0.003, 0.03]}
search = FusionSearchCV(network, grid, cv=2, refit=False).fit(read.transform(X[:200]), y[:200])
SearchDisplay.from_estimator(search)
plt.show()
