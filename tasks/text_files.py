"""Text files of any encoding, opened so that an error names the file and says what to do."""

import bz2
import codecs
import contextlib
import gzip
import io
import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from .errors import DataError

_OPENERS = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
# The longer marks first: UTF-32's begins with UTF-16's.
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
COMPRESSED = tuple(_OPENERS)


@contextlib.contextmanager
def open_text(
    path: str | Path,
    encoding: str | None = None,
    advice: str = "save it as UTF-8, or name its encoding, such as cp1252 (Western Windows)",
) -> Iterator[TextIO]:
    """Opens a text file, compressed or not, with its line ends as they are.

    Args:
        path: The file; `.gz`, `.bz2` and `.xz` are unpacked.
        encoding: Its encoding; None takes the one that a byte order mark at its beginning tells, else UTF-8.
        advice: What to do where the text is of another encoding, for the message.

    Raises:
        DataError: There is no such file, it cannot be unpacked, or (in the body as well) it is of another encoding.
    """
    path = Path(path)
    try:
        with _OPENERS.get(path.suffix.lower(), open)(path, "rb") as raw:
            start = raw.read(4)
            if start.startswith(b"PK\x03\x04"):
                raise DataError(
                    f"{path} is no text file but a ZIP archive or a workbook; unpack it, or save it as CSV (UTF-8)."
                )
            raw.seek(0)
            marked = next((name for mark, name in _BYTE_ORDER_MARKS.items() if start.startswith(mark)), None)
            yield io.TextIOWrapper(raw, encoding=marked or encoding or "utf-8", newline="")
    except LookupError as error:
        if encoding is None or encoding not in str(error):
            raise
        raise DataError(f"{path}: there is no encoding {encoding!r}; known are utf-8, cp1252, latin-1, ...") from error
    except UnicodeError as error:
        raise DataError(f"{path} is not {encoding or 'UTF-8'} text ({_explain(error)}): {advice}.") from error
    except (EOFError, gzip.BadGzipFile, lzma.LZMAError) as error:
        raise DataError(f"{path} cannot be unpacked: {error}.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error


def _explain(error: UnicodeError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"byte 0x{error.object[error.start]:02x}"
    return str(error)
