"""Reports: self-contained HTML pages about an inversion, many of them, or a run. Pure functions of their data."""

from ganenc.report._domain import (
    HELD_OUT,
    Baseline,
    DomainCheck,
    Verdict,
    domain_warning,
    judge,
    measure_baseline,
    one_pass,
)
from ganenc.report._files import write_run_report
from ganenc.report._inversion import ReportedPlace, ReportedView, inversion_report, metric_text, seconds_text
from ganenc.report._summary import THUMBNAIL, ReportedPhoto, Totals, mean_std, run_report, summary_report

__all__ = [
    "HELD_OUT",
    "THUMBNAIL",
    "Baseline",
    "DomainCheck",
    "ReportedPhoto",
    "ReportedPlace",
    "ReportedView",
    "Totals",
    "Verdict",
    "domain_warning",
    "inversion_report",
    "judge",
    "mean_std",
    "measure_baseline",
    "metric_text",
    "one_pass",
    "run_report",
    "seconds_text",
    "summary_report",
    "write_run_report",
]
