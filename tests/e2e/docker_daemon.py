"""Stands where Docker would: takes the requests of Docker's API on a socket, and pushes an index to the local ECR.

It builds nothing: the image's only layer is the build context as it came. What is tested with it are the requests that
go out (context, arguments, login), and that the role finds again what a daemon pushed.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import socketserver
import tarfile
import tempfile
import threading
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from . import harness

OCI = "application/vnd.oci.image."
# Docker's command line with buildx: passes a build on to the daemon, as the real one does.
CLIENT = """\
#!{python}
import http.client, io, json, os, pathlib, socket, sys, tarfile, urllib.parse
arguments = sys.argv[1:]
path = arguments[arguments.index("--host") + 1].removeprefix("unix://")
rest = arguments[arguments.index("--host") + 2:]
def ask(method, url, body=None):
    connection = http.client.HTTPConnection("docker")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(path)
    connection.request(method, url, body, {{"Content-Length": str(len(body or b""))}})
    return connection.getresponse().read().decode()
if rest[0] == "version":
    print(json.dumps({{"Server": {{"ApiVersion": "1.47"}}}}))
elif rest[0] == "info":
    print(json.dumps({{"ClientInfo": {{"Plugins": [{{"Name": "buildx", "Version": "v0.20.0"}}]}}}}))
elif rest[:2] == ["image", "ls"]:
    for image in json.loads(ask("GET", "/images/json")):
        name, tag = image["RepoTags"][0].rsplit(":", 1)
        print(json.dumps({{"ID": image["Id"], "Repository": name, "Tag": tag}}))
elif rest[:2] == ["image", "inspect"]:
    print("[" + ask("GET", "/images/" + rest[2] + "/json") + "]")
elif rest[:2] == ["buildx", "build"]:
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        tar.add(rest[rest.index("--") + 1], ".")
    pairs = [value.split("=", 1) for name, value in zip(rest, rest[1:]) if name == "--build-arg"]
    logins = json.loads(pathlib.Path(os.environ["DOCKER_CONFIG"], "config.json").read_text())["auths"]
    query = {{"t": rest[rest.index("--tag") + 1], "platform": rest[rest.index("--platform") + 1],
             "buildargs": json.dumps(dict(pairs)), "logins": json.dumps(sorted(logins)),
             "folder": os.environ["DOCKER_CONFIG"]}}
    ask("POST", "/build?" + urllib.parse.urlencode(query), context.getvalue())
else:
    sys.exit("not expected: " + " ".join(rest))
"""


def digest_of(data: bytes) -> str:
    """As the registry names bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


