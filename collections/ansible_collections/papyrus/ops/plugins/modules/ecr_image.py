# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Build a reproducible image of a Python app without a daemon and push it to ECR, pinned by digest."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ecr_image
short_description: Build a reproducible image of a Python app and push it to Amazon ECR
version_added: 0.1.0
description:
  - Builds an OCI image without Docker, from an app folder, a hashed lock of its dependencies and a base image named by
    digest.
  - The same inputs give the same digest on any machine, for any user, at any time. Layers are not compressed, as
    compressed bytes differ between versions of zlib.
  - Dependencies are wheels for the image's platform and Python, downloaded by pip with hashes required; nothing of the
    app or of its dependencies is run.
  - Pushes through the registry API at the C(proxyEndpoint) of C(GetAuthorizationToken). Layers that are there are not
    pushed again; an image that is there is only tagged.
  - Reads the digest back by the registry and by C(DescribeImages).
author:
  - papyrus.ops contributors (@papyrus-ops)
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - papyrus.ops.attributes.actiongroup_aws
  - papyrus.ops.attributes
attributes:
  check_mode:
    support: full
    details:
      - Builds locally and predicts the digest; reads the base and the repository, pushes nothing.
  diff_mode:
    support: full
  idempotent:
    support: full
requirements:
  - oras
  - packaging
  - pip (for the Python that runs the module, or named by O(pip))
options:
  repository:
    description: Name of the ECR repository. It must exist.
    type: str
    required: true
  tag:
    description:
      - Tag of the image.
      - When left out, a tag is made from the digest, which never has to move.
    type: str
  source:
    description: Folder of the app.
    type: path
    required: true
  paths:
    description:
      - Files and folders in O(source) that go into the image below C(/app).
      - When left out, the Python packages in O(source) and the C(*.py) and C(*.sql) files beside them.
    type: list
    elements: str
  lock:
    description: Requirements file with every dependency pinned by C(==) and at least one sha256 hash.
    type: path
    required: true
  base:
    description:
      - Base image by digest, in this account's ECR registry or in a public registry. It brings Python.
      - An index is resolved to the manifest of O(platform).
    type: str
    required: true
  ca_file:
    description:
      - PEM file that becomes C(/app/rds-ca.pem), for TLS to the database.
      - For Amazon RDS, the bundle that AWS publishes.
    type: path
  python:
    description: Version of Python in O(base), for which wheels are chosen.
    type: str
    default: "3.13"
  platform:
    description: Platform of the image.
    type: str
    choices: [linux/amd64, linux/arm64]
    default: linux/amd64
  command:
    description: What the image runs, in C(/app).
    type: list
    elements: str
    default: [python, -m, gunicorn, -c, /app/gunicorn.conf.py, "papyrus:create_app()"]
  healthcheck:
    description: Command of the container's health check for runtimes that read it from the image. ECS does not.
    type: list
    elements: str
    default: [python, -m, papyrus.healthcheck]
  environment:
    description:
      - Variables of the image besides C(PYTHONPATH), C(PYTHONUNBUFFERED) and C(PYTHONDONTWRITEBYTECODE). Never secrets.
    type: dict
    default: {}
  user:
    description: User (and group) of the processes.
    type: str
    default: "10001"
  port:
    description: TCP port that the image listens on.
    type: int
    default: 5000
  labels:
    description: Labels of the image, such as C(org.opencontainers.image.revision). The digest depends on them.
    type: dict
    default: {}
  cache:
    description:
      - Folder that keeps downloaded wheels. They are verified by the lock's hashes each time.
      - When left out, C(papyrus-ops/wheels) in the user's cache folder.
    type: path
  pip:
    description: Command that runs pip. When left out, C(-m pip) of the Python that runs the module.
    type: list
    elements: str
seealso:
  - module: community.docker.docker_image_build
