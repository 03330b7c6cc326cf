# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bundles of runs as they really are, made in a moment: passed, failed, rolled back, crashed.

Each is written through `Bundle`, with the items of the roles in their order and a clock that only `wait` moves on.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.papyrus.ops.plugins.module_utils._evidence import Bundle, content_bytes
from ansible_collections.papyrus.ops.plugins.module_utils._evidence_items import capture, item
from ansible_collections.papyrus.ops.plugins.module_utils._names import rfc3339
from ansible_collections.papyrus.ops.plugins.module_utils._verdict import verdict
from ansible_collections.papyrus.ops.tests.unit.evidence_shapes import (
    ACCOUNT,
    ALB,
    ALB_SG,
    CALLER,
    DIGEST,
    ENI,
    GROUP,
    IP,
    LISTENER,
    NAME,
    NEW,
    OLD,
    OTHER,
    PREFLIGHT,
    REGION,
    REPOSITORY,
    RUN_ID,
    TASK,
    URL,
    binding,
    cast,
    exec_log,
    gone,
    ids,
    poll,
    state,
)


class World:
    """One run. `now` is its clock; every method appends what the role of that name appends."""

    def __init__(self, folder: Path, playbook: str = "alb_smoke", *, endpoint: str | None = None, dirty: bool = False):
        self.now = dt.datetime(2026, 1, 31, 12, 0, 0, tzinfo=dt.UTC)
        self.serving = NEW if playbook == "release" else OLD
        run = {
            "account_id": ACCOUNT,
            "caller_arn": CALLER,
            "details": {},
            "endpoint": endpoint,
            "expires_at": "2026-01-31T13:00:00Z",
            "git": {"commit": "aef9abb3a899044dd8744629dcc33d28aac38ac6", "dirty": dirty},
            "inventory_host": "papyrus-prd",
            "names": {"load_balancer": NAME, "security_group": NAME, "target_group": NAME},
            "playbook": playbook,
            "region": REGION,
            "run_id": RUN_ID,
            "service": "papyrus-task-service",
            "started_at": rfc3339(self.now, microseconds=True),
            "tag_prefix": "papyrus",
            "versions": {"ansible_core": "2.21.5", "boto3": "1.44.5", "collection": "0.1.0", "terraform": "1.15.5"},
        }
        self.bundle = Bundle.create(folder, run, now=lambda: self.now)
        self.keep("lease.json", {"run_id": RUN_ID, "expires_at": run["expires_at"], "problems": []}, "info", "N1")

    def wait(self, seconds: float) -> None:
        self.now += dt.timedelta(seconds=seconds)

    def keep(self, name: str, content: Any, status: str, step: str, rows: Any = (), **meta: Any) -> None:
        spec = {"name": name, "content": content, "status": status, "step": step, "rows": rows, "meta": meta}
        capture(self.bundle, [item(spec)])

    def phase(self, name: str, event: str) -> None:
        self.keep("phase.json", {"phase": name, "event": event}, "info", "all", phase=name, event=event)

    def at(self, ago: float = 0) -> str:
        return rfc3339(self.now - dt.timedelta(seconds=ago), microseconds=True)

    def exec_log(self, command: str, output: str, took: float = 0.5) -> str:
        return exec_log(command, output, self.at(took + 0.1), self.at(0.1))

    # The roles

    def preflight(self, ng: Mapping[str, str] | None = None, skip: Mapping[str, str] | None = None) -> None:
        self.wait(3)
        rows = []
        for ident, (title, reason) in PREFLIGHT.items():
            status = "ng" if ident in (ng or {}) else "skip" if ident in (skip or {}) else "ok"
            reason = {**(ng or {}), **(skip or {})}.get(ident, reason)
            rows.append({"id": ident, "title": title, "status": status, "reason": reason, "data": {}})
        self.keep(
            "preflight.json", {"rows": rows, "table": []}, "ng" if ng else "ok", "B", rows=rows, request_ids=ids(4)
        )
        self.keep("routes.log", 'factory papyrus:create_app\nROUTES: ["/", "/dbcheck", "/healthz"]\nOK\n', "info", "B1")
        login = {
            "user": "papyrus_app",
            "database": "papyrus",
            "tls_version": "TLSv1.3",
            "cipher": "TLS_AES_256_GCM_SHA384",
        }
        drift = {"row": {"id": "B2", "status": "ok", "data": {"facts": {"login": login}, "rows": []}}}
        self.keep("secrets_rds_drift.json", drift, "info", "B2")

    def image(self) -> None:
        self.wait(9)
        pushed = {
            "builder": "native",
            "digest": DIGEST,
            "image": f"{REPOSITORY}@{DIGEST}",
            "outcome": "pushed",
            "platform": "linux/amd64",
            "tags": ["sha256-b7a581c664f46e7e"],
        }
        self.keep("image_push.json", pushed, "ok", "F1")
        change = {
            "container": "app",
            "member": "image",
            "name": "",
            "before": f"{REPOSITORY}@{OTHER}",
            "after": pushed["image"],
        }
        mode = {
            "container": "app",
            "member": "environment",
            "name": "PGSSLMODE",
            "before": "prefer",
            "after": "verify-full",
        }
        made = {
            "task_definition_arn": NEW,
            "previous": OLD,
            "registered": True,
            "differences": [change, mode],
            "notes": [],
        }
        self.keep(
            "taskdef_diff.json", {**made, "reason": "2 differences from papyrus-task:4"}, "ok", "F2", request_ids=ids(2)
        )

    def rollout(self, result: str = "deployed", cause: str = "", by: str = "", deaths: Sequence[str] = ()) -> None:
        known = {"task_definition": NEW, "previous": OLD, "by": by, "cause": cause or "interrupted before its verdict"}
        note = [{"event": "about to begin", "task_definition": NEW}]
        self.keep(
            "rollout.jsonl",
            note,
            "info",
            "F3",
            release={**known, "result": "failed", "serving": ""},
            reason="the rollout begins; a later item of this name has its verdict",
        )
        self.wait(14)
        events: list[dict[str, Any]] = [
            {
                "event": "begin",
                "at": self.at(13),
                "elapsed": 0.2,
                "text": "rollout of papyrus-task:5 (now papyrus-task:4)",
            },
            {"event": "started", "at": self.at(12.8), "elapsed": 0.4, "text": "deployment ecs-svc/603a has begun"},
            {
                "event": "poll",
                "at": self.at(12),
                "elapsed": 1.2,
                "repeats": 7,
                "last_at": self.at(2),
                "last_elapsed": 11.2,
                "text": "in progress; new 0/1 running, 1 pending; old 1 running",
            },
        ]
        events += [{"event": "task_stopped", "at": self.at(6), "elapsed": 7.0, "text": death} for death in deaths]
        serving = NEW if result == "deployed" else OLD
        release = {**known, "result": result, "serving": serving, "cause": cause}
        text = f"papyrus-task:5: {result.replace('_', ' ')}{' by ' + by if by else ''}; {serving[-14:]} serves"
        events.append({"event": "verdict", "at": self.at(1), "elapsed": 12.2, "text": text, **release})
        self.keep(
            "rollout.jsonl",
            events,
            "ok" if result == "deployed" else "ng",
            "F3",
            release=release,
            reason=f"{text}: {cause}" if cause else text,
            request_ids=ids(5),
        )

    def back(self, cause: str) -> None:
        self.wait(8)
        release = {
            "task_definition": NEW,
            "previous": OLD,
            "serving": OLD,
            "result": "rolled_back",
            "by": "papyrus.ops",
        }
        events = [
            {"event": "begin", "at": self.at(7), "elapsed": 0.1, "text": f"goes back to papyrus-task:4: {cause}"},
            {"event": "verdict", "at": self.at(0.5), "elapsed": 6.5, "text": "papyrus-task:4 serves"},
        ]
        self.keep(
            "rollout.jsonl",
            events,
            "ok",
            "F3",
            release={**release, "cause": cause},
            reason="papyrus-task:5: rolled back by papyrus.ops; papyrus-task:4 serves",
        )

    def start_apply(self) -> None:
        self.phase("terraform apply", "start")

    def end_apply(self, error: str = "") -> None:
        log = "Terraform will perform the following actions:\n\nPlan: 5 to add, 0 to change, 0 to destroy.\n"
        log += "aws_lb.this: Creating...\naws_lb.this: Creation complete after 1m0s\n"
        done = "Apply complete! Resources: 5 added, 0 changed, 0 destroyed."
        self.keep("terraform_apply.log", f"{log}{error or done}\n", "ng" if error else "ok", "C1", reason=error or done)
        outputs = {"alb_arn": ALB, "alb_sg_id": ALB_SG, "listener_arn": LISTENER, "target_group_arn": GROUP, "url": URL}
        self.keep("terraform_outputs.json", outputs, "ok", "D2")
        self.keep("terraform.tfstate", state(), "info", "D2", terraform="1.15.5")
        self.phase("terraform apply", "end")

    def inside(self) -> None:
        self.wait(2)
        for name, row, reason, log in (
            (
                "running_image.log",
                "F3",
                f"1 of 1 running tasks have {DIGEST}",
                f"task:     {TASK}\n  imageDigest: {DIGEST}\n",
            ),
            (
                "pgsslmode_env.log",
                "B13",
                "PGSSLMODE is verify-full in 1 of 1 running tasks",
                self.exec_log("printenv PGSSLMODE", "verify-full\n"),
            ),
            (
                "flask_url_map_after.log",
                "B1",
                "registered: /, /dbcheck, /healthz",
                self.exec_log("python -m papyrus.routes", 'ROUTES: ["/", "/dbcheck", "/healthz"]\n'),
            ),
        ):
            meta = {"images": [{"reference": REPOSITORY, "digest": DIGEST}]} if row == "F3" else {}
            rows = [{"id": row, "status": "ok", "reason": reason}]
            self.keep(name, log, "ok", "F3", rows=rows, request_ids=ids(3), **meta)

    def database_cli(self) -> None:
        self.wait(4)
        said = f"INSERT 0 1\nMARK: {RUN_ID} cli committed\nTLS: TLSv1.3\n"
        refused = 'the server refused a session without encryption: FATAL: no pg_hba.conf entry for host "10.78.1.86"'
        for name, reason, log in (
            (
                "papyrus_psql_insert_cli.log",
                "INSERT 0 1 over TLSv1.3",
                self.exec_log("python -m papyrus.mark_cli", said, 1.2),
            ),
            ("plaintext_refused.log", refused, self.exec_log("python -c login", f"LOGIN refused: {refused}\n")),
            (
                "fresh_login.log",
                "LOGIN: papyrus_app in papyrus, TLS: TLSv1.3",
                "LOGIN: papyrus_app in papyrus\nTLS: TLSv1.3\n",
            ),
        ):
            self.keep(name, log, "ok", "E1", rows=[{"id": "E1", "status": "ok", "reason": reason}], request_ids=ids(2))
        self.keep("papyrus_psql_insert_cli.cast", cast(int(self.now.timestamp())), "info", "J2")

    def attach(
        self, states: Iterable[tuple[str, str]] = (("initial", "Elb.RegistrationInProgress"), ("healthy", ""))
    ) -> None:
        polls = []
        for number, (seen, reason) in enumerate(states, 1):
            self.wait(2)
            polls.append(poll(number, self.at(), seen, reason))
        task = {"task_arn": TASK, "task_definition": self.serving, "image_digest": DIGEST, "ip": IP, "eni": ENI}
        self.keep("ecs_task.json", [task], "info", "C4")
        self.keep(
            "register_targets.json", {"targets": [{"Id": IP, "Port": 5000}], "target_group_arn": GROUP}, "ok", "C4"
        )
        healthy = polls[-1]["targets"][0]["state"] == "healthy"
        self.keep("target_health.jsonl", polls, "ok" if healthy else "ng", "C5", reason=polls[-1]["reason"])

    def probes(self, ng: Mapping[str, str] | None = None) -> None:
        self.wait(1.5)
        body = json.dumps({"inserted": True, "rows": 1, "run": RUN_ID})
        for name, path, status, text in (
            ("healthz", "/healthz", "200 OK", '{"ok":true}'),
            ("dbcheck", f"/dbcheck?run={RUN_ID}", "200 OK", body),
            ("no_header", "/healthz", "403 Forbidden", "Forbidden"),
        ):
            wrong = (ng or {}).get(name)
            line = "503 Service Unavailable" if wrong else status
            who = "" if name == "no_header" else f"x-papyrus-task: {TASK}\r\nx-papyrus-image: {DIGEST}\r\n"
            answer = (
                f"HTTP/1.1 {line}\r\ncontent-type: application/json\r\n{who}Connection: close\r\n\r\n{wrong or text}"
            )
            reason = f"GET {URL}{path}: {line.split()[0]} from 203.0.113.7:80" + (
                f", expected 200 ({wrong})" if wrong else ""
            )
            timing = {"dns": 0.0006, "connect": 0.0011, "first_byte": 0.0361, "total": 0.0384}
            self.keep(
                f"{name}.log",
                answer,
                "ng" if wrong else "ok",
                "D1",
                reason=reason,
                url=f"{URL}{path}",
                remotes=["203.0.113.7:80"],
                timings=[timing],
            )
            if name == "dbcheck":
                self.keep("papyrus_psql_insert_app.log", wrong or text, "ng" if wrong else "ok", "E2", reason=reason)

    def read_back(self) -> None:
        self.wait(2)
        rows = "[('SKU-CLI','health',0), ('SKU-APP','health',0)]"
        marks = "".join(
            f"MARK: {path} task_arn={TASK} image_digest={DIGEST} marked_at={self.at(9)}\n" for path in ("app", "cli")
        )
        log = f"run: {RUN_ID}\nROWS: {rows}\n{marks}TLS: cli TLSv1.3\nTLS: app TLSv1.3\nOK: ROWS: {rows}\n"
        self.keep(
            "papyrus_sku_check.log", log, "ok", "E3", rows=[{"id": "E3", "status": "ok", "reason": f"ROWS: {rows}"}]
        )

    def binding(self, broken: str = "") -> None:
        self.wait(2)
        content = binding(self.serving, broken)
        self.keep("binding.json", content, content["status"], "N2", reason=content["reason"], request_ids=ids(6))

    def destroy(self, error: str = "", left: bool = False) -> None:
        self.phase("terraform destroy", "start")
        self.wait(3 if not error else 40)
        done = "Destroy complete! Resources: 5 destroyed."
        attempts = [
            {"number": n, "ok": not error, "error": error, "seconds": 2.4, "exit_code": int(bool(error))}
            for n in range(1, 3 if error else 2)
        ]
        self.keep(
            "terraform_destroy.log",
            f"aws_lb.this: Destroying...\n{error or done}\n",
            "ng" if error else "ok",
            "C6",
            reason=error or done,
            attempts=attempts,
        )
        self.keep("alb_sg_leftover.json", {"gone": not left, "resources": [], "described": []}, "info", "C7")
        self.keep("alb_sg_delete.log", "aws_security_group.alb: Destroying...\n", "info", "C7")
        content = gone(left)
        self.keep(
            "alb_sg_verify_gone.json",
            content,
            "ng" if left else "ok",
            "C7",
            reason=content["reason"],
            request_ids=ids(8),
        )
        self.phase("terraform destroy", "end")

    def guard(self, cause: str) -> None:
        log = f"{self.at(9)} guarding run {RUN_ID}, controller 21285\n{self.at(8)} papyrus.ops: {cause}\n"
        self.keep("guard.log", log, "info", "C6", reason=cause)

    def close(
        self, failure: Mapping[str, Any] | None = None, allowed: Iterable[str] = (), dirty: bool = False
    ) -> Bundle:
        self.wait(0.5)
        content = {"run_id": RUN_ID, **verdict(self.bundle.lines(), failure, allowed, dirty, short_values=1)}
        result = content["result"]
        self.bundle.append(
            "verdict.json",
            content_bytes(content),
            status="ng" if result == "FAILED" else "ok",
            step="all",
            meta={"result": result, "reason": ""},
        )
        return self.bundle

    def smoke(self, **broken: Any) -> None:
        """From the preflight on to the chain, Terraform beside what needs no ALB."""
        self.preflight()
        self.start_apply()
        self.inside()
        self.database_cli()
        self.wait(52)
        self.end_apply()
        self.attach()
        self.probes(broken.get("probes"))
        if not broken.get("probes"):
            self.read_back()
            self.binding(broken.get("binding", ""))


