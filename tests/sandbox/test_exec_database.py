"""A command of ECS Exec is its task to a database: the task's security groups admit it, nothing else does."""

from __future__ import annotations

import pytest

from tests.sandbox.ecs_stand import Stand
from tests.sandbox.exec_client import run, started
from tests.sandbox.rds_support import Instance, create
from tests.sandbox.support import Network, Sandbox

# What a database says to PostgreSQL's SSLRequest, or the error.
ASK = (
    "import socket, sys; s = socket.create_connection((sys.argv[1], 5432), timeout=2); "
    "s.sendall(bytes.fromhex(sys.argv[2])); print(s.recv(1))"
)
SSL_REQUEST = "0000000804d2162f"


@pytest.mark.behaviour("rds.tasks_are_known_by_their_interface")
def test_a_command_comes_from_its_tasks_interface(sandbox: Sandbox, network: Network) -> None:
    rds, ec2 = sandbox.client("rds"), sandbox.client("ec2")
    rds.create_db_subnet_group(DBSubnetGroupName="exec", DBSubnetGroupDescription="x", SubnetIds=network.subnets)
    rds.create_db_parameter_group(DBParameterGroupName="exec", DBParameterGroupFamily="postgres16", Description="x")
    group = ec2.create_security_group(GroupName="exec-db", Description="db", VpcId=network.vpc)["GroupId"]
    create(sandbox, "exec-db", group, DBName="app", DBSubnetGroupName="exec", DBParameterGroupName="exec")
    database = Instance(sandbox, "exec-db", group, "first-secret", "exec")
    database.wait_for("available")
    database.address = database.describe()["Endpoint"]["Address"]
    # Everybody else on this machine may come in; the task is not everybody.
    database.allow()
    stand = Stand.make(sandbox, network, "exec-database")
    arn = started(stand, "database")
    ask = f"sh -c 'exec python3 -c \"{ASK}\" {database.address} {SSL_REQUEST}'"
    assert b"TimeoutError" in run(stand, arn, ask).output
    rule = {"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432, "UserIdGroupPairs": [{"GroupId": network.group}]}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])
    assert run(stand, arn, ask).output == b"b'S'\r\n"
    # A child of a child as well.
    nested = f"sh -c 'sh -c \"$0\" ; true' 'python3 -c \"{ASK}\" {database.address} {SSL_REQUEST}'"
    assert run(stand, arn, nested).output == b"b'S'\r\n"
    ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[rule])
    assert b"TimeoutError" in run(stand, arn, ask).output
    stand.stop(arn)
    rds.delete_db_instance(DBInstanceIdentifier="exec-db", SkipFinalSnapshot=True)
