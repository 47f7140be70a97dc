"""A schedules file: what is wrong in it, and in its jobs, is told at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from isthmus.errors import SpecError, UsageError
from isthmus_pipelines.schedules import find_schedule, read_schedules

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
    "seven fields": (
        "schedules:\n  - {name: a, job: job.yaml, cron: '* * * * * * *'}\n",
        "no cron",
    ),
    "six fields, which would be seconds": (
        "schedules:\n  - {name: a, job: job.yaml, cron: '0 0 3 * * *'}\n",
        'line 2: schedules.0.cron: "0 0 3 * * *" is no cron of Prefect\'s; write five fields',
    ),
    "a nickname": (
        "schedules:\n  - {name: a, job: job.yaml, cron: '@daily'}\n",
        "write five fields",
    ),
    "the last weekday, which Prefect does not know": (
        "schedules:\n  - {name: a, job: job.yaml, cron: '0 3 LW * *'}\n",
        "no cron of Prefect's",
    ),
    "a hashed minute": (
        "schedules:\n  - {name: a, job: job.yaml, cron: 'H 3 * * *'}\n",
        "no cron of Prefect's",
    ),
    "a day that never comes": (
        "schedules:\n  - {name: a, job: job.yaml, cron: '0 3 31 2 *'}\n",
        "names a day that never comes",
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


@pytest.mark.parametrize("cron", ["0 3 * * *", "*/5 8-18 * * mon-fri", "0 0 L * *", "0 0 29 2 *"])
def test_what_the_file_may_say_is_what_prefect_serves(tmp_path, cron):
    from prefect.schedules import Cron

    text = f"schedules:\n  - {{name: a, job: job.yaml, cron: '{cron}', timezone: Europe/Berlin}}\n"
    (entry,) = read_schedules(write(tmp_path, text))
    assert Cron(entry.schedule.cron, timezone=entry.schedule.timezone).cron == cron


def test_an_unknown_schedule_is_refused_with_the_nearest(tmp_path):
    path = write(tmp_path, "schedules:\n  - {name: nightly, job: job.yaml, cron: '0 3 * * *'}\n")
    with pytest.raises(UsageError, match='did you mean "nightly"'):
        find_schedule("nightli", path)
