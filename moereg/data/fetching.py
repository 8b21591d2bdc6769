"""Downloads that go on where they were broken off, and are used only when their checksum is right.

    path = fetch(address, folder, "set.tar", checksum="md5:...", most=10**9)

pooch keeps the file only if the checksum fits; `Resuming` is the part that asks for bytes. What has come stays beside
the target as `set.tar.part` when a connection drops, and the next call asks the server for the rest. Whether the rest
belongs to it, the server says (`If-Range`); where it does not know, everything is fetched anew. A server cannot make
the file longer than `most`, nor keep the call waiting for ever.
"""

import contextlib
import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

TRIES = 5  # connections in a row that bring nothing
CONNECTIONS = 1000  # in all
SECONDS = (15.0, 60.0)  # to connect, and between two packets
CHUNK = 2**13  # bytes at once: no more of them are lost when a connection drops
SPARE = 2**20  # bytes of a disk that stay free


class Truncated(Exception):
    """Fewer bytes came than were announced."""


@dataclass
class Resuming:
    """A downloader for pooch: writes `part`, as many connections as it takes, then hands it over.

    Args:
        part: where the bytes are kept in between.
        most: how many there may be.
        pause: seconds between two connections, longer after each that brought nothing.
        progress: show a bar on stderr.
    """

    part: Path
    most: int
    pause: float = 1.0
    progress: bool = False

    def __call__(self, url: str, output_file: Any, pooch: Any = None, check_only: bool = False) -> None:
        import requests

        without_gain = 0
        for _ in range(CONNECTIONS):
            before = self._size()
            try:
                self._connect(url, before)
                os.replace(self.part, output_file)
                self._forget()
                return
            except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError, Truncated):
                without_gain = 0 if self._size() > before else without_gain + 1
            if without_gain >= TRIES:
                break
            time.sleep(self.pause * without_gain)
        raise ConnectionError(
            f"{url} must come whole, but after {self._size()} bytes {TRIES} connections brought no more; run the "
            f"command again, it goes on from {self.part}."
        )

    def _connect(self, url: str, have: int) -> None:
        """One connection: what comes is added to `part`."""
        import requests

        headers = {"Accept-Encoding": "identity"}
        mark = self._mark()
        if have and mark:
            headers |= {"Range": f"bytes={have}-", "If-Range": mark}
        with requests.get(url, headers=headers, stream=True, timeout=SECONDS) as response:
            if url.startswith("https:") and not response.url.startswith("https:"):
                raise ValueError(f"{url} must lead to an address that begins with https:, got {response.url}.")
            if response.status_code == 416:  # there is no rest, or another file stands there now
                self._forget()
                raise Truncated
            if response.status_code == 429 or response.status_code >= 500:  # busy: perhaps later
                raise Truncated
            if response.status_code not in (200, 206):
                raise ValueError(f"{url} must be there, but the server answered {response.status_code}.")
            start, total = _extent(response)
            if response.status_code == 206 and start != have:
                self._forget()
                raise Truncated
            if total is not None and total > self.most:
                raise ValueError(f"{url} must hold {self.most} bytes at most, the server announces {total}.")
            self._remember(response)
            self._write(response, have if response.status_code == 206 else 0, total, url)

    def _write(self, response: Any, start: int, total: int | None, url: str) -> None:
        bar = tqdm(total=total, initial=start, unit="B", unit_scale=True, disable=not self.progress, leave=False)
        with self.part.open("r+b" if start else "wb") as file, bar:
            file.seek(start)
            file.truncate()
            for chunk in response.iter_content(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
                if file.tell() > self.most:
                    raise ValueError(f"{url} must hold {self.most} bytes at most, got more.")
            if total is not None and file.tell() < total:
                raise Truncated

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.is_file() else 0

    @property
    def _mark_file(self) -> Path:
        return self.part.with_name(self.part.name + ".mark")

    def _mark(self) -> str:
        """What the server calls the file of which `part` is the beginning."""
        return self._mark_file.read_text(encoding="latin-1") if self._mark_file.is_file() else ""

    def _remember(self, response: Any) -> None:
        tag = response.headers.get("ETag", "")
        mark = tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")
        self._mark_file.write_text(mark, encoding="latin-1")

    def _forget(self) -> None:
        for path in (self.part, self._mark_file):
            path.unlink(missing_ok=True)


def _extent(response: Any) -> tuple[int, int | None]:
    """First byte that comes, and length of the whole file where the server says it."""
    with contextlib.suppress(ValueError, KeyError, IndexError):
        if response.status_code == 206:
            span, whole = response.headers["Content-Range"].removeprefix("bytes ").split("/")
            return int(span.split("-")[0]), int(whole)
        return 0, int(response.headers["Content-Length"])
    return (-1, None) if response.status_code == 206 else (0, None)


def fetch(
    address: str,
    folder: str | Path,
    name: str,
    *,
    checksum: str | None,
    most: int,
    pause: float = 1.0,
    progress: bool = False,
) -> Path:
    """The file at an address, in `folder` under `name`, whole and with the right checksum; one that is there is used.

    Args:
        checksum: "md5:..." or "sha256:..."; None where none is known, and then nothing vouches for what came.
        most: bytes that are taken at most.

    Raises:
        ValueError: another checksum (nothing is kept then), a server that refuses, or that sends too much.
        ConnectionError: no connection, or one that keeps dropping; what came is kept for the next call.
    """
    import pooch

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    pooch.get_logger().setLevel(logging.ERROR)
    downloader = Resuming(folder / f"{name}.part", most, pause, progress)
    try:
        return Path(
            pooch.retrieve(address, known_hash=checksum, fname=name, path=folder, downloader=downloader)  # type: ignore
        )
    except ValueError as error:
        if "does not match the known hash" not in str(error):
            raise
        raise ValueError(
            f"{address} must have the checksum {checksum}, but what came has another; nothing of it was kept. Try "
            "again; if it stays so, the publisher has changed the file."
        ) from None


def checksum_of(path: str | Path, kind: str = "sha256") -> str:
    """ "sha256:..." of a file."""
    import pooch

    return f"{kind}:{pooch.file_hash(str(path), alg=kind)}"
