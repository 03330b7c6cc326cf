"""alb_smoke from beginning to end on a service in order: evidence, nothing left, side by side, check mode, addendum."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from jsonschema import Draft202012Validator

from tests.sandbox.support import Sandbox, open_folder

from . import harness, surface, tidewatch
from .harness import RunningSmoke, left_behind, processes_of, run_smoke
from .services import CLUSTER, DATABASE, SECRET, SERVICE, Services
from .surface import Watch, database_password
from .test_audit import PLAYBOOK as EXPORT
from .test_audit import lines_of
from .test_redaction import header_of
from .test_runner import PATIENCE, artifact, events, known_secrets, leaks, started

sys.path.insert(0, str(harness.CHECKOUT / "collections"))
sys.path.insert(0, str(harness.CHECKOUT / "scripts"))

import trace_compare
from ansible_collections.papyrus.ops.plugins.module_utils._bundle_view import BundleView
from ansible_collections.papyrus.ops.plugins.module_utils._evidence import Bundle
from ansible_collections.papyrus.ops.plugins.module_utils._verify_online import online

SMOKE_ITEMS = {
    "preflight.json", "routes.log", "secrets_rds_drift.json", "rds_sg_inbound_after.json", "rds_parameters.json",
    "terraform_apply.log", "terraform_destroy.log", "terraform_outputs.json", "terraform.tfstate",
    "ecs_task.json", "register_targets.json", "target_health.jsonl", "healthz.log", "dbcheck.log", "no_header.log",
    "alb_sg_leftover.json", "alb_sg_delete.log", "alb_sg_verify_gone.json", "papyrus_psql_insert_app.log",
    "binding.json", "app_json.log", "verdict.json",
}  # fmt: skip


def tree_is_dirty() -> bool:
    """A verdict about a working copy that differs from its commit can be WARNED at best."""
    status = subprocess.run(
        ["git", "status", "--porcelain"], cwd=harness.CHECKOUT, capture_output=True, text=True, check=True
    )
    return bool(status.stdout)


@pytest.fixture(scope="module")
def ledger() -> Iterator[str]:
    """A ledger in S3: a bucket whose entries are kept by Object Lock."""
    s3, name = harness.client("s3"), f"ledger-{secrets.token_hex(6)}"
    here = {"LocationConstraint": harness.facts()["region"]}
    s3.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True, CreateBucketConfiguration=here)
    kept = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}}
    s3.put_object_lock_configuration(Bucket=name, ObjectLockConfiguration=kept)
    yield f"s3://{name}/smoke"
    for one in s3.list_object_versions(Bucket=name)["Versions"]:
        version = {"Key": one["Key"], "VersionId": one["VersionId"]}
        s3.delete_object(Bucket=name, **version, BypassGovernanceRetention=True)
    s3.delete_bucket(Bucket=name)


@dataclass
class Beside:
    """A run by ansible-runner, with a secret in its shell. Its header is known once its load balancer is there."""

    running: RunningSmoke
    folder: Path
    token: str
    header: Future[str]


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beside]:
    """Under way, on the same service as the one that is watched."""
    folder, token, tag, seen = tmp_path_factory.mktemp("beside"), secrets.token_hex(16), "tiboth", list[str]()
    running = started(folder, {"papyrus_tag_prefix": tag}, GITHUB_TOKEN=token)

    def header() -> str:
        running.wait_for(lambda: seen.append(header_of(tag)) or seen[-1], PATIENCE, 1)
        return seen[-1]

    with ThreadPoolExecutor(1) as threads:
        yield Beside(running, folder, token, threads.submit(header))


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, ledger: str, beside: Beside) -> Watch:
    """One run at the highest verbosity that ought to pass, with secrets in the controller's environment as in CI."""
    folder = tmp_path_factory.mktemp("passed")
    variables = {"papyrus_ledger": ledger, "papyrus_trace_file": str(folder / "trace.jsonl")}
    return surface.watch(folder, variables, "-vvv")


@pytest.fixture(scope="module")
def passed(watched: Watch) -> harness.Smoke:
    """That run when it has ended."""
    return watched.running.end()


