"""The site: `python -m sphinx -W docs docs/_build` builds it, with the extra `docs` installed.

It needs no network: what scikit-learn, torch and numpy say of themselves is named, not linked.
"""

import re
import shutil
import warnings
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive

import skmm
from skmm import _documentation
from skmm.cli import _parser
from skmm.reporting import Report

HERE = Path(__file__).parent

project = "skmm"
author = "the skmm developers"
project_copyright = f"{author}, BSD 3-Clause licence"
version = release = skmm.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "gallery/GALLERY_HEADER.rst"]
templates_path = ["_templates"]
smartquotes = False  # quotes are Python's
toc_object_entries_show_parents = "hide"

# pages
myst_heading_anchors = 4
myst_enable_extensions = ["dollarmath"]
suppress_warnings = ["config.cache"]  # the gallery's settings hold objects, so that nothing is kept from run to run

# the reference
autosummary_generate = True
autodoc_typehints = "none"  # types stand in the tables of parameters
autodoc_member_order = "groupwise"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

# the gallery
# from what most need to what few do
GALLERY = [
    "csv_to_model.py",
    "listing.py",
    "which_modality.py",
    "why.py",
    "why_this_prediction.py",
    "compare_and_report.py",
    "search.py",
    "sequences_with_groups.py",
    "missing_modalities.py",
    "how_sure.py",
    "regression_with_intervals.py",
    "multilabel.py",
    "fine_tuning.py",
    "bigger_than_memory.py",
    "serving.py",
    "own_fusion.py",
    "own_encoder.py",
    "textbook_network.py",
]
REPORTS = HERE / "auto_gallery" / "reports"
linked = set()


def link_reports(block, block_vars, gallery_conf):
    """Below the block of a script that made a report, a link that opens it."""
    links = ""
    for name, value in block_vars["example_globals"].items():
        file = f"{Path(block_vars['src_file']).stem}_{name}.html"
        if isinstance(value, Report) and file not in linked:
            linked.add(file)
            REPORTS.mkdir(parents=True, exist_ok=True)
            value.save(REPORTS / file)
            links += f'\n.. raw:: html\n\n    <p><a href="{REPORTS.name}/{file}">Open the report</a></p>\n'
    return links


sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "auto_gallery",
    "filename_pattern": r"\.py$",
    "within_subsection_order": GALLERY.index,
    "abort_on_example_error": True,
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_memory": False,
    "write_computation_times": False,
    "min_reported_time": 1e9,
    "capture_repr": ("_repr_html_", "__repr__"),
    "ignore_repr_types": r"matplotlib\.|<class 'NoneType'>",
    "image_scrapers": ("matplotlib", link_reports),
    "reset_modules": ("matplotlib",),
}

# looks
html_theme = "pydata_sphinx_theme"
html_title = "skmm"
html_static_path = ["_static"]
html_css_files = ["skmm.css"]
html_theme_options = {
    "logo": {"text": "skmm"},
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "navigation_depth": 3,
    "show_toc_level": 2,
    "header_links_before_dropdown": 6,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_context = {"default_mode": "auto"}
html_show_sourcelink = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# Functions of the names that can be chosen: what each names has a page of its own.
CHOICES = {
    *(f"Fusion.{name}" for name in skmm.list_fusions()),
    *(f"Encoder.{name}" for name in skmm.list_encoders()),
    *(f"Optimizer.{name}" for name in skmm.list_optimizers()),
}
# Inherited methods that are of use; those for metadata routing are scikit-learn's business.
INHERITED = {"fit_transform", "get_params", "score", "set_output", "set_params", "get_feature_names_out"}


def skip_inherited(app, what, name, obj, skip, options):
    """What numpy, torch or scikit-learn give a class is on their pages; what a name is a choice of has its own."""
    if getattr(obj, "__qualname__", "") in CHOICES:
        return True
    module = getattr(obj, "__module__", None) or ""
    if callable(obj) and not module.startswith("skmm") and name not in INHERITED:
        return True
    return None


def shapes_and_foreign_links(app, what, name, obj, options, lines):
    """A docstring's section Shape, which numpydoc does not know, and labels of other projects' pages."""
    text = "\n".join(lines)
    found = re.search(r"^Shape\n-----\n(.*?)(?=\n+[A-Z][A-Za-z ]+\n-{3,}\n|\Z)", text, re.M | re.S)
    if found:
        text = text[: found.start()] + text[found.end() :].lstrip("\n")
        first = re.search(r"^[A-Z][A-Za-z ]+\n-{3,}$", text, re.M)
        at = first.start() if first else len(text)
        text = f"{text[:at].rstrip()}\n\n**Shape**: {found[1].strip()}\n\n{text[at:]}"
    text = re.sub(r":(?:ref|term):`([^`<]+?)\s*(?:<[^>`]*>)?`", r"\1", text)
    lines[:] = text.split("\n")


class Commands(Directive):
    """What ``--help`` says of each command."""

    def run(self):
        parser = _parser()
        choices = next(action.choices for action in parser._actions if action.choices)
        found = [nodes.literal_block("", parser.format_help(), language="text")]
        for name, command in choices.items():
            section = nodes.section(ids=[f"skmm-{name}"], names=[f"skmm {name}"])
            section += nodes.title("", f"skmm {name}")
            section += nodes.literal_block("", command.format_help(), language="text")
            found.append(section)
        return found


def readme_is_a_page(app, name, source):
    """Pages link to the README where it lies; here it is the page `readme`."""
    source[0] = re.sub(r"\]\((\.\./)+README\.md", "](/readme.md", source[0])


def copy_media(app, exception):
    """Sounds, films and reports that pages show by HTML, which Sphinx does not look into."""
    if exception is None and app.builder.format == "html":
        for file in (HERE / "gallery").iterdir():
            if file.suffix in (".wav", ".mp4", ".html"):
                shutil.copy(file, Path(app.outdir) / "gallery")
        REPORTS.mkdir(parents=True, exist_ok=True)
        shutil.copytree(REPORTS, Path(app.outdir) / "auto_gallery" / REPORTS.name, dirs_exist_ok=True)


def setup(app):
    _documentation.home = lambda: ".."  # diagrams on pages of the gallery lead to this site
    warnings.filterwarnings("ignore", category=UserWarning, module="joblib")
    app.add_directive("commands", Commands)
    app.connect("source-read", readme_is_a_page)
    app.connect("autodoc-skip-member", skip_inherited)
    app.connect("autodoc-process-docstring", shapes_and_foreign_links, priority=100)
    app.connect("build-finished", copy_media)
