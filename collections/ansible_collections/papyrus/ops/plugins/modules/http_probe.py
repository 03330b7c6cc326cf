# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Asks a URL once, keeps the answer as received, and compares it with what is expected."""

from __future__ import annotations

DOCUMENTATION = r"""
module: http_probe
short_description: Probe a URL and keep the answer as C(curl -si) prints it
version_added: 0.1.0
description:
  - Sends one HTTP/1.1 request and returns status line, headers in their order and spelling, body, timings per phase and
    the remote address.
  - A redirect is an answer and is never followed.
  - TLS is always verified against the URL's host, also when O(connect_to) leads elsewhere.
  - Proxy settings of the environment are not looked at, only O(proxy).
author:
  - papyrus.ops contributors (@papyrus-ops)
extends_documentation_fragment:
  - papyrus.ops.attributes
attributes:
  check_mode:
    support: full
    details:
      - Nothing is sent in check mode, as a request may change something; the result names the probe that was left out.
  diff_mode:
    support: N/A
    details:
      - Changes nothing by itself, there is nothing to compare.
  idempotent:
    support: N/A
    details:
      - Depends on what the URL does.
options:
  url:
    description: An http or https URL. Characters outside ASCII must be percent-encoded.
    type: str
    required: true
  method:
    description: The request's method. There is no body.
    type: str
    choices: [GET, HEAD, OPTIONS]
    default: GET
  headers:
    description: Headers to send. They are shown in results.
    type: dict
    default: {}
  secret_headers:
    description: Headers whose values are never shown in results.
    type: dict
    default: {}
  connect_to:
    description:
      - Where to connect instead, as curl's C(--connect-to), V(HOST1:PORT1:HOST2:PORT2). The first that matches wins.
      - An empty first host or port matches any, an empty second one keeps the URL's.
    type: list
    elements: str
    default: []
  proxy:
    description:
      - An HTTP proxy, V(http://host:port). https URLs and O(connect_to) go through C(CONNECT).
    type: str
  resolve_timeout:
    description: Seconds for which the name is asked for until it resolves.
    type: float
    default: 0
  every_address:
    description:
      - Whether every address of the name is asked. Otherwise the first that can be connected to answers.
    type: bool
    default: false
  expect:
    description: What a good answer looks like.
    type: dict
    suboptions:
      status:
        description: Status codes that are good. An empty list takes any.
        type: list
        elements: int
        default: [200]
      headers:
        description: Regular expressions by header name. Each is searched for in the header's value.
        type: dict
        default: {}
      json:
        description: A JSON object that the body's must contain. Lists and values must be equal.
        type: dict
      json_exact:
        description: The JSON that the body must be, nothing more.
        type: raw
      body_contains:
        description: Text that the body must contain.
        type: str
  timeout:
    description: Seconds for one request from connecting to the body's last byte.
    type: float
    default: 10
  retries:
    description: How often an address is asked again when it does not answer as expected.
    type: int
    default: 0
  retry_interval:
    description: Seconds between two tries.
    type: float
    default: 1
  max_body:
    description: Bytes of the body that are read. A longer body is cut, which is said.
    type: int
    default: 1048576
  ca_file:
    description: CA certificates for TLS. Those of the system when left out.
    type: path
  private:
    description: The run's private folder. Secrets that the run knows are taken out of the result.
    type: path
  fail:
    description: Whether an answer that is not as expected fails the task.
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: Every address of the load balancer answers
  papyrus.ops.http_probe:
    url: "http://{{ alb_dns_name }}/healthz"
    secret_headers:
      X-Papyrus-Run: "{{ header_value }}"
    resolve_timeout: 120
    every_address: true
    expect:
      status: [200]
      json_exact: {ok: true}
"""

