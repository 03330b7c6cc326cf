# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A login to ECR for Docker and Podman that is seen by one build only: a configuration file in a private folder."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path

from ._locks import write_durable
from ._registry import Endpoint

_PLUGINS = Path(".docker") / "cli-plugins"


def docker_config(endpoint: Endpoint, hosts: Sequence[str], home: Path) -> bytes:
    """Content of Docker's config.json with the login for each host.

    https://docs.docker.com/reference/cli/docker/#docker-cli-configuration-file-configjson-properties: the CLI looks for
    buildx beside its configuration file, so the user's own plug-ins are named.
    """
    token = base64.b64encode(f"{endpoint.username}:{endpoint.password}".encode()).decode()
    config: dict[str, object] = {"auths": {host: {"auth": token} for host in sorted({endpoint.host, *hosts})}}
    if (home / _PLUGINS).is_dir():
        config["cliPluginsExtraDirs"] = [str(home / _PLUGINS)]
    return json.dumps(config, indent=2).encode() + b"\n"


def write_login(folder: Path, content: bytes) -> None:
    """config.json of mode 0600 in a folder that nobody else may enter. ValueError for any other folder."""
    mode = folder.stat().st_mode
    if mode & 0o077:
        raise ValueError(
            f"{folder} may be entered by others (mode {mode & 0o777:04o}): a login must lie in a private one"
        )
    write_durable(folder / "config.json", content, mode=0o600, replace=True)
