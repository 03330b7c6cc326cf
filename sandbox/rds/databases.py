"""Keeps a PostgreSQL server and its gate for each RDS instance, through AWS's states.

States: https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/accessing-monitoring.html#Overview.DBInstance.Status
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from sandbox import network
from sandbox.background import Background
from sandbox.behaviours import behaviour
from sandbox.emulator import request_scope, service
from sandbox.processes import StartError
from sandbox.rds.gate import Address, CallerFinder, Gate, environment_of
from sandbox.rds.postgres import SERVER_PORT, Configuration, DatabaseError, Server, base_folder, install_binaries
from sandbox.tls import Authority

if TYPE_CHECKING:
    from sandbox.runtime import Runtime

log = logging.getLogger("sandbox.databases")
Record = dict[str, Any]
WATCH_SECONDS = 0.5
# Between the end of a server that nobody asked to end and its restart. RDS: some seconds.
RECOVERY_SECONDS = 1.0
# Each state that AWS shows for minutes is visible for at least this long.
STATE_SECONDS = 0.3


class Database:
    """One instance. Its work runs on threads of its own, one piece after the other."""

    def __init__(self, databases: Databases, record: Record, scope: tuple[str, str]) -> None:
        self._databases = databases
        self._runtime = databases.runtime
        self.record = record
        self.scope = scope
        self.lock = threading.RLock()
        self.wanted = False
        self.server: Server | None = None
        self.gate: Gate | None = None

    @property
    def identifier(self) -> str:
        return str(self.record["DBInstanceIdentifier"])

    def run(self, work: Callable[[], None], failed: str = "failed") -> None:
        """Do `work` on a thread, in the account and region of the instance; `failed` is the status if it cannot be."""

        def body() -> None:
            with self.lock, request_scope(*self.scope):
                try:
                    work()
                except (DatabaseError, StartError, OSError) as error:
                    log.error("database %s: %s", self.identifier, error)
                    self.status(failed)
                    self._databases.event(self.record, f"The sandbox could not do this: {error}", "failure")

        threading.Thread(target=body, name=f"rds-{self.identifier}", daemon=True).start()

    def status(self, value: str) -> None:
        self.record["DBInstanceStatus"] = value
        self._runtime.changed()

    def bring_up(self) -> None:
        """Server first, then the gate: whoever is let in finds it ready."""
        server = self._server()
        self.record["_parameters"] = self._databases.group_values(self.record)
        self.record["_group"] = self.record["DBParameterGroups"][0]["DBParameterGroupName"]
        self.record["DBParameterGroups"][0]["ParameterApplyStatus"] = "in-sync"
        if not server.exists:
            server.create()
        address = self.record["Endpoint"]["Address"]
        credential = self._databases.authority.issue(self.identifier, [self._databases.name_of(self.record)], [address])
        server.start(self.configuration(), credential)
        if not server.has_master:
            name, password = self.record["MasterUsername"], self.record["_MasterUserPassword"]
            server.make_master(name, password, self.record.get("DBName") or None)
        self.wanted = True
        self._open_gate()

    def bring_down(self) -> None:
        self.wanted = False
        if self.gate is not None:
            self._databases.network.submit(self.gate.close()).result(timeout=10)
            self.gate = None
        if self.server is not None:
            self.server.stop()

    def recover(self) -> None:
        """Start again a server that ended without having been asked to."""
        a_killed_server_comes_back(self._recover)

    def _recover(self) -> None:
        with self.lock, request_scope(*self.scope):
            if not self.wanted or self.server is None or self.server.running:
                return
            time.sleep(RECOVERY_SECONDS)
            try:
                self.bring_up()
                self._databases.event(self.record, "DB instance restarted", "availability")
            except (DatabaseError, StartError, OSError) as error:
                log.error("database %s does not come back, will try again: %s", self.identifier, error)

    def configuration(self) -> Configuration:
        values: dict[str, str] = self.record["_parameters"]
        plain = {name: value for name, value in values.items() if name in self._databases.passed_on}
        force_ssl = values.get("rds.force_ssl", tls_is_forced_from_15(str(self.record["EngineVersion"]))) == "1"
        return Configuration(self.record["Endpoint"]["Address"], plaintext_is_refused(force_ssl), plain)

    def _server(self) -> Server:
        if self.server is None:
            base = base_folder(self._runtime.settings.state)
            binaries = install_binaries(base, self._runtime.settings.state)
            folder = base / "data" / str(self.record["DbiResourceId"])
            self.server = Server(self._runtime.processes, binaries, folder)
        return self.server

    def _open_gate(self) -> None:
        if self.gate is None:
            address, port = self.record["Endpoint"]["Address"], int(self.record["Endpoint"]["Port"])
            gate = Gate((address, port), (address, SERVER_PORT), self._judge)
            self._databases.network.submit(gate.open()).result(timeout=10)
            self.gate = gate

    def _judge(self, client: Address, own: Address) -> tuple[bool, str]:
        """A task is known by its network interface, everybody else by the address it comes from."""
        with request_scope(*self.scope):
            ec2 = service("ec2")
            source = tasks_are_known_by_their_interface(self._databases, client, own) or client[0]
            carried = network.groups_at(ec2._network_interfaces.values(), source) or []
            groups = [entry["VpcSecurityGroupId"] for entry in self.record["VpcSecurityGroups"]]
            admitted = security_groups_admit_clients(
                ec2._security_groups,
                network.Party(source, tuple(carried)),
                network.Party(own[0], tuple(groups)),
                own[1],
            )
        return admitted, source


class Databases:
    """All instances of the sandbox. `passed_on` names the parameters that PostgreSQL itself gets."""

    def __init__(self, runtime: Runtime, passed_on: frozenset[str]) -> None:
        self.runtime = runtime
        self.passed_on = passed_on
        self.authority = Authority(runtime.settings.ca_file.parent)
        self.network = Background("rds-gates")
        self._callers = CallerFinder()
        self._known: dict[tuple[str, str, str], Database] = {}
        self._ended = threading.Event()

    def of(self, record: Record) -> Database:
        """The database of an instance record in the current request scope's account and region."""
        _, _, _, region, account, _ = str(record["DBInstanceArn"]).split(":", 5)
        key = (account, region, str(record["DBInstanceIdentifier"]))
        if key not in self._known or self._known[key].record is not record:
            self._known[key] = Database(self, record, (account, region))
        return self._known[key]

    def forget(self, database: Database) -> None:
        self._known.pop((*database.scope, database.identifier), None)

    def keep(self, database: Database) -> None:
        """Know a database by the identifier that its record has now."""
        self._known[(*database.scope, database.identifier)] = database

    def all(self) -> list[Database]:
        return list(self._known.values())

    def start_watching(self) -> None:
        # The certificate is a fact of the sandbox, also before there is a database.
        self.authority.certificate_file.touch()
        threading.Thread(target=self._watch, name="rds-watch", daemon=True).start()

    def close(self) -> None:
        """Stop every server, all at the same time."""
        self._ended.set()
        threads = [threading.Thread(target=self._close_one, args=(database,)) for database in self.all()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=15)
        self.network.close()

    def event(self, record: Record, message: str, category: str) -> None:
        """What DescribeEvents shows."""
        log.info("database %s: %s", record["DBInstanceIdentifier"], message)
        what_happens_is_an_event(record, message, category)
        self.runtime.changed()

    def group_values(self, record: Record) -> dict[str, str]:
        """Values that the instance's parameter group sets, by name."""
        group = service("rds")._param_groups.get(record["DBParameterGroups"][0]["DBParameterGroupName"]) or {}
        return {name: str(entry["ParameterValue"]) for name, entry in (group.get("Parameters") or {}).items()}

    def name_of(self, record: Record) -> str:
        """The DNS name that the endpoint would have on AWS; it is in the certificate, though it resolves nowhere."""
        _, _, _, region, _, _ = str(record["DBInstanceArn"]).split(":", 5)
        return (
            f"{record['DBInstanceIdentifier']}.{str(record['DbiResourceId']).lower()[3:15]}.{region}.rds.amazonaws.com"
        )

    def task_address(self, client: Address, own: Address) -> str | None:
        """Private address of the task that a connection comes from: its processes carry it in their environment."""
        pid = self._callers.find(client, own)
        owner = self.runtime.processes.owner(pid) if pid is not None else None
        return environment_of(owner.init, "SANDBOX_TASK_IP") if owner is not None else None

    def _watch(self) -> None:
        while not self._ended.wait(WATCH_SECONDS):
            for database in self.all():
                if database.wanted and database.server is not None and not database.server.running:
                    database.recover()

    def _close_one(self, database: Database) -> None:
        with database.lock:
            database.wanted = False
            if database.server is not None:
                database.server.stop(timeout=5)


