"""The page that `isthmus report` makes of a file of scores: one HTML file that needs no network."""

from isthmus.extras import importing

with importing("report", needed_by="isthmus report"):
    from isthmus.report.content import PageContent, gather
    from isthmus.report.page import check_page, render_page, write_page
    from isthmus.report.scores_file import ScoresFile, open_scores

__all__ = [
    "PageContent",
    "ScoresFile",
    "check_page",
    "gather",
    "open_scores",
    "render_page",
    "write_page",
]
