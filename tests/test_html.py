"""Names come from the user's data, and data come from others: no HTML representation takes them for markup."""

from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from conftest import small
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skmm import ModalityTransformer
from skmm.compose import ModalitySelector
from skmm.model_selection import FusionComparison
from skmm.table import Table

NAMES = [
    "<img src=x onerror=alert(1)>",
    "'\"></pre></code></style></script><img src=x onerror='alert(1)'>",
]
N = 24


class Markup(HTMLParser):
    """What a browser makes of a page: its elements with their attributes, its text, and what is script or style."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.code, self.text, self._inside = set(), set(), "", "", ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self._inside = tag

    def handle_data(self, data):
        if self._inside in ("script", "style"):
            self.code += data
        else:
            self.text += data

    def handle_endtag(self, tag):
        self._inside = ""


def assert_escaped(shown, *, visible=True):
    page = Markup(shown._repr_html_())
    assert "img" not in page.tags
    assert "onerror" not in page.attributes
    assert "alert" not in page.code
    if visible:
        assert "alert(1)" in page.text


def test_the_parser_sees_markup_that_is_not_escaped():
    for name in NAMES[:1]:
        page = Markup(f"<table><td>{name}</td></table>")
        assert "img" in page.tags
        assert "onerror" in page.attributes


@pytest.mark.one_by_default
@pytest.mark.parametrize("name", NAMES)
def test_modalities_columns_and_classes_in_html(name):
    rng = np.random.default_rng(0)
    df = pd.DataFrame(
        {
            f"{name}t": [f"word{i % 7} and w{i % 3}" for i in range(N)],
            f"{name}n": rng.normal(size=N),
            f"{name}c": [f"{name}x", "b"] * (N // 2),
        }
    )
    y = np.array([f"{name}a", f"{name}b"] * (N // 2))
    typed = ModalityTransformer.from_frame(df)
    assert_escaped(typed.describe())
    by_hand = ModalityTransformer([(name, StandardScaler(), [f"{name}n"])], remainder=OneHotEncoder())
    quick = {"max_epochs": 1, "n_members": 1}
    for transformer in (typed, by_hand):
        assert_escaped(transformer)
        assert_escaped(transformer.fit(df))
    pipe = make_pipeline(typed, small(**quick))
    assert_escaped(pipe)
    assert_escaped(pipe.fit(df, y))
    blocks = typed.transform(df)
    assert_escaped(blocks)
    chosen = small(modalities={name: [0]}, encoders={name: "mlp"}, **quick)
    assert_escaped(chosen, visible=False)
    assert_escaped(chosen.fit(df[[f"{name}n"]].to_numpy(), y), visible=False)
    assert_escaped(small(modalities="auto", **quick).fit(df, y), visible=False)
    assert_escaped(ModalitySelector(name), visible=False)


@pytest.mark.parametrize("name", NAMES)
def test_comparisons_in_html(name):
    summary = Table([{"method": f"LR {name}", "kind": "fusion", name: 0.5}])
    differences = Table([{"fusion": name, "baseline": name, "difference": 0.1, "low": 0.0, "high": 0.2}])
    result = FusionComparison(summary, differences, {}, name, 0.95, {name: name})
    for shown in (result, summary, differences):
        assert_escaped(shown)