"""

EXAMPLES = r"""
- name: Build and push the image of a commit
  papyrus.ops.ecr_image:
    repository: papyrus
    tag: "{{ revision }}"
    source: app
    lock: app/requirements.txt
    base: 123456789012.dkr.ecr.us-west-2.amazonaws.com/base/python@sha256:{{ base_digest }}
    ca_file: files/global-bundle.pem
    labels:
      org.opencontainers.image.revision: "{{ revision }}"
  register: built

- name: Show what the task definition has to name
  ansible.builtin.debug:
    var: built.image
"""

RETURN = r"""
image:
  description: The image by digest, as a task definition names it.
  returned: success
  type: str
  sample:
    123456789012.dkr.ecr.us-west-2.amazonaws.com/papyrus@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
digest:
  description: Digest of the image's manifest.
  returned: success
  type: str
  sample: sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
tag:
  description: The tag.
  returned: success
  type: str
  sample: sha256-9f86d081884c7d65
tags:
  description: All tags of the digest, as ECR says; in check mode as it would be.
  returned: success
  type: list
  elements: str
  sample: [sha256-9f86d081884c7d65]
repository_uri:
  description: URI of the repository.
  returned: success
  type: str
  sample: 123456789012.dkr.ecr.us-west-2.amazonaws.com/papyrus
pushed:
  description: Whether the image was not in the repository before and was pushed (in check mode, would be).
  returned: success
  type: bool
  sample: true
pushed_blobs:
  description: Digests of layers and configuration whose bytes were sent. Empty in check mode.
  returned: success
  type: list
  elements: str
  sample: [sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae]
layers:
  description: Layers of the image, the base's first.
  returned: success
  type: list
  elements: dict
  sample:
    - digest: sha256:fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9
      size: 29784064
      media_type: application/vnd.oci.image.layer.v1.tar+gzip
      purpose: base
    - digest: sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
      size: 20480
      media_type: application/vnd.oci.image.layer.v1.tar
      purpose: app
base:
  description: The base as named, and the digest of the manifest for the platform.
  returned: success
  type: dict
  sample:
    reference:
      123456789012.dkr.ecr.us-west-2.amazonaws.com/base/python@sha256:baa5a0964d3320fbc0c6a922140453c8513ea24ab8fd0577034804a967248096
    digest: sha256:baa5a0964d3320fbc0c6a922140453c8513ea24ab8fd0577034804a967248096
