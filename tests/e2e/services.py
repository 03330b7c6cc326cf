"""Makes services, secrets and databases beside the permanent ones: slow cases run side by side and break nothing."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from typing import Any

from . import harness

CLUSTER, SERVICE, SECRET, DATABASE = "papyrus-ecs-prd", "papyrus-task-service", "papyrus/prd/db", "papyrus-prd"
REGISTERABLE = (
    "taskRoleArn",
    "executionRoleArn",
    "networkMode",
    "volumes",
    "requiresCompatibilities",
    "cpu",
    "memory",
    "runtimePlatform",
)
IDLE: dict[str, Any] = {"command": ["python", "-c", "import signal; signal.pause()"], "healthCheck": None}
"""Members of a container that does nothing: for tests that ask no app."""


def until(condition: Callable[[], Any], what: str, timeout: float = 60) -> Any:
    """The first true value of condition, asked more and more seldom; AssertionError names what did not come."""
    deadline, pause = time.monotonic() + timeout, 0.2
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what} did not come in {timeout} s"
        time.sleep(pause)
        pause = min(1.0, 1.2 * pause)
    return value


def unique(kind: str) -> str:
    """A short name that no other test uses."""
    return f"t-{kind}-{secrets.token_hex(3)}"


def permanent_service() -> dict[str, Any]:
    """The service that the stacks made, as DescribeServices gives it."""
    service: dict[str, Any] = harness.client("ecs").describe_services(cluster=CLUSTER, services=[SERVICE])["services"][
        0
    ]
    return service


class Services:
    """Makes services and removes them when it is closed."""

    def __init__(self) -> None:
        self.undo: list[Callable[[], Any]] = []

    def close(self) -> None:
        """Undo everything, the newest first."""
        for action in reversed(self.undo):
            action()

    def service(
        self,
        kind: str,
        *,
        container: dict[str, Any] | None = None,
        environment: dict[str, str] | None = None,
        secret: str | None = None,
        desired: int = 1,
        execute_command: bool = True,
        wait: bool = True,
        breaker: bool = False,
    ) -> dict[str, Any]:
        """A copy of the permanent service; container members, environment values and the secret can differ.

        `breaker` copies its deployment configuration too, circuit breaker included. Returns inventory variables.
        """
        ecs, name, base = harness.client("ecs"), unique(kind), permanent_service()
        definition = ecs.describe_task_definition(taskDefinition=base["taskDefinition"])["taskDefinition"]
        app = {**definition["containerDefinitions"][0], **(container or {})}
        app = {key: value for key, value in app.items() if value is not None}
        if environment:
            kept = [pair for pair in app.get("environment", []) if pair["name"] not in environment]
            app["environment"] = kept + [{"name": key, "value": value} for key, value in environment.items()]
        if secret:
            app["secrets"] = [
                {**entry, "valueFrom": secret + ":" + entry["valueFrom"].split(":", 7)[-1]} for entry in app["secrets"]
            ]
        registered = ecs.register_task_definition(
            family=name,
            containerDefinitions=[app],
            **{key: definition[key] for key in REGISTERABLE if definition.get(key)},
        )["taskDefinition"]["taskDefinitionArn"]
        ecs.create_service(
            cluster=CLUSTER,
            serviceName=name,
            taskDefinition=registered,
            desiredCount=desired,
            launchType="FARGATE",
            enableExecuteCommand=execute_command,
            networkConfiguration=base["networkConfiguration"],
            **({"deploymentConfiguration": base["deploymentConfiguration"]} if breaker else {}),
        )
        self.undo.append(lambda: ecs.delete_service(cluster=CLUSTER, service=name, force=True))
        if wait and desired:
            until(lambda: self.running(name) and self.steady(name), f"a RUNNING task of {name}", 180)
        return {"papyrus_service": name, "papyrus_task_family": name}

    @staticmethod
    def steady(name: str) -> bool:
        """Whether no rollout of a service is in flight."""
        service = harness.client("ecs").describe_services(cluster=CLUSTER, services=[name])["services"][0]
        return [deployment["rolloutState"] for deployment in service["deployments"]] == ["COMPLETED"]

    @staticmethod
    def running(name: str) -> list[dict[str, Any]]:
        """RUNNING tasks of a service whose Exec agent, where there is one, runs too."""
        ecs = harness.client("ecs")
        arns = ecs.list_tasks(cluster=CLUSTER, serviceName=name, desiredStatus="RUNNING")["taskArns"]
        tasks = ecs.describe_tasks(cluster=CLUSTER, tasks=arns)["tasks"] if arns else []
        return [
            task
            for task in tasks
            if task["lastStatus"] == "RUNNING"
            and all(
                agent["lastStatus"] == "RUNNING"
                for container in task["containers"]
                for agent in container.get("managedAgents", [])
            )
        ]

    def image(self) -> tuple[str, str]:
        """The permanent service's image under another digest: the same content with an annotation of its own.

        Returns the reference for a task definition, and the digest.
        """
        ecr, name = harness.client("ecr"), unique("image")
        definition = harness.client("ecs").describe_task_definition(
            taskDefinition=permanent_service()["taskDefinition"]
        )
        reference: str = definition["taskDefinition"]["containerDefinitions"][0]["image"]
        uri, dummy, digest = reference.partition("@")
        repository = uri.partition("/")[2]
        given = ecr.batch_get_image(repositoryName=repository, imageIds=[{"imageDigest": digest}])["images"][0]
        manifest = json.dumps(json.loads(given["imageManifest"]) | {"annotations": {"test": name}})
        put = ecr.put_image(
            repositoryName=repository,
            imageManifest=manifest,
            imageManifestMediaType=given["imageManifestMediaType"],
            imageTag=name,
        )["image"]
        other: str = put["imageId"]["imageDigest"]
        self.undo.append(lambda: ecr.batch_delete_image(repositoryName=repository, imageIds=[{"imageDigest": other}]))
        return f"{uri}@{other}", other

    def secret(self, **changes: Any) -> dict[str, Any]:
        """A copy of the permanent secret with other members (None drops one). Returns inventory variables and ARN."""
        manager, name = harness.client("secretsmanager"), unique("secret")
        value = json.loads(manager.get_secret_value(SecretId=SECRET)["SecretString"]) | changes
        arn = manager.create_secret(
            Name=name, SecretString=json.dumps({k: v for k, v in value.items() if v is not None})
        )["ARN"]
        self.undo.append(lambda: manager.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True))
        return {"papyrus_secret_id": name, "arn": arn}

    def raw_secret(self, text: str) -> dict[str, Any]:
        """A secret with any text. Returns inventory variables."""
        manager, name = harness.client("secretsmanager"), unique("secret")
        manager.create_secret(Name=name, SecretString=text)
        self.undo.append(lambda: manager.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True))
        return {"papyrus_secret_id": name}

    def database(
        self, *, force_ssl: str = "1", extra_cidr: str | None = None, password: str | None = None
    ) -> dict[str, Any]:
        """A database instance with the app's schema, role (of this password) and secret of its own.

        Returns inventory variables and the secret's ARN.
        """
        ec2, rds = harness.client("ec2"), harness.client("rds")
        name, master_password, password = unique("db"), secrets.token_hex(12), password or secrets.token_hex(12)
        base = rds.describe_db_instances(DBInstanceIdentifier=DATABASE)["DBInstances"][0]
        base_group = base["VpcSecurityGroups"][0]["VpcSecurityGroupId"]
        groups = [base_group]  # the only one that the tasks' own group lets them reach
        if extra_cidr:
            described = ec2.describe_security_groups(GroupIds=[base_group])["SecurityGroups"][0]
            groups.append(
                ec2.create_security_group(GroupName=name, Description="database of a test", VpcId=described["VpcId"])[
                    "GroupId"
                ]
            )
            ec2.authorize_security_group_ingress(
                GroupId=groups[1],
                IpPermissions=[
                    {"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432, "IpRanges": [{"CidrIp": extra_cidr}]}
                ],
            )
        family = rds.describe_db_parameter_groups(
            DBParameterGroupName=base["DBParameterGroups"][0]["DBParameterGroupName"]
        )
        rds.create_db_parameter_group(
            DBParameterGroupName=name,
            Description="of a test",
            DBParameterGroupFamily=family["DBParameterGroups"][0]["DBParameterGroupFamily"],
        )
        rds.modify_db_parameter_group(
            DBParameterGroupName=name,
            Parameters=[{"ParameterName": "rds.force_ssl", "ParameterValue": force_ssl, "ApplyMethod": "immediate"}],
        )
        rds.create_db_instance(
            DBInstanceIdentifier=name,
            Engine="postgres",
            EngineVersion=base["EngineVersion"],
            DBInstanceClass="db.t4g.micro",
            AllocatedStorage=20,
            MasterUsername="master",
            MasterUserPassword=master_password,
            DBName="papyrus",
            DBSubnetGroupName=base["DBSubnetGroup"]["DBSubnetGroupName"],
            VpcSecurityGroupIds=groups,
            DBParameterGroupName=name,
        )

        def remove() -> None:
            rds.delete_db_instance(DBInstanceIdentifier=name, SkipFinalSnapshot=True)

        self.undo.append(remove)

        def available() -> Any:
            instance = rds.describe_db_instances(DBInstanceIdentifier=name)["DBInstances"][0]
            return instance if instance["DBInstanceStatus"] == "available" and instance.get("Endpoint") else None

        endpoint = until(available, f"{name} available")["Endpoint"]
        self._schema(endpoint, master_password, password)
        secret = self.secret(
            host=endpoint["Address"], port=endpoint["Port"], dbname="papyrus", username="papyrus_app", password=password
        )
        return {"papyrus_db_instance": name, **secret}

    @staticmethod
    def _schema(endpoint: dict[str, Any], master_password: str, password: str) -> None:
        import psycopg
        from psycopg import sql

        known = harness.facts()
        with psycopg.connect(
            host=endpoint["Address"],
            port=endpoint["Port"],
            user="master",
            password=master_password,
            dbname="papyrus",
            sslmode="verify-full",
            sslrootcert=known["ca_file"],
            connect_timeout=10,
            autocommit=True,
        ) as connection:
            connection.execute(sql.SQL("CREATE ROLE papyrus_app LOGIN PASSWORD {}").format(sql.Literal(password)))
            connection.execute((harness.CHECKOUT / "app" / "init.sql").read_bytes())
            connection.execute("GRANT USAGE ON SCHEMA papyrus_schema TO papyrus_app")
            connection.execute("GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA papyrus_schema TO papyrus_app")
