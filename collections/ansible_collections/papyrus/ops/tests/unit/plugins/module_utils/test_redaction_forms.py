# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Known values in every form that a format, a shell or a terminal gives them; the forms are made by the formats' own
libraries, not by what is under test."""

from __future__ import annotations

import base64
import html
import json
import re
import shlex
import urllib.parse
from collections.abc import Callable

import pytest
import yaml
from ansible_collections.papyrus.ops.plugins.module_utils._redaction import Redactor
from ansible_collections.papyrus.ops.tests.unit.examples import examples
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

TOKEN = re.compile(r"\[redacted:[a-z0-9-]+:[0-9a-f]{8}\]")


def lines(text: str, width: int, end: str) -> str:
    return end.join(text[at : at + width] for at in range(0, len(text), width))


def hcl(text: str) -> str:
    """A quoted string of Terraform's language."""
    quoted = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return quoted.replace("${", "$${").replace("%{", "%%{")


TEXTS: dict[str, Callable[[str], str]] = {
    "itself": lambda text: text,
    "percent": lambda text: urllib.parse.quote(text, safe=""),
    "percent lower case": lambda text: re.sub("%..", lambda m: m[0].lower(), urllib.parse.quote(text, safe="")),
    "percent throughout": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
    "percent twice": lambda text: urllib.parse.quote(urllib.parse.quote(text, safe=""), safe=""),
    "form": urllib.parse.quote_plus,
    "json": lambda text: json.dumps(text)[1:-1],
    "json utf-8": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "json three times": lambda text: json.dumps(json.dumps(json.dumps([text]))),
    "json escaped throughout": lambda text: "".join(f"\\u{ord(char):04x}" for char in text),
    "html": html.escape,
    "html decimal": lambda text: "".join(f"&#{ord(char)};" for char in text),
    "html hexadecimal": lambda text: "".join(f"&#x{ord(char):X};" for char in text),
    "html in json": lambda text: json.dumps(html.escape(text)),
    "python": lambda text: repr(text)[1:-1],
    "python ascii": lambda text: ascii(text)[1:-1],
    "python bytes": lambda text: repr(text.encode())[2:-1],
    "shell by shlex": shlex.quote,
    "shell by hand": lambda text: "'" + text.replace("'", "'\\''") + "'",
    "shell by printf": lambda text: re.sub(r"([^A-Za-z0-9_])", r"\\\1", text),
    "sql": lambda text: "'" + text.replace("'", "''") + "'",
    "csv": lambda text: '"' + text.replace('"', '""') + '"',
    "hcl": hcl,
    "yaml": lambda text: yaml.safe_dump({"k": text}),
    "yaml double quoted": lambda text: yaml.safe_dump({"k": text}, default_style='"'),
    "doubled dollars": lambda text: text.replace("$", "$$"),
    "a terminal's lines": lambda text: lines(text, 5, "\r\n"),
    "indented lines": lambda text: lines(text, 7, "\n        "),
    "terraform's box": lambda text: lines(text, 6, "\n│ "),
    "colours": lambda text: "\x1b[31m" + "\x1b[1m".join(text) + "\x1b[0m",
    "asciicast": lambda text: json.dumps([0.1, "o", lines(text, 6, "\r\n")]),
}


def encoded(text: str, before: bytes = b"", after: bytes = b"~") -> str:
    return base64.b64encode(before + text.encode() + after).decode()


