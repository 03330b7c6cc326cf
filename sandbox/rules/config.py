"""What Config refuses: a second recorder or delivery channel, and either without the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandbox import emulator
from sandbox.rules import Refusal, rule

if TYPE_CHECKING:
    from sandbox.requests import ApiRequest
    from sandbox.runtime import Runtime


def _recorders() -> dict[str, Any]:
    awsconfig = emulator.service("config")
    return dict(awsconfig._recorders.items())


def _channels() -> dict[str, Any]:
    awsconfig = emulator.service("config")
    return dict(awsconfig._delivery_channels.items())


@rule("config", "PutConfigurationRecorder", code="MaxNumberOfConfigurationRecordersExceededException")
def one_recorder_a_region(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """There is one customer managed configuration recorder per account and region.

    https://docs.aws.amazon.com/config/latest/APIReference/API_PutConfigurationRecorder.html
    """
    name = (request.parameters.get("ConfigurationRecorder") or {}).get("name") or "default"
    known = _recorders()
    if not known or name in known:
        return None
    words = f"Failed to put configuration recorder '{name}' because the maximum number of configuration recorders: 1"
    return Refusal("MaxNumberOfConfigurationRecordersExceededException", f"{words} is reached.")


@rule("config", "PutConfigurationRecorder", code="InvalidRecordingGroupException", stateful=False)
def a_recording_group_is_of_one_kind(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A recording group records all types, or those that it lists: not both.

    https://docs.aws.amazon.com/config/latest/APIReference/API_RecordingGroup.html
    """
    group = (request.parameters.get("ConfigurationRecorder") or {}).get("recordingGroup") or {}
    if group.get("allSupported") and group.get("resourceTypes"):
        return Refusal("InvalidRecordingGroupException", "The recording group provided is not valid")
    return None


@rule("config", "PutDeliveryChannel", code="NoAvailableConfigurationRecorderException")
def a_channel_needs_a_recorder(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A delivery channel can be made only where there is a configuration recorder.

    https://docs.aws.amazon.com/config/latest/APIReference/API_PutDeliveryChannel.html
    """
    if _recorders():
        return None
    words = "Configuration recorder is not available to put delivery channel."
    return Refusal("NoAvailableConfigurationRecorderException", words)


@rule("config", "PutDeliveryChannel", code="MaxNumberOfDeliveryChannelsExceededException")
def one_channel_a_region(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """There is one delivery channel per account and region.

    https://docs.aws.amazon.com/config/latest/APIReference/API_PutDeliveryChannel.html
    """
    name = (request.parameters.get("DeliveryChannel") or {}).get("name") or "default"
    known = _channels()
    if not known or name in known:
        return None
    words = f"Failed to put delivery channel '{name}' because the maximum number of delivery channels: 1 is reached."
    return Refusal("MaxNumberOfDeliveryChannelsExceededException", words)


@rule("config", "PutDeliveryChannel", code="NoSuchBucketException")
def a_channel_needs_its_bucket(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """The bucket of a delivery channel must exist.

    https://docs.aws.amazon.com/config/latest/APIReference/API_PutDeliveryChannel.html
    """
    bucket = (request.parameters.get("DeliveryChannel") or {}).get("s3BucketName")
    s3 = emulator.service("s3")
    if bucket and bucket not in s3._buckets:
        return Refusal("NoSuchBucketException", f"Cannot find a S3 bucket with an empty bucket name or '{bucket}'.")
    return None


@rule("config", "StartConfigurationRecorder", code="NoAvailableDeliveryChannelException")
def a_recorder_starts_with_a_channel(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A configuration recorder starts only when there is a delivery channel.

    https://docs.aws.amazon.com/config/latest/APIReference/API_StartConfigurationRecorder.html
    """
    if request.parameters.get("ConfigurationRecorderName") not in _recorders() or _channels():
        return None
    words = "Delivery channel is not available to start configuration recorder."
    return Refusal("NoAvailableDeliveryChannelException", words)


@rule("config", "DeleteDeliveryChannel", code="LastDeliveryChannelDeleteFailedException")
def a_running_recorder_keeps_its_channel(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """The delivery channel cannot be deleted while the configuration recorder runs.

    https://docs.aws.amazon.com/config/latest/APIReference/API_DeleteDeliveryChannel.html
    """
    name = request.parameters.get("DeliveryChannelName")
    if name not in _channels() or not any(recorder.get("recording") for recorder in _recorders().values()):
        return None
    words = f"Failed to delete last specified delivery channel with name '{name}', because there is a"
    return Refusal("LastDeliveryChannelDeleteFailedException", f"{words} running configuration recorder.")
