"""Secrets Manager on ministack: versions as AWS keeps them, names that mean one secret, filters."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sandbox import emulator
from sandbox.behaviours import behaviour
from sandbox.rules.secretsmanager import VALUES, same_value

if TYPE_CHECKING:
    from sandbox.runtime import Runtime

Data = dict[str, Any]
Handler = Callable[[Data], Any]


def install(runtime: Runtime) -> None:
    secrets = emulator.service("secretsmanager")
    secrets._resolve = _by_exact_name(secrets, secrets._resolve)
    secrets._filter_secret_names = _filtering(secrets, secrets._filter_secret_names)
    secrets._apply_current_promotion = _keeping(secrets._apply_current_promotion)
    create, put, update = secrets._create_secret, secrets._put_secret_value, secrets._update_secret
    delete, versions = secrets._delete_secret, secrets._list_secret_version_ids
    secrets._create_secret = lambda data: _create(secrets, data, create)
    secrets._put_secret_value = lambda data: _put(secrets, data, put)
    secrets._update_secret = lambda data: _update(secrets, data, update)
    secrets._delete_secret = lambda data: _delete(secrets, data, delete)
    secrets._list_secret_version_ids = lambda data: deprecated_versions_are_hidden(data, versions)


def _value_given(data: Data) -> bool:
    return any(data.get(name) is not None for name in VALUES)


def _by_exact_name(secrets: Any, resolve: Callable[..., Any]) -> Callable[..., Any]:
    def call(secret_id: Any, **more: Any) -> Any:
        key, secret = resolve(secret_id, **more)
        if secret is None or partial_arn_is_the_whole_name(secret_id, secret):
            return key, secret
        # The emulator met another secret first, whose name goes on after this one.
        _, _, _, region, account, _, name = secret_id.split(":", 6)
        exact = secrets._secrets.get_scoped(account, region, name)
        return (name, exact) if exact else (None, None)

    return call


@behaviour("secretsmanager", code="ResourceNotFoundException", otherwise=lambda *_: True)
def partial_arn_is_the_whole_name(secret_id: str, secret: Data) -> bool:
    """An ARN without its random suffix names the secret of exactly that name, not one whose name begins so.

    https://docs.aws.amazon.com/secretsmanager/latest/userguide/troubleshoot.html#ARN_secretnamehyphen
    """
    arn = str(secret["ARN"])
    return not secret_id.startswith("arn:") or secret_id in (arn, arn.rpartition("-")[0])


def _create(secrets: Any, data: Data, create: Handler) -> Any:
    held = secrets._secrets.get(data.get("Name"))
    if held is not None and created_again_is_the_same(held, data):
        return emulator.json_response(
            {"ARN": held["ARN"], "Name": held["Name"], "VersionId": data["ClientRequestToken"]}
        )
    response = create(data)
    if response[0] >= 400:
        return response
    document = emulator.body_of(response)
    record = secrets._secrets[data["Name"]]
    if no_value_no_version(record, data):
        document.pop("VersionId")
    elif version_is_the_token(record["Versions"], document["VersionId"], data):
        document["VersionId"] = data["ClientRequestToken"]
    return emulator.json_response(document)


@behaviour("secretsmanager", otherwise=lambda *_: False)
def created_again_is_the_same(held: Data, data: Data) -> bool:
    """CreateSecret with the request token and value of a secret that exists already changes nothing and succeeds.

    https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html (ClientRequestToken)
    """
    version = held["Versions"].get(data.get("ClientRequestToken"))
    return version is not None and same_value(version, data)


@behaviour("secretsmanager", otherwise=lambda *_: False)
def no_value_no_version(record: Data, data: Data) -> bool:
    """A secret that is created without a value has no version, and so nothing to get, until one is put.

    https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html
    """
    if _value_given(data):
        return False
    record["Versions"] = {}
    return True


@behaviour("secretsmanager", otherwise=lambda *_: False)
def version_is_the_token(versions: Data, made: str, data: Data) -> bool:
    """The request token becomes the id of the version that the request makes.

    https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html (ClientRequestToken)
    """
    if not data.get("ClientRequestToken"):
        return False
    versions[data["ClientRequestToken"]] = versions.pop(made)
    return True


def _put(secrets: Any, data: Data, put: Handler) -> Any:
    _, secret = secrets._resolve(data.get("SecretId"))
    if secret is None or secret.get("DeletedDate"):
        return put(data)
    if value_put_again_is_the_same(secret, data):
        version = data["ClientRequestToken"]
        stages = list(secret["Versions"][version]["Stages"])
        return emulator.json_response(
            {"ARN": secret["ARN"], "Name": secret["Name"], "VersionId": version, "VersionStages": stages}
        )
    stages = list(data.get("VersionStages") or ["AWSCURRENT"])
    if first_version_is_current(secret):
        stages = [*stages, *({"AWSCURRENT"} - set(stages))]
    response = put({**data, "VersionStages": stages})
    if response[0] != 200:
        return response
    document = emulator.body_of(response)
    label_is_on_one_version(secret, document["VersionId"], stages)
    return emulator.json_response({**document, "VersionStages": secret["Versions"][document["VersionId"]]["Stages"]})


@behaviour("secretsmanager", otherwise=lambda *_: False)
def value_put_again_is_the_same(secret: Data, data: Data) -> bool:
    """A value that is put again with the request token of its version makes no other version and moves no label.

    https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html (ClientRequestToken)
    """
    version = secret["Versions"].get(data.get("ClientRequestToken"))
    return version is not None and same_value(version, data)


@behaviour("secretsmanager", otherwise=lambda *_: False)
def first_version_is_current(secret: Data) -> bool:
    """The first version of a secret gets AWSCURRENT, whatever stages it is put with.

    https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html (VersionStages)
    """
    return not secret["Versions"]


@behaviour("secretsmanager")
def label_is_on_one_version(secret: Data, version: str, stages: list[str]) -> None:
    """A staging label that a new version is put with leaves the version that had it.

    https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html (VersionStages)
    """
    for name, held in secret["Versions"].items():
        if name == version:
            held["Stages"] = [*held["Stages"], *(stage for stage in stages if stage not in held["Stages"])]
        else:
            held["Stages"] = [stage for stage in held["Stages"] if stage not in stages]


def _update(secrets: Any, data: Data, update: Handler) -> Any:
    _, secret = secrets._resolve(data.get("SecretId"))
    if secret is None or secret.get("DeletedDate") or not _value_given(data):
        return update(data)
    token = data.get("ClientRequestToken")
    if value_put_again_is_the_same(secret, data):
        response = update({name: value for name, value in data.items() if name not in VALUES})
        return (
            emulator.json_response({**emulator.body_of(response), "VersionId": token})
            if response[0] == 200
            else response
        )
    response = update(data)
    if response[0] == 200:
        document = emulator.body_of(response)
        if version_is_the_token(secret["Versions"], document["VersionId"], data):
            return emulator.json_response({**document, "VersionId": token})
    return response


def _keeping(promote: Callable[[Data, str], None]) -> Callable[[Data, str], None]:
    def call(secret: Data, new: str) -> None:
        before = dict(secret["Versions"])
        promote(secret, new)
        deprecated_versions_stay(secret, before)

    return call


@behaviour("secretsmanager")
def deprecated_versions_stay(secret: Data, before: Data) -> None:
    """A version that lost its last label is deprecated, not deleted: it can still be got by its id.

    https://docs.aws.amazon.com/secretsmanager/latest/userguide/whats-in-a-secret.html#term_version
    """
    secret["Versions"] = {**before, **secret["Versions"]}


@behaviour("secretsmanager", otherwise=lambda data, listed: listed(data))
def deprecated_versions_are_hidden(data: Data, listed: Handler) -> Any:
    """ListSecretVersionIds shows versions without a label only when it is asked to.

    https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_ListSecretVersionIds.html (IncludeDeprecated)
    """
    response = listed(data)
    if response[0] >= 400:
        return response
    document = emulator.body_of(response)
    for version in document["Versions"]:
        if not version["VersionStages"]:
            version.pop("VersionStages")
    if not data.get("IncludeDeprecated"):
        document["Versions"] = [version for version in document["Versions"] if "VersionStages" in version]
    return emulator.json_response(document)


def _delete(secrets: Any, data: Data, delete: Handler) -> Any:
    if data.get("ForceDeleteWithoutRecovery") and secrets._resolve(data.get("SecretId"))[1] is None:
        return forced_deletion_of_nothing(data) or delete(data)
    return delete(data)


@behaviour("secretsmanager")
def forced_deletion_of_nothing(data: Data) -> Any:
    """To delete by force a secret that does not exist is no error.

    https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_DeleteSecret.html (ForceDeleteWithoutRecovery)
    """
    responses = emulator.core("responses")
    name = data["SecretId"]
    place = f"arn:aws:secretsmanager:{responses.get_region()}:{responses.get_account_id()}:secret:"
    arn = name if name.startswith("arn:") else f"{place}{name}"
    return emulator.json_response({"ARN": arn, "Name": arn.removeprefix(place), "DeletionDate": emulator.epoch(None)})


def _filtering(secrets: Any, stock: Callable[[list[str], list[Data]], list[str]]) -> Callable[..., list[str]]:
    def call(names: list[str], filters: list[Data]) -> list[str]:
        return filters_match_beginnings(secrets, names, filters, stock)

    return call


@behaviour("secretsmanager", otherwise=lambda secrets, names, filters, stock: stock(names, filters))
def filters_match_beginnings(secrets: Any, names: list[str], filters: list[Data], stock: Any) -> list[str]:
    """Filters of ListSecrets compare beginnings, of names and tags by case; a value with ! in front excludes.

    https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_Filter.html
    """
    return [name for name in names if all(_matches(secrets._secrets[name], one) for one in filters)]


def _matches(secret: Data, wanted: Data) -> bool:
    texts = _texts(secret, wanted.get("Key", "all"))
    values = [str(value) for value in wanted.get("Values", [])]
    excluded = [value[1:] for value in values if value.startswith("!")]
    included = [value for value in values if not value.startswith("!")]
    if any(_begins(texts, value, wanted.get("Key")) for value in excluded):
        return False
    return not included or any(_begins(texts, value, wanted.get("Key")) for value in included)


def _begins(texts: list[str], value: str, key: str | None) -> bool:
    if key in ("name", "tag-key", "tag-value", "primary-region", "owning-service"):
        return any(text.startswith(value) for text in texts)
    return any(text.lower().startswith(value.lower()) for text in texts)


def _texts(secret: Data, key: str) -> list[str]:
    tags = secret.get("Tags") or []
    found = {
        "name": [secret["Name"]],
        "description": str(secret.get("Description") or "").split(),
        "tag-key": [tag["Key"] for tag in tags],
        "tag-value": [tag["Value"] for tag in tags],
        "primary-region": [secret.get("_PrimaryRegion") or ""],
        "owning-service": [secret.get("OwningService") or ""],
    }
    return found[key] if key in found else [text for texts in found.values() for text in texts]
