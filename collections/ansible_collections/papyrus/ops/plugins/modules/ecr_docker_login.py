# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Log Docker or Podman in to ECR for one build, without leaving a login behind."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ecr_docker_login
short_description: Log Docker or Podman in to Amazon ECR for one build
version_added: 0.1.0
description:
  - Writes a C(config.json) with a token of the caller's ECR registry into a private folder. Tasks use it with
    C(DOCKER_CONFIG) in their C(environment), and the folder is removed afterwards.
  - The token is neither in the result nor in an argument, and the user's own logins are neither used nor changed.
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
      - Asks for no token and writes nothing.
  diff_mode:
    support: none
  idempotent:
    support: none
    details:
      - Each call gets a new token, which lives twelve hours.
options:
  folder:
    description: Folder that only its owner may enter (mode 0700).
    type: path
    required: true
  hosts:
    description: Further names of the registry, such as the host in the repository's URI.
    type: list
    elements: str
    default: []
seealso:
  - module: community.docker.docker_image_push
"""

EXAMPLES = r"""
- name: Make a private folder
  ansible.builtin.tempfile:
    state: directory
  register: private

- name: Log in to ECR for this build only
  papyrus.ops.ecr_docker_login:
    folder: "{{ private.path }}"

- name: Push the image
  community.docker.docker_image_push:
    name: 123456789012.dkr.ecr.us-west-2.amazonaws.com/papyrus
    tag: v1.4.2
  environment:
    DOCKER_CONFIG: "{{ private.path }}"
"""

RETURN = r"""
registry:
  description: Host of the registry.
  returned: when not in check mode
  type: str
  sample: 123456789012.dkr.ecr.us-west-2.amazonaws.com
path:
  description: The file.
  returned: success
  type: str
  sample: /tmp/ansible.x1y2z3/config.json
"""

from pathlib import Path

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.papyrus.ops.plugins.module_utils import _aws, _ecr_login, _registry
from ansible_collections.papyrus.ops.plugins.module_utils._results import redact_results, redacted_failure


@redacted_failure
def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "folder": {"type": "path", "required": True},
            "hosts": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    redact_results(module)
    folder = Path(module.params["folder"])
    result = {"changed": True, "path": str(folder / "config.json")}
    if module.check_mode:
        module.exit_json(**result)
    try:
        endpoint = _registry.ecr_endpoint(_aws.module_clients(module))
        content = _ecr_login.docker_config(endpoint, module.params["hosts"], Path.home())
        _ecr_login.write_login(folder, content)
    except (_aws.AwsFailure, OSError, ValueError) as exc:
        module.fail_json(msg=f"The login to ECR could not be prepared: {exc}", step="F1")
    module.exit_json(**result, registry=endpoint.host)


if __name__ == "__main__":
    main()
