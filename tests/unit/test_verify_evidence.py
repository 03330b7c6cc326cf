"""Verification from the checkout: the playbook, from any folder without an inventory, and `make verify` (N4, L1)."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT / "collections"))

from ansible_collections.papyrus.ops.tests.unit.sealed_bundles import Key, make_key, sealed_bundle

TOOLS = Path(sys.prefix) / "bin"


@pytest.fixture
def key(tmp_path: Path) -> Key:
    return make_key(tmp_path / "key")


@pytest.fixture
def folder(tmp_path: Path, key: Key) -> Path:
    return sealed_bundle(tmp_path / "runs", random.Random(7), key, image=True, crash="", good=True)


def play(cwd: Path, *variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": f"{TOOLS}:{os.environ['PATH']}", "PWD": str(cwd), "NO_COLOR": "1"}
    environment |= {"ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"), "ANSIBLE_HOME": str(cwd / ".ansible")}
    command = ["ansible-playbook", "-i", "localhost,", str(CHECKOUT / "playbooks" / "verify_evidence.yml")]
    for variable in variables:
        command += ["-e", variable]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)


def test_N4_the_playbook_verifies_what_lies_where_it_is_called(tmp_path: Path, folder: Path, key: Key) -> None:
    given = [f"papyrus_verify_bundle=runs/{folder.name}", "papyrus_verify_key=key/key.pub.pem"]
    done = play(tmp_path, *given, "papyrus_verify_require_results=PASSED")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"OK  {folder.name} is as it was sealed. The run PASSED." in done.stdout
    (folder / "report.html").unlink()
    done = play(tmp_path, *given)
    assert done.returncode == 2 and f"TAMPERED  {folder.name} is not what was sealed" in done.stdout
    assert "missing        report.html: is not there" in done.stdout
    assert play(tmp_path, *given, "papyrus_verify_accept=tampered").returncode == 0


def test_N4_the_playbook_asks_for_bundle_and_key(tmp_path: Path, folder: Path) -> None:
    done = play(tmp_path, f"papyrus_verify_bundle={folder}")
    assert done.returncode == 2 and "Give papyrus_verify_bundle" in done.stdout
    assert "papyrus_verify_key, a public key that did not come with the bundle" in " ".join(done.stdout.split())


def test_L1_make_verify_takes_the_key_of_the_local_aws_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_bytes((CHECKOUT / "Makefile").read_bytes())
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    for name, code in (("bootstrap", 0), ("verify", 3)):
        (scripts / name).write_text(f'#!/bin/sh\necho "{name}: $*"\nexit {code}\n')
        (scripts / name).chmod(0o755)

    def make(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "PAPYRUS_"))}
        command = ["make", "-s", "verify", *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    done = make()
    assert done.returncode != 0 and done.stdout == "" and "usage: make verify BUNDLE=" in done.stderr
    done = make("BUNDLE=a b", "ARGS=--json")
    assert done.returncode != 0 and done.stdout.splitlines() == ["bootstrap: product", "verify: a b --json"]
    own = tmp_path / ".sandbox" / "evidence" / "signing-key.pub.pem"
    own.parent.mkdir(parents=True)
    own.touch()
    done = make("BUNDLE=a")
    assert done.stdout.splitlines()[1] == "verify: a --key ./.sandbox/evidence/signing-key.pub.pem"
    assert "No KEY given: taking the public key of the local AWS" in done.stderr
    done = make("BUNDLE=a", "KEY=mine.pem")
    assert done.stdout.splitlines()[1] == "verify: a --key mine.pem" and "No KEY" not in done.stderr