BASE64: dict[str, Callable[[str], str]] = {
    "alone": lambda text: encoded(text, after=b""),
    "after one byte": lambda text: encoded(text, b"u"),
    "after two bytes": lambda text: encoded(text, b"u:"),
    "of a login": lambda text: encoded(text, b"papyrus_app:", b""),
    "for URLs": lambda text: base64.urlsafe_b64encode(b">?" + text.encode()).decode(),
    "in lines": lambda text: base64.encodebytes(b"x" * 50 + text.encode() + b"y" * 50).decode(),
    "in lines in JSON": lambda text: json.dumps(base64.encodebytes(b"x" * 50 + text.encode() + b"y" * 9).decode()),
    "of JSON": lambda text: base64.b64encode(json.dumps({"k": text}).encode()).decode(),
    "of JSON in UTF-8": lambda text: base64.b64encode(json.dumps({"k": text}, ensure_ascii=False).encode()).decode(),
    "of base64, as in Docker's configuration": lambda text: base64.b64encode(
        json.dumps({"auth": encoded(text, b"AWS:")}).encode()
    ).decode(),
    "of UTF-16, as PowerShell": lambda text: base64.b64encode(f"p={text}".encode("utf-16-le")).decode(),
    "percent-encoded": lambda text: urllib.parse.quote(encoded(text, b"u"), safe=""),
    "hexadecimal": lambda text: text.encode().hex(),
    "hexadecimal as PostgreSQL shows bytea": lambda text: "\\x" + text.encode().hex(),
    "hexadecimal upper case": lambda text: text.encode().hex().upper(),
}
BYTES: dict[str, Callable[[str], bytes]] = {
    "UTF-16 LE": lambda text: text.encode("utf-16-le"),
    "UTF-16 BE": lambda text: text.encode("utf-16-be"),
    "UTF-8 taken for Latin-1": lambda text: text.encode().decode("latin-1").encode(),
    "NFD": lambda text: __import__("unicodedata").normalize("NFD", text).encode(),
}

HARD = "\"'\\%&$ +/=<>{}!#:;,.-_@`~()[]|^*?äß€漢"
LETTERS = "ghijkmpqsvwyzGHIJKLMPQSVWYZ"
"""No digits, none that a backslash makes a control: a secret that looks like an escape has a test of its own."""
# A password has some letters: of one that is all quotes and blanks less forms are known.
SECRETS = st.builds(
    lambda core, parts: core[0] + "".join(parts) + core[1:],
    st.text(LETTERS, min_size=7, max_size=16),
    st.lists(st.sampled_from(HARD + LETTERS), min_size=2, max_size=20),
)
AROUND = st.sampled_from(
    [("before ", " after"), ('{"k": "', '"}'), ("x=", "&y=1"), ("\n", "\n"), (":", "@h"), ("", "")]
)
AWKWARD = "p\"ä/s+w=\\ö rd&'9$${x%{y"


