"""Tidewatch, a service that is not Papyrus: its program and image, and how it comes into the local AWS."""

from __future__ import annotations

from typing import Any

from tests.sandbox.support import Sandbox

from . import harness
from .services import CLUSTER, Services, permanent_service, until

SERVICE, REPOSITORY, PORT = "tidewatch-web", "tidewatch", 8081
PROGRAM = """
import http.server, json, os, urllib.parse, urllib.request, uuid

def identity():
    with urllib.request.urlopen(os.environ["ECS_CONTAINER_METADATA_URI_V4"], timeout=5) as answer:
        container = json.load(answer)
    return container["Labels"]["com.amazonaws.ecs.task-arn"], container["ImageID"]

TASK, IMAGE = identity()

class Gauge(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path, request = urllib.parse.urlparse(self.path).path, uuid.uuid4().hex
        found = {"/ready": ("text/plain", b"ready"), "/v1/stations/north-pier/tide": (
            "application/json", json.dumps({"station": "north-pier", "unit": "metre", "height": 2.4}).encode())}
        kind, body = found.get(path, ("text/plain", b"no such path"))
        self.send_response(200 if path in found else 404)
        for name, value in (("Content-Type", kind), ("Content-Length", len(body)), ("X-Tide-Task", TASK),
                            ("X-Tide-Image", IMAGE), ("X-Tide-Request", request)):
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)
        print(json.dumps({"request_id": request, "path": path, "station": "north-pier"}), flush=True)

    def log_message(self, *given):
        pass

http.server.ThreadingHTTPServer(("0.0.0.0", int(os.environ["TIDE_PORT"])), Gauge).serve_forever()
"""


def start(services: Services) -> None:
    """Repository, image, log group, task definition and service, with the names of inventories/tidewatch."""
    ecs, ecr, base = harness.client("ecs"), harness.client("ecr"), permanent_service()
    ecr.create_repository(repositoryName=REPOSITORY)
    services.undo.append(lambda: ecr.delete_repository(repositoryName=REPOSITORY, force=True))
    aws = Sandbox(harness.SANDBOX_ROOT, harness.facts())
    image = aws.push(REPOSITORY, "tide-1", {"app/gauge.py": PROGRAM}, ["python", "gauge.py"])
    old = ecs.describe_task_definition(taskDefinition=base["taskDefinition"])["taskDefinition"]
    container: dict[str, Any] = {
        "name": "gauge",
        "image": image,
        "portMappings": [{"containerPort": PORT, "protocol": "tcp"}],
        "environment": [{"name": "TIDE_PORT", "value": str(PORT)}],
        "logConfiguration": old["containerDefinitions"][0]["logConfiguration"],
    }
    definition = ecs.register_task_definition(
        family="tidewatch", containerDefinitions=[container], requiresCompatibilities=["FARGATE"], networkMode="awsvpc",
        cpu="256", memory="512", taskRoleArn=old["taskRoleArn"], executionRoleArn=old["executionRoleArn"],
    )["taskDefinition"]["taskDefinitionArn"]  # fmt: skip
    ecs.create_service(
        cluster=CLUSTER, serviceName=SERVICE, taskDefinition=definition, desiredCount=1, launchType="FARGATE",
        enableExecuteCommand=True, networkConfiguration=base["networkConfiguration"],
    )  # fmt: skip
    services.undo.append(lambda: ecs.delete_service(cluster=CLUSTER, service=SERVICE, force=True))
    until(lambda: services.running(SERVICE) and services.steady(SERVICE), f"a RUNNING task of {SERVICE}", 180)
