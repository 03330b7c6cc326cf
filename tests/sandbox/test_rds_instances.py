"""RDS instances of the sandbox: a real server with TLS, its parameters, states, events, and who may reach it."""

from __future__ import annotations

import os
import signal
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.sandbox.rds_support import Instance, create
from tests.sandbox.support import Network, Sandbox, children_of_state, execution_role, refused, until

GROUP = "papyrus-pg16"
PLACES = {"DBSubnetGroupName": "papyrus", "DBParameterGroupName": GROUP}
# Answers with what a database says to a request for TLS (RFC-less: PostgreSQL protocol, SSLRequest), or with the error.
CALLER = """
import http.server, json, os, socket
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            with socket.create_connection((os.environ["DB_HOST"], 5432), timeout=2) as s:
                s.sendall(bytes.fromhex("0000000804d2162f"))
                said = s.recv(1).decode()
        except OSError as error:
            said = type(error).__name__
        self.send_response(200); self.end_headers(); self.wfile.write(said.encode())
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer(("0.0.0.0", 5000), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def groups(sandbox: Sandbox, network: Network) -> Iterator[str]:
    rds, ec2 = sandbox.client("rds"), sandbox.client("ec2")
    rds.create_db_subnet_group(DBSubnetGroupName="papyrus", DBSubnetGroupDescription="x", SubnetIds=network.subnets)
    rds.create_db_parameter_group(DBParameterGroupName=GROUP, DBParameterGroupFamily="postgres16", Description="x")
    group = ec2.create_security_group(GroupName="db", Description="db", VpcId=network.vpc)["GroupId"]
    yield group


@pytest.fixture(scope="module")
def database(sandbox: Sandbox, groups: str) -> Iterator[Instance]:
    made = create(sandbox, "main-db", groups, DBName="app", **PLACES)
    assert made["DBInstanceStatus"] == "creating"
    assert "Endpoint" not in made
    instance = Instance(sandbox, "main-db", groups, "first-secret", GROUP)
    assert instance.wait_for("available")[0] == "creating"
    instance.address = instance.describe()["Endpoint"]["Address"]
    instance.allow()
    yield instance


def test_verify_full_passes_by_address_and_by_the_name_it_would_have(database: Instance) -> None:
    assert database.login() == ("app", "127.0.0.1/32")
    resource = database.describe()["DbiResourceId"].lower()
    name = f"main-db.{resource[3:15]}.us-west-2.rds.amazonaws.com"
    assert database.login(host=name, hostaddr=database.address)[0] == "app"


def test_a_name_that_is_not_in_the_certificate_is_refused(database: Instance) -> None:
    with pytest.raises(psycopg.OperationalError, match="server certificate"):
        database.login(host="localhost", hostaddr=database.address)


def test_the_key_of_the_authority_is_nobody_elses(database: Instance) -> None:
    key = Path(database.sandbox.facts["ca_file"]).with_name("ca.key")
    assert key.stat().st_mode & 0o777 == 0o600


def test_the_server_runs_as_an_ordinary_user(database: Instance) -> None:
    assert os.stat(f"/proc/{postmaster(database)}").st_uid != 0


def postmaster(database: Instance) -> int:
    resource = database.describe()["DbiResourceId"].encode()
    for pid in children_of_state(database.sandbox.root / ".sandbox" / "state"):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if words[0].endswith(b"/bin/postgres") and words[2].endswith(resource):
            return pid
    raise AssertionError("no postmaster found")


def test_the_master_makes_databases_and_roles_but_is_no_superuser(database: Instance) -> None:
    with psycopg.connect(
        host=database.address, user="papyrus", password=database.password, dbname="postgres", autocommit=True
    ) as connection:
        connection.execute("CREATE DATABASE made")
        connection.execute("CREATE ROLE app_role LOGIN PASSWORD 'x'")
        connection.execute("GRANT ALL ON DATABASE made TO app_role")
        row = connection.execute("SELECT rolsuper, rolcreatedb FROM pg_roles WHERE rolname = 'papyrus'").fetchone()
        assert row == (False, True)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("ALTER SYSTEM SET work_mem = '1MB'")


@pytest.mark.behaviour(
    "rds.plaintext_is_refused", "rds.tls_is_forced_from_15", "rds.dynamic_parameters_take_effect_at_once"
)
def test_force_ssl_is_enforced_and_changes_at_once(database: Instance) -> None:
    assert not database.accepts_plaintext(), "on by default from PostgreSQL 15"
    database.force_ssl("0")
    until(database.accepts_plaintext, "plaintext is let in", 5)
    shown = database.sandbox.client("rds").describe_db_parameters(DBParameterGroupName=GROUP, Source="user")
    parameter = shown["Parameters"][0]
    assert (parameter["ParameterName"], parameter["ParameterValue"]) == ("rds.force_ssl", "0")
    assert (parameter["ApplyType"], parameter["IsModifiable"], parameter["Source"]) == ("dynamic", True, "user")
    database.force_ssl("1")
    until(lambda: not database.accepts_plaintext(), "plaintext is refused", 5)


@pytest.mark.behaviour("rds.the_others_wait_for_a_reboot", "rds.a_reboot_restarts_the_server")
def test_a_change_for_the_next_reboot_waits_for_it(database: Instance) -> None:
    database.force_ssl("0", "pending-reboot")
    assert database.describe()["DBParameterGroups"][0]["ParameterApplyStatus"] == "pending-reboot"
    assert not database.accepts_plaintext()
    before = time.time()
    database.sandbox.client("rds").reboot_db_instance(DBInstanceIdentifier=database.name)
    assert database.wait_for("available")[0] == "rebooting"
    assert database.describe()["DBParameterGroups"][0]["ParameterApplyStatus"] == "in-sync"
    assert database.accepts_plaintext()
    events = database.sandbox.client("rds").describe_events(SourceIdentifier=database.name, SourceType="db-instance")
    restarts = [event["Date"] for event in events["Events"] if event["Message"] == "DB instance restarted"]
    assert restarts and restarts[-1].timestamp() >= before - 1
    database.force_ssl("1")


@pytest.mark.behaviour("rds.another_group_waits_for_a_reboot", "rds.a_parameter_group_in_use_stays")
def test_another_parameter_group_takes_effect_with_a_reboot(database: Instance) -> None:
    rds = database.sandbox.client("rds")
    rds.modify_db_instance(DBInstanceIdentifier=database.name, DBParameterGroupName="default.postgres16")
    shown = database.describe()["DBParameterGroups"][0]
    assert (shown["DBParameterGroupName"], shown["ParameterApplyStatus"]) == ("default.postgres16", "pending-reboot")
    with refused("InvalidDBParameterGroupState"):
        rds.delete_db_parameter_group(DBParameterGroupName=GROUP)
    rds.modify_db_instance(DBInstanceIdentifier=database.name, DBParameterGroupName=GROUP)
    rds.reboot_db_instance(DBInstanceIdentifier=database.name)
    database.wait_for("available")
    assert database.describe()["DBParameterGroups"][0]["ParameterApplyStatus"] == "in-sync"


@pytest.mark.parametrize(
    ("parameter", "code"),
    [
        ({"ParameterName": "nobody_knows", "ParameterValue": "1", "ApplyMethod": "immediate"}, "InvalidParameterValue"),
        (
            {"ParameterName": "rds.force_ssl", "ParameterValue": "on", "ApplyMethod": "immediate"},
            "InvalidParameterValue",
        ),
        (
            {"ParameterName": "max_connections", "ParameterValue": "50", "ApplyMethod": "immediate"},
            "InvalidParameterCombination",
        ),
    ],
)
def test_parameters_that_cannot_be_are_refused(
    sandbox: Sandbox, groups: str, parameter: dict[str, str], code: str
) -> None:
    with refused(code):
        sandbox.client("rds").modify_db_parameter_group(DBParameterGroupName=GROUP, Parameters=[parameter])


@pytest.mark.behaviour("rds.default_groups_exist")
def test_the_default_groups_exist(sandbox: Sandbox) -> None:
    rds = sandbox.client("rds")
    groups = rds.describe_db_parameter_groups()["DBParameterGroups"]
    families = {one["DBParameterGroupName"]: one["DBParameterGroupFamily"] for one in groups}
    assert families.get("default.postgres14") == "postgres14"
    found = rds.describe_db_parameters(DBParameterGroupName="default.postgres14")["Parameters"]
    values = {one["ParameterName"]: one.get("ParameterValue") for one in found}
    assert values["rds.force_ssl"] == "0", "off by default before PostgreSQL 15"


@pytest.mark.behaviour("rds.a_new_password_counts")
def test_a_new_master_password_replaces_the_old_one(database: Instance) -> None:
    rds = database.sandbox.client("rds")
    rds.modify_db_instance(DBInstanceIdentifier=database.name, MasterUserPassword="second-secret")
    database.wait_for("available")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        database.login()
    database.password = "second-secret"
    assert database.login()[0] == "app"
    with refused("InvalidParameterValue"):
        rds.modify_db_instance(DBInstanceIdentifier=database.name, MasterUserPassword="short")


@pytest.mark.behaviour("rds.stopped_is_out_of_reach")
def test_stopped_is_out_of_reach_and_started_has_its_data(database: Instance) -> None:
    rds = database.sandbox.client("rds")
    with psycopg.connect(
        host=database.address, user="papyrus", password=database.password, dbname="app", autocommit=True
    ) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    rds.stop_db_instance(DBInstanceIdentifier=database.name)
    assert database.wait_for("stopped")[0] == "stopping"
    with pytest.raises(psycopg.OperationalError):
        database.login()
    with refused("InvalidDBInstanceState"):
        rds.stop_db_instance(DBInstanceIdentifier=database.name)
    # Its answer, not what is seen afterwards: a quick machine has started it by then.
    started = rds.start_db_instance(DBInstanceIdentifier=database.name)["DBInstance"]
    assert started["DBInstanceStatus"] == "starting"
    database.wait_for("available")
    with psycopg.connect(host=database.address, user="papyrus", password=database.password, dbname="app") as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)


@pytest.mark.behaviour("rds.a_killed_server_comes_back")
def test_a_killed_server_comes_back(database: Instance) -> None:
    os.kill(postmaster(database), signal.SIGKILL)
    with pytest.raises(psycopg.OperationalError):
        database.login()

    def back() -> bool:
        try:
            return database.login()[0] == "app"
        except psycopg.OperationalError:
            return False

    until(back, "the server is started again", 10)


@pytest.mark.behaviour("rds.security_groups_admit_clients")
def test_without_a_rule_a_caller_from_outside_times_out(database: Instance) -> None:
    database.allow(False)
    started = time.monotonic()
    with pytest.raises(psycopg.OperationalError, match="timeout"):
        database.login(connect_timeout=2)
    assert time.monotonic() - started >= 1.9
    database.allow()
    assert database.login()[0] == "app"


def test_many_connections_leave_nothing_behind(database: Instance) -> None:
    server = int(database.sandbox.facts["pid"])

    def held() -> tuple[int, int]:
        return len(list(Path(f"/proc/{server}/task").iterdir())), len(list(Path(f"/proc/{server}/fd").iterdir()))

    database.login(sslmode="require")
    before = held()
    for _ in range(40):
        database.login(sslmode="require")
    threads, files = until(lambda: held() if held()[1] <= before[1] + 4 else None, "sockets are closed", 5)
    assert threads <= before[0] + 2


@pytest.mark.behaviour("rds.tasks_are_known_by_their_interface")
def test_a_task_is_let_in_by_its_security_group(sandbox: Sandbox, network: Network, database: Instance) -> None:
    ecs, ec2 = sandbox.client("ecs"), sandbox.client("ec2")
    sandbox.client("ecr").create_repository(repositoryName="caller")
    image = sandbox.push("caller", "t", {"app/x.py": CALLER}, ["python", "x.py"])
    ecs.create_cluster(clusterName="callers")
    definition = ecs.register_task_definition(
        family="caller",
        networkMode="awsvpc",
        requiresCompatibilities=["FARGATE"],
        cpu="256",
        memory="512",
        executionRoleArn=execution_role(sandbox),
        containerDefinitions=[
            {"name": "app", "image": image, "environment": [{"name": "DB_HOST", "value": database.address}]}
        ],
    )["taskDefinition"]["taskDefinitionArn"]
    task = ecs.run_task(
        cluster="callers", taskDefinition=definition, launchType="FARGATE", networkConfiguration=network.configuration
    )["tasks"][0]["taskArn"]

    def address() -> str | None:
        found = ecs.describe_tasks(cluster="callers", tasks=[task])["tasks"][0]
        details = {d["name"]: d["value"] for a in found.get("attachments", []) for d in a["details"]}
        return details.get("privateIPv4Address") if found["lastStatus"] == "RUNNING" else None

    url = f"http://{until(address, 'task runs')}:5000/"

    def said() -> str:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return str(answer.read().decode())

    def listening() -> str | None:
        try:
            return said()
        except OSError:
            return None

    # The runner's own address is admitted, the task comes from its network interface all the same.
    assert until(listening, "task answers") == "TimeoutError"
    rule = {"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432, "UserIdGroupPairs": [{"GroupId": network.group}]}
    ec2.authorize_security_group_ingress(GroupId=database.group, IpPermissions=[rule])
    assert said() == "S", "the server offers TLS"
    ec2.revoke_security_group_ingress(GroupId=database.group, IpPermissions=[rule])
    assert said() == "TimeoutError"
    ecs.stop_task(cluster="callers", task=task)


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"MasterUserPassword": "short"}, "InvalidParameterValue"),
        ({"MasterUserPassword": "with/slash-in-it"}, "InvalidParameterValue"),
        ({"MasterUsername": "rdsadmin"}, "InvalidParameterValue"),
        ({"Engine": "oracle-ee"}, "InvalidParameterValue"),
    ],
)
def test_instances_that_cannot_be_are_refused(sandbox: Sandbox, groups: str, more: dict[str, Any], code: str) -> None:
    with refused(code):
        create(sandbox, "refused", groups, **{**PLACES, **more})
    with refused("DBInstanceNotFound", status=404):
        sandbox.client("rds").describe_db_instances(DBInstanceIdentifier="refused")


@pytest.mark.behaviour(
    "rds.instance_has_an_interface", "rds.a_subnet_group_in_use_stays", "rds.the_last_snapshot_is_named_or_skipped"
)
def test_a_deleted_instance_takes_its_process_interface_and_data_along(
    sandbox: Sandbox, groups: str, database: Instance
) -> None:
    rds, ec2 = sandbox.client("rds"), sandbox.client("ec2")
    create(sandbox, "short-lived", groups, **PLACES)
    short = Instance(sandbox, "short-lived", groups, "first-secret", GROUP)
    short.wait_for("available")
    address = short.describe()["Endpoint"]["Address"]
    look = [{"Name": "private-ip-address", "Values": [address]}]
    interfaces = ec2.describe_network_interfaces(Filters=look)["NetworkInterfaces"]
    assert [one["Description"] for one in interfaces] == ["RDSNetworkInterface"]
    with refused("InvalidParameterCombination"):
        rds.delete_db_instance(DBInstanceIdentifier="short-lived")
    with refused("InvalidDBSubnetGroupStateFault"):
        rds.delete_db_subnet_group(DBSubnetGroupName="papyrus")
    data = sandbox.root / ".sandbox" / "state" / "postgres" / "data" / short.describe()["DbiResourceId"]
    assert data.is_dir()
    deleted = rds.delete_db_instance(DBInstanceIdentifier="short-lived", FinalDBSnapshotIdentifier="short-final")
    assert deleted["DBInstance"]["DBInstanceStatus"] == "deleting"
    rds.get_waiter("db_instance_deleted").wait(DBInstanceIdentifier="short-lived", WaiterConfig={"Delay": 1})
    assert ec2.describe_network_interfaces(Filters=look)["NetworkInterfaces"] == []
    assert not data.exists()
    assert database.login()[0] == "app"
    snapshot = rds.describe_db_snapshots(DBSnapshotIdentifier="short-final")["DBSnapshots"][0]
    assert (snapshot["DBInstanceIdentifier"], snapshot["Status"]) == ("short-lived", "available")
    rds.delete_db_snapshot(DBSnapshotIdentifier="short-final")
