"""Reads altered files in a process of its own, and says what came of each: ``python altered.py FILE SEED NUMBER``.

Prints one line of JSON with how each alteration ended, the memory that reading took at most, and what was tried
that no reading of a file may do.
"""

import contextlib
import io
import json
import pickle
import sys
import time
import zipfile
from pathlib import Path

import numpy as np

import skmm

# what Python reports of itself where something is run, sent, or written
FORBIDDEN = (
    "os.system",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "subprocess.Popen",
    "socket.connect",
    "pickle.find",
)
FORBIDDEN += ("ctypes.dlopen", "os.remove", "os.rename", "os.mkdir", "shutil.", "webbrowser.", "urllib.Request")
VALUES = [
    0,
    -1,
    1,
    2**31,
    10**9,
    10**18,
    -(10**12),
    1e308,
    True,
    None,
    "",
    "/etc/passwd",
    "os.system",
    [],
    {},
    [[]],
]
TYPES = [
    ("builtins", "eval"),
    ("builtins", "exec"),
    ("builtins", "__import__"),
    ("posix", "system"),
    ("os", "system"),
    ("subprocess", "Popen"),
    ("subprocess", "check_output"),
    ("importlib", "import_module"),
    ("pickle", "loads"),
    ("torch", "load"),
    ("joblib.numpy_pickle", "load"),
    ("numpy", "load"),
    ("skmm.files._cache", "VectorCache"),
    ("skmm.encoders.pretrained", "PretrainedReader"),
    ("skmm.preprocessing.text", "TextEmbedder"),
    ("skmm.persistence._files", "save"),
    ("skmm.cli", "main"),
    ("sklearn.datasets._base", "load_files"),
]
JSON = ("records.json", "schema.json", "skmm.json")


