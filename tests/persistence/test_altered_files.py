"""Files that somebody has altered: none runs anything, takes much memory or ends the process."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import altered
import numpy as np
import pytest
from conftest import ensemble
from sklearn.linear_model import LogisticRegression

import skmm

ROOT = Path(skmm.__file__).parents[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files of two models and samples that they read."""
    folder = tmp_path_factory.mktemp("models")
    rng = np.random.default_rng(0)
    y = np.arange(110) % 2
    X = {"table": rng.normal(size=(110, 3)) + y[:, None], "sensor": rng.normal(size=(110, 4, 2))}
    fast = {"n_members": 2, "max_epochs": 1, "hidden_dim": 8}
    with_trees = ensemble(experts="auto", **fast).fit(X, y)
    choices = {"fusion": "attention", "encoders": {"sensor": "transformer"}}
    others = ensemble(experts={"linear": (LogisticRegression(), "table")}, **choices, **fast).fit(X, y)
    for name, clf in {"trees": with_trees, "attention": others}.items():
        skmm.save(clf, folder / f"{name}.skmm", training_state=name == "attention")
    np.savez(folder / "X.npz", **{name: block[:5] for name, block in X.items()})
    return folder


def check(folder, seed, number):
    """Read altered files in another process, and assert that nothing happened there."""
    run = subprocess.run(
        [sys.executable, "-W", "ignore", Path(__file__).parent / "altered.py", folder, str(seed), str(number)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    found = json.loads(run.stdout.splitlines()[-1])
    assert found["tried"] == []
    assert len(found["done"]) == number
    for one in found["done"]:
        assert one["ended"].startswith(("read", "refused")), one
        assert one["kilobytes"] < 1_000_000, one
        assert one["seconds"] < 10, one


@pytest.mark.parametrize("alter", dict.fromkeys(altered.ALTERATIONS))
def test_an_altered_file(folder, tmp_path, alter):
    """What can be read was altered where nothing depends on it."""
    file = tmp_path / "altered.skmm"
    file.write_bytes(alter((folder / "attention.skmm").read_bytes(), np.random.default_rng(0)))
    if alter.__name__ in ("bytes_of_a_member", "a_value_of_json", "a_number_of_the_network", "a_foreign_type"):
        with contextlib.suppress(ValueError):
            skmm.load(file)
        return
    if alter.__name__ == "parts_that_change_places":  # of the history, say, by which nothing is predicted
        with np.load(folder / "X.npz") as given:
            X = dict(given)
        with contextlib.suppress(ValueError):
            expected = skmm.load(folder / "attention.skmm").predict_proba(X)
            np.testing.assert_array_equal(skmm.load(file).predict_proba(X), expected)
        return
    with pytest.raises(ValueError, match=r"altered\.skmm"):
        skmm.load(file)


def change(folder, file, alter):
    """Write a model anew, with its records changed in their text."""
    members = altered.members_of((folder / "attention.skmm").read_bytes())
    text = members["records.json"].decode()
    changed = alter(text)
    assert changed != text
    file.write_bytes(altered.zipped({**members, "records.json": changed.encode()}))


@pytest.mark.parametrize("width", [16, 100_000, 10**9, 10**13])
def test_another_width(folder, tmp_path, width):
    file = tmp_path / "altered.skmm"
    change(folder, file, lambda text: text.replace('{"hidden_dim":8,', f'{{"hidden_dim":{width},'))
    with pytest.raises(ValueError, match="its network"):
        skmm.load(file)


def test_an_encoder_that_looks_for_a_model(folder, tmp_path):
    file = tmp_path / "altered.skmm"
    pretrained = '"pretrained",["json",{"model":"/etc"}]]'
    change(folder, file, lambda text: text.replace('"auto",["json",{}]]', pretrained))
    with pytest.raises(ValueError, match="would look for a model, which the file does not say"):
        skmm.load(file)


@pytest.mark.parametrize("named", ["sklearn.svm._classes.SVC", "os.system"])
def test_a_part_without_its_loader_in_a_file_of_other_types(folder, tmp_path, named):
    """What is not trusted is looked for in a file that skops cannot walk through."""
    members = altered.members_of((folder / "attention.skmm").read_bytes())
    schema = json.loads(members["schema.json"])
    foreign, broken = schema["content"][0], schema["content"][-1]
    foreign["__module__"], foreign["__class__"] = named.rsplit(".", 1)
    del broken["__loader__"]
    file = tmp_path / "altered.skmm"
    file.write_bytes(altered.zipped({**members, "schema.json": json.dumps(schema).encode()}))
    with pytest.raises(ValueError, match=r"altered\.skmm' cannot be read, it may be cut or altered: '__loader__'"):
        skmm.load(file)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 4))
def test_hundreds_of_altered_files(folder, seed):
    check(folder, seed, number=260)
