# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Redaction: no secret in any form reaches the disk, and what is no secret stays (EVIDENCE.md, Redaction)."""

from __future__ import annotations

import base64
import json
import time
import urllib.parse
from html import escape
from pathlib import Path

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils._redaction import Redactor

SECRET = "p\"ä/s+w=\\ö rd&'9"
FORMS = {
    "itself": SECRET,
    "percent": urllib.parse.quote(SECRET, safe=""),
    "percent with slashes": urllib.parse.quote(SECRET),
    "form": urllib.parse.quote_plus(SECRET),
    "percent lower case": urllib.parse.quote(SECRET, safe="").replace("%2F", "%2f").replace("%22", "%22").lower(),
    "json": json.dumps(SECRET),
    "json utf-8": json.dumps(SECRET, ensure_ascii=False),
    "json in json": json.dumps(json.dumps({"k": SECRET})),
    "json in json in json": json.dumps(json.dumps(json.dumps([SECRET]))),
    "html": escape(SECRET),
    "base64": base64.b64encode(SECRET.encode()).decode(),
    "base64 url": base64.urlsafe_b64encode(SECRET.encode()).decode(),
    "base64 inside, one byte before": base64.b64encode(b"u" + SECRET.encode() + b"tail").decode(),
    "base64 inside, two bytes before": base64.b64encode(b"u:" + SECRET.encode()).decode(),
    "base64 of basic auth": base64.b64encode(b"papyrus_app:" + SECRET.encode()).decode(),
    "base64 in lines": base64.encodebytes(b"x" * 50 + SECRET.encode() + b"y" * 50).decode(),
}


@pytest.fixture
def redactor() -> Redactor:
    made = Redactor()
    made.add("db-password", SECRET)
    return made


def pieces(form: str) -> set[str]:
    """Eight characters anywhere in the middle of an encoding: a part of the secret that must not stay."""
    return {form[i : i + 8] for i in range(4, len(form) - 12, 3)}


@pytest.mark.parametrize("form", [name for name in FORMS if not name.startswith("base64")])
def test_J1_known_value_in_every_form(redactor: Redactor, form: str) -> None:
    said = redactor.redact_text(f"before {FORMS[form]} after")
    assert said.startswith("before ") and said.endswith(" after")
    assert "[redacted:db-password:" in said
    assert not any(piece in said for piece in pieces(FORMS[form]))


@pytest.mark.parametrize("form", [name for name in FORMS if name.startswith("base64")])
def test_J1_known_value_in_base64(redactor: Redactor, form: str) -> None:
    said = redactor.redact_text(f"before {FORMS[form]} after")
    assert "[redacted:db-password:" in said
    core = base64.b64encode(SECRET.encode()).decode()[4:-4]
    assert core not in said.replace("\n", "")
    for word in said.split():
        try:
            assert SECRET.encode()[2:-2] not in base64.b64decode(word + "==", altchars=b"-_")
        except ValueError:
            continue


def test_J1_equal_secrets_look_equal_and_only_inside_one_run() -> None:
    one, other = Redactor(), Redactor()
    for redactor in (one, other):
        redactor.add("db-password", SECRET)
    first = one.redact_text(SECRET)
    assert one.redact_text(FORMS["percent"]) == first == one.redact_text(FORMS["base64"])
    assert other.redact_text(SECRET) != first


