"""What ECS tells CloudWatch of its services: measured on the real processes of their tasks."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import pytest

from sandbox.metrics.utilisation import next_look, percentages
from sandbox.usage import Snapshot, Usage
from tests.sandbox.ecs_stand import SLEEPER, Stand
from tests.sandbox.support import Network, Sandbox, until

MEBIBYTE = 1024 * 1024
# Holds 160 MiB and keeps two thirds of a CPU busy. Without children: what a fork shares may be read by half for a
# moment.
BUSY = """
import os, time
held = bytearray(os.urandom(1024)) * (160 * 1024)
print("up", flush=True)
while True:
    end = time.process_time() + 0.1
    while time.process_time() < end: pass
    time.sleep(0.05)
"""


@pytest.fixture(scope="module")
def stand(sandbox: Sandbox, network: Network) -> Stand:
    return Stand.make(sandbox, network, "used")


def test_cpu_time_and_memory_are_those_of_a_program_and_all_that_it_starts() -> None:
    program = """
import os, time
def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end: pass
if os.fork() == 0:
    burn(0.3); os._exit(0)
os.wait()
if os.fork() == 0:
    held = bytearray(os.urandom(1024)) * (64 * 1024)
    print("held", flush=True)
    time.sleep(60)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, process_group=0) as running:
        try:
            assert running.stdout is not None
            assert running.stdout.readline() == b"held\n"
            used = Snapshot().of(running.pid)
        finally:
            subprocess.run(["pkill", "-KILL", "-g", str(running.pid)], check=True)
    assert used.processes == 2
    assert 64 * MEBIBYTE < used.bytes < 110 * MEBIBYTE
    assert 0.3 <= used.seconds < 2
    assert Snapshot().of(running.pid) == Usage()


def test_utilisation_is_of_the_tasks_own_size() -> None:
    task = {"cpu": "256", "memory": "512"}
    assert percentages(task, 0.125, 128 * MEBIBYTE) == {"CPUUtilization": 50.0, "MemoryUtilization": 25.0}
    assert percentages({"memory": "1024"}, 1.0, 128 * MEBIBYTE) == {"MemoryUtilization": 12.5}


@pytest.mark.parametrize(
    ("now", "interval", "look"),
    [(960.0, 60, 1018.0), (1017.9, 60, 1018.0), (1018.0, 60, 1078.0), (1019.9, 60, 1078.0), (100.0, 2, 101.5)],
)
def test_tasks_are_looked_at_shortly_before_a_minute_ends(now: float, interval: float, look: float) -> None:
    assert next_look(now, interval) == look


def told(sandbox: Sandbox, name: str, seconds: int = 10, **dimensions: str) -> list[dict[str, Any]]:
    """Data points of so many seconds."""
    found = sandbox.client("cloudwatch").get_metric_statistics(
        Namespace="AWS/ECS",
        MetricName=name,
        Dimensions=[{"Name": key, "Value": value} for key, value in dimensions.items()],
        StartTime=time.time() - 600,
        EndTime=time.time() + 60,
        Period=seconds,
        Statistics=["Average", "SampleCount"],
    )
    return list(found["Datapoints"])


@pytest.mark.behaviour("ecs.service_utilisation")
def test_a_service_tells_what_its_tasks_use_and_an_alarm_on_it_rings(stand: Stand) -> None:
    sandbox, cloudwatch = stand.sandbox, stand.sandbox.client("cloudwatch")
    place = {"ClusterName": stand.cluster, "ServiceName": "busy"}
    pairs = [{"Name": key, "Value": value} for key, value in place.items()]
    with sandbox.switched(utilisation_seconds=2):
        stand.create("busy", stand.define("busy", {"image": stand.image(BUSY, "busy")}), 2)
        cloudwatch.put_metric_alarm(
            AlarmName="used-memory",
            Namespace="AWS/ECS",
            MetricName="MemoryUtilization",
            Dimensions=pairs,
            Statistic="Average",
            Period=10,
            EvaluationPeriods=1,
            Threshold=25,
            ComparisonOperator="GreaterThanThreshold",
        )
        try:
            stand.steady("busy", 2)
            until(lambda: sum(p["SampleCount"] for p in told(sandbox, "CPUUtilization", **place)) >= 6, "three looks")

            def rings() -> bool:
                state: str = cloudwatch.describe_alarms(AlarmNames=["used-memory"])["MetricAlarms"][0]["StateValue"]
                return state == "ALARM"

            until(rings, "the alarm rings", 30)
        finally:
            cloudwatch.delete_alarms(AlarmNames=["used-memory"])
            stand.ecs.delete_service(cluster=stand.cluster, service="busy", force=True)
    # 160 MiB and a Python, of 512 MiB.
    memory = max(point["Average"] for point in told(sandbox, "MemoryUtilization", **place))
    assert 100 * 160 / 512 < memory < 45
    # Two thirds of a CPU are 267 % of 256 units, for nobody limits them here; less on a busy machine.
    processor = max(point["Average"] for point in told(sandbox, "CPUUtilization", **place))
    assert 30 < processor < 350
    listed = cloudwatch.list_metrics(Namespace="AWS/ECS", Dimensions=pairs)["Metrics"]
    assert {metric["MetricName"] for metric in listed} == {"CPUUtilization", "MemoryUtilization"}
    assert all(metric["Dimensions"] == pairs for metric in listed)
    looks = told(sandbox, "MemoryUtilization", seconds=1, **place)
    assert max(point["SampleCount"] for point in looks) == 2


@pytest.mark.behaviour("ecs.utilisation_dimensions")
def test_single_tasks_and_clusters_tell_nothing(stand: Stand) -> None:
    sandbox, cloudwatch = stand.sandbox, stand.sandbox.client("cloudwatch")
    image = stand.image(SLEEPER, "idle")
    with sandbox.switched(utilisation_seconds=2):
        single = stand.run(stand.define("idle", {"image": image}))
        stand.until_task(single, "RUNNING")
        # When this one is told of, the single task was looked at as well.
        stand.create("idle", stand.define("idle", {"image": image}))
        stand.steady("idle")
        place = {"ClusterName": stand.cluster, "ServiceName": "idle"}
        until(lambda: len(told(sandbox, "MemoryUtilization", **place)) > 0, "the service is told of")
        stand.stop(single)
        stand.ecs.delete_service(cluster=stand.cluster, service="idle", force=True)
    listed = cloudwatch.list_metrics(Namespace="AWS/ECS", Dimensions=[{"Name": "ClusterName", "Value": stand.cluster}])[
        "Metrics"
    ]
    assert {tuple(pair["Name"] for pair in metric["Dimensions"]) for metric in listed} == {
        ("ClusterName", "ServiceName")
    }