def test_B2_no_secret_is_in_a_command_line_of_anybody(watched: Watch) -> None:
    surface.no_command_line_has_a_secret(watched)


def test_H2_each_child_gets_the_secrets_that_it_needs_and_no_others(watched: Watch) -> None:
    surface.children_have_what_they_need(watched)
    assert watched.of("routes") != set()


def test_H2_temporary_files_are_for_their_owner_alone(watched: Watch) -> None:
    surface.temporary_files_are_private(watched)


def test_smoke_passes_with_every_item_of_evidence(passed: harness.Smoke) -> None:
    assert passed.exit_code == 0, passed.output[-4000:]
    assert passed.verdict["result"] == ("WARNED" if tree_is_dirty() else "PASSED")
    assert {line["name"] for line in passed.lines} >= SMOKE_ITEMS
    assert passed.verdict["result"] in passed.output
    assert str(passed.bundle) in passed.output


def test_J1_the_run_is_sealed_about_the_image_in_ecr_and_leaves_no_private_folder(passed: harness.Smoke) -> None:
    digest = json.loads(passed.item("binding.json"))["image"]["digest"]
    statement = passed.statement
    assert f"sha256:{statement['subject'][0]['digest']['sha256']}" == digest
    assert statement["predicate"]["failedTests"] == []
    described = {each["name"]: each for each in statement["predicate"]["configuration"]}
    assert described["taskDefinition"]["uri"] == json.loads(passed.item("ecs_task.json"))[0]["task_definition"]
    assert described["run"]["annotations"]["callerArn"] == f"arn:aws:iam::{harness.facts()['account_id']}:root"
    assert len(described["terraformPlan"]["digest"]["sha256"]) == 64
    assert (passed.sealed["by"], passed.sealed["afterCrash"], passed.sealed["note"]) == ("run", False, "")
    assert f"papyrus_verify_bundle={passed.bundle}" in passed.output


def test_J1_the_run_says_who_asked_with_what_and_from_which_commit(passed: harness.Smoke) -> None:
    run = json.loads((passed.bundle / "run.json").read_text("utf-8"))
    command = ["git", "rev-parse", "HEAD"]
    commit = subprocess.run(command, cwd=harness.CHECKOUT, capture_output=True, text=True, check=True)
    assert run["caller_arn"] == f"arn:aws:iam::{harness.facts()['account_id']}:root"
    assert run["git"] == {"commit": commit.stdout.strip(), "dirty": tree_is_dirty()}
    assert run["endpoint"] == harness.facts()["endpoint"]
    assert run["versions"]["terraform"]


def test_J1_the_ledger_in_s3_holds_the_run_and_gives_nothing_back(passed: harness.Smoke, ledger: str) -> None:
    bucket = ledger.split("/")[2]
    s3 = harness.client("s3")
    listed = s3.list_object_versions(Bucket=bucket)["Versions"]
    assert [one["Key"] for one in listed] == [f"smoke/{passed.run_id}.{what}.json" for what in ("closed", "opened")]
    closed, opened = (json.loads(s3.get_object(Bucket=bucket, Key=one["Key"])["Body"].read()) for one in listed)
    assert opened["run_sha256"] == sha256((passed.bundle / "run.json").read_bytes()).hexdigest()
    attestation = (passed.bundle / "attestation.dsse.json").read_bytes()
    assert closed["attestation_sha256"] == sha256(attestation).hexdigest()
    assert closed["result"] == passed.verdict["result"]
    for one in listed:
        with pytest.raises(ClientError, match="protected by object lock"):
            s3.delete_object(Bucket=bucket, Key=one["Key"], VersionId=one["VersionId"])


def look_up(bundle: Path, clients: Callable[[str], Any], minutes: int = 0, **pace: Any) -> dict[str, Any]:
    now = datetime.now(UTC) + timedelta(minutes=minutes)
    return online(BundleView.of(Bundle(bundle)), clients, now=now, **pace)


