"""Soak: kill -9 whatever the local AWS runs, and itself, at random; it comes back whole, and nothing is left over.

A failure names the seed: PAPYRUS_SOAK_SEED=<seed> kills the same kinds in the same order again.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.sandbox.support import SERVER, Sandbox, children_of_state, execution_role, make_network, open_folder, until

ROUNDS = int(os.environ.get("PAPYRUS_SOAK_ROUNDS", "50"))
SEED = int(os.environ.get("PAPYRUS_SOAK_SEED") or time.time_ns() % 1_000_000)
# Longer than what the sandbox saves after a change of its state.
SAVED_SECONDS = 4.0
CHECK = "import time, urllib.request; time.sleep(0.7); urllib.request.urlopen('http://127.0.0.1:5000', timeout=2)"

pytestmark = pytest.mark.soak


class Stand:
    """A sandbox with one service (with a health check), one database with one table, one secret."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.state = sandbox.root / ".sandbox" / "state"
        self.written = 0
        network = make_network(sandbox)
        self._make_database(network.subnets, network.vpc)
        self._make_service(network.configuration)
        sandbox.client("secretsmanager").create_secret(Name="kept", SecretString="value")
        self.database()
        with self._login() as connection:
            connection.execute("CREATE TABLE kept (n integer PRIMARY KEY)")
        self.service()
        time.sleep(SAVED_SECONDS)

    def _make_service(self, configuration: dict[str, Any]) -> None:
        ecs = self.sandbox.client("ecs")
        ecs.create_cluster(clusterName="c")
        self.sandbox.client("ecr").create_repository(repositoryName="rr")
        image = self.sandbox.push("rr", "t", {"app/x.py": f"NAME = 'x'\n{SERVER}"}, ["python", "x.py"])
        check = {"command": ["CMD", "python", "-c", CHECK], "interval": 5, "retries": 10}
        ecs.register_task_definition(
            family="f",
            networkMode="awsvpc",
            requiresCompatibilities=["FARGATE"],
            cpu="256",
            memory="512",
            executionRoleArn=execution_role(self.sandbox),
            containerDefinitions=[{"name": "app", "image": image, "healthCheck": check}],
        )
        ecs.create_service(
            cluster="c",
            serviceName="s",
            taskDefinition="f",
            desiredCount=1,
            launchType="FARGATE",
            networkConfiguration=configuration,
        )

    def _make_database(self, subnets: list[str], vpc: str) -> None:
        rds, ec2 = self.sandbox.client("rds"), self.sandbox.client("ec2")
        rds.create_db_subnet_group(DBSubnetGroupName="g", DBSubnetGroupDescription="x", SubnetIds=subnets)
        group = ec2.create_security_group(GroupName="db", Description="db", VpcId=vpc)["GroupId"]
        rule = {"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432, "IpRanges": [{"CidrIp": "127.0.0.1/32"}]}
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])
        self.group = group
        self.create_database("d")

    def create_database(self, name: str) -> None:
        self.sandbox.client("rds").create_db_instance(
            DBInstanceIdentifier=name,
            Engine="postgres",
            EngineVersion="16",
            DBInstanceClass="db.t4g.micro",
            AllocatedStorage=20,
            MasterUsername="papyrus",
            MasterUserPassword="first-secret",
            DBName="app",
            DBSubnetGroupName="g",
            VpcSecurityGroupIds=[self.group],
        )

    # What has to be there after each kill

    def database(self, name: str = "d") -> None:
        until(lambda: self._answers(name), f"a database {name} that answers", 60)

    def _answers(self, name: str) -> bool:
        try:
            with self._login(name) as connection:
                return connection.execute("SELECT 1").fetchone() == (1,)
        except (psycopg.Error, KeyError):
            return False

    def _login(self, name: str = "d") -> psycopg.Connection[tuple[Any, ...]]:
        instance = self.sandbox.client("rds").describe_db_instances(DBInstanceIdentifier=name)["DBInstances"][0]
        return psycopg.connect(
            host=instance["Endpoint"]["Address"],
            user="papyrus",
            password="first-secret",
            dbname="app",
            sslmode="verify-full",
            sslrootcert=self.sandbox.facts["ca_file"],
            connect_timeout=5,
        )

    def write(self) -> None:
        with self._login() as connection:
            connection.execute("INSERT INTO kept VALUES (%s)", (self.written,))
        self.written += 1

    def rows(self) -> list[int]:
        with self._login() as connection:
            return [n for (n,) in connection.execute("SELECT n FROM kept ORDER BY n")]

    def service(self) -> str:
        """Address of the one task, once it alone is RUNNING and answers."""
        return until(self._running, "one running task that answers", 60)

    def _running(self) -> str:
        ecs = self.sandbox.client("ecs")
        arns = ecs.list_tasks(cluster="c", serviceName="s")["taskArns"]
        tasks = ecs.describe_tasks(cluster="c", tasks=arns)["tasks"] if arns else []
        if [task["lastStatus"] for task in tasks] != ["RUNNING"]:
            return ""
        details = {d["name"]: d["value"] for d in tasks[0]["attachments"][0]["details"]}
        address = str(details["privateIPv4Address"])
        try:
            with urllib.request.urlopen(f"http://{address}:5000", timeout=2) as answer:
                return address if json.load(answer)["name"] == "x" else ""
        except OSError:
            return ""

    def interfaces(self) -> list[str]:
        """Addresses of all network interfaces but the database's."""
        instances = self.sandbox.client("rds").describe_db_instances()["DBInstances"]
        databases = {instance["Endpoint"]["Address"] for instance in instances if "Endpoint" in instance}
        found = self.sandbox.client("ec2").describe_network_interfaces()["NetworkInterfaces"]
        return [address for interface in found if (address := interface["PrivateIpAddress"]) not in databases]

    def said(self) -> str:
        """The end of the sandbox's log and of its databases'."""
        logs = [self.sandbox.root / ".sandbox" / "sandbox.log", *self.state.glob("postgres/data/*.log")]
        return "\n".join(line for log in logs for line in log.read_text(errors="replace").splitlines()[-25:])

    # What may be killed

    def processes(self, mark: bytes) -> list[int]:
        """Programs below the supervisor whose command line holds `mark`, without the inits above them."""
        found = []
        for pid in below(int(self.sandbox.facts["pid"])):
            command = command_line(pid)
            if mark in command and b"task_init.py" not in command:
                found.append(pid)
        return found

    def inits(self, mark: bytes) -> list[int]:
        return [
            pid
            for pid in below(int(self.sandbox.facts["pid"]))
            if b"task_init.py" in command_line(pid) and mark in command_line(pid)
        ]

    def health_checks(self) -> list[int]:
        return until(lambda: self.processes(b"time.sleep(0.7)"), "a health check under way", 30)

    def strangers(self) -> list[int]:
        """Processes of this sandbox's state that are not below its supervisor: orphans."""
        supervisor = int(self.sandbox.facts["pid"])
        return [pid for pid in children_of_state(self.state) if pid not in {supervisor, *below(supervisor)}]


