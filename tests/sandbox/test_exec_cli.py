"""What the aws CLI's `ecs execute-command` hands to the Session Manager plugin, and that the plugin's first steps work.

The plugin itself cannot be had here. In its place stands a script that takes the plugin's arguments and does what its
public source does with a channel: https://github.com/aws/session-manager-plugin (src/sessionmanagerplugin/session).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.sandbox.ecs_stand import Stand
from tests.sandbox.exec_client import started
from tests.sandbox.support import CHECKOUT, Network, Sandbox

# Without arguments the CLI only asks whether it is there. The first output is not acknowledged: the plugin has not set
# its handlers by then, and waits for it to come again.
PLUGIN = """
import json, sys
if len(sys.argv) == 1:
    sys.exit()
from tests.sandbox.exec_client import opened
with open({record!r}, "w") as file:
    json.dump(sys.argv[1:], file)
with opened(json.loads(sys.argv[1])) as client:
    client.acknowledges = False
    while [frame.number for frame in client.frames if frame.kind == "output_stream_data"].count(0) < 2:
        last = client.receive()
    client.acknowledges = True
    client.acknowledge(last)
    client.send(json.dumps({{"cols": 80, "rows": 24}}).encode(), payload_type=3)
    client.send(b"x")
    # A single line feed goes out as the carriage return of a terminal's enter key.
    client.send(b"\\r")
    closing = client.until_closed()
    sys.stdout.buffer.write(client.output)
print("\\n\\nExiting session with sessionId:", closing.document["SessionId"])
"""


def test_the_aws_cli_leads_its_plugin_to_the_command(sandbox: Sandbox, network: Network, tmp_path: Path) -> None:
    stand = Stand.make(sandbox, network, "exec-cli")
    arn = started(stand, "cli")
    record, plugin = tmp_path / "arguments.json", tmp_path / "session-manager-plugin"
    plugin.write_text(f"#!{sys.executable}\n" + PLUGIN.format(record=str(record)))
    plugin.chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "PYTHONPATH": str(CHECKOUT),
        "AWS_ENDPOINT_URL": sandbox.endpoint,
        "AWS_REGION": sandbox.facts["region"],
        "AWS_DEFAULT_REGION": sandbox.facts["region"],
        "AWS_ACCESS_KEY_ID": sandbox.facts["access_key_id"],
        "AWS_SECRET_ACCESS_KEY": sandbox.facts["secret_access_key"],
    }
    done = subprocess.run(
        ["aws", "ecs", "execute-command", "--cluster", stand.cluster, "--task", arn, "--container", "app"]
        + ["--interactive", "--command", "sh -c 'echo type; read line; echo got $line; stty size'"],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "got x\n24 80\n" in done.stdout.replace("\r", "")
    session, region, operation, profile, request, endpoint = json.loads(record.read_text())
    given = json.loads(session)
    assert set(given) == {"sessionId", "streamUrl", "tokenValue"}
    assert f"Exiting session with sessionId: {given['sessionId']}" in done.stdout
    assert (region, operation, profile) == (sandbox.facts["region"], "StartSession", "")
    assert endpoint.rstrip("/") == sandbox.endpoint
    # What a session's encryption is bound to.
    container = stand.task(arn)["containers"][0]
    target = f"ecs:{stand.cluster}_{arn.rpartition('/')[2]}_{container['runtimeId']}"
    assert json.loads(request) == {"Target": target}
    stand.stop(arn)