def test_J1_cloudtrail_saw_the_run_in_its_own_account_and_in_no_other(passed: harness.Smoke) -> None:
    """What was created is paired with its deletion. Another local AWS, with the same account number, saw nothing."""
    answer = look_up(passed.bundle, harness.client)
    assert answer["result"] == "ok" and not answer["findings"] and not answer["aws"], answer["findings"]
    ids = answer["request_ids"]
    assert ids["asked"] == ids["found"] > 50 and not ids["not_logged"]
    assert list(answer["principal"]["seen"]) == [f"arn:aws:iam::{harness.facts()['account_id']}:root"]
    assert len(answer["created"]) == 8 and all(one["deleted_at"] for one in answer["created"])
    assert answer["looked_up"] < 500  # 4 to 9 when no other run of the same principal is under way
    with open_folder() as root:
        other = Sandbox(root)
        try:
            other.up()
            with other.switched(lookup_events_rate=0):
                fast = {"sleep": lambda seconds: None}
                young, old = (look_up(passed.bundle, other.client, minutes, **fast) for minutes in (0, 20))
        finally:
            other.down()
    assert young["result"] == "incomplete" and {one["class"] for one in young["findings"]} == {"too-young"}
    assert old["result"] == "tampered" and old["request_ids"]["found"] == 0
    assert {one["class"] for one in old["findings"]} == {"not-in-cloudtrail", "not-created"}


def test_D1_answers_are_kept_as_curl_prints_them(passed: harness.Smoke) -> None:
    assert re.search(r"^HTTP/1\.1 200 OK\r?$", passed.item("healthz.log"), re.MULTILINE)
    assert '{"ok":true}' in passed.item("healthz.log")
    assert f'"run":"{passed.run_id}"' in passed.item("dbcheck.log").replace(" ", "")
    assert re.search(r"^HTTP/1\.1 403 ", passed.item("no_header.log"), re.MULTILINE)


def test_K3_the_app_has_logged_each_probe_and_nothing_else_is_kept(passed: harness.Smoke) -> None:
    answered = "".join(passed.item(f"{name}.log") for name in ("healthz", "dbcheck"))
    ids = re.findall(r"^X-Request-Id: (\w+)\r?$", answered, re.MULTILINE | re.IGNORECASE)
    logged = [json.loads(line) for line in passed.item("app_json.log").splitlines()]
    requests = [line for line in logged if line["logger"] == "papyrus.request"]
    assert sorted(line["request_id"] for line in requests) == sorted(ids) and len(set(ids)) == len(ids) >= 2
    assert {line["path"] for line in requests} == {"/healthz", "/dbcheck"}
    assert {line["request_id"] for line in logged} == set(ids)


def test_E3_both_paths_wrote_and_the_server_calls_both_sessions_encrypted(passed: harness.Smoke) -> None:
    text = passed.item("papyrus_sku_check.log")
    assert "\nROWS: [('SKU-CLI','health',0), ('SKU-APP','health',0)]\n" in text
    task = json.loads(passed.item("ecs_task.json"))[0]
    marks = re.findall(r"^MARK: (\w+) task_arn=(\S+) image_digest=(\S+) marked_at=(\S+)$", text, re.MULTILINE)
    assert [mark[:3] for mark in marks] == [(path, task["task_arn"], task["image_digest"]) for path in ("app", "cli")]
    assert dict(re.findall(r"^TLS: (\w+) (TLSv1\.[23])$", text, re.MULTILINE)).keys() == {"cli", "app"}


def test_E1_the_write_from_inside_is_kept_with_its_recording(passed: harness.Smoke) -> None:
    text = passed.item("papyrus_psql_insert_cli.log")
    assert re.search(r"^INSERT 0 \d+$", text, re.MULTILINE)
    assert re.search(rf"^MARK: {passed.run_id} cli committed$", text, re.MULTILINE)
    frames = [json.loads(line) for line in passed.item("papyrus_psql_insert_cli.cast").splitlines()]
    assert frames[0]["version"] == 2
    assert "INSERT 0 " in "".join(data for dummy, kind, data in frames[1:] if kind == "o")


