"""Secrets Manager of the sandbox: versions and their labels, tokens, deletion and what it blocks, filters, keys."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.sandbox.support import Sandbox, refused

Make = Callable[..., str]
MARKED = "marked for deletion"


@pytest.fixture
def secrets(sandbox: Sandbox) -> Any:
    return sandbox.client("secretsmanager")


@pytest.fixture
def secret(secrets: Any) -> Iterator[Make]:
    """Makes secrets that are gone after the test; gives their ARN."""
    made: list[str] = []

    def make(name: str, **settings: Any) -> str:
        made.append(secrets.create_secret(Name=name, **settings)["ARN"])
        return made[-1]

    yield make
    for arn in made:
        secrets.delete_secret(SecretId=arn, ForceDeleteWithoutRecovery=True)


def token() -> str:
    return str(uuid.uuid4())


def stages(secrets: Any, arn: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = secrets.describe_secret(SecretId=arn)["VersionIdsToStages"]
    return found


def test_what_does_not_exist_is_not_found(secrets: Any) -> None:
    for call in (secrets.get_secret_value, secrets.describe_secret, secrets.delete_secret, secrets.restore_secret):
        with refused("ResourceNotFoundException", status=400):
            call(SecretId="nobody")
    with refused("ResourceNotFoundException"):
        secrets.put_secret_value(SecretId="nobody", SecretString="x")


def test_a_name_exists_once(secrets: Any, secret: Make) -> None:
    secret("once", SecretString="x")
    with refused("ResourceExistsException", "already exists", 400):
        secrets.create_secret(Name="once", SecretString="y")


def test_a_secret_is_found_by_name_and_by_arn(secrets: Any, secret: Make) -> None:
    arn = secret("found", SecretString="x")
    for name in ("found", arn, arn.rpartition("-")[0]):
        assert secrets.get_secret_value(SecretId=name)["SecretString"] == "x"
    with refused("ResourceNotFoundException", "staging label: AWSPREVIOUS"):
        secrets.get_secret_value(SecretId=arn, VersionStage="AWSPREVIOUS")
    with refused("ResourceNotFoundException"):
        secrets.get_secret_value(SecretId=arn, VersionId=token())


@pytest.mark.behaviour("secretsmanager.partial_arn_is_the_whole_name")
def test_an_arn_without_its_suffix_is_no_beginning_of_a_name(secrets: Any, secret: Make) -> None:
    longer = secret("begin-and-more", SecretString="longer")
    partial = longer.rpartition("begin-")[0] + "begin"
    with refused("ResourceNotFoundException"):
        secrets.get_secret_value(SecretId=partial)
    secret("begin", SecretString="exact")
    assert secrets.get_secret_value(SecretId=partial)["SecretString"] == "exact"


@pytest.mark.behaviour("secretsmanager.no_value_no_version")
def test_a_secret_without_a_value_has_nothing_to_get(secrets: Any, secret: Make) -> None:
    arn = secret("empty")
    assert stages(secrets, arn) == {}
    with refused("ResourceNotFoundException", "AWSCURRENT"):
        secrets.get_secret_value(SecretId=arn)
    secrets.put_secret_value(SecretId=arn, SecretString="now")
    assert secrets.get_secret_value(SecretId=arn)["SecretString"] == "now"


@pytest.mark.behaviour("secretsmanager.version_is_the_token")
def test_the_token_names_the_version(secrets: Any, secret: Make) -> None:
    first, second = token(), token()
    arn = secret("named", SecretString="1", ClientRequestToken=first)
    assert secrets.update_secret(SecretId=arn, SecretString="2", ClientRequestToken=second)["VersionId"] == second
    assert stages(secrets, arn) == {first: ["AWSPREVIOUS"], second: ["AWSCURRENT"]}
    assert secrets.get_secret_value(SecretId=arn, VersionId=first)["SecretString"] == "1"


@pytest.mark.behaviour("secretsmanager.created_again_is_the_same")
def test_a_creation_that_is_repeated_succeeds(secrets: Any, secret: Make) -> None:
    settings = {"SecretString": "x", "ClientRequestToken": token()}
    arn = secret("repeated", **settings)
    assert secrets.create_secret(Name="repeated", **settings)["ARN"] == arn
    with refused("ResourceExistsException"):
        secrets.create_secret(Name="repeated", **{**settings, "SecretString": "y"})


@pytest.mark.behaviour("secretsmanager.value_put_again_is_the_same")
def test_a_value_put_again_moves_nothing(secrets: Any, secret: Make) -> None:
    arn, first = secret("again"), token()
    secrets.put_secret_value(SecretId=arn, SecretString="1", ClientRequestToken=first)
    second = secrets.put_secret_value(SecretId=arn, SecretString="2")["VersionId"]
    repeated = secrets.put_secret_value(SecretId=arn, SecretString="1", ClientRequestToken=first)
    assert (repeated["VersionId"], repeated["VersionStages"]) == (first, ["AWSPREVIOUS"])
    assert stages(secrets, arn) == {first: ["AWSPREVIOUS"], second: ["AWSCURRENT"]}


@pytest.mark.behaviour("secretsmanager.a_version_never_changes")
def test_a_token_is_not_used_for_two_values(secrets: Any, secret: Make) -> None:
    arn, used = secret("immutable"), token()
    secrets.put_secret_value(SecretId=arn, SecretString="1", ClientRequestToken=used)
    for call in (secrets.put_secret_value, secrets.update_secret):
        with refused("ResourceExistsException", "ClientRequestToken", 400):
            call(SecretId=arn, SecretString="2", ClientRequestToken=used)
    assert secrets.get_secret_value(SecretId=arn)["SecretString"] == "1"


@pytest.mark.behaviour("secretsmanager.first_version_is_current")
def test_the_first_version_is_the_current_one(secrets: Any, secret: Make) -> None:
    arn = secret("first")
    secrets.put_secret_value(SecretId=arn, SecretString="1", VersionStages=["AWSPENDING"])
    assert secrets.get_secret_value(SecretId=arn)["SecretString"] == "1"


@pytest.mark.behaviour("secretsmanager.label_is_on_one_version")
def test_a_label_moves_to_the_version_that_is_put_with_it(secrets: Any, secret: Make) -> None:
    arn = secret("labels", SecretString="1")
    older = secrets.put_secret_value(SecretId=arn, SecretString="2", VersionStages=["AWSPENDING"])["VersionId"]
    newer = secrets.put_secret_value(SecretId=arn, SecretString="3", VersionStages=["AWSPENDING"])["VersionId"]
    assert stages(secrets, arn)[newer] == ["AWSPENDING"]
    assert older not in stages(secrets, arn)
    assert secrets.get_secret_value(SecretId=arn)["SecretString"] == "1"


def test_current_moves_and_leaves_previous(secrets: Any, secret: Make) -> None:
    arn = secret("moves", SecretString="1")
    first = secrets.get_secret_value(SecretId=arn)["VersionId"]
    second = secrets.put_secret_value(SecretId=arn, SecretString="2", VersionStages=["AWSPENDING"])["VersionId"]
    move = {"SecretId": arn, "VersionStage": "AWSCURRENT", "MoveToVersionId": second}
    with refused("InvalidParameterException", "RemoveFromVersionId"):
        secrets.update_secret_version_stage(**move)
    secrets.update_secret_version_stage(**move, RemoveFromVersionId=first)
    assert "AWSCURRENT" in stages(secrets, arn)[second]
    assert stages(secrets, arn)[first] == ["AWSPREVIOUS"]


@pytest.mark.behaviour("secretsmanager.current_is_moved_not_removed")
def test_current_cannot_be_taken_away(secrets: Any, secret: Make) -> None:
    arn = secret("keeps", SecretString="1")
    version = secrets.get_secret_value(SecretId=arn)["VersionId"]
    with refused("InvalidParameterException", "can't be completely removed", 400):
        secrets.update_secret_version_stage(SecretId=arn, VersionStage="AWSCURRENT", RemoveFromVersionId=version)


@pytest.mark.behaviour("secretsmanager.version_and_stage_agree")
def test_a_version_is_not_read_by_a_label_that_it_lacks(secrets: Any, secret: Make) -> None:
    arn = secret("agrees", SecretString="1")
    version = secrets.get_secret_value(SecretId=arn)["VersionId"]
    assert secrets.get_secret_value(SecretId=arn, VersionId=version, VersionStage="AWSCURRENT")["SecretString"] == "1"
    with refused("InvalidRequestException", "not associated", 400):
        secrets.get_secret_value(SecretId=arn, VersionId=version, VersionStage="AWSPREVIOUS")


@pytest.mark.behaviour("secretsmanager.deprecated_versions_stay")
def test_a_deprecated_version_is_still_there(secrets: Any, secret: Make) -> None:
    arn = secret("deprecated", SecretString="1")
    first = secrets.get_secret_value(SecretId=arn)["VersionId"]
    for value in "23":
        secrets.put_secret_value(SecretId=arn, SecretString=value)
    assert first not in stages(secrets, arn)
    assert secrets.get_secret_value(SecretId=arn, VersionId=first)["SecretString"] == "1"


@pytest.mark.behaviour("secretsmanager.deprecated_versions_are_hidden")
def test_deprecated_versions_are_listed_on_demand(secrets: Any, secret: Make) -> None:
    arn = secret("listed", SecretString="1")
    first = secrets.get_secret_value(SecretId=arn)["VersionId"]
    for value in "23":
        secrets.put_secret_value(SecretId=arn, SecretString=value)
    shown = [version["VersionId"] for version in secrets.list_secret_version_ids(SecretId=arn)["Versions"]]
    everything = secrets.list_secret_version_ids(SecretId=arn, IncludeDeprecated=True)["Versions"]
    assert first not in shown
    assert len(shown) == 2
    assert "VersionStages" not in next(version for version in everything if version["VersionId"] == first)


@pytest.mark.behaviour("secretsmanager.a_version_has_a_value", "secretsmanager.a_version_has_one_value")
def test_a_version_has_one_value(secrets: Any, secret: Make) -> None:
    arn = secret("value")
    with refused("InvalidRequestException", "either SecretString or SecretBinary", 400):
        secrets.put_secret_value(SecretId=arn)
    with refused("InvalidParameterException", "both", 400):
        secrets.put_secret_value(SecretId=arn, SecretString="x", SecretBinary=b"x")


def test_a_secret_that_is_marked_for_deletion_is_neither_read_nor_changed(secrets: Any, secret: Make) -> None:
    arn = secret("marked", SecretString="1")
    secrets.delete_secret(SecretId=arn, RecoveryWindowInDays=7)
    for call, more in (
        (secrets.get_secret_value, {}),
        (secrets.put_secret_value, {"SecretString": "2"}),
        (secrets.update_secret, {"Description": "x"}),
        (secrets.tag_resource, {"Tags": [{"Key": "a", "Value": "b"}]}),
        (secrets.rotate_secret, {}),
    ):
        with refused("InvalidRequestException", MARKED, 400):
            call(SecretId=arn, **more)
    with refused("InvalidRequestException", "already scheduled for deletion"):
        secrets.delete_secret(SecretId=arn)
    assert secrets.describe_secret(SecretId=arn)["DeletedDate"]
    secrets.restore_secret(SecretId=arn)
    assert secrets.get_secret_value(SecretId=arn)["SecretString"] == "1"


def test_recovery_takes_7_to_30_days_or_none_at_all(secrets: Any, secret: Make) -> None:
    arn = secret("window", SecretString="1")
    with refused("InvalidParameterException", "between 7 and 30"):
        secrets.delete_secret(SecretId=arn, RecoveryWindowInDays=6)
    with refused("InvalidParameterException", "in conjunction with RecoveryWindowInDays"):
        secrets.delete_secret(SecretId=arn, RecoveryWindowInDays=7, ForceDeleteWithoutRecovery=True)
    secrets.delete_secret(SecretId=arn, ForceDeleteWithoutRecovery=True)
    with refused("ResourceNotFoundException"):
        secrets.describe_secret(SecretId=arn)


@pytest.mark.behaviour("secretsmanager.name_is_taken_until_the_secret_is_gone")
def test_the_name_is_taken_while_deletion_is_scheduled(secrets: Any, secret: Make) -> None:
    arn = secret("taken", SecretString="1")
    secrets.delete_secret(SecretId=arn, RecoveryWindowInDays=7)
    with refused("InvalidRequestException", "already scheduled for deletion", 400):
        secrets.create_secret(Name="taken", SecretString="2")
    secrets.delete_secret(SecretId=arn, ForceDeleteWithoutRecovery=True)
    assert secret("taken", SecretString="2") != arn


@pytest.mark.behaviour("secretsmanager.forced_deletion_of_nothing")
def test_nothing_can_be_deleted_by_force(secrets: Any) -> None:
    gone = secrets.delete_secret(SecretId="nobody", ForceDeleteWithoutRecovery=True)
    assert gone["Name"] == "nobody"
    assert gone["DeletionDate"]


@pytest.mark.behaviour("secretsmanager.no_policy_of_a_secret_that_goes")
def test_a_marked_secret_shows_no_policy(secrets: Any, secret: Make) -> None:
    arn = secret("policed", SecretString="1")
    secrets.delete_secret(SecretId=arn, RecoveryWindowInDays=7)
    with refused("InvalidRequestException", MARKED, 400):
        secrets.get_resource_policy(SecretId=arn)


@pytest.mark.behaviour("secretsmanager.a_resource_policy_is_a_policy")
def test_a_resource_policy_has_statements(secrets: Any, secret: Make) -> None:
    arn = secret("policy", SecretString="1")
    for text in ("nothing", "{}"):
        with refused("MalformedPolicyDocumentException", status=400):
            secrets.put_resource_policy(SecretId=arn, ResourcePolicy=text)


@pytest.mark.behaviour(
    "secretsmanager.rotation_needs_a_function", "secretsmanager.rotation_function_must_let_itself_be_called"
)
def test_nothing_is_rotated_without_a_function(secrets: Any, secret: Make) -> None:
    arn = secret("rotated", SecretString="1")
    version = secrets.get_secret_value(SecretId=arn)["VersionId"]
    with refused("InvalidRequestException", "No Lambda rotation function ARN", 400):
        secrets.rotate_secret(SecretId=arn)
    function = "arn:aws:lambda:us-west-2:123456789012:function:rotate"
    with refused("AccessDeniedException", "cannot invoke the specified Lambda function", 400):
        secrets.rotate_secret(SecretId=arn, RotationLambdaARN=function)
    assert secrets.get_secret_value(SecretId=arn)["VersionId"] == version
    assert not secrets.describe_secret(SecretId=arn).get("RotationEnabled")


def names(secrets: Any, *filters: tuple[str, list[str]], **more: Any) -> list[str]:
    given = [{"Key": key, "Values": values} for key, values in filters]
    pages = secrets.get_paginator("list_secrets").paginate(Filters=given, **more)
    return [found["Name"] for page in pages for found in page["SecretList"]]


@pytest.mark.behaviour("secretsmanager.filters_match_beginnings")
def test_filters_compare_beginnings(secrets: Any, secret: Make) -> None:
    secret("filter-a", Description="of the ledger", Tags=[{"Key": "Owner", "Value": "ops"}])
    secret("filter-b", Description="of the app", Tags=[{"Key": "Owner", "Value": "dev"}])
    assert names(secrets, ("name", ["filter-"])) == ["filter-a", "filter-b"]
    assert names(secrets, ("name", ["ilter-"])) == []
    assert names(secrets, ("name", ["Filter-"])) == []
    assert names(secrets, ("name", ["filter-"]), ("description", ["LEDG"])) == ["filter-a"]
    assert names(secrets, ("tag-key", ["Own"]), ("tag-value", ["de"])) == ["filter-b"]
    assert names(secrets, ("name", ["filter-"]), ("tag-value", ["!ops"])) == ["filter-b"]


def test_secrets_come_in_pages_and_deleted_ones_on_demand(secrets: Any, secret: Make) -> None:
    for number in range(3):
        secret(f"paged-{number}", SecretString="x")
    secrets.delete_secret(SecretId="paged-1", RecoveryWindowInDays=7)
    page = secrets.list_secrets(MaxResults=1, Filters=[{"Key": "name", "Values": ["paged-"]}])
    assert len(page["SecretList"]) == 1
    assert page["NextToken"]
    one_a_page = {"PaginationConfig": {"PageSize": 1}}
    assert names(secrets, ("name", ["paged-"]), **one_a_page) == ["paged-0", "paged-2"]
    assert names(secrets, ("name", ["paged-"]), IncludePlannedDeletion=True, **one_a_page) == [
        "paged-0",
        "paged-1",
        "paged-2",
    ]


@pytest.mark.behaviour("secretsmanager.pages_go_on_by_their_token")
def test_a_token_of_nobody_is_refused(secrets: Any) -> None:
    with refused("InvalidNextTokenException", status=400):
        secrets.list_secrets(NextToken="nobody-gave-this-out")


@pytest.mark.behaviour("secretsmanager.values_need_a_usable_key", "secretsmanager.values_are_read_by_a_usable_key")
def test_a_value_needs_its_key(sandbox: Sandbox, secrets: Any, secret: Make) -> None:
    kms = sandbox.client("kms")
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    with refused("EncryptionFailure", "using the provided KMS key", 400):
        secrets.create_secret(Name="keyed", SecretString="1", KmsKeyId="00000000-0000-4000-8000-000000000000")
    arn = secret("keyed", SecretString="1", KmsKeyId=key)
    kms.disable_key(KeyId=key)
    with refused("DecryptionFailure", status=400):
        secrets.get_secret_value(SecretId=arn)
    with refused("EncryptionFailure"):
        secrets.put_secret_value(SecretId=arn, SecretString="2")
    kms.enable_key(KeyId=key)
    assert secrets.get_secret_value(SecretId=arn)["SecretString"] == "1"
    kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
