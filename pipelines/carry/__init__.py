"""Carry a model away: one network from pixels to probabilities, checked against the run, with a card."""

from pipelines.carry.step import ExportModelSummary, export_model

__all__ = ["ExportModelSummary", "export_model"]
