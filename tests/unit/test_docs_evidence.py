"""M2: the sealed run of the local AWS that is committed verifies, with this project and with the guide's own lines."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
GUIDE = CHECKOUT / "docs" / "evidence"
KEY = GUIDE / "sandbox-signing-key.pub.pem"


def bundle() -> Path:
    """The committed run; there is exactly one."""
    [found] = (GUIDE / "sandbox").iterdir()
    return found


def verify(*arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit code and answer of `scripts/verify --json`."""
    done = subprocess.run(
        [str(CHECKOUT / "scripts" / "verify"), *arguments, "--json"], capture_output=True, text=True, check=False
    )
    return done.returncode, json.loads(done.stdout)


def test_M2_the_committed_run_is_as_it_was_sealed_and_says_that_it_is_not_of_aws() -> None:
    code, answer = verify(str(bundle()), "--key", str(KEY), "--require-result", "PASSED")
    assert (code, answer["result"]) == (0, "ok"), answer
    run = json.loads((bundle() / "run.json").read_bytes())
    assert run["endpoint"].startswith("http://127.0.0.1:")
    assert run["git"]["dirty"] is False
    assert "not AWS" in (bundle() / "report.html").read_text("utf-8").replace("Not AWS", "not AWS")


def test_M2_nothing_of_the_committed_run_is_left_out_by_git() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", str(bundle())], cwd=CHECKOUT, capture_output=True, check=False
    )
    if listed.returncode != 0:
        pytest.skip("no git checkout")
    committed = {Path(name).name for name in listed.stdout.decode().split("\0") if name}
    assert committed == {path.name for path in bundle().iterdir()}


def test_M2_another_key_or_one_changed_byte_is_found(tmp_path: Path) -> None:
    copy = tmp_path / bundle().name
    shutil.copytree(bundle(), copy)
    item = next(copy.glob("*_dbcheck.log"))
    item.write_bytes(item.read_bytes().replace(b"200", b"201", 1))
    code, answer = verify(str(copy), "--key", str(KEY))
    assert (code, answer["result"]) == (2, "tampered")
    assert "invalid" in json.dumps(answer)


def test_M2_the_guides_lines_verify_it_without_this_project(tmp_path: Path) -> None:
    [script] = re.findall(r"```python\n(.*?)```", (GUIDE / "README.md").read_text("utf-8"), re.DOTALL)

    def run(folder: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-I", "-c", script, str(folder), str(KEY)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    good = run(bundle())
    assert good.returncode == 0 and good.stdout.startswith("PASSED {'digest': {'sha256': "), good
    copy = tmp_path / "copy"
    shutil.copytree(bundle(), copy)
    with (copy / "SHA256SUMS").open("ab") as file:
        file.write(b"\n")
    assert "AssertionError: SHA256SUMS" in run(copy).stderr
    envelope = json.loads((bundle() / "attestation.dsse.json").read_bytes())
    envelope["payload"] = envelope["payload"].replace("A", "B", 1)
    shutil.copy(bundle() / "SHA256SUMS", copy)
    (copy / "attestation.dsse.json").write_text(json.dumps(envelope))
    assert "InvalidSignature" in run(copy).stderr


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="no coreutils")
def test_M2_the_sums_pass_without_this_project() -> None:
    done = subprocess.run(["sha256sum", "-c", "--strict", "--quiet", "SHA256SUMS"], cwd=bundle(), check=False)
    assert done.returncode == 0
