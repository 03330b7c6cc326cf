# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An AWS endpoint on loopback for processes that cannot be given a fake client: ELBv2 and EC2 with nothing in them."""

from __future__ import annotations

import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_LISTS = {
    "DescribeLoadBalancers": "LoadBalancers",
    "DescribeTargetGroups": "TargetGroups",
    "DescribeTags": "TagDescriptions",
}


class AwsEndpoint:
    """Answers the Describe calls of a gone-check; `left` are load balancers (ARN, name, tags) that are still there.

    `refuse` are actions that are denied; when `expired`, the credentials are.
    While it is `away` connections are cut unanswered, and counted.
    """

    def __init__(self) -> None:
        self.actions: list[str] = []
        self.refuse: set[str] = set()
        self.expired = False
        self.away = False
        self.cut = 0
        self.left: dict[str, dict[str, str]] = {}
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                if endpoint.away:
                    endpoint.cut += 1
                    self.close_connection = True
                    return
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                form = dict(urllib.parse.parse_qsl(body))
                status, text = endpoint.answer(form)
                data = text.encode()
                self.send_response(status)
                self.send_header("Content-Type", "text/xml")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, form: dict[str, str]) -> tuple[int, str]:
        action = form["Action"]
        self.actions.append(action)
        if self.expired:
            return 403, _error("ExpiredToken", "The security token included in the request is expired")
        if action in self.refuse:
            return 403, _error("AccessDenied", f"not allowed to {action}")
        if action == "GetCallerIdentity":
            return 200, _result(action, "<Arn>arn:aws:iam::123456789012:user/ci</Arn>", len(self.actions))
        if action in ("DescribeSecurityGroups", "DescribeNetworkInterfaces"):
            item = "securityGroupInfo" if action == "DescribeSecurityGroups" else "networkInterfaceSet"
            return 200, f"<{action}Response><requestId>ec2-{len(self.actions)}</requestId><{item}/></{action}Response>"
        if action == "DescribeLoadBalancers" and form.get("LoadBalancerArns.member.1", "") not in ("", *self.left):
            return 400, _error("LoadBalancerNotFound", "One or more load balancers not found")
        if action == "DeleteLoadBalancer":
            self.left.pop(form["LoadBalancerArn"], None)
            return 200, _result(action, "", len(self.actions))
        content = ""
        for arn, tags in self.left.items() if action != "DescribeTargetGroups" else ():
            name = arn.split("/")[-2]
            pairs = "".join(f"<member><Key>{k}</Key><Value>{v}</Value></member>" for k, v in tags.items())
            if action == "DescribeTags":
                content += f"<member><ResourceArn>{arn}</ResourceArn><Tags>{pairs}</Tags></member>"
            elif action == "DescribeLoadBalancers":
                content += _member(LoadBalancerArn=arn, LoadBalancerName=name)
        key = _LISTS.get(action, "Listeners")
        return 200, _result(action, f"<{key}>{content}</{key}>", len(self.actions))


def _member(**fields: str) -> str:
    return "<member>" + "".join(f"<{key}>{value}</{key}>" for key, value in fields.items()) + "</member>"


def _result(action: str, content: str, number: int) -> str:
    meta = f"<ResponseMetadata><RequestId>elb-{number}</RequestId></ResponseMetadata>"
    return f"<{action}Response><{action}Result>{content}</{action}Result>{meta}</{action}Response>"


def _error(code: str, message: str) -> str:
    error = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return f"<ErrorResponse>{error}<RequestId>refused-1</RequestId></ErrorResponse>"