@behaviour("rds")
def a_killed_server_comes_back(restart: Callable[[], None]) -> None:
    """A database server that dies is started again, with its data, and an event says so.

    https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_Events.Messages.html (RDS-EVENT-0006)
    """
    restart()


@behaviour("rds", otherwise=lambda version: "0")
def tls_is_forced_from_15(version: str) -> str:
    """rds.force_ssl is on by default from PostgreSQL 15, and off before.

    https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/PostgreSQL.Concepts.General.SSL.html
    """
    major = version.partition(".")[0]
    return "1" if major.isdigit() and int(major) >= 15 else "0"


@behaviour("rds", otherwise=lambda forced: False)
def plaintext_is_refused(forced: bool) -> bool:
    """With rds.force_ssl the server refuses connections without TLS.

    https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/PostgreSQL.Concepts.General.SSL.html
    """
    return forced


@behaviour("rds")
def tasks_are_known_by_their_interface(databases: Databases, client: Address, own: Address) -> str | None:
    """A task's connection counts as from its network interface, and so by that one's security groups.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-networking-awsvpc.html
    """
    return databases.task_address(client, own)


@behaviour("rds", otherwise=lambda *_: True)
def security_groups_admit_clients(
    held: Mapping[str, Any], client: network.Party, own: network.Party, port: int
) -> bool:
    """Who no rule of the security groups admits gets no answer from a database.

    https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/Overview.RDSSecurityGroups.html
    """
    return network.connects(held, client, own, port)


@behaviour("rds")
def what_happens_is_an_event(record: Record, message: str, category: str) -> None:
    """What happens to an instance is an event of it, with its category and time, for DescribeEvents.

    https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_Events.html
    """
    rds = service("rds")
    with rds._shared_container_lock:
        rds._events[rds.new_uuid()] = {
            "SourceIdentifier": record["DBInstanceIdentifier"],
            "SourceType": "db-instance",
            "SourceArn": record["DBInstanceArn"],
            "Message": message,
            "Date": time.time(),
            "EventCategories": [category],
        }
