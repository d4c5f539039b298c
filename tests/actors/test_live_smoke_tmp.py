from tests.actors.external_system import ExternalSystem
from tests.actors.live.client import running
from tests.actors.live.connectors import TokenConnector
import trio
async def test_it(autojump_clock):
    system = ExternalSystem(honours_keys=True)
    async with running(TokenConnector(system)) as client:
        meta = await client.create("token", "s3://a/0")
        print(meta, await client.get("token", meta), client.stages("token"))
        await client.delete("token", meta)
        await trio.sleep(5)
        print(await client.get("token", meta), client.stages("token"))
