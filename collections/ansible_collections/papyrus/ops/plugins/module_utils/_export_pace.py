# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How fast AWS is asked: never above a set rate, slower when it throttles, again a bounded number of times.

The clients behind it must not retry by themselves (`_aws.retry_config(retries=ONE_TRY)`): each request is counted and
has a slot of its own.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from ._aws import AwsFailure

T = TypeVar("T")

ONE_TRY: dict[str, Any] = {"mode": "standard", "total_max_attempts": 1}

LONGEST_PAUSE = 60.0
THROTTLES = 15
"""Throttled answers in a row after which it is given up: about ten minutes."""
TRANSIENTS = 8
"""Failures in a row of one unit that nobody is to blame for: about two minutes."""

Kind = Literal["throttled", "transient", "token", "credentials", "fatal"]

# botocore's own list (botocore/data/_retry.json), and CloudWatch Logs' and Config's.
_THROTTLED = frozenset(
    {
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionInProgressException",
    }
)
_TRANSIENT = frozenset(
    {
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServiceUnavailable",
        "ServiceUnavailableException",
    }
)
# https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/CommonErrors.html, and botocore's own classes.
_CREDENTIALS = frozenset(
    {
        "CredentialRetrievalError",
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidClientTokenId",
        "NoCredentialsError",
        "PartialCredentialsError",
        "RequestExpired",
        "SSOTokenLoadError",
        "TokenRefreshRequired",
        "TokenRetrievalError",
        "UnauthorizedSSOTokenError",
        "UnrecognizedClientException",
    }
)
_TOKEN = frozenset(
    {"ExpiredNextTokenException", "InvalidNextToken", "InvalidNextTokenException", "InvalidPaginationTokenException"}
)
_PARAMETER = frozenset({"InvalidParameterException", "InvalidParameterValueException", "ValidationException"})


def kind_of(failure: AwsFailure, token: str = "") -> Kind:
    """What can be done about it: slow down, ask again, ask without the token, get new credentials, or nothing."""
    if failure.code in _THROTTLED:
        return "throttled"
    if failure.unanswered or failure.code in _TRANSIENT:
        return "transient"
    if token and (failure.code in _TOKEN or (failure.code in _PARAMETER and "token" in failure.message.lower())):
        return "token"
    return "credentials" if failure.code in _CREDENTIALS else "fatal"


def pause_after(failures: int) -> float:
    """Seconds before the next try of something that failed that many times in a row: 1, 2, 4, … 30."""
    return float(min(2.0 ** (failures - 1), 30.0))


@dataclass
class Counts:
    """`retries` by kind of failure (its code), throttled ones apart."""

    requests: int = 0
    throttles: int = 0
    retries: dict[str, int] = field(default_factory=dict)

    def retried(self, failure: AwsFailure) -> None:
        code = failure.code or "unknown"
        self.retries[code] = self.retries.get(code, 0) + 1


class Pacer:
    """Slots for requests, 1/`rate` seconds apart or more, for all who share it. `rate` 0: as fast as it goes.

    A slot that was missed is not made up for: no second ever has more than `rate` requests. Throttling moves the next
    slot away, twice as far each time; with the first answer the set rate is back.
    """

    def __init__(
        self,
        rate: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        if rate < 0:
            raise ValueError(f"a rate is 0 or more requests a second, not {rate:g}")
        self.rate = rate
        # A billionth more than it has to be, so that no rounding of sums makes it less.
        self._interval = (1 + 1e-9) / rate if rate else 0.0
        self._clock = clock
        self._jitter = jitter
        self._next = clock()
        self._penalty = 0.0
        self.throttled_in_a_row = 0

    def wait(self) -> float:
        """Seconds until the next slot; 0 or less when there is one now."""
        return self._next - self._clock()

    def take(self) -> None:
        """Uses the slot that there is now, for a request which starts at once."""
        self._next = max(self._clock(), self._next) + self._interval

    def throttled(self) -> None:
        self.throttled_in_a_row += 1
        self._penalty = min(max(2 * self._penalty, 1.0, self._interval), LONGEST_PAUSE)
        pause = self._penalty * (1 + self._jitter() / 4)  # somebody else may have been throttled at the same moment
        self._next = max(self._next, self._clock() + pause)

    def answered(self) -> None:
        self.throttled_in_a_row = 0
        self._penalty = 0.0


class Patient:
    """Single requests, one after another, by the same rules: paced, throttling and bad luck waited out, all counted."""

    def __init__(
        self,
        pacer: Pacer,
        *,
        sleep: Callable[[float], None] = time.sleep,
        throttles: int = THROTTLES,
        transients: int = TRANSIENTS,
        counts: Counts | None = None,
    ) -> None:
        self.counts = counts if counts is not None else Counts()
        self.pacer = pacer
        self._sleep = sleep
        self._throttles = throttles
        self._transients = transients

    def ask(self, call: Callable[[], T]) -> T:
        """What `call`, one request that raises AwsFailure, answers at last. AwsFailure when it is no use to go on."""
        failures = 0
        while True:
            while (wait := self.pacer.wait()) > 0:
                self._sleep(wait)
            self.pacer.take()
            self.counts.requests += 1
            try:
                answer = call()
            except AwsFailure as failure:
                kind = kind_of(failure)
                if kind == "throttled":
                    self.counts.throttles += 1
                    self.pacer.throttled()
                    if self.pacer.throttled_in_a_row < self._throttles:
                        continue
                elif kind == "transient":
                    failures += 1
                    if failures < self._transients:
                        self.counts.retried(failure)
                        self._sleep(pause_after(failures))
                        continue
                raise
            self.pacer.answered()
            return answer