def test_E1_nothing_of_the_fresh_task_is_left(passed: harness.Smoke) -> None:
    ecs, arn = harness.client("ecs"), re.findall(r"^task: +(\S+)$", passed.item("fresh_login.log"), re.MULTILINE)[0]
    [task] = ecs.describe_tasks(cluster="papyrus-ecs-prd", tasks=[arn], include=["TAGS"])["tasks"]
    assert task["lastStatus"] == "STOPPED"
    assert {tag["key"]: tag["value"] for tag in task["tags"]}["papyrus:run-id"] == passed.run_id
    assert task["startedBy"] == f"papyrus/{passed.run_id}"


def test_C5_every_poll_of_the_target_health_is_kept(passed: harness.Smoke) -> None:
    polls = [json.loads(line) for line in passed.item("target_health.jsonl").splitlines()]
    assert polls[-1]["targets"][0]["state"] == "healthy"


def test_N2_the_answers_are_tied_to_the_digest_in_ecr(passed: harness.Smoke) -> None:
    kept = json.loads(passed.item("binding.json"))
    assert kept["status"] == "ok"
    assert [link["link"] for chain in kept["chains"] for link in chain["links"]] == [
        "registry", "revision", "container", "interface", "target", "answer"
    ]  # fmt: skip
    assert {answer["url"].partition("?")[0].rpartition("/")[2] for answer in kept["answers"]} == {"healthz", "dbcheck"}


def test_C7_nothing_of_the_run_is_left(passed: harness.Smoke) -> None:
    assert left_behind(passed.run_id) == []
    assert processes_of(passed.run_id) == []
    assert json.loads(passed.item("alb_sg_verify_gone.json"))["gone"] is True


def test_B2_the_password_is_in_no_output_and_no_file_of_the_bundle(passed: harness.Smoke) -> None:
    secret = database_password()
    assert secret not in passed.output
    assert [
        str(file) for file in passed.bundle.rglob("*") if file.is_file() and secret.encode() in file.read_bytes()
    ] == []


def test_N1_L1_two_runs_at_once_on_one_service_of_which_one_is_ansible_runners(
    passed: harness.Smoke, beside: Beside
) -> None:
    """They share nothing. A secret in the shell is in one artifact, ansible-runner's own record of its environment."""
    smoke, folder = beside.running.end(), beside.folder
    planted = known_secrets(beside.header.result())
    assert (smoke.exit_code, passed.exit_code) == (0, 0), smoke.output[-3000:] + passed.output[-3000:]
    assert {smoke.verdict["result"], passed.verdict["result"]} <= {"PASSED", "WARNED"}
    assert left_behind(smoke.run_id) + left_behind(passed.run_id) == []
    assert (artifact(folder, "rc"), artifact(folder, "status")) == ("0", "successful")
    [stats] = [event["event_data"] for event in events(folder) if event["event"] == "playbook_on_stats"]
    assert stats["failures"] == {} and stats["ok"]
    leaking = leaks(folder, planted | {"token": beside.token})
    assert [each.split(":")[0] for each in leaking] == [str(folder / "artifacts" / "job" / "command")]
    assert leaks(folder, planted) == []


@pytest.fixture(scope="module")
def added(passed: harness.Smoke, tmp_path_factory: pytest.TempPathFactory) -> tuple[harness.Smoke, harness.Smoke]:
    """The run that passed, and an addendum to it, made by audit_export.yml."""
    variables = {"papyrus_audit_of": str(passed.bundle)}
    return passed, RunningSmoke(tmp_path_factory.mktemp("addendum"), variables, (), EXPORT).end()


def verified(*bundles: Path) -> tuple[int, str]:
    """Exit code and words of scripts/verify."""
    key = harness.facts()["signing_public_key"]
    command = [str(harness.CHECKOUT / "scripts" / "verify"), *map(str, bundles), "--key", key]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return answer.returncode, answer.stdout + answer.stderr


