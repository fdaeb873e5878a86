"""Frames, data sets and results: what travels between pods, as files and JSON."""

from lamflow.data.frames import Frame, LabeledFrame, Labels, Relaxed, Trajectory

__all__ = ["Frame", "LabeledFrame", "Labels", "Relaxed", "Trajectory"]
