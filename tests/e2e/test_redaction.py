"""One run into which secrets of every kind are planted wherever it reads something: none of them comes out (J1).

What is searched for is made here, by the formats' own libraries; the product's redactor is not asked.
"""

from __future__ import annotations

import base64
import html
import json
import re
import secrets
import shlex
import stat
import string
import threading
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from . import harness
from .harness import RunningSmoke
from .services import Services
from .surface import EVERY


def letters(length: int, more: str = "") -> str:
    """A text that stands nowhere else."""
    return "".join(secrets.choice(string.ascii_letters + string.digits + more) for _ in range(length))


def segment(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@dataclass
class Planted:
    """Secrets that the run reads itself (known), and such that only their label or form betrays."""

    db: str = field(default_factory=lambda: f"p\"ä$w'=\\ö %41&<{letters(8)}>${{x}}9")
    ci: str = field(default_factory=lambda: f"ghp{letters(30)}")
    deploy: str = field(default_factory=lambda: f"{letters(6)} {letters(6)}+/&%{letters(4)}")
    header: str = ""
    pg: str = field(default_factory=lambda: letters(20))
    aws: str = field(default_factory=lambda: letters(40, "/+"))
    session: str = field(default_factory=lambda: f"IQoJb3JpZ2lu{letters(200, '/+')}==")
    jwt: str = field(
        default_factory=lambda: f"{segment({'alg': 'HS256'})}.{segment({'sub': letters(20)})}.{letters(43, '-_')}"
    )
    cookie: str = field(default_factory=lambda: letters(32))
    signature: str = field(default_factory=lambda: secrets.token_hex(32))
    ssm: str = field(default_factory=lambda: letters(80, "/+"))
    key: str = field(default_factory=lambda: base64.encodebytes(secrets.token_bytes(600)).decode())
    uri: str = field(default_factory=lambda: f"{letters(8)}%2F{letters(8)}")
    ecr: str = field(default_factory=lambda: base64.b64encode(f"AWS:{letters(120)}".encode()).decode())

    def lines(self) -> list[str]:
        """What programs print of them."""
        url = urllib.parse.quote(self.session, safe="")
        return [
            f"Authorization: Bearer {self.jwt}",
            f"Set-Cookie: session={self.cookie}; HttpOnly; Path=/",
            f"PGPASSWORD={self.pg} psql -h db.example",
            f"AWS_SECRET_ACCESS_KEY={self.aws}",
            f"AWS_SESSION_TOKEN={self.session}",
            f"https://b.s3.amazonaws.com/k?X-Amz-Credential=AKIA&X-Amz-Security-Token={url}&X-Amz-Signature={self.signature}",
            json.dumps({"SessionId": "ecs-execute-command-0a", "TokenValue": self.ssm}),
            f"-----BEGIN RSA PRIVATE KEY-----\n{self.key}-----END RSA PRIVATE KEY-----",
            f"connecting to postgresql://papyrus_app:{self.uri}@db.example:5432/papyrus",
            json.dumps({"authorizationData": [{"authorizationToken": self.ecr}]}),
            f"RuntimeError: the token {self.ci} was refused; base64 {encode(self.ci)}; {self.deploy!r}",
        ]

    def values(self) -> dict[str, str]:
        """Each secret by its name; of the private key one line."""
        return {**vars(self), "key": self.key.splitlines()[3]}


def encode(text: str, before: str = "") -> str:
    return base64.b64encode((before + text).encode()).decode()


def forms(secret: str) -> set[bytes]:
    """The secret in every encoding, as bytes that must be nowhere."""
    quoted = json.dumps(secret)[1:-1]
    texts = {
        secret,
        urllib.parse.quote(secret, safe=""),
        urllib.parse.quote(secret, safe="").lower() if not secret.isalnum() else secret,
        urllib.parse.quote_plus(secret),
        urllib.parse.quote(urllib.parse.quote(secret, safe=""), safe=""),
        quoted,
        json.dumps(secret, ensure_ascii=False)[1:-1],
        json.dumps(quoted)[1:-1],
        json.dumps(json.dumps(quoted)[1:-1])[1:-1],
        html.escape(secret),
        html.escape(quoted),
        shlex.quote(secret),
        repr(secret)[1:-1],
        ascii(secret)[1:-1],
        secret.replace("\\", "\\\\").replace('"', '\\"').replace("${", "$${"),
        secret.encode().hex(),
        secret.encode().hex().upper(),
        secret.encode().decode("latin-1"),
    }
    raw = secret.encode()
    for lead in range(3):  # the middle of it in base64, which does not depend on what stands around
        whole = base64.b64encode(b"\0" * lead + raw)
        texts.add(whole[(0, 2, 3)[lead] : (lead + len(raw)) * 8 // 6].decode())
        texts.add(urllib.parse.quote(whole[4 : (lead + len(raw)) * 8 // 6].decode(), safe=""))
    texts |= {text.replace("+", "-").replace("/", "_") for text in texts if re.fullmatch(r"[A-Za-z0-9+/]+", text)}
    return {text.encode() for text in texts} | {raw.decode().encode("utf-16-le")}


def found(data: bytes, planted: dict[str, str]) -> list[str]:
    """Names of the secrets that are in the data, line breaks and blanks taken out as well."""
    flat = re.sub(rb"(?:\\r|\\n|\s|\x00)+", b"", data)
    names = []
    for name, secret in planted.items():
        for form in forms(secret):
            bare = re.sub(rb"(?:\\r|\\n|\s|\x00)+", b"", form)
            if form in data or (len(bare) >= 8 and bare in flat):
                names.append(f"{name} as {form[:40]!r}")
                break
    return names


# In the container: prints what is planted, and the password of its database in several forms, once letter by letter.
PRINTING = """
import base64, html, json, os, sys, time, urllib.parse
planted = json.loads(os.environ['PLANTED'])
password = os.environ['DB_PASSWORD']
def shapes():
    yield from planted
    yield password
    yield urllib.parse.quote(password, safe='')
    yield json.dumps({'password': password, 'login': json.dumps([password])})
    yield html.escape(password)
    yield base64.b64encode(('papyrus_app:' + password).encode()).decode()
    yield password.encode().hex()
    yield repr(password.encode())
    yield '\\r\\n'.join(password[at:at + 5] for at in range(0, len(password), 5))
"""
EXEC = (
    PRINTING
    + """
for text in shapes():
    print(text, flush=True)
for char in password + '\\n':
    sys.stdout.write(char)
    sys.stdout.flush()
    time.sleep(0.03)
"""
)
APP = (
    PRINTING
    + """
from flask import request
from papyrus import create_app
from werkzeug.serving import run_simple
app = create_app()
@app.after_request
def plant(response):
    for line in planted[:2]:
        response.headers.add(*line.split(': ', 1))
    response.headers['X-Db'] = password.encode().decode('latin-1')
    if request.path == '/dbcheck' and response.is_json:
        content = {**response.get_json(), 'planted': list(shapes()), 'headers': dict(request.headers)}
        response.set_data(json.dumps(content))
    return response
print('\\n'.join(shapes()), flush=True)
run_simple('0.0.0.0', 5000, app, threaded=True)
"""
)


def stack_file(folder: Path, planted: Planted) -> str:
    """A file beside the stack's own whose name and outputs hold secrets; Terraform prints both."""
    said = "\n".join(planted.lines() + [planted.db]).replace("${", "$${").replace("%{", "%%{")
    content = {
        "output": {
            "planted": {"value": said},
            "run_header": {"value": "${nonsensitive(var.header_value)}"},
        },
        "check": {"planted": {"assert": {"condition": '${var.name == ""}', "error_message": said}}},
    }
    path = folder / f"planted_{planted.ci}.tf.json"
    path.write_text(json.dumps(content), "utf-8")
    return str(path)


class Watcher(threading.Thread):
    """Looks at command lines, at temporary folders, and for the header of the run, while the run is under way."""

    def __init__(self, running: RunningSmoke, planted: Planted, folders: list[Path]) -> None:
        super().__init__(daemon=True)
        self.running, self.planted, self.folders = running, planted, folders
        self.seen: set[str] = set()
        self.known: set[tuple[str, int, int]] = set()
        """Files that were looked at: path, size, time of change."""

    def run(self) -> None:
        looks = 0
        while self.running.process.poll() is None:
            known = {name: value.encode() for name, value in self.planted.values().items() if value}
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                self.look(path, known)
            for folder in self.folders:
                for path in folder.rglob("*"):
                    if "papyrus-" not in str(path.relative_to(folder)) and self.is_other(path):
                        self.look(path, known)
            if not self.planted.header and looks % 20 == 0:
                self.planted.header = header_of("tred")
                self.known.clear()  # which were not looked at for this one
            looks += 1
            time.sleep(EVERY)

    def is_other(self, path: Path) -> bool:
        """Whether it is a file, and another one than when it was looked at."""
        try:
            found = path.stat()
        except OSError:
            return False
        if not stat.S_ISREG(found.st_mode) or (now := (str(path), found.st_size, found.st_mtime_ns)) in self.known:
            return False
        self.known.add(now)
        return True

    def look(self, path: Path, known: dict[str, bytes]) -> None:
        try:
            content = path.read_bytes()
        except OSError:
            return
        self.seen |= {f"{name} in {path}" for name, value in known.items() if value in content}


def header_of(prefix: str) -> str:
    """The value that the rule of the run's load balancer asks for."""
    elbv2 = harness.client("elbv2")
    for balancer in harness.pages("elbv2", "describe_load_balancers", "LoadBalancers"):
        if not balancer["LoadBalancerName"].startswith(f"{prefix}-"):
            continue
        for listener in elbv2.describe_listeners(LoadBalancerArn=balancer["LoadBalancerArn"])["Listeners"]:
            for rule in elbv2.describe_rules(ListenerArn=listener["ListenerArn"])["Rules"]:
                for condition in rule["Conditions"]:
                    if condition["Field"] == "http-header":
                        return str(condition["HttpHeaderConfig"]["Values"][0])
    return ""


@dataclass
class Ended:
    smoke: harness.Smoke
    planted: Planted
    seen: set[str]
    root: Path


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory, services: Services) -> Iterator[Ended]:
    """One run at the highest verbosity, with folders of its own for everything temporary, that fails by AWS' words."""
    root, planted = tmp_path_factory.mktemp("planted"), Planted()
    folders = {name: root / name for name in ("home", "tmp", "remote")}
    for folder in folders.values():
        folder.mkdir()
    database = services.database(password=planted.db)
    container = {"command": ["python", "-c", APP], "healthCheck": None}
    texts = {"PLANTED": json.dumps(planted.lines())}
    service = services.service("planted", container=container, environment=texts, secret=database["arn"])
    variables: dict[str, Any] = {
        **{key: value for key, value in database.items() if key != "arn"},
        **service,
        "papyrus_tag_prefix": "tred",
        # The same Python by another name, so that modules are sent to it, as to any interpreter but the controller's.
        "ansible_python_interpreter": str(harness.CHECKOUT / ".venv" / "bin" / "python3"),
        "papyrus_db_cli": {
            "command": f"python -c {shlex.quote(EXEC)}; python -m papyrus.mark_cli --run {{run_id}}",
            "expect": [r"^INSERT 0 \d+$", "^MARK: {run_id} cli committed$"],
            "tls": r"^TLS: (\S+)$",
        },
        "papyrus_db_fresh_login": {
            "command": ["sh", "-c", f"python -c {shlex.quote(EXEC)}; python -m papyrus.login_cli"],
            "expect": ["^LOGIN: papyrus_app in papyrus$", r"^TLS: TLSv1\.[23]$"],
        },
        "papyrus_terraform_override_files": [
            str(harness.CHECKOUT / "sandbox" / "terraform" / "sandbox_endpoint.tf"),
            str(harness.CHECKOUT / "sandbox" / "terraform" / "sandbox_override.tf"),
            stack_file(root, planted),
        ],
    }
    environment = {
        "HOME": str(folders["home"]),
        "TMPDIR": str(folders["tmp"]),
        "XDG_RUNTIME_DIR": "",
        "GITHUB_TOKEN": planted.ci,
        "DEPLOY_PASSWORD": planted.deploy,
        "ANSIBLE_INJECT_INVOCATION": "true",
        "ANSIBLE_DISPLAY_TRACEBACK": "always",
        "ANSIBLE_REMOTE_TMP": str(folders["remote"]),
        "ANSIBLE_PIPELINING": "false",  # as without this checkout's ansible.cfg
    }
    running = RunningSmoke(root / "run", variables, ("-vvv",), environment=environment)
    watcher = Watcher(running, planted, [*folders.values(), root / "run" / "ansible"])
    watcher.start()
    try:
        running.wait_for_task("Read rows and this run's marks back", 300)
        harness.add_faults(
            {
                "service": "elbv2",
                "operation": "DescribeTargetHealth",
                "status": 400,
                "code": "AccessDenied",
                "message": "; ".join([*planted.lines(), planted.db, planted.header]),
                "match": {"TargetGroupArn": "*/tred-*"},
            }
        )
        smoke = running.end()
    finally:
        harness.remove_faults("tred-")
    watcher.join(10)
    (root / "run" / "variables.json").unlink()  # what the operator wrote
    yield Ended(smoke, planted, watcher.seen, root)


def test_J1_no_planted_secret_is_in_the_bundle(ended: Ended) -> None:
    secrets_of_run = ended.planted.values()
    assert len(secrets_of_run["header"]) == 40
    for path in sorted(ended.smoke.bundle.rglob("*")):
        assert found(path.read_bytes(), secrets_of_run) == [], path.name
        assert found(path.name.encode(), secrets_of_run) == []


def test_J1_the_planted_secrets_were_there(ended: Ended) -> None:
    """Each item into which something was planted says so by what stands in its place."""
    kinds = {
        "dbcheck.log": {
            "db-password",
            "authorization",
            "cookie",
            "password",
            "signature",
            "token",
            "private-key",
            "run-header",
        },
        "healthz.log": {"authorization", "cookie", "db-password"},
        "papyrus_psql_insert_cli.log": {
            "db-password",
            "aws-secret-key",
            "aws-session-token",
            "private-key",
            "variable",
        },
        "papyrus_psql_insert_cli.cast": {"db-password", "aws-secret-key", "private-key"},
        "fresh_login.log": {"db-password", "variable"},
        "terraform_apply.log": {"db-password", "run-header", "variable", "token", "signature"},
        "terraform_outputs.json": {"db-password", "run-header", "aws-secret-key"},
        "terraform.tfstate": {"db-password", "run-header"},
        "binding.json": {"variable", "authorization"},
        "verdict.json": {"authorization", "private-key"},
    }
    for name, expected in kinds.items():
        text = ended.smoke.item(name)
        assert expected <= set(re.findall(r"\[redacted:([a-z-]+):[0-9a-f]{8}\]", text)), name
    assert ended.smoke.verdict["first_failure"]["step"] == "N2"


def test_J1_redaction_leaves_json_readable_and_recordings_playable(ended: Ended) -> None:
    for name in ("terraform_outputs.json", "terraform.tfstate", "binding.json", "preflight.json"):
        json.loads(ended.smoke.item(name))
    header, *frames = [json.loads(line) for line in ended.smoke.item("papyrus_psql_insert_cli.cast").splitlines()]
    assert header["version"] == 2
    screen = "".join(text for dummy, kind, text in frames if kind == "o")
    assert found(screen.encode(), ended.planted.values()) == []
    assert screen.count("[redacted:db-password:") >= 8
    assert "INSERT 0 " in screen


def test_J1_no_planted_secret_is_printed_at_the_highest_verbosity(ended: Ended) -> None:
    assert "EXEC " in ended.smoke.output and "module_args" in ended.smoke.output
    assert found(ended.smoke.output.encode(), ended.planted.values()) == []


def test_J1_no_planted_secret_is_left_outside_of_the_bundle(ended: Ended) -> None:
    """Ledger, Ansible's home, temporary and async folders, and the user's home."""
    stack = {str(path) for path in ended.root.glob("planted_*.tf.json")}
    for path in sorted(ended.root.rglob("*")):
        if path.is_file() and str(path) not in stack:
            assert found(path.read_bytes(), ended.planted.values()) == [], path


def test_J1_no_planted_secret_is_in_a_command_line_or_a_temporary_file_meanwhile(ended: Ended) -> None:
    own = [entry for entry in ended.seen if "/cmdline" not in entry or " in /proc/" in entry]
    assert own == []


def test_J1_the_private_folder_is_gone(ended: Ended) -> None:
    assert not list((ended.root / "tmp").glob("papyrus-*"))
