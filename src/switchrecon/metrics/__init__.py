"""Metrics: a table of them, and what a metric of a user's file is made of."""

from switchrecon.metrics.table import METRICS, Column, Metric

__all__ = ["METRICS", "Column", "Metric"]
