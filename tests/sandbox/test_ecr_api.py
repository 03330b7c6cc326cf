"""ECR's API: repositories, images, tags, layers, policies and pages, as its records decide."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest

from tests.sandbox.support import MANIFEST_TYPE, Sandbox, descriptor, digest, refused

INDEX_TYPE = "application/vnd.oci.image.index.v1+json"


def push(sandbox: Sandbox, repository: str, tag: str, content: str = "x") -> str:
    """Digest of an image with this content."""
    return sandbox.push(repository, tag, {"app/x": content}, ["x"]).partition("@")[2]


def manifest(sandbox: Sandbox, repository: str, image: str) -> str:
    got = sandbox.client("ecr").batch_get_image(repositoryName=repository, imageIds=[{"imageDigest": image}])
    return str(got["images"][0]["imageManifest"])


def tags(sandbox: Sandbox, repository: str) -> dict[str, list[str]]:
    found = sandbox.client("ecr").describe_images(repositoryName=repository)["imageDetails"]
    return {image["imageDigest"]: sorted(image.get("imageTags", [])) for image in found}


def registry(sandbox: Sandbox) -> dict[str, str]:
    data = sandbox.client("ecr").get_authorization_token()["authorizationData"][0]
    return {"Authorization": f"Basic {data['authorizationToken']}"}


def code(body: bytes) -> str:
    return str(json.loads(body)["errors"][0]["code"])


# Repositories


@pytest.mark.behaviour("ecr.repository_already_exists", "ecr.repository_not_found", "ecr.repository_not_empty")
def test_a_repository_is_made_once_and_deleted_empty_or_by_force(sandbox: Sandbox) -> None:
    ecr = sandbox.client("ecr")
    ecr.create_repository(repositoryName="api/once")
    where = "in the registry with id '123456789012'"
    with refused("RepositoryAlreadyExistsException", f"'api/once' already exists {where}", 400):
        ecr.create_repository(repositoryName="api/once")
    with refused("RepositoryNotFoundException", f"'api/none' does not exist {where}"):
        ecr.put_image(repositoryName="api/none", imageManifest="{}", imageTag="t")
    with refused("RepositoryNotFoundException", f"'api/none' does not exist {where}"):
        upload = "00000000-0000-4000-8000-000000000000"
        ecr.upload_layer_part(
            repositoryName="api/none", uploadId=upload, partFirstByte=0, partLastByte=1, layerPartBlob=b"x"
        )
    push(sandbox, "api/once", "t")
    with refused("RepositoryNotEmptyException", "still contains images"):
        ecr.delete_repository(repositoryName="api/once")
    ecr.delete_repository(repositoryName="api/once", force=True)
    with refused("RepositoryNotFoundException"):
        ecr.describe_images(repositoryName="api/once")


@pytest.mark.behaviour("ecr.lifecycle_policy_not_found", "ecr.repository_policy_not_found")
def test_policies_that_are_not_there_are_said_not_to_be(sandbox: Sandbox) -> None:
    ecr = sandbox.client("ecr")
    ecr.create_repository(repositoryName="api/policies")
    where = "the repository with name 'api/policies' in the registry with id '123456789012'"
    with refused("LifecyclePolicyNotFoundException", f"Lifecycle policy does not exist for {where}"):
        ecr.get_lifecycle_policy(repositoryName="api/policies")
    with refused("RepositoryPolicyNotFoundException", f"Repository policy does not exist for {where}"):
        ecr.delete_repository_policy(repositoryName="api/policies")


@pytest.mark.behaviour("ecr.listed_in_pages", "ecr.offset_of", "ecr.pages_or_names")
def test_images_and_repositories_come_in_pages(sandbox: Sandbox) -> None:
    ecr = sandbox.client("ecr")
    ecr.create_repository(repositoryName="api/pages")
    for number in range(3):
        push(sandbox, "api/pages", f"t{number}", str(number))
    first = ecr.describe_images(repositoryName="api/pages", maxResults=2)
    assert len(first["imageDetails"]) == 2
    second = ecr.describe_images(repositoryName="api/pages", maxResults=2, nextToken=first["nextToken"])
    assert [image["imageTags"] for image in second["imageDetails"]] == [["t2"]]
    assert "nextToken" not in second
    with refused("InvalidParameterException", "nextToken"):
        ecr.list_images(repositoryName="api/pages", nextToken=first["nextToken"])
    with refused("InvalidParameterException", "maxResults"):
        ecr.describe_images(repositoryName="api/pages", maxResults=2, imageIds=[{"imageTag": "t0"}])
    assert len(ecr.describe_repositories(maxResults=1)["repositories"]) == 1


# Images


@pytest.mark.behaviour("ecr.image_not_found", "ecr.size_of_the_layers", "ecr.pulls_are_recorded")
def test_an_image_is_described_by_its_layers_and_its_pulls(sandbox: Sandbox) -> None:
    ecr = sandbox.client("ecr")
    ecr.create_repository(repositoryName="api/described")
    image = push(sandbox, "api/described", "v1")
    known = [{"imageTag": "v1"}]
    detail = ecr.describe_images(repositoryName="api/described", imageIds=known)["imageDetails"][0]
    assert "lastRecordedPullTime" not in detail
    document = json.loads(manifest(sandbox, "api/described", image))
    assert detail["imageSizeInBytes"] == document["config"]["size"] + sum(x["size"] for x in document["layers"])
    detail = ecr.describe_images(repositoryName="api/described", imageIds=known)["imageDetails"][0]
    assert detail["lastRecordedPullTime"] >= detail["imagePushedAt"]
    with refused("ImageNotFoundException", "imageTag:'v2'"):
        ecr.describe_images(repositoryName="api/described", imageIds=[*known, {"imageTag": "v2"}])


@pytest.mark.behaviour("ecr.image_already_exists", "ecr.image_digest_does_not_match", "ecr.each_tag_is_listed")
def test_an_image_is_tagged_anew_by_putting_it(sandbox: Sandbox) -> None:
    ecr = sandbox.client("ecr")
    ecr.create_repository(repositoryName="api/retagged")
    image = push(sandbox, "api/retagged", "v1")
    put = {"repositoryName": "api/retagged", "imageManifest": manifest(sandbox, "api/retagged", image)}
    assert ecr.put_image(**put, imageTag="v2")["image"]["imageId"] == {"imageDigest": image, "imageTag": "v2"}
    with refused("ImageAlreadyExistsException", f"'{image}' and tag 'v2'"):
        ecr.put_image(**put, imageTag="v2")
    with refused("ImageDigestDoesNotMatchException"):
        ecr.put_image(**put, imageTag="v3", imageDigest=digest(b"other"))
    assert tags(sandbox, "api/retagged") == {image: ["v1", "v2"]}
    listed = ecr.list_images(repositoryName="api/retagged")["imageIds"]
    assert sorted(entry["imageTag"] for entry in listed) == ["v1", "v2"]
    other = push(sandbox, "api/retagged", "v2", "other")
    assert tags(sandbox, "api/retagged") == {image: ["v1"], other: ["v2"]}


@pytest.mark.behaviour("ecr.image_tag_is_immutable", "ecr.pushed_tag_must_not_be_immutable")
def test_an_immutable_tag_stays_where_it_is(sandbox: Sandbox) -> None:
    ecr = sandbox.client("ecr")
    ecr.create_repository(repositoryName="api/fixed", imageTagMutability="IMMUTABLE")
    first, second = push(sandbox, "api/fixed", "v1", "1"), push(sandbox, "api/fixed", "v2", "2")
    with refused("ImageTagAlreadyExistsException", "cannot be overwritten because the tag is immutable"):
        ecr.put_image(repositoryName="api/fixed", imageManifest=manifest(sandbox, "api/fixed", second), imageTag="v1")
    headers = {**registry(sandbox), "Content-Type": MANIFEST_TYPE}
    document = manifest(sandbox, "api/fixed", second).encode()
    status, _, body = sandbox.http("PUT", "/v2/api/fixed/manifests/v1", document, headers)
    assert (status, code(body)) == (400, "TAG_INVALID")
    same = manifest(sandbox, "api/fixed", first).encode()
    assert sandbox.http("PUT", "/v2/api/fixed/manifests/v1", same, headers)[0] == 201
    assert tags(sandbox, "api/fixed") == {first: ["v1"], second: ["v2"]}


@pytest.mark.behaviour("ecr.failure_of")
def test_what_is_not_found_is_named_beside_what_is(sandbox: Sandbox) -> None:
    ecr = sandbox.client("ecr")
    ecr.create_repository(repositoryName="api/failures")
    image, other = push(sandbox, "api/failures", "v1", "1"), push(sandbox, "api/failures", "v2", "2")
    asked = [{"imageTag": "v1"}, {"imageTag": "v9"}, {"imageDigest": other, "imageTag": "v1"}]
    got = ecr.batch_get_image(repositoryName="api/failures", imageIds=asked)
    assert [found["imageId"] for found in got["images"]] == [{"imageDigest": image, "imageTag": "v1"}]
    assert [failure["failureCode"] for failure in got["failures"]] == ["ImageNotFound", "ImageTagDoesNotMatchDigest"]
    assert got["failures"][0]["imageId"] == {"imageTag": "v9"}


@pytest.mark.behaviour("ecr.only_the_tag_goes")
def test_an_image_goes_with_its_last_tag_or_by_its_digest(sandbox: Sandbox) -> None:
    ecr = sandbox.client("ecr")
    ecr.create_repository(repositoryName="api/untagged")
    image = push(sandbox, "api/untagged", "v1")
    push(sandbox, "api/untagged", "v2")
    ecr.batch_delete_image(repositoryName="api/untagged", imageIds=[{"imageTag": "v1"}])
    assert tags(sandbox, "api/untagged") == {image: ["v2"]}
    deleted = ecr.batch_delete_image(repositoryName="api/untagged", imageIds=[{"imageTag": "v2"}])
    assert deleted["imageIds"] == [{"imageDigest": image, "imageTag": "v2"}]
    assert tags(sandbox, "api/untagged") == {}
    assert sandbox.http("GET", f"/v2/api/untagged/manifests/{image}", headers=registry(sandbox))[0] == 404


@pytest.mark.behaviour("ecr.image_of_an_index_stays", "ecr.pushed_index_names_images_that_are_there")
def test_an_index_and_its_images_hold_together(sandbox: Sandbox) -> None:
    ecr = sandbox.client("ecr")
    ecr.create_repository(repositoryName="api/index")
    image = push(sandbox, "api/index", "v1")
    size = len(manifest(sandbox, "api/index", image))

    def put(named: str) -> tuple[int, bytes]:
        platform = {"os": "linux", "architecture": "amd64"}
        entry = {"mediaType": MANIFEST_TYPE, "digest": named, "size": size, "platform": platform}
        document = json.dumps({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [entry]}).encode()
        headers = {**registry(sandbox), "Content-Type": INDEX_TYPE}
        status, _, body = sandbox.http("PUT", "/v2/api/index/manifests/all", document, headers)
        return status, body

    status, body = put(digest(b"not there"))
    assert (status, code(body)) == (404, "MANIFEST_UNKNOWN")
    assert put(image)[0] == 201
    answer = ecr.batch_delete_image(repositoryName="api/index", imageIds=[{"imageDigest": image}])
    assert [failure["failureCode"] for failure in answer["failures"]] == ["ImageReferencedByManifestList"]
    ecr.batch_delete_image(repositoryName="api/index", imageIds=[{"imageTag": "all"}])
    assert ecr.batch_delete_image(repositoryName="api/index", imageIds=[{"imageDigest": image}])["failures"] == []


# Layers


@pytest.mark.behaviour("ecr.layers_not_found", "ecr.layer_to_download_not_found")
def test_an_image_needs_its_layers(sandbox: Sandbox) -> None:
    ecr = sandbox.client("ecr")
    ecr.create_repository(repositoryName="api/layerless")
    document = {"schemaVersion": 2, "config": descriptor("x", b"absent"), "layers": []}
    with refused("LayersNotFoundException", digest(b"absent")):
        ecr.put_image(repositoryName="api/layerless", imageManifest=json.dumps(document), imageTag="t")
    with refused("LayersNotFoundException", digest(b"absent")):
        ecr.get_download_url_for_layer(repositoryName="api/layerless", layerDigest=digest(b"absent"))


@pytest.mark.behaviour("ecr.upload_must_exist", "ecr.parts_follow_each_other", "ecr.upload_must_not_be_empty")
@pytest.mark.behaviour("ecr.layer_must_have_its_digest", "ecr.layer_must_be_new")
def test_a_layer_is_uploaded_in_parts(sandbox: Sandbox) -> None:
    ecr = sandbox.client("ecr")
    repository: dict[str, Any] = {"repositoryName": "api/parts"}
    ecr.create_repository(**repository)

    def begin() -> dict[str, Any]:
        return {**repository, "uploadId": ecr.initiate_layer_upload(**repository)["uploadId"]}

    upload, whole = begin(), digest(b"onetwo")
    with refused("EmptyUploadException"):
        ecr.complete_layer_upload(**upload, layerDigests=[whole])
    assert (
        ecr.upload_layer_part(**upload, partFirstByte=0, partLastByte=2, layerPartBlob=b"one")["lastByteReceived"] == 2
    )
    with refused("InvalidLayerPartException", "first byte is 5"):
        ecr.upload_layer_part(**upload, partFirstByte=5, partLastByte=7, layerPartBlob=b"two")
    ecr.upload_layer_part(**upload, partFirstByte=3, partLastByte=5, layerPartBlob=b"two")
    with refused("InvalidLayerException", whole):
        ecr.complete_layer_upload(**upload, layerDigests=[digest(b"other")])
    assert ecr.complete_layer_upload(**upload, layerDigests=[whole])["layerDigest"] == whole
    with refused("UploadNotFoundException"):
        ecr.complete_layer_upload(**upload, layerDigests=[whole])
    again = begin()
    ecr.upload_layer_part(**again, partFirstByte=0, partLastByte=5, layerPartBlob=b"onetwo")
    with refused("LayerAlreadyExistsException", whole):
        ecr.complete_layer_upload(**again, layerDigests=[whole])
    layers = ecr.batch_check_layer_availability(**repository, layerDigests=[whole, digest(b"other")])["layers"]
    assert [layer["layerAvailability"] for layer in layers] == ["AVAILABLE", "UNAVAILABLE"]
    url = ecr.get_download_url_for_layer(**repository, layerDigest=whole)["downloadUrl"]
    assert url.startswith(sandbox.endpoint)
    assert sandbox.http("GET", url.removeprefix(sandbox.endpoint), headers=registry(sandbox))[2] == b"onetwo"


@pytest.mark.behaviour(
    "ecr.pushed_upload_must_exist", "ecr.pushed_chunks_follow_each_other", "ecr.pulled_blob_must_exist"
)
@pytest.mark.behaviour("ecr.pushed_manifest_must_have_its_digest")
def test_a_push_goes_on_where_it_was(sandbox: Sandbox) -> None:
    for name in ("api/chunks", "api/other"):
        sandbox.client("ecr").create_repository(repositoryName=name)
    headers, data = registry(sandbox), b"onetwo"
    start = sandbox.http("POST", "/v2/api/chunks/blobs/uploads/", b"", headers)[1]["location"]
    status, answer, _ = sandbox.http("PATCH", start, b"one", {**headers, "Content-Range": "0-2"})
    assert (status, answer["range"]) == (202, "0-2")
    assert sandbox.http("GET", start, headers=headers)[1]["range"] == "0-2"
    status, _, body = sandbox.http("PATCH", start, b"two", {**headers, "Content-Range": "5-7"})
    assert (status, code(body)) == (416, "RANGE_INVALID")
    elsewhere = start.replace("api/chunks", "api/other")
    status, _, body = sandbox.http("PATCH", elsewhere, b"two", headers)
    assert (status, code(body)) == (404, "BLOB_UPLOAD_UNKNOWN")
    assert sandbox.http("PUT", f"{start}?digest={digest(data)}", b"two", headers)[0] == 201
    assert sandbox.http("GET", f"/v2/api/chunks/blobs/{digest(data)}", headers=headers)[2] == data
    status, _, body = sandbox.http("GET", f"/v2/api/other/blobs/{digest(data)}", headers=headers)
    assert (status, code(body)) == (404, "BLOB_UNKNOWN")
    document = json.dumps({"schemaVersion": 2, "config": descriptor("x", data), "layers": []}).encode()
    wrong = f"/v2/api/chunks/manifests/{digest(b'other')}"
    status, _, body = sandbox.http("PUT", wrong, document, {**headers, "Content-Type": MANIFEST_TYPE})
    assert (status, code(body)) == (400, "DIGEST_INVALID")


def test_a_token_is_the_callers_and_lasts_twelve_hours(sandbox: Sandbox) -> None:
    data = sandbox.client("ecr").get_authorization_token()["authorizationData"][0]
    user, _, password = base64.b64decode(data["authorizationToken"]).decode().partition(":")
    assert user == "AWS"
    payload = json.loads(base64.urlsafe_b64decode(password.partition(".")[0]))
    assert payload[0] == sandbox.facts["access_key_id"]
    assert abs(payload[1] - data["expiresAt"].timestamp()) <= 1
    assert len(password.partition(".")[2]) == hashlib.sha256().digest_size * 2


@pytest.mark.behaviour("ecr.another_registry_is_closed")
def test_the_registry_of_another_account_is_closed(sandbox: Sandbox) -> None:
    ecr = sandbox.client("ecr")
    ecr.create_repository(repositoryName="api/own")
    assert ecr.describe_repositories(registryId="123456789012", repositoryNames=["api/own"])["repositories"]
    where = "arn:aws:ecr:us-west-2:999999999999:repository"
    with refused(
        "AccessDeniedException", f"not authorized to perform: ecr:DescribeImages on resource: {where}/api/own"
    ):
        ecr.describe_images(registryId="999999999999", repositoryName="api/own")
    with refused("AccessDeniedException", f"on resource: {where}/*", 400):
        ecr.describe_repositories(registryId="999999999999")
    ecr.delete_repository(repositoryName="api/own")
