"""gunicorn's settings: `gunicorn -c gunicorn.conf.py "papyrus:create_app()"`."""

import os

from papyrus.logging import dict_config

bind = f"0.0.0.0:{os.environ.get('PORT', '5000')}"
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
# Threads, so that /healthz is answered while database calls wait; the application bounds those (papyrus/db.py).
worker_class = "gthread"
threads = 8
timeout = 30
# Below ECS' stopTimeout (30 s unless the task definition says otherwise), after which SIGKILL follows SIGTERM.
graceful_timeout = 20
# Above the ALB's idle time-out (60 s): the side that closes first must be the ALB, or requests race with the close.
keepalive = 75
# The heartbeat file must not lie on a disk that blocks: https://gunicorn.org/reference/settings/#worker_tmp_dir
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
# Not needed in a container, and it would want a home directory to write to.
control_socket_disable = True
logconfig_dict = dict_config()
