"""The media types of requests and answers, each with the ending of the files that hold it."""

from __future__ import annotations

from collections.abc import Mapping

JSON = "application/json"
NPZ = "application/x-npz"
ENDINGS: Mapping[str, str] = {
    JSON: ".json",
    NPZ: ".npz",
    "application/x-npy": ".npy",
    "application/x-ndjson": ".jsonl",
    "application/vnd.apache.parquet": ".parquet",
    "text/csv": ".csv",
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/tiff": ".tif",
    "image/bmp": ".bmp",
    "audio/wav": ".wav",
    "audio/flac": ".flac",
    "audio/ogg": ".ogg",
}
"""The ending of each form's files."""
RECORDS_ENDING = ".jsonl"
"""The ending of the file that records of JSON become."""
TABLES = (JSON, NPZ, "text/csv", "application/vnd.apache.parquet")
"""The forms that a table of results can have."""
ALIASES = {
    "audio/x-wav": "audio/wav",
    "audio/wave": "audio/wav",
    "audio/vnd.wave": "audio/wav",
    "audio/x-flac": "audio/flac",
    "image/jpg": "image/jpeg",
    "application/x-parquet": "application/vnd.apache.parquet",
    "application/jsonl": "application/x-ndjson",
    "application/zip": NPZ,
}
"""Other names of the same forms."""
