"""Makes by boto3 what a sweep has to delete and what it has to leave alone (`plant`); takes it away (`remove`).

usage: python -m tests.molecule.plant plant|remove FILE   (FILE, JSON, says what was made; run in the checkout)
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import sys
from pathlib import Path

from tests.e2e import harness, leftovers
from tests.e2e.services import unique


def plant(path: Path) -> None:
    """An expired run, a young one, an expired one of another service, and a load balancer without any mark."""
    place, service = leftovers.Place.make(), unique("sweep")
    expired = leftovers.leave(leftovers.run(service), place)
    young = leftovers.leave(leftovers.run(service, began=dt.timedelta(minutes=-5)), place, balancer=False)
    other = leftovers.leave(leftovers.run(f"{service}-2"), place, balancer=False)
    name = leftovers.run(service).name
    made = harness.client("elbv2").create_load_balancer(Name=name, Scheme="internal", Subnets=place.subnets)
    written = {
        "service": service,
        "place": dataclasses.asdict(place),
        "expired": dataclasses.asdict(expired),
        "kept": [dataclasses.asdict(young), dataclasses.asdict(other)],
        "tagless": made["LoadBalancers"][0]["LoadBalancerArn"],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(written), "utf-8")


def remove(path: Path) -> None:
    """What is still there of it; nothing when there is no file."""
    if not path.is_file():
        return
    planted = json.loads(path.read_bytes())
    place = leftovers.Place(**planted["place"])
    for left in (planted["expired"], *planted["kept"]):
        leftovers.delete(leftovers.Left(**left), place)
    harness.client("elbv2").delete_load_balancer(LoadBalancerArn=planted["tagless"])
    place.remove()
    path.unlink()


if __name__ == "__main__":
    {"plant": plant, "remove": remove}[sys.argv[1]](Path(sys.argv[2]))
