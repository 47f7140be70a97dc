"""A schedules file: what is wrong in it, and in its jobs, is told at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from isthmus.errors import SpecError, UsageError
from pipelines.schedules import find_schedule, read_schedules

OURS = Path(__file__).parents[3] / "pipelines" / "schedules.yaml"


def write(folder: Path, text: str) -> Path:
    (folder / "job.yaml").write_text("name: a\ndata: sklearn:digits\n")
    path = folder / "schedules.yaml"
    path.write_text(text)
    return path


def test_the_file_that_is_shipped_is_right():
    (entry,) = read_schedules(OURS)
    assert entry.job.is_file()
    assert find_schedule(entry.schedule.name, OURS) == entry


WRONG = {
    "empty": ("", "is empty; it needs at least schedules"),
    "no schedules": ("schedules: []\n", "schedules"),
    "a cron that is none": (
        "schedules:\n  - {name: a, job: job.yaml, cron: nightly}\n",
        'line 2: schedules.0.cron: "nightly" is no cron',
    ),
    "a sixth field": (
        "schedules:\n  - {name: a, job: job.yaml, cron: '* * * * * * *'}\n",
        "no cron",
    ),
    "a time zone that is none": (
        "schedules:\n  - {name: a, job: job.yaml, cron: '0 3 * * *', timezone: Mars}\n",
        '"Mars" is no time zone',
    ),
    "no job file": ("schedules:\n  - {name: a, job: no.yaml, cron: '0 3 * * *'}\n", "no such file"),
    "a change that is wrong": (
        "schedules:\n  - {name: a, job: job.yaml, cron: '0 3 * * *', set: [training.epoch=1]}\n",
        'did you mean "epochs"?',
    ),
    "the same name twice": (
        "schedules:\n"
        "  - {name: a, job: job.yaml, cron: '0 3 * * *'}\n"
        "  - {name: a, job: job.yaml, cron: '0 4 * * *'}\n",
        '"a" stands twice',
    ),
    "an unknown field": (
        "schedules:\n  - {name: a, job: job.yaml, cron: '0 3 * * *', retries: 2}\n",
        "no such field",
    ),
}


@pytest.mark.parametrize(("text", "said"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_one_line(tmp_path, text, said):
    with pytest.raises(SpecError) as caught:
        read_schedules(write(tmp_path, text))
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_an_unknown_schedule_is_refused_with_the_nearest(tmp_path):
    path = write(tmp_path, "schedules:\n  - {name: nightly, job: job.yaml, cron: '0 3 * * *'}\n")
    with pytest.raises(UsageError, match='did you mean "nightly"'):
        find_schedule("nightli", path)
