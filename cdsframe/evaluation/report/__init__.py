"""Self-contained reports: `report.html` and `report.md` of a run, `comparison.html` of a comparison.

Pure functions of the data that finished runs keep. A report holds questions, answers and passages: it must not leave
the user's folder.
"""

from cdsframe.evaluation.report.comparison import write_comparison_report
from cdsframe.evaluation.report.facts import facts_of
from cdsframe.evaluation.report.run import write_report

__all__ = ["facts_of", "write_comparison_report", "write_report"]
