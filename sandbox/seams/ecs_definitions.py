"""Task definitions: which revision a family stands for, and how a deleted revision goes."""

from __future__ import annotations

from typing import Any

from sandbox import emulator
from sandbox.behaviours import behaviour

Definition = dict[str, Any]
IN_USE = ("ACTIVE", "DRAINING")


class Definitions:
    """Replaces what the emulator does about families and deletions."""

    def __init__(self, ecs: Any) -> None:
        self._ecs = ecs
        self._resolve = ecs._resolve_td_key
        self._list = ecs._ACTION_MAP["ListTaskDefinitions"]

    def install(self) -> None:
        ecs = self._ecs
        ecs._resolve_td_key = self.key
        ecs._ACTION_MAP["DeleteTaskDefinitions"] = self.delete
        ecs._ACTION_MAP["ListTaskDefinitions"] = self.list

    def key(self, reference: str) -> str | None:
        """family:revision of a reference by ARN, family:revision or family."""
        found: str | None = self._resolve(reference)
        family = (reference or "").rpartition("/")[2]
        if found and family and ":" not in family:
            return latest_active_revision(self._ecs, family) or found
        return found

    def list(self, data: dict[str, Any]) -> Any:
        """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListTaskDefinitions.html"""
        response = self._list(data)
        if response[0] >= 400:
            return response
        document = emulator.body_of(response)
        document["taskDefinitionArns"] = of_the_family(document["taskDefinitionArns"], data.get("familyPrefix") or "")
        return emulator.json_response(document)

    def delete(self, data: dict[str, Any]) -> Any:
        """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeleteTaskDefinitions.html"""
        deleted, failures = [], []
        for reference in data.get("taskDefinitions") or []:
            key = self._ecs._resolve_td_delete_key(reference)
            definition = self._ecs._task_defs.get(key) if key else None
            if definition is None:
                text = "The specified task definition does not exist. Specify a valid account, family, revision and "
                failures.append({"arn": reference, "reason": text + "try again."})
            elif still_active(definition):
                text = "The specified task definition is still in ACTIVE status. Please deregister the target and "
                failures.append({"arn": definition["taskDefinitionArn"], "reason": text + "try again."})
            else:
                definition["status"] = "DELETE_IN_PROGRESS"
                definition["deleteRequestedAt"] = emulator.now()
                deleted.append(dict(definition))
        return emulator.json_response({"taskDefinitions": deleted, "failures": failures})


@behaviour("ecs", otherwise=lambda arns, _: arns)
def of_the_family(arns: list[str], family: str) -> list[str]:
    """ListTaskDefinitions takes familyPrefix for the whole name of a family, not for the beginning of several.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListTaskDefinitions.html (familyPrefix)
    """
    return [arn for arn in arns if not family or f":task-definition/{family}:" in arn]


@behaviour("ecs")
def latest_active_revision(ecs: Any, family: str) -> str | None:
    """A family without a revision stands for its latest ACTIVE revision, not for one that was deregistered.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html (taskDefinition)
    """
    active = [d for d in ecs._task_defs.values() if d["family"] == family and d["status"] == "ACTIVE"]
    latest = max(active, key=lambda definition: int(definition["revision"]), default=None)
    return f"{family}:{latest['revision']}" if latest else None


@behaviour("ecs", otherwise=lambda *_: False)
def still_active(definition: Definition) -> bool:
    """A revision that was not deregistered is not deleted: the answer names it among the failures.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeleteTaskDefinitions.html
    """
    return bool(definition["status"] == "ACTIVE")


@behaviour("ecs")
def deleted_revision_goes(ecs: Any) -> None:
    """A deleted revision stays DELETE_IN_PROGRESS while a task or a service uses it, and is gone afterwards.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeleteTaskDefinitions.html
    """
    doomed = [item for item in ecs._task_defs.all_items() if item[1]["status"] == "DELETE_IN_PROGRESS"]
    if not doomed:
        return
    used = {t["taskDefinitionArn"] for _, t in ecs._tasks.all_items() if t.get("lastStatus") != "STOPPED"}
    for _, service in ecs._services.all_items():
        if service["status"] in IN_USE:
            used |= {service["taskDefinition"], *(d["taskDefinition"] for d in service.get("deployments", []))}
    for (account, region, key), definition in doomed:
        if definition["taskDefinitionArn"] not in used:
            with emulator.request_scope(account, region):
                ecs._task_defs.pop(key, None)
                ecs._tags.pop(definition["taskDefinitionArn"], None)