# Whole runs


def passing_smoke(folder: Path) -> Bundle:
    world = World(folder)
    world.smoke()
    world.destroy()
    return world.close()


def passing_release(folder: Path) -> Bundle:
    """WARNED: the preflight skips a row that the inventory allows to be skipped."""
    world = World(folder, "release")
    world.preflight(skip={"B2": "RDS manages the secret, which has no host"})
    world.image()
    world.start_apply()
    world.rollout()
    world.preflight(skip={"B2": "RDS manages the secret, which has no host"})
    world.inside()
    world.database_cli()
    world.wait(30)
    world.end_apply()
    world.attach()
    world.probes()
    world.read_back()
    world.binding()
    world.destroy()
    return world.close(allowed=["B2"])


def failed_preflight(folder: Path) -> Bundle:
    world = World(folder)
    cause = "rds.force_ssl=0: the server accepts sessions without encryption"
    world.preflight(ng={"B4": cause})
    return world.close({"step": "B", "task": "Every answer is OK, or skipped for a reason", "cause": f"NG B4 {cause}"})


def failed_probe_and_destroy(folder: Path) -> Bundle:
    world = World(folder, endpoint="http://127.0.0.1:20365")
    world.smoke(probes={"dbcheck": '{"error":"password authentication failed for user papyrus_app"}'})
    world.destroy("DependencyViolation: resource sg-76eebc0065fa54a45 has a dependent object", left=True)
    return world.close(
        {"step": "D1", "task": "Every answer is the expected one", "cause": "/dbcheck: 503, expected 200"}
    )


