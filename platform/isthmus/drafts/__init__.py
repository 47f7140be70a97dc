"""Looks at data and drafts a job file for them: one file here for each form of data."""

from isthmus.drafts.drafting import Draft, draft_job, name_of, refuse_existing, save

__all__ = ["Draft", "draft_job", "name_of", "refuse_existing", "save"]