class Daemon:
    """`requests` are method and path; `builds` the parameters of each build, `context` the last one's files."""

    def __init__(self, python: str) -> None:
        # Not pytest's folder: the name of a socket has at most 107 bytes.
        self._folder = tempfile.TemporaryDirectory(prefix="dockerd-")
        folder = Path(self._folder.name)
        self.socket = folder / "docker.sock"
        self.client_folder = folder / "bin"
        self.client_folder.mkdir()
        (self.client_folder / "docker").write_text(CLIENT.format(python=python), "utf-8")
        (self.client_folder / "docker").chmod(0o755)
        self.requests: list[tuple[str, str]] = []
        self.builds: list[dict[str, str]] = []
        self.context: dict[str, bytes] = {}
        self.logins: list[str] = []
        self._image: dict[str, Any] = {}
        self._layer = b""
        daemon = self

        class Handler(_Handler):
            owner = daemon

        self._server = _Server(str(self.socket), Handler)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        """End the server, remove socket and client."""
        self._server.shutdown()
        self._server.server_close()
        self._folder.cleanup()

    @property
    def images(self) -> list[dict[str, Any]]:
        """As GET /images/json lists them."""
        return [self._image] if self._image else []

    def build(self, query: dict[str, str], context: bytes) -> None:
        """Keep the build; its result is an image of the context."""
        self.builds.append(query)
        with tarfile.open(fileobj=io.BytesIO(context)) as tar:
            files = [member for member in tar.getmembers() if member.isfile()]
            self.context = {m.name.removeprefix("./"): (tar.extractfile(m) or io.BytesIO()).read() for m in files}
        self._layer = context
        self._image = {"Id": digest_of(context), "RepoTags": [query["t"]], "RepoDigests": [], "Labels": None}

    def push(self, tag: str, authorization: str) -> str:
        """What BuildKit pushes: an image, an attestation, and an index of both that has the tag."""
        login = json.loads(base64.urlsafe_b64decode(authorization))
        self.logins.append(login["username"])
        registry = _Registry(login["username"], login["password"])
        arguments = json.loads(self.builds[-1]["buildargs"])
        platform = dict(zip(("os", "architecture"), self.builds[-1]["platform"].split("/"), strict=True))
        labels = {"org.opencontainers.image.revision": arguments["REVISION"]}
        config = {**platform, "config": {"Labels": labels}, "rootfs": {"type": "layers", "diff_ids": []}}
        image = registry.manifest(config, self._layer, OCI + "layer.v1.tar")
        unknown = {"os": "unknown", "architecture": "unknown"}
        attestation = registry.manifest({**unknown, "config": {}}, b"{}", "application/vnd.in-toto+json")
        notes = {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": image["digest"]}
        manifests = [{**image, "platform": platform}, {**attestation, "platform": unknown, "annotations": notes}]
        index = {"schemaVersion": 2, "mediaType": OCI + "index.v1+json", "manifests": manifests}
        return registry.put(tag, json.dumps(index).encode(), index["mediaType"])


class _Registry:
    """The distribution API of the local ECR, with the login that came along."""

    def __init__(self, username: str, password: str) -> None:
        self._url = f"{harness.facts()['endpoint']}/v2/papyrus"
        self._login = "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()

    def _send(self, method: str, url: str, data: bytes, media_type: str = "application/octet-stream") -> Any:
        headers = {"Authorization": self._login, "Content-Type": media_type}
        request = urllib.request.Request(url, data=data, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.headers

    def blob(self, data: bytes) -> None:
        place = urllib.parse.urljoin(self._url, self._send("POST", f"{self._url}/blobs/uploads/", b"")["Location"])
        self._send("PUT", f"{place}{'&' if '?' in place else '?'}digest={digest_of(data)}", data)

    def put(self, reference: str, data: bytes, media_type: str) -> str:
        self._send("PUT", f"{self._url}/manifests/{reference}", data, media_type)
        return digest_of(data)

    def manifest(self, config: dict[str, Any], layer: bytes, layer_type: str) -> dict[str, Any]:
        """A manifest with its blobs, pushed by digest. Its descriptor."""
        raw = json.dumps(config).encode()
        self.blob(raw)
        self.blob(layer)
        made = {
            "schemaVersion": 2,
            "mediaType": OCI + "manifest.v1+json",
            "config": {"mediaType": OCI + "config.v1+json", "digest": digest_of(raw), "size": len(raw)},
            "layers": [{"mediaType": layer_type, "digest": digest_of(layer), "size": len(layer)}],
        }
        data = json.dumps(made).encode()
        self.put(digest_of(data), data, OCI + "manifest.v1+json")
        return {"mediaType": OCI + "manifest.v1+json", "digest": digest_of(data), "size": len(data)}


class _Handler(BaseHTTPRequestHandler):
    owner: Daemon

    def address_string(self) -> str:
        return "socket"

    def log_message(self, format: str, *args: Any) -> None:
        """Tests read `requests`."""

    def _answer(self, value: Any, status: int = 200) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def do_GET(self) -> None:
        path = urllib.parse.urlsplit(self.path).path
        self.owner.requests.append(("GET", path))
        if path.endswith("/version"):
            self._answer({"ApiVersion": "1.47", "MinAPIVersion": "1.24", "Version": "27.0.0"})
        elif path.endswith("/images/json"):
            self._answer(self.owner.images)
        elif "/images/" in path and self.owner.images:
            self._answer(self.owner.images[0])
        else:
            self._answer({"message": "No such image"}, 404)

    def do_POST(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        query, body = dict(urllib.parse.parse_qsl(url.query)), self._body()
        self.owner.requests.append(("POST", url.path))
        if url.path.endswith("/build"):
            self.owner.build(query, body)
            self._answer({"stream": f"Successfully built {self.owner.images[0]['Id'][7:19]}\n"})
        elif url.path.endswith("/push"):
            digest = self.owner.push(query["tag"], self.headers["X-Registry-Auth"])
            self._answer({"status": "Pushed", "aux": {"Tag": query["tag"], "Digest": digest}})
        else:
            self._answer({"message": f"not expected: {self.path}"}, 500)
