# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs a command in a container of an ECS task, without the Session Manager plugin."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ecs_exec
short_description: Run a command in a container of an ECS task and get its exit code
version_added: 0.1.0
description:
  - Runs one command through ECS Exec and returns its output and its true exit code.
  - Speaks the Session Manager's data channel itself. No plugin and no AWS CLI is needed, and the session's token is
    never an argument of a process, nor in a log or a result.
  - The command runs as root by C(sh -c) on a terminal, as everything in ECS Exec. Its standard output and errors are
    one stream, its standard input is O(stdin), O(stdin_src) or empty. The container needs C(sh) and a writable root
    filesystem, and for standard input C(stty), C(head), C(base64) and C(sha256sum) (coreutils and busybox have them).
  - An outcome that nobody can know is said to be so (V(indeterminate)) and never counts as success.
author:
  - papyrus.ops contributors (@papyrus-ops)
requirements:
  - websockets >= 15
  - cryptography, when the cluster encrypts sessions with a KMS key
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
      - Runs nothing. Looks for the task and says what would run where.
  diff_mode:
    support: N/A
    details:
      - What a command changes is not known.
  idempotent:
    support: N/A
    details:
      - Depends on the command.
options:
  cluster:
    description: ECS cluster.
    type: str
    required: true
  task:
    description: ARN or id of the task.
    type: str
  service:
    description:
      - A running task of this service's primary deployment, the newest one whose Exec agent runs.
    type: str
  container:
    description: Name of the container. May be left out when the task has only one.
    type: str
  command:
    description: Text that C(sh -c) runs in the container. CloudTrail records it, so there must be no secret in it.
    type: str
  argv:
    description: The command as a list of arguments, to which the shell does nothing.
    type: list
    elements: str
  stdin:
    description:
      - Standard input of the command. It is sent with the terminal's echo off, and the command is only started when the
        container has the same SHA-256 of it.
      - Ansible hides it wherever it appears whole in the result, so text that shall be seen again goes to O(stdin_src).
    type: str
  stdin_src:
    description: File with the standard input, byte for byte.
    type: path
  timeout:
    description:
      - Seconds for which the command may run. Then it is ended by Ctrl-C, by the end of its session or by SIGKILL.
    type: float
    default: 60
  connect_timeout:
    description: Seconds to wait for a task, for its Exec agent and for the shell in the container.
    type: float
    default: 60
  max_output:
    description: Bytes of output that are kept. The rest is counted, and said to be missing.
    type: int
    default: 1048576
  log:
    description: File for the transcript (command, task, container, times, exit code, output). Its folder must exist.
    type: path
  cast:
    description: File for a recording with the output's real timing, asciicast v2.
    type: path
  private:
    description: The run's private folder. Secrets that the run knows are redacted in result, transcript and recording.
    type: path
  fail:
    description: Whether every outcome but an exit code of 0 fails the task.
    type: bool
    default: true
seealso:
  - name: Monitor Amazon ECS containers with ECS Exec
    description: What a task needs for ECS Exec.
    link: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-exec.html
"""

EXAMPLES = r"""
- name: Show the routes of the running app
  papyrus.ops.ecs_exec:
    cluster: papyrus-ecs-prd
    service: papyrus-task-service
    container: app
    argv: [python, -m, papyrus.routes]
    log: /tmp/flask_url_map_after.log

- name: Dry-run a script, byte for byte as standard input
  papyrus.ops.ecs_exec:
    cluster: papyrus-ecs-prd
    service: papyrus-task-service
    command: python -m papyrus.dry_run
    stdin_src: init.sql
    timeout: 300
  register: dry_run
"""

RETURN = r"""
outcome:
  description:
    - V(exited) when the command ended by itself, with RV(rc).
    - V(timed_out) when it ran too long, V(not_run) when it was not started.
    - V(indeterminate) when it may have run and nobody knows how it ended.
  returned: always
  type: str
  sample: exited
rc:
  description: The command's exit code. Only with RV(outcome=exited).
  returned: always
  type: int
  sample: 0
reason:
  description: The outcome in a line, with what to do about it.
  returned: always
  type: str
  sample: exit code 0
stdout:
  description: The command's output, standard output and errors together, as text with LF line ends.
  returned: always
  type: str
  sample: "ROUTES: ['/', '/dbcheck', '/healthz']\n"
stdout_base64:
  description: The same bytes, when they are no UTF-8 and the text has lost some.
  returned: always
  type: str
  sample:
truncated:
  description: Whether there was more output than O(max_output).
  returned: always
  type: bool
  sample: false