def test_N4_an_addendum_has_the_runs_own_records_and_bears_it_out(added: tuple[harness.Smoke, harness.Smoke]) -> None:
    smoke, addendum = added
    assert addendum.exit_code == 0, addendum.output[-4000:]
    said = json.loads(addendum.item("addendum.json"))
    assert [row["status"] for row in said["rows"]] == ["ok", "ok"], said["rows"]
    assert said["request_ids"]["found"] == said["request_ids"]["asked"] > 50
    assert len(said["created"]) == 8 and all(one["deleted_at"] for one in said["created"])
    records = lines_of(addendum, "cloudtrail_run.jsonl.gz")
    own = {one for line in smoke.lines for one in line["meta"].get("request_ids", [])}
    assert own <= {record["requestID"] for record in records}
    suffix = smoke.run_id.rsplit("-", 1)[1]
    assert any(record["eventName"] == "CreateLoadBalancer" and suffix in json.dumps(record) for record in records)
    assert not [line for line in addendum.lines if line["name"].startswith("cloudtrail_24h")]


def test_N4_both_bundles_verify_together_and_another_first_one_is_found(
    added: tuple[harness.Smoke, harness.Smoke], tmp_path: Path
) -> None:
    smoke, addendum = added
    code, words = verified(smoke.bundle, addendum.bundle)
    assert code == 0 and f"addendum   to run {smoke.run_id}, the very bundle that is shown here" in words, words
    copy = tmp_path / smoke.run_id
    shutil.copytree(smoke.bundle, copy)
    (copy / "attestation.dsse.json").unlink()
    code, words = verified(copy, addendum.bundle)
    assert code == 2 and f"{copy} is not the bundle that it adds to: it has another attestation" in words, words


def test_N4_nothing_is_added_to_a_bundle_that_was_changed(
    added: tuple[harness.Smoke, harness.Smoke], tmp_path: Path
) -> None:
    smoke, dummy = added
    copy = tmp_path / smoke.run_id
    shutil.copytree(smoke.bundle, copy)
    changed = next(copy.glob("*_dbcheck.log"))
    changed.write_bytes(changed.read_bytes() + b" ")
    refused = RunningSmoke(tmp_path / "addendum", {"papyrus_audit_of": str(copy)}, (), EXPORT).end()
    assert refused.exit_code != 0
    assert refused.verdict["first_failure"]["step"] == "N4"
    assert "is not as it was sealed (tampered): invalid" in refused.verdict["first_failure"]["cause"]
    assert not (tmp_path / "addendum" / "cloudtrail").exists(), "nothing was asked of CloudTrail"


def trace_of(smoke: harness.Smoke) -> Path:
    return smoke.evidence_root.parent.parent / "trace.jsonl"


@pytest.mark.parametrize(
    "committed",
    sorted((harness.CHECKOUT / "tests" / "contract" / "traces").glob("*.jsonl")),
    ids=lambda path: path.stem,
)
def test_L3_the_local_aws_does_what_the_committed_traces_say(passed: harness.Smoke, committed: Path) -> None:
    """What was answered elsewhere is held against this run: members, types, codes, resources."""
    accepted = committed.with_suffix(".accepted")
    reference, here = trace_compare.load(committed), trace_compare.load(trace_of(passed))
    found = trace_compare.differences(reference, here)
    found.sure = trace_compare.without_accepted(found.sure, accepted if accepted.exists() else None)
    assert found.sure == [], f"{trace_of(passed)}\n{trace_compare.report(reference, here, found)}"


def test_L3_the_trace_has_the_run_and_no_value_of_it(passed: harness.Smoke) -> None:
    path, known = trace_of(passed), harness.facts()
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    schema = json.loads((harness.CHECKOUT / "docs" / "trace.schema.json").read_text("utf-8"))
    assert [line for line in lines if not Draft202012Validator(schema).is_valid(line)] == []
    assert path.stat().st_mode & 0o777 == 0o600 and str(path) in passed.output and lines[-1]["lost"] == 0
    assert {"terraform", "guard", "preflight_info", "run_close"} <= {line.get("who") for line in lines}
    assert {"load balancer", "target", "task", "deployment"} <= {line.get("of") for line in lines}
    task = json.loads(passed.item("ecs_task.json"))[0]
    outputs = json.loads(passed.item("terraform_outputs.json"))
    values = [database_password(), known["account_id"], known["region"], known["endpoint"].partition("//")[2]]
    values += [passed.run_id, passed.run_id[-6:], CLUSTER, SERVICE, SECRET, DATABASE, "arn:", "127.0."]
    values += [str(value) for value in [*task.values(), *outputs.values()] if isinstance(value, str) and "-" in value]
    text = path.read_text("utf-8")
    assert len(values) > 15 and [value for value in values if value in text] == []


