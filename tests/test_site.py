"""The site: every public name has its place on it; that it is built without a warning, .ci/run sees."""

import importlib
import pkgutil
import re
from email.message import Message
from pathlib import Path
from types import ModuleType

import pytest

import skmm
from skmm import _documentation
from skmm.model_selection import FusionSearchCV
from skmm.preprocessing import ImageLoader
from skmm.spec import ENCODERS, FUSIONS

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference"


def documented():
    """The objects that pages of the reference list, by the name under which they do."""
    found = {}
    for page in sorted(REFERENCE.glob("*.rst")):
        module = None
        for line in page.read_text().splitlines():
            if place := re.match(r"\.\. (?:auto|current)module:: (\S+)", line):
                module = place[1]
            elif name := re.match(r"(?:   |\.\. py:data:: )([A-Za-z_][\w.]*)$", line):
                path = name[1] if name[1].startswith("skmm") else f"{module}.{name[1]}"
                if page.stem != "index":
                    found[path] = pkgutil.resolve_name(path)
    return found


def public_names():
    parts = [part.name for part in pkgutil.iter_modules(skmm.__path__) if not part.name.startswith("_")]
    for menu in ["skmm", *(f"skmm.{part}" for part in parts)]:
        module = importlib.import_module(menu)
        for name in getattr(module, "__all__", []):
            if not isinstance(getattr(module, name), ModuleType):  # parts of the package have pages of their own
                yield menu, name


def test_every_public_name_is_on_its_modules_page():
    objects = documented()
    missing = []
    for menu, name in public_names():
        value = getattr(importlib.import_module(menu), name)
        page = REFERENCE / f"{menu}.rst"
        listed = page.exists() and re.search(rf"[ .]{name}$", page.read_text(), re.M)
        if not listed or not any(value is other for other in objects.values()):
            missing.append(f"{menu}.{name}")
    assert not missing


def test_every_fusion_and_encoder_that_has_a_name_is_on_a_page():
    classes = list(documented().values())
    ours = [c for c in [*FUSIONS.values(), *ENCODERS.values()] if c.__module__.startswith("skmm.")]
    assert ours
    assert not [cls.__name__ for cls in ours if cls not in classes]


def test_every_page_of_the_reference_is_in_its_index():
    index = (REFERENCE / "index.rst").read_text()
    pages = {page.stem for page in REFERENCE.glob("*.rst")} - {"index"}
    assert set(re.findall(r"^   ([\w.]+)$", index, re.M)) == pages


@pytest.mark.parametrize(
    ("estimator", "page"),
    [
        (skmm.MultimodalClassifier(), "skmm.MultimodalClassifier"),
        (ImageLoader(size=8), "skmm.preprocessing.ImageLoader"),
        (FusionSearchCV(skmm.MultimodalClassifier(), {}), "skmm.model_selection.FusionSearchCV"),
    ],
)
def test_a_diagram_leads_to_the_reference_where_the_package_says_where_that_is(monkeypatch, estimator, page):
    assert page in documented()
    for address in ("https://example.org/skmm", "https://example.org/skmm/"):
        monkeypatch.setattr(_documentation, "metadata", lambda name, a=address: urls(f"Documentation, {a}"))
        assert f'href="https://example.org/skmm/reference/generated/{page}.html"' in estimator._repr_html_()
    monkeypatch.setattr(_documentation, "metadata", lambda name: urls("Source, https://example.org/code"))
    assert "reference/generated" not in estimator._repr_html_()


def test_a_users_own_estimator_has_no_page_of_ours(monkeypatch):
    monkeypatch.setattr(_documentation, "home", lambda: "https://example.org/skmm")

    class Mine(skmm.MultimodalClassifier):
        pass

    assert "example.org" not in Mine()._repr_html_()


def urls(*lines):
    found = Message()
    for line in lines:
        found["Project-URL"] = line
    return found
