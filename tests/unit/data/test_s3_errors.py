"""An error of S3 is told by what pyarrow says."""

from __future__ import annotations

import errno

import pytest

from isthmus.data.storage.s3_errors import S3Fault, fault_of, reason_of

AWAY = (
    "When listing objects: AWS Error NETWORK_CONNECTION during ListObjectsV2 operation: curlCode: "
    "7, Couldn't connect to server; Details: Failed to connect to 127.0.0.1"
)
SAID = {
    AWAY: S3Fault.NO_NETWORK,
    "AWS Error ACCESS_DENIED during HeadBucket operation: No response body.": S3Fault.REFUSED,
    "AWS Error UNRECOGNIZED_CLIENT during PutObject operation: no": S3Fault.REFUSED,
    "AWS Error UNKNOWN (HTTP status 403) during HeadObject operation": S3Fault.REFUSED,
    "Bucket 'b' not found. To create buckets, enable the option": S3Fault.NO_BUCKET,
    "Path does not exist 'bucket'": S3Fault.NO_BUCKET,
    "Path does not exist 'bucket/key'": S3Fault.OTHER,
    "AWS Error MISSING_AUTHENTICATION_TOKEN during GetObject operation": S3Fault.NO_CREDENTIALS,
    "No AWS Credentials were found": S3Fault.NO_CREDENTIALS,
    "AWS Error SLOW_DOWN during PutObject operation": S3Fault.OTHER,
    "When reading information for key 'runs/timeout.csv' in bucket 'credentials': AWS Error "
    "SLOW_DOWN during HeadObject operation": S3Fault.OTHER,
}


@pytest.mark.parametrize(("said", "fault"), SAID.items(), ids=range(len(SAID)))
def test_what_is_wrong_is_told_by_the_text(said, fault):
    assert fault_of(OSError(said)) is fault


def test_the_reason_is_in_a_few_words_that_ray_does_not_take_for_its_own():
    assert reason_of(OSError(AWAY)) == "NETWORK_CONNECTION: Failed to connect to 127.0.0.1"
    assert reason_of(OSError("AWS Error SLOW_DOWN during PutObject")) == "SLOW_DOWN"
    assert reason_of(OSError(errno.ENOSPC, "write")) == "No space left on device"
    assert reason_of(OSError("first\nsecond")) == "first"
    assert reason_of(ValueError()) == "ValueError"
