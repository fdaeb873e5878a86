"""Frames, data sets and results: what travels between pods, as files and JSON."""

from lamflow.data.frames import Attempt, Deviations, FailureKind, Frame, LabeledFrame, Labels, Relaxed, Trajectory

__all__ = ["Attempt", "Deviations", "FailureKind", "Frame", "LabeledFrame", "Labels", "Relaxed", "Trajectory"]
