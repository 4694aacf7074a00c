"""Fetches the Elasticsearch server that Maven Central carries and completes it by the test equipment's plugin.

The distribution is the vendor's server without most of its modules; it is for tests, not for users. It does not start
anything: see `cluster`. What was fetched stays in the user's cache folder.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import urllib.request
import zipfile
from pathlib import Path

from filelock import FileLock

from cdsframe.artifacts.packaged import cache_folder

VERSION = "9.2.0"
_ARTIFACT = f"org.elasticsearch.distribution.integ-test-zip:elasticsearch:{VERSION}:zip"
_FILE = f"elasticsearch-{VERSION}.zip"
_URL = f"https://repo.maven.apache.org/maven2/org/elasticsearch/distribution/integ-test-zip/elasticsearch/{VERSION}/{_FILE}"
_SHA256 = "bf44938a0490ba2a303d39c9cb64b38963dd08c812ce93e10816e878585bcb6b"
_MAVEN_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1"
_JAVA = 21
_JVMS = (
    ("/usr/lib/jvm", "*"),
    ("/opt", "*j[dr][ke]*"),
    ("/Library/Java/JavaVirtualMachines", "*/Contents/Home"),
    ("~/.sdkman/candidates/java", "*"),
    ("~/.jdks", "*"),
)
_PLUGIN = Path(__file__).with_name("TestEquipmentPlugin.java")
_DESCRIPTOR = f"""\
name=cdsframe-test-equipment
description=What the distribution without modules lacks and cdsframe's tests need
version={VERSION}
elasticsearch.version={VERSION}
java.version={_JAVA}
classname=cdsframe.testequipment.TestEquipmentPlugin
"""


class Unavailable(Exception):
    """The server cannot be had or started here; the message is one sentence that says why and what to do."""


def open_to_others(folder: Path) -> bool:
    """Whether any user may go into the folder (all its parents included)."""
    return all(one.stat().st_mode & 0o001 for one in (folder, *folder.parents) if one.exists())


def cache() -> Path:
    """The folder of what was fetched: in the user's cache, and in /var/cache for a root whose own is closed to others.

    The server refuses to run as root, so root's server runs as another user, who must be able to read it.
    """
    own = cache_folder()
    if os.geteuid() == 0 and not open_to_others(own):
        own = Path("/var/cache/cdsframe")
    return own / "elasticsearch"


def java_home() -> Path:
    """The first JDK >= 21 of `ES_JAVA_HOME`, `JAVA_HOME`, the path's `javac` and the usual folders (newest first).

    Raises:
        Unavailable: there is none.
    """
    named = [Path(os.environ[name]) for name in ("ES_JAVA_HOME", "JAVA_HOME") if os.environ.get(name)]
    compiler = shutil.which("javac")
    if compiler:
        named.append(Path(compiler).resolve().parent.parent)
    usual = [home for root, pattern in _JVMS for home in Path(root).expanduser().glob(pattern)]
    for home in [*named, *sorted(usual, key=_java_version, reverse=True)]:
        if _java_version(home) >= _JAVA:
            return home
    raise Unavailable(
        f"The test server needs a JDK of version {_JAVA} or newer and none was found: "
        "install one (Debian: apt install openjdk-21-jdk-headless) or name its folder in ES_JAVA_HOME."
    )


def _java_version(home: Path) -> int:
    """The JDK's major version by its `release` file; 0 where there is no JDK."""
    release = home / "release"
    if not (home / "bin" / "javac").exists() or not release.is_file():
        return 0
    found = re.search(r'^JAVA_VERSION="(\d+)', release.read_text(encoding="utf-8"), re.MULTILINE)
    return int(found[1]) if found else 0


def distribution() -> Path:
    """The folder of the completed server, fetched and made at the first call.

    Raises:
        Unavailable: no JDK, or it cannot be fetched.
    """
    java = java_home()
    digest = hashlib.sha256(_PLUGIN.read_bytes() + _DESCRIPTOR.encode()).hexdigest()[:8]
    folder = cache()
    home = folder / f"elasticsearch-{VERSION}-{digest}"
    if home.is_dir():
        return home
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"), tempfile.TemporaryDirectory(dir=folder) as work:
        if not home.is_dir():
            unpacked = _unpack(_fetch(folder, Path(work)), Path(work))
            _complete(unpacked, java)
            unpacked.rename(home)
    return home


def _fetch(folder: Path, work: Path) -> Path:
    """The vendor's zip: from the cache, by Maven (which knows the user's mirrors), or from Maven Central."""
    archive = folder / _FILE
    if archive.is_file() and _sha256(archive) == _SHA256:
        return archive
    reason = _by_maven(work) if shutil.which("mvn") else _by_https(work)
    fetched = work / _FILE
    if not fetched.is_file():
        raise Unavailable(f"The test server's distribution {_ARTIFACT} could not be fetched: {reason}.")
    if _sha256(fetched) != _SHA256:
        raise Unavailable(f"The fetched {_FILE} is damaged (its SHA-256 is not {_SHA256}): try again.")
    fetched.replace(archive)
    return archive


def _by_maven(work: Path) -> str:
    """Copies the artifact into the folder; returns Maven's first line of complaint."""
    command = ["mvn", "-q", "-B", f"{_MAVEN_PLUGIN}:copy", f"-Dartifact={_ARTIFACT}", f"-DoutputDirectory={work}"]
    done = subprocess.run(command, cwd=work, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    errors = [line.removeprefix("[ERROR]").strip() for line in done.stdout.splitlines() if "ERROR" in line]
    return "Maven says " + (errors[0].rstrip(".") if errors else f"nothing (exit code {done.returncode})")


def _by_https(work: Path) -> str:
    """Downloads the artifact into the folder; returns why it did not work."""
    part = work / "part"
    try:
        with urllib.request.urlopen(_URL, timeout=60) as source, part.open("wb") as target:
            shutil.copyfileobj(source, target)
    except OSError as error:
        return f"Maven (mvn) is not installed, and {_URL} did not answer ({error})"
    part.rename(work / _FILE)
    return ""


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _unpack(archive: Path, work: Path) -> Path:
    """Unpacks the server, readable for every user."""
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(work)
    home = work / f"elasticsearch-{VERSION}"
    for path in (home, *home.rglob("*")):
        path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
    return home


def _complete(home: Path, java: Path) -> None:
    """Compiles the plugin against the server's own libraries and installs it."""
    plugin = home / "plugins" / "cdsframe-test-equipment"
    classes = home / "classes"
    plugin.mkdir(mode=0o755)
    run = {"capture_output": True, "text": True, "check": False}
    compile_ = [java / "bin" / "javac", "--release", str(_JAVA), "-cp", home / "lib" / "*", "-d", classes, _PLUGIN]
    pack = [java / "bin" / "jar", "--create", "--file", plugin / "test-equipment.jar", "-C", classes, "."]
    for command in (compile_, pack):
        done = subprocess.run(command, **run)
        if done.returncode:
            raise Unavailable(f"The test server's plugin could not be compiled by {java}: {done.stderr or done.stdout}")
    (plugin / "plugin-descriptor.properties").write_text(_DESCRIPTOR, encoding="utf-8")
    shutil.rmtree(classes)
