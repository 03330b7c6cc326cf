"""What the tests of RDS share: an instance as its owner sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg

from tests.sandbox.support import Sandbox, until


@dataclass
class Instance:
    sandbox: Sandbox
    name: str
    group: str
    password: str
    parameters: str
    address: str = ""

    def describe(self) -> dict[str, Any]:
        found = self.sandbox.client("rds").describe_db_instances(DBInstanceIdentifier=self.name)["DBInstances"][0]
        described: dict[str, Any] = found
        return described

    def wait_for(self, status: str) -> list[str]:
        """Every status seen on the way."""
        seen: list[str] = []

        def look() -> bool:
            seen.append(self.describe()["DBInstanceStatus"])
            return seen[-1] == status

        until(look, f"{self.name} {status}", 90)
        return list(dict.fromkeys(seen))

    def login(self, **more: Any) -> tuple[Any, ...]:
        settings = {
            "host": self.address,
            "user": "papyrus",
            "password": self.password,
            "dbname": "app",
            "sslmode": "verify-full",
            "sslrootcert": self.sandbox.facts["ca_file"],
            "connect_timeout": 5,
            **more,
        }
        with psycopg.connect(**settings) as connection:
            row = connection.execute("SELECT current_database(), inet_client_addr()::text").fetchone()
        assert row is not None
        return tuple(row)

    def allow(self, allowed: bool = True) -> None:
        ec2 = self.sandbox.client("ec2")
        call = ec2.authorize_security_group_ingress if allowed else ec2.revoke_security_group_ingress
        rule = {"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432, "IpRanges": [{"CidrIp": "127.0.0.1/32"}]}
        call(GroupId=self.group, IpPermissions=[rule])

    def force_ssl(self, value: str, method: str = "immediate") -> None:
        self.sandbox.client("rds").modify_db_parameter_group(
            DBParameterGroupName=self.parameters,
            Parameters=[{"ParameterName": "rds.force_ssl", "ParameterValue": value, "ApplyMethod": method}],
        )

    def accepts_plaintext(self) -> bool:
        try:
            self.login(sslmode="disable")
        except psycopg.OperationalError as error:
            assert "no encryption" in str(error)
            return False
        return True


def create(sandbox: Sandbox, name: str, group: str, **more: Any) -> dict[str, Any]:
    """Create an instance; `more` has its groups' names and whatever differs from these settings."""
    settings = {
        "Engine": "postgres",
        "EngineVersion": "16",
        "DBInstanceClass": "db.t4g.micro",
        "AllocatedStorage": 20,
        "MasterUsername": "papyrus",
        "MasterUserPassword": "first-secret",
        "VpcSecurityGroupIds": [group],
        **more,
    }
    made: dict[str, Any] = sandbox.client("rds").create_db_instance(DBInstanceIdentifier=name, **settings)["DBInstance"]
    return made
