"""Reports: self-contained HTML pages about an inversion, many of them, or a run. Pure functions of their data."""

from ganenc.report._domain import HELD_OUT, Baseline, DomainCheck, Verdict, judge, measure_baseline
from ganenc.report._files import write_run_report
from ganenc.report._inversion import ReportedView, inversion_report, metric_text
from ganenc.report._summary import ReportedPhoto, mean_std, run_report, summary_report

__all__ = [
    "HELD_OUT",
    "Baseline",
    "DomainCheck",
    "ReportedPhoto",
    "ReportedView",
    "Verdict",
    "inversion_report",
    "judge",
    "mean_std",
    "measure_baseline",
    "metric_text",
    "run_report",
    "summary_report",
    "write_run_report",
]
