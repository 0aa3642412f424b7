"""The digest of the page in a picture, which tells whether the picture is still true."""

import hashlib
import re
import zlib
from pathlib import Path

_KEYWORD = b"page-sha256\0"
_END = b"\0\0\0\0IEND"
_STAMP = re.compile(rb"tEXt" + re.escape(_KEYWORD) + rb"([0-9a-f]{64})")


def stamp(file: Path, page: str) -> None:
    """Write the digest of a page into a PNG file, in a chunk of text before its end.

    https://www.w3.org/TR/png-3/#11tEXt
    """
    data = b"tEXt" + _KEYWORD + _digest(page)
    size, checksum = len(data) - len(b"tEXt"), zlib.crc32(data)
    head, end, rest = file.read_bytes().rpartition(_END)
    chunk = size.to_bytes(4, "big") + data + checksum.to_bytes(4, "big")
    file.write_bytes(head + chunk + end + rest)


def is_current(file: Path, page: str) -> bool:
    """Whether a file was made of this page."""
    found = _STAMP.search(file.read_bytes()) if file.exists() else None
    return found is not None and found[1] == _digest(page)


def _digest(page: str) -> bytes:
    return hashlib.sha256(page.encode()).hexdigest().encode()
