"""Shows progress bars and summaries of results in a notebook."""

from isthmus.notebook.bar import NotebookBar, in_notebook, rows_bar
from isthmus.notebook.summary import Figure, Picture, summary

__all__ = ["Figure", "NotebookBar", "Picture", "in_notebook", "rows_bar", "summary"]
