"""
Comparing fusions, and what to report
=====================================

Does a deep fusion beat what scikit-learn alone gives on the same folds? The answer is a table, a difference
with an interval that is corrected for training parts that overlap, and one sentence.
"""

# %%
# The comparison
# --------------
# One fusion of each level, and baselines: a linear model on everything, one per modality, their mean, and boosting.

import matplotlib.pyplot as plt

from skmm import MultimodalClassifier, compare_fusions
from skmm.datasets import make_multimodal_classification

X, y = make_multimodal_classification(240, n_modalities=2, n_classes=2, noise=0.3, random_state=0)
result = compare_fusions(
    X,
    y,
    estimator=MultimodalClassifier(n_members=2, max_epochs=8, experts=None, random_state=0),
    fusions=["concat", "mfb", "late"],
    baselines=["LR concat", "LR modality_0", "LR modality_1", "late mean", "boosting"],
    cv=3,
    random_state=0,
)
print(result.verdict)
result.summary.to_pandas().round(3)

# %%
# The differences
# ---------------
# Each fusion against the best baseline. An interval that holds 0 says that these folds cannot tell them apart.

result.differences.to_pandas().round(3)

# %%

from skmm.inspection import ComparisonDisplay

ComparisonDisplay.from_comparison(result, kind="both")
plt.show()

# %%
# In a paper or a ticket
# ----------------------
# ``to_markdown`` gives the table as text; ``scores`` holds each fold's, for tests of your own.

print(result.summary.to_markdown())

# %%
# For people who were not there
# -----------------------------
# ``result.report("comparison.html")`` writes one file that needs neither network nor script.

report = result.report(title="Does a deep fusion help?")
