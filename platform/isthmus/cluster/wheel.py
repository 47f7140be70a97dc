"""Builds a wheel of the running code, so that a cluster runs what was submitted.

Ray installs a wheel with pip, together with its requirements. Ours has none: the cluster's image
has torch and Ray, and a job must not download others. Uploading the folder would not work either,
since `platform/` is not a package.
"""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Iterator
from importlib import metadata, util
from pathlib import Path

_PACKAGES = ("isthmus", "isthmus_pipelines")
# Equal code must give equal bytes, because Ray stores and reuses an upload by its content.
_EPOCH = (1980, 1, 1, 0, 0, 0)


def build_wheel(folder: Path) -> Path:
    """Writes the wheel into a folder; equal code gives an equal file.

    Returns:
        The path of `isthmus-VERSION+HASH-py3-none-any.whl`, where the hash is that of the code.
    """
    files = dict(_code_files())
    digest = hashlib.sha256()
    for name, content in files.items():
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    version = f"{metadata.version('isthmus').partition('+')[0]}+code.{digest.hexdigest()[:12]}"
    info = f"isthmus-{version}.dist-info"
    files[f"{info}/METADATA"] = (
        f"Metadata-Version: 2.1\nName: isthmus\nVersion: {version}\n".encode()
    )
    files[f"{info}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: isthmus\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    record = "".join(
        f"{name},{_digest(content)},{len(content)}\n" for name, content in files.items()
    )
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()

    wheel = folder / f"isthmus-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), content, zipfile.ZIP_DEFLATED)
    return wheel


def _code_files() -> Iterator[tuple[str, bytes]]:
    """Yields the name in the wheel and the content of every file of the packages, sorted."""
    for package in _PACKAGES:
        spec = util.find_spec(package)
        for location in (spec.submodule_search_locations or ()) if spec else ():
            root = Path(location)
            for file in sorted(root.rglob("*")):
                if file.is_file() and "__pycache__" not in file.parts:
                    yield f"{package}/{file.relative_to(root).as_posix()}", file.read_bytes()


def _digest(content: bytes) -> str:
    hashed = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
    return f"sha256={hashed.decode()}"
