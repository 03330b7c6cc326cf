# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Redaction: no secret in any form reaches the disk, and what is no secret stays (EVIDENCE.md, Redaction)."""

from __future__ import annotations

import base64
import json
import re
import time
import urllib.parse
from html import escape
from pathlib import Path

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils._redaction import Redactor
from ansible_collections.papyrus.ops.tests.unit.examples import examples
from hypothesis import assume, given, settings
from hypothesis import strategies as st

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
    ("password", "postgresql://papyrus_app:hunter@22@db/papyrus", "22@"),
    ("password", "postgresql://papyrus_app:hun/ter22@db/papyrus", "ter22"),
    ("password", '{"password": "hun\\"ter22"}', "ter22"),
    ("password", '"{\\"password\\": \\"hun\\\\\\"ter22\\"}"', "ter22"),
    ("password", "{'password': 'hunter22'}", "hunter22"),
    ("password", "&quot;password&quot;: &quot;hunter22&quot;", "hunter22"),
    ("password", "db_password%3Dhunter22%26x", "hunter22"),
    ("password", "<MasterUserPassword>hunter22</MasterUserPassword>", "hunter22"),
    ("password", '{"name": "PGPASSWORD", "value": "hunter22"}', "hunter22"),
    ("password", "- name: PGPASSWORD\n  value: hunter22", "hunter22"),
    ("password", "CREATE ROLE papyrus_app LOGIN PASSWORD 'hun''ter22'", "ter22"),
    ("password", "aws rds create-db-instance --master-user-password hunter22", "hunter22"),
    ("password", '{"auths": {"x": {"auth": "QVdTOmh1bnRlcjIy"}}}', "QVdTOmh1bnRlcjIy"),
    ("cookie", '{"name": "Set-Cookie", "value": "session=hunter22"}', "hunter22"),
    ("aws-secret-key", "<SecretAccessKey>wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY</SecretAccessKey>", "wJalrXUtnFEMI"),
    ("aws-session-token", "<SessionToken>abcdefghijklmnopqrstuvwxyz==</SessionToken>", "abcdefghijklmnop"),
    ("aws-session-token", "https://b/k?X-Amz-Security-Token=abcdefghijk%2Flmnop&x", "abcdefghijk"),
    ("token", '{"authorizationToken": "QVdTOmh1bnRlcjIy"}', "QVdTOmh1bnRlcjIy"),
    ("token", '"refresh_token": "abcdefghijklmnopqrst"', "abcdefghijklmnop"),
    ("token", "curl: Bearer abcdefghijklmnopqrst", "abcdefghijklmnop"),
    ("token", "got eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl", "c2lnbmF0dXJl"),
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
        '"password": "(sensitive value)", "header_value": "(sensitive value)"',
        "master_password = (known after apply)",
        '{"secret_access_key": "********", "password": "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"}',
        '{"changes": {"password": "generated"}, "password_asked": true}',
        '{"nextToken": "abcdefghijklmnopqrstuvwxyz", "clientToken": "abcdefghijklmnopqrst"}',
        "http://127.0.0.1:8080/a@b https://papyrus.example/x?mail=a@b.example",
        "token bucket, bearer of bad news, cookie policy, signature v4, basic authentication",
        "docker://papyrus:v1@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "http://[::1]:8080/a@b http://[fe80::1]/x@y",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----",
        "arn:aws:iam::123456789012:role/papyrus-secret-access-key-rotation",
    ],
)
def test_J1_what_is_no_secret_stays(text: str) -> None:
    assert Redactor().redact_text(text) == text


def test_J1_values_by_key_alone() -> None:
    said = Redactor().redact_object({"password": 12345678, "user": "x", "deep": [{"SecretAccessKey": "abc"}], "n": 7})
    assert said["n"] == 7 and said["user"] == "x"
    assert "12345678" not in json.dumps(said) and said["deep"][0]["SecretAccessKey"].startswith("[redacted:")