output_bytes:
  description: Bytes of output, those that were not kept included.
  returned: always
  type: int
  sample: 39
stdin_sha256:
  description: SHA-256 of the standard input. Empty when there was none.
  returned: always
  type: str
  sample: 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824
task_arn:
  description: The task. Empty when none was found.
  returned: always
  type: str
  sample: arn:aws:ecs:us-west-2:123456789012:task/papyrus-ecs-prd/0123456789abcdef0123456789abcdef
container:
  description: The container.
  returned: always
  type: str
  sample: app
session_id:
  description: Id of the Session Manager's session, by which its copies in CloudWatch Logs or S3 are found.
  returned: always
  type: str
  sample: ecs-execute-command-0a1b2c3d4e5f67890
started_at:
  description: When the command began, in UTC.
  returned: always
  type: str
  sample: "2026-01-31T12:00:00.123456Z"
ended_at:
  description: When it ended.
  returned: always
  type: str
  sample: "2026-01-31T12:00:00.623456Z"
duration:
  description: Seconds from the one to the other.
  returned: always
  type: float
  sample: 0.5
exec_logging:
  description: Where the cluster's Exec configuration has sessions copied to, standard input without echo excepted.
  returned: always
  type: str
  sample: logged by the task's own log driver, default encryption
request_ids:
  description: Request ids of the AWS calls, in order.
  returned: always
  type: list
  elements: str
  sample: [c1b5d6a0-7c3e-4a53-9d6d-1f5b1c0d2e3f]
"""

from pathlib import Path

from ansible.module_utils.basic import missing_required_lib
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.papyrus.ops.plugins.module_utils import _aws, _exec, _ssm_socket
from ansible_collections.papyrus.ops.plugins.module_utils._results import redact_results, redacted_failure

ARGUMENTS = {
    "cluster": {"type": "str", "required": True},
    "task": {"type": "str"},
    "service": {"type": "str"},
    "container": {"type": "str"},
    "command": {"type": "str"},
    "argv": {"type": "list", "elements": "str"},
    "stdin": {"type": "str", "no_log": True},
    "stdin_src": {"type": "path"},
    "timeout": {"type": "float", "default": 60},
    "connect_timeout": {"type": "float", "default": 60},
    "max_output": {"type": "int", "default": _exec.MAX_OUTPUT},
    "log": {"type": "path"},
    "cast": {"type": "path"},
    "private": {"type": "path"},
    "fail": {"type": "bool", "default": True},
}


def command_of(asked: dict) -> _exec.Command:
    stdin = asked["stdin"].encode() if asked["stdin"] is not None else None
    if asked["stdin_src"]:
        stdin = Path(asked["stdin_src"]).read_bytes()
    given = {name: asked[name] for name in ("timeout", "connect_timeout", "max_output")}
    return _exec.Command(command=asked["command"] or "", argv=tuple(asked["argv"] or ()), stdin=stdin, **given)


@redacted_failure
def main() -> None:
    module = AnsibleAWSModule(
        argument_spec=ARGUMENTS,
        supports_check_mode=True,
        mutually_exclusive=[("task", "service"), ("command", "argv"), ("stdin", "stdin_src")],
        required_one_of=[("task", "service"), ("command", "argv")],
    )
    redact_results(module)
    asked = module.params
    if _ssm_socket.WEBSOCKETS_IMPORT_ERROR is not None:
        module.fail_json(msg=missing_required_lib("websockets"), exception=_ssm_socket.WEBSOCKETS_IMPORT_ERROR)
    clients = _aws.module_clients(module)
    named = {name: asked[name] or "" for name in ("cluster", "task", "service", "container")}
    files = _exec.Files(**{name: Path(asked[name]) for name in ("log", "cast", "private") if asked[name]})
    try:
        target, command = _exec.Target(**named), command_of(asked)
        if module.check_mode:
            result = _exec.plan_command(clients, target, command)
            module.exit_json(changed=False, skipped=True, msg=result.reason, **result.as_dict())
        result = _exec.run_command(clients, target, command, files)
    except (ValueError, OSError) as exc:
        module.fail_json(msg=f"the command was not run, or its files were not written: {exc}", step="N3")
    ran = result.outcome != "not_run"
    if asked["fail"] and not result.ok:
        where = (
            f"container {result.container} of {result.task_arn}" if result.task_arn else f"cluster {asked['cluster']}"
        )
        module.fail_json(msg=f"in {where}: {result.reason}", step="N3", changed=ran, **result.as_dict())
    module.exit_json(changed=ran, **result.as_dict())


if __name__ == "__main__":
    main()