def rolled_back_release(folder: Path) -> Bundle:
    world = World(folder, "release")
    world.preflight()
    world.image()
    world.start_apply()
    cause = "tasks failed to start; exit code 3: boom: no blueprint"
    world.rollout(
        "rolled_back",
        cause,
        "deployment circuit breaker",
        ["task 92bc27ab died: exit code 3", "task 1f00aa21 died: exit code 3"],
    )
    world.wait(20)
    world.end_apply()
    world.destroy()
    return world.close({"step": "F3", "task": "The revision is deployed", "cause": cause})


def crashed_and_continued(folder: Path) -> Bundle:
    """The controller was killed in the middle of an append, and the guard went on."""
    world = World(folder)
    world.preflight()
    world.start_apply()
    world.inside()
    with world.bundle.manifest.open("ab") as file:
        file.write(b'{"at":"2026-01-31T12:00:05.2')
    (folder / "20260131T120005Z_papyrus_psql_insert_cli.log").write_text("command:    python -m papyrus.mark_cli\n")
    world.wait(20)
    world.bundle.recover()
    last = world.bundle.lines()[-1]["seq"]
    world.end_apply("interrupted")
    world.destroy()
    cause = "the controller (ansible-playbook) ended without closing the run during: terraform apply"
    world.guard(cause)
    return world.close({"step": "C6", "task": "", "cause": cause, "after_seq": last})


RUNS: Mapping[str, Callable[[Path], Bundle]] = {
    "passing_smoke": passing_smoke,
    "passing_release": passing_release,
    "failed_preflight": failed_preflight,
    "failed_probe_and_destroy": failed_probe_and_destroy,
    "rolled_back_release": rolled_back_release,
    "crashed_and_continued": crashed_and_continued,
}
