"""An API call as authorization sees it: which actions it takes, on which resources, with which condition keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sandbox.requests import ApiRequest
    from sandbox.runtime import Runtime


@dataclass(frozen=True)
class Call:
    """A request of an account in a region; `headers` in lower case, `size` of the body in bytes."""

    runtime: Runtime
    request: ApiRequest
    account: str
    region: str
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def service(self) -> str:
        return self.request.service

    @property
    def operation(self) -> str:
        return self.request.operation

    @property
    def parameters(self) -> Mapping[str, Any]:
        return self.request.parameters

    def text(self, *names: str) -> str:
        """The first of these parameters that is given."""
        return next((str(self.parameters[name]) for name in names if self.parameters.get(name)), "")

    def arn(self, service: str, resource: str) -> str:
        return f"arn:aws:{service}:{self.region}:{self.account}:{resource}"


@dataclass(frozen=True)
class Need:
    """One action that must be allowed on each of the resources. `keys` are condition keys of this need alone."""

    action: str
    resources: Sequence[str] = ("*",)
    keys: Mapping[str, Sequence[str]] = field(default_factory=dict)
    # The tags that this need puts on its resources; None: those of the request.
    tags: Mapping[str, str] | None = None


def arns_in(value: Any) -> Iterator[str]:
    """Every ARN among the parameters."""
    if isinstance(value, str):
        if value.startswith("arn:"):
            yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from arns_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from arns_in(item)


def values_of(parameters: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """The texts of top-level parameters of these names, lists opened."""
    found: list[str] = []
    for name in names:
        value = parameters.get(name)
        listed = value if isinstance(value, list) else [value]
        found += [str(item) for item in listed if isinstance(item, str | int) and str(item)]
    return found


def request_tags(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Tags that a request gives, in any of the services' forms."""
    found: dict[str, str] = {}
    for name in ("Tags", "tags", "TagList", "TagsList", "Tagging"):
        found |= tags_of(parameters.get(name))
    for specification in parameters.get("TagSpecifications") or parameters.get("TagSpecification") or []:
        found |= tags_of(specification.get("Tags"))
    return found


def tags_of(value: Any) -> dict[str, str]:
    """Tags as a map, however a record or a request writes them."""
    if isinstance(value, Mapping):
        inner = value.get("TagSet")
        if isinstance(inner, list):
            return tags_of(inner)
        return {str(key): str(item) for key, item in value.items() if isinstance(item, str | int | bool)}
    found = {}
    for tag in value if isinstance(value, list) else []:
        if isinstance(tag, Mapping):
            names = {str(key).lower(): item for key, item in tag.items()}
            key = names.get("key", names.get("tagkey"))
            if key is not None:
                found[str(key)] = str(names.get("value", names.get("tagvalue")) or "")
    return found


def tag_keys(parameters: Mapping[str, Any]) -> list[str]:
    """Keys of tags that a request gives or takes away."""
    listed = values_of(parameters, ("TagKeys", "tagKeys"))
    return [*request_tags(parameters), *listed]
