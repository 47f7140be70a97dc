"""What a notebook shows: one bar that moves while work lasts, and summaries of what comes of it."""

from isthmus.notebook.bar import NotebookBar, in_notebook, rows_bar
from isthmus.notebook.summary import Figure, Picture, summary

__all__ = ["Figure", "NotebookBar", "Picture", "in_notebook", "rows_bar", "summary"]
