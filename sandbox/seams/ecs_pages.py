"""Lists of ECS in pages, with the sizes and tokens that AWS documents."""

from __future__ import annotations

from typing import Any

from sandbox import emulator, pages
from sandbox.behaviours import behaviour
from sandbox.seams.refusal import Refused

ALL = 10**9
# Operation → (member of the answer, size of a page when none is asked for).
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListServices.html (maxResults: 10), the others 100.
LISTS = {
    "ListClusters": ("clusterArns", 100),
    "ListServices": ("serviceArns", 10),
    "ListTasks": ("taskArns", 100),
    "ListTaskDefinitions": ("taskDefinitionArns", 100),
    "ListTaskDefinitionFamilies": ("families", 100),
    "ListServiceDeployments": ("serviceDeployments", 20),
}


def install(ecs: Any) -> None:
    for operation, (member, size) in LISTS.items():
        ecs._ACTION_MAP[operation] = _paged(operation, ecs._ACTION_MAP[operation], member, size)


def _paged(operation: str, handler: Any, member: str, size: int) -> Any:
    def answer(data: dict[str, Any]) -> Any:
        start = offset_of(operation, data.get("nextToken"))
        whole = handler({**data, "nextToken": None, "maxResults": ALL})
        if whole[0] >= 400:
            return whole
        document = emulator.body_of(whole)
        document.pop("nextToken", None)
        length = listed_in_pages(data.get("maxResults"), size)
        items = document[member]
        document[member] = items[start : start + length]
        if start + length < len(items):
            document["nextToken"] = pages.token_of(operation, start + length)
        return emulator.json_response(document)

    return answer


@behaviour("ecs", otherwise=lambda *_: ALL)
def listed_in_pages(asked: Any, size: int) -> int:
    """Lists come in pages of maxResults with a nextToken while there is more; ListServices gives 10 unless asked.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListServices.html
    """
    return int(asked) if asked else size


@behaviour("ecs", code="InvalidParameterException", otherwise=lambda *_: 0)
def offset_of(operation: str, token: str | None) -> int:
    """A nextToken that this list did not give is refused.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListTasks.html (nextToken, Errors)
    """
    try:
        return pages.start_of(operation, token)
    except ValueError:
        raise Refused("InvalidParameterException", "Invalid token.") from None