def members_of(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(members, compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return buffer.getvalue()


def places(value, path=()):
    """Where the plain values of JSON are."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in items:
        if isinstance(part, dict | list):
            yield from places(part, (*path, key))
        yield (*path, key)


def put(value, path, new):
    for key in path[:-1]:
        value = value[key]
    value[path[-1]] = new


# -- alterations: content of a file, generator of numbers -> content ----------------------------------------------


def bytes_of_the_file(content, rng):
    altered = bytearray(content)
    for place in rng.integers(len(content), size=rng.integers(1, 9)):
        altered[place] = rng.integers(256)
    return bytes(altered)


def bytes_of_a_member(content, rng):
    members = members_of(content)
    name = str(rng.choice(sorted(members)))
    member = bytearray(members[name])
    for place in rng.integers(len(member), size=rng.integers(1, 30)):
        member[place] = rng.integers(256)
    return zipped({**members, name: bytes(member)})


def a_value_of_json(content, rng):
    members = members_of(content)
    name = str(rng.choice(["records.json"] * 6 + ["schema.json"] * 3 + ["skmm.json"]))
    value = json.loads(members[name])
    for _ in range(rng.integers(1, 4)):
        every = list(places(value))
        put(value, every[rng.integers(len(every))], VALUES[rng.integers(len(VALUES))])
    return zipped({**members, name: json.dumps(value).encode()})


def parts_that_change_places(content, rng):
    members = members_of(content)
    value = json.loads(members["records.json"])
    every = list(places(value))
    one, other = (every[i] for i in rng.integers(len(every), size=2))

    def at(path):
        found = value
        for key in path:
            found = found[key]
        return found

    first, second = json.dumps(at(one)), json.dumps(at(other))
    put(value, one, json.loads(second))
    with contextlib.suppress(KeyError, IndexError, TypeError):  # where it was inside the other
        put(value, other, json.loads(first))
    return zipped({**members, "records.json": json.dumps(value).encode()})


def a_foreign_type(content, rng):
    members = members_of(content)
    schema = json.loads(members["schema.json"])
    module, name = TYPES[rng.integers(len(TYPES))]
    nodes = [path[:-1] for path in places(schema) if path[-1] == "__class__"]
    node = schema
    for key in nodes[rng.integers(len(nodes))]:
        node = node[key]
    loaders = ["FunctionNode", "TypeNode", "ObjectNode", "ConstructorFromReduceNode", "MethodNode", "PartialNode"]
    node.update({"__class__": name, "__module__": module, "__loader__": str(rng.choice(loaders))})
    node.setdefault("content", {"func": "system", "obj": node.get("content"), "args": [], "kwds": {}})
    if rng.integers(2):
        schema["protocol"] = int(rng.integers(3))
    return zipped({**members, "schema.json": json.dumps(schema).encode()})


def a_number_of_the_network(content, rng):
    """Widths, layers, members and lengths, wherever they are."""
    members = members_of(content)
    names = ["hidden_dim", "n_members", "n_outputs", "n_layers", "n_heads", "strides", "length", "shape"]
    value = json.loads(members["records.json"])
    found = list(sized(value, names))
    record, place = found[rng.integers(len(found))]
    record[place] = [10**4, 10**5, 10**9, 10**12, ["tuple", 10**6, 10**6], 2**62][rng.integers(6)]
    return zipped({**members, "records.json": json.dumps(value).encode()})


def sized(value, names):
    """Lists and dicts with the place of a number that has one of the names."""
    if isinstance(value, dict):
        for key, part in value.items():
            if key in names:
                yield value, key
            yield from sized(part, names)
    elif isinstance(value, list):
        for place, part in enumerate(value):
            if (
                isinstance(part, list)
                and part
                and all(isinstance(name, str) for name in part)
                and part[0] != "json"
            ):
                for i, name in enumerate(part):
                    if name in names and place + 1 + i < len(value):
                        yield value, place + 1 + i
            if isinstance(part, list | dict):
                yield from sized(part, names)


def an_array_that_is_not_there(content, rng):
    members = members_of(content)
    huge = [[10**9, 10**9], [2**40], [-1], [10**12, 0], [2**62, 2]][rng.integers(5)]
    if rng.integers(2):
        text = members["records.json"].decode()
        value = json.loads(text)
        arrays = [path[:-1] for path in places(value) if path[-1] == 0 and value_at(value, path) == "array"]
        put(value, (*arrays[rng.integers(len(arrays))], 2), huge)
        return zipped({**members, "records.json": json.dumps(value).encode()})
    name = next(name for name in members if name.endswith(".npy"))
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f8", "fortran_order": False, "shape": tuple(huge)})
    return zipped({**members, name: buffer.getvalue() + members[name][-64:]})


def value_at(value, path):
    for key in path:
        value = value[key]
    return value


def a_bomb(content, rng):
    members = members_of(content)
    which = rng.integers(5)
    if which == 0:
        return zipped({**members, "numbers.bin": bytes(300_000_000)}, zipfile.ZIP_DEFLATED)
    if which == 1:
        return zipped({**members, "records.json": b"[" * 2_000_000})
    if which == 2:
        return zipped({**members, "schema.json": b'{"a":' * 50_000 + b"1" + b"}" * 50_000})
    if which == 3:
        return zipped({**members, "records.json": b"[" + b"[]," * 9_000_000 + b"1]"})
    # one member that is read again and again
    schema = json.loads(members["schema.json"])
    member = np.zeros(2_000_000)
    buffer = io.BytesIO()
    np.save(buffer, member)
    node = {"__class__": "ndarray", "__module__": "numpy", "__loader__": "NdArrayNode", "type": "numpy"}
    schema["content"] += [{**node, "file": "1.npy", "__id__": 10**6 + i} for i in range(1000)]
    return zipped({**members, "schema.json": json.dumps(schema).encode(), "1.npy": buffer.getvalue()})


def a_path(content, rng):
    members = members_of(content)
    name = ["../../out.npy", "/etc/passwd", "a/b.npy", "..\\x.bin", "records.json/", "x.pkl"][rng.integers(6)]
    if rng.integers(2):
        return zipped({**members, name: pickle.dumps([1])})
    schema = members["schema.json"].decode()
    own = next(member for member in members if member.endswith(".npy"))
    return zipped({**members, "schema.json": schema.replace(own, name.replace("\\", "")).encode()})


def a_model_elsewhere(content, rng):
    """An encoder that would look for a pretrained model."""
    members = members_of(content)
    value = json.loads(members["records.json"])
    place = ["/etc", "https://example.org/model", "someone/model", "../model"][rng.integers(4)]
    for path in list(places(value)):
        if path[-1] == 0 and value_at(value, path) == "encoder":
            record = value_at(value, path[:-1])
            record[5:] = ["pretrained", ["json", {"model": place}]]
    return zipped({**members, "records.json": json.dumps(value).encode()})


def a_cut(content, rng):
    return content[: rng.integers(len(content))]


ALTERATIONS = [
    bytes_of_the_file,
    bytes_of_a_member,
    a_value_of_json,
    a_value_of_json,
    parts_that_change_places,
    a_foreign_type,
    a_number_of_the_network,
    a_number_of_the_network,
    an_array_that_is_not_there,
    a_bomb,
    a_path,
    a_model_elsewhere,
    a_cut,
]


def forget_peak():
    """Have Linux count the memory that was taken at most from now on; what is taken now, in kilobytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def main(folder, seed, number):
    folder = Path(folder)
    contents = [file.read_bytes() for file in sorted(folder.glob("*.skmm"))]
    given = np.load(folder / "X.npz")
    X = {name: given[name] for name in given.files}
    for file in sorted(folder.glob("*.skmm")):
        skmm.load(file).predict(X)  # what is imported and remembered, before anything is counted
    rng, done, tried = np.random.default_rng(seed), [], []
    file = folder / "altered"
    reading = False

    def note(event, args):
        written = event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+")
        if reading and (event.startswith(FORBIDDEN) or written):
            tried.append([event, str(args)[:200]])

    sys.addaudithook(note)
    for i in range(number):
        alter = ALTERATIONS[i % len(ALTERATIONS)]
        file.write_bytes(alter(contents[rng.integers(len(contents))], rng))
        before = forget_peak()
        ended, start = "read", time.process_time()
        reading = True
        try:
            estimator = skmm.load(file)
        except ValueError as error:
            ended = "refused" if str(file) in str(error) else f"ValueError without the file: {error}"
        else:
            try:
                estimator.predict(X)
            except Exception as error:
                ended = f"read, cannot predict: {type(error).__name__}"
        reading = False
        memory = peak() - before
        seconds = round(time.process_time() - start, 2)
        done.append(
            {"alteration": alter.__name__, "ended": ended, "kilobytes": memory, "seconds": seconds, "number": i}
        )
    print(json.dumps({"done": done, "tried": tried}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