def test_D2_the_state_of_the_temporary_alb_is_kept_without_the_runs_header(passed: harness.Smoke) -> None:
    state = json.loads(passed.item("terraform.tfstate"))
    assert "aws_lb" in {resource["type"] for resource in state["resources"]}
    assert "[redacted:" in passed.item("terraform.tfstate")


def test_J1_a_signing_key_that_is_not_there_is_refused_before_anything_exists(tmp_path: Path) -> None:
    smoke = run_smoke(tmp_path, {"papyrus_signer": {"type": "file", "private_key": str(tmp_path / "no.pem")}})
    assert smoke.exit_code not in (0, 4)
    assert f"Nothing was begun. There is no signing key {tmp_path}/no.pem" in smoke.output
    assert smoke.bundles == []
    assert not (tmp_path / "ledger").exists()


def test_check_mode_predicts_and_writes_nothing(tmp_path: Path) -> None:
    known, before = harness.facts(), harness.last_call()
    # Another access key, so that the requests of this run can be told from those of the others.
    environment = {
        "AWS_ENDPOINT_URL": known["endpoint"],
        "AWS_ACCESS_KEY_ID": "checkmode",
        "AWS_SECRET_ACCESS_KEY": known["secret_access_key"],
        "AWS_REGION": known["region"],
    }
    smoke = run_smoke(tmp_path, {"papyrus_aws_environment": environment}, "--check", "--diff")
    assert smoke.exit_code == 0, smoke.output[-4000:]
    recorded = [call for call in harness.calls(before) if call["access_key_id"] == "checkmode"]
    agents = " ".join(call["user_agent"] for call in recorded)
    assert "Terraform" in agents, "the requests of the run were not recognised"
    assert "amazon.aws" in agents
    assert [call["operation"] for call in recorded if not call["read_only"]] == []
    for words in ("aws_lb.this will be created", "aws_security_group_rule.tasks_from_alb[0] will be created", ":5000"):
        assert words in smoke.output, words
    for path in ("/healthz", "/dbcheck?run="):
        assert re.search(rf"left out in check mode.*{re.escape(path)}", smoke.output), path
    assert smoke.bundles == []


def test_the_playbook_is_the_same_from_inside_playbooks(tmp_path: Path) -> None:
    listed = subprocess.run(
        [str(harness.PLAYBOOK), "alb_smoke.yml", "--list-tasks"],
        cwd=harness.CHECKOUT / "playbooks",
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    named = subprocess.run(
        [str(harness.PLAYBOOK), "papyrus.ops.alb_smoke", "--list-tasks"],
        cwd=harness.CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert listed.count("TAGS") > 10
    assert listed.split("play #1")[1] == named.split("play #1")[1]


def test_a_second_service_is_proved_by_variables_alone(tmp_path: Path, services: Services) -> None:
    """inventories/tidewatch: nothing of Papyrus but cluster and network, no database, no Flask."""
    tidewatch.start(services)
    smoke = run_smoke(tmp_path, {}, "-i", "inventories/tidewatch")
    assert smoke.exit_code == 0, smoke.output[-4000:]
    assert smoke.verdict["result"] == "WARNED", "what cannot be asked without a database is allowed by name, and said"
    run = json.loads((smoke.bundle / "run.json").read_text("utf-8"))
    assert (run["inventory_host"], run["service"]) == ("tidewatch", tidewatch.SERVICE)
    assert run["names"]["load_balancer"].startswith("tide-smoke-")
    assert '"station": "north-pier"' in smoke.item("tide.log")
    assert json.loads(smoke.item("binding.json"))["status"] == "ok"
    assert left_behind(smoke.run_id) == []
