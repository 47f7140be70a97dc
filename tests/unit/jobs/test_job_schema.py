"""The JSON schema of job files, which is stored for what is built in."""

from __future__ import annotations

import json
import subprocess
import sys

from isthmus.jobs.job_schema import BUILT_IN, build, schema

_READS_NO_VARIANT = """
import sys
from isthmus.cli import main

opened = []
sys.addaudithook(lambda event, about: event == "open" and opened.append(str(about[0])))
sys.argv = ["isthmus", "schema"]
try:
    main()
except SystemExit as end:
    assert not end.code
read = [path for path in opened if "/isthmus/variants/" in path or "/isthmus/nets/" in path]
assert not read, read
"""


def test_the_stored_schema_is_that_of_the_options_in_the_source():
    stored = json.loads(BUILT_IN.read_text(encoding="utf-8"))
    assert stored == json.loads(json.dumps(build())), "an option changed; run make schema"
    assert schema() == stored


def test_the_schema_of_what_is_built_in_is_printed_without_reading_a_variant():
    done = subprocess.run(
        [sys.executable, "-c", _READS_NO_VARIANT], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == schema()
