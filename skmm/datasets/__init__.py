"""Data sets with several modalities."""

from skmm.datasets._archives import load_csd, load_feature_archive
from skmm.datasets._generated import make_multimodal_classification, make_multimodal_regression
from skmm.datasets._sentiment import make_sentiment
from skmm.datasets._speech import make_spoken_sequences
from skmm.datasets._spoken_digits import load_spoken_digits
from skmm.datasets._video import make_video_events

__all__ = [
    "load_csd",
    "load_feature_archive",
    "load_spoken_digits",
    "make_multimodal_classification",
    "make_multimodal_regression",
    "make_sentiment",
    "make_spoken_sequences",
    "make_video_events",
]