def below(root: int) -> set[int]:
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "stat").read_text(errors="replace")
            except OSError:
                continue
            parents[int(entry.name)] = int(text.rpartition(")")[2].split()[1])
    found: set[int] = set()
    for pid in parents:
        chain = [pid]
        while (parent := parents.get(chain[-1], 0)) > 1 and parent != root:
            chain.append(parent)
        if parent == root:
            found.update(chain)
    return found


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.fixture(scope="module")
def stand() -> Iterator[Stand]:
    with open_folder() as root:
        sandbox = Sandbox(root)
        try:
            yield Stand(sandbox.up())
        finally:
            sandbox.down()
            assert children_of_state(root / ".sandbox" / "state") == []


VICTIMS: dict[str, Callable[[Stand], list[int]]] = {
    "task": lambda stand: stand.processes(b"x.py"),
    "init of the task": lambda stand: stand.inits(b"x.py"),
    "PostgreSQL": lambda stand: stand.processes(b"/bin/postgres"),
    "part of PostgreSQL": lambda stand: stand.processes(b"postgres: "),
    "init of PostgreSQL": lambda stand: stand.inits(b"/bin/postgres"),
    "health check": Stand.health_checks,
    "supervisor": lambda stand: [int(stand.sandbox.facts["pid"])],
}


def test_whatever_is_killed_comes_back_and_leaves_nothing(stand: Stand) -> None:
    chance = random.Random(SEED)
    kinds = [kind for _ in range(-(-ROUNDS // len(VICTIMS))) for kind in chance.sample(list(VICTIMS), len(VICTIMS))]
    killed: Counter[str] = Counter()
    for number, kind in enumerate(kinds[:ROUNDS]):
        stand.write()
        found = VICTIMS[kind](stand)
        assert found, f"seed {SEED}, round {number}: there is no {kind} to kill"
        os.kill(chance.choice(found), signal.SIGKILL)
        killed[kind] += 1
        if kind != "supervisor" and chance.random() < 0.2:
            # Both at once: what was hurt a moment ago is found by a sandbox that knows nothing of it.
            os.kill(int(stand.sandbox.facts["pid"]), signal.SIGKILL)
            killed["supervisor, too"] += 1
        try:
            stand.sandbox.up()
            stand.service()
            stand.database()
            assert stand.rows() == list(range(stand.written))
            secret = stand.sandbox.client("secretsmanager").get_secret_value(SecretId="kept")
            assert secret["SecretString"] == "value"
            until(lambda: not stand.strangers(), "no orphan", 10)
            until(lambda: stand.interfaces() == [stand.service()], "the interface of the running task alone", 30)
            assert len(stand.inits(b"/bin/postgres")) == 1
            assert len(stand.inits(b"x.py")) == 1
        except AssertionError as error:
            where = f"seed {SEED}, round {number}, after kill -9 of {kind} (in all: {dict(killed)})"
            raise AssertionError(f"{where}: {error}\n{stand.said()}") from error
    print(f"seed {SEED}, killed: {dict(killed)}")


@pytest.mark.parametrize("seconds", [0.3, 0.8, 1.3, 1.8, 2.5, 3.5])
def test_a_database_whose_making_was_cut_off_is_made_or_was_never_there(stand: Stand, seconds: float) -> None:
    rds = stand.sandbox.client("rds")
    # A name of its own: the last save before the kill may hold the end of the instance before.
    name = f"cut-{round(seconds * 10)}"
    stand.create_database(name)
    time.sleep(seconds)
    os.kill(int(stand.sandbox.facts["pid"]), signal.SIGKILL)
    stand.sandbox.up()
    # What the last save before the kill did not hold is unknown, as if it had not been asked for.
    if not [
        instance for instance in rds.describe_db_instances()["DBInstances"] if instance["DBInstanceIdentifier"] == name
    ]:
        stand.create_database(name)
    stand.database(name)
    rds.delete_db_instance(DBInstanceIdentifier=name, SkipFinalSnapshot=True)
    until(lambda: len(rds.describe_db_instances()["DBInstances"]) == 1, "the end of it")