SHAPES = [
    ("authorization", "Authorization: Basic dXNlcjpodW50ZXIy", "dXNlcjpodW50ZXIy"),
    ("authorization", '{"authorization": "Bearer eyJhbGciOi.J9.x"}', "eyJhbGciOi"),
    (
        "authorization",
        "> authorization: AWS4-HMAC-SHA256 Credential=AKIA/x, Signature=0123456789abcdef",
        "0123456789abcdef",
    ),
    ("cookie", "Set-Cookie: session=s3ss10n; HttpOnly", "s3ss10n"),
    ("password", "PGPASSWORD=hunter22 psql", "hunter22"),
    ("password", 'master_password = "hunter22 with blank"', "with blank"),
    ("password", '{\\"db_password\\": \\"hunter22\\"}', "hunter22"),
    ("password", "password: hunter22", "hunter22"),
    ("password", "postgresql://papyrus_app:hun%40ter22@db.example:5432/papyrus", "hun%40ter22"),
    ("password", "postgresql://papyrus_app:hunter@22@db/papyrus", "hunter"),
    ("aws-secret-key", "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "wJalrXUtnFEMI"),
    ("aws-secret-key", '"SecretAccessKey": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"', "wJalrXUtnFEMI"),
    ("aws-session-token", "AWS_SESSION_TOKEN=IQoJb3JpZ2luX2VjEXAMPLE1234567890abcdefghijkl", "EXAMPLE1234567890"),
    ("aws-session-token", "said IQoJb3JpZ2luX2VjE" + "abcd1234" * 8, "abcd1234abcd1234"),
    ("signature", "https://b.s3.amazonaws.com/k?X-Amz-Signature=" + "0a1b2c3d" * 8, "0a1b2c3d0a1b2c3d"),
    ("token", '"TokenValue": "AAEAAdGVzdHRva2Vu"', "AAEAAdGVzdHRva2Vu"),
    ("private-key", "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nxx\n-----END RSA PRIVATE KEY-----", "MIIEow"),
    ("private-key", '"-----BEGIN PRIVATE KEY-----\\nMIIEvg\\n-----END PRIVATE KEY-----\\n"', "MIIEvg"),
    ("private-key", "cut: -----BEGIN PRIVATE KEY-----\nMIIEvgIB", "MIIEvgIB"),
]


@pytest.mark.parametrize(("kind", "text", "secret"), SHAPES)
def test_J1_shapes_of_secrets(kind: str, text: str, secret: str) -> None:
    said = Redactor().redact_text(text)
    assert secret not in said and f"[redacted:{kind}:" in said
    assert Redactor().redact_text(said) == said


@pytest.mark.parametrize(
    "text",
    [
        '{"ok":true}',
        'password authentication failed for user "papyrus_app"',
        'FATAL:  no pg_hba.conf entry for host "127.0.0.1"',
        "header_value = (sensitive value)",
        '"password": null, "password_set": true',
        "sha256 da39a3ee5e6b4b0d3255bfef95601890afd80709 of an empty file",
        "arn:aws:secretsmanager:us-west-2:123456789012:secret:papyrus/prd/db-AbCdEf",
        "https://127.0.0.1:5000/healthz http://user@host/ ssh://git@github.com:22/x",
        "X-Amzn-RequestId: 7a1b2c3d-0000-4000-8000-9e8d7c6b5a40",
    ],
)
def test_J1_what_is_no_secret_stays(text: str) -> None:
    assert Redactor().redact_text(text) == text


def test_J1_values_by_key_alone() -> None:
    said = Redactor().redact_object({"password": 12345678, "user": "x", "deep": [{"SecretAccessKey": "abc"}], "n": 7})
    assert said["n"] == 7 and said["user"] == "x"
    assert "12345678" not in json.dumps(said) and said["deep"][0]["SecretAccessKey"].startswith("[redacted:")


def test_J1_registered_values_reach_every_writer_and_short_ones_are_counted(tmp_path: Path) -> None:
    Redactor.prepare(tmp_path)
    writer = Redactor(tmp_path)
    assert writer.redact_text("hunter22") == "hunter22"
    assert Redactor.register(tmp_path, "db-password", "hunter22")
    assert not Redactor.register(tmp_path, "pin", "12345")
    Redactor.register(tmp_path, "pin", "12345")
    said = writer.redact_text("hunter22 12345")
    assert said.startswith("[redacted:db-password:") and said.endswith(" 12345")
    assert writer.short_values == 1
    assert Redactor(tmp_path).redact_text("hunter22") == said.split()[0]
    for file in tmp_path.iterdir():
        assert file.stat().st_mode & 0o777 == 0o600
        assert b"12345" not in file.read_bytes()


def test_J1_longer_of_two_known_values_wins() -> None:
    redactor = Redactor()
    redactor.add("a", "hunter22")
    redactor.add("b", "hunter22-and-more")
    assert redactor.redact_text("hunter22-and-more").startswith("[redacted:b:")


def test_J1_bytes_that_are_no_text() -> None:
    redactor = Redactor()
    redactor.add("key", b"\xff\xfe\x00secret")
    assert b"secret" not in redactor.redact(b"\x00\xff\xfe\x00secret\xff")


@pytest.mark.parametrize("char", ["y", "a.", "\\", "'", ":", "://", "[redacted:", "password=", "-----BEGIN "])
def test_J1_time_grows_with_the_text_and_no_faster(char: str) -> None:
    redactor = Redactor()
    redactor.add("db-password", SECRET)
    start = time.process_time()
    redactor.redact_text(char * (200_000 // len(char)))
    assert time.process_time() - start < 3
