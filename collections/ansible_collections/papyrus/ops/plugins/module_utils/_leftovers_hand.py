# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The order in which AWS lets go what a run has left, and the commands by which a person deletes it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from . import _leftovers_drill

# Each may hold what comes after it.
KINDS = (
    *_leftovers_drill.KINDS,
    "listener",
    "load_balancer",
    "target_group",
    "security_group_rule",
    "network_interface",
    "security_group",
)


def by_hand(resources: Iterable[Mapping[str, Any]], region: str = "") -> list[str]:
    """AWS CLI commands that delete `resources`, in the order in which AWS lets them go."""
    where = f" --region {shlex.quote(region)}" if region else ""
    commands: list[str] = []
    for resource in sorted(resources, key=lambda r: KINDS.index(r["kind"])):
        ident = shlex.quote(str(resource["id"]))
        match resource["kind"]:
            case "listener":
                commands.append(f"aws elbv2 delete-listener{where} --listener-arn {ident}")
            case "load_balancer":
                commands.append(f"aws elbv2 delete-load-balancer{where} --load-balancer-arn {ident}")
                commands.append(f"aws elbv2 wait load-balancers-deleted{where} --load-balancer-arns {ident}")
            case "target_group":
                commands.append(f"aws elbv2 delete-target-group{where} --target-group-arn {ident}")
            case "security_group_rule":
                detail = resource["detail"]
                permissions = shlex.quote(json.dumps([detail["permission"]], sort_keys=True))
                group = shlex.quote(detail["group_id"])
                commands.append(
                    f"aws ec2 revoke-security-group-{detail['direction']}{where} --group-id {group}"
                    f" --ip-permissions {permissions}"
                )
            case "network_interface":
                commands.append(
                    f"aws ec2 describe-network-interfaces{where} --network-interface-ids {ident}  # until it is gone"
                )
            case "security_group":
                commands.append(f"aws ec2 delete-security-group{where} --group-id {ident}")
            case kind:
                cluster = shlex.quote(str(resource.get("detail", {}).get("cluster", "")))
                commands += _leftovers_drill.by_hand(str(kind), ident, cluster, where)
    return commands
