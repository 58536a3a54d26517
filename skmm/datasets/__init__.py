"""Data sets with several modalities."""

from skmm.datasets._archives import load_csd, load_feature_archive
from skmm.datasets._fetch_actions import fetch_utd_mhad
from skmm.datasets._fetch_digits import fetch_av_digits, fetch_fsdd, fetch_mfeat
from skmm.datasets._fetch_sentiment import fetch_mosei, fetch_mosi, fetch_sims
from skmm.datasets._fetching import get_data_home
from skmm.datasets._generated import make_multimodal_classification, make_multimodal_regression
from skmm.datasets._sentiment import make_sentiment
from skmm.datasets._speech import make_spoken_sequences
from skmm.datasets._spoken_digits import load_spoken_digits
from skmm.datasets._video import make_video_events

__all__ = [
    "fetch_av_digits",
    "fetch_fsdd",
    "fetch_mfeat",
    "fetch_mosei",
    "fetch_mosi",
    "fetch_sims",
    "fetch_utd_mhad",
    "get_data_home",
    "load_csd",
    "load_feature_archive",
    "load_spoken_digits",
    "make_multimodal_classification",
    "make_multimodal_regression",
    "make_sentiment",
    "make_spoken_sequences",
    "make_video_events",
]
