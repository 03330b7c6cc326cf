# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Routes that a Flask application registers, read in a child process."""

from __future__ import annotations

DOCUMENTATION = r"""
module: flask_routes_info
short_description: Load a Flask application in a child process and list its routes
version_added: 0.1.0
description:
  - Loads the application's factory in a child process and returns the rules of its URL map, so that a Blueprint which
    was never registered is found before a release.
  - B(This runs the application's code) (its imports and its factory) on the host where the module runs.
  - The child sees nothing of the environment but C(PATH), so neither AWS credentials nor database settings reach it.
    Neither network nor database are needed for an application whose import does not ask for them.
author:
  - papyrus.ops contributors (@papyrus-ops)
extends_documentation_fragment:
  - papyrus.ops.attributes
  - papyrus.ops.attributes.info
options:
  source:
    description: Folder that contains the application's package.
    type: path
    required: true
  factory:
    description: The factory (or application object) as C(module:name).
    type: str
    required: true
  python:
    description:
      - Interpreter that has the application's dependencies.
      - The one that runs this module when left out.
    type: path
  paths:
    description: Further folders for the import path, behind O(source).
    type: list
    elements: path
    default: []
  environment:
    description: Dummy settings that the application wants to see. Nothing secret belongs here.
    type: dict
    default: {}
  required:
    description: Rules that must be registered, as Flask spells them.
    type: list
    elements: str
    default: []
  timeout:
    description: Seconds after which the child is ended.
    type: float
    default: 20
  fail:
    description: Whether an application that does not load, or a missing route, fails the task.
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: The routes of the release are registered
  papyrus.ops.flask_routes_info:
    source: app
    factory: papyrus:create_app
    python: .venv/bin/python
    required: [/healthz, /dbcheck]
"""

RETURN = r"""
routes:
  description: Rules with endpoint and methods, sorted by rule.
  returned: always
  type: list
  elements: dict
  sample:
    - rule: /healthz
      endpoint: healthz.healthz
      methods: [GET, HEAD, OPTIONS]
missing:
  description: Required rules that are not registered.
  returned: always
  type: list
  elements: str
  sample: []
log:
  description: The content of the evidence file C(routes.log), with C(ROUTES) as JSON.
  returned: always
  type: str
  sample: "factory papyrus:create_app\nROUTES: [\"/\", \"/dbcheck\", \"/healthz\"]\nOK\n"
ok:
  description: Whether the application loads and every required route is there.
  returned: always
  type: bool
  sample: true
reason:
  description: What is wrong, with the last line of the traceback when the application does not load.
  returned: always
  type: str
  sample: ""
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.papyrus.ops.plugins.module_utils import _routes
from ansible_collections.papyrus.ops.plugins.module_utils._results import redact_results, redacted_failure


@redacted_failure
def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "source": {"type": "path", "required": True},
            "factory": {"type": "str", "required": True},
            "python": {"type": "path"},
            "paths": {"type": "list", "elements": "path", "default": []},
            "environment": {"type": "dict", "default": {}},
            "required": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "float", "default": 20},
            "fail": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    redact_results(module)
    asked = module.params
    found = _routes.dump(
        _routes.Question(
            factory=asked["factory"],
            source=asked["source"],
            python=asked["python"] or "",
            paths=tuple(asked["paths"]),
            environment=asked["environment"],
            required=tuple(asked["required"]),
            timeout=asked["timeout"],
        )
    )
    result = {
        "routes": found.routes,
        "missing": found.missing,
        "log": found.log(asked["factory"]),
        "ok": found.ok,
        "reason": found.reason,
    }
    if asked["fail"] and not found.ok:
        module.fail_json(msg=found.reason, step="B1", **result)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
