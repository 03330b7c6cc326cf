"""Makes docs/images/report.png, the head of report.html of the sealed run in docs/evidence, with headless Chromium."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
PICTURE = CHECKOUT / "docs" / "images" / "report.png"
NAMES = ("chromium", "chromium-browser", "google-chrome")
SIZE = "1120,860"
LARGEST = 200_000
"""Bytes: a page that shows it is read on telephones, too."""


def main() -> None:
    """Write the picture, or end with the reason why there is none."""
    browser = os.environ.get("PAPYRUS_CHROMIUM") or next((path for name in NAMES if (path := shutil.which(name))), None)
    if browser is None:
        sys.exit(f"No browser: set PAPYRUS_CHROMIUM, or put one of {', '.join(NAMES)} on the PATH")
    [report] = (CHECKOUT / "docs" / "evidence" / "sandbox").glob("*/report.html")
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "report.png"
        options = ["--headless", "--disable-gpu", "--hide-scrollbars", f"--window-size={SIZE}"]
        if os.geteuid() == 0:
            options.append("--no-sandbox")  # Chromium refuses to be root with it; the page is our own and has no script
        command = [browser, *options, f"--user-data-dir={folder}/profile", f"--screenshot={made}", report.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        if not made.is_file():
            sys.exit(f"{browser} made no picture (exit code {done.returncode}): {done.stderr[-1000:]}")
        if (size := made.stat().st_size) > LARGEST:
            sys.exit(f"The picture has {size} bytes, more than {LARGEST}: make SIZE smaller")
        PICTURE.parent.mkdir(exist_ok=True)
        shutil.copyfile(made, PICTURE)
    print(f"{PICTURE.relative_to(CHECKOUT)}: {size} bytes, of {report.parent.name}")


if __name__ == "__main__":
    main()
