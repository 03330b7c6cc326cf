"""Each read call of a playbook, asked by the product's own clients with a fault in its way, once and for ever.

Once: the answer is the same as without, or a clear error. For ever: an error in bounded time that names the call, says
whether anybody knows what happened, and never that the thing does not exist or that there is nothing.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import boto3
from ansible_collections.papyrus.ops.plugins.module_utils import _aws
from ansible_collections.papyrus.ops.plugins.module_utils._aws import AwsFailure
from ansible_collections.papyrus.ops.plugins.module_utils._calls import Calls
from botocore import xform_name

from . import fault_cells, harness
from .fault_cells import RECORD, Api
from .services import unique

SESSION, LOCK = boto3.session.Session(), threading.Lock()
NOT_ASKED = {"GetAuthorizationToken"}
"""Another token each time."""
ANSWERED = {"late", "slow body"}
NOT_TRIED_AGAIN = {"expired"}


@dataclass
class Asked:
    """One call with a fault in its way. `code` is "" when it was answered."""

    api: str
    fault: str
    times: str
    tries: int
    code: str
    text: str
    seconds: float
    wrong: str = ""


def product_clients(key: str, **config: Any) -> Any:
    """The clients that every module gets, of this access key; `config` as a module changes it."""

    known = harness.facts()
    made: dict[str, Any] = {}

    def client(service: str) -> Any:
        with LOCK:  # making clients from one session is not thread-safe
            if service not in made:
                own = SESSION.client(
                    service,
                    region_name=known["region"],
                    endpoint_url=known["endpoint"],
                    aws_access_key_id=key,
                    aws_secret_access_key=known["secret_access_key"],
                    config=_aws.retry_config(**config),
                )
                made[service] = _aws.only_whole_answers(own)
            return made[service]

    return client


@contextlib.contextmanager
def in_the_way(apis: Iterable[Api], fault: str, times: int | None) -> Iterator[str]:
    """An access key whose calls of `apis` are hit; the faults go with the block."""
    key = unique("direct")
    fault_cells.add(api.rule(fault, key, times) for api in apis)
    try:
        yield key
    finally:
        fault_cells.remove(key)


def reads(baseline: Mapping[str, Any]) -> dict[Api, dict[str, Any]]:
    """The read calls of Python that were answered, with the parameters of the first one."""
    found: dict[Api, dict[str, Any]] = {}
    for call in baseline["calls"]:
        api = Api.of(call)
        if api is None or api.caller != "python" or not call["read_only"] or call["status"] != 200:
            continue
        if api.operation not in NOT_ASKED and "…" not in str(call["parameters"]):
            found.setdefault(api, call["parameters"])
    return found


def ask(clients: Any, api: Api, parameters: Mapping[str, Any]) -> tuple[Any, Exception | None]:
    """(answer without what differs each time, error)."""

    try:
        answer = Calls(clients).call(api.service, xform_name(api.operation), "what was asked for", **parameters)
    except Exception as error:
        return None, error
    return sorted(name for name, value in answer.items() if name != "ResponseMetadata" and value), None


def one(clients: Any, api: Api, parameters: Mapping[str, Any], fault: str, times: int | None, whole: Any) -> Asked:
    """Ask once; `whole` is the answer without a fault."""

    begun = time.monotonic()
    answer, error = ask(clients, api, parameters)
    seconds = round(time.monotonic() - begun, 1)
    code = error.code if isinstance(error, AwsFailure) else type(error).__name__ if error else ""
    asked = Asked(str(api), fault, "once" if times else "always", 0, code, str(error or ""), seconds)
    if error is not None and not isinstance(error, AwsFailure):
        asked.wrong = "an error that nobody translates"
    elif error is not None and (error.missing or api.operation not in str(error)):
        asked.wrong = "says that the thing is not there" if error.missing else "does not name the call"
    elif error is None and answer != whole:
        asked.wrong = f"another answer than without the fault: {answer}"
    elif error is None and not times and fault not in ANSWERED:
        asked.wrong = "answered, though nobody answered"
    elif error is not None and times and fault not in NOT_TRIED_AGAIN:
        asked.wrong = "not tried again"
    return asked


def run(
    baseline: Mapping[str, Any],
    faults: Iterable[str],
    ever: bool = True,
    at_once: int = 48,
    say: Callable[[str], None] = print,
) -> list[Asked]:
    """Every read call × fault × {once, with `ever` for ever too}. What is not as it should be has `wrong`."""
    known = reads(baseline)
    plain = product_clients(unique("direct"))
    whole = {api: ask(plain, api, parameters) for api, parameters in known.items()}
    broken = {str(api): str(error) for api, (_answer, error) in whole.items() if error is not None}
    say(f"{len(known)} calls; no answer even without a fault, left out: {broken or 'none'}")
    known = {api: parameters for api, parameters in known.items() if whole[api][1] is None}
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(at_once) as pool:
        futures, keys = [], {}
        for fault in faults:
            for times in (1, None) if ever else (1,):
                key = stack.enter_context(in_the_way(known, fault, times))
                clients, keys[key] = product_clients(key), (fault, "once" if times else "always")
                futures += [
                    pool.submit(one, clients, api, parameters, fault, times, whole[api][0])
                    for api, parameters in known.items()
                ]
        asked = [future.result() for future in futures]
    tries: Counter[tuple[str, ...]] = Counter()
    for key, cell in keys.items():
        tries.update((f"{call['service']}:{call['operation']}", *cell) for call in RECORD.of(key))
    for each in asked:
        each.tries = tries[each.api, each.fault, each.times]
    return asked