def test_J1_values_that_a_name_beside_them_betrays() -> None:
    said = Redactor().redact_object([{"name": "PGPASSWORD", "value": "x y"}, {"name": "PGHOST", "value": "db"}])
    assert said[0]["value"].startswith("[redacted:") and said[1] == {"name": "PGHOST", "value": "db"}
    assert Redactor().redact_object({"password": "(sensitive value)"}) == {"password": "(sensitive value)"}


def test_J1_a_number_in_json_becomes_a_string() -> None:
    said = json.loads(Redactor().redact(b'{"db_password": 12345678, "n": 1}'))
    assert said["db_password"].startswith("[redacted:password:") and said["n"] == 1


def test_J1_a_token_is_never_cut() -> None:
    redactor = Redactor()
    redactor.add("db-password", SECRET)
    login = base64.b64encode(b"papyrus_app:" + SECRET.encode()).decode()
    for text in (f"password={login}", f'password="{login}"', f"x://u:{login}@h", f"Authorization: Basic {login}"):
        said = redactor.redact_text(text)
        assert re.sub(r"\[redacted:[a-z-]+:[0-9a-f]{8}\]", "", said).count("]") == 0
        assert redactor.redact_text(said) == said


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


def test_J1_of_two_known_values_that_overlap_nothing_is_left() -> None:
    redactor = Redactor()
    redactor.add("a", "hunter22-abcdef")
    redactor.add("b", "abcdef-and-more")
    said = redactor.redact_text("x hunter22-abcdef-and-more y")
    assert re.fullmatch(r"x \[redacted:[ab]:[0-9a-f]{8}\] y", said)


def test_J1_bytes_that_are_no_text() -> None:
    redactor = Redactor()
    redactor.add("key", b"\xff\xfe\x00secret")
    assert b"secret" not in redactor.redact(b"\x00\xff\xfe\x00secret\xff")


