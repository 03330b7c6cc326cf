#!/usr/bin/python
# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ECR has of an image: tag or index resolved to the digest that one platform runs."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ecr_image_info
short_description: Resolve an image in Amazon ECR to the digest that one platform runs
version_added: 0.1.0
description:
  - Looks up an image by tag or digest. An index (OCI image index, Docker manifest list) is resolved to the manifest of
    O(platform); both digests are returned. Attestations that BuildKit puts into an index are left out.
  - The image's own configuration must be for O(platform), so that an image for another processor is found here and not
    by tasks that cannot start.
  - A repository or an image that does not exist is an error.
author:
  - papyrus.ops contributors (@papyrus-ops)
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - papyrus.ops.attributes.actiongroup_aws
  - papyrus.ops.attributes
  - papyrus.ops.attributes.info
requirements:
  - oras
options:
  image:
    description:
      - The image as C(repository:tag) or C(repository@sha256:…), with or without the registry before it.
      - With both tag and digest, the digest decides.
    type: str
    required: true
  platform:
    description: Platform of the service, as C(os/architecture) or C(os/architecture/variant).
    type: str
    default: linux/amd64
  required:
    description: Whether an image that is not there is an error. A missing repository always is.
    type: bool
    default: true
seealso:
  - module: papyrus.ops.ecr_image
  - module: papyrus.ops.ecs_taskdef_revision
"""

EXAMPLES = r"""
- name: Find what a tag names on the service's platform
  papyrus.ops.ecr_image_info:
    image: papyrus:v1.4.2
    platform: linux/arm64
  register: found

- name: Make a revision that runs it
  papyrus.ops.ecs_taskdef_revision:
    cluster: papyrus-ecs-prd
    service: papyrus-task-service
    container: app
    image: "{{ found.image }}"
"""

RETURN = r"""
exists:
  description: Whether ECR has the image. Without it only RV(repository_uri) is returned besides.
  returned: success
  type: bool
  sample: true
image:
  description: The platform's image by digest, as a task definition names it.
  returned: success
  type: str
  sample:
    123456789012.dkr.ecr.us-west-2.amazonaws.com/papyrus@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
digest:
  description: Digest of the platform's manifest.
  returned: success
  type: str
  sample: sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
index_digest:
  description: Digest of the index that O(image) names, or null when it names an image of one platform.
  returned: success
  type: str
  sample: sha256:60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752
repository_uri:
  description: URI of the repository.
  returned: success
  type: str
  sample: 123456789012.dkr.ecr.us-west-2.amazonaws.com/papyrus
media_type:
  description: Media type of the platform's manifest.
  returned: success
  type: str
  sample: application/vnd.oci.image.manifest.v1+json
tags:
  description: Tags of the image and of the index.
  returned: success
  type: list
  elements: str
  sample: [v1.4.2]
untagged:
  description: Whether there is no tag at all; a lifecycle rule may then delete the image. A warning says so, too.
  returned: success
  type: bool
  sample: false
pushed_at:
  description: When the platform's manifest was pushed.
  returned: success
  type: str
  sample: "2026-01-31T11:58:20Z"
size:
  description: Size of the image in bytes, as ECR says it.
  returned: success
  type: int
  sample: 48211043
platform:
  description: Platform of the image, from its own configuration.
  returned: success
  type: str
  sample: linux/arm64
platforms:
  description: All platforms of the index, or the image's own.
  returned: success
  type: list
  elements: str
  sample: [linux/amd64, linux/arm64/v8]
labels:
  description: Labels of the image.
  returned: success
  type: dict
  sample: {org.opencontainers.image.revision: 1f0c2d3a4b5c6d7e8f901a2b3c4d5e6f708192a3}
revision:
  description: The label C(org.opencontainers.image.revision), or an empty string.
  returned: success
  type: str
  sample: 1f0c2d3a4b5c6d7e8f901a2b3c4d5e6f708192a3
layers:
  description: Layers of the image, the lowest first.
  returned: success
  type: list
  elements: dict
  sample:
    - digest: sha256:fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9
      size: 29784064
      media_type: application/vnd.oci.image.layer.v1.tar+gzip
request_ids:
  description: Request ids of C(DescribeImages).
  returned: success
  type: list
  elements: str
  sample: [c1b5d6a0-7c3e-4a53-9d6d-1f5b1c0d2e3f]
"""

import traceback

from ansible.module_utils.basic import missing_required_lib
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.papyrus.ops.plugins.module_utils import _aws, _ecr_lookup, _oci_image, _registry
from ansible_collections.papyrus.ops.plugins.module_utils._results import redact_results, redacted_failure


@redacted_failure
def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "image": {"type": "str", "required": True},
            "platform": {"type": "str", "default": "linux/amd64"},
            "required": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    redact_results(module)
    if _registry.ORAS_IMPORT_ERROR is not None:
        trace = "".join(traceback.format_exception(_registry.ORAS_IMPORT_ERROR))
        module.fail_json(msg=missing_required_lib("oras"), exception=trace)
    clients = _aws.module_clients(module)

    def registry() -> _registry.Registry:
        return _registry.Registry(_registry.ecr_endpoint(clients))

    try:
        named = _ecr_lookup.parse_named(module.params["image"])
        found = _ecr_lookup.find(clients, named, module.params["platform"], registry)
    except _ecr_lookup.ImageMissing as exc:
        if not module.params["required"]:
            module.exit_json(changed=False, exists=False, repository_uri=exc.repository.uri)
        module.fail_json(msg=str(exc), step="F1")
    except (_aws.AwsFailure, _registry.RegistryFailure, _oci_image.ImageError, ValueError) as exc:
        module.fail_json(msg=str(exc), step="F1")
    if not found.tags:
        module.warn(f"{named.text} has no tag: a lifecycle rule of {named.repository} may delete it while it is in use")
    module.exit_json(changed=False, exists=True, **found.as_dict())


if __name__ == "__main__":
    main()
