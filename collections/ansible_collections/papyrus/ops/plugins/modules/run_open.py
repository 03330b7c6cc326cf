#!/usr/bin/python
# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Opens a run on the controller: documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: run_open
short_description: Open a run with its bundle, ledger entry, lease and guard
version_added: 0.1.0
description:
  - Opens a run before anything is created. It makes the run id, the evidence bundle with C(run.json), the entry in the
    ledger, the run-private folder, the lease (C(lease.json)) and the guard.
  - The guard is a process in a session of its own. It owns Terraform and watches C(ansible-playbook). When that ends
    without having closed the run, however it ends, the guard destroys what the run has created, proves that it is gone
    and completes the bundle as FAILED. Ansible itself runs neither C(rescue) nor C(always) after a signal or on an
    unreachable host.
  - This is an action plugin. It runs on the controller, with the C(environment) of the task.
  - Whatever is needed at the end is asked for at the beginning. A signing key that cannot be used, a ledger that cannot
    be written and a time stamping authority that does not answer are refused before anything exists.
  - Account and region may be unknown, so that a run whose inventory is refused has a bundle as well.
author:
  - papyrus.ops contributors (@papyrus-ops)
attributes:
  check_mode:
    support: full
    description: Predicts id, names and folder, and asks for signer and ledger; creates nothing and starts no guard.
  diff_mode:
    support: none
    description: There is nothing before a run to compare with.
  idempotent:
    support: none
    description: Each call opens a run of its own.
