"""H2: nothing in the product switches the verification of TLS off, starts a shell, or runs text that it was given.

Rules over syntax trees, not over text; each is tried on what it has to find.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
COLLECTION = CHECKOUT / "collections" / "ansible_collections" / "papyrus" / "ops"

PYTHON = sorted([
    *(COLLECTION / "plugins").rglob("*.py"),
    *(CHECKOUT / "app" / "papyrus").rglob("*.py"),
    *(CHECKOUT / "scripts").glob("*.py"),
])  # fmt: skip
YAML = sorted([
    *(path for part in ("roles", "playbooks") for path in (COLLECTION / part).rglob("*.yml")),
    *(CHECKOUT / "inventories").rglob("*.yml"),
    *(CHECKOUT / "playbooks").glob("*.yml"),
])  # fmt: skip
HCL = sorted([*(CHECKOUT / "infra").rglob("*.tf"), *(COLLECTION / "roles").rglob("*.tf")])

VERIFYING = {"verify", "validate_certs", "verify_ssl", "ssl_verify", "tls_verify", "verify_certs", "check_hostname"}
CARELESS = {"insecure", "no_verify_ssl", "skip_verify", "tls_skip_verify", "insecure_skip_verify", "allow_untrusted"}
CARELESS_NAMES = {
    "CERT_NONE",
    "CERT_OPTIONAL",
    "_create_unverified_context",
    "_create_stdlib_context",
    "disable_warnings",
}
CARELESS_WORDS = re.compile(
    r"(?:^|\s)(?:-k|--insecure|--no-verify-ssl|--no-check-certificate|--trusted-host(?:=.*)?|--no-verify-tls)(?:$|\s)"
)
CARELESS_ENVIRONMENT = re.compile(
    r"PYTHONHTTPSVERIFY|GIT_SSL_NO_VERIFY|NODE_TLS_REJECT_UNAUTHORIZED|\w+_SKIP_TLS_VERIFY"
)
CARELESS_TEXT = re.compile(f"{CARELESS_WORDS.pattern}|{CARELESS_ENVIRONMENT.pattern}")
WEAK_MODES = {"disable", "allow", "prefer"}
MODE_NAMES = {"sslmode", "ssl_mode", "pgsslmode"}

SHELLS = {
    "ansible.builtin.shell",
    "ansible.builtin.raw",
    "ansible.builtin.script",
    "ansible.builtin.expect",
    "shell",
    "raw",
}
LOOKUPS = re.compile(
    r"(?:lookup|query|q)\(\s*['\"](?:ansible\.builtin\.)?(pipe|url|lines|template|unvault|ini|csvfile)['\"]"
)

EXCEPTIONS = {
    # The proof that the server itself refuses a session without encryption: no query is sent in it.
    ("roles/database_proof/tasks/cli.yml", "sslmode is disable"),
}


def _name(node: ast.expr) -> str:
    """Last part of a dotted name."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _constant(node: ast.expr | None) -> object:
    return node.value if isinstance(node, ast.Constant) else ...


def _called(node: ast.Call) -> Iterator[str]:
    name, owner = _name(node.func), ""
    if isinstance(node.func, ast.Attribute):
        owner = _name(node.func.value)
    if name in ("eval", "exec", "compile", "__import__") and not owner:
        yield f"{name}()"
    if (owner, name) in {("os", "system"), ("os", "popen"), ("ssl", "SSLContext"), ("subprocess", "getoutput")}:
        yield f"{owner}.{name}()"
    if owner in ("pickle", "marshal", "shelve", "dill") or (owner, name) in {("yaml", "load"), ("yaml", "unsafe_load")}:
        yield f"{owner}.{name}()"
    for keyword in node.keywords:
        value = _constant(keyword.value)
        if keyword.arg in VERIFYING and value is False:
            yield f"{keyword.arg}=False"
        if keyword.arg in CARELESS and value is True:
            yield f"{keyword.arg}=True"
        if keyword.arg in ("shell", "use_unsafe_shell") and value is not False:
            yield f"{keyword.arg}="
        if keyword.arg in MODE_NAMES and value in WEAK_MODES:
            yield f"sslmode is {value}"
    if name == "Environment" and owner == "jinja2":
        given = {keyword.arg: _constant(keyword.value) for keyword in node.keywords}
        if given.get("autoescape") is not True:
            yield "jinja2.Environment() without autoescape"


