"""The login node of a cluster: an SSH server that runs commands, and takes and gives the files of the folder CLUSTER.

Prints its port when it is ready. Who has the private key in `user.key` there may log in. Runs in the plugin's
environment, which has asyncssh.
"""

import asyncio
import os
import sys
from pathlib import Path

import asyncssh

CLUSTER = Path(os.environ["CLUSTER"])


async def run(process: asyncssh.SSHServerProcess) -> None:
    """Run a command as a login shell would."""
    shell = await asyncio.create_subprocess_shell(
        process.command or "true", stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await shell.communicate()
    process.stdout.write(output.decode())
    process.exit(shell.returncode or 0)


def files(channel: asyncssh.SSHServerChannel) -> asyncssh.SFTPServer:
    """Show the cluster's folder as the root."""
    return asyncssh.SFTPServer(channel, chroot=str(CLUSTER).encode())


async def main() -> None:
    """Serve until it is ended."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(CLUSTER / "user.key")
    key.write_public_key(CLUSTER / "user.pub")
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        authorized_client_keys=str(CLUSTER / "user.pub"),
        process_factory=run,
        sftp_factory=files,
    )
    sys.stdout.write(f"{server.get_port()}\n")
    sys.stdout.flush()
    await server.wait_closed()


asyncio.run(main())
