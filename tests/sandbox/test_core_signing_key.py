"""The key for evidence that a sandbox makes at its first start: there once, for its owner alone, never replaced."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from sandbox import signing_key
from sandbox.config import Settings
from tests.sandbox.support import Sandbox


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Sandbox]:
    """A second sandbox, beside the session's."""
    second = Sandbox(tmp_path)
    try:
        yield second
    finally:
        second.down()


def settings(root: Path) -> Settings:
    return Settings(root=root, port=1, octet=16)


def test_j2_the_key_is_its_owners_alone_and_its_public_half_can_verify(sandbox: Sandbox) -> None:
    private, public = Path(sandbox.facts["signing_key"]), Path(sandbox.facts["signing_public_key"])
    assert private == sandbox.root / ".sandbox" / "evidence" / "signing-key.pem"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert stat.S_IMODE(private.parent.stat().st_mode) == 0o700
    key = serialization.load_pem_private_key(private.read_bytes(), password=None)
    assert isinstance(key, Ed25519PrivateKey)
    verifier = serialization.load_pem_public_key(public.read_bytes())
    assert isinstance(verifier, Ed25519PublicKey)
    verifier.verify(key.sign(b"sealed"), b"sealed")
    assert str(public) in sandbox.run("status").stdout
    assert "PRIVATE" not in sandbox.run("env").stdout + (sandbox.root / ".sandbox" / "sandbox.log").read_text()


def test_j2_two_starts_at_once_make_one_key_and_it_outlives_the_state(other: Sandbox) -> None:
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(other.run, "up") for _ in range(2)]:
            done.result()
    made = Path(other.up().facts["signing_key"])
    first, published = made.read_bytes(), Path(other.facts["signing_public_key"]).read_bytes()
    assert {file.name for file in made.parent.iterdir()} == {"signing-key.pem", "signing-key.pub.pem"}
    other.down()
    shutil.rmtree(other.root / ".sandbox" / "state")
    Path(other.facts["signing_public_key"]).unlink()
    assert Path(other.up().facts["signing_key"]).read_bytes() == first
    assert Path(other.facts["signing_public_key"]).read_bytes() == published


def test_j2_a_damaged_key_ends_the_start_and_is_left_as_it_is(other: Sandbox) -> None:
    file = other.root / ".sandbox" / "evidence" / "signing-key.pem"
    file.parent.mkdir(parents=True)
    file.write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    done = other.run("up", check=False)
    assert done.returncode == 1
    assert f"{file} is no Ed25519 key: remove it" in done.stderr
    assert "AAAA" in file.read_text()


def test_j2_a_published_key_of_another_private_key_is_corrected(tmp_path: Path) -> None:
    signing_key.ensure(settings(tmp_path))
    public = settings(tmp_path).signing_public_key
    own = public.read_text()
    other = Ed25519PrivateKey.generate().public_key()
    public.write_bytes(other.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    signing_key.ensure(settings(tmp_path))
    assert public.read_text() == own
