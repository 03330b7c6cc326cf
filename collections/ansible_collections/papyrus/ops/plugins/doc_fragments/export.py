# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the modules that export an audit trail have in common."""

from __future__ import annotations


class ModuleDocFragment:
    """`papyrus.ops.export`: options and attributes."""

    DOCUMENTATION = r"""
options:
  path:
    description:
      - Folder below which each export has one of its own, named after the time at which it began.
      - With O(regions) each of them has a folder of its name between.
    type: path
    required: true
  start:
    description: Begin of the time to export (RFC 3339).
    type: str
  end:
    description: End of the time to export (RFC 3339). Now when left out.
    type: str
  hours:
    description: The last hours, instead of O(start).
    type: int
  days:
    description: The last days, instead of O(start).
    type: int
  lag:
    description:
      - With O(hours) or O(days), so many seconds ago the time to export ends. With the O(delivery) of the source, all
        that belongs to it is there already, and nobody has to wait for it.
    type: float
    default: 0.0
  regions:
    description:
      - Regions to export side by side, each at the set rate, as limits are those of a region.
      - The module's own region when empty.
    type: list
    elements: str
    default: []
  rate:
    description:
      - Requests a second for each account and region. No second has more.
      - More than O(quota) is refused.
    type: float
    default: 1.0
  quota:
    description:
      - Requests a second that the account and region take from all who ask. By default what AWS documents.
      - Only for an endpoint with another one. With V(0), which is none, any O(rate) is taken, and V(0) of it is as fast
        as it goes.
    type: float
  lanes:
    description: Requests under way at once, so that slow answers do not cost rate. 1 to 8.
    type: int
    default: 2
  settle:
    description:
      - Whether to wait with the newest part until everything that belongs to it must have arrived.
      - Else it is read at once, and the result says that it is not settled.
    type: bool
    default: false
  delivery:
    description:
      - Seconds that something may be late in the source. What is read sooner after its end is not settled.
      - By default what AWS says of it, 15 minutes for CloudTrail and AWS Config, and 5 minutes for CloudWatch Logs.
    type: float
  resume:
    description:
      - Whether to go on with the newest export below O(path) that was asked for by the same arguments and did not come
        to its end. It keeps the start and the end that it had.
    type: bool
    default: true
  private:
    description: Run-private folder. Secrets that the run has read are taken out of what is written.
    type: path
attributes:
  check_mode:
    support: full
    details:
      - Checks what would be refused and says which export would be gone on with. Reads nothing of the trail, writes
        nothing.
  diff_mode:
    support: N/A
    details:
      - Changes nothing in AWS.
  idempotent:
    support: none
    details:
      - Each call that comes to its end makes one more export. One that was interrupted is finished by the next call.
notes:
  - The export is written while it arrives, as gzip with one JSON object on a line. Killed at any moment, the same call
    goes on without asking again for what is on disk.
  - It is finished when C(completeness.json) is there, which says what is in it and what is not.
  - Each request is paced and counted. The SDK's own retries are off. Throttling, failures of the server and lost
    connections are tried again, a bounded number of times.
"""
