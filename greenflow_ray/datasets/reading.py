"""Reading big text files in blocks: bounded memory, progress by bytes, and errors that name file, line and cure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv

from greenflow_ray.datasets.schema import I64
from greenflow_ray.errors import DataError
from greenflow_ray.support.progress import Progress, silent

BLOCK = 8 << 20  # bytes read at a time

INT, TEXT, REAL = pa.int64(), pa.string(), pa.float64()


class Meter:
    """Turns bytes read of several files into one share done."""

    def __init__(self, files: Sequence[Path], progress: Progress = silent, message: str = "data: reading") -> None:
        self._total = max(1, sum(file.stat().st_size for file in files))
        self._done, self._progress, self._message = 0, progress, message
        progress(message, 0.0)

    def add(self, count: int) -> None:
        """Say that ``count`` more bytes were read."""
        self._done = min(self._total, self._done + count)
        self._progress(self._message, self._done / self._total)


def empty(path: Path, shape: str) -> DataError:
    """What to raise of a file without lines; ``shape`` is what one should look like."""
    return DataError(f"{path}: empty; expected lines like {shape!r}")


def malformed(path: Path, number: int, shape: str, line: str) -> DataError:
    """What to raise of a line, numbered from 1, that does not have the ``shape``."""
    return DataError(f"{path}: line {number}: expected {shape!r}, found {line.strip()[:60]!r}; mend the line")


def lines(path: Path, shape: str, meter: Meter | None = None, encoding: str = "utf-8") -> Iterator[tuple[int, str]]:
    """Yield number (from 1) and text of every line that is not blank. Raises DataError if there is none."""
    some, unreported = False, 0
    with path.open(encoding=encoding, errors="replace") as file:
        for number, line in enumerate(file, 1):
            unreported += len(line)
            if meter is not None and unreported > 1 << 20:
                meter.add(unreported)
                unreported = 0
            if line.strip():
                some = True
                yield number, line
    if not some:
        raise empty(path, shape)


def blocks(path: Path, meter: Meter, size: int = BLOCK) -> Iterator[tuple[bytes, int]]:
    """Yield the bytes of a file in blocks of whole lines, each with the number of its first line (from 1).

    Every block ends with a newline, also where the file does not. Memory: about ``size``, or the longest line.
    """
    rest, number = b"", 1
    with _opened(path) as file:
        while chunk := file.read(size):
            meter.add(len(chunk))
            end = chunk.rfind(b"\n") + 1
            if end == 0:
                rest += chunk
                continue
            whole, rest = rest + chunk[:end], chunk[end:]
            yield whole, number
            number += whole.count(b"\n")
    if rest.strip():
        yield rest + b"\n", number


def rows(
    path: Path,
    wanted: Mapping[str, pa.DataType],
    meter: Meter,
    *,
    shape: str,
    delimiter: str = ",",
    names: Sequence[str] | None = None,
    quoted: bool = False,
) -> Iterator[Any]:
    """Yield record batches of the ``wanted`` columns of a delimited file, with pyarrow's reader.

    ``names`` are the columns of a file without header. ``shape`` shows in errors what a line should look like.
    Raises DataError naming file, line and cure: missing columns, wrong column counts, values of a wrong type, values
    that are not finite, empty files. Blank lines are passed over.
    """
    if names is None:
        held = header(path, delimiter)
        if held == [""]:
            raise DataError(f"{path}: empty; expected a header and lines like {shape!r}")
        for name in (name for name in wanted if name not in held):
            raise DataError(f"{path}: line 1: no column {name!r} among {', '.join(held)[:120]}; add it to the header")
    elif not path.is_file() or path.stat().st_size == 0:
        raise empty(path, shape)
    any_row = False
    try:
        with csv.open_csv(
            str(path),
            # One thread: only then do errors tell the row, and the order of columns' work costs little.
            read_options=csv.ReadOptions(use_threads=False, block_size=BLOCK, column_names=names),
            parse_options=csv.ParseOptions(
                delimiter=delimiter, quote_char='"' if quoted else False, newlines_in_values=quoted
            ),
            convert_options=csv.ConvertOptions(
                column_types=dict(wanted), include_columns=list(wanted), null_values=[], strings_can_be_null=False
            ),
        ) as reader:
            for batch in reader:
                meter.add(min(BLOCK, path.stat().st_size))
                any_row |= batch.num_rows > 0
                for name, kind in wanted.items():
                    if kind == REAL and not np.isfinite(batch.column(name).to_numpy()).all():
                        raise pa.ArrowInvalid(f"column {name!r} holds NaN or infinity")
                yield batch
    except (pa.ArrowException, UnicodeDecodeError) as error:
        if "Empty CSV" in str(error):
            raise empty(path, shape) from error
        kinds = [wanted.get(name, TEXT) for name in names or header(path, delimiter)]
        raise _culprit(path, kinds, shape, delimiter, str(error), titled=names is None) from error
    if not any_row:
        raise empty(path, shape)


def header(path: Path, delimiter: str = ",") -> list[str]:
    """Names in a file's first line; ``[""]`` if it is empty."""
    with _opened(path) as file:
        first = file.readline().decode("utf-8-sig", "replace")
    return [name.strip().strip('"') for name in first.rstrip("\r\n").split(delimiter)]


def integers(path: Path, name: str, column: Any, first: int = 1) -> I64:
    """A pyarrow column as int64, also of text. Raises DataError naming the first bad row; they count from ``first``."""
    if column.null_count:
        row = pc.index(column.is_null(), True).as_py() + first
        raise DataError(f"{path}: row {row}: column {name!r} is null; fill it in or drop the row")
    try:
        return np.asarray(column.cast(INT).to_numpy(zero_copy_only=False), dtype=np.int64)
    except (pa.ArrowException, ValueError) as error:
        for row, value in enumerate(column.to_pylist(), first):
            if not (value.is_integer() if isinstance(value, float) else _is_int(str(value))):
                fault = f"{path}: row {row}: column {name!r} holds values that are not integers, as {str(value)[:40]!r}"
                raise DataError(f"{fault}; mend it") from error
        raise DataError(f"{path}: column {name!r} holds values that are not integers; mend it") from error


def _opened(path: Path) -> Any:
    try:
        return path.open("rb")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({type(error).__name__}); check the file") from error


def _culprit(
    path: Path, kinds: Sequence[pa.DataType], shape: str, delimiter: str, reason: str, *, titled: bool
) -> DataError:
    """Find the first line that cannot be read: slowly, for this happens once and the number must be right."""
    with path.open(encoding="utf-8", errors="replace", newline="\n") as file:
        for number, line in enumerate(file, 1):
            # The fields of a quoted line cannot be told apart by the delimiter alone.
            if not line.strip() or '"' in line or (titled and number == 1):
                continue
            fields = line.rstrip("\r\n").split(delimiter)
            if len(fields) != len(kinds) or not all(map(_fits, fields, kinds)):
                return malformed(path, number, shape, line)
    row = re.search(r"Row #(\d+)", reason)
    where = f"row {row[1]}: " if row else ""
    return DataError(f"{path}: {where}expected {shape!r} ({' '.join(reason.split())[:160]}); mend the file")


def _fits(text: str, kind: pa.DataType) -> bool:
    if kind != REAL:
        return kind != INT or _is_int(text)
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def _is_int(text: str) -> bool:
    text = text.strip()
    return bool(re.fullmatch(r"-?[0-9]{1,19}", text)) and -(2**63) <= int(text) < 2**63
