"""Transcripts from audio and what helps to understand it."""

from skmm.speech._recognizer import SpeechRecognizer

__all__ = ["SpeechRecognizer"]
