"""Builds the sdist and the wheel of a release, the same bytes whenever and wherever it is built from the same files.

    python scripts/build_release.py            dist/tmsjax-VERSION.tar.gz and dist/tmsjax-VERSION-py3-none-any.whl
    python scripts/build_release.py --check    builds twice and compares bytes; compares contents with the repository

The files are those that git tracks, as they are on disk. Their time is SOURCE_DATE_EPOCH, by default that of the last
commit. The wheel is built from the sdist. Needs setuptools 77 or newer (extra `dev`), no network.

Another version of setuptools or Python can give other bytes: setuptools writes its version into the wheel.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).parents[1]
OLDEST = 77  # version of setuptools, as in pyproject.toml
GENERATED = ("PKG-INFO", "setup.cfg", "tmsjax.egg-info/")  # in an sdist, by setuptools
BUILD = "from setuptools import build_meta; print(build_meta.build_{}({!r}))"


def check_setuptools() -> None:
    """Exits if setuptools is missing or too old."""
    try:
        found = version("setuptools")
    except PackageNotFoundError:
        found = "none"
    if found == "none" or int(found.partition(".")[0]) < OLDEST:
        sys.exit(f"error: needs setuptools {OLDEST} or newer, found {found}: pip install 'setuptools>={OLDEST}'")


def git(*arguments: str) -> str:
    """What git says about the repository. Exits if this is no checkout."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"error: needs a checkout with git, and SOURCE_DATE_EPOCH or a commit: {done.stderr.strip()}")
    return done.stdout


def tracked() -> list[str]:
    """The paths of all files that git tracks, sorted."""
    return sorted(path for path in git("ls-files", "-z").split("\0") if path and (ROOT / path).is_file())


def epoch() -> int:
    """SOURCE_DATE_EPOCH, or the time of the last commit."""
    return int(os.environ.get("SOURCE_DATE_EPOCH") or git("log", "-1", "--format=%ct"))


def backend(kind: str, source: Path, out: Path, time: int) -> Path:
    """Calls setuptools in `source`: builds an "sdist" or a "wheel" into `out`."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment |= {"SOURCE_DATE_EPOCH": str(time), "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", BUILD.format(kind, str(out))]
    done = subprocess.run(
        command, cwd=source, env=environment, umask=0o022, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        sys.exit(f"error: setuptools cannot build the {kind}:\n{done.stderr[-2000:]}")
    return out / done.stdout.splitlines()[-1]


def repack(sdist: Path, time: int) -> None:
    """Writes an sdist again without what depends on the builder: times, owners, order."""
    with tarfile.open(sdist) as archive:
        members = sorted(archive.getmembers(), key=lambda member: member.name)
        content = {m.name: file.read() for m in members if (file := archive.extractfile(m)) is not None}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for member in members:
            again = tarfile.TarInfo(member.name)
            again.type, again.mtime = member.type, time
            again.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            data = content.get(member.name, b"")
            again.size = len(data)
            archive.addfile(again, io.BytesIO(data))
    sdist.write_bytes(gzip.compress(packed.getvalue(), mtime=time))


def build(out: Path) -> tuple[Path, Path]:
    """Builds sdist and wheel into `out`. Returns their paths."""
    check_setuptools()
    time = epoch()
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        source, unpacked = Path(folder) / "source", Path(folder) / "unpacked"
        for path in tracked():
            (source / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, source / path)
        sdist = backend("sdist", source, out.resolve(), time)
        repack(sdist, time)
        with tarfile.open(sdist) as archive:
            archive.extractall(unpacked, filter="data")
        return sdist, backend("wheel", next(unpacked.iterdir()), out.resolve(), time)


def content_of_sdist(sdist: Path) -> set[str]:
    """Paths of the files of an sdist, without those that setuptools generates."""
    with tarfile.open(sdist) as archive:
        paths = {m.name.partition("/")[2] for m in archive.getmembers() if m.isfile()}
    return {path for path in paths if not path.startswith(GENERATED)}


def content_of_wheel(wheel: Path) -> set[str]:
    """Paths of the files of a wheel, without its metadata."""
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def expected_in_wheel(paths: list[str]) -> set[str]:
    """The package, and sweeps/ as tmsjax/sweeps."""
    return {f"tmsjax/{p}" if p.startswith("sweeps/") else p for p in paths if p.startswith(("tmsjax/", "sweeps/"))}


def differences(sdist: Path, wheel: Path) -> list[str]:
    """Files that an sdist or a wheel lacks or has too many, as lines."""
    paths = tracked()
    pairs = ((sdist, content_of_sdist(sdist), set(paths)), (wheel, content_of_wheel(wheel), expected_in_wheel(paths)))
    lines = []
    for archive, found, wanted in pairs:
        lines += [f"{archive.name} lacks {path}" for path in sorted(wanted - found)]
        lines += [f"{archive.name} has {path}, which it should not" for path in sorted(found - wanted)]
    return lines


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="the folder to build into (default: dist)")
    parser.add_argument("--check", action="store_true", help="build twice and compare; compare contents")
    arguments = parser.parse_args()
    made = build(arguments.out)
    for path in made:
        print(f"{digest(path)}  {path}  {path.stat().st_size / 1e6:.2f} MB")
    if not arguments.check:
        return
    wrong = differences(*made)
    with tempfile.TemporaryDirectory() as folder:
        wrong += [
            f"{a.name}: two builds differ"
            for a, b in zip(made, build(Path(folder)), strict=True)
            if digest(a) != digest(b)
        ]
    if wrong:
        sys.exit("error: " + "\n".join(wrong))
    print("two builds have the same bytes; the archives have the files of the repository")


if __name__ == "__main__":
    main()