def hidden(secret: str, before: str, form: bytes, after: str) -> bool:
    redactor = Redactor()
    redactor.add("k", secret)
    said = redactor.redact(before.encode() + form + after.encode())
    if not (said.startswith(before.encode()) and said.endswith(after.encode()) and b"[redacted:k:" in said):
        return False
    left = said.replace(before.encode(), b"", 1)
    # Nothing of the middle of the form is left.
    return not any(
        form[at : at + 12] in left for at in range(len(form) // 2 - 16, len(form) // 2 + 4) if len(form) > 60
    )


@pytest.mark.parametrize("name", TEXTS)
@settings(max_examples=examples(60), deadline=None)
@given(secret=SECRETS, around=AROUND)
@example(secret=AWKWARD, around=("before ", " after"))
def test_J1_a_known_value_in_a_form_of_text(name: str, secret: str, around: tuple[str, str]) -> None:
    assume(secret == secret.strip())
    assert hidden(secret, around[0], TEXTS[name](secret).encode(), around[1])


@pytest.mark.parametrize("outer", ["json", "html", "percent", "shell by shlex", "a terminal's lines", "python"])
@pytest.mark.parametrize("inner", ["json", "html", "percent", "sql", "hcl", "form", "python bytes"])
@settings(max_examples=15, deadline=None)
@given(secret=SECRETS)
@example(secret=AWKWARD)
def test_J1_a_known_value_in_a_form_inside_another(inner: str, outer: str, secret: str) -> None:
    assert hidden(secret, "before ", TEXTS[outer](TEXTS[inner](secret)).encode(), " after")


@pytest.mark.parametrize("name", BASE64)
@settings(max_examples=examples(60), deadline=None)
@given(secret=SECRETS)
@example(secret=AWKWARD)
def test_J1_a_known_value_in_base64_and_hexadecimal(name: str, secret: str) -> None:
    redactor = Redactor()
    redactor.add("k", secret)
    form = BASE64[name](secret)
    said = redactor.redact_text(f"before {form} after")
    assert "[redacted:k:" in said and said.startswith("before ") and said.endswith(" after")
    # What is left around the token decodes to nothing that holds three bytes of the secret in a row.
    left = re.sub(r"\s|\\n", "", TOKEN.sub("|", said[len("before ") : -len(" after")]))
    core = base64.b64encode(secret.encode()).decode()
    assert not any(core[at : at + 8] in left for at in range(0, len(core) - 8, 4))
    assert secret.encode().hex()[4:-4] not in left.lower()


@pytest.mark.parametrize("name", BYTES)
@settings(max_examples=30, deadline=None)
@given(secret=SECRETS)
@example(secret=AWKWARD)
def test_J1_a_known_value_in_other_encodings_of_characters(name: str, secret: str) -> None:
    assert hidden(secret, "before ", BYTES[name](secret), " after")


def test_J1_every_line_of_a_known_key_is_hidden() -> None:
    body = base64.encodebytes(bytes(range(200))).decode()
    key = f"-----BEGIN PRIVATE KEY-----\n{body}-----END PRIVATE KEY-----\n"
    redactor = Redactor()
    redactor.add("private-key", key)
    line = body.splitlines()[1]
    assert line not in redactor.redact_text(f"app | {line}\n")
    assert redactor.redact_text(json.dumps([key])).startswith('["[redacted:private-key:')


@pytest.mark.parametrize("secret", ["\"'\\$%+ !", "%8C'+k}9", "\\'\\\"\\' "])
def test_J1_a_value_of_hardly_more_than_quotes_is_hidden_in_the_usual_forms(secret: str) -> None:
    for name in ("itself", "percent", "json", "html", "python", "sql"):
        assert hidden(secret, "before ", TEXTS[name](secret).encode(), " after"), name


@pytest.mark.parametrize("before", ["C:\\", '{"k": "\\\\', "\\\\\\", "%", "%2", "&", "&#"])
@pytest.mark.parametrize("secret", ["nrtbf0secret", "u0041secret", "x41 secret", "041-secret", "41secret", "32;secret"])
def test_J1_a_known_value_behind_what_would_make_an_escape_of_its_beginning(before: str, secret: str) -> None:
    redactor = Redactor()
    redactor.add("k", secret)
    assert secret[1:] not in redactor.redact_text(f"{before}{secret} after")


@pytest.mark.parametrize("first", "nrtbf")
def test_J1_a_quoted_value_behind_a_backslash(first: str) -> None:
    redactor, secret = Redactor(), f'{first}0"secret'
    redactor.add("k", secret)
    assert "secret" not in redactor.redact_text(f"C:\\{json.dumps(secret)[1:-1]} after")


@pytest.mark.parametrize(
    "name", ["itself", "percent", "json", "json three times", "html", "python", "form", "sql", "hcl"]
)
@pytest.mark.parametrize(
    "secret", ["abc\\x41def%41g&lt;h", "\\n\\u00e4\\101secret", "%2541secret\\\\n", "secret%", "secret\\"]
)
def test_J1_a_known_value_that_looks_like_escapes_itself(name: str, secret: str) -> None:
    assert hidden(secret, "before ", TEXTS[name](secret).encode(), " after")


SPREAD = ["12 34 56 78", "1\n2\n3\n4\n5\n6\n7", "hun ter 22"]


@pytest.mark.parametrize("text", SPREAD)
def test_J1_short_values_do_not_match_across_blanks(text: str) -> None:
    redactor = Redactor()
    for value in ("1234567", "345678", "hunter2"):
        redactor.add("k", value)
    assert redactor.redact_text(text) == text