options:
  evidence_root:
    description: Folder in which the bundle gets a folder with the name of the run id.
    type: path
    required: true
  ledger:
    description:
      - Folder of the ledger, or C(s3://bucket/prefix). The bucket must have Object Lock with a default retention, and
        be O(account_id)'s unless C(?owner=<account id>) behind the prefix names another; else nothing is begun.
    type: path
    required: true
  service:
    description: Name of the service under verification; the value of the tag C(<tag_prefix>:service).
    type: str
    required: true
  account_id:
    description: Expected AWS account, as far as it is known.
    type: str
  region:
    description: AWS region, as far as it is known.
    type: str
  tag_prefix:
    description: First part of the keys of the three tags, and of the descriptions of rules.
    type: str
    default: papyrus
  lease_minutes:
    description: After so many minutes a sweeper may delete what the run has created. From 1 to 1440.
    type: int
    default: 60
  playbook:
    description: Name of the playbook, for C(run.json).
    type: str
  details:
    description:
      - More for C(run.json). C(endpoint) and C(caller_arn) have a place of their own there.
    type: dict
    default: {}
  ask_caller:
    description:
      - Ask AWS whose credentials these are, for C(caller_arn) in C(run.json). No answer within seconds stops nothing.
    type: bool
    default: false
  allowed_skips:
    description:
      - Ids of checks that may be skipped, for the verdict of the guard when C(ansible-playbook) ends too early.
    type: list
    elements: str
    default: []
  signer:
    description:
      - Who signs the bundle when the run ends, however it ends. Without one nothing is signed and the verdict is WARNED
        at best.
      - The key's file, or KMS, is needed again at the end.
    type: dict
    default: {}
    suboptions:
      type:
        description:
          - V(file) is an Ed25519 key (PEM, PKCS#8) that only its owner may read. It proves no more than that whoever
            had the runner's disk made the bundle.
          - V(kms) is an asymmetric key in AWS KMS, asked with the credentials of the task.
          - V(sigstore) is the OIDC identity of the CI workflow, without a key.
        type: str
        choices: [file, kms, sigstore]
        required: true
      private_key:
        description: For V(file), absolute path of the key.
        type: path
      key_id:
        description: For V(kms), id, ARN or alias of the key.
        type: str
  timestamp_url:
    description:
      - RFC 3161 time stamping authority. It stamps the first line of the manifest before anything is created
        (C(run_timestamp.tsr)), and the whole manifest at sealing.
      - When it does not answer at sealing, the bundle is sealed without its stamp and says so.
    type: str
    default: ""
  trace_file:
    description:
      - File that gets a trace of the run when it ends - operations, names and types of parameters and answers, codes,
        states and times of its calls of AWS, no values. It is made with mode 0600 and must not exist.
      - See C(docs/trace.md) of the project for its format and for what is not in it.
    type: path
  start_guard:
    description: Start the guard. Without it M(papyrus.ops.temporary_alb) creates nothing.
    type: bool
    default: true
  stack:
    description: The Terraform of the temporary ALB, as the guard will run it.
    type: dict
    suboptions:
      source:
        description: Folder of the stack. The run works in a copy of its own.
        type: path
        required: true
      name_prefix:
        description: AWS names become C(<name_prefix>-<suffix of the run>), at most 32 characters.
        type: str
      variables:
        description:
          - Variables of the stack. C(name), C(run_id) and C(expires_at) are added.
          - They are written to a file of mode 0600 in the run-private folder, never to a command line.
        type: dict
        default: {}
      modules:
        description:
          - Further stacks that are copied into it as modules, by the name of their folder there. Their C(provider.tf)
            is left out, as a module takes its caller's provider.
        type: dict
        default: {}
      override_files:
        description: Files that are copied into the run's copy of the stack, such as C(endpoints_override.tf).
        type: list
        elements: path
        default: []
      backend:
        description:
          - Backend of the state, as type and its settings; C({run_id}) must be part of the key. Default is a local
            state in the
            run-private folder.
        type: dict
        default: {}
      binary:
        description: Terraform or OpenTofu.
        type: str
        default: terraform
      environment:
        description: Environment of Terraform, such as C(TF_CLI_CONFIG_FILE). Credentials come from the task's
          C(environment).
        type: dict
        default: {}
      limits:
        description:
          - Time limits in seconds (C(init), C(apply), C(destroy), C(backoff), C(interrupt_grace), C(gone),
            C(gone_interval), C(sweep), C(lock)) and the number of C(attempts) of a destroy.
          - What a destroy leaves is swept by its tags, within C(sweep) seconds. For C(gone) seconds that is tried again
            while AWS does not answer; when C(ansible-playbook) is gone, as long as the lease lasts.
        type: dict
        default: {}
seealso:
  - module: papyrus.ops.temporary_alb
  - module: papyrus.ops.run_close
  - module: papyrus.ops.evidence_seal
"""

EXAMPLES = r"""
- name: Open the run with its bundle, ledger entry, lease and guard
  papyrus.ops.run_open:
    evidence_root: docs/evidence/runs
    ledger: docs/evidence/ledger
    service: papyrus-task-service
    account_id: "123456789012"
    region: us-west-2
    playbook: alb_smoke
    signer:
      type: kms
      key_id: alias/papyrus-evidence
    stack:
      source: infra/20-alb
      name_prefix: papyrus-smoke
      variables:
        region: us-west-2
        service: papyrus-task-service
        vpc_id: vpc-0a1b2c3d4e5f60718
        subnet_ids: [subnet-0aaa1111bbbb2222c, subnet-0ddd3333eeee4444f]
        ecs_tasks_sg_id: sg-0123456789abcdef0
        app_port: 5000
        ingress_cidrs: [203.0.113.7/32]
        header_name: X-Papyrus-Run
        header_value: "{{ run_header_value }}"
  register: opened
"""

RETURN = r"""
caller_arn:
  description: ARN of the caller as AWS says it; nothing when it could not be asked.
  returned: O(ask_caller=true)
  type: str
  sample: arn:aws:sts::123456789012:assumed-role/papyrus-runner/ci
run:
  description: The run, as the other modules take it.
  returned: success
  type: dict
  contains:
    id:
      description: Run id.
      type: str
      sample: 20260131T120000Z-abc234
    suffix:
      description: Last part of the run id; it ends every temporary AWS name.
      type: str
      sample: abc234
    folder:
      description: The evidence bundle.
      type: str
      sample: /srv/checkout/docs/evidence/runs/20260131T120000Z-abc234
    private:
      description: Run-private folder, mode 0700; removed when the run closes. Empty in check mode.
      type: str
      sample: /run/user/1000/papyrus-abc234-k2x9q1v_
    socket:
      description: Socket of the guard. Empty in check mode.
      type: str
      sample: /run/user/1000/papyrus-abc234-k2x9q1v_/guard.sock
    ledger:
      description: Folder of the ledger, or its C(s3://) address.
      type: str
      sample: /srv/checkout/docs/evidence/ledger
    service:
      description: Service under verification.
      type: str
      sample: papyrus-task-service
    region:
      description: AWS region, empty when not known.
      type: str
      sample: us-west-2
    tag_prefix:
      description: First part of the tags' keys.
      type: str
      sample: papyrus
    expires_at:
      description: End of the lease.
      type: str
      sample: "2026-01-31T13:00:00Z"
    tags:
      description: Tags of everything that the run creates.
      type: dict
      sample:
        papyrus:run-id: 20260131T120000Z-abc234
        papyrus:expires-at: "2026-01-31T13:00:00Z"
        papyrus:service: papyrus-task-service
    name:
      description: AWS name of load balancer, target group and security group; empty when AWS would refuse it.
      type: str
      sample: papyrus-smoke-abc234
    names:
      description: The same by kind.
      type: dict
      sample:
        load_balancer: papyrus-smoke-abc234
        target_group: papyrus-smoke-abc234
        security_group: papyrus-smoke-abc234
    drill:
      description: Where a drill of alarms makes things. Empty when the stack is none of one.
      type: dict
      sample: {}
    problems:
      description: Why the guard will create nothing. Empty when it may.
      type: list
      elements: str
      sample: []
    guarded:
      description: Whether the run has a guard.
      type: bool
      sample: true
    signer:
      description: The signer as given. Empty when nobody signs.
      type: dict
      sample:
        type: kms
        key_id: alias/papyrus-evidence
    timestamp_url:
      description: The time stamping authority, or empty.
      type: str
      sample: ""
    trace_file:
      description: File that gets the trace of the run, or empty.
      type: str
      sample: ""
"""
