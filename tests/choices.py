"""Write skmm/_choices.pyi, which tells editors and type checkers what Encoder.gru and its kin take.

Run ``python tests/choices.py`` after a fusion or an encoder was added or changed; a test holds that it was.
"""

import inspect
import re
from pathlib import Path

import skmm
from skmm.spec import Encoder, Fusion, Optimizer

FILE = Path(skmm.__file__).parent / "_choices.pyi"
HEAD = """# Written by tests/choices.py, not by hand.

from typing import Any

from skmm.spec import Encoder, Fusion, Optimizer
"""
# types that the head knows
KNOWN = {"Any", "None", "bool", "dict", "float", "int", "list", "str", "tuple"}


def written(parameter):
    """A parameter as a stub writes it."""
    kind = parameter.annotation
    text = kind if isinstance(kind, str) else inspect.formatannotation(kind)
    if kind is parameter.empty or not set(re.findall(r"[A-Za-z_][\w.]*", text)) <= KNOWN:
        text = "Any"
    if parameter.default is None and text != "Any" and "None" not in text:
        text += " | None"  # the estimator's value
    return f"        {parameter.name}: {text} = {parameter.default!r},\n"


def stub():
    """The text of the file."""
    parts = [HEAD]
    for kind in (Encoder, Fusion, Optimizer):
        parts.append(f"\nclass {kind.__name__}Names:\n")
        for name, cls in sorted(kind._registry.items()):
            parameters = inspect.signature(getattr(kind, name)).parameters.values()
            summary = (inspect.getdoc(cls) or "").partition("\n")[0].replace("\\", "/")
            parts += [
                "    @classmethod\n",
                f"    def {name}(\n        cls,\n",
                "        *,\n" if parameters else "",
                *map(written, parameters),
                f'    ) -> {kind.__name__}:\n        """{summary}"""\n\n',
            ]
        parts[-1] = parts[-1].rstrip("\n") + "\n"
    return "".join(parts)


if __name__ == "__main__":
    FILE.write_text(stub(), encoding="utf-8")