HOSTILE = [
    "y", "a.", "\\", "'", '"', ":", " ", "\n", "\0", "%", "&", "\x1b[", "│", "://", "://a:b", "[redacted:",
    "[redacted:password:", "password=", 'password="', "password \\\\\\\" ", "password name, ", "password value=",
    "--a-b-c-", "token", "authorization: a\n", "secret_access_key=", "eyJabcdefgh.", "-----BEGIN ",
    "-----BEGIN PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----!", f"-----BEGIN PRIVATE KEY-----{'a' * 900}!",
    "-----END PRIVATE KEY-----", "%25", "\\u00e4", "&amp;", "\\x41", f"://{'a' * 1000}@ ",
    SECRET, urllib.parse.quote(SECRET), base64.b64encode(SECRET.encode()).decode(),
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_J1_time_grows_with_the_text_and_no_faster(text: str) -> None:
    """What patterns dislike, with 20 known values: 10 MB of it take some seconds."""
    redactor = Redactor()
    redactor.add("db-password", SECRET)
    for number in range(19):
        redactor.add("db-password", f"{number}{SECRET}{number}")
    data = text * (400_000 // len(text))
    start = time.process_time()
    redactor.redact_text(data)
    assert time.process_time() - start < 4


@settings(max_examples=examples(80), deadline=None)
@given(
    evidence=st.lists(
        st.one_of(
            st.uuids().map(str),
            st.binary(min_size=32, max_size=32).map(bytes.hex),
            st.binary(min_size=20, max_size=20).map(bytes.hex),
            st.binary(min_size=32, max_size=32).map(lambda raw: base64.b64encode(raw).decode()),
            st.datetimes().map(lambda at: at.isoformat() + "Z"),
            st.integers(0, 10**12).map(lambda n: f"arn:aws:ecs:us-west-2:{n:012}:task/papyrus-ecs-prd/{n:032x}"),
            st.sampled_from(
                ["password", "token", "cookie", "authorization", "secret", "key", "://", "null", "true", "="]
            ),
            st.text("abcdefghijklmnopqrstuvwxyz -._/", max_size=30),
        ),
        min_size=1,
        max_size=30,
    ),
    known=st.lists(
        st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!$%", min_size=12, max_size=40)
    ),
)
def test_J1_evidence_is_not_destroyed(evidence: list[str], known: list[str]) -> None:
    """Digests, ids, ARNs, times and words of prose stay, whatever values are known."""
    text = " ".join(evidence) + "\n" + json.dumps([{"id": word, "value_of": None} for word in evidence])
    redactor = Redactor()
    for value in known:
        redactor.add("k", value)
    assume(not any(value in text for value in known))
    for words in (" = ", " : "):  # a label with a value after it is not meant here
        assume(words not in text)
    said = redactor.redact_text(text)
    changed = [word for word in evidence if word not in said]
    assert not changed or re.search(r"(password|token|cookie|authorization|secret|://)[a-z-]*\"?[\s]*[:=>]", text)


@settings(max_examples=examples(60), deadline=None)
@given(
    st.recursive(
        st.one_of(
            st.sampled_from(
                [SECRET, f"x{SECRET}", "password=hunter22", "hunter22", 12345678, None, True, "", "%", "\\"]
            ),
            st.text("ab %\\=:\n", max_size=12),
        ),
        lambda inner: st.one_of(
            st.lists(inner, max_size=6),
            st.dictionaries(
                st.sampled_from(["a", "password", SECRET, "name", "value", "PGPASSWORD"]), inner, max_size=4
            ),
        ),
        max_leaves=30,
    )
)
def test_J1_an_object_is_redacted_text_by_text(value: object) -> None:
    """However many texts are looked at at once: each becomes what it becomes alone."""
    redactor = Redactor()
    redactor.add("db-password", SECRET)
    said = redactor.redact_object({"o": [value]})["o"][0]

    def compare(before: object, after: object, key: str) -> None:
        if isinstance(before, dict):
            assert isinstance(after, dict)
            for (name, item), (clean, cleaned) in zip(before.items(), after.items(), strict=True):
                assert clean == redactor.redact_text(name)
                compare(item, cleaned, "" if name == "value" else name)
        elif isinstance(before, list):
            for item, cleaned in zip(before, after, strict=True):
                compare(item, cleaned, key)
        elif isinstance(before, str) and "pass" not in key.lower() and key:
            assert after == redactor.redact_text(before)

    compare(value, said, "a")
    assert SECRET not in json.dumps(said, ensure_ascii=False) and "hunter22 " not in json.dumps(said)


KEY_LINES = ["-----BEGIN PRIVATE KEY-----", *["MIIEvgIBADANBgkqhkiG9w0BAQEFAASCBKgwggSkAgEA" + x for x in "abcd"]]
KEY_LINES += ["-----END PRIVATE KEY-----"]


def test_J1_a_private_key_in_a_list_of_lines_goes_as_a_whole() -> None:
    said = Redactor().redact_object({"lines": ["before", *KEY_LINES, "after"]})["lines"]
    assert len(said) == 8 and said[0] == "before" and said[-1] == "after"
    assert "MII" not in "".join(said) and "".join(said).count("[redacted:private-key:") == 1


def test_J1_a_password_in_a_list_of_arguments_goes() -> None:
    said = Redactor().redact_object(["rds", "--master-user-password", "hunter22", "--region", "us-west-2"])
    assert "hunter22" not in str(said) and said[0] == "rds" and said[-2:] == ["--region", "us-west-2"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\\n"])
def test_J1_the_last_lines_of_a_private_key_go_without_the_first(end: str) -> None:
    said = Redactor().redact_text(f"starts here {end.join(KEY_LINES[2:])} ends here")
    assert "MII" not in said
    assert said.startswith("starts here ") and said.endswith(" ends here")
    twice = Redactor().redact_text(f"{end.join(KEY_LINES[3:])} and {end.join(KEY_LINES)} and {end.join(KEY_LINES[4:])}")
    assert twice.count("[redacted:private-key:") == 3 and "MII" not in twice
