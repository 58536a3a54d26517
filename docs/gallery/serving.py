"""
Serving, by eight threads
=========================

A fitted pipeline becomes an ONNX file that predicts without torch, from the columns of a table. Eight threads
ask it at once and get the answers of one.
"""

# %%
# Fit, and write
# --------------

import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skmm
from skmm import ModalityTransformer, MultimodalClassifier

rng = np.random.default_rng(0)
n = 120
y = np.where(np.arange(n) % 2, "yes", "no")
df = pd.DataFrame(
    {
        "text": [
            f"{rng.choice(['fine', 'good'] if label == 'yes' else ['bad', 'poor'])} {rng.choice(['one', 'two'])}"
            for label in y
        ],
        "price": np.where(y == "yes", 1.0, 0.0) + rng.normal(size=n),
        "age": rng.normal(size=n),
    }
)
model = make_pipeline(
    ModalityTransformer([("text", TfidfVectorizer(), "text"), ("table", StandardScaler(), ["price", "age"])]),
    MultimodalClassifier(n_members=2, max_epochs=8, experts=None, random_state=0),
).fit(df, y)

folder = tempfile.TemporaryDirectory()
path = os.path.join(folder.name, "model.onnx")
skmm.to_onnx(
    model, path, check=df[:20]
)  # its answers are compared with the pipeline's, and an error names what differs
print(f"{os.path.getsize(path) / 1e6:.1f} MB")

# %%
# Eight threads
# -------------
# ``n_threads=1``: each request is computed by one thread, since there are as many threads as requests already.

served = skmm.load_onnx(path, n_threads=1)
expected = model.predict_proba(df)
latencies = []


def answer(row):
    start = time.perf_counter()
    proba = served.predict_proba(df[row : row + 1])
    latencies.append(1000 * (time.perf_counter() - start))
    return proba[0]


with ThreadPoolExecutor(8) as pool:
    answers = np.array(list(pool.map(answer, range(n))))
print(f"largest difference from the pipeline: {np.abs(answers - expected).max():.1e}")

# %%

fig, ax = plt.subplots(figsize=(6, 3), layout="constrained")
ax.hist(latencies, bins=30)
ax.set(xlabel="milliseconds for a row, beside seven other threads", ylabel="requests")
plt.show()

# %%
# A request with a mistake
# ------------------------
# What cannot be predicted is an error that names the column, for the service to hand on; it ends nothing.

try:
    served.predict_proba(pd.DataFrame({"text": ["fine"], "price": ["cheap"], "age": [1.0]}))
except ValueError as error:
    print(error)

# %%
# A missing value is none:

print(served.predict(pd.DataFrame({"text": [None], "price": [1.5], "age": [0.0]})))
folder.cleanup()
