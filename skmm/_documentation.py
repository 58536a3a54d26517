"""Where the reference stands on the web, for the links that scikit-learn draws into diagrams."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, metadata


def home() -> str | None:
    """The address of the site as the package says it, under ``Documentation`` among its URLs; None without one."""
    try:
        urls = metadata("skmm").get_all("Project-URL") or []
    except PackageNotFoundError:  # run from its source
        return None
    found = dict(url.split(", ", 1) for url in urls).get("Documentation")
    return None if found is None else found.rstrip("/")


class Documented:
    """Mixin of estimators that have a page in the reference, to which the "?" in a diagram leads."""

    def _get_doc_link(self) -> str:
        """The page; empty where there is none, as of a user's own subclass: no "?" is drawn then."""
        cls, site = type(self), home()
        package, *rest = cls.__module__.split(".")
        if package != "skmm" or site is None:
            return ""
        on_top = cls.__name__ in sys.modules["skmm"].__all__
        menu = "skmm" if on_top or not rest else f"skmm.{rest[0]}"
        return f"{site}/reference/generated/{menu}.{cls.__name__}.html"