RETURN = r"""
ok:
  description: Whether every answer is as expected.
  returned: always
  type: bool
  sample: true
reason:
  description: What is not as expected, or what was answered.
  returned: always
  type: str
  sample: "GET http://papyrus-smoke-abc234-1.us-west-2.elb.amazonaws.com/healthz: 200 from 203.0.113.10:80"
responses:
  description: One answer for each address that was asked.
  returned: always
  type: list
  elements: dict
  sample:
    - status: 200
      transcript: "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n{\"ok\":true}\n"
      headers:
        - {name: Content-Type, value: application/json}
        - {name: Content-Length, value: '12'}
      body: "{\"ok\":true}\n"
      body_base64: null
      body_bytes: 12
      truncated: false
      json: {ok: true}
      timings: {dns: 0.004, connect: 0.011, first_byte: 0.024, total: 0.029}
      remote: 203.0.113.10:80
      attempts: 1
      reason: ''
failures:
  description: Every try that did not do, in order.
  returned: always
  type: list
  elements: str
  sample: []
resolution:
  description: Addresses of the name, and how long it took until it had some.
  returned: always
  type: dict
  sample:
    host: papyrus-smoke-abc234-1.us-west-2.elb.amazonaws.com
    addresses: [203.0.113.10:80]
    attempts: 1
    elapsed: 0.004
request:
  description: The request without the values of O(secret_headers).
  returned: always
  type: dict
  sample:
    method: GET
    url: http://papyrus-smoke-abc234-1.us-west-2.elb.amazonaws.com/healthz
    headers: {X-Papyrus-Run: '[redacted]'}
    connect: papyrus-smoke-abc234-1.us-west-2.elb.amazonaws.com:80
    tunnel: null
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.papyrus.ops.plugins.module_utils import _probe_request, _probe_run
from ansible_collections.papyrus.ops.plugins.module_utils._results import redact_results, redacted_failure

ARGUMENTS = {
    "url": {"type": "str", "required": True},
    "method": {"type": "str", "choices": list(_probe_request.METHODS), "default": "GET"},
    "headers": {"type": "dict", "default": {}},
    "secret_headers": {"type": "dict", "default": {}, "no_log": True},
    "connect_to": {"type": "list", "elements": "str", "default": []},
    "proxy": {"type": "str"},
    "resolve_timeout": {"type": "float", "default": 0},
    "every_address": {"type": "bool", "default": False},
    "expect": {
        "type": "dict",
        "options": {
            "status": {"type": "list", "elements": "int", "default": [200]},
            "headers": {"type": "dict", "default": {}},
            "json": {"type": "dict"},
            "json_exact": {"type": "raw"},
            "body_contains": {"type": "str"},
        },
        "apply_defaults": True,
    },
    "timeout": {"type": "float", "default": 10},
    "retries": {"type": "int", "default": 0},
    "retry_interval": {"type": "float", "default": 1},
    "max_body": {"type": "int", "default": 1024 * 1024},
    "ca_file": {"type": "path"},
    "private": {"type": "path"},
    "fail": {"type": "bool", "default": True},
}


def expectation(asked: dict) -> _probe_run.Expect:
    given = {key: asked[key] for key in ("json", "json_exact") if asked[key] is not None}
    return _probe_run.Expect(
        status=tuple(asked["status"]), headers=asked["headers"], body_contains=asked["body_contains"], **given
    )


@redacted_failure
def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    redactor = redact_results(module)
    asked = module.params
    try:
        request = _probe_request.build(
            asked["url"],
            method=asked["method"],
            headers=asked["headers"],
            secret_headers=asked["secret_headers"],
            connect_to=asked["connect_to"],
            proxy=asked["proxy"],
        )
        expect = expectation(asked["expect"])
    except _probe_request.BadRequest as exc:
        module.fail_json(msg=f"the probe cannot be sent: {exc}", step="D1")
    rest = {"request": request.shown(), "responses": [], "failures": [], "resolution": {}}
    if module.check_mode:
        reason = f"check mode: {asked['method']} {asked['url']} is left out"
        module.exit_json(changed=False, skipped=True, ok=False, msg=reason, reason=reason, **rest)
    settings = _probe_run.Settings(
        **{name: asked[name] for name in _probe_run.Settings.__dataclass_fields__},
    )
    probe = _probe_run.Prober(request, expect, settings, clean=redactor.redact_text).run()
    rest.update(responses=probe.responses, failures=probe.failures, resolution=probe.resolution)
    if not probe.ok and asked["fail"]:
        module.fail_json(msg=probe.reason, step="D1", ok=False, reason=probe.reason, **rest)
    module.exit_json(changed=False, ok=probe.ok, reason=probe.reason, **rest)


if __name__ == "__main__":
    main()