def in_python(text: str) -> Iterator[str]:
    """What a module does that it must not."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            yield from _called(node)
        elif isinstance(node, ast.Attribute | ast.Name) and _name(node) in CARELESS_NAMES:
            yield _name(node)
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                if _name(target) in VERIFYING and _constant(node.value) is False:
                    yield f"{_name(target)} = False"
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                word = str(_constant(key)).lower()
                if word in MODE_NAMES and _constant(value) in WEAK_MODES:
                    yield f"sslmode is {_constant(value)}"
                if word in VERIFYING and _constant(value) is False:
                    yield f"{word}: False"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and CARELESS_TEXT.fullmatch(node.value):
            yield node.value


def in_yaml(content: Any, text: str = "") -> Iterator[str]:
    """What a playbook, a role or an inventory says that it must not."""
    yield from (f"lookup of {kind}" for kind in LOOKUPS.findall(text))
    if isinstance(content, dict):
        for key, value in content.items():
            word = str(key).lower()
            if word in VERIFYING and str(value).lower() in ("false", "no", "0"):
                yield f"{word}: {value}"
            if word in CARELESS and str(value).lower() in ("true", "yes", "1"):
                yield f"{word}: {value}"
            if word in MODE_NAMES and value in WEAK_MODES:
                yield f"sslmode is {value}"
            if key in SHELLS:
                yield str(key)
            if CARELESS_ENVIRONMENT.fullmatch(str(key)):
                yield str(key)
            yield from in_yaml(value)
    elif isinstance(content, list):
        for each in content:
            yield from in_yaml(each)
    elif isinstance(content, str) and CARELESS_WORDS.search(content):
        yield content


def in_hcl(text: str) -> Iterator[str]:
    """What a stack says that it must not."""
    yield from re.findall(r"(?m)^\s*((?:insecure|skip_tls_verify|tls_skip_verify|allow_insecure)\s*=\s*true)", text)
    yield from re.findall(r'(?i)"?PGSSLMODE"?\s*(?:=|:)\s*"(disable|allow|prefer)"', text)
    yield from re.findall(r'"(ELBSecurityPolicy-(?!TLS13-1-[23])[^"]*)"', text)
    yield from re.findall(r'(provisioner\s+"(?:local|remote)-exec"|data\s+"external")', text)


def documents(path: Path) -> tuple[Any, str]:
    text = path.read_text("utf-8")
    return list(yaml.safe_load_all(text)), text


def found(path: Path) -> set[tuple[str, str]]:
    """Rule breakers of a file with its path in the collection, or in the checkout."""
    root = COLLECTION if path.is_relative_to(COLLECTION) else CHECKOUT
    if path.suffix == ".py":
        breaks = in_python(path.read_text("utf-8"))
    elif path.suffix == ".tf":
        breaks = in_hcl(path.read_text("utf-8"))
    else:
        breaks = in_yaml(*documents(path))
    return {(str(path.relative_to(root)), each) for each in breaks}


def test_H2_nothing_of_the_product_is_careless() -> None:
    assert len(PYTHON) > 150 and len(YAML) > 60 and len(HCL) > 20
    everything = {each for path in [*PYTHON, *YAML, *HCL] for each in found(path)}
    assert everything == EXCEPTIONS


@pytest.mark.parametrize(
    "text",
    [
        "requests.get(url, verify=False)",
        "context.check_hostname = False",
        "context.verify_mode = ssl.CERT_NONE",
        "from ssl import CERT_NONE\nmode = CERT_NONE",
        "ssl._create_unverified_context()",
        "ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)",
        "urllib3.disable_warnings()",
        "Registry(host, insecure=True)",
        "connect(sslmode='prefer')",
        "options = {'sslmode': 'disable'}",
        "fetch({'validate_certs': False})",
        "run(['curl', '-k', url])",
        "run(['curl', '--insecure', url])",
        "env = {'GIT_SSL_NO_VERIFY': '1'}",
        "subprocess.run(text, shell=True)",
        "subprocess.run(text, shell=given)",
        "module.run_command(text, use_unsafe_shell=True)",
        "os.system(text)",
        "os.popen(text)",
        "eval(text)",
        "exec(text)",
        "pickle.loads(data)",
        "yaml.load(text)",
        "jinja2.Environment()",
        "jinja2.Environment(autoescape=False)",
    ],
)
def test_H2_careless_python_is_found(text: str) -> None:
    assert list(in_python(text)) != []


@pytest.mark.parametrize(
    "text",
    [
        "requests.get(url, verify=True)\nconnect(sslmode='verify-full')",
        "ssl.create_default_context(cafile=ca)\nre.compile('x')\nsubprocess.run(['ls'], shell=False)",
        "jinja2.Environment(autoescape=True)\nyaml.safe_load(text)",
        "MODES = ('disable', 'allow', 'prefer', 'require')",
    ],
)
def test_H2_careful_python_is_left_alone(text: str) -> None:
    assert list(in_python(text)) == []


@pytest.mark.parametrize(
    "text",
    [
        "- amazon.aws.x: {validate_certs: false}",
        "- community.postgresql.x: {ssl_mode: prefer}",
        "- x: {login: {sslmode: disable}}",
        "- ansible.builtin.shell: echo hi",
        "- ansible.builtin.raw: echo hi",
        "- x: {argv: [curl, --insecure, y]}",
        "- x: {command: pip install --trusted-host y z}",
        "- environment: {PYTHONHTTPSVERIFY: '0'}",
        """- x: "{{ lookup('pipe', 'id') }}" """,
        """- x: "{{ query('ansible.builtin.url', y) }}" """,
    ],
)
def test_H2_careless_yaml_is_found(text: str) -> None:
    assert list(in_yaml(yaml.safe_load(text), text)) != []


@pytest.mark.parametrize(
    "text",
    [
        "  insecure = true",
        'environment = { PGSSLMODE = "prefer" }',
        'ssl_policy = "ELBSecurityPolicy-2016-08"',
        'provisioner "local-exec" {',
        'data "external" "x" {',
    ],
)
def test_H2_careless_terraform_is_found(text: str) -> None:
    assert list(in_hcl(text)) != []