"""

import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import missing_required_lib
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.papyrus.ops.plugins.module_utils import (
    _aws,
    _ecr_image,
    _ecr_lookup,
    _oci_image,
    _processes,
    _registry,
    _wheels,
)
from ansible_collections.papyrus.ops.plugins.module_utils._results import redact_results, redacted_failure

_PIP_SECONDS = 1800.0


def _inputs(asked: dict[str, Any]) -> _ecr_image.Inputs:
    environment = {"PYTHONPATH": "/app:/app/site-packages", "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    runtime = _oci_image.Runtime(
        command=asked["command"],
        environment={**environment, **{name: str(value) for name, value in asked["environment"].items()}},
        user=asked["user"],
        ports=[f"{asked['port']}/tcp"],
        healthcheck=asked["healthcheck"],
        labels={name: str(value) for name, value in asked["labels"].items()},
    )
    return _ecr_image.Inputs(
        source=Path(asked["source"]),
        paths=asked["paths"] or [],
        lock=Path(asked["lock"]),
        ca_file=asked["ca_file"] or "",
        target=_wheels.Target(asked["python"], asked["platform"]),
        runtime=runtime,
        cache=Path(asked["cache"]) if asked["cache"] else _wheels.default_cache(),
        pip=asked["pip"] or [sys.executable, "-m", "pip"],
    )


def _layers(image: _oci_image.Image) -> list[dict[str, Any]]:
    def shown(descriptor: Any, purpose: str) -> dict[str, Any]:
        return {
            "digest": descriptor["digest"],
            "size": descriptor["size"],
            "media_type": descriptor["mediaType"],
            "purpose": purpose,
        }

    base = [shown(descriptor, "base") for descriptor in image.base_layers]
    return base + [shown(blob.descriptor(), blob.purpose) for blob in image.layers]


def _ensure(asked: dict[str, Any], clients: _aws.Clients, runner: _wheels.Runner, check_mode: bool) -> dict[str, Any]:
    name = asked["repository"]
    inputs = _inputs(asked)
    reference = _registry.parse_reference(asked["base"])
    repository = _ecr_lookup.describe_repository(clients, name)
    registry = _registry.Registry(_registry.ecr_endpoint(clients))
    base_registry, base_repository = _ecr_image.open_base(clients, reference, registry, repository.uri)
    base = _registry.fetch_base(base_registry, base_repository, reference.digest, inputs.target.platform)
    image = _ecr_image.build(inputs, base, runner)
    tag = asked["tag"] or _ecr_image.default_tag(image.digest)
    now = _ecr_image.stored(clients, name, image.digest, tag)
    _ecr_image.check_tag(repository, image.digest, tag, now)
    changed = now.tagged != image.digest
    sent: tuple[str, ...] = ()
    tags = sorted({*(now.tags or ()), tag})
    if changed and not check_mode:
        if now.tags is None:
            sent = _registry.push_image(registry, name, tag, image, base_registry, base_repository).blobs
        else:
            registry.push_manifest(name, tag, image.manifest.data, image.manifest.media_type)
    if not check_mode:
        tags = _ecr_image.read_back(clients, registry, name, image.digest, tag)
    return {
        "changed": changed,
        "image": f"{repository.uri}@{image.digest}",
        "digest": image.digest,
        "tag": tag,
        "tags": tags,
        "repository_uri": repository.uri,
        "pushed": now.tags is None,
        "pushed_blobs": list(sent),
        "layers": _layers(image),
        "base": {"reference": reference.text, "digest": base.digest},
        "diff": {
            "before": {"repository": name, "tag": tag, "digest": now.tagged},
            "after": {"repository": name, "tag": tag, "digest": image.digest},
        },
    }


@redacted_failure
def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "repository": {"type": "str", "required": True},
            "tag": {"type": "str"},
            "source": {"type": "path", "required": True},
            "paths": {"type": "list", "elements": "str"},
            "lock": {"type": "path", "required": True},
            "base": {"type": "str", "required": True},
            "ca_file": {"type": "path"},
            "python": {"type": "str", "default": "3.13"},
            "platform": {"type": "str", "choices": ["linux/amd64", "linux/arm64"], "default": "linux/amd64"},
            "command": {
                "type": "list",
                "elements": "str",
                "default": ["python", "-m", "gunicorn", "-c", "/app/gunicorn.conf.py", "papyrus:create_app()"],
            },
            "healthcheck": {"type": "list", "elements": "str", "default": ["python", "-m", "papyrus.healthcheck"]},
            "environment": {"type": "dict", "default": {}},
            "user": {"type": "str", "default": "10001"},
            "port": {"type": "int", "default": 5000},
            "labels": {"type": "dict", "default": {}},
            "cache": {"type": "path"},
            "pip": {"type": "list", "elements": "str"},
        },
        supports_check_mode=True,
    )
    redact_results(module)
    for library, error in (("oras", _registry.ORAS_IMPORT_ERROR), ("packaging", _wheels.PACKAGING_IMPORT_ERROR)):
        if error is not None:
            trace = "".join(traceback.format_exception(error))
            module.fail_json(msg=missing_required_lib(library), exception=trace)

    def run(command: Sequence[str]) -> tuple[int, str, str]:
        # pip is of others, and asks others: it gets its own settings and the network's, and no credentials of AWS.
        answer = _processes.ask(command, env=_processes.bare_environment(os.environ, _wheels.PIP), timeout=_PIP_SECONDS)
        return answer.returncode, answer.text, answer.errors.decode("utf-8", "replace")

    try:
        result = _ensure(module.params, _aws.module_clients(module), run, module.check_mode)
    except (_aws.AwsFailure, _registry.RegistryFailure, _oci_image.ImageError, ValueError) as exc:
        module.fail_json(msg=str(exc), step="F1")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
