"""Transformers from a column of raw data to a block: text, images, audio, video, categories, timed sequences."""

from skmm.preprocessing.audio import MFCC, AudioLoader, LogMel
from skmm.preprocessing.image import ImageEmbedder, ImageLoader
from skmm.preprocessing.pretrained import PretrainedTokens
from skmm.preprocessing.sequences import TimedSequence, align, read_csd, segment
from skmm.preprocessing.table import TableTokens
from skmm.preprocessing.text import TextEmbedder, TextTokens
from skmm.preprocessing.video import VideoAudio, VideoFrames

__all__ = [
    "MFCC",
    "AudioLoader",
    "ImageEmbedder",
    "ImageLoader",
    "LogMel",
    "PretrainedTokens",
    "TableTokens",
    "TextEmbedder",
    "TextTokens",
    "TimedSequence",
    "VideoAudio",
    "VideoFrames",
    "align",
    "read_csd",
    "segment",
]
